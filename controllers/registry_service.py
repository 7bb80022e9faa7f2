"""Configuration and Runs, as the farm controller serves them from its database.

What the next load takes is part of commanding a farm: selecting it is held to the lease, and in the audit trail.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from grange.core.errors import GrangeError
from grange.core.plan import FarmSpec
from grange.proto import configuration_pb2, runs_pb2
from grange.proto.gate import Caller

from . import configuring
from .database_errors import translated
from .run_messages import get_run, list_runs
from .store import Store
from .trail import Trail

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
        response, configuration = await self._ask(configuring.import_, request, caller.person, time.time_ns())
        if request.use:
            self._selected(self._store.plan(response.revision.hash, configuration))
        return response

    async def export(
        self, request: configuration_pb2.ExportRequest, caller: Caller
    ) -> configuration_pb2.ExportResponse:
        return await self._ask(configuring.export, request)

    async def list_revisions(
        self, request: configuration_pb2.ListRevisionsRequest, caller: Caller
    ) -> configuration_pb2.ListRevisionsResponse:
        return await self._ask(configuring.list_revisions, request)

    async def use(self, request: configuration_pb2.UseRequest, caller: Caller) -> configuration_pb2.UseResponse:
        with self._noted(caller, f"config use {request.revision}"):
            response, configuration = await self._ask(configuring.use, request, caller.person, time.time_ns())
            self._selected(self._store.plan(response.revision.hash, configuration))
            return response

    async def diff(self, request: configuration_pb2.DiffRequest, caller: Caller) -> configuration_pb2.DiffResponse:
        return await self._ask(configuring.diff, request)

    async def set_tag(
        self, request: configuration_pb2.SetTagRequest, caller: Caller
    ) -> configuration_pb2.SetTagResponse:
        with self._noted(caller, f"config tag {request.name} {request.revision}".rstrip(), selects=False):
            return await self._ask(configuring.set_tag, request, caller.person, time.time_ns())

    async def list_tags(
        self, request: configuration_pb2.ListTagsRequest, caller: Caller
    ) -> configuration_pb2.ListTagsResponse:
        return await self._ask(configuring.list_tags, request)

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        with translated():
            return await self._store.read(question, *arguments)


class RunsService:
    """The handlers of Runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_runs(self, request: runs_pb2.ListRunsRequest, caller: Caller) -> runs_pb2.ListRunsResponse:
        await self._store.caught_up()
        with translated():
            response = await self._store.read(list_runs, request)
        response.behind = self._store.behind()
        return response

    async def get_run(self, request: runs_pb2.GetRunRequest, caller: Caller) -> runs_pb2.GetRunResponse:
        await self._store.caught_up()
        with translated():
            response = await self._store.read(get_run, request)
        response.behind = self._store.behind()
        return response
