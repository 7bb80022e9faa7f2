"""A keeper that has nothing to say is asked whether it is there; only one that does not answer is silent.

The keeper is played by the test, and so are the seconds between two pings: each passes when the last ping was answered,
or at once when nobody answers any more. So an idle hour takes as long as its pings.
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grange.supervisor.keeper_client import SILENT_AFTER_PINGS, KeeperClient
from grange.supervisor.node_directory import NodeDirectory

HOUR_S = 3600
LIMIT_S = 20.0  # for an answer on this machine; never reached when all is well


class PlayedKeeper:
    """It says hello, and answers every ping until it is told to hang."""

    def __init__(self) -> None:
        self.hangs = False
        self.passed_s = 0
        self.silent: list[int] = []
        self.heard = 0
        self._tick = asyncio.Event()
        self._end_s = 0
        self._over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while line := await reader.readline():
                request = json.loads(line)
                if request["op"] == "ping" and self.hangs:
                    continue
                writer.write(json.dumps({"id": request["id"], "ok": True}).encode() + b"\n")
                if request["op"] == "ping":  # so that the test learns when the answer has arrived
                    writer.write(b'{"event": "tick"}\n')

    def arrived(self, _message: object) -> None:
        self._tick.set()

    async def pause(self, seconds: float) -> None:
        """The time between two pings, as far as it is to pass; then for ever."""
        if self.passed_s >= self._end_s:
            self._over.set()
            await asyncio.Event().wait()
        if not self.hangs:
            async with asyncio.timeout(LIMIT_S):
                await self._tick.wait()
            self._tick.clear()
        self.passed_s += round(seconds)

    async def pass_time(self, client: KeeperClient, seconds: int) -> None:
        self._end_s = self.passed_s + seconds
        self._over.clear()
        watching = asyncio.create_task(client.watch())
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._over.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def is_heard(self) -> None:
        self.heard += 1


@pytest.fixture
async def played() -> AsyncIterator[tuple[PlayedKeeper, KeeperClient]]:
    """The keeper, and a client that has its line to it."""
    root = tempfile.mkdtemp(prefix="gk")
    keeper, listed = PlayedKeeper(), asyncio.Event()
    directory = NodeDirectory(Path(root))
    server = await asyncio.start_unix_server(keeper.serve, directory.keeper_socket)
    client = KeeperClient(
        directory,
        1,
        (),
        "python3",
        lambda _hello: listed.set(),
        keeper.arrived,
        keeper.silent.append,
        keeper.is_heard,
        lambda: None,
        pause=keeper.pause,
    )
    running = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            await listed.wait()
        yield keeper, client
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.close()
        server.close()
        await server.wait_closed()
        shutil.rmtree(root, ignore_errors=True)


async def test_a_keeper_that_is_idle_for_an_hour_is_not_declared_dead(
    played: tuple[PlayedKeeper, KeeperClient],
) -> None:
    keeper, client = played
    await keeper.pass_time(client, HOUR_S)
    assert keeper.passed_s == HOUR_S
    assert (keeper.silent, client.silent_pid, client.owing_pid) == ([], None, 0)


async def test_one_that_does_not_answer_is_silent_after_its_time_and_not_before(
    played: tuple[PlayedKeeper, KeeperClient],
) -> None:
    keeper, client = played
    keeper.hangs = True
    await keeper.pass_time(client, SILENT_AFTER_PINGS - 2)
    assert (keeper.silent, client.silent_pid) == ([], None)
    await keeper.pass_time(client, 3)
    assert keeper.silent == [client.pid]
