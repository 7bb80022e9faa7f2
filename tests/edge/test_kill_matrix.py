"""The kill matrix: each program × each state, killed or stopped, with real processes; and nothing else changes.

After each the farm ends where it was going, in the same run, with the same processes but for the one that was hit; the
one command that was under way has one outcome; the books of the run say what really happened (`flow.py`); and a
shutdown leaves every program of the farm once, and nothing else. The states in which programs come and go are in
`test_kill_matrix_ends.py`. A chosen few cells run always, the rest with the slow tests.
"""

import asyncio
import os
import signal
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from grange.client import AsyncFarm, Outcome, OutcomeKind
from grange.core.errors import Unavailable
from grange.core.names import Command, State
from grange.core.state import ROWS
from grange.harness.chaos_faults import cut

from .flow import PROCESSES, SOURCE, VICTIM, flows, heard_again, is_well, programs_once, shown, use, wrong_with_books

HIT = ("farm", "sf01", "agent sf01/n1", "keeper sf01/n1", VICTIM)
STEADY = ("booted", "loaded", "configured", "running", "paused")
STEPS = {
    Command.BOOT: ("initial", "booted"),
    Command.LOAD: ("booted", "loaded"),
    Command.CONFIGURE: ("loaded", "configured"),
    Command.START: ("configured", "running"),
    Command.PAUSE: ("running", "paused"),
    Command.RESUME: ("paused", "running"),
    Command.STOP: ("running", "configured"),
    Command.UNCONFIGURE: ("configured", "loaded"),
    Command.UNLOAD: ("loaded", "booted"),
    Command.SHUTDOWN: ("running", "initial"),
}
"""Where each step begins here, and where it leads."""
WAYS = {str(ROWS[step].via): step for step in STEPS}
CONTROL_MACHINE = ("farm", "sf01", "sf02")
EVERYTHING = "everything but the processes"
ALWAYS = {
    ("farm", "running"),
    ("agent sf01/n1", "booted"),
    (VICTIM, "running"),
    ("sf01", "stopping"),
    ("keeper sf01/n1", "booting"),
}
STOPPED_S = 6.5  # longer than what hangs may be silent
TAKEN_UP_LIMIT_S = 60


def cells(programs: Sequence[str], states: Sequence[str]) -> list[Any]:
    """Every program in each of the states; those that are not in `ALWAYS` are slow."""
    return [
        pytest.param(program, state, marks=() if (program, state) in ALWAYS else pytest.mark.slow)
        for program in programs
        for state in states
    ]


def always_one(names: Sequence[str], one: str) -> list[Any]:
    """Each of them; all but `one` are slow."""
    return [pytest.param(name, marks=() if name == one else pytest.mark.slow) for name in names]


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


def state_of(target: str) -> State:
    return State.TAKING if target == "running" else State(target)


async def goes_on(farm: AsyncFarm, live: Any, target: str, before: dict[str, list[int]], hit: str, run: int) -> None:
    """The farm is where it was, in the same run, with the same processes; then it is taken down."""
    state = state_of(target)
    await live.eventually(lambda: is_well(farm, state), f"the farm was not seen {target} and well")
    await live.eventually(lambda: same_but_for(before, live.processes(), hit), "other processes than before")
    await ends(farm, live, state, run, hit)


async def ends(farm: AsyncFarm, live: Any, state: State, run: int, hit: str) -> None:
    """A run that is going on is the same and is stopped; its books are right; a shutdown leaves what it has to."""
    if state in (State.TAKING, State.PAUSED):
        assert (await farm.status(depth=0)).member.run_number == run
        if state is State.TAKING:
            await flows(farm, live)
        outcome: Outcome = await farm.execute("stop")
        assert outcome.kind is OutcomeKind.DONE
    if run:  # a shutdown does not stop first: it ends all that are in the run, as a death does
        died = PROCESSES if state is State.INITIAL else {hit} & set(PROCESSES)
        await ended(farm, live, run, died, nobody_knows=state is State.INITIAL and hit == EVERYTHING)
    assert (await farm.go("initial")).kind is OutcomeKind.DONE
    await live.eventually(lambda: programs_once(live), "after the shutdown not every program lives once, and no other")


async def ended(farm: AsyncFarm, live: Any, run: int, died: Collection[str], nobody_knows: bool) -> None:
    """The run is over, and its books are right."""
    record = await farm.run(run)
    assert record.stopped_unix_s > 0
    assert wrong_with_books(live.home, record, died, nobody_knows) == []


# ---- steady states --------------------------------------------------------------------------------------------------


async def in_state(farm: AsyncFarm, live: Any, target: str) -> int:
    """Brings the farm there; the run number. Data have flowed in a run."""
    await use(farm, live)
    if target == "paused":
        await farm.go("running")
        await flows(farm, live)
    run = (await farm.go(target)).run_number
    if target == "running":
        await flows(farm, live)
    return run


@pytest.mark.parametrize(("killed", "state"), [*cells(HIT, STEADY), *cells([SOURCE], ["running"])])
async def test_a_program_that_is_killed_in_a_steady_state_changes_nothing_else(
    farm: AsyncFarm, live: Any, killed: str, state: str
) -> None:
    run = await in_state(farm, live, state)
    before = live.processes()
    await live.kill(killed)
    await brought_back(live, killed)
    await goes_on(farm, live, state, before, killed, run)


@pytest.mark.parametrize("links_of", always_one(HIT[:-1], "sf01"))
async def test_cut_links_are_made_again_and_nothing_else_changes(farm: AsyncFarm, live: Any, links_of: str) -> None:
    run = await in_state(farm, live, "running")
    before, programs = live.processes(), live.found()
    directory = live.home.node_directory("sf01", "n1")
    sockets = {
        "farm": live.home.farm_socket,
        "sf01": live.home.sub_farm_socket("sf01"),
        "agent sf01/n1": f"{directory}/actor.sock",
        "keeper sf01/n1": f"{directory}/keeper.sock",
    }
    assert cut(live.pid(links_of), sockets[links_of]) > 0
    await heard_again(farm, live)
    await goes_on(farm, live, "running", before, "", run)
    assert {what: live.found().get(what) for what in HIT[:-1]} == {what: programs[what] for what in HIT[:-1]}


@pytest.mark.slow
@pytest.mark.parametrize("hung", HIT)
async def test_a_program_that_hangs_for_a_while_in_a_run_does_not_end_it(farm: AsyncFarm, live: Any, hung: str) -> None:
    run = await in_state(farm, live, "running")
    before = live.processes()
    with stopped(live.pid(hung)):
        await asyncio.sleep(STOPPED_S)  # the time itself is what is tested: longer than any silence may be
    await goes_on(farm, live, "running", before, hung if hung == VICTIM else "", run)


async def test_all_of_the_control_machine_at_once_and_grange_up_brings_the_farm_back(
    farm: AsyncFarm, live: Any
) -> None:
    run = await in_state(farm, live, "running")
    before = live.processes()
    for controller in CONTROL_MACHINE:
        await live.kill(controller)
    assert live.processes() == before
    await asyncio.to_thread(live.up)
    await goes_on(farm, live, "running", before, "", run)


@pytest.mark.slow
async def test_everything_but_the_processes_at_once_and_grange_up_brings_the_farm_back(
    farm: AsyncFarm, live: Any
) -> None:
    run = await in_state(farm, live, "running")
    before = live.processes()
    await live.kill_programs()
    assert live.processes() == before
    await asyncio.to_thread(live.up)
    await goes_on(farm, live, "running", before, "", run)


@pytest.mark.slow
async def test_a_sub_farm_controller_and_an_agent_that_hang_for_good_are_replaced_and_the_run_goes_on(
    farm: AsyncFarm, live: Any
) -> None:
    run = await in_state(farm, live, "running")
    before = live.processes()
    hung = {name: live.pid(name) for name in ("sf01", "agent sf02/n3")}
    with stopped(hung["sf01"]), stopped(hung["agent sf02/n3"]):
        for name, pid in hung.items():
            await live.eventually(lambda name=name, pid=pid: pid not in live.found().get(name, []), f"{name} hangs on")
    story = [line.text for line in (await farm.story("sf01")).story if "hung" in line.text]
    assert story == [f"its controller (pid {hung['sf01']}) hung: it said nothing for 5 s when asked, and was killed"]
    await goes_on(farm, live, "running", before, "", run)


@pytest.mark.slow
async def test_a_keeper_and_its_agent_that_hang_together_are_replaced_and_the_run_goes_on(
    farm: AsyncFarm, live: Any
) -> None:
    run = await in_state(farm, live, "running")
    before = live.processes()
    hung = {name: live.pid(name) for name in ("keeper sf01/n1", "agent sf01/n1")}
    with stopped(hung["keeper sf01/n1"]), stopped(hung["agent sf01/n1"]):
        for name, pid in hung.items():
            await live.eventually(lambda name=name, pid=pid: pid not in live.found().get(name, []), f"{name} hangs on")
    story = [line.text for line in (await farm.story("sf01/n1")).story if "hung" in line.text]
    pid = hung["keeper sf01/n1"]
    assert story == [f"its keeper (pid {pid}) hung: it said nothing for 5 s when asked, and was killed"]
    await goes_on(farm, live, "running", before, "", run)


# ---- transitions ----------------------------------------------------------------------------------------------------


async def under_way(farm: AsyncFarm, live: Any, way: str, name: str) -> tuple["asyncio.Task[Outcome]", int]:
    """Begins a step, and waits until the victim is in its transitional state; the command, and the run."""
    step = WAYS[way]
    source, _ = STEPS[step]
    await use(farm, live, "Lingering" if step is Command.SHUTDOWN else "Worker")
    if source == "paused":
        await farm.go("running")
    if source != "initial":
        await farm.go(source)
    if source == "running":
        await flows(farm, live)
    command = asyncio.create_task(farm.execute(step, command_id=name, check=False), name=name)

    async def seen() -> bool:
        members = (await farm.status()).members
        return any(member.path == VICTIM and member.state is State(way) for member in members)

    await live.eventually(seen, f"{VICTIM} is not seen {way}")
    await live.eventually(
        lambda: live.processes().keys() == set(PROCESSES) or step is Command.SHUTDOWN, "the processes were not started"
    )
    return command, (await farm.status(depth=0)).member.run_number


async def outcome_of(farm: AsyncFarm, live: Any, command: "asyncio.Task[Outcome]", step: Command) -> Outcome:
    """What became of a command; on a busy machine its client may have given up before the farm was back."""
    async with asyncio.timeout(TAKEN_UP_LIMIT_S):
        try:
            return await command
        except Unavailable:
            await heard_again(farm, live)
            return await farm.execute(step, command_id=command.get_name(), check=False)


async def is_over(
    farm: AsyncFarm, live: Any, way: str, before: dict[str, list[int]], outcome: Outcome, run: int, hit: str
) -> None:
    """The step has led where it leads, and is not carried out again; the processes are those of before."""
    _, target = STEPS[WAYS[way]]
    if hit != VICTIM:  # of the process itself the step may have failed: it has to be brought there once more
        assert outcome.kind is OutcomeKind.DONE, outcome.reason
    elif outcome.kind is not OutcomeKind.DONE:
        assert VICTIM in outcome.reason
        await farm.go(target)
    state = state_of(target)
    if target == "initial":
        await live.eventually(lambda: programs_once(live), "after the shutdown not every program lives once")
    else:
        await live.eventually(lambda: is_well(farm, state), f"the farm was not seen {target} and well")
        await live.eventually(lambda: same_but_for(before, live.processes(), hit), "other processes than before")
    again = await farm.execute(WAYS[way], command_id=outcome.command_id, check=False)
    assert (again.kind, again.run_number) == (outcome.kind, outcome.run_number)
    if state is State.TAKING and hit != VICTIM:
        assert (await farm.status(depth=0)).member.run_number == run
    await ends(farm, live, state, run, hit)


@pytest.mark.parametrize(("killed", "way"), cells(HIT, list(WAYS)))
async def test_a_program_that_is_killed_during_a_transition_does_not_keep_it_from_its_end(
    farm: AsyncFarm, live: Any, killed: str, way: str
) -> None:
    command, run = await under_way(farm, live, way, f"{way} {killed}")
    before = live.processes()
    await live.kill(killed)
    await brought_back(live, killed)
    await is_over(farm, live, way, before, await outcome_of(farm, live, command, WAYS[way]), run, killed)


@pytest.mark.slow
@pytest.mark.parametrize("way", list(WAYS))
async def test_a_transition_is_finished_when_all_of_the_control_machine_dies_in_it(
    farm: AsyncFarm, live: Any, way: str
) -> None:
    command, run = await under_way(farm, live, way, f"{way} control machine")
    before = live.processes()
    for controller in CONTROL_MACHINE:
        await live.kill(controller)
    await asyncio.to_thread(live.up)
    await is_over(farm, live, way, before, await outcome_of(farm, live, command, WAYS[way]), run, "")


@pytest.mark.slow
@pytest.mark.parametrize("way", list(WAYS))
async def test_a_transition_is_finished_when_everything_but_the_processes_dies_in_it(
    farm: AsyncFarm, live: Any, way: str
) -> None:
    command, run = await under_way(farm, live, way, f"{way} all programs")
    before = live.processes()
    await live.kill_programs()
    await asyncio.to_thread(live.up)
    await is_over(farm, live, way, before, await outcome_of(farm, live, command, WAYS[way]), run, EVERYTHING)


# ---- the books themselves -------------------------------------------------------------------------------------------


async def test_books_that_do_not_balance_are_told_with_the_role_and_what_was_lost_is_not_excused_by_a_death(
    farm: AsyncFarm, live: Any
) -> None:
    await use(farm, live, "Careless")
    run = (await farm.go("running")).run_number
    await flows(farm, live)
    await farm.execute("stop")
    record = await farm.run(run)
    rule = "worker: read = accepted + rejected + late does not hold"
    assert [text.partition(": ")[2].partition(" hold")[0] + " hold" for text in record.mismatches] == [rule, rule]
    assert (await shown(live, run))["mismatches"] == list(record.mismatches)
    assert f"the books do not balance: {record.mismatches[0]}" in wrong_with_books(live.home, record)
    assert any(text.startswith("events were lost: sf01: ") for text in wrong_with_books(live.home, record, [VICTIM]))
