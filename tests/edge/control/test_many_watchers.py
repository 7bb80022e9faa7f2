"""A real farm controller with very many clients that watch and never read: nobody else notices."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm
from grange.core.names import State
from grange.harness.bench_watchers import stalled

LIMIT_S = 60.0
TRANSITIONS = 10
BYTES_OF_A_WATCHER_MAX = 128 * 1024
"""The call itself, which is about 30 kB in gRPC's core, and what was sent and not read, which the window bounds."""


def resident_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def transitions(farm: AsyncFarm) -> None:
    for _ in range(TRANSITIONS):
        assert (await farm.execute("configure", timeout_s=LIMIT_S)).state is State.CONFIGURED
        assert (await farm.execute("unconfigure", timeout_s=LIMIT_S)).state is State.LOADED


@pytest.mark.parametrize("watchers", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_clients_that_watch_and_do_not_read_cost_little_and_hold_nobody_up(
    farm: AsyncFarm, live: Any, watchers: int
) -> None:
    await live.use(farm, worker={})
    await farm.go("loaded")
    await transitions(farm)  # what this takes anyway is taken
    pid = live.pid("farm")
    before = resident_bytes(pid)
    async with contextlib.aclosing(farm.watch()) as views:
        await anext(views)
        async with stalled(live.home.farm_address, watchers):
            await transitions(farm)
            assert (await farm.status()).member.state is State.LOADED
            await farm.execute("configure")
            async with asyncio.timeout(LIMIT_S):
                while (await anext(views)).members[""].state is not State.CONFIGURED:
                    pass
            async with contextlib.aclosing(farm.watch()) as late:
                assert (await anext(late)).members[""].state is State.CONFIGURED
            assert resident_bytes(pid) - before < watchers * BYTES_OF_A_WATCHER_MAX
