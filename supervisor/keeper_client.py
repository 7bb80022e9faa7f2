"""The agent's line to its keeper: requests, events, and a new keeper when the old one is gone.

Every request is safe to repeat, so a request that has no answer when the line drops is sent again, in its place, over
the next line. After each hello the keeper's list of all processes goes to `on_list`, so an exit that happened meanwhile
is not missed. The protocol is described in `keeper.py`.

A keeper that is stopped or hangs keeps its line open, so it is asked every second whether it is there, and whatever it
says counts as an answer. Without one for so many seconds it is killed, as one that is gone can be replaced without any
harm to the processes, and one that hangs cannot. When that does not help either (SIGKILL waits for a disk that hangs,
a new keeper cannot be started) it is *silent*: `on_silent` is called then, and `on_heard` when it, or the next one, is
heard again.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from grange.core.liveness import Backoff

from .node_directory import NodeDirectory

KEEPER_PROGRAM = Path(__file__).with_name("keeper.py")  # run by its path, never imported
LAUNCH_AFTER_S = 0.1  # without a keeper that answers; one that is just being started needs less
REDIAL = (0.02, 0.5)  # first and longest wait between attempts, in seconds
PING_INTERVAL_S = 1.0
OWES_AFTER_PINGS = 2  # unanswered: enough to name the keeper when something else is late …
REPLACED_AFTER_PINGS = 5  # … and enough to kill it: a keeper answers at once, whatever the load
SILENT_AFTER_PINGS = 8  # … for another to have come, if one can
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
LINE_BYTES_MAX = 64 * 1024 * 1024  # the list of all processes with their specifications is one line

_log = logging.getLogger(__name__)


class Replaced(Exception):
    """The keeper has started a newer agent: this one ends itself and touches nothing."""


class KeeperClient:
    """`run()` keeps the line up; `request()` may be called at any time and is answered when there is a keeper."""

    def __init__(
        self,
        directory: NodeDirectory,
        incarnation: int,
        sockets: tuple[int, ...],
        python: str,
        on_list: Callable[[dict[str, Any]], None],
        on_event: Callable[[dict[str, Any]], None],
        on_silent: Callable[[int], None],  # with the keeper's process id, 0 when there is none that is known
        on_heard: Callable[[], None],
        on_lost: Callable[[], None],  # the line to it dropped, and the end was not asked for
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,  # between pings
    ) -> None:
        self._directory = directory
        self._incarnation = incarnation
        self._sockets = sockets  # the listening ends that this agent holds, for a keeper that it starts
        self._python = python
        self._on_list = on_list
        self._on_event = on_event
        self._on_silent = on_silent
        self._on_heard = on_heard
        self._on_lost = on_lost
        self._pause = pause
        self._launched: set[subprocess.Popen[bytes]] = set()  # keepers that have not ended
        self._unheard = 0  # intervals without a word of the keeper
        self._pid = 0  # of the keeper at the other end of the line
        self._last_pid = 0  # of the keeper that was there last
        self._pidfd = -1  # of it, so that nobody else is ever killed for it
        self._writer: asyncio.StreamWriter | None = None
        self._number = 0
        self._unsent: list[bytes] = []  # of this turn of the event loop, while there is a line
        self._unanswered: dict[int, tuple[bytes, asyncio.Future[dict[str, Any]]]] = {}
        self.ending = False  # `end` was accepted: a keeper that goes away now is not missed

    def request(self, op: str, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Send a request; the future gets the keeper's answer, a refusal too (`ok` is false then)."""
        self._number += 1
        line = json.dumps({"op": op, "id": self._number} | fields).encode() + b"\n"
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._unanswered[self._number] = (line, future)
        if self._writer is not None:
            if not self._unsent:
                asyncio.get_running_loop().call_soon(self._send)
            self._unsent.append(line)
        return future

    def _send(self) -> None:
        """All requests of one turn in one message: the keeper puts all spawns that come together on disk at once."""
        lines, self._unsent = self._unsent, []
        if self._writer is not None:
            self._writer.write(b"".join(lines))

    @property
    def pid(self) -> int:
        """The process id of the keeper at the other end of the line; 0 when there is none."""
        return self._pid

    @property
    def silent_pid(self) -> int | None:
        """The process id of a keeper that is silent, as for `on_silent`; None when it is not."""
        return self._pid if self._unheard >= SILENT_AFTER_PINGS else None

    @property
    def owing_pid(self) -> int:
        """The process id of a keeper that should have answered by now; 0 when it has."""
        return self._pid if self._unheard >= OWES_AFTER_PINGS else 0

    async def watch(self) -> None:
        """Ask again and again whether the keeper is there; until it is cancelled."""
        ping = json.dumps({"op": "ping", "id": -1}).encode() + b"\n"
        while True:
            # Of one that is silent enough is asked: what it was asked it answers when it comes back.
            if self._writer is not None and self._unheard <= SILENT_AFTER_PINGS:
                self._writer.write(ping)
            await self._pause(PING_INTERVAL_S)
            self._unheard += 1
            if self._unheard == REPLACED_AFTER_PINGS and not self.ending:
                self._kill()
            if self._unheard == SILENT_AFTER_PINGS and not self.ending:
                _log.error("the keeper (pid %d) has not answered for %g s", self._pid, self._unheard * PING_INTERVAL_S)
                self._on_silent(self._pid)

    def _kill(self) -> None:
        """End a keeper that hangs: the line to it drops, and another one is started, which adopts its processes."""
        if self._pidfd < 0 or self._pid == os.getpid():
            return
        _log.error("the keeper (pid %d) has not answered for %d s: it is killed", self._pid, self._unheard)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _know(self, pid: int) -> None:
        """Who is at the other end of the line from now on; 0: nobody."""
        self._pid = pid
        self._last_pid = pid or self._last_pid
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if pid:
            with contextlib.suppress(ProcessLookupError):
                self._pidfd = os.pidfd_open(pid)

    def _heard(self) -> None:
        was_silent, self._unheard = self.silent_pid is not None, 0
        if was_silent:
            _log.warning("the keeper answers (pid %d)", self._pid)
            self._on_heard()

    async def run(self) -> None:
        """Until the end was asked for, or raises `Replaced`."""
        while not self.ending:
            reader, writer = await self._dial()
            try:
                await self._talk(reader, writer)
            except (OSError, ValueError) as error:
                _log.warning("the line to the keeper broke: %s", error)
            finally:
                self._writer = None
                self._know(0)
                writer.close()
            if not self.ending:
                _log.warning("the keeper is gone: looking for another")
                self._on_lost()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        backoff = Backoff(*REDIAL)
        waited_s = 0.0
        launch_after_s = LAUNCH_AFTER_S
        while True:
            try:
                return await asyncio.open_unix_connection(self._directory.keeper_socket, limit=LINE_BYTES_MAX)
            except OSError:
                delay_s = backoff.failed()
            await asyncio.sleep(delay_s)
            waited_s += delay_s
            if waited_s >= launch_after_s:
                self._launch()
                waited_s, launch_after_s = 0.0, min(2 * launch_after_s, 5.0)

    def _launch(self) -> None:
        """Start a new keeper, which adopts the processes; one that finds another in place ends by itself.

        Not beside one that is still on its way, as it may be on a busy machine: it would come when that has ended.
        """
        if self._launched:
            return
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GRANGE_AGENT_")}
        environment["GRANGE_KEEPER_SOCKETS"] = ",".join(map(str, self._sockets))
        with open(self._directory.keeper_log, "ab") as log:
            # Not by asyncio: this way is a vfork, which gRPC's threads do not mind.
            keeper = subprocess.Popen(
                [self._python, "-I", "-S", str(KEEPER_PROGRAM), str(self._directory.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=self._sockets,
                start_new_session=True,
            )
        _log.warning("started a new keeper (pid %d)", keeper.pid)
        self._launched.add(keeper)
        pidfd = os.pidfd_open(keeper.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._reap, keeper, pidfd)

    def _reap(self, keeper: "subprocess.Popen[bytes]", pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._launched.discard(keeper)
        _log.warning("the keeper that was started here (pid %d) has ended with %d", keeper.pid, keeper.wait())

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self._know(_CREDENTIALS.unpack(peer)[0])
        writer.write(json.dumps({"op": "hello", "id": 0, "incarnation": self._incarnation}).encode() + b"\n")
        hello = await self._read(reader)
        if hello is None:
            return
        if not hello["ok"]:
            raise Replaced(hello["error"])
        self._unsent = []
        for line, _ in self._unanswered.values():
            writer.write(line)
        self._writer = writer
        self._on_list(hello)
        while (message := await self._read(reader)) is not None:
            if "event" in message:
                self._on_event(message)
                continue
            _, future = self._unanswered.pop(message["id"], (b"", None))
            if future is not None and not future.done():
                future.set_result(message)

    async def _read(self, reader: asyncio.StreamReader) -> dict[str, Any] | None:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            return None
        self._heard()
        message: dict[str, Any] = json.loads(line)
        return message

    async def close(self) -> None:
        """Give up what is unanswered; the keeper and all that it has started live on, unless the end was asked for."""
        if self.ending:
            for keeper in self._launched:
                if keeper.pid != self._last_pid:  # on its way still: it would come when the one that ends has ended
                    keeper.kill()
        for _, future in self._unanswered.values():
            future.cancel()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
