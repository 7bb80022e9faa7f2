"""Who went out of a run and came back: noted once, with the moment and the reason, whatever is restarted meanwhile."""

import pytest

from grange.core.names import Command, Membership, Policy
from grange.core.plan import Quorum
from grange.core.run_members import CHANGES_KEPT, KEPT_IN
from grange.harness.farms import deep, uniform
from grange.harness.world import World

OUT, IN = Membership.OUT_BY_FAULT, Membership.IN
WORKER = "sf01/n001/worker-1"


def taking(world: World) -> World:
    assert world.carry_out("go running").kind == "done"
    return world


def one_may_die(nodes: int = 3) -> World:
    return World(uniform(1, nodes, 2, quorums={"worker": Quorum(number=1)}))


def moved(world: World, run: int = 1) -> list[tuple[str, Membership]]:
    """What was recorded of a run, in the order of the records."""
    return [
        (record.data["path"], record.data["membership"])
        for record in world.records
        if record.kind == "run_member" and record.data["number"] == run
    ]


def test_a_run_in_which_nobody_goes_out_has_no_changes() -> None:
    world = taking(one_may_die())
    world.carry_out("pause")
    world.carry_out("resume")
    world.carry_out("stop")
    assert moved(world) == []


def test_a_member_that_gets_another_chance_is_back_only_when_it_takes_data() -> None:
    world = taking(one_may_die())
    world.kill_process(WORKER)
    world.run_for(1.0)
    world.process(WORKER).dies_at.add(Command.BOOT)
    world.carry_out("go running")
    assert moved(world) == [(WORKER, OUT)]
    world.process(WORKER).dies_at.clear()
    world.carry_out("go running")
    world.run_for(1.0)
    assert moved(world) == [(WORKER, OUT), (WORKER, IN)]


def test_one_that_is_kept_in_because_its_role_falls_short_without_it_is_noted_with_that() -> None:
    world = taking(World(uniform(1, 1, 2, policies={"worker": Policy.IGNORE})))
    world.kill_process(WORKER)
    world.run_for(1.0)
    (record,) = [record for record in world.records if record.kind == "run_member"]
    reason = f"{KEPT_IN}worker-1 on n001 was killed by SIGKILL while it was taking"
    assert (record.data["membership"], record.data["reason"]) == (IN, reason)
    world.carry_out("go running")
    world.run_for(1.0)
    assert moved(world) == [(WORKER, IN), (WORKER, IN)]


def test_one_that_cannot_be_heard_and_is_kept_in_is_noted_too_though_it_said_last_that_it_takes_data() -> None:
    world = taking(World(uniform(1, 2, 2)))
    world.cut("sf01/n001")
    world.run_for(20.0)
    found = [record.data for record in world.records if record.kind == "run_member"]
    why = "on n001 is unaccounted for: the node's agent has not answered"
    assert [(data["path"], data["membership"], data["reason"]) for data in found] == [
        ("sf01/n001/source-1", IN, f"{KEPT_IN}source-1 {why}"),
        (WORKER, IN, f"{KEPT_IN}worker-1 {why}"),
    ]
    world.mend("sf01/n001")
    world.run_for(1.0)
    assert moved(world)[2:] == [("sf01/n001/source-1", IN), (WORKER, IN)]


def test_the_moment_is_that_of_the_change_and_not_of_the_report() -> None:
    world = taking(one_may_die())
    world.run_for(10.0)
    world.cut("sf01")
    world.kill_process(WORKER)
    world.run_for(20.0)
    world.mend("sf01")
    world.run_for(1.0)
    (record,) = [record for record in world.records if record.kind == "run_member"]
    assert 19.5 < record.data["age_s"] < 20.5
    assert record.data["reason"] == "worker-1 on n001 was killed by SIGKILL while it was taking"


@pytest.mark.parametrize("killed", [[""], ["sf01"], ["", "sf01"]], ids=["farm", "sub-farm", "both"])
def test_a_restarted_controller_tells_of_nobody_who_did_not_move(killed: list[str]) -> None:
    world = taking(one_may_die())
    world.kill_process(WORKER)
    world.run_for(1.0)
    for path in killed:
        world.kill_controller(path)
    if "" in killed:
        world.start_farm()
    world.run_for(30.0)
    assert {path for path, _ in moved(world)} == {WORKER}
    assert IN not in {membership for _, membership in moved(world)}


def test_a_member_that_is_out_when_a_run_starts_is_noted_in_that_run() -> None:
    world = taking(one_may_die())
    world.carry_out("stop")
    world.kill_process(WORKER)
    world.run_for(1.0)
    world.carry_out("start")
    world.run_for(1.0)
    assert (moved(world), moved(world, 2)) == ([], [(WORKER, OUT)])


def test_whom_a_person_excludes_is_noted_by_the_name_that_was_given_however_deep() -> None:
    world = taking(World(deep()))
    world.carry_out("member exclude", "group1/sf01")
    assert moved(world) == [("group1/sf01", Membership.OUT_BY_PERSON)]


def test_more_changes_than_are_kept_are_counted() -> None:
    nodes = CHANGES_KEPT + 6
    world = taking(one_may_die(nodes))
    for number in range(1, nodes):
        world.kill_process(f"sf01/n{number:03}/worker-{number}")
    world.run_for(5.0)
    world.carry_out("stop")
    assert len(moved(world)) == CHANGES_KEPT
    (ended,) = [record.data for record in world.records if record.kind == "run_ended"]
    assert ended["changes_left_out"] == 5
