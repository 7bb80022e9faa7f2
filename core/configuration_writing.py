"""A configuration as text for a file: as people write it, without the defaults, and equal texts for equal content.

An exported text says what it was exported from (`revision`). Imported unchanged it is that revision again, in any
database; edited, it is known what it was made from, so that nobody overwrites what somebody else has changed since.
"""

import json
from typing import Any, Literal

import tomli_w

from .addressing import Provenance
from .configuration import Configuration, to_document
from .errors import InvalidInput
from .problems import Problem, join_place

Format = Literal["json", "toml"]


def to_json(configuration: Configuration, defaults: bool = False) -> str:
    """The content alone as JSON text, ends with a line feed."""
    return _json(to_document(configuration, defaults))


def to_text(configuration: Configuration, format: Format, provenance: Provenance) -> str:
    """The configuration with what it was exported from, ends with a line feed.

    Raises `InvalidInput` for what TOML cannot say: null.
    """
    document = {"revision": _provenance_document(provenance), **to_document(configuration, defaults=False)}
    if format == "json":
        return _json(document)
    if places := list(_nulls(document)):
        problems = [Problem(place, "is null, which TOML cannot say") for place in places]
        raise InvalidInput(problems, "Export it as JSON")
    return tomli_w.dumps(_sorted(document))


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _provenance_document(provenance: Provenance) -> dict[str, Any]:
    return {
        "hash": provenance.hash,
        "parent": provenance.parent,
        "author": provenance.author,
        "created_at_ns": provenance.created_at_ns,
        "message": provenance.message,
    }


def _nulls(value: Any, *keys: str | int) -> "list[str]":
    if value is None:
        return [join_place(*keys)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in _nulls(item, *keys, key)]


def _sorted(value: Any) -> Any:
    """Mappings in the order of their keys, as JSON text has them."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
