"""Bringing a database to the schema of this version, or refusing one that is ahead of it.

Schema versions are numbered (`0001`, `0002`, …), one migration each. The upgrade runs in one transaction, under a lock,
so that two programs that open a fresh database together do not both build it.

`database.py` loads this module, and with it Alembic, only for a database of another version than its own.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select

from .errors import DatabaseRefused
from .version import version_of

_ADVISORY_LOCK = 0x6772616E6765  # "grange": the key of PostgreSQL's advisory lock around an upgrade


def _config() -> Config:
    config = Config()
    # Alembic interpolates "%" in its options
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """The newest schema version that this program knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None, "the package is without its migrations"
    return newest


def upgrade(engine: Engine, to: str = "head") -> None:
    """Create or upgrade the schema. Raises `DatabaseRefused` for a database of a later version.

    `to` another version than the newest is for tests of what was released.
    """
    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        found = version_of(connection)
        if found and found not in known:
            raise DatabaseRefused(
                f"the database has schema version {found}, this grange knows versions up to {head()}; "
                "use the grange that upgraded it, or a newer one"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, to)
