"""Host lists: many node names written as one short expression, and back.

`hlt[001-004,007]` stands for five names, `rack[1-2]n[01-40]` for eighty, `a,b[1-3]` for four. Brackets hold numbers and
ascending ranges. A number with leading zeros keeps its width (`001-100`), so both ends of a padded range have as many
digits; without leading zeros numbers simply grow (`9-11`). Names are made of letters, digits, `_`, `.` and `-`.

An expression is checked for its size before any name is made, so a slip of the pen (`[1-999999999]`) costs nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import product

NAMES_MAX = 100_000  # names in one expression; ten times the largest farm in sight
DIGITS_MAX = 9  # digits of one number; more is no node number but a slip

_LITERAL = re.compile(r"[A-Za-z0-9_.-]+")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_NAME = re.compile(r"(?P<prefix>.*?)(?P<digits>[0-9]+)?(?P<suffix>[^0-9]*)", re.DOTALL)


class HostListError(ValueError):
    """The writer's fault: an expression that stands for no names. Says where in the expression, counted from 1."""

    def __init__(self, expression: str, position: int, what: str) -> None:
        self.expression = expression
        self.position = position
        self.what = what
        shown = expression if len(expression) <= 60 else expression[:57] + "..."
        super().__init__(f'host list "{shown}", character {position}: {what}')


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which `n9` comes before `n10`; equal only for equal names."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    # digits sort before letters, by value, then by spelling (so that n01 and n1 differ)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def expand(expression: str) -> tuple[str, ...]:
    """The names an expression stands for, in the order written.

    Raises `HostListError` for bad spelling, a descending or unevenly padded range, a name given twice, or more than
    `NAMES_MAX` names.
    """
    names: list[str] = []
    position = 0
    while True:
        parts, end = _read_term(expression, position)
        size = len(names)
        total = 1
        for part in parts:
            total *= part if isinstance(part, int) else len(part)
        if size + total > NAMES_MAX:
            raise HostListError(expression, position + 1, f"more than {NAMES_MAX} names; split it into several lists")
        names.extend("".join(pieces) for pieces in product(*parts))
        if end == len(expression):
            break
        position = end + 1  # the comma
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise HostListError(expression, 1, f'"{name}" is named twice')
        seen.add(name)
    return tuple(names)


def _read_term(expression: str, start: int) -> tuple[list["_Choices"], int]:
    """One comma-separated term from `start`: its parts as choices, and where it ends (a comma or the end)."""
    parts: list[_Choices] = []
    position = start
    while position < len(expression) and expression[position] != ",":
        if expression[position] == "[":
            choices, position = _read_bracket(expression, position)
            parts.append(choices)
            continue
        literal = _LITERAL.match(expression, position)
        if literal is None:
            raise HostListError(expression, position + 1, f'"{expression[position]}" cannot stand in a node name')
        parts.append(_Choices([(literal.group(), literal.group(), 0)]))
        position = literal.end()
    if position == start:
        raise HostListError(expression, start + 1, "a node name is missing")
    return parts, position


class _Choices:
    """What may stand at one place of a name: literals and ranges, counted before they are written out."""

    def __init__(self, ranges: list[tuple[str, str, int]]) -> None:
        self._ranges = ranges  # (first, last, width); a literal has first == last and width 0

    def __len__(self) -> int:
        return sum(1 if first == last else int(last) - int(first) + 1 for first, last, _ in self._ranges)

    def __iter__(self) -> "Iterable[str]":  # type: ignore[override]
        for first, last, width in self._ranges:
            if first == last:
                yield first
            else:
                yield from (f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
