"""The kill matrix: each program × each state, killed or stopped, with real processes; and nothing else changes.

After each the farm ends where it was going, in the same run, with the same processes but for the one that was hit; the
one command that was under way has one outcome; and a shutdown leaves nothing (which the `farm` fixture looks after).
A chosen dozen runs always, the rest with the slow tests.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from grange.client import AsyncFarm, Outcome, OutcomeKind
from grange.core.errors import Unavailable
from grange.core.names import Health, State
from grange.harness.chaos_faults import cut

VICTIM = "sf01/n1/worker-1"
PROGRAMS = ("farm", "sf01", "agent sf01/n1", "keeper sf01/n1", VICTIM)
STEADY = ("booted", "loaded", "configured", "running", "paused")
TRANSITIONS = {
    "booting": ("initial", "boot", "booted"),
    "loading": ("booted", "load", "loaded"),
    "configuring": ("loaded", "configure", "configured"),
    "starting": ("configured", "start", "running"),
    "pausing": ("running", "pause", "paused"),
    "resuming": ("paused", "resume", "running"),
    "stopping": ("running", "stop", "configured"),
    "unconfiguring": ("configured", "unconfigure", "loaded"),
    "unloading": ("loaded", "unload", "booted"),
}
"""Transitional states: where each begins, by which command, and where it leads."""
ALWAYS = {
    ("farm", "running"),
    ("sf01", "paused"),
    ("agent sf01/n1", "booted"),
    ("keeper sf01/n1", "configured"),
    (VICTIM, "running"),
    ("farm", "starting"),
    ("sf01", "stopping"),
    ("agent sf01/n1", "configuring"),
    ("keeper sf01/n1", "booting"),
}
STOPPED_S = 6.5  # longer than what hangs may be silent
SLOW_STEPS = "slow_actors:Slow"
RESTARTED = {"policy": "restart", "restart_most": 100, "restart_delay_s": 0.05}


def cells(states: tuple[str, ...]) -> list[Any]:
    """Every program in each of the states; those that are not in `ALWAYS` are slow."""
    return [
        pytest.param(program, state, marks=() if (program, state) in ALWAYS else pytest.mark.slow)
        for program in PROGRAMS
        for state in states
    ]


async def use(farm: AsyncFarm, live: Any) -> None:
    """Actors that take a moment for each step, and are restarted when they die: two in each sub-farm."""
    folder = os.path.dirname(__file__)
    await live.use(
        farm,
        worker={
            "actor": SLOW_STEPS,
            "command": None,
            "count": 2,
            "environment": {"PYTHONPATH": folder},
            "settle_time_s": 0.0,
            **RESTARTED,
        },
    )


async def is_well(farm: AsyncFarm, state: State) -> bool:
    """Whether the farm and each process is in the state, and well."""
    members = (await farm.status()).members
    told = [member for member in members if member.role or not member.path]
    return len(told) == 5 and all(one.state is state and one.health is Health.OK for one in told)


def same_but_for(before: dict[str, list[int]], after: dict[str, list[int]], hit: str) -> bool:
    """Whether the processes are those of before, each once, and the one that was hit is another."""
    others = {path: pids for path, pids in before.items() if path != hit}
    if any(after.get(path) != pids for path, pids in others.items()) or after.keys() != before.keys():
        return False
    return hit not in before or (len(after[hit]) == 1 and after[hit] != before[hit])


async def brought_back(live: Any, killed: str) -> None:
    """What a person has to do: nothing, but for the farm controller."""
    if killed == "farm":
        await asyncio.to_thread(live.up)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
    try:
        yield
    finally:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        except ProcessLookupError:
            pass  # it was replaced
        os.close(pidfd)


async def state_of(target: str) -> State:
    return State.TAKING if target == "running" else State(target)


async def goes_on(farm: AsyncFarm, live: Any, target: str, before: dict[str, list[int]], hit: str, run: int) -> None:
    """The farm is where it was, in the same run, with the same processes; then it is taken down."""
    state = await state_of(target)
    await live.eventually(lambda: is_well(farm, state), f"the farm was not seen {target} and well")
    await live.eventually(lambda: same_but_for(before, live.processes(), hit), "other processes than before")
    member = (await farm.status(depth=0)).member
    if state in (State.TAKING, State.PAUSED):
        assert member.run_number == run
        stopped: Outcome = await farm.execute("stop")
        assert stopped.kind is OutcomeKind.DONE
        record = await farm.run(run)
        assert (record.mismatches, record.stopped_unix_s > 0) == ((), True)


@pytest.mark.parametrize(("killed", "state"), cells(STEADY))
async def test_a_program_that_is_killed_in_a_steady_state_changes_nothing_else(
    farm: AsyncFarm, live: Any, killed: str, state: str
) -> None:
    await use(farm, live)
    run = (await farm.go(state)).run_number
    before = live.processes()
    await live.kill(killed)
    await brought_back(live, killed)
    await goes_on(farm, live, state, before, killed, run)


@pytest.mark.parametrize(("killed", "way"), cells(tuple(TRANSITIONS)))
async def test_a_program_that_is_killed_during_a_transition_does_not_keep_it_from_its_end(
    farm: AsyncFarm, live: Any, killed: str, way: str
) -> None:
    await use(farm, live)
    before_it, step, after_it = TRANSITIONS[way]
    if before_it != "initial":
        await farm.go(before_it)
    command_id = f"{way} {killed}"
    command = asyncio.create_task(farm.execute(step, command_id=command_id, check=False))

    async def under_way() -> bool:
        members = (await farm.status()).members
        return any(member.path == VICTIM and member.state is State(way) for member in members)

    await live.eventually(under_way, f"nobody is {way}")
    await live.eventually(lambda: len(live.processes()) == 4, "the processes were not started")
    before = live.processes()
    run = (await farm.status(depth=0)).member.run_number
    await live.kill(killed)
    await brought_back(live, killed)
    outcome = await asyncio.wait_for(command, 60)
    if killed != VICTIM:  # of the process itself the step may have failed: it has to be brought there once more
        assert outcome.kind is OutcomeKind.DONE, outcome.reason
    elif outcome.kind is not OutcomeKind.DONE:
        await farm.go(after_it)
    state = await state_of(after_it)
    await live.eventually(lambda: is_well(farm, state), f"the farm was not seen {after_it} and well")
    await live.eventually(lambda: same_but_for(before, live.processes(), killed), "other processes than before")
    if killed != VICTIM:
        again = await farm.execute(step, command_id=command_id, check=False)
        assert (again.kind, again.run_number) == (outcome.kind, outcome.run_number)
        if state is State.TAKING:
            assert (await farm.status(depth=0)).member.run_number == run


@pytest.mark.parametrize("links_of", ["farm", "sf01", "agent sf01/n1", "keeper sf01/n1"])
async def test_cut_links_are_made_again_and_nothing_else_changes(farm: AsyncFarm, live: Any, links_of: str) -> None:
    await use(farm, live)
    run = (await farm.go("running")).run_number
    before, programs = live.processes(), live.found()
    directory = live.home.node_directory("sf01", "n1")
    sockets = {
        "farm": live.home.farm_socket,
        "sf01": live.home.sub_farm_socket("sf01"),
        "agent sf01/n1": f"{directory}/actor.sock",
        "keeper sf01/n1": f"{directory}/keeper.sock",
    }
    assert cut(live.pid(links_of), sockets[links_of]) > 0

    async def answers() -> bool:  # ours to the farm controller was cut as well
        with contextlib.suppress(Unavailable):
            return bool(await farm.status(depth=0))
        return False

    await live.eventually(answers, "the farm controller did not answer again")
    await goes_on(farm, live, "running", before, "", run)
    assert {what: live.found().get(what) for what in PROGRAMS} == {what: programs[what] for what in PROGRAMS}


@pytest.mark.parametrize(
    "hung",
    [pytest.param(name, marks=() if name == "keeper sf01/n1" else pytest.mark.slow) for name in PROGRAMS],
)
async def test_a_program_that_hangs_for_a_while_in_a_run_does_not_end_it(farm: AsyncFarm, live: Any, hung: str) -> None:
    await use(farm, live)
    run = (await farm.go("running")).run_number
    before = live.processes()
    with stopped(live.pid(hung)):
        await asyncio.sleep(STOPPED_S)  # the time itself is what is tested: longer than any silence may be
    await goes_on(farm, live, "running", before, hung if hung == VICTIM else "", run)


async def test_all_of_the_control_machine_at_once_and_grange_up_brings_the_farm_back(
    farm: AsyncFarm, live: Any
) -> None:
    await use(farm, live)
    run = (await farm.go("running")).run_number
    before = live.processes()
    for controller in ("farm", "sf01", "sf02"):
        await live.kill(controller)
    assert live.processes() == before
    await asyncio.to_thread(live.up)
    await goes_on(farm, live, "running", before, "", run)


@pytest.mark.slow
async def test_everything_but_the_processes_at_once_and_grange_up_brings_the_farm_back(
    farm: AsyncFarm, live: Any
) -> None:
    await use(farm, live)
    run = (await farm.go("running")).run_number
    before = live.processes()
    await live.kill_programs()
    assert live.processes() == before
    await asyncio.to_thread(live.up)
    await goes_on(farm, live, "running", before, "", run)


async def test_a_sub_farm_controller_and_an_agent_that_hang_for_good_are_replaced_and_the_run_goes_on(
    farm: AsyncFarm, live: Any
) -> None:
    await use(farm, live)
    run = (await farm.go("running")).run_number
    before = live.processes()
    hung = {name: live.pid(name) for name in ("sf01", "agent sf02/n3")}
    with stopped(hung["sf01"]), stopped(hung["agent sf02/n3"]):
        for name, pid in hung.items():
            await live.eventually(lambda name=name, pid=pid: pid not in live.found().get(name, []), f"{name} hangs on")
    await goes_on(farm, live, "running", before, "", run)
    story = [line.text for line in (await farm.story("sf01")).story if "hung" in line.text]
    assert story == [f"its controller (pid {hung['sf01']}) hung: it said nothing for 5 s when asked, and was killed"]
