"""An actor's parameters: what it declares, against what the configuration gives.

On the wire numbers are floating point (protobuf's Struct has no integers); those without a fraction become int again.
A name that the actor does not declare is refused with the nearest one: a misspelt threshold that silently keeps its
default costs a night of data.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct, Value

from .errors import ActorError

WHAT_TO_DO = "Correct the role's parameters in the configuration"


class _Required:
    """The type of `REQUIRED`."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
"""In place of a default: the configuration must give this parameter."""


def from_struct(struct: Struct) -> dict[str, Any]:
    """The struct as plain Python values, sorted by name (the wire has no order); 3.0 becomes 3."""
    return {name: _plain(value) for name, value in sorted(struct.fields.items())}


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
    return None


def settle(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The declared parameters with their defaults replaced by what is given.

    `ActorError` for a name that is not declared (the nearest is named), for a `REQUIRED` one that is missing and for a
    value of another type than the default's (an int will do for a float; a default of None takes anything).
    """
    problems = [_unknown(name, declared) for name in given if name not in declared]
    required = (name for name, default in declared.items() if default is REQUIRED)
    problems += [f"{name} is required" for name in required if name not in given]
    problems += [
        f"{name} is {value!r}, and must be {_type_name(declared[name])}, such as {declared[name]!r}"
        for name, value in given.items()
        if name in declared and not _fits(value, declared[name])
    ]
    if problems:
        raise ActorError("; ".join(problems), WHAT_TO_DO)
    return {name: _as_declared(given.get(name, default), default) for name, default in declared.items()}


def require_at_least(parameters: Mapping[str, Any], limits: Mapping[str, float]) -> None:
    """`ActorError` that names every parameter below its lower limit."""
    require_within(parameters, {name: (least, math.inf) for name, least in limits.items()})


def require_within(parameters: Mapping[str, Any], limits: Mapping[str, tuple[float, float]]) -> None:
    """`ActorError` that names every parameter below its lower limit or above its upper one."""
    problems = [
        f"{name} is {parameters[name]}, and must be {_range(least, most)}"
        for name, (least, most) in limits.items()
        if not least <= parameters[name] <= most
    ]
    if problems:
        raise ActorError("; ".join(problems), WHAT_TO_DO)


def _range(least: float, most: float) -> str:
    return f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"


def _unknown(name: str, declared: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, declared, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(declared)) or 'none'}"
    return f"unknown parameter {name} ({hint})"


def _fits(value: Any, default: Any) -> bool:
    if default is None or default is REQUIRED:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _as_declared(value: Any, default: Any) -> Any:
    return float(value) if isinstance(default, float) else value


def _type_name(default: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(default), f"a {type(default).__name__}")
