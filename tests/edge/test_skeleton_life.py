"""The farm runs, and goes on running whichever of its programs is killed.

Nothing is lost: the same processes with the same process ids, the same run, the same goal. Nothing runs twice.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm, OutcomeKind
from grange.client.person import user_name
from grange.core.names import Health, State


async def states(farm: AsyncFarm) -> dict[str, State]:
    return {member.path: member.state for member in (await farm.status()).members}


async def all_well(farm: AsyncFarm, state: State) -> bool:
    """Whether the farm and every process is in the state, and well."""
    members = (await farm.status()).members
    told = [member for member in members if member.role or not member.path]
    return len(told) > 2 and all(member.state is state and member.health is Health.OK for member in told)


async def test_a_farm_goes_from_absent_to_running_and_back(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 3})
    await farm.go("absent")
    assert set((await states(farm)).values()) == {State.ABSENT}
    up = await farm.go("running", comment="first beam", run_type="production")
    assert [step.step for step in up.steps] == ["setup", "boot", "load", "configure", "start"]
    assert (up.kind, up.state) == (OutcomeKind.DONE, State.TAKING)
    assert await all_well(farm, State.TAKING)
    assert sorted(live.processes()) == [
        "sf01/n1/worker-1",
        "sf01/n1/worker-2",
        "sf01/n2/worker-3",
        "sf02/n3/worker-1",
        "sf02/n3/worker-2",
        "sf02/n3/worker-3",
    ]
    down = await farm.go("initial")
    assert [step.step for step in down.steps] == ["stop", "unconfigure", "unload", "shutdown"]
    assert await all_well(farm, State.INITIAL)
    assert live.processes() == {}
    run = await farm.run(up.run_number)
    assert (run.type, run.comment, run.person, run.degraded) == ("production", "first beam", user_name(), False)
    assert 0 < run.start_asked_unix_s <= run.running_unix_s <= run.stop_asked_unix_s <= run.stopped_unix_s


async def test_ctrl_c_ends_the_controller_alone_and_says_how_to_come_back_and_how_to_end_everything(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    number = (await farm.go("running")).run_number
    before = live.processes()
    assert live.controller is not None
    live.controller.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(live.ended) == 0
    last = (await asyncio.to_thread(Path(live.home.farm_log).read_text)).splitlines()[-1]
    assert last == (
        f"the farm controller has ended; what it controls runs on (taking, run {number}; processes: 2). "
        "To come back: grange up. To end everything: grange up --detach, then grange down --all"
    )
    assert live.processes() == before
    await asyncio.to_thread(live.up)
    assert (await farm.status(depth=0)).member.run_number == number


async def test_each_step_is_taken_by_its_name(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    reached = []
    for step in ("boot", "load", "configure", "start", "pause", "resume", "stop", "unconfigure", "unload", "shutdown"):
        reached.append((await farm.execute(step)).state)
    assert reached == [
        State.BOOTED,
        State.LOADED,
        State.CONFIGURED,
        State.TAKING,
        State.PAUSED,
        State.TAKING,
        State.CONFIGURED,
        State.LOADED,
        State.BOOTED,
        State.INITIAL,
    ]


@pytest.mark.parametrize(
    "killed",
    [
        ["farm"],
        ["sf01"],
        ["agent sf01/n1"],
        ["keeper sf01/n1"],
        ["keeper sf01/n1", "agent sf01/n1"],
        ["farm", "sf01", "sf02", "agent sf01/n1", "agent sf01/n2", "agent sf02/n3"],
    ],
    ids=lambda killed: "+".join(killed).replace(" ", "-") if isinstance(killed, list) else "",
)
async def test_a_run_goes_on_when_programs_are_killed(farm: AsyncFarm, live: Any, killed: list[str]) -> None:
    await live.use(farm, worker={"count": 2})
    outcome = await farm.go("running")
    before = live.processes()
    old = {what: await live.kill(what) for what in killed}
    if "farm" in killed:
        await asyncio.to_thread(live.up)
    for what, pid in old.items():
        await live.eventually(lambda what=what, pid=pid: {*live.found().get(what, [])} - {pid}, f"no new {what}")
    await live.eventually(lambda: all_well(farm, State.TAKING), "the farm was not seen running again")
    assert live.processes() == before
    status = await farm.status()
    assert {member.run_number for member in status.members if member.role} == {outcome.run_number}
    assert (await farm.run(outcome.run_number)).stopped_unix_s == 0
    stopped = await farm.execute("stop")
    assert (stopped.kind, live.processes()) == (OutcomeKind.DONE, before)
    assert (await farm.run(outcome.run_number)).stopped_unix_s > 0


@pytest.mark.parametrize("killed", ["farm", "sf01", "agent sf01/n1", "keeper sf01/n1"])
async def test_a_command_under_way_ends_once_and_nothing_runs_twice_when_a_program_is_killed(
    farm: AsyncFarm, live: Any, killed: str
) -> None:
    await live.use(farm, worker={"count": 2, "settle_time_s": 1.5})
    command = asyncio.create_task(farm.go("running", command_id=f"in the middle of {killed}", check=False))
    await live.eventually(lambda: len(live.processes()) == 4, "the processes were not started")
    before = live.processes()
    await live.kill(killed)
    if killed == "farm":
        await asyncio.to_thread(live.up)
    outcome = await asyncio.wait_for(command, 40)
    assert outcome.kind is OutcomeKind.DONE, outcome.reason
    assert await all_well(farm, State.TAKING)
    assert live.processes() == before
    again = await farm.go("running", command_id=f"in the middle of {killed}")
    assert (again.kind, again.run_number) == (OutcomeKind.DONE, outcome.run_number)


async def test_a_second_controller_of_the_same_farm_is_refused_by_name(farm: AsyncFarm, live: Any) -> None:
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", live.home.root, "up"]
    second = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=40)
    assert second.returncode != 0
    assert f"held by process {live.pid('farm')}" in second.stderr
    assert "grange down" in second.stderr
    assert await all_well(farm, State.INITIAL)


async def test_a_farm_controller_that_ends_leaves_the_run_alone_and_the_next_one_takes_it_back(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    outcome = await farm.go("running")
    before = live.processes()
    await farm.down()
    assert (await asyncio.to_thread(live.ended), live.processes()) == (0, before)
    await asyncio.to_thread(live.up)
    await live.eventually(lambda: all_well(farm, State.TAKING), "the farm was not taken back")
    assert (await farm.status(depth=0)).member.run_number == outcome.run_number
    assert live.processes() == before


async def test_a_terminated_sub_farm_controller_is_started_again(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    await farm.go("running")
    before = live.processes()
    os.kill(old := live.pid("sf01"), signal.SIGTERM)
    await live.eventually(lambda: {*live.found().get("sf01", [])} - {old}, "no new controller of sf01")
    await live.eventually(lambda: all_well(farm, State.TAKING), "the farm was not seen running again")
    assert live.processes() == before
