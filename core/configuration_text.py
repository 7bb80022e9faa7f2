"""From text to a checked configuration, or to every problem at once.

Three stages. Spelling: JSON or TOML that cannot be read at all has one problem, with line and column. Sections: every
farm, sub-farm, node entry, role and parameter set is read by itself, so that one mistake hides no other. Cross-checks:
what takes several sections to judge. Nothing is returned unless all three found nothing.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from .configuration import (
    Configuration,
    FarmSettings,
    NodeSettings,
    ParameterSet,
    Role,
    Section,
    SubFarm,
    name_fault,
    read,
)
from .configuration_checks import Draft, find_problems, find_warnings
from .problems import ConfigurationError, Problem, did_you_mean

TEXT_LENGTH_MAX = 16 * 2**20  # characters; 100,000 processes need some hundred kB, for nodes are written as host lists

_SECTIONS = ("farm", "sub_farms", "nodes", "roles", "parameters")
_TOML_PLACE = re.compile(
    r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)
_S = TypeVar("_S", bound=Section)


def parse(text: str, format: Literal["json", "toml"], source: str = "configuration") -> Configuration:
    """The configuration that a text describes; `source` is what error messages call it, such as the file's name.

    Raises `ConfigurationError` with every problem that was found.
    """
    if len(text) > TEXT_LENGTH_MAX:
        what = f"{len(text)} characters are more than {TEXT_LENGTH_MAX}; write nodes as host lists"
        raise ConfigurationError([Problem("", what)], source)
    document, problems = _read_json(text) if format == "json" else _read_toml(text)
    if problems:
        raise ConfigurationError(problems, source)
    return from_document(document, source)


def from_document(document: Any, source: str = "configuration") -> Configuration:
    """The configuration that a document of plain values describes, such as `to_document` gives.

    Raises `ConfigurationError` with every problem that was found.
    """
    if not isinstance(document, dict):
        raise ConfigurationError([Problem("", "a mapping of keys to values is expected")], source)
    problems = [
        Problem(str(key), "unknown key", did_you_mean(str(key), _SECTIONS)) for key in document.keys() - {*_SECTIONS}
    ]
    problems.sort(key=lambda problem: problem.place)
    for key in ("farm", "sub_farms", "roles"):
        if key not in document:
            problems.append(Problem(key, "this key is missing"))
    farm = None
    if "farm" in document:
        farm, found = read(FarmSettings, document["farm"], "farm")
        problems += found
    draft = Draft(
        sub_farms=_read_each(SubFarm, document, "sub_farms", problems),
        nodes=_read_each(NodeSettings, document, "nodes", problems),
        roles=_read_each(Role, document, "roles", problems),
        role_names=_names(document, "roles"),
        parameter_names=_names(document, "parameters"),
    )
    wrapped = {name: {"values": values} for name, values in _mapping(document, "parameters").items()}
    sets = _read_each(ParameterSet, {**document, "parameters": wrapped}, "parameters", problems)
    draft.parameters = {name: values.values for name, values in sets.items()}
    for key in ("sub_farms", "roles"):
        if document.get(key) == {}:
            problems.append(Problem(key, "at least one is needed"))
    problems += find_problems(draft)
    if farm is None or problems:
        raise ConfigurationError(dict.fromkeys(problems), source)
    return Configuration(
        farm=farm,
        sub_farms=draft.sub_farms,
        nodes=draft.nodes,
        roles=draft.roles,
        parameters=draft.parameters,
        warnings=tuple(find_warnings(draft)),
    )


def _mapping(document: Mapping[str, Any], key: str) -> dict[Any, Any]:
    content = document.get(key)
    return content if isinstance(content, dict) else {}


def _names(document: Mapping[str, Any], key: str) -> frozenset[str]:
    return frozenset(str(name) for name in _mapping(document, key))


def _read_each(model: type[_S], document: Mapping[str, Any], key: str, problems: list[Problem]) -> dict[str, _S]:
    """The entries of one section that can be read; what is wrong with the others goes to `problems`."""
    if key in document and not isinstance(document[key], dict):
        problems.append(Problem(key, "a mapping of names to entries is expected"))
    entries: dict[str, _S] = {}
    for name, content in _mapping(document, key).items():
        if key != "nodes" and (fault := name_fault(str(name))):
            problems.append(Problem(f"{key}.{name}", fault))
        entry, found = read(model, content, key, str(name))
        problems += found
        if entry is not None:
            entries[str(name)] = entry
    return entries


def _read_json(text: str) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(key for key, _ in pairs)
        problems.extend(
            Problem("", f'key "{key}" is given {n} times in one mapping') for key, n in counts.items() if n > 1
        )
        return dict(pairs)

    def no_number(word: str) -> None:
        problems.append(Problem("", f"{word} is not a number that JSON can say"))

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_number), problems
    except json.JSONDecodeError as error:
        what = f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        return None, [*problems, Problem("", what, line=error.lineno, column=error.colno)]
    except (RecursionError, ValueError) as error:  # too deep, or an integer of more digits than Python reads
        what = "values nest too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
        return None, [*problems, Problem("", what)]


def _read_toml(text: str) -> tuple[Any, list[Problem]]:
    try:
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        found = _TOML_PLACE.fullmatch(str(error))
        what = found["what"] if found else str(error)
        lines = text.splitlines() or [""]
        line = int(found["line"]) if found and found["line"] else len(lines)
        column = int(found["column"]) if found and found["column"] else len(lines[-1]) + 1
        return None, [Problem("", f"this is not TOML: {what[0].lower()}{what[1:]}", line=line, column=column)]
    except (RecursionError, ValueError) as error:
        what = "values nest too deeply" if isinstance(error, RecursionError) else f"a value cannot be read: {error}"
        return None, [Problem("", what)]
