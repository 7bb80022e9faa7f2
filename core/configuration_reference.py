"""The reference of all configuration keys, printed from the classes that read them, for docs/configuration.md."""

from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from .configuration import FarmSettings, NodeSettings, Role, Section, SubFarm
from .plan import Quorum

_SECTIONS: Mapping[str, type[Section]] = {
    "farm": FarmSettings,
    "sub_farms.NAME": SubFarm,
    "nodes.HOSTLIST": NodeSettings,
    "roles.NAME": Role,
}
_WORDS: Mapping[Any, str] = {
    str: "text",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Quorum: "quorum",
    Any: "any value",
}


def reference() -> str:
    """All keys as Markdown: a heading and a table for each section. Ends with a line feed."""
    lines: list[str] = []
    for place, section in _SECTIONS.items():
        lines += [f"### `{place}`", "", "| key | value | default | meaning |", "|---|---|---|---|"]
        for key, field in section.model_fields.items():
            default = "required" if field.is_required() else _default(field.default)
            lines.append(f"| `{key}` | {_type_words(field.annotation)} | {default} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def _default(value: Any) -> str:
    if value is None:
        return ""
    if value in ((), {}, ""):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        value = value.value
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _type_words(annotation: Any) -> str:
    """A type as people say it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_words(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type_words(part) for part in arguments if part is not NoneType)
    if origin is tuple:
        return f"list of {_type_words(arguments[0])}"
    if origin is dict:
        return f"mapping of text to {_type_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    return _WORDS[annotation]
