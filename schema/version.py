"""Which schema version a database has: one cheap question, asked at every start.

Alembic could answer it, but takes longer to load than a farm controller's database takes to open.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select

# Alembic's own, one row; no table of ours, so not with them
_table = Table("alembic_version", MetaData(), Column("version_num", Text))


def version_of(connection: Connection) -> str:
    """The schema version of a database; empty for one without a schema."""
    if not inspect(connection).has_table(_table.name):
        return ""
    return connection.execute(select(_table.c.version_num)).scalar() or ""


def version_at(database: Path) -> str:
    """The schema version of a SQLite file as it lies there, which opening would bring up to date; empty for none."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(str(select(_table.c.version_num))).fetchone()
    except sqlite3.Error:
        return ""
    return str(found[0]) if found else ""
