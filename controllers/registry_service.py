"""Configuration and Runs, as the farm controller serves them from its database.

What the next load takes is part of commanding a farm: selecting it is held to the lease, and in the audit trail.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, TypeVar

from grange.core.configuration import to_json
from grange.core.configuration_text import parse
from grange.core.errors import GrangeError, InvalidInput, Unavailable, UnknownRevision, UnknownRun
from grange.core.plan import FarmSpec
from grange.core.problems import ConfigurationError, Problem
from grange.core.wording import demand_comment
from grange.proto import configuration_pb2, runs_pb2
from grange.proto.gate import Caller
from grange.schema import errors, revisions
from grange.schema import runs as registry

from .run_messages import details_message, run_message
from .store import Store
from .trail import Trail

_NS = 1e-9
_LISTED_MOST = 1000

T = TypeVar("T")


class ConfigurationService:
    """The handlers of Configuration.

    `selected` is told what the next load takes whenever that changes, `may_select` asked whether a person may do that:
    it raises `Refused`.
    """

    def __init__(
        self, store: Store, selected: Callable[[FarmSpec], None], may_select: Callable[[str], None], trail: Trail
    ) -> None:
        self._store = store
        self._selected = selected
        self._may_select = may_select
        self._trail = trail

    @contextlib.contextmanager
    def _noted(self, caller: Caller, what: str, comment: str = "", *, selects: bool = True) -> Iterator[None]:
        """Holds a change to the lease, and puts it into the audit trail with how it went."""
        try:
            if selects:
                self._may_select(caller.person)
            yield
        except GrangeError as error:
            self._trail.refused(caller, what, error, comment=comment)
            raise
        self._trail.done(caller, what, comment=comment)

    async def import_(
        self, request: configuration_pb2.ImportRequest, caller: Caller
    ) -> configuration_pb2.ImportResponse:
        what = f"config import {request.source}".rstrip()
        with self._noted(caller, what, request.message, selects=request.use):
            return await self._import(request, caller)

    async def _import(
        self, request: configuration_pb2.ImportRequest, caller: Caller
    ) -> configuration_pb2.ImportResponse:
        demand_comment("message", request.message)
        formats: dict[str, Literal["json", "toml"]] = {"json": "json", "toml": "toml"}
        if request.format not in formats:
            raise InvalidInput([Problem("format", f"json or toml, not {request.format!r}")])
        source = request.source or "configuration"
        try:
            configuration = await asyncio.to_thread(parse, request.text, formats[request.format], source)
        except ConfigurationError as error:
            raise _as_invalid(error) from None
        imported = await _translated(
            self._store.read(
                revisions.import_configuration,
                configuration,
                caller.person,
                request.message,
                time.time_ns(),
                request.use,
            )
        )
        if request.use:
            self._selected(self._store.plan(imported.revision.hash, configuration))
        return configuration_pb2.ImportResponse(
            revision=await self._revision(imported.revision),
            unchanged=not imported.changed,
            warnings=[
                configuration_pb2.Problem(place=warning.place, what=warning.what, nearest=warning.hint)
                for warning in configuration.warnings
            ],
        )

    async def export(
        self, request: configuration_pb2.ExportRequest, caller: Caller
    ) -> configuration_pb2.ExportResponse:
        found, configuration = await _translated(
            self._store.read(revisions.load_configuration, request.revision or revisions.CURRENT)
        )
        return configuration_pb2.ExportResponse(revision=await self._revision(found), text=to_json(configuration))

    async def list_revisions(
        self, request: configuration_pb2.ListRevisionsRequest, caller: Caller
    ) -> configuration_pb2.ListRevisionsResponse:
        most = min(request.most or 50, _LISTED_MOST)
        found = await _translated(self._store.read(revisions.log, limit=most))
        return configuration_pb2.ListRevisionsResponse(revisions=[await self._revision(one) for one in found])

    async def use(self, request: configuration_pb2.UseRequest, caller: Caller) -> configuration_pb2.UseResponse:
        with self._noted(caller, f"config use {request.revision}"):
            return await self._use(request, caller)

    async def _use(self, request: configuration_pb2.UseRequest, caller: Caller) -> configuration_pb2.UseResponse:
        _, configuration = await _translated(self._store.read(revisions.load_configuration, request.revision))
        found = await _translated(
            self._store.read(revisions.set_tag, revisions.CURRENT, request.revision, caller.person, time.time_ns())
        )
        self._selected(self._store.plan(found.hash, configuration))
        return configuration_pb2.UseResponse(revision=await self._revision(found))

    async def _revision(self, revision: revisions.Revision) -> configuration_pb2.Revision:
        tags = await _translated(self._store.read(revisions.tags))
        return configuration_pb2.Revision(
            hash=revision.hash,
            parent=revision.parent,
            author=revision.author,
            message=revision.message,
            at_unix_s=revision.created_at_ns * _NS,
            tags=[name for name, target in tags.items() if target == revision.hash],
        )


class RunsService:
    """The handlers of Runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_runs(self, request: runs_pb2.ListRunsRequest, caller: Caller) -> runs_pb2.ListRunsResponse:
        most = min(request.most or 20, _LISTED_MOST)
        await self._store.caught_up()
        found = await _translated(self._store.read(registry.runs, most))
        return runs_pb2.ListRunsResponse(runs=[run_message(run) for run in found], behind=self._store.behind())

    async def get_run(self, request: runs_pb2.GetRunRequest, caller: Caller) -> runs_pb2.GetRunResponse:
        await self._store.caught_up()
        details = await _translated(self._store.read(registry.run_details, request.number))
        return runs_pb2.GetRunResponse(run=details_message(details), behind=self._store.behind())


async def _translated(reading: Awaitable[T]) -> T:
    """The database's errors as those that cross the wire."""
    try:
        return await reading
    except errors.UnknownRevision as error:
        raise _not_found(UnknownRevision, error) from None
    except errors.UnknownRun as error:
        raise _not_found(UnknownRun, error) from None
    except ConfigurationError as error:
        raise _as_invalid(error) from None
    except errors.SchemaError as error:
        raise Unavailable(str(error), errors.TRY_AGAIN) from error
    except ValueError as error:
        raise InvalidInput([Problem("", str(error))]) from None


def _not_found(cls: type[Any], error: Exception) -> GrangeError:
    text, _, hint = str(error).partition("; ")
    if cls is UnknownRevision and '"' not in text:  # it is not the name that is wrong: there is none at all
        return InvalidInput([Problem("revision", text)], hint[:1].upper() + hint[1:])
    name = text.split('"')[1] if '"' in text else text.removeprefix("there is no run ")
    found = cls(name, (), hint[:1].upper() + hint[1:])
    assert isinstance(found, GrangeError)
    return found


def _as_invalid(error: ConfigurationError) -> InvalidInput:
    count = len(error.problems)
    reason = f"{error.source}: {count} problem{'s' if count > 1 else ''}; nothing was stored"
    return InvalidInput(error.problems, reason=reason)
