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
_LAST_NUMBER = re.compile(r"(.*?)([0-9]+)([^0-9]*)")


class HostListError(ValueError):
    """The writer's fault: an expression that stands for no names. Says where in the expression, counted from 1."""

    def __init__(self, expression: str, position: int, what: str) -> None:
        self.expression = expression
        self.position = position
        self.what = what
        shown = expression if len(expression) <= 60 else expression[:57] + "..."
        super().__init__(f'host list "{shown}", character {position}: {what}')


def natural_key(name: str) -> tuple[tuple[int, int, str, str], ...]:
    """A sort key under which `n9` comes before `n10`; equal only for equal names."""
    return tuple(_part_key(part) for part in re.findall(r"[0-9]+|[^0-9]+", name))


def _part_key(part: str) -> tuple[int, int, str, str]:
    """Digits before letters, by value (fewer digits are less), then by spelling, so that n01 and n1 differ."""
    if "0" <= part[0] <= "9":
        value = part.lstrip("0")
        return (0, len(value), value, part)
    return (1, 0, part, part)


def expand(expression: str) -> tuple[str, ...]:
    """The names an expression stands for, in the order written.

    Raises `HostListError` for bad spelling, a descending or unevenly padded range, a name given twice, or more than
    `NAMES_MAX` names.
    """
    names: dict[str, None] = {}  # keeps the order
    position = 0
    while True:
        start = position
        parts, position = _read_term(expression, start, NAMES_MAX - len(names))
        for pieces in product(*parts):
            name = "".join(pieces)
            if name in names:
                raise HostListError(expression, start + 1, f'"{name}" is named twice')
            names[name] = None
        if position == len(expression):
            return tuple(names)
        position += 1  # the comma


def _read_term(expression: str, start: int, room: int) -> tuple[list[list[str]], int]:
    """One comma-separated term: what may stand at each place of its names, and where the term ends."""
    parts: list[list[str]] = []
    size = 1
    position = start
    while position < len(expression) and expression[position] != ",":
        if expression[position] == "[":
            choices, position = _read_bracket(expression, position, room // size)
            size *= len(choices)
            parts.append(choices)
        elif literal := _LITERAL.match(expression, position):
            parts.append([literal.group()])
            position = literal.end()
        else:
            raise HostListError(expression, position + 1, f'"{expression[position]}" cannot stand in a node name')
    if position == start:
        raise HostListError(expression, start + 1, "a node name is missing")
    if size > room:
        raise _too_many(expression, start)
    return parts, position


def _read_bracket(expression: str, start: int, room: int) -> tuple[list[str], int]:
    """The numbers of the bracket that opens at `start`, and the position behind it."""
    numbers: list[str] = []
    position = start + 1
    while True:
        found = _RANGE.match(expression, position)
        if found is None:
            raise HostListError(expression, position + 1, "a number or a range such as 001-100 is missing")
        first, last = found.group(1), found.group(2) or found.group(1)
        _check_range(expression, position, first, last)
        low, high = int(first), int(last)
        if len(numbers) + high - low + 1 > room:
            raise _too_many(expression, start)
        numbers.extend(f"{number:0{len(first)}d}" for number in range(low, high + 1))
        position = found.end()
        if position == len(expression):
            raise HostListError(expression, start + 1, '"[" is not closed')
        if expression[position] == "]":
            return numbers, position + 1
        if expression[position] != ",":
            raise HostListError(expression, position + 1, f'"," or "]" expected, not "{expression[position]}"')
        position += 1


def _check_range(expression: str, position: int, first: str, last: str) -> None:
    if max(len(first), len(last)) > DIGITS_MAX:
        raise HostListError(expression, position + 1, f"numbers have at most {DIGITS_MAX} digits")
    if int(last) < int(first):
        raise HostListError(expression, position + 1, f"the range {first}-{last} goes down; write {last}-{first}")
    if len(first) != len(last) and (_is_padded(first) or _is_padded(last)):
        what = f"the ends of {first}-{last} differ in width; write {int(first):0{len(last)}d}-{last}"
        raise HostListError(expression, position + 1, what)


def _is_padded(digits: str) -> bool:
    return len(digits) > 1 and digits[0] == "0"


def _too_many(expression: str, position: int) -> HostListError:
    return HostListError(expression, position + 1, f"more than {NAMES_MAX} names; split it into several lists")


def compress(names: Iterable[str]) -> str:
    """The shortest usual expression for a set of names: ranges over each name's last number, in natural order.

    `expand(compress(names))` is the same set. Raises `HostListError` for a name that `expand` could not give back.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)  # (prefix, suffix) -> digits of the last number
    terms: list[str] = []
    for name in sorted(set(names), key=natural_key):
        if not _LITERAL.fullmatch(name):
            raise HostListError(name, 1, "this is not a node name")
        found = _LAST_NUMBER.fullmatch(name)
        if found is None or len(found.group(2)) > DIGITS_MAX:
            terms.append(name)
        else:
            groups[found.group(1), found.group(3)].append(found.group(2))
    for (prefix, suffix), digits in groups.items():
        ranges = _ranges(digits)
        inside = ",".join(ranges)
        terms.append(f"{prefix}{inside}{suffix}" if len(digits) == 1 else f"{prefix}[{inside}]{suffix}")
    return ",".join(sorted(terms, key=natural_key))


def _ranges(digits: list[str]) -> list[str]:
    """Numbers as spelled, written as ranges; padded numbers only join numbers of their own width."""
    padded_widths = {len(text) for text in digits if _is_padded(text)}
    by_width: dict[int, list[int]] = defaultdict(list)  # width 0: without leading zeros
    for text in digits:
        by_width[len(text) if len(text) in padded_widths else 0].append(int(text))
    ranges: list[str] = []
    for width, numbers in sorted(by_width.items()):
        start = previous = None
        for number in [*sorted(numbers), None]:
            if start is not None and previous is not None and number != previous + 1:
                low, high = f"{start:0{width}d}", f"{previous:0{width}d}"
                ranges.append(low if start == previous else f"{low}-{high}")
                start = None
            if start is None:
                start = number
            previous = number
    return ranges
