"""Logs for people far away: each request is one task that sends pieces of a log until its end, or until cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from grange.proto import tree_pb2

from .output import follow

REQUESTS_MAX = 64  # open at a time


class LogReader:
    """The open requests of one parent."""

    def __init__(self, send: Callable[[tree_pb2.FromChild], Awaitable[None]]) -> None:
        self._send = send
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def read(self, request: tree_pb2.ReadLog, path: Path | None) -> None:
        """Begin or cancel a request; `path` is the log, None when the process is not known here."""
        number = request.request_id
        if former := self._tasks.pop(number, None):
            former.cancel()
        if request.cancel:
            return
        self._tasks[number] = asyncio.create_task(self._run(request, path))
        self._tasks[number].add_done_callback(lambda task: self._done(number, task))

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        if self._tasks.get(number) is task:
            del self._tasks[number]

    async def _run(self, request: tree_pb2.ReadLog, path: Path | None) -> None:
        number = request.request_id
        error = ""
        if path is None:
            error = f"nothing was ever started as {request.path} on this node"
        elif len(self._tasks) > REQUESTS_MAX:
            error = f"{REQUESTS_MAX} logs of this node are being read already: end one of them first"
        else:
            try:
                async for data in follow(path, request.lines, on=request.follow):
                    await self._send(tree_pb2.FromChild(log=tree_pb2.LogChunk(request_id=number, data=data)))
            except OSError as problem:
                error = f"the log of {request.path} cannot be read: {problem.strerror}"
        await self._send(tree_pb2.FromChild(log=tree_pb2.LogChunk(request_id=number, end=True, error=error)))

    def cancel_all(self) -> None:
        """The stream that asked is gone."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
