"""Slow neighbours: a farm controller that does not answer for a while, a database that does not take a record."""

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

from grange.client import AsyncFarm
from grange.core.names import State


def attachments(live: Any) -> int:
    """How often the agent of n1 has been attached to the controller of sf01."""
    log = Path(live.home.node_directory("sf01", "n1"), "agent.log").read_text()
    return log.count(f"attached to {live.home.sub_farm_address('sf01')}")


async def test_a_sub_farm_controller_that_comes_back_while_the_farm_is_slow_is_not_taken_for_one_that_was_replaced(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2})
    await farm.go("running")
    before = live.processes()
    old = await live.kill("sf01")
    await live.eventually(lambda: {*live.found().get("sf01", [])} - {old}, "no new controller of sf01")
    (new,) = {*live.found()["sf01"]} - {old}
    farm_pid = live.pid("farm")
    os.kill(farm_pid, signal.SIGSTOP)  # it has launched the new one and cannot give it its word
    try:
        count = attachments(live)
        await live.eventually(
            lambda: attachments(live) > count or new not in live.found().get("sf01", []),
            "the agent did not dial in",
        )
    finally:
        os.kill(farm_pid, signal.SIGCONT)

    async def running() -> bool:
        return (await farm.status(depth=0)).member.state is State.TAKING

    await live.eventually(running, "the farm was not seen running again")
    assert live.found()["sf01"] == [new]
    assert live.processes() == before


async def test_a_run_goes_on_and_ends_in_the_books_while_the_database_is_locked(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 2})
    outcome = await farm.go("running")
    locked = sqlite3.connect(live.home.database, isolation_level=None)
    try:
        locked.execute("BEGIN EXCLUSIVE")
        stopped = await farm.execute("stop")
        assert stopped.state is State.CONFIGURED
        await farm.execute("unconfigure")
    finally:
        locked.execute("ROLLBACK")
        locked.close()

    async def recorded() -> bool:
        return (await farm.run(outcome.run_number)).stopped_unix_s > 0

    await live.eventually(recorded, "the end of the run was not recorded")
