"""Runs of a real farm: those that end by themselves, and what the registry keeps of each."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm, RunRecord
from grange.client.person import user_name
from grange.core.errors import InvalidInput, Refused
from grange.core.names import Membership, State

SAMPLES = str(Path(__file__).parent.parent / "actors")
COUNTING = {"actor": "sample_actors:Counting", "command": None, "environment": {"PYTHONPATH": SAMPLES}}


async def ended(farm: AsyncFarm, live: Any, number: int) -> RunRecord:
    """The run's record once it has ended."""

    async def look() -> RunRecord | None:
        run = await farm.run(number)
        return run if run.stopped_unix_s else None

    found: RunRecord = await live.eventually(look, f"run {number} did not end")
    return found


async def test_a_run_ends_by_itself_after_so_many_events(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker=COUNTING)
    started = await farm.go("running", comment="first", run_mode="cosmics", run_events=100)
    assert started.run_number
    status = (await farm.status(depth=0)).member.status
    assert status.startswith(f"run {started.run_number}: ")
    assert status.endswith(" of 100 events")
    run = await ended(farm, live, started.run_number)
    assert (run.end_reason, run.degraded, run.mode) == (
        f"reached 100 events (asked for by {user_name()})",
        False,
        "cosmics",
    )
    assert sum(roles["worker"]["read"] for roles in run.counters.values()) >= 100
    assert 0 < run.running_unix_s < run.stop_asked_unix_s <= run.stopped_unix_s
    assert (await farm.status(depth=0)).member.state is State.CONFIGURED


async def test_a_run_ends_when_its_time_is_over_although_the_farm_controller_is_killed_meanwhile(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2})
    started = await farm.go("running", run_duration_s=3.0)
    await live.kill("farm")
    await asyncio.to_thread(live.up)
    run = await ended(farm, live, started.run_number)
    assert run.end_reason == f"3 s are over (asked for by {user_name()})"
    assert run.stop_asked_unix_s >= run.running_unix_s + 3.0


async def test_what_is_said_of_a_run_is_said_by_the_command_that_starts_it(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    with pytest.raises(InvalidInput, match="for: is said of a run, by the command that starts it"):
        await farm.go("configured", run_duration_s=60.0)
    with pytest.raises(InvalidInput, match="events: 9223372036854775807 are more than any run has"):
        await farm.go("running", run_events=2**63 - 1)
    with pytest.raises(InvalidInput, match="for: nan s is not between nothing and a year"):
        await farm.go("running", run_duration_s=float("nan"))
    started = await farm.go("running", comment="first")
    with pytest.raises(
        Refused,
        match=f"run {started.run_number} has been started already, with the comment 'first' and no duration; "
        "to set it anew end that one first: grange stop",
    ):
        await farm.go("running", comment="second", run_duration_s=60.0)
    again = await farm.go("running")
    assert again.run_number == started.run_number
    await farm.execute("stop", comment="beam lost")
    assert (await farm.run(started.run_number)).end_reason == "beam lost"


async def test_a_run_keeps_who_went_out_and_came_back_and_when_whoever_was_restarted_meanwhile(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2, "quorum": 1})
    started = await farm.go("running", comment="members")
    await live.kill("sf01/n1/worker-1")

    async def out() -> bool:
        return bool((await farm.run(started.run_number)).members)

    await live.eventually(out, "that the worker went out was not recorded")
    await live.kill("farm")
    await live.kill("sf01")
    await asyncio.to_thread(live.up)

    async def heard() -> bool:
        members = {member.path: member for member in (await farm.status()).members}
        worker = members.get("sf01/n1/worker-1")
        return worker is not None and worker.membership is Membership.OUT_BY_FAULT

    await live.eventually(heard, "the restarted controllers did not find the dead worker")
    await farm.go("running")
    await farm.execute("stop")
    run = await farm.run(started.run_number)
    assert [(member.path, member.membership) for member in run.members] == [
        ("sf01/n1/worker-1", Membership.OUT_BY_FAULT),
        ("sf01/n1/worker-1", Membership.IN),
    ]
    died, back = run.members
    assert "was killed by SIGKILL" in died.reason
    assert back.reason == "takes data again"
    assert run.running_unix_s < died.at_unix_s < back.at_unix_s < run.stopped_unix_s
    assert (run.degraded, run.changes_left_out) == (True, 0)
    assert live.grange("runs", "show", str(run.number)).count("sf01/n1/worker-1 out-by-fault: worker-1 on n1") == 1


async def test_a_run_is_shown_alike_with_a_controller_and_without(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={**COUNTING, "quorum": 1, "count": 2})
    started = await farm.go("running", comment="alike", run_duration_s=3600.0, run_events=10**9)
    await farm.execute("stop")
    number = str(started.run_number)
    shown, listed = live.grange("runs", "show", number, "--json"), live.grange("runs", "--json")
    await farm.go("absent")
    await farm.down()
    await asyncio.to_thread(live.ended)
    assert live.grange("runs", "show", number, "--json") == shown
    assert live.grange("runs", "--json") == listed
    record = json.loads(shown)
    assert (record["ends_after_s"], record["ends_after_events"], record["comment"]) == (3600.0, 10**9, "alike")


async def test_whoever_asks_again_after_the_farm_controller_died_is_told_the_run_too(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    started = await farm.go("running", command_id="asked-twice")
    await live.kill("farm")
    await asyncio.to_thread(live.up)
    again = await farm.go("running", command_id="asked-twice")
    assert (again.kind, again.run_number) == (started.kind, started.run_number)
