"""Which schema version a database has: one cheap question, asked at every start.

Alembic could answer it, but takes longer to load than a farm controller's database takes to open.
"""

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select

# Alembic's own, one row; no table of ours, so not with them
_table = Table("alembic_version", MetaData(), Column("version_num", Text))


def version_of(connection: Connection) -> str:
    """The schema version of a database; empty for one without a schema."""
    if not inspect(connection).has_table(_table.name):
        return ""
    return connection.execute(select(_table.c.version_num)).scalar() or ""
