"""Random worlds: commands and faults in any order, watched by the checkers (harness/checkers.py).

A broken world names its seed; `python -P -m grange.harness.fuzz SEED` replays it with its log. A seed that was broken
once stays here for ever.
"""

import pytest

from grange.core.names import State
from grange.harness.checkers import Broken, Checker
from grange.harness.farms import deep, uniform
from grange.harness.fuzz import play
from grange.harness.world import World

# What each of them found is in the name of its test id.
ONCE_BROKEN = {
    16: "an exit that a keeper remembered failed the next command that would have booted the process again",
    128: "the same in a tree of three levels",
    121: "a process on its way back was started in a run that had just ended",
    230: "a sub-farm controller that had seen nothing of the run brought its processes into it after its end",
    309: "the same after the restart of a node",
}
# The same, in worlds of forty moves.
ONCE_BROKEN_LATE = {
    20193: "a process that was lost stayed so although its node was heard again, and a start waited for it for ever",
    20247: "the same",
    21073: "a sub-farm controller that came back after a teardown was told a goal, but its answer not waited for",
    22016: "a part was set up below a controller that was to leave",
    22343: "a shutdown failed because of processes that a restarted node knew nothing of",
    10269: "a run was ended while a sub-farm that had not heard of it yet started a process in it",
    10496: "a sub-farm that was included while it could not be heard counted for nothing, and the farm said taking",
    10868: "an excluded node that was commanded by name counted afterwards, and hid that a role was short",
    10570: "a node stayed with a controller that had been released (a fault of the simulated world)",
}
GROUPS = 8
WORLDS_PER_GROUP = 25


@pytest.mark.parametrize("seed", ONCE_BROKEN)
def test_a_world_that_was_broken_once_holds(seed: int) -> None:
    play(seed)


@pytest.mark.parametrize("seed", ONCE_BROKEN_LATE)
def test_a_longer_world_that_was_broken_once_holds(seed: int) -> None:
    play(seed, moves=40)


@pytest.mark.parametrize("group", range(GROUPS))
def test_whatever_is_commanded_and_whatever_fails_the_farm_keeps_its_word_and_can_be_healed(group: int) -> None:
    for seed in range(1000 + group * WORLDS_PER_GROUP, 1000 + (group + 1) * WORLDS_PER_GROUP):
        play(seed)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(20))
def test_so_it_is_in_many_and_longer_worlds(group: int) -> None:
    for seed in range(10_000 + group * 50, 10_000 + (group + 1) * 50):
        play(seed, moves=40)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_large_farm_of_three_levels_goes_through_its_life() -> None:
    world = World(deep(groups=4, sub_farms=8, nodes=8, processes=4))
    checker = Checker(world)
    assert world.carry_out("go running").kind == "done"
    checker.quiet()
    for path in ("group1", "group2/sf03", "group3/sf01/n004"):
        (world.kill_agent if path in world.nodes else world.kill_controller)(path)
    world.run_for(5.0)
    assert world.state() is State.TAKING
    checker.quiet()
    checker.heals()


def test_the_same_seed_gives_the_same_world() -> None:
    assert play(7).log == play(7).log


def test_the_checkers_notice_a_claim_that_is_not_so() -> None:
    world = World(uniform(1, 1, 2))
    checker = Checker(world)
    world.carry_out("go running")
    checker.quiet()
    world.process("sf01/n001/worker-1").state = State.BOOTED
    with pytest.raises(Broken, match="of worker in sf01 0 are, 1 needed"):
        checker.quiet()
