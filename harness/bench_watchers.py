"""What a transition costs while a thousand clients watch the farm and read nothing, beside the same without them.

They are let in and stalled: each has a window of a few bytes, so the farm has something to send for each of them all
the time and can get rid of nothing. The rounds without them are half before and half after, so that a machine that
grows busier slows both alike.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import grpc.aio

from grange.core.names import Command
from grange.proto import control_pb2
from grange.proto.login import log_in

from .bench_farm import BenchFarm, Shape, plain_processes
from .bench_figures import Samples, milliseconds, table

ROUNDS = 20
WATCHERS = 1000
OF_A_CONNECTION = 50
FARM = Shape(sub_farms=2, nodes=2, processes=8)
PAIR = (Command.CONFIGURE, Command.UNCONFIGURE)
PAUSE_S = 0.1  # as between the transitions of the other tables
LIMIT_S = 60.0  # until all watchers are let in
TINY_WINDOW = (("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1))


@contextlib.asynccontextmanager
async def stalled(address: str, watchers: int) -> AsyncIterator[None]:
    """So many watchers who have been let in and read nothing. Raises `RuntimeError` when one of them was ended."""
    channels = [grpc.aio.insecure_channel(address, options=TINY_WINDOW) for _ in range(watchers // OF_A_CONNECTION)]
    calls = []
    metadata = (await log_in(address, LIMIT_S)).metadata
    for channel in channels:
        watch = channel.unary_stream(
            "/grange.v1.Control/Watch",
            control_pb2.WatchRequest.SerializeToString,
            control_pb2.WatchUpdate.FromString,
        )
        request = control_pb2.WatchRequest(depth=3)
        calls += [watch(request, timeout=10 * LIMIT_S, metadata=metadata) for _ in range(OF_A_CONNECTION)]
    try:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(call.initial_metadata() for call in calls))
        yield
        if ended := sum(call.done() for call in calls):
            raise RuntimeError(f"{ended} of {watchers} watchers were ended")
    finally:
        for channel in channels:
            await channel.close(None)


async def watcher_rows(farm: BenchFarm, rounds: int = ROUNDS, watchers: int = WATCHERS) -> list[Samples]:
    """Seconds of a transition: alone, and beside the watchers. The farm is set up and left in loaded."""
    rows = [Samples("nobody watches"), Samples(f"{watchers:,} watch and do not read")]
    await farm.use(plain_processes(FARM))
    for command in (Command.SETUP, Command.BOOT, Command.LOAD):
        await farm.do(command)
    await _transitions(farm, rows[0], rounds // 2)
    async with stalled(farm.address, watchers):
        await _transitions(farm, rows[1], rounds)
    await _transitions(farm, rows[0], rounds - rounds // 2)
    return rows


async def _transitions(farm: BenchFarm, into: Samples, rounds: int) -> None:
    for _ in range(rounds):
        for command in PAIR:
            await asyncio.sleep(PAUSE_S)
            into.add(await farm.do(command))


def watcher_table(rows: Sequence[Samples]) -> str:
    """For people."""
    cells = [(row.name, milliseconds(row.median_s), milliseconds(row.p90_s)) for row in rows]
    return table(("a transition while", "median", "p90"), cells)
