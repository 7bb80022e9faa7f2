"""The kill matrix where programs come and go: each program killed while the farm is set up, or torn down.

Setting up and tearing down take only as long as programs take to start and to end. So that there is a moment in which
one is certainly under way, another program is stopped meanwhile that it waits for. Afterwards every program is there
once, or none but the farm controller.
"""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from grange.client import AsyncFarm, Outcome, OutcomeKind
from grange.core.names import Command, Health, State

from .flow import programs_once
from .test_kill_matrix import CONTROL_MACHINE, brought_back, outcome_of, stopped

ALWAYS = {("sf01", Command.SETUP), ("keeper sf01/n1", Command.TEARDOWN)}
HELD_UP_BY = {
    Command.SETUP: dict.fromkeys(("farm", "sf01", "agent sf01/n1", "keeper sf01/n1"), "sf02"),
    Command.TEARDOWN: {
        "farm": "agent sf01/n2",
        "sf01": "agent sf01/n2",
        "agent sf01/n1": "keeper sf01/n1",
        "keeper sf01/n1": "agent sf01/n1",
    },
}
"""By step and by who is killed: the program that is stopped meanwhile, and has to do its part in the step."""
VIA = {Command.SETUP: State.SETTING_UP, Command.TEARDOWN: State.TEARING_DOWN}


async def held_up(farm: AsyncFarm, live: Any, step: Command, by: str, hold: ExitStack) -> "asyncio.Task[Outcome]":
    """Begins the step, which cannot end while `by` is stopped."""
    name = f"{step} {by} {id(hold)}"
    if step is Command.SETUP:
        await farm.go("absent")
        await live.eventually(lambda: live.found().keys() == {"farm"}, "more lives than the farm controller")
    else:
        hold.enter_context(stopped(live.pid(by)))
    command = asyncio.create_task(farm.execute(step, command_id=name, check=False), name=name)
    if step is Command.SETUP:
        await live.eventually(lambda: by in live.found(), f"{by} is not started")
        hold.enter_context(stopped(live.found()[by][0]))

    async def seen() -> bool:
        return (await farm.status(depth=0)).member.state is VIA[step]

    await live.eventually(seen, f"the farm is not seen {VIA[step]}")
    return command


async def is_over(farm: AsyncFarm, live: Any, step: Command, command: "asyncio.Task[Outcome]") -> None:
    """The step is done; every program is there once and the farm is well, or none is but the farm controller."""
    outcome = await outcome_of(farm, live, command, step)
    assert outcome.kind is OutcomeKind.DONE, outcome.reason
    if step is Command.TEARDOWN:
        await live.eventually(lambda: live.found().keys() == {"farm"}, "more lives than the farm controller")
        assert live.held() == [path for path in live.held() if "/farm.sock" in path]
        return
    await live.eventually(lambda: programs_once(live), "not every program lives once")

    async def well() -> bool:
        member = (await farm.status(depth=0)).member
        return (member.state, member.health) == (State.INITIAL, Health.OK)

    await live.eventually(well, "the farm is not initial and well")


@pytest.mark.parametrize(
    ("killed", "step"),
    [
        pytest.param(killed, step, marks=() if (killed, step) in ALWAYS else pytest.mark.slow)
        for step, programs in HELD_UP_BY.items()
        for killed in programs
    ],
)
async def test_a_program_that_is_killed_while_programs_come_or_go_keeps_none_from_it(
    farm: AsyncFarm, live: Any, killed: str, step: Command
) -> None:
    with ExitStack() as hold:
        command = await held_up(farm, live, step, HELD_UP_BY[step][killed], hold)
        await live.eventually(lambda: killed in live.found(), f"{killed} is not started")
        pids = live.found()[killed]
        await live.kill_one(killed, pids[0])
        await brought_back(live, killed)
    await is_over(farm, live, step, command)


@pytest.mark.slow
@pytest.mark.parametrize("step", list(HELD_UP_BY))
@pytest.mark.parametrize("what", ["the control machine", "everything"])
async def test_grange_up_finishes_it_when_all_programs_die_while_they_come_or_go(
    farm: AsyncFarm, live: Any, step: Command, what: str
) -> None:
    with ExitStack() as hold:
        command = await held_up(farm, live, step, HELD_UP_BY[step]["sf01"], hold)
        if what == "everything":
            await live.kill_programs()
        else:
            for controller in CONTROL_MACHINE:
                for pid in live.found().get(controller, []):
                    await live.kill_one(controller, pid)
        await asyncio.to_thread(live.up)
    await is_over(farm, live, step, command)
