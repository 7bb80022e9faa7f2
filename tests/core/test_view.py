"""What observers see: rows that are small and whole, at any moment."""

from grange.core.causes import CAUSES_SHOWN, OTHERS, Cause, causes_of, grouped
from grange.core.effects import Answer, Refuse
from grange.core.names import Command, Health, Membership, State
from grange.core.plan import Quorum
from grange.core.reporting import causes
from grange.core.view import EXCEPTIONS_SHOWN, possible_now
from grange.harness.farms import uniform
from grange.harness.world import World


def running(*shape: int, **more: object) -> World:
    world = World(uniform(*shape, **more))  # type: ignore[arg-type]
    assert world.carry_out("go running").kind == "done"
    return world


def test_rows_come_parents_before_children_as_deep_as_asked() -> None:
    core = running(1, 1, 2).controllers["sf01"].core
    assert [row.path for row in core.rows(1.0)] == ["sf01", "sf01/n001", "sf01/n001/source-1", "sf01/n001/worker-1"]
    assert [row.path for row in core.rows(1.0, "sf01", 1)] == ["sf01", "sf01/n001"]
    assert [row.path for row in core.rows(1.0, "sf01/n001/worker-1", 0)] == ["sf01/n001/worker-1"]


def test_the_farm_shows_its_sub_farms_with_counts_and_no_process() -> None:
    world = running(2, 2, 2)
    rows = world.root.core.rows(world.now)
    assert [row.path for row in rows] == ["", "sf01", "sf02"]
    assert {(count.role, count.state, count.processes) for count in rows[0].counts} == {
        ("source", State.TAKING, 4),
        ("worker", State.TAKING, 4),
    }


def test_while_a_command_is_under_way_its_progress_and_the_slowest_member_are_seen() -> None:
    world = World(uniform(1, 2, 2))
    world.carry_out("go booted")
    world.process("sf01/n002/worker-2").hangs_at.add(Command.LOAD)
    world.command("load")
    world.run_for(3.0)
    busy = world.row().busy
    assert busy is not None
    assert (busy.doing, busy.person, busy.done, busy.total) == ("load", "tester", 3, 4)
    assert busy.slowest == "sf01/n002/worker-2"
    assert world.row().status == "load: 3 of 4, waiting for sf01/n002/worker-2"
    assert world.row().state is State.LOADING


def test_a_setup_is_one_from_its_beginning_to_its_end_also_while_controllers_dial_in() -> None:
    world = World(uniform(3, 2, 2))
    world.command("setup")
    seen: dict[str, list[State]] = {path: [] for path in ("", "sf01", "sf02", "sf03")}
    while world.row().busy is not None:
        for row in world.root.core.rows(world.now):
            if seen[row.path][-1:] != [row.state]:
                seen[row.path].append(row.state)
        world.run_for(0.001)
    assert seen.pop("") == [State.SETTING_UP]
    assert all(states == [State.SETTING_UP, State.INITIAL][: len(states)] for states in seen.values()), seen


def test_a_member_that_waits_for_others_is_not_named_as_the_slowest() -> None:
    world = World(uniform(1, 1, 2))
    world.carry_out("go configured")
    world.process("sf01/n001/worker-1").hangs_at.add(Command.START)  # the source waits for it
    world.command("start")
    world.run_for(2.0)
    assert world.row().busy is not None
    assert world.row().busy.slowest == "sf01/n001/worker-1"  # type: ignore[union-attr]


def test_the_members_that_are_not_well_are_told_by_name_up_to_a_limit() -> None:
    world = running(1, 1, 30, roles=("worker",), quorums={"worker": Quorum(number=1)})
    for number in range(1, 26):
        world.kill_process(f"sf01/n001/worker-{number}")
    world.run_for(1.0)
    report = world.controllers["sf01"].core.report(world.now)
    assert len(report.exceptions) == EXCEPTIONS_SHOWN
    assert {row.membership for row in report.exceptions} == {Membership.OUT_BY_FAULT}


def test_the_causes_are_counted_most_frequent_first() -> None:
    world = running(1, 1, 4, quorums={"worker": Quorum(number=1), "source": Quorum(number=1)})
    world.kill_process("sf01/n001/worker-1")
    world.run_for(1.0)
    text = "worker-1 on n001 was killed by SIGKILL while it was taking"
    assert causes(world.root.core.memory, world.now) == (Cause(text, 1, "sf01/n001/worker-1"),)


def test_a_reason_that_many_share_is_told_once_without_their_names_and_counts_all_of_them() -> None:
    world = running(2, 1, 30, roles=("worker",), quorums={"worker": Quorum(number=1)})
    for number in range(1, 26):
        world.kill_process(f"sf01/n001/worker-{number}")
    world.kill_process("sf02/n001/worker-7")
    world.run_for(1.0)
    together = Cause("was killed by SIGKILL while it was taking", 26, "sf01/n001/worker-1")
    assert causes(world.root.core.memory, world.now) == (together,)
    rows = world.controllers["sf02"].core.rows(world.now, "sf02", 2)
    alone = Cause("worker-7 on n001 was killed by SIGKILL while it was taking", 1, "sf02/n001/worker-7")
    assert causes_of(rows) == (alone,)


def test_reasons_beyond_the_limit_are_counted_together_also_one_level_up() -> None:
    below = grouped(Cause(f"reason {number}", 1, f"sf01/n001/p-{number}") for number in range(CAUSES_SHOWN + 5))
    assert below[-1] == Cause(OTHERS, 5, f"sf01/n001/p-{CAUSES_SHOWN}")
    above = grouped([*below, Cause("reason 3", 2, "sf02/n002/p-1"), Cause("one more", 1, "sf02/n002/p-9")])
    assert above[0] == Cause("reason 3", 3, "sf01/n001/p-3")
    assert (len(above), above[-1].reason, sum(cause.members for cause in above)) == (CAUSES_SHOWN + 1, OTHERS, 28)


def test_a_child_that_cannot_be_heard_is_unknown_says_for_how_long_and_keeps_its_last_counts() -> None:
    world = running(2, 1, 2)
    world.cut("sf02")
    world.run_for(4.0)
    row = world.root.core.rows(world.now, "sf02", 0)[0]
    assert (row.state, row.health) == (State.UNKNOWN, Health.DEGRADED)
    assert row.status == "its controller has not answered for 4 s"
    assert sum(count.processes for count in row.counts) == 2
    assert world.row().state is State.MIXED


def test_the_status_is_one_sentence_with_the_dominating_cause() -> None:
    world = running(1, 1, 2)
    assert world.row().status == "run 1"
    world.cut("sf01/n001")
    world.run_for(3.0)
    assert world.row("sf01").status == "n001: its agent has not answered for 3 s"


def test_what_is_possible_now_is_told_in_the_order_of_the_ladder() -> None:
    memory = running(1, 1, 2).root.core.memory
    assert possible_now(memory, "") == ("pause", "stop", "shutdown")


def test_only_steps_that_fit_every_member_are_possible_and_a_target_where_none_does() -> None:
    world = World(uniform(2, 1, 2))
    world.carry_out("go booted")
    memory = world.root.core.memory
    assert possible_now(memory, "") == ("load", "shutdown")
    world.carry_out("go configured", "sf01")
    assert possible_now(memory, "") == ("go TARGET", "shutdown")
    assert possible_now(memory, "sf01") == ("start", "unconfigure", "shutdown")
    world.carry_out("load", "sf02")
    assert possible_now(memory, "") == ("go TARGET", "configure", "unconfigure", "shutdown")
    assert world.row().health is Health.DEGRADED  # mixed, and nothing under way that explains it


def test_members_in_different_states_are_told_with_what_brings_them_together() -> None:
    world = running(2, 1, 2)
    world.carry_out("pause", "sf01/n001/worker-1")
    text = "members are in different states: 1 paused, 3 taking; bring them together with: grange go running"
    assert (world.row().state, world.row().health, world.row().status) == (State.MIXED, Health.DEGRADED, text)
    text = "members are in different states: 1 paused, 1 taking; bring them together with: grange go running sf01"
    assert world.row("sf01").status == text
    assert possible_now(world.root.core.memory, "")[0] == "go TARGET"
    answer = world.carry_out("go running")
    assert isinstance(answer, Answer)
    assert [step for step, _ in answer.steps] == ["resume"]
    assert (world.row().health, world.row().status) == (Health.OK, "run 1")


def test_a_way_to_paused_is_one_for_those_that_take_data_although_others_are_paused_already() -> None:
    world = running(2, 1, 2)
    world.carry_out("pause", "sf01")
    answer = world.carry_out("go paused")
    assert isinstance(answer, Answer)
    assert [step for step, _ in answer.steps] == ["pause"]


def test_a_refusal_for_a_member_deep_below_says_what_is_known_and_nothing_else() -> None:
    world = running(2, 1, 4)
    world.carry_out("pause", "sf01/n001")
    world.carry_out("resume", "sf01/n001/worker-1")
    refused = world.carry_out("load", "sf01/n001/worker-1 sf02/n001/worker-1")
    assert isinstance(refused, Refuse)
    assert refused.reason == (
        "load is not possible: sf01/n001/worker-1 would have to be booted, and nothing in sf01 is: 3 paused, 1 taking; "
        "possible now: go TARGET, pause, resume, shutdown"
    )


def test_of_processes_that_cannot_be_heard_the_farm_says_how_many_and_where_to_look() -> None:
    world = running(2, 2, 2)
    world.cut("sf02/n001")
    world.run_for(2.0)
    assert world.row().status == "2 processes of sf02 cannot be heard; see: grange status sf02"


def test_what_grange_has_stopped_by_itself_it_says_until_the_next_command() -> None:
    world = running(2, 1, 2)
    world.kill_process("sf01/n001/source-1")
    world.run_for(3.0)
    assert world.row().status.startswith("run 1 was stopped: source-1 on n001 was killed by SIGKILL")
    world.carry_out("shutdown")
    assert world.row().status == ""


def test_looking_changes_nothing() -> None:
    world = running(1, 2, 2)
    for controller in world.controllers.values():
        before = repr(controller.core.memory)
        controller.core.rows(world.now)
        controller.core.report(world.now)
        assert repr(controller.core.memory) == before


def test_what_brings_members_back_is_possible_while_some_are_out() -> None:
    world = running(1, 2, 2, quorums={"worker": Quorum(number=1)})
    core = world.root.core.memory
    assert {"recover", "include"}.isdisjoint(possible_now(core, ""))
    world.kill_process("sf01/n001/worker-1")
    world.run_for(1.0)
    assert possible_now(core, "")[-1] == "recover"
    assert "recover" not in possible_now(core, "sf01/n002")
    world.carry_out("member exclude", "sf01/n002")
    assert possible_now(core, "")[-2:] == ("recover", "include")
    world.carry_out("shutdown")
    assert "recover" not in possible_now(core, "")


def test_how_often_an_agent_was_started_again_does_not_count_what_was_before_the_controller() -> None:
    world = running(1, 1, 2)
    world.kill_agent("sf01/n001")
    world.run_for(60.0)
    row = world.controllers["sf01"].core.rows(world.now, "sf01/n001", 0)[0]
    assert row.status.endswith("its agent was started again 1 time")
    world.kill_controller("sf01")
    world.run_for(60.0)
    row = world.controllers["sf01"].core.rows(world.now, "sf01/n001", 0)[0]
    assert "started again" not in row.status
