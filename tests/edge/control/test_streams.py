"""Streams that nobody reads, and more streams than there may be: ended and refused by name, and no command suffers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from grange.client import AsyncFarm, OutcomeKind
from grange.core.errors import LimitReached
from grange.core.names import Command, State
from grange.proto import control_pb2, server
from grange.proto.login import log_in

LIMIT_S = 30.0
TINY_WINDOW = (("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1))
"""A client that lets the server send next to nothing before it reads."""


def watch(channel: grpc.aio.Channel, metadata: Any) -> Any:
    method = channel.unary_stream(
        "/grange.v1.Control/Watch",
        control_pb2.WatchRequest.SerializeToString,
        control_pb2.WatchUpdate.FromString,
    )
    return method(control_pb2.WatchRequest(depth=3), timeout=LIMIT_S, metadata=metadata)


@pytest.fixture
async def channel(running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(running.home.farm_address, options=TINY_WINDOW) as opened:
        yield opened


@pytest.fixture
async def metadata(running) -> Any:
    return (await log_in(running.home.farm_address, LIMIT_S)).metadata


async def until(farm: Any, look: Any, what: str) -> None:
    """Lets the fake farm tell its watchers that something changed, until `look` is true."""
    async with asyncio.timeout(LIMIT_S):
        while not look():
            farm.call(change(farm.farm))
            await asyncio.sleep(0)
    assert look(), what


async def change(farm: Any) -> None:
    farm.change()


async def test_a_stream_that_nobody_reads_is_ended_with_the_reason_and_its_place_is_free(
    running, channel: grpc.aio.Channel, metadata: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_S", 0.2)
    stalled = watch(channel, metadata)
    await until(running, lambda: running.farm.watched == 1, "the watch did not begin")
    await until(running, lambda: running.farm.watched == 0, "the watch did not end")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stalled:  # what was sent before comes first
            pass
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "nothing was read of this stream for 0.2 s, so it was ended. "
        "Call again and read on; a command goes on, and its id attaches",
    )


async def test_a_stalled_watcher_holds_up_neither_commands_nor_other_watchers(
    running, channel: grpc.aio.Channel, metadata: Any
) -> None:
    stalled = watch(channel, metadata)
    await until(running, lambda: running.farm.watched == 1, "the watch did not begin")
    async with AsyncFarm(running.home.root) as farm, contextlib.aclosing(farm.watch()) as views:
        assert (await farm.go("running")).state is State.TAKING
        async with asyncio.timeout(LIMIT_S):
            while (await anext(views)).members[""].state is not State.TAKING:
                pass
    stalled.cancel()


async def test_a_command_whose_progress_nobody_reads_goes_on_and_its_id_attaches(
    running, channel: grpc.aio.Channel, metadata: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_S", 0.2)
    method = channel.unary_stream(
        "/grange.v1.Control/Execute",
        control_pb2.ExecuteRequest.SerializeToString,
        control_pb2.ExecuteUpdate.FromString,
    )
    stalled = method(control_pb2.ExecuteRequest(command_id="c-1", go="running"), timeout=LIMIT_S, metadata=metadata)
    await until(running, lambda: running.farm.commands and running.farm.commands["c-1"].ended, "it did not end")
    async with AsyncFarm(running.home.root) as farm:
        outcome = await farm.go("running", command_id="c-1")
    assert (outcome.kind, outcome.state) == (OutcomeKind.DONE, State.TAKING)
    stalled.cancel()


async def test_one_watcher_too_many_is_told_so_at_once_and_a_command_is_not_refused_for_it(
    running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STREAMS_MAX", 2)
    running.farm.stuck_at = Command.SETUP
    async with AsyncFarm(running.home.root) as farm, contextlib.AsyncExitStack() as watching:
        for _ in range(2):
            views = farm.watch()
            await watching.enter_async_context(contextlib.aclosing(views))
            await anext(views)
        with pytest.raises(LimitReached) as caught:
            await anext(farm.watch())
        assert str(caught.value) == (
            "2 streams of Watch are open already, which is the most. Close some; who has one keeps it"
        )
        commands = [asyncio.create_task(farm.execute("setup", command_id="c-1", check=False)) for _ in range(4)]
        await until(running, lambda: "c-1" in running.farm.commands, "the command was not taken")
        await farm.cancel("c-1")
        assert {outcome.kind for outcome in await asyncio.gather(*commands)} == {OutcomeKind.CANCELLED}
        await watching.aclose()
        async with contextlib.aclosing(farm.watch()) as views:
            assert len((await anext(views)).members) == 9


async def test_a_python_client_that_is_busy_finds_the_present_and_no_backlog(running) -> None:
    async with AsyncFarm(running.home.root) as farm, contextlib.aclosing(farm.watch()) as views:
        await anext(views)
        await farm.go("running")
        for _ in range(3):
            await farm.execute("stop")
            await farm.execute("start")
        await farm.execute("stop")
        read = 0
        async with asyncio.timeout(LIMIT_S):
            while (await anext(views)).members[""].state is not State.CONFIGURED:
                read += 1
        assert read <= 1  # the last change may still be on its way when the first view is taken
