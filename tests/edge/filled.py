"""Values in which nothing is what it would be by itself, to see whether all of them crosses a wire.

Each number and each text is another one, so that two that change places are noticed as well; numbers with a fraction
lie far apart, for what is told as a moment takes some time on its way.
"""

import dataclasses
import enum
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

APART = 1000.0  # between two numbers that may have a fraction


def filled(kind: Any, given: Mapping[str, Any] | None = None) -> Any:
    """A value of a dataclass, every field of which differs from its default, but for those `given` ("Row.status")."""
    return _filled(kind, "", given or {}, itertools.count(1), ())


def _filled(kind: Any, name: str, given: Mapping[str, Any], count: Iterator[int], within: tuple[Any, ...]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _filled(arguments[0], name, given, count, within)
    if origin is tuple:
        return () if arguments[0] in within else (_filled(arguments[0], name, given, count, within),)
    if origin is not None and issubclass(origin, Mapping):
        return {f"{name} {next(count)}": _filled(arguments[1], name, given, count, within)}
    if dataclasses.is_dataclass(kind):
        return _record(kind, given, count, (*within, kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)[-1]
    number = next(count)
    return {int: number, float: number * APART}.get(kind, f"{name} {number}")


def _record(kind: Any, given: Mapping[str, Any], count: Iterator[int], within: tuple[Any, ...]) -> Any:
    hints = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        if (which := f"{kind.__name__}.{field.name}") in given:
            values[field.name] = given[which]
        elif hints[field.name] is bool:
            values[field.name] = field.default is not True
        else:
            value = _filled(hints[field.name], field.name, given, count, within)
            if isinstance(value, enum.Enum) and value == field.default:
                value = next(iter(type(value)))
            values[field.name] = value
    return kind(**values)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """All that is in a value, by where it is; numbers with a fraction as how many `APART` they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, tuple | list):
        parts = {str(index): one for index, one in enumerate(value)}
    else:
        return {path: round(value / APART) if isinstance(value, float) else value}
    found = {path: len(parts)}
    for name, part in parts.items():
        found |= flat(part, f"{path}.{name}")
    return found
