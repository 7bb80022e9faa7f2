"""The schema of this version as SQL text, kept under tests/released/ with every release.

A later version's tests build a database from it, upgrade that and compare; and see that what was released has not
changed.
"""

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from .migrate import upgrade


def dump(version: str = "head") -> str:
    """SQL (for SQLite) that builds an empty database of a schema version, its version row included."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        upgrade(engine, version)
        with engine.connect() as connection:
            # tables before their indexes, these before triggers, each in order of its name
            query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'trigger', type DESC, name"
            statements = [row.sql for row in connection.exec_driver_sql(query)]
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    finally:
        engine.dispose()
    statements.append(f"INSERT INTO alembic_version (version_num) VALUES ('{found}')")
    lines = "".join(f"{statement};\n" for statement in statements).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)
