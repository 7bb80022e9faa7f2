"""Configuration revisions: immutable, content-addressed, shared where nothing changed; and the tags that point at them.

What is stored is the tree of `core/addressing.py`, each object once. A revision is like a commit: root, parent, author,
time and message, and its own hash covers them all.

Whoever imports an edited export says by it what he began with. If somebody else has changed the current revision since,
both sides are shown and nothing is stored, unless the two are merged; with no such word, the import follows what is
current. Content that is a revision already, told by what an export says of itself, is that revision and no new one.

Tags are names for revisions, with history. The tag `current` is what the next load takes.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from grange.core.addressing import NAMED, ROOT, SINGLE, Provenance, Tree, object_hash, revision_hash, tree_of
from grange.core.configuration import Configuration, name_fault, to_document
from grange.core.configuration_changes import Change, changes
from grange.core.configuration_text import from_document
from grange.core.errors import Conflict
from grange.core.merging import merge
from grange.core.problems import Problem, did_you_mean

from .database import reading, writing
from .errors import DamagedRevision, UnknownRevision
from .statements import add_row_once, put_row
from .tables import object_table, revision_table, tag_history_table, tag_table

CURRENT = "current"  # the tag that the next load takes
TAGS_NAMED = 10  # where none is near to what was asked for
PREFIX_LENGTH_MIN = 4  # characters of a hash that may stand for the whole

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

    @property
    def provenance(self) -> Provenance:
        """What an export says of itself."""
        return Provenance(self.hash, self.parent, self.author, self.created_at_ns, self.message)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: the revision that now holds the content, and whether it is new."""

    revision: Revision
    changed: bool
    warnings: tuple[Problem, ...] = ()
    merged: Configuration | None = None  # what is stored, where that is not what was given


@dataclass(frozen=True, slots=True)
class TagChange:
    """One entry of a tag's history."""

    name: str
    revision: str
    person: str
    at_ns: int


def import_configuration(
    engine: Engine,
    configuration: Configuration,
    author: str,
    message: str,
    now_ns: int,
    select_it: bool = True,
    base: str = "",
    merge_sides: bool = False,
) -> Imported:
    """Store a configuration as a child of the current revision and, with `select_it`, make it current.

    `base` names the revision that it was made from, instead of what the configuration says itself; `merge_sides`
    puts together what both sides have changed since. Content equal to the current revision's, or to the one that it
    says it is, gives that revision. All or nothing is stored.

    Raises `UnknownRevision` for `base`, `Conflict` with both sides, and `ConfigurationError` for what was merged.
    """
    with writing(engine) as connection:
        tree = tree_of(to_document(configuration))
        current_hash = _tagged(connection, CURRENT)
        current = _revision(connection, current_hash) if current_hash else None
        together = None
        found, warnings = _base(connection, configuration.provenance, base)
        if (same := _same(tree, found, current)) is not None:
            if select_it:
                _set_tag(connection, CURRENT, same.hash, author, now_ns)
            return Imported(same, changed=False, warnings=warnings)
        told = configuration.provenance
        if told is not None and found is None and told.is_of(tree.root):  # as it is, from another database
            warnings = ()
            _add_objects(connection, tree)
            revision = Revision(told.hash, tree.root, told.parent, told.author, told.created_at_ns, told.message)
            _add_revision(connection, revision)
        else:
            if found is not None and current is not None and found.root != current.root:
                together = _reconciled(connection, found, configuration, current, merge_sides)
                tree = tree_of(to_document(together))
            _add_objects(connection, tree)
            revision = _commit(connection, tree.root, current_hash, author, message, now_ns)
        if select_it or current is None:
            _set_tag(connection, CURRENT, revision.hash, author, now_ns)
        return Imported(revision, changed=True, warnings=warnings, merged=together)


def _base(connection: Connection, told: Provenance | None, named: str) -> tuple[Revision | None, tuple[Problem, ...]]:
    """The revision that a configuration was made from; None with a warning when it says one that nobody knows here."""
    if named:
        return _find(connection, named), ()
    if told is None:
        return None, ()
    try:
        return _find(connection, told.hash), ()
    except UnknownRevision:
        what = f"revision {told.hash[:10]}, from which this was made, is not known here"
        return None, (Problem("revision", what, "whether others have changed the same since cannot be told"),)


def _same(tree: Tree, base: Revision | None, current: Revision | None) -> Revision | None:
    """The revision that has this content already and is meant by it."""
    for revision in (current, base):
        if revision is not None and revision.root == tree.root:
            return revision
    return None


def _reconciled(
    connection: Connection, base: Revision, mine: Configuration, theirs: Revision, merge_sides: bool
) -> Configuration:
    """What to store where both sides have changed what they began with; raises `Conflict` unless that is wanted."""
    began, current = (
        from_document(_document(connection, revision), f"revision {revision.short}") for revision in (base, theirs)
    )
    both, conflicts = merge(to_document(began), to_document(mine), to_document(current))
    if merge_sides and not conflicts:
        return from_document(both, "the merged configuration")
    raise Conflict(
        base.short,
        theirs.short,
        theirs.author,
        [str(change) for change in changes(began, mine)],
        [str(change) for change in changes(began, current)],
        [conflict.place for conflict in conflicts],
    )


def _add_objects(connection: Connection, tree: Tree) -> None:
    for key, (kind, content) in tree.objects.items():
        add_row_once(connection, object_table, {"hash": key, "kind": kind, "content": content})


def _commit(connection: Connection, root: str, parent: str, author: str, message: str, now_ns: int) -> Revision:
    key = revision_hash(root, parent, author, now_ns, message)
    revision = Revision(key, root, parent, author, now_ns, message)
    _add_revision(connection, revision)
    return revision


def _add_revision(connection: Connection, revision: Revision) -> None:
    """A revision of another database may have a parent that is not here: it is kept beside, for the hash covers it."""
    query = select(revision_table.c.hash).where(revision_table.c.hash == revision.parent)
    parent = connection.execute(query).scalar_one_or_none()
    row = {
        "hash": revision.hash,
        "root": revision.root,
        "parent": parent,
        "absent_parent": "" if parent else revision.parent,
        "author": revision.author,
        "created_at_ns": revision.created_at_ns,
        "message": revision.message,
    }
    add_row_once(connection, revision_table, row)


def load_configuration(engine: Engine, name: str = CURRENT) -> tuple[Revision, Configuration]:
    """The revision that a tag, a hash or a unique prefix of one names, with its configuration.

    Raises `UnknownRevision`, `DamagedRevision`, or `ConfigurationError` when this version of grange finds fault with
    what an older one accepted.
    """
    with reading(engine) as connection:
        revision = _find(connection, name)
        document = _document(connection, revision)
    return revision, from_document(document, f"revision {revision.short}")


def _document(connection: Connection, revision: Revision) -> dict[str, Any]:
    root = _object(connection, revision.root, ROOT)
    document: dict[str, Any] = {}
    for section, kind in SINGLE.items():
        document[section] = _object(connection, root[section], kind)
    for section, kind in NAMED.items():
        document[section] = {key: _object(connection, value, kind) for key, value in root[section].items()}
    return document


def compare(engine: Engine, before: str, after: str) -> tuple[Revision, Revision, tuple[Change, ...]]:
    """What changed between two revisions, each named as for `load_configuration`, which says what this raises."""
    old, new = load_configuration(engine, before), load_configuration(engine, after)
    return old[0], new[0], changes(old[1], new[1])


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
    parent = row["parent"] or row["absent_parent"]
    return Revision(row["hash"], row["root"], parent, row["author"], row["created_at_ns"], row["message"])


def _object(connection: Connection, key: str, kind: str) -> Any:
    content = connection.execute(select(object_table.c.content).where(object_table.c.hash == key)).scalar_one_or_none()
    if content is None or object_hash(kind, content) != key:
        what = "is missing" if content is None else "was changed"
        raise DamagedRevision(f"the stored {kind} {key[:10]} {what}; restore the database from a backup")
    return json.loads(content)


def log(engine: Engine, name: str = "", limit: int = 100) -> list[Revision]:
    """All revisions, newest first; or the one of that name and its ancestors. At most `limit`.

    Raises `UnknownRevision`; without a name only when there is no revision at all.
    """
    with reading(engine) as connection:
        if not name:
            newest = revision_table.c.created_at_ns.desc(), revision_table.c.hash
            rows = connection.execute(select(revision_table).order_by(*newest).limit(limit))
            return [_as_revision(row._mapping) for row in rows] or [_find(connection, CURRENT)]
        revisions = [_find(connection, name)]
        while len(revisions) < limit and (parent := _stored_parent(connection, revisions[-1].hash)):
            revisions.append(_revision(connection, parent))
    return revisions


def _stored_parent(connection: Connection, key: str) -> str:
    query = select(revision_table.c.parent).where(revision_table.c.hash == key)
    return connection.execute(query).scalar_one_or_none() or ""


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


def tagged(engine: Engine, name: str) -> str:
    """The hash that a tag points at. Raises `UnknownRevision`."""
    with reading(engine) as connection:
        if found := _tagged(connection, name):
            return found
        known = list(connection.execute(select(tag_table.c.name)).scalars())
    raise UnknownRevision(f'there is no tag "{name}"; {_what_there_is(name, known)}')


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
