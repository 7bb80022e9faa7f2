"""Whether a database is sound: what its engine says of its pages, and what its own hashes and references say.

Reads only. A configuration that is damaged is told by the revisions that need it, for these cannot be loaded any more.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, select

from grange.core.addressing import NAMED, ROOT, SINGLE, object_hash, revision_hash

from .database import reading
from .tables import object_table, revision_table, run_table
from .version import version_of

FAULTS_TOLD_MAX = 20


@dataclass(frozen=True, slots=True)
class Soundness:
    """What a check has found."""

    version: str  # of the schema
    revisions: int
    objects: int
    runs: int
    faults: tuple[str, ...]  # empty: it is sound


def check(engine: Engine) -> Soundness:
    """Looks at everything. Raises `DatabaseAway` or `DatabaseDamaged` when it cannot even be read."""
    with reading(engine) as connection:
        tables = (revision_table, object_table, run_table)
        revisions, objects, runs = (_count(connection, table) for table in tables)
        faults = tuple(_faults(connection))
        return Soundness(version_of(connection), revisions, objects, runs, faults)


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _faults(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (line,) in connection.exec_driver_sql(f"PRAGMA integrity_check({FAULTS_TOLD_MAX})"):
            if line != "ok":
                yield f"its file: {line}"
        for table, row, other, _ in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(FAULTS_TOLD_MAX):
            yield f"row {row} of {table} points at a {other} that does not exist"
    objects: dict[str, str] = {}  # hash -> what is wrong with it, or ""
    roots: dict[str, list[str]] = {}  # root -> the objects that it names
    for key, kind, content in connection.execute(select(object_table)):
        whole = object_hash(kind, content) == key
        objects[key] = "" if whole else f"the stored {kind} {key[:10]} was changed"
        if whole and kind == ROOT:
            roots[key] = list(_named(json.loads(content)))
    for row in connection.execute(select(revision_table)):
        told = row.parent or row.absent_parent
        if revision_hash(row.root, told, row.author, row.created_at_ns, row.message) != row.hash:
            yield f"revision {row.hash[:10]}: what it says of itself was changed"
        for key in (row.root, *roots.get(row.root, ())):
            if fault := objects.get(key, f"object {key[:10]} is missing"):
                yield f"revision {row.hash[:10]} cannot be loaded: {fault}"


def _named(root: dict[str, Any]) -> Iterator[str]:
    for section in SINGLE:
        yield root[section]
    for section in NAMED:
        yield from root[section].values()
