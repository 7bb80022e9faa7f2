"""The schema of this version as SQL text, kept under tests/released/ with every release.

A later version's tests build a database from it, upgrade that and compare; this version's compare it with its own.
"""

import sqlite3
from contextlib import closing

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from .migrate import upgrade


def dump() -> str:
    """SQL (for SQLite) that builds an empty database of the newest schema version, its version row included."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        upgrade(engine)
        with closing(engine.raw_connection()) as connection:
            database = connection.driver_connection
            assert isinstance(database, sqlite3.Connection)
            statements = list(database.iterdump())
    finally:
        engine.dispose()
    inside = [statement for statement in statements if statement not in ("BEGIN TRANSACTION;", "COMMIT;")]
    return "\n".join(["BEGIN TRANSACTION;", *inside, "COMMIT;", ""])
