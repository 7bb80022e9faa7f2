"""From a text in JSON or TOML to plain values, or to what is wrong with the text.

A text that cannot be read has one problem, with line and column. One that can be read, but would lose something on the
way, has a problem with its place for each loss, beside the values: so that they are checked all the same, and one
mistake hides no other. These are lost: a key that is given twice in one mapping, and the end of a whole number that is
larger than the wire's numbers (IEEE doubles) can be exact. Not a number and infinity are values here; the checks know
where there may be any.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from .problems import Problem, join_place

EXACT_MAX = 2**53  # up to here, and down to minus that, an actor is given every whole number as it is written
_DIGITS_MAX = 400  # that are read of a whole number: enough for it to be too large for everything
_NESTING_MAX = 100  # of mappings and lists in a text that nests too deeply to be read
_TOML_PLACE = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end .*)\)", re.DOTALL)
_BRACKET_OR_PASSED_OVER = re.compile(r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[][{}]""")


class _Repeated(dict[str, Any]):
    """A mapping of which some keys were given several times; it has what was given last."""

    counts: dict[str, int]


def read_text(text: str, format: Literal["json", "toml"]) -> tuple[Any, list[Problem]]:
    """The values, and what is wrong; None, with one problem, when the text cannot be read."""
    try:
        document = _read_json(text) if format == "json" else tomllib.loads(text)
    except json.JSONDecodeError as error:
        what = f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        return None, [Problem("", what, line=error.lineno, column=error.colno)]
    except tomllib.TOMLDecodeError as error:
        return None, [_toml_problem(text, error)]
    except RecursionError:
        return None, [_depth_problem(text)]
    except ValueError as error:  # such as a whole number with more digits than Python reads
        return None, [Problem("", f"a value cannot be read: {error}")]
    return document, list(_losses(document))


def _read_json(text: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        repeated = _Repeated(found)
        repeated.counts = {key: count for key, count in Counter(key for key, _ in pairs).items() if count > 1}
        return repeated

    def whole_number(digits: str) -> int:
        return int(digits[:_DIGITS_MAX])

    return json.loads(text, object_pairs_hook=mapping, parse_int=whole_number)


def _losses(document: Any) -> Iterator[Problem]:
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(document, ())]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, _Repeated):
            for key, count in value.counts.items():
                yield Problem(join_place(*place, key), f"this key is given {count} times in one mapping")
        if isinstance(value, dict):
            waiting += [(item, (*place, str(key))) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [(item, (*place, position)) for position, item in reversed(list(enumerate(value)))]
        elif isinstance(value, int) and abs(value) > EXACT_MAX and _is_parameter(place):
            what = f"a whole number beyond {EXACT_MAX} would not reach the actor as it is written"
            yield Problem(join_place(*place), what, "write it as text, or with a decimal point")


def _is_parameter(place: tuple[str | int, ...]) -> bool:
    """All other numbers have limits of their own."""
    return place[:1] == ("parameters",) or (place[:1] == ("roles",) and place[2:3] == ("parameters",))


def _toml_problem(text: str, error: tomllib.TOMLDecodeError) -> Problem:
    found = _TOML_PLACE.fullmatch(str(error))
    what = found["what"] if found else str(error)
    lines = text.splitlines() or [""]
    line = int(found["line"]) if found and found["line"] else len(lines)
    column = int(found["column"]) if found and found["column"] else len(lines[-1]) + 1
    return Problem("", f"this is not TOML: {what[0].lower()}{what[1:]}", line=line, column=column)


def _depth_problem(text: str) -> Problem:
    """At the bracket that opens one level too many."""
    depth, at = 0, 0
    for found in _BRACKET_OR_PASSED_OVER.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > _NESTING_MAX:
            at = found.start()
            break
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return Problem("", f"values nest too deeply: more than {_NESTING_MAX} levels", line=line, column=column)
