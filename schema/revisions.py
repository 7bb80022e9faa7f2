"""Configuration revisions: immutable, content-addressed, shared where nothing changed; and the tags that point at them.

A configuration is stored as a tree of objects: the root names the hashes of the farm's settings, of the node entries,
and of every sub-farm, role and parameter set. An object's hash is the SHA-256 of its kind, a line feed and its
canonical JSON, so equal objects are stored once, and one changed role adds two rows. A revision is like a commit: root,
parent, author, time and message, and its own hash covers them all.

Tags are names for revisions, with history. The tag `current` is what the next load takes.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from grange.core.configuration import Configuration, name_fault, to_document
from grange.core.configuration_text import from_document
from grange.core.problems import did_you_mean

from .database import reading, writing
from .errors import DamagedRevision, UnknownRevision
from .statements import add_row_once, put_row
from .tables import object_table, revision_table, tag_history_table, tag_table

CURRENT = "current"  # the tag that the next load takes
TAGS_NAMED = 10  # where none is near to what was asked for
PREFIX_LENGTH_MIN = 4  # characters of a hash that may stand for the whole

_FORMAT = 1  # of the tree of objects
_SINGLE = {"farm": "farm", "nodes": "nodes"}  # section -> kind of its one object
_NAMED = {"sub_farms": "sub_farm", "roles": "role", "parameters": "parameters"}  # section -> kind of each object
_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of the whole configuration."""

    hash: str  # 64 hexadecimal digits
    root: str  # equal for revisions with equal content
    parent: str  # "" for the first
    author: str
    created_at_ns: int  # nanoseconds since 1970 UTC
    message: str

    @property
    def short(self) -> str:
        """Enough of the hash for people."""
        return self.hash[:10]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: the revision that now holds the content, and whether it is new."""

    revision: Revision
    changed: bool


@dataclass(frozen=True, slots=True)
class TagChange:
    """One entry of a tag's history."""

    name: str
    revision: str
    person: str
    at_ns: int


def canonical_json(value: Any) -> str:
    """The one text that stands for a JSON value: sorted keys, no spaces, no escapes beyond the needed ones."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def object_hash(kind: str, content: str) -> str:
    """The hash of an object; the kind is part of it, so an empty role and an empty parameter set differ."""
    return hashlib.sha256(f"{kind}\n{content}".encode()).hexdigest()


def import_configuration(
    engine: Engine, configuration: Configuration, author: str, message: str, now_ns: int, select_it: bool = True
) -> Imported:
    """Store a configuration as a child of the current revision and, with `select_it`, make it current.

    Content equal to the current revision's gives that revision, unchanged. All or nothing is stored.
    """
    with writing(engine) as connection:
        objects, root = _objects(to_document(configuration))
        parent_hash = _tagged(connection, CURRENT)
        parent = _revision(connection, parent_hash) if parent_hash else None
        if parent is not None and parent.root == root:
            return Imported(parent, changed=False)
        for key, (kind, content) in objects.items():
            add_row_once(connection, object_table, {"hash": key, "kind": kind, "content": content})
        revision = _commit(connection, root, parent_hash, author, message, now_ns)
        if select_it or parent is None:
            _set_tag(connection, CURRENT, revision.hash, author, now_ns)
        return Imported(revision, changed=True)


def _objects(document: dict[str, Any]) -> tuple[dict[str, tuple[str, str]], str]:
    """All objects of a configuration as hash -> (kind, content), and the hash of the root among them."""
    objects: dict[str, tuple[str, str]] = {}

    def add(kind: str, value: Any) -> str:
        content = canonical_json(value)
        key = object_hash(kind, content)
        objects[key] = (kind, content)
        return key

    root: dict[str, Any] = {"format": _FORMAT}
    for section, kind in _SINGLE.items():
        root[section] = add(kind, document[section])
    for section, kind in _NAMED.items():
        root[section] = {name: add(kind, value) for name, value in document[section].items()}
    return objects, add("configuration", root)


def _commit(connection: Connection, root: str, parent: str, author: str, message: str, now_ns: int) -> Revision:
    described = {"root": root, "parent": parent, "author": author, "created_at_ns": now_ns, "message": message}
    revision = Revision(object_hash("revision", canonical_json(described)), root, parent, author, now_ns, message)
    row = {**described, "parent": parent or None, "hash": revision.hash}
    add_row_once(connection, revision_table, row)
    return revision


def load_configuration(engine: Engine, name: str = CURRENT) -> tuple[Revision, Configuration]:
    """The revision that a tag, a hash or a unique prefix of one names, with its configuration.

    Raises `UnknownRevision`, `DamagedRevision`, or `ConfigurationError` when this version of grange finds fault with
    what an older one accepted.
    """
    with reading(engine) as connection:
        revision = _find(connection, name)
        root = _object(connection, revision.root, "configuration")
        document: dict[str, Any] = {}
        for section, kind in _SINGLE.items():
            document[section] = _object(connection, root[section], kind)
        for section, kind in _NAMED.items():
            document[section] = {key: _object(connection, value, kind) for key, value in root[section].items()}
    return revision, from_document(document, f"revision {revision.short}")


def find_revision(engine: Engine, name: str = CURRENT) -> Revision:
    """The revision that a tag, a hash or a unique prefix of one names. Raises `UnknownRevision`."""
    with reading(engine) as connection:
        return _find(connection, name)


def _find(connection: Connection, name: str) -> Revision:
    if tagged := _tagged(connection, name):
        return _revision(connection, tagged)
    found: list[str] = []
    if len(name) >= PREFIX_LENGTH_MIN and _HEXADECIMAL.issuperset(name):
        # a range, not LIKE: the index serves it on both engines
        query = select(revision_table.c.hash).where(revision_table.c.hash >= name, revision_table.c.hash < name + "g")
        found = list(connection.execute(query.order_by(revision_table.c.hash).limit(5)).scalars())
    if len(found) == 1:
        return _revision(connection, found[0])
    if found:
        shown = ", ".join(key[:16] for key in found)
        raise UnknownRevision(f'"{name}" fits several revisions ({shown}…); give more digits')
    known = list(connection.execute(select(tag_table.c.name)).scalars())
    if name == CURRENT or not known:
        raise UnknownRevision("there is no configuration yet; import one first: grange config import FILE")
    raise UnknownRevision(f'there is no revision or tag "{name}"; {_what_there_is(name, known)}')


def _what_there_is(name: str, known: Collection[str]) -> str:
    """What to try in place of a name that nothing has."""
    if name and len(name) < PREFIX_LENGTH_MIN and _HEXADECIMAL.issuperset(name):
        return f"of a hash give {PREFIX_LENGTH_MIN} digits or more; grange config log lists the revisions"
    nearest = did_you_mean(name, known)
    if nearest.endswith("?"):
        return nearest
    return f"known tags: {', '.join(sorted(known)[:TAGS_NAMED])}; grange config log lists the revisions"


def _revision(connection: Connection, key: str) -> Revision:
    row = connection.execute(select(revision_table).where(revision_table.c.hash == key)).one()
    return _as_revision(row._mapping)


def _as_revision(row: Any) -> Revision:
    parent = row["parent"] or ""
    return Revision(row["hash"], row["root"], parent, row["author"], row["created_at_ns"], row["message"])


def _object(connection: Connection, key: str, kind: str) -> Any:
    content = connection.execute(select(object_table.c.content).where(object_table.c.hash == key)).scalar_one_or_none()
    if content is None or object_hash(kind, content) != key:
        what = "is missing" if content is None else "was changed"
        raise DamagedRevision(f"the stored {kind} {key[:10]} {what}; restore the database from a backup")
    return json.loads(content)


def log(engine: Engine, name: str = CURRENT, limit: int = 100) -> list[Revision]:
    """The revision of that name and its ancestors, newest first, at most `limit`. Raises `UnknownRevision`."""
    with reading(engine) as connection:
        revisions = [_find(connection, name)]
        while revisions[-1].parent and len(revisions) < limit:
            revisions.append(_revision(connection, revisions[-1].parent))
    return revisions


def set_tag(engine: Engine, name: str, revision: str, person: str, now_ns: int) -> Revision:
    """Point a tag at the revision that `revision` names; its history keeps where it pointed before.

    Raises `UnknownRevision`, and `ValueError` for what cannot be a tag or would be taken for a hash.
    """
    if fault := name_fault(name):
        raise ValueError(fault)
    if len(name) >= PREFIX_LENGTH_MIN and _HEXADECIMAL.issuperset(name):
        raise ValueError(f'tag "{name}" could be taken for the hash of a revision; use another letter in it')
    with writing(engine) as connection:
        found = _find(connection, revision)
        _set_tag(connection, name, found.hash, person, now_ns)
    return found


def _set_tag(connection: Connection, name: str, revision: str, person: str, now_ns: int) -> None:
    if _tagged(connection, name) == revision:
        return
    put_row(connection, tag_table, {"name": name, "revision": revision})
    change = {"name": name, "revision": revision, "person": person, "at_ns": now_ns}
    connection.execute(insert(tag_history_table), change)


def _tagged(connection: Connection, name: str) -> str:
    query = select(tag_table.c.revision).where(tag_table.c.name == name)
    return connection.execute(query).scalar_one_or_none() or ""


def tags(engine: Engine) -> dict[str, str]:
    """All tags with the hashes they point at."""
    with reading(engine) as connection:
        rows = connection.execute(select(tag_table.c.name, tag_table.c.revision).order_by(tag_table.c.name))
        return {row.name: row.revision for row in rows}


def tag_history(engine: Engine, name: str) -> list[TagChange]:
    """Where a tag has pointed, newest first."""
    table = tag_history_table.c
    query = select(table.name, table.revision, table.person, table.at_ns).where(table.name == name)
    with reading(engine) as connection:
        return [TagChange(*row) for row in connection.execute(query.order_by(table.id.desc()))]
