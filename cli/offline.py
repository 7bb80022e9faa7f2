"""The database without a controller: configuration and runs of a farm that nobody controls at the moment.

Expert mode. It is entered by itself when nobody serves the home's socket, whose lock it then shares for as long as the
database is open, so that no controller starts in between. The answers are the same values as the client's.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from grange.client import Farm, RunRecord
from grange.client.asynchronous import read_configuration
from grange.client.home import demand_farm, resolve_home
from grange.client.person import user_name
from grange.client.reading import read_run
from grange.client.security import read_audit_entry
from grange.client.values import AuditEntry, Exported, Imported, Revision
from grange.controllers.audit_messages import entry_message
from grange.controllers.run_messages import details_message, run_message
from grange.core.configuration import to_json
from grange.core.configuration_text import parse
from grange.core.errors import AddressInUse, GrangeError, InvalidInput
from grange.core.home import Home
from grange.core.names import State
from grange.core.problems import ConfigurationError, Problem
from grange.core.wording import demand_comment
from grange.proto.sockets import SocketLock
from grange.schema import audit, revisions
from grange.schema import runs as registry
from grange.schema.database import open_database, sqlite_url
from grange.schema.errors import SchemaError, UnknownRevision, UnknownRun

_NS = 1e-9


class Store(Protocol):
    """Configurations and runs, through a controller or without one."""

    def config_import(self, file: str | os.PathLike[str], *, message: str = "", use: bool = True) -> Imported: ...
    def config_export(self, revision: str = "") -> Exported: ...
    def config_list(self, most: int = 50) -> tuple[Revision, ...]: ...
    def config_use(self, revision: str) -> Revision: ...
    def runs(self, most: int = 20) -> tuple[RunRecord, ...]: ...
    def run(self, number: int) -> RunRecord: ...
    def audit(self, most: int = 50, *, since_unix_s: float = 0.0, person: str = "") -> tuple[AuditEntry, ...]: ...


@contextmanager
def open_store(given: Path | None, *, create: bool = False) -> Iterator[Store]:
    """The farm's configurations and runs: from its controller, or from its database when no controller holds the farm.

    Raises `InvalidInput` when there is no farm in that home yet, unless it is to be created.
    """
    home = resolve_home(given)
    if not create:
        demand_farm(home)
    try:
        lock = None if _is_anothers(home) else SocketLock(home.farm_socket, shared=True)
    except AddressInUse:
        lock = None
    if lock is None:
        with Farm(home.root) as farm:
            yield farm
        return
    with lock, _translated(), _opened(home) as store:
        yield store


def go_first(store: Store) -> State | None:
    """Where the farm has to go before a load can take what is selected: its controller knows, and nobody else."""
    return store.status(depth=0).go_first if isinstance(store, Farm) else None


def _is_anothers(home: Home) -> bool:
    """Whether the home is closed to us, but for its controller."""
    return os.path.isdir(home.root) and not os.access(home.root, os.W_OK)


@contextmanager
def _opened(home: Home) -> Iterator["_Database"]:
    database = _Database(sqlite_url(Path(home.database)))
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _translated() -> Iterator[None]:
    """The database's and the parser's errors as those that a controller would have answered with."""
    try:
        yield
    except ConfigurationError as error:
        count = len(error.problems)
        reason = f"{error.source}: {count} problem{'s' if count > 1 else ''}; nothing was stored"
        raise InvalidInput(error.problems, reason=reason) from None
    except (UnknownRevision, UnknownRun) as error:
        text, _, hint = str(error).partition("; ")
        raise InvalidInput([Problem("", text)], hint[:1].upper() + hint[1:]) from None
    except SchemaError as error:
        raise GrangeError(str(error), error.what_to_try) from error


class _Database:
    """`Store` on a database of its own."""

    def __init__(self, url: str) -> None:
        self._engine = open_database(url)

    def close(self) -> None:
        self._engine.dispose()

    def config_import(self, file: str | os.PathLike[str], *, message: str = "", use: bool = True) -> Imported:
        demand_comment("message", message)
        text, format = read_configuration(file)
        configuration = parse(text, format, os.fspath(file))
        imported = revisions.import_configuration(
            self._engine, configuration, user_name(), message, time.time_ns(), use
        )
        return Imported(self._revision(imported.revision), not imported.changed, configuration.warnings)

    def config_export(self, revision: str = "") -> Exported:
        found, configuration = revisions.load_configuration(self._engine, revision or revisions.CURRENT)
        return Exported(self._revision(found), to_json(configuration))

    def config_list(self, most: int = 50) -> tuple[Revision, ...]:
        return tuple(self._revision(revision) for revision in revisions.log(self._engine, limit=most))

    def config_use(self, revision: str) -> Revision:
        found = revisions.set_tag(self._engine, revisions.CURRENT, revision, user_name(), time.time_ns())
        return self._revision(found)

    def runs(self, most: int = 20) -> tuple[RunRecord, ...]:
        return tuple(read_run(run_message(run)) for run in registry.runs(self._engine, most))

    def run(self, number: int) -> RunRecord:
        return read_run(details_message(registry.run_details(self._engine, number)))

    def audit(self, most: int = 50, *, since_unix_s: float = 0.0, person: str = "") -> tuple[AuditEntry, ...]:
        found = audit.entries(self._engine, most, round(since_unix_s / _NS), person)
        return tuple(read_audit_entry(entry_message(entry)) for entry in found)

    def _revision(self, revision: revisions.Revision) -> Revision:
        tags = tuple(name for name, hash in revisions.tags(self._engine).items() if hash == revision.hash)
        at = revision.created_at_ns * _NS
        return Revision(revision.hash, revision.parent, revision.author, revision.message, at, tags)
