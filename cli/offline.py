"""The database without a controller: configuration and runs of a farm that nobody controls at the moment.

Expert mode. It is entered by itself when nobody serves the home's socket, whose lock it then shares for as long as the
database is open, so that no controller starts in between. It is the same client, whose calls are answered here, in this
program, as a controller would answer them.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from google.protobuf.message import Message

from grange.client import Farm
from grange.client.home import demand_farm, resolve_home
from grange.client.person import user_name
from grange.controllers import configuring
from grange.controllers.audit_messages import list_audit
from grange.controllers.database_errors import translated
from grange.controllers.run_messages import get_run, list_runs
from grange.core.errors import AddressInUse, GrangeError, Unavailable
from grange.core.home import Home
from grange.core.names import State
from grange.proto.configuration_pb2 import ImportRequest
from grange.proto.sockets import SocketLock
from grange.proto.stub import ConfigurationStub, Response, RunsStub, SecurityStub, Stubs
from grange.schema.database import Database, open_database, sqlite_url
from grange.schema.errors import SchemaError


@contextmanager
def open_store(given: Path | None, *, create: bool = False) -> Iterator[Farm]:
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
    with lock, _opened(home) as farm:
        yield farm


def go_first(farm: Farm, given: Path | None) -> State | None:
    """Where the farm has to go before a load can take what is selected: its controller knows, and nobody else.

    `unknown` where parts of the farm are, or may be, up without it.
    """
    if not farm.is_offline:
        return farm.status(depth=0).go_first
    return State.UNKNOWN if any(Path(resolve_home(given).root).glob("sf/*/c.sock")) else None


def _is_anothers(home: Home) -> bool:
    """Whether the home is closed to us, but for its controller."""
    return os.path.isdir(home.root) and not os.access(home.root, os.W_OK)


@contextmanager
def _opened(home: Home) -> Iterator[Farm]:
    """The database as a farm; where there is none, it is made when something is to be kept in it."""
    path = Path(home.database)

    @cache
    def database() -> Database:
        try:
            found = open_database(sqlite_url(path))
        except SchemaError as error:  # no controller is missed here, so not what `translated` makes of one that is away
            raise GrangeError(str(error), error.what_to_try) from error
        undone.callback(found.dispose)
        return found

    with ExitStack() as undone:
        if path.exists():
            database()  # what is wrong with it is told before what is wrong with the question
        with Farm(home.root, stubs=_Here(database)) as farm:
            yield farm


class _Answered:
    """Calls of a stub answered in this program, by their names; others have nobody to answer them."""

    def __init__(self, answers: Mapping[str, Callable[[Any], Message]]) -> None:
        self._answers = answers

    async def _ask(self, method: str, request: Message, answer: type[Response], timeout_s: float) -> Response:
        if method not in self._answers:
            raise _nobody()
        with translated():
            response = self._answers[method](request)
        assert isinstance(response, answer)
        return response


class _Configuration(_Answered, ConfigurationStub):
    pass


class _Runs(_Answered, RunsStub):
    pass


class _Security(_Answered, SecurityStub):
    pass


class _Here(Stubs):
    """Answers the calls about configurations, runs and the audit trail from a database."""

    def __init__(self, database: Callable[[], Database]) -> None:
        def now() -> tuple[str, int]:
            return user_name(), time.time_ns()

        def import_(request: ImportRequest) -> Message:
            configuring.checked(request)  # before a database is made for it
            return configuring.import_(database(), request, *now())[0]

        self.configuration = _Configuration(
            {
                "Import": import_,
                "Export": lambda request: configuring.export(database(), request),
                "ListRevisions": lambda request: configuring.list_revisions(database(), request),
                "Use": lambda request: configuring.use(database(), request, *now())[0],
                "Diff": lambda request: configuring.diff(database(), request),
                "SetTag": lambda request: configuring.set_tag(database(), request, *now()),
                "ListTags": lambda request: configuring.list_tags(database(), request),
            }
        )
        self.runs = _Runs(
            {
                "ListRuns": lambda request: list_runs(database(), request),
                "GetRun": lambda request: get_run(database(), request),
            }
        )
        self.security = _Security({"ListAudit": lambda request: list_audit(database(), request)})

    def __getattr__(self, name: str) -> NoReturn:
        raise _nobody()

    async def close(self) -> None:
        """Nothing is open."""


def _nobody() -> Unavailable:
    return Unavailable("no controller holds this farm", "Start one with: grange up")
