"""Which configuration is in force, and when another may take its place."""

import pytest

from grange.core.controller import new_memory
from grange.core.effects import Answer, Refuse
from grange.core.memory import Memory
from grange.core.names import Command, Kind, State
from grange.core.plan import FarmSpec
from grange.core.revision import adopt, document, go_first, is_process, known_paths, put, why_not
from grange.harness.farms import deep, uniform
from grange.harness.world import World

OLD = uniform(1, 2, 2, revision="a" * 64)
TUNED = uniform(1, 2, 2, revision="b" * 64, parameters={"threshold": 3})
MORE_PROCESSES = uniform(1, 2, 3, revision="c" * 64)
MORE_NODES = uniform(1, 3, 2, revision="d" * 64)


@pytest.mark.parametrize(
    ("state", "command", "selected", "outcome"),
    [
        ("absent", "setup", MORE_NODES, "d"),
        ("initial", "boot", TUNED, "b"),
        ("initial", "boot", MORE_PROCESSES, "c"),
        ("initial", "boot", MORE_NODES, "has other sub-farms or nodes"),
        ("initial", "go running", MORE_PROCESSES, "c"),
        ("booted", "load", TUNED, "b"),
        ("booted", "load", MORE_PROCESSES, "has other processes than the one booted"),
        ("booted", "load", MORE_NODES, "has other sub-farms or nodes"),
        ("loaded", "configure", TUNED, "a"),
        ("configured", "start", MORE_NODES, "a"),
        ("running", "pause", TUNED, "a"),
        ("running", "go running", TUNED, "a"),
        ("running", "shutdown", MORE_NODES, "a"),
    ],
)
def test_a_revision_is_taken_where_it_can_be_refused_where_it_must_and_left_alone_otherwise(
    state: str, command: str, selected: FarmSpec, outcome: str
) -> None:
    world = World(OLD)
    if state != "absent":
        assert world.carry_out(f"go {state}").kind == "done"
    world.select(selected)
    found = world.carry_out(command)
    if len(outcome) > 1:
        assert isinstance(found, Refuse)
        assert (found.kind, world.root.core.memory.revision[0]) == ("revision", "a")
        assert outcome in found.reason
    else:
        assert isinstance(found, Answer)
        assert (found.kind, world.root.core.memory.revision[0]) == ("done", outcome)
        world.run_for(1.0)
        assert world.controllers["sf01"].core.memory.revision[0] == outcome


def test_a_farm_of_which_a_part_is_further_up_keeps_what_it_has() -> None:
    world = World(OLD)
    world.carry_out("go initial")
    world.carry_out("go loaded", "sf01/n001")
    world.select(TUNED)
    assert isinstance(world.carry_out("boot"), Answer)
    assert world.root.core.memory.revision == OLD.revision


def test_the_farm_comes_back_with_the_revision_that_was_in_force_and_not_with_the_selected_one() -> None:
    world = World(OLD)
    world.carry_out("go running")
    world.select(MORE_NODES)
    world.kill_controller("")
    world.start_farm()
    assert world.root.core.memory.revision == OLD.revision


@pytest.mark.parametrize(
    ("target", "selected", "first"),
    [
        ("initial", OLD, None),
        ("initial", MORE_NODES, State.ABSENT),
        ("initial", MORE_PROCESSES, None),  # which the boot takes on the way to the load
        ("booted", MORE_PROCESSES, State.INITIAL),
        ("booted", TUNED, None),
        ("running", MORE_NODES, State.ABSENT),
        ("running", MORE_PROCESSES, State.INITIAL),
        ("running", TUNED, None),
    ],
)
def test_where_the_farm_has_to_go_first_is_known_and_from_there_the_revision_is_taken(
    target: str, selected: FarmSpec, first: State | None
) -> None:
    world = World(OLD)
    world.carry_out(f"go {target}")
    world.select(selected)
    assert go_first(world.root.core.memory, selected) is first
    world.carry_out(f"go {first or 'initial'}" if first or target == "initial" else "go booted")
    assert isinstance(world.carry_out("go loaded"), Answer)
    assert world.root.core.memory.revision == selected.revision
    assert go_first(world.root.core.memory, selected) is None


def test_of_a_farm_that_is_not_set_up_the_next_load_takes_anything() -> None:
    held = memory()
    assert go_first(held, MORE_NODES) is None
    put(held, OLD)
    assert go_first(held, MORE_NODES) is None


def memory() -> Memory:
    return new_memory("", "farm", Kind.FARM, root=True, fence=(1,))


def test_trying_changes_nothing() -> None:
    held = memory()
    put(held, OLD)
    before = repr(held)
    assert why_not(held, MORE_NODES, Command.BOOT) == ""  # nothing is set up, so anything may be taken
    assert repr(held) == before
    assert adopt(held, MORE_NODES, Command.SETUP)
    assert held.revision == MORE_NODES.revision


def test_members_are_known_at_every_depth() -> None:
    held = memory()
    put(held, deep(1, 1, 1, 1))
    assert known_paths(held) == {
        "",
        "group1",
        "group1/sf01",
        "group1/sf01/n001",
        "group1/sf01/n001/source-1",
    }
    assert is_process(held, "group1/sf01/n001/source-1")
    assert not is_process(held, "group1/sf01/n001")


def test_what_is_known_of_processes_that_stay_is_kept() -> None:
    held = new_memory("sf01", "sf01", Kind.SUB_FARM, root=False)
    document(held, "a", OLD.sub_farms[0])
    kept = held.processes["sf01/n001/worker-1"]
    kept.fault = "it is ill"
    document(held, "c", MORE_PROCESSES.sub_farms[0])
    assert held.processes["sf01/n001/worker-1"] is kept
    assert kept.spec == next(one for one in MORE_PROCESSES.sub_farms[0].processes if one.path == kept.path)
    assert "sf01/n001/source-2" in held.processes
