"""One controller, events in and effects out: whole values are compared."""

from dataclasses import replace

from grange.core.controller import Controller, new_memory
from grange.core.effects import Answer, Launch, Order, Say, SendDocument, SendGoal, SendOrders, WakeAt
from grange.core.events import (
    AgentsReported,
    ChildAttached,
    ChildLost,
    CommandGiven,
    ControllerReported,
    DocumentGiven,
    GoalGiven,
    LaunchFailed,
    ProcessesReported,
    Ticked,
)
from grange.core.links import is_overdue
from grange.core.memory import Limits, role_counters, run_files
from grange.core.names import Command, Health, Kind, Severity, State
from grange.core.plan import StepLimits
from grange.core.reports import ControllerReport, Failure, Goal, OutputFile, ProcessReport, Row, Target
from grange.harness.farms import uniform
from grange.harness.world import World

FARM = uniform(1, 1, 2)
SPEC = FARM.sub_farms[0]
SOURCE, WORKER = (process.path for process in SPEC.processes)
LIMITS = Limits()
FENCE = (1, 2)


def goal(state: State | None, step: Command | None = None, command_id: str = "c1", **more: object) -> Goal:
    given = Goal(command_id, ("",), (Target("", state, step),), FARM.revision, set_up=True, limit_s=60.0, doing="x")
    return replace(given, **more)  # type: ignore[arg-type]


def sub_farm(*reports: ProcessReport) -> Controller:
    """A sub-farm controller at time 0 that has its document, and its node's snapshot."""
    controller = Controller(new_memory("sf01", "sf01", Kind.SUB_FARM, root=False))
    controller.step(0.0, DocumentGiven(FARM.revision, SPEC))
    controller.step(0.0, ChildAttached("n001", 1))
    controller.step(0.0, ProcessesReported("n001", reports, snapshot=True))
    return controller


def at(path: str, state: State, order_id: str = "", **more: object) -> ProcessReport:
    return replace(ProcessReport(path, state, "i.1", order_id=order_id), **more)  # type: ignore[arg-type]


def orders(effects: list[object]) -> list[Order]:
    return [order for effect in effects if isinstance(effect, SendOrders) for order in effect.orders]


def commands(effects: list[object]) -> list[tuple[str, Command]]:
    return [(order.path, order.command) for order in orders(effects)]


def test_without_its_parents_word_a_controller_commands_nothing() -> None:
    controller = sub_farm(at(SOURCE, State.BOOTED))
    assert controller.rows(0.0)[0].state is State.UNKNOWN


def test_a_goal_becomes_orders_one_message_for_a_node_with_fence_and_number() -> None:
    effects = sub_farm().step(1.0, GoalGiven(goal(State.BOOTED, Command.BOOT), FENCE))
    limit_s = StepLimits().boot_timeout_s
    assert effects == [
        SendOrders(
            "n001",
            FENCE,
            1,
            tuple(
                Order(f"c1/{spec.path}/boot/1.2.1", spec.path, Command.BOOT, limit_s, spec=spec)
                for spec in SPEC.processes
            ),
        ),
        WakeAt(1.0 + limit_s + LIMITS.answer_margin_s),
    ]


def test_an_order_gets_no_more_time_than_its_command_has_left() -> None:
    effects = sub_farm().step(1.0, GoalGiven(goal(State.BOOTED, Command.BOOT, limit_s=10.0), FENCE))
    assert {order.limit_s for order in orders(effects)} == {10.0 - LIMITS.hop_s}


def test_what_an_agent_has_not_got_is_sent_again_with_the_time_that_is_left() -> None:
    controller = sub_farm()
    sent = orders(controller.step(0.0, GoalGiven(goal(State.BOOTED, Command.BOOT), FENCE)))
    controller.step(2.0, ChildLost("n001"))
    controller.step(3.0, ChildAttached("n001", 2))
    # The source's order has arrived, the worker's was lost with the link.
    known = at(SOURCE, State.BOOTING, sent[0].order_id, order_done=False)
    again = orders(controller.step(3.0, ProcessesReported("n001", (known,), snapshot=True)))
    assert again == [replace(sent[1], limit_s=sent[1].limit_s - 3.0)]


def test_a_start_that_an_agent_has_not_got_is_not_sent_again_once_its_run_has_ended() -> None:
    controller = sub_farm(at(SOURCE, State.CONFIGURED), at(WORKER, State.CONFIGURED))
    controller.step(0.0, GoalGiven(goal(State.TAKING, run_number=7), FENCE))
    controller.step(2.0, ChildLost("n001"))
    controller.step(2.5, GoalGiven(goal(None, command_id="c2"), FENCE))
    controller.step(3.0, ChildAttached("n001", 2))
    snapshot = ProcessesReported("n001", (at(SOURCE, State.CONFIGURED), at(WORKER, State.CONFIGURED)), snapshot=True)
    assert orders(controller.step(3.0, snapshot)) == []
    assert controller.rows(3.0)[0].state is State.CONFIGURED


def test_an_answer_that_does_not_come_is_a_fault_when_its_time_has_passed() -> None:
    controller = sub_farm()
    sent = orders(controller.step(0.0, GoalGiven(goal(State.BOOTED, Command.BOOT), FENCE)))
    controller.step(1.0, ProcessesReported("n001", (at(SOURCE, State.BOOTED, sent[0].order_id),)))
    controller.step(sent[1].limit_s + LIMITS.answer_margin_s, Ticked())
    report = controller.report(50.0)
    assert (report.done, report.ok) == (True, False)
    assert report.reason == "role worker: 0 well, 1 needed: worker-1 on n001: no answer to boot within 46 s"


def test_start_waits_for_its_run_number_and_goes_from_the_end_of_the_chain_to_its_source() -> None:
    controller = sub_farm(at(SOURCE, State.CONFIGURED), at(WORKER, State.CONFIGURED))
    assert commands(controller.step(0.0, GoalGiven(goal(State.TAKING, Command.START), FENCE))) == []
    numbered = GoalGiven(goal(State.TAKING, Command.START, run_number=7), FENCE)
    sent = orders(controller.step(1.0, numbered))
    assert [(order.path, order.run_number) for order in sent] == [(WORKER, 7)]
    answer = at(WORKER, State.TAKING, sent[0].order_id, run_number=7)
    assert commands(controller.step(2.0, ProcessesReported("n001", (answer,)))) == [(SOURCE, Command.START)]


def test_stop_goes_from_the_source_to_the_end() -> None:
    controller = sub_farm(at(SOURCE, State.TAKING, run_number=7), at(WORKER, State.TAKING, run_number=7))
    sent = orders(controller.step(0.0, GoalGiven(goal(State.CONFIGURED, Command.STOP, run_number=7), FENCE)))
    assert [(order.path, order.run_number) for order in sent] == [(SOURCE, 7)]
    answer = at(SOURCE, State.CONFIGURED, sent[0].order_id)
    assert commands(controller.step(1.0, ProcessesReported("n001", (answer,)))) == [(WORKER, Command.STOP)]


def test_a_process_that_takes_data_in_another_run_than_the_goals_stops_first() -> None:
    controller = sub_farm(at(SOURCE, State.TAKING, run_number=8), at(WORKER, State.TAKING, run_number=7))
    sent = orders(controller.step(0.0, GoalGiven(goal(State.TAKING, run_number=8), FENCE)))
    assert [(order.path, order.command, order.run_number) for order in sent] == [(WORKER, Command.STOP, 7)]


def test_a_report_that_arrives_twice_changes_nothing() -> None:
    controller = sub_farm()
    sent = orders(controller.step(0.0, GoalGiven(goal(State.LOADED), FENCE)))
    answer = ProcessesReported("n001", (at(SOURCE, State.BOOTED, sent[0].order_id),))
    assert commands(controller.step(1.0, answer)) == [(SOURCE, Command.LOAD)]
    assert controller.step(1.0, answer) == []


def test_reports_that_come_together_are_planned_for_once_with_all_of_them_known() -> None:
    controller = sub_farm(at(SOURCE, State.CONFIGURED), at(WORKER, State.CONFIGURED))
    sent = orders(controller.step(0.0, GoalGiven(goal(State.LOADED, Command.UNCONFIGURE), FENCE)))
    answers = [ProcessesReported("n001", (at(order.path, State.LOADED, order.order_id),)) for order in sent]
    assert controller.step(1.0, AgentsReported(tuple(answers))) == [WakeAt(None)]
    assert (controller.report(1.0).done, controller.report(1.0).ok) == (True, True)
    assert controller.step(2.0, AgentsReported(tuple(answers))) == []  # once more: nothing to plan


def test_what_only_people_look_at_is_not_planned_for() -> None:
    controller = sub_farm(at(SOURCE, State.TAKING, run_number=7), at(WORKER, State.TAKING, run_number=7))
    controller.step(0.0, GoalGiven(goal(State.TAKING, run_number=7), FENCE))
    plans, well = controller.plans, at(SOURCE, State.TAKING, run_number=7)
    controller.step(1.0, ProcessesReported("n001", (replace(well, counters={"read": 9}, status="busy"),)))
    assert controller.plans == plans
    controller.step(2.0, ProcessesReported("n001", (replace(well, state=State.PAUSED),)))
    assert controller.plans == plans + 1


def test_a_superseding_goal_waits_for_the_answer_under_way_and_a_shutdown_does_not() -> None:
    controller = sub_farm(at(SOURCE, State.BOOTED), at(WORKER, State.BOOTED))
    controller.step(0.0, GoalGiven(goal(State.LOADED, Command.LOAD), FENCE))
    other = goal(State.INITIAL, command_id="c2")
    assert commands(controller.step(0.1, GoalGiven(other, FENCE))) == []
    third = goal(State.INITIAL, Command.SHUTDOWN, command_id="c3")
    assert commands(controller.step(0.2, GoalGiven(third, FENCE))) == [
        (SOURCE, Command.SHUTDOWN),
        (WORKER, Command.SHUTDOWN),
    ]


def test_the_late_answer_of_an_order_that_a_shutdown_has_overtaken_is_no_fault() -> None:
    controller = sub_farm(at(SOURCE, State.BOOTED), at(WORKER, State.BOOTED))
    sent = orders(controller.step(0.0, GoalGiven(goal(State.LOADED, Command.LOAD), FENCE)))
    controller.step(0.1, GoalGiven(goal(State.INITIAL, Command.SHUTDOWN, command_id="c2"), FENCE))
    died = Failure("died while running", "worker-1 on n001 was killed by SIGTERM during load")
    late = at(WORKER, State.INITIAL, sent[1].order_id, order_ok=False, failure=died, health=Health.ERROR, instance="")
    controller.step(0.2, ProcessesReported("n001", (late,)))
    assert controller.memory.processes[WORKER].fault == ""


def test_a_death_before_the_next_order_arrives_is_the_reason_and_not_the_refusal_that_follows() -> None:
    controller = sub_farm(at(SOURCE, State.BOOTED), at(WORKER, State.BOOTED))
    sent = orders(controller.step(0.0, GoalGiven(goal(State.LOADED, Command.LOAD), FENCE)))
    died = Failure("died while running", "worker-1 on n001 was killed by SIGSEGV while it was booted")
    dead = at(WORKER, State.INITIAL, failure=died, health=Health.ERROR, instance="", status=died.reason)
    controller.step(0.1, ProcessesReported("n001", (dead,)))
    refused = Failure("refused", "worker-1 on n001: load is not possible in initial")
    answer = replace(dead, order_id=sent[1].order_id, order_ok=False, failure=refused)
    controller.step(0.2, ProcessesReported("n001", (answer, at(SOURCE, State.LOADED, sent[0].order_id))))
    assert controller.report(0.3).reason == f"role worker: 0 well, 1 needed: {died.reason}"


def test_a_hung_process_returns_by_itself_when_it_is_heard() -> None:
    controller = sub_farm(at(SOURCE, State.TAKING, run_number=7), at(WORKER, State.TAKING, run_number=7))
    controller.step(0.0, GoalGiven(goal(State.TAKING, run_number=7, limit_s=0.0), FENCE))
    hung = Failure("hung", "worker-1 on n001 has been silent for more than 5 s")
    silent = at(WORKER, State.UNKNOWN, run_number=7, health=Health.ERROR, failure=hung, status=hung.reason)
    controller.step(6.0, ProcessesReported("n001", (silent,)))
    assert controller.report(6.0).stop_run_wanted == hung.reason
    controller.step(7.0, ProcessesReported("n001", (at(WORKER, State.TAKING, run_number=7),)))
    assert controller.memory.processes[WORKER].fault == ""
    assert controller.rows(7.0)[0].state is State.TAKING


def test_a_death_that_happened_while_the_controller_was_away_asks_for_the_stop_as_well() -> None:
    died = Failure("died while running", "worker-1 on n001 was killed by SIGKILL while it was taking")
    dead = at(WORKER, State.INITIAL, failure=died, health=Health.ERROR, instance="", status=died.reason)
    controller = sub_farm(at(SOURCE, State.TAKING, run_number=7), dead)
    controller.step(0.0, GoalGiven(goal(State.TAKING, run_number=7, limit_s=0.0), FENCE))
    assert controller.report(0.0).stop_run_wanted == died.reason


def test_a_snapshot_from_a_restarted_agent_answers_what_was_under_way() -> None:
    controller = sub_farm(at(SOURCE, State.BOOTED), at(WORKER, State.BOOTED))
    sent = orders(controller.step(0.0, GoalGiven(goal(State.LOADED, Command.LOAD), FENCE)))
    controller.step(0.1, ChildLost("n001"))
    controller.step(0.5, ChildAttached("n001", 2))
    done = tuple(at(order.path, State.LOADED, order.order_id) for order in sent)
    assert commands(controller.step(0.5, ProcessesReported("n001", done, snapshot=True))) == []
    report = controller.report(0.5)
    assert (report.done, report.ok, report.row.state) == (True, True, State.LOADED)


def test_reports_before_the_snapshot_and_from_a_link_that_is_not_open_count_for_nothing() -> None:
    controller = Controller(new_memory("sf01", "sf01", Kind.SUB_FARM, root=False))
    controller.step(0.0, DocumentGiven(FARM.revision, SPEC))
    controller.step(0.0, ProcessesReported("n001", (at(SOURCE, State.TAKING),)))
    controller.step(0.0, ChildAttached("n001", 1))
    controller.step(0.0, ProcessesReported("n001", (at(SOURCE, State.TAKING),)))
    assert controller.memory.processes[SOURCE].report is None


# ---- the root -------------------------------------------------------------------------------------------------------


def given(what: Command | State, command_id: str = "c1", **more: object) -> CommandGiven:
    step = what if isinstance(what, Command) else None
    event = CommandGiven(command_id, f"{what}", ("",), step, None if step else State(what), "ada", selected=FARM)
    return replace(event, **more)  # type: ignore[arg-type]


def root() -> Controller:
    return Controller(new_memory("", "farm", Kind.FARM, root=True, fence=(1,)))


def test_a_command_is_recorded_before_its_first_effect() -> None:
    kinds = [type(effect).__name__ for effect in root().step(0.0, given(Command.SETUP))]
    assert kinds == ["Persist", "Persist", "Accept", "Launch", "WakeAt"]


def test_a_child_that_dials_in_gets_its_document_and_its_goal() -> None:
    controller = root()
    controller.step(0.0, given(Command.SETUP))
    document, sent = controller.step(1.0, ChildAttached("sf01", 5))[:2]
    assert document == SendDocument("sf01", FARM.revision)
    assert isinstance(sent, SendGoal)
    assert (sent.goal.command_id, sent.goal.setting_up) == ("c1", True)
    assert sent.goal.limit_s == controller.memory.goal.deadline_s - 1.0 - LIMITS.hop_s  # type: ignore[union-attr]


def test_a_child_that_holds_the_document_is_not_sent_it_again() -> None:
    controller = root()
    controller.step(0.0, given(Command.SETUP))
    effects = controller.step(1.0, ChildAttached("sf01", 5, revision=FARM.revision))
    assert [type(effect).__name__ for effect in effects] == ["SendGoal", "WakeAt"]


def test_how_a_program_ended_that_was_up_is_not_called_a_launch_that_failed() -> None:
    controller = root()
    controller.step(0.0, given(Command.SETUP))
    controller.step(1.0, ChildAttached("sf01", 5))
    controller.step(2.0, ChildLost("sf01", "the stream ended"))
    ended = LaunchFailed("sf01", "sf01 was killed by SIGKILL", ran=True)
    text = "its program has ended: sf01 was killed by SIGKILL"
    assert controller.step(2.0, ended) == [Say(Severity.WARNING, "sf01", text)]
    assert controller.rows(3.0, "sf01")[0].status.endswith("not answered for 1 s: sf01 was killed by SIGKILL")


def test_what_a_process_has_counted_in_a_run_is_kept_when_a_new_agent_knows_nothing_of_it() -> None:
    file = OutputFile(WORKER, "/data/run_7.adf", 3, "ab")
    controller = sub_farm(at(WORKER, State.INITIAL, counters={"read": 5}, counted_run=7, files=(file,)))
    memory, role = controller.memory, SPEC.processes[1].role
    for number, snapshot in enumerate(((), (at(WORKER, State.BOOTED),)), start=2):
        controller.step(1.0, ChildLost("n001", "the agent was killed"))
        controller.step(1.0, ChildAttached("n001", number))
        controller.step(1.0, ProcessesReported("n001", snapshot, snapshot=True))
        assert (role_counters(memory, 7), run_files(memory, 7)) == ({role: {"read": 5}}, (file,))
    controller.step(2.0, ProcessesReported("n001", (at(WORKER, State.TAKING, counters={"read": 1}, counted_run=8),)))
    assert (role_counters(memory, 8), run_files(memory, 8)) == ({role: {"read": 1}}, ())


def test_a_program_that_is_killed_before_it_has_dialled_in_is_launched_again_without_the_pause_and_given_its_time() -> (
    None
):
    controller = root()
    assert Launch("sf01") in controller.step(0.0, given(Command.SETUP))
    killed = LaunchFailed("sf01", "sf01 was killed by SIGKILL", ran=True)
    assert WakeAt(4.0 + LIMITS.relaunch_controller_wait_s) in controller.step(4.0, killed)
    now = 4.0 + LIMITS.relaunch_controller_wait_s
    assert Launch("sf01") in controller.step(now, Ticked())
    assert Launch("sf01") not in controller.step(now + 1.0, replace(killed, reason="killed once more"))
    assert Launch("sf01") not in controller.step(now + 1.0 + LIMITS.relaunch_controller_wait_s, Ticked())
    assert not is_overdue(controller.memory, controller.memory.links["sf01"], 13.0)


def test_launching_is_tried_again_with_pauses_that_double_and_the_same_trouble_is_told_once() -> None:
    controller = root()
    now, launches, said = 0.0, [], 0
    effects = controller.step(0.0, given(Command.SETUP, timeout_s=1000.0))
    while now < 60.0:
        if Launch("sf01") in effects:
            launches.append(now)
            said += len(controller.step(now, LaunchFailed("sf01", "no space left on device"))) > 0
        now += 0.5
        effects = controller.step(now, Ticked())
    assert launches == [0.0, 5.0, 15.0, 35.0]
    assert said == 1


def test_of_processes_that_are_not_in_the_configuration_only_those_that_run_are_told_of() -> None:
    ended = ProcessReport("sf01/n001/former-1", State.INITIAL)
    runs = ProcessReport("sf01/n001/former-2", State.BOOTED, "i.1")
    effects = sub_farm().step(1.0, ProcessesReported("n001", (ended, runs), snapshot=True))
    said = [effect for effect in effects if isinstance(effect, Say)]
    assert said == [Say(Severity.WARNING, runs.path, "runs there, but is not in the configuration")]


def test_a_refused_command_changes_nothing() -> None:
    controller = root()
    controller.step(0.0, given(Command.SETUP))
    before = repr(controller.memory)
    for what in (Command.BOOT, Command.START, Command.TEARDOWN):
        (refusal,) = controller.step(1.0, given(what, "c2"))
        assert refusal.kind == "busy"  # type: ignore[union-attr]
    (refusal,) = controller.step(1.0, given(State.TAKING, "c3", paths=("sf01/n009",)))
    assert (refusal.kind, refusal.nearest) == ("unknown-member", ("sf01/n001", "sf01", "sf01/n001/worker-1"))  # type: ignore[union-attr]
    assert repr(controller.memory) == before


def test_a_busy_farm_says_who_has_been_doing_what_for_how_long() -> None:
    controller = root()
    controller.step(0.0, given(Command.SETUP))
    (refusal,) = controller.step(4.0, given(Command.BOOT, "c2"))
    assert refusal.reason.startswith("setup of ada has been under way for 4 s")  # type: ignore[union-attr]


def test_a_failed_child_is_named_with_its_reason_and_the_others_are_told_at_once() -> None:
    farm = uniform(2, 1, 1)
    controller = root()
    controller.step(0.0, given(Command.SETUP, selected=farm))
    for name in ("sf01", "sf02"):
        controller.step(1.0, ChildAttached(name, 5))
        busy = ControllerReport(Row(name, Kind.SUB_FARM, name, State.SETTING_UP), "c1", done=False)
        controller.step(1.0, ControllerReported(name, busy))
    row = Row("sf01", Kind.SUB_FARM, "sf01", State.UNKNOWN)
    failed = ControllerReport(row, "c1", done=True, ok=False, reason="role source: 0 well, 1 needed: it is dead")
    effects = controller.step(2.0, ControllerReported("sf01", failed))
    told = {effect.link: effect.goal.targets for effect in effects if isinstance(effect, SendGoal)}
    assert told == {"sf01": (Target("", None),), "sf02": (Target("", None),)}


def test_every_wake_that_was_asked_for_is_asked_for_again_when_it_has_come_too_early() -> None:
    controller = root()
    wishes = [effect for effect in controller.step(0.0, given(Command.SETUP)) if isinstance(effect, WakeAt)]
    assert wishes[-1] in controller.step(wishes[-1].at_s - 0.001, Ticked())  # type: ignore[operator]


def test_the_answer_tells_the_state_of_the_part_that_was_commanded() -> None:
    world = World(uniform(2, 2, 2))
    world.carry_out("go booted")
    answer = world.carry_out("load", "sf01/n001/worker-1")
    assert isinstance(answer, Answer)
    assert answer.state is State.LOADED  # not mixed, which one process cannot be
    node = world.carry_out("load", "sf01/n001")
    assert isinstance(node, Answer)
    assert node.state is State.LOADED


def test_the_answer_does_not_know_where_a_part_deep_below_was_left_by_a_failure() -> None:
    world = World(uniform(1, 2, 2))
    world.carry_out("go booted")
    world.process("sf01/n001/worker-1").refuses_at.add(Command.LOAD)
    world.carry_out("load", "sf01/n001/source-1")
    answer = world.carry_out("load", "sf01/n001/worker-1")
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.state) == ("failed", State.UNKNOWN)


def test_a_command_is_as_old_as_it_is_since_it_was_accepted_whichever_farm_controller_has_it() -> None:
    world = World(uniform(1, 1, 1))
    world.process(SOURCE).hangs_at.add(Command.BOOT)
    begun_s = world.now
    command_id = world.command("go booted", timeout_s=20.0)
    world.run_for(5.0)
    world.kill_controller("")
    world.run_for(3.0)
    world.start_farm()
    world.run_until(lambda: world.outcome(command_id) is not None)
    outcome = world.outcome(command_id)
    assert isinstance(outcome, Answer)
    assert (outcome.kind, round(outcome.duration_s, 6)) == ("failed", round(world.now - begun_s, 6))


def test_so_is_a_restart_of_a_member() -> None:
    world = World(uniform(1, 1, 1))
    world.carry_out("go booted")
    world.process(SOURCE).hangs_at.add(Command.BOOT)
    begun_s = world.now
    command_id = world.command("member restart", SOURCE, timeout_s=20.0)
    world.run_for(5.0)
    world.kill_controller("")
    world.run_for(3.0)
    world.start_farm()
    world.run_until(lambda: world.outcome(command_id) is not None)
    outcome = world.outcome(command_id)
    assert isinstance(outcome, Answer)
    assert (outcome.kind, round(outcome.duration_s, 6)) == ("failed", round(world.now - begun_s, 6))
