"""The run: one number, four moments, one end, whatever happens in between."""

from typing import Any

import pytest

from grange.core.effects import Answer, Refuse
from grange.core.events import DatabaseReported
from grange.core.names import Command, Health, Policy, State
from grange.core.plan import Quorum
from grange.core.tally import INSTANCES_DIED
from grange.core.view import possible_now
from grange.harness.farms import uniform
from grange.harness.surroundings import Times
from grange.harness.world import World

UNSAID = {"run_type": "", "run_mode": "", "comment": "", "events": 0, "duration_s": 0.0, "person": ""}
MOMENTS = ["run_running", "run_stop_asked", "run_ended"]


def running(world: World) -> World:
    assert world.carry_out("go running").kind == "done"
    return world


def records(world: World, number: int = 1) -> list[str]:
    """The moments of a run in the order in which they were recorded."""
    return [record.kind for record in world.records if record.kind in MOMENTS and record.data["number"] == number]


def ending(world: World, number: int = 1) -> dict[str, Any]:
    (record,) = (r for r in world.records if r.kind == "run_ended" and r.data["number"] == number)
    return dict(record.data)


def degraded(world: World, number: int = 1) -> list[str]:
    """Why a run was marked degraded; empty when it was not."""
    found = [record.data for record in world.records if record.kind == "run_degraded"]
    return [data["reason"] for data in found if data["number"] == number]


@pytest.mark.parametrize("last", ["stop", "shutdown", "go loaded", "go absent"])
def test_a_run_is_running_then_its_stop_is_asked_for_then_it_ends_once(last: str) -> None:
    world = running(World(uniform(2, 1, 2)))
    world.carry_out(last)
    world.run_for(60.0)
    assert records(world) == MOMENTS
    assert ending(world)["end_reason"] == f"{last} by tester"


def test_the_number_is_asked_for_once_and_only_when_something_could_start() -> None:
    world = World(uniform(2, 1, 2))
    world.carry_out("go configured")
    assert world.run_numbers == {}
    answer = world.carry_out("start")
    assert isinstance(answer, Answer)
    assert (answer.run_number, list(world.run_numbers.values())) == (1, [1])


def test_pausing_and_resuming_do_not_end_a_run() -> None:
    world = running(World(uniform(1, 1, 2)))
    world.carry_out("pause")
    world.carry_out("resume")
    assert records(world) == ["run_running"]


def test_without_a_number_nothing_starts_and_the_reason_is_told() -> None:
    world = World(uniform(1, 1, 2))
    world.allot_trouble = "the database cannot be reached"
    answer = world.carry_out("go running")
    assert "no run number could be had: the database cannot be reached" in answer.reason
    assert world.state() is State.CONFIGURED
    world.allot_trouble = ""
    running(world)


def test_a_number_that_comes_too_late_is_of_a_run_that_never_began() -> None:
    world = World(uniform(1, 1, 2))
    world.carry_out("go configured")
    command_id = world.command("start")
    world.run_until(lambda: bool(world.root.core.memory.goal and world.root.core.memory.goal.allotting))
    world.cancel(command_id)
    world.run_for(5.0)
    assert records(world) == ["run_ended"]
    assert world.state() is State.CONFIGURED


def test_a_start_that_failed_before_anybody_took_data_ends_its_run_with_the_reason() -> None:
    world = World(uniform(1, 1, 2))
    world.carry_out("go configured")
    world.process("sf01/n001/worker-1").refuses_at.add(Command.START)
    world.carry_out("start")
    world.run_for(1.0)
    assert "no such calibration" in str(ending(world)["end_reason"])
    world.process("sf01/n001/worker-1").refuses_at.clear()
    assert running(world).root.core.memory.run is not None


def test_a_start_that_failed_half_way_can_be_completed_in_the_same_run() -> None:
    world = World(uniform(1, 1, 2))
    world.carry_out("go configured")
    world.process("sf01/n001/source-1").refuses_at.add(Command.START)
    world.carry_out("start")
    world.process("sf01/n001/source-1").refuses_at.clear()
    answer = world.carry_out("start")
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.run_number) == ("done", 1)


def test_after_a_stop_was_asked_for_a_start_is_of_a_new_run() -> None:
    world = running(World(uniform(1, 1, 3)))
    world.command("stop")
    world.run_for(0.012)
    answer = world.carry_out("go running")
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.run_number) == ("done", 2)
    assert records(world) == MOMENTS
    assert {slot.run_number for slot in world.processes()} == {2}


def test_a_run_from_which_a_process_was_missing_is_marked_degraded() -> None:
    world = running(World(uniform(1, 1, 4, quorums={"worker": Quorum(number=1)})))
    world.kill_process("sf01/n001/worker-1")
    world.run_for(1.0)
    world.carry_out("stop")
    assert degraded(world) == ["sf01/n001/worker-1: worker-1 on n001 was killed by SIGKILL while it was taking"]


def test_the_first_member_that_was_missing_is_the_reason_also_if_the_controllers_were_killed_since() -> None:
    world = running(World(uniform(1, 1, 6, quorums={"worker": Quorum(number=1)})))
    world.kill_process("sf01/n001/worker-2")
    world.run_for(1.0)
    world.kill_process("sf01/n001/worker-1")
    world.run_for(1.0)
    world.kill_controller("sf01")
    world.kill_controller("")
    world.start_farm()
    world.run_for(30.0)
    world.carry_out("stop")
    reason = "sf01/n001/worker-2: worker-2 on n001 was killed by SIGKILL while it was taking"
    assert degraded(world) == [reason]


def test_one_that_was_kept_in_because_its_role_is_short_degrades_the_run_too() -> None:
    world = running(World(uniform(1, 1, 2, policies={"worker": Policy.IGNORE})))
    world.kill_process("sf01/n001/worker-1")
    world.run_for(1.0)
    world.carry_out("stop")
    reason = "sf01/n001/worker-1: worker-1 on n001 was killed by SIGKILL while it was taking"
    assert degraded(world) == [reason]


def test_what_was_missing_before_a_run_and_is_back_at_its_start_does_not_degrade_it() -> None:
    slow = Times(report_s=0.1)  # the number is there before the sub-farm has told of the new command
    world = running(World(uniform(1, 1, 4, quorums={"worker": Quorum(number=1)}), times=slow))
    world.kill_process("sf01/n001/worker-1")
    world.run_for(1.0)
    world.carry_out("stop")
    running(world).run_for(1.0)
    world.carry_out("stop")
    assert (len(degraded(world)), degraded(world, 2)) == (1, [])


def test_a_run_whose_start_failed_while_others_took_data_is_degraded_also_when_it_is_completed_later() -> None:
    world = World(uniform(2, 1, 2))
    world.carry_out("go configured")
    world.process("sf02/n001/source-1").refuses_at.add(Command.START)
    assert world.carry_out("start").kind == "failed"
    world.process("sf02/n001/source-1").refuses_at.clear()
    running(world).carry_out("stop")
    (reason,) = degraded(world)
    assert reason == "sf02/n001/source-1: source-1 on n001: no such calibration for start"


def test_a_start_that_was_cancelled_half_way_degrades_the_run_and_says_so() -> None:
    world = World(uniform(2, 1, 2))
    world.carry_out("go configured")
    world.process("sf02/n001/source-1").hangs_at.add(Command.START)
    command_id = world.command("start")
    world.run_until(lambda: world.state("sf01") is State.TAKING)
    world.cancel(command_id)
    world.run_until(lambda: command_id in world.answers)
    assert degraded(world)[0] == "start was cancelled: cancelled by tester"


def test_a_whole_run_is_not() -> None:
    world = running(World(uniform(1, 1, 2)))
    world.carry_out("stop")
    assert degraded(world) == []


def test_the_policy_is_the_reason_why_a_run_ended() -> None:
    world = running(World(uniform(1, 1, 2, policies={"source": Policy.STOP_RUN})))
    world.kill_process("sf01/n001/source-1")
    world.run_for(5.0)
    assert records(world) == MOMENTS
    assert ending(world)["end_reason"] == "source-1 on n001 was killed by SIGKILL while it was taking"


@pytest.mark.parametrize("command", ["stop", "go configured", "go loaded", "go booted"])
@pytest.mark.parametrize("part", ["sf01", "sf01/n001", "sf01/n001/worker-1"])
def test_a_part_cannot_leave_a_run_that_others_go_on_with_for_it_could_not_come_back(command: str, part: str) -> None:
    world = running(World(uniform(2, 1, 2)))
    refused = world.carry_out(command, part)
    assert isinstance(refused, Refuse)
    assert refused.reason.partition("; possible now: ")[0] == (
        f"{command} is not possible: run 1 goes on without {part}, and a process that has left a run cannot start in "
        f"it again; take it out: grange exclude {part}; start it anew: grange restart {part}; "
        "or end the run: grange stop"
    )
    assert "stop" not in refused.possible
    for controller in world.controllers.values():
        assert "stop" not in possible_now(controller.core.memory, "sf01/n001/worker-1")


def test_a_part_that_is_excluded_stays_in_the_run_until_it_is_shut_down_and_joins_it_again_when_included() -> None:
    world = running(World(uniform(2, 1, 2)))
    world.carry_out("member exclude", "sf01")
    refused = world.carry_out("stop", "sf01")
    assert isinstance(refused, Refuse)
    assert "end it for now: grange shutdown sf01; or end the run: grange stop" in refused.reason
    assert world.carry_out("shutdown", "sf01").kind == "done"
    assert world.carry_out("member include", "sf01").kind == "done"
    assert world.carry_out("go running").kind == "done"
    assert {slot.run_number for slot in world.processes()} == {1}
    assert world.state() is State.TAKING


def test_all_that_is_in_a_run_may_be_stopped_by_its_parts_and_that_ends_the_run() -> None:
    world = World(uniform(2, 2, 2))
    world.carry_out("go configured")
    assert world.carry_out("start", "sf01").kind == "done"
    assert "stop" in possible_now(world.root.core.memory, "sf01")
    assert world.carry_out("stop", "sf01/n001 sf01/n002").kind == "done"
    world.run_for(1.0)
    assert records(world) == MOMENTS
    assert running(world).carry_out("stop", "sf01 sf02").kind == "done"
    world.run_for(1.0)
    assert records(world, 2) == MOMENTS
    assert ending(world, 2)["end_reason"] == "nothing takes data any more"


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (("go initial", "sf01/n001/worker-1"), "taken back with goal go initial for sf01/n001/worker-1"),
        (("pause",), "taken back with goal pause"),
    ],
)
def test_a_farm_that_is_taken_back_tells_its_goal_and_of_which_part_it_is(last: tuple[str, ...], told: str) -> None:
    world = running(World(uniform(1, 1, 4, quorums={"worker": Quorum(number=1)})))
    world.carry_out(*last)
    world.kill_controller("")
    world.start_farm()
    world.run_for(1.0)
    assert [text for _, _, text in world.root.core.memory.story if text.startswith("taken back")] == [told]


@pytest.mark.parametrize("moment_s", [0.0, 0.006, 0.012, 0.02, 0.03, 0.05])
@pytest.mark.parametrize("command", ["start", "stop"])
def test_a_farm_controller_that_was_killed_takes_its_run_back(command: str, moment_s: float) -> None:
    world = World(uniform(2, 1, 3))
    world.carry_out("go configured" if command == "start" else "go running")
    command_id = world.command(command)
    world.run_for(moment_s)
    world.kill_controller("")
    world.run_for(1.0)
    world.start_farm()
    world.run_until(lambda: command_id in world.answers, 60.0)
    world.run_for(15.0)
    assert list(world.run_numbers.values()) == [1]
    assert world.state() is (State.TAKING if command == "start" else State.CONFIGURED)
    assert records(world) == MOMENTS[: 1 if command == "start" else 3]


def test_the_goal_record_carries_the_open_run_when_its_stop_was_asked_for_and_its_end_is_still_to_come() -> None:
    world = running(World(uniform(2, 1, 2)))
    world.command("stop")
    world.kill_controller("")
    kept = [record.data["run"] for record in world.records if record.kind == "goal_set"][-1]
    assert kept == {
        "number": 1,
        "running": True,
        "stop_asked": True,
        "end_reason": "stop by tester",
        "degraded": False,
        "degraded_reason": "",
        "terms": UNSAID,
        "last_seen_unix_s": 0.0,
    }
    world.start_farm()
    world.run_for(30.0)
    assert [(record.kind, record.data["number"]) for record in world.records if record.kind.startswith("run_")] == [
        ("run_running", 1),
        ("run_stop_asked", 1),
        ("run_ended", 1),
    ]
    assert [record.data["run"] for record in world.records if record.kind == "goal_set"][-1] is None


def test_a_start_is_refused_while_members_take_data_of_a_run_that_has_ended_and_go_stops_them_first() -> None:
    world = running(World(uniform(2, 1, 2)))
    world.cut("sf01")
    world.carry_out("stop")
    world.run_for(15.0)
    world.mend("sf01")
    assert world.run_until(lambda: world.root.core.memory.links["sf01"].enrolled)
    refused = world.carry_out("start")
    assert isinstance(refused, Refuse)
    assert "of sf01 still take data of a run that has ended; stop them first" in refused.reason
    assert world.carry_out("go running").kind == "done"
    numbers = {slot.run_number for slot in world.processes()}
    assert numbers == {2}


def counters(world: World, number: int = 1) -> dict[tuple[str, str], dict[str, int]]:
    found: dict[tuple[str, str], dict[str, int]] = {}
    for one in ending(world, number)["counters"]:
        found.setdefault((one["sub_farm"], one["role"]), {})[one["counter"]] = one["value"]
    return found


def test_what_a_restarted_process_had_counted_before_is_in_the_runs_counters() -> None:
    world = running(World(uniform(1, 1, 2, policies={"worker": Policy.RESTART})))
    worker = "sf01/n001/worker-1"
    world.process(worker).count({"analysed": 5})
    world.run_for(1.0)
    world.kill_process(worker)
    world.run_for(5.0)
    world.kill_controller("sf01")  # what was counted is known on the node
    world.run_for(20.0)
    world.process(worker).count({"analysed": 3})
    world.run_for(1.0)
    world.carry_out("stop")
    assert counters(world) == {("sf01", "worker"): {"analysed": 8, INSTANCES_DIED: 1}}


def test_nothing_that_was_counted_in_a_run_is_in_the_next_one_not_even_of_who_takes_no_part_in_it() -> None:
    world = running(World(uniform(2, 1, 4, quorums={"worker": Quorum(number=1)})))
    for sub_farm in ("sf01", "sf02"):
        for worker in ("worker-1", "worker-2"):
            world.process(f"{sub_farm}/n001/{worker}").count({"analysed": 5})
    world.run_for(1.0)
    world.kill_process("sf01/n001/worker-1")
    world.run_for(1.0)
    world.carry_out("stop")
    world.carry_out("member exclude", "sf02")
    world.carry_out("start")
    world.process("sf01/n001/worker-2").count({"analysed": 2})
    world.run_for(1.0)
    world.carry_out("stop")
    first = counters(world)
    assert (first["sf01", "worker"]["analysed"], first["sf02", "worker"]["analysed"]) == (10, 10)
    assert counters(world, 2) == {("sf01", "worker"): {"analysed": 2}}


def test_without_a_database_the_run_goes_on_and_ends_and_only_a_new_one_is_refused_with_the_reason() -> None:
    world = running(World(uniform(1, 1, 2)))
    world.tell(world.root, DatabaseReported("the database has not taken records: locked"))
    assert (world.row().health, world.row().status) == (
        Health.DEGRADED,
        "run 1; the database has not taken records: locked",
    )
    for command in ("pause", "resume", "go paused", "go running", "stop"):
        assert world.carry_out(command).kind == "done"
    for command in ("start", "go running"):
        refused = world.carry_out(command)
        assert isinstance(refused, Refuse)
        assert refused.reason.partition("; possible now: ")[0] == (
            "no run can be started, for it gets its number from the database: "
            "the database has not taken records: locked"
        )
    assert world.carry_out("shutdown").kind == "done"
    assert world.carry_out("go configured").kind == "done"
    world.tell(world.root, DatabaseReported(""))
    assert world.carry_out("go running").kind == "done"
    assert world.row().health is Health.OK


def everything_dies(world: World) -> float:
    """The power fails, and comes back after ten minutes; when it failed is returned."""
    failed_s = world.now
    world.kill_controller("")
    for path in list(world.nodes):
        world.restart_node(path)
    world.run_for(600.0)
    world.start_farm()
    return failed_s


def test_a_run_that_nobody_saw_end_took_data_to_the_last_sign_of_life() -> None:
    world = running(World(uniform(1, 2, 2)))
    world.run_for(30.0)
    failed_s = everything_dies(world)
    world.run_until(lambda: records(world) == MOMENTS)
    assert ending(world)["last_seen_unix_s"] == failed_s


def test_a_run_that_goes_on_is_seen_to_end() -> None:
    world = running(World(uniform(1, 2, 2)))
    world.kill_controller("")
    world.run_for(600.0)
    world.start_farm()
    world.run_for(10.0)
    everything_dies(world)  # what was recorded of the time before is not what counts now
    failed_s = world.database.last_life_s
    world.run_until(lambda: records(world) == MOMENTS)
    assert ending(world)["last_seen_unix_s"] == failed_s > 600.0
    world.carry_out("go configured")
    running(world)
    world.kill_controller("")
    world.start_farm()
    world.run_for(10.0)
    world.carry_out("stop")
    assert ending(world, 2)["last_seen_unix_s"] == 0.0
