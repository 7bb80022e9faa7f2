"""Content addressing: the hash of a thing covers all of it, so equal things are one, and a damaged one shows.

A configuration is a tree of objects: the root names the hashes of the farm's settings, of the node entries, and of
every sub-farm, role and parameter set. An object's hash is the SHA-256 of its kind, a line feed and its canonical JSON,
so equal objects are stored once, and one changed role adds two. A revision's hash covers its root, parent, author, time
and message, as a commit's does.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT = 1  # of the tree
ROOT = "configuration"  # kind of the object at the top
SINGLE: Mapping[str, str] = {"farm": "farm", "nodes": "nodes"}  # section -> kind of its one object
NAMED: Mapping[str, str] = {  # section -> kind of each of its objects
    "sub_farms": "sub_farm",
    "roles": "role",
    "parameters": "parameters",
}
HASH_LENGTH = 64  # hexadecimal digits


def canonical_json(value: Any) -> str:
    """The one text that stands for a JSON value: sorted keys, no spaces, no escapes beyond the needed ones."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def object_hash(kind: str, content: str) -> str:
    """The hash of an object; the kind is part of it, so an empty role and an empty parameter set differ."""
    return hashlib.sha256(f"{kind}\n{content}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tree:
    """All objects of a configuration, each once."""

    root: str
    objects: Mapping[str, tuple[str, str]]  # hash -> kind and content


def tree_of(document: Mapping[str, Any]) -> Tree:
    """The tree of a complete document, as `to_document` gives it."""
    objects: dict[str, tuple[str, str]] = {}

    def add(kind: str, value: Any) -> str:
        content = canonical_json(value)
        key = object_hash(kind, content)
        objects[key] = (kind, content)
        return key

    root: dict[str, Any] = {"format": FORMAT}
    for section, kind in SINGLE.items():
        root[section] = add(kind, document[section])
    for section, kind in NAMED.items():
        root[section] = {name: add(kind, value) for name, value in document[section].items()}
    return Tree(add(ROOT, root), objects)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an exported document says of the revision that it is; only the hash when a person has written it."""

    hash: str  # 64 hexadecimal digits, or their beginning
    parent: str = ""
    author: str = ""
    created_at_ns: int = 0
    message: str = ""

    def is_of(self, root: str) -> bool:
        """Whether a tree with this root is that very revision: the hash covers all of it."""
        return revision_hash(root, self.parent, self.author, self.created_at_ns, self.message) == self.hash


def revision_hash(root: str, parent: str, author: str, created_at_ns: int, message: str) -> str:
    """The hash of a revision, over everything that it says."""
    described = {"root": root, "parent": parent, "author": author, "created_at_ns": created_at_ns, "message": message}
    return object_hash("revision", canonical_json(described))
