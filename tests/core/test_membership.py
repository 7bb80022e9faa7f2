"""What is refused when a person commands members, each with its exact text; the whole stories are in tests/spec."""

import pytest

from grange.core.effects import Refuse
from grange.core.events import MemberCommandGiven
from grange.core.names import MemberCommand, State
from grange.harness.farms import uniform
from grange.harness.world import World


@pytest.fixture
def world() -> World:
    """A farm that is up and shut down again, with a node that a person has taken out."""
    world = World(uniform(2, 2, 2))
    for what in ("go running", "shutdown", "member exclude sf01/n002"):
        words = what.split()
        length = 1 if len(words) == 1 else 2
        world.carry_out(" ".join(words[:length]), " ".join(words[length:]))
    return world


def refusal(world: World, command: MemberCommand, *paths: str, gone: bool = False) -> str:
    event = MemberCommandGiven("new", "d", command, paths, "ann", gone=gone, selected=world.farm)
    effects = world.root.core.step(world.now, event)
    refused = [effect for effect in effects if isinstance(effect, Refuse)]
    assert len(refused) == 1, effects
    return refused[0].reason


@pytest.mark.parametrize(
    ("command", "paths", "gone", "text"),
    [
        ("exclude", ("",), False, "the farm as a whole cannot be excluded; name sub-farms, nodes or processes"),
        ("exclude", ("sf01/n002",), False, "sf01/n002 is out already: excluded by tester"),
        (
            "exclude",
            ("sf01",),
            True,
            "sf01 answers, so it is not gone for good; to take it out: grange exclude sf01",
        ),
        (
            "exclude",
            ("sf01/n001",),
            True,
            "sf01/n001 answers, so it is not gone for good; to take it out: grange exclude sf01/n001",
        ),
        (
            "exclude",
            ("sf01/n001/worker-1",),
            True,
            "sf01/n001/worker-1 is a process: --gone is for a node or a sub-farm that will not come back",
        ),
        ("exclude", ("sf01/n009",), False, "there is no member 'sf01/n009'"),
        (
            "include",
            ("sf01/n002/worker-2",),
            False,
            "sf01/n002/worker-2 is out with sf01/n002, excluded by tester; include that: grange include sf01/n002",
        ),
        (
            "restart",
            ("sf01/n002",),
            False,
            "sf01/n002 is out, excluded by tester; include it first: grange include sf01/n002",
        ),
        (
            "restart",
            ("sf01", "sf02"),
            False,
            "there is nothing to restart: sf01 (and 1 more) is down, and is meant to be; "
            "start it with: grange go running",
        ),
        (
            "recover",
            ("sf02",),
            False,
            "there is nothing to recover: sf02 is down, and is meant to be; start it with: grange go running",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason_and_changes_nothing(
    world: World, command: str, paths: tuple[str, ...], gone: bool, text: str
) -> None:
    before = world.root.core.memory.goal and world.root.core.memory.goal.goal
    assert refusal(world, MemberCommand(command), *paths, gone=gone) == text
    assert (world.root.core.memory.goal and world.root.core.memory.goal.goal) == before


def test_nothing_is_restarted_in_a_farm_that_is_not_set_up(world: World) -> None:
    world.carry_out("go absent")
    text = "there is nothing to restart: farm is not set up; start it with: grange go running"
    assert refusal(world, MemberCommand.RESTART, "sf02") == text


def test_while_the_one_who_would_know_is_away_no_node_is_given_up(world: World) -> None:
    world.kill_controller("sf01")
    assert refusal(world, MemberCommand.EXCLUDE, "sf01/n001", gone=True) == (
        "whether sf01/n001 answers, only the controller of sf01 knows, which does not: try again"
    )


def test_a_sub_farm_that_is_included_while_it_cannot_be_heard_counts_at_once() -> None:
    world = World(uniform(2, 1, 2))
    world.carry_out("go running")
    world.carry_out("member exclude", "sf01")
    world.run_for(1.0)
    world.cut("sf01")
    assert world.state() is State.TAKING
    world.command("member include", "sf01")
    assert world.state() is State.MIXED
