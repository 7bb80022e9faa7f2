"""One process as its agent sees it: facts in, wishes out. Times are made up, in seconds."""

from dataclasses import replace
from typing import Any

import pytest

from grange.core.effects import Order
from grange.core.figures import TOLD_AGAIN_S
from grange.core.names import Command, Health, Ready, State
from grange.core.plan import ProcessSpec
from grange.core.process import Unit
from grange.core.process_events import (
    ActorAnswered,
    ActorConnected,
    ActorGone,
    EndProbe,
    Event,
    Exited,
    FailureKind,
    Forget,
    HeartbeatHeard,
    KeeperHeard,
    KeeperSilent,
    Ladder,
    LinkRefused,
    Notified,
    Ordered,
    Probe,
    Probed,
    Report,
    Sampled,
    SaveNote,
    SendToActor,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    Ticked,
)
from grange.core.process_handover import RECONNECT_LIMIT_S, note
from grange.core.process_handover import recovered as handed_over
from grange.core.process_orders import ASK_LIMIT_S
from grange.core.reports import Figures, OutputFile, ProcessReport
from grange.core.spawning import Probing
from grange.core.tally import INSTANCES_DIED

PATH = "sf01/hlt041/psa-3"
ACTOR = ProcessSpec(PATH, "psa", (), actor="m:C", heartbeat_timeout_s=5.0)
UNWATCHED = replace(ACTOR, heartbeat_timeout_s=0.0)
PLAIN = ProcessSpec(PATH, "psa", ("run",), ready=Ready.SETTLE, settle_time_s=0.5)
NOTIFY = ProcessSpec(PATH, "psa", ("run",), ready=Ready.NOTIFY, heartbeat_timeout_s=5.0)
LADDER = Ladder(3.0, 2.0)


def order(order_id: str, command: Command, limit_s: float = 10.0, spec: ProcessSpec | None = None) -> Ordered:
    instance = f"psa-3.1.{order_id}"
    return Ordered(Order(order_id, PATH, command, limit_s, 7, spec), instance, LADDER if spec else None)


def booted(spec: ProcessSpec = ACTOR, now: float = 0.0) -> Unit:
    """A unit whose process was booted by the order "b" at `now`."""
    unit = Unit(PATH)
    unit.step(now, order("b", Command.BOOT, spec=spec))
    unit.step(now, Spawned("psa-3.1.b", 42))
    if spec.ready is Ready.ACTOR:
        unit.step(now, ActorConnected("psa-3.1.b", State.BOOTED))
    elif spec.ready is Ready.NOTIFY:
        unit.step(now, Notified("psa-3.1.b", ready=True))
    else:
        unit.step(now + spec.settle_time_s, Ticked())
    return unit


def outcome(unit: Unit) -> tuple[str, bool, bool, State]:
    report = unit.report()
    return report.order_id, report.order_done, report.order_ok, report.state


def reason(report: ProcessReport) -> str:
    assert report.failure is not None
    return report.failure.reason


def kind(report: ProcessReport) -> str:
    assert report.failure is not None
    return report.failure.kind


def beat(state: State = State.BOOTED, **more: Any) -> HeartbeatHeard:
    return HeartbeatHeard("psa-3.1.b", state, **more)


# ---- boot: ready is not alive ----------------------------------------------------------------------------------------


def test_a_boot_spawns_and_waits() -> None:
    unit = Unit(PATH)
    assert unit.step(0.0, order("b", Command.BOOT, spec=ACTOR)) == [Spawn("psa-3.1.b"), Report()]
    assert outcome(unit) == ("b", False, True, State.BOOTING)
    assert unit.step(0.1, Spawned("psa-3.1.b", 42)) == [Report()]
    assert outcome(unit) == ("b", False, True, State.BOOTING)


def test_an_actor_is_booted_by_its_hello() -> None:
    assert outcome(booted(ACTOR)) == ("b", True, True, State.BOOTED)


def test_a_hello_may_come_before_the_keepers_answer() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, spec=ACTOR))
    unit.step(0.1, ActorConnected("psa-3.1.b", State.BOOTED))
    unit.step(0.2, Spawned("psa-3.1.b", 42))
    assert outcome(unit) == ("b", True, True, State.BOOTED)
    assert unit.report().pid == 42


def test_a_plain_process_is_booted_by_its_notification() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, spec=NOTIFY))
    unit.step(0.1, Spawned("psa-3.1.b", 42))
    unit.step(0.2, Notified("psa-3.1.b", status="reading the calibration"))
    assert outcome(unit) == ("b", False, True, State.BOOTING)
    assert unit.report().status == "reading the calibration (waits for READY=1)"
    unit.step(0.3, Notified("psa-3.1.b", ready=True))
    assert outcome(unit) == ("b", True, True, State.BOOTED)


def test_a_plain_process_is_booted_by_staying_up() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, spec=PLAIN))
    unit.step(0.1, Spawned("psa-3.1.b", 42))
    assert unit.alarm_s == pytest.approx(0.6)
    unit.step(0.6, Ticked())
    assert outcome(unit) == ("b", True, True, State.BOOTED)


def test_a_boot_without_a_description_is_refused() -> None:
    unit = Unit(PATH)
    assert unit.step(0.0, order("b", Command.BOOT)) == [Report()]
    assert outcome(unit) == ("b", True, False, State.INITIAL)


# ---- the six failures ------------------------------------------------------------------------------------------------


def test_never_started() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, spec=ACTOR))
    unit.step(0.1, SpawnFailed("psa-3.1.b", "/opt/psa: No such file or directory"))
    assert outcome(unit) == ("b", True, False, State.INITIAL)
    assert reason(unit.report()) == "psa-3 on hlt041 was never started: /opt/psa: No such file or directory"
    assert kind(unit.report()) == FailureKind.NEVER_STARTED
    assert unit.report().health is Health.ERROR


def test_died_while_starting() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, spec=ACTOR))
    unit.step(0.1, Spawned("psa-3.1.b", 42))
    unit.step(0.2, Exited("psa-3.1.b", {"code": 2}, ("loading", "no such calibration 'may-2'")))
    assert outcome(unit) == ("b", True, False, State.INITIAL)
    assert reason(unit.report()) == (
        "psa-3 on hlt041 exited with code 2 before it was ready (last line: \"no such calibration 'may-2'\")"
    )
    assert kind(unit.report()) == FailureKind.DIED_STARTING
    assert (unit.report().pid, unit.report().instance) == (0, "")


def test_too_slow_to_boot() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, limit_s=5.0, spec=ACTOR))
    unit.step(0.1, Spawned("psa-3.1.b", 42))
    assert unit.alarm_s == 5.0
    unit.step(5.0, Ticked(("importing",)))
    assert outcome(unit) == ("b", True, False, State.UNKNOWN)
    assert reason(unit.report()) == (
        'psa-3 on hlt041 was too slow: boot was not done within 5 s (last line: "importing")'
    )


def test_what_was_too_slow_to_boot_is_booted_when_it_says_so_after_all() -> None:
    for spec, event in (
        (ACTOR, ActorConnected("psa-3.1.b", State.BOOTED)),
        (NOTIFY, Notified("psa-3.1.b", ready=True)),
    ):
        unit = Unit(PATH)
        unit.step(0.0, order("b", Command.BOOT, limit_s=5.0, spec=spec))
        unit.step(0.1, Spawned("psa-3.1.b", 42))
        unit.step(5.0, Ticked())
        unit.step(6.0, event)
        assert outcome(unit) == ("b", True, False, State.BOOTED)


def test_too_slow_at_a_step_the_heartbeats_say_where_it_is() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD, limit_s=3.0))
    unit.step(3.5, beat(State.LOADING))
    unit.step(4.0, Ticked())
    assert outcome(unit) == ("l", True, False, State.LOADING)
    assert kind(unit.report()) == FailureKind.TOO_SLOW
    unit.step(5.0, ActorAnswered("psa-3.1.b", "l", True, State.LOADED))
    assert outcome(unit) == ("l", True, False, State.LOADED)


def test_too_slow_and_silent_is_unknown() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD, limit_s=30.0))
    unit.step(5.0, Ticked())  # hung: silent since 0
    assert unit.report().health is Health.ERROR
    assert outcome(unit) == ("l", False, True, State.LOADING)
    unit.step(31.0, Ticked())
    assert outcome(unit) == ("l", True, False, State.UNKNOWN)
    assert "load was not done within 30 s, and it had been silent for 31 s by then" in reason(unit.report())


@pytest.mark.parametrize("command", [Command.PAUSE, Command.STOP])
def test_one_that_is_silent_in_a_step_that_gives_no_reason_for_it_hangs_and_its_limit_is_not_waited_for(
    command: Command,
) -> None:
    unit = taking(booted(), 7)
    unit.step(2.0, beat(State.TAKING))
    unit.step(3.0, order("s", command, limit_s=60.0))
    assert unit.alarm_s == 7.0
    effects = unit.step(7.0, Ticked(("closing",)))
    assert effects == [Report()]
    assert outcome(unit) == ("s", True, False, State.UNKNOWN)
    assert kind(unit.report()) == FailureKind.HUNG
    text = f'psa-3 on hlt041 has been silent for more than 5 s, in the middle of {command} (last line: "closing")'
    assert reason(unit.report()) == text
    unit.step(8.0, beat(State.STOPPING))
    unit.step(9.0, ActorAnswered("psa-3.1.b", "s", True, State.CONFIGURED))  # late, but now the state is known
    report = unit.report()
    assert (report.state, report.health, report.order_ok) == (State.CONFIGURED, Health.OK, False)


def test_what_waited_for_a_step_in_which_it_hangs_is_refused_and_a_shutdown_is_not() -> None:
    unit = taking(booted(), 7)
    unit.step(3.0, order("s", Command.STOP, limit_s=60.0))
    unit.step(4.0, order("u", Command.UNCONFIGURE, limit_s=60.0))
    unit.step(6.0, Ticked())
    assert outcome(unit) == ("u", True, False, State.UNKNOWN)
    assert Signal("psa-3.1.b", "TERM") in unit.step(7.0, order("x", Command.SHUTDOWN))


def test_an_agent_that_was_stopped_itself_gives_its_processes_their_time_anew() -> None:
    """The heartbeats that came meanwhile are still to be read; nobody hangs, and no order fails, on its account."""
    unit = taking(booted(), 7)
    unit.step(2.0, beat(State.TAKING))
    unit.step(3.0, order("s", Command.STOP, limit_s=60.0))
    unit.step(9.5, Ticked())
    assert outcome(unit) == ("s", False, True, State.STOPPING)
    assert unit.report().health is Health.OK
    assert unit.alarm_s == 14.5
    unit.step(14.5, Ticked())
    assert outcome(unit) == ("s", True, False, State.UNKNOWN)


def test_hung_and_well_again() -> None:
    unit = booted()
    unit.step(1.0, beat())
    assert unit.alarm_s == 6.0
    unit.step(6.0, Ticked(("in the loop",)))
    report = unit.report()
    assert (report.state, report.health, kind(report)) == (State.UNKNOWN, Health.ERROR, FailureKind.HUNG)
    assert reason(report) == 'psa-3 on hlt041 has been silent for more than 5 s (last line: "in the loop")'
    unit.step(9.0, beat(State.BOOTED))
    report = unit.report()
    assert (report.state, report.health, report.failure) == (State.BOOTED, Health.OK, None)


def test_a_plain_process_is_watched_once_it_has_used_the_watchdog() -> None:
    unit = booted(NOTIFY)
    assert unit.alarm_s is None
    unit.step(1.0, Notified("psa-3.1.b", watchdog=True))
    unit.step(6.0, Ticked())
    assert unit.report().state is State.UNKNOWN
    unit.step(7.0, Notified("psa-3.1.b", watchdog=True))
    assert unit.report().state is State.BOOTED


def test_refused_a_command() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD))
    unit.step(2.0, ActorAnswered("psa-3.1.b", "l", False, State.BOOTED, "no such calibration 'may-2'"))
    assert outcome(unit) == ("l", True, False, State.BOOTED)
    assert reason(unit.report()) == "psa-3 on hlt041: no such calibration 'may-2'"
    assert (kind(unit.report()), unit.report().health) == (FailureKind.REFUSED, Health.OK)


def test_died_while_running() -> None:
    unit = booted()
    unit.step(1.0, Exited("psa-3.1.b", {"signal": 11}))
    report = unit.report()
    assert (report.order_ok, report.state, report.health) == (True, State.INITIAL, Health.ERROR)
    assert reason(report) == "psa-3 on hlt041 was killed by SIGSEGV while it was booted"
    assert kind(report) == FailureKind.DIED_RUNNING


def test_died_during_a_step() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD))
    unit.step(2.0, Exited("psa-3.1.b", {"code": 1}))
    assert outcome(unit) == ("l", True, False, State.INITIAL)
    assert reason(unit.report()) == "psa-3 on hlt041 exited with code 1 during load"


def test_an_error_lasts_until_the_next_boot() -> None:
    unit = booted()
    unit.step(1.0, Exited("psa-3.1.b", {"signal": 9}))
    assert unit.step(2.0, order("b2", Command.BOOT, spec=ACTOR))[:2] == [Forget("psa-3.1.b"), Spawn("psa-3.1.b2")]
    report = unit.report()
    assert (report.health, report.failure) == (Health.OK, None)


# ---- orders ----------------------------------------------------------------------------------------------------------


def test_a_step_of_an_actor_is_an_order_on_its_link() -> None:
    unit = booted()
    effects = unit.step(1.0, order("l", Command.LOAD))
    assert effects == [SendToActor("psa-3.1.b", "l", Command.LOAD, 10.0, 7), Report()]
    unit.step(2.0, ActorAnswered("psa-3.1.b", "l", True, State.LOADED, counters={"read": 3}))
    assert outcome(unit) == ("l", True, True, State.LOADED)
    assert unit.report().counters == {"read": 3}


def test_a_step_of_a_plain_process_is_immediate_and_noted() -> None:
    unit = booted(PLAIN)
    for number, (command, state) in enumerate(
        ((Command.LOAD, State.LOADED), (Command.CONFIGURE, State.CONFIGURED), (Command.START, State.TAKING))
    ):
        effects = unit.step(1.0, order(f"s{number}", command))
        assert SaveNote("psa-3.1.b") in effects
        assert outcome(unit) == (f"s{number}", True, True, state)
    assert note(unit)["state"] == "taking"


def test_a_load_brings_a_new_description() -> None:
    unit = booted()
    changed = ProcessSpec(PATH, "psa", (), actor="m:C", parameters={"threshold": 2})
    assert SaveNote("psa-3.1.b") in unit.step(1.0, order("l", Command.LOAD, spec=changed))
    assert unit.spec == changed


def test_a_step_that_the_state_does_not_allow_is_refused_and_changes_nothing() -> None:
    unit = booted()
    assert unit.step(1.0, order("s", Command.START)) == [Report()]
    assert outcome(unit) == ("s", True, False, State.BOOTED)
    assert "start is not possible in booted" in reason(unit.report())


def test_a_repeated_order_is_answered_and_not_carried_out_again() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD))
    assert unit.step(1.1, order("l", Command.LOAD)) == [Report()]
    unit.step(2.0, ActorAnswered("psa-3.1.b", "l", True, State.LOADED))
    assert unit.step(2.1, order("l", Command.LOAD)) == [Report()]
    assert unit.step(2.2, order("b", Command.BOOT, spec=ACTOR)) == [Report()]
    assert outcome(unit) == ("l", True, True, State.LOADED)


def test_an_order_meanwhile_waits_for_the_answer() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD))
    assert unit.step(1.5, order("u", Command.UNLOAD, limit_s=4.0)) == []
    effects = unit.step(2.0, ActorAnswered("psa-3.1.b", "l", True, State.LOADED))
    assert effects[0] == SendToActor("psa-3.1.b", "u", Command.UNLOAD, 3.5, 7)  # counted from its receipt
    assert outcome(unit) == ("u", False, True, State.UNLOADING)


def test_of_the_orders_that_wait_the_newest_counts() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD))
    unit.step(1.5, order("u1", Command.UNLOAD))
    unit.step(1.6, order("u2", Command.UNLOAD))
    unit.step(2.0, ActorAnswered("psa-3.1.b", "l", True, State.LOADED))
    assert outcome(unit) == ("u2", False, True, State.UNLOADING)


def test_an_order_for_an_actor_that_is_away_is_sent_when_it_is_back() -> None:
    unit = booted()
    unit.step(1.0, ActorGone("psa-3.1.b"))
    assert unit.step(2.0, order("l", Command.LOAD)) == [Report()]
    effects = unit.step(3.0, ActorConnected("psa-3.1.b", State.BOOTED, "b"))
    assert SendToActor("psa-3.1.b", "l", Command.LOAD, 9.0, 7) in effects


def test_a_late_answer_of_another_order_is_left_out() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD, limit_s=1.0))
    unit.step(2.0, Ticked())
    unit.step(2.5, beat(State.BOOTED))
    unit.step(3.0, order("l2", Command.LOAD))
    assert unit.step(3.1, ActorAnswered("psa-3.1.b", "l", False, State.BOOTED)) == []
    assert outcome(unit) == ("l2", False, True, State.LOADING)


# ---- counters: of one run, over all instances ------------------------------------------------------------------------


def taking(unit: Unit, run_number: int, instance: str = "psa-3.1.b") -> Unit:
    """An actor that is booted, taken through the steps to data taking."""
    for command, state in (
        (Command.LOAD, State.LOADED),
        (Command.CONFIGURE, State.CONFIGURED),
        (Command.START, State.TAKING),
    ):
        order_id = f"{command}-{run_number}-{instance}"
        unit.step(1.0, Ordered(Order(order_id, PATH, command, 10.0, run_number), ""))
        unit.step(1.1, ActorAnswered(instance, order_id, True, state))
    return unit


def counts(unit: Unit, run_number: int) -> dict[str, int]:
    report = unit.report()
    assert report.counted_run == run_number
    return dict(report.counters)


def renewed(unit: Unit, order_id: str) -> str:
    """Boots a new instance in place of one that has ended."""
    unit.step(2.0, order(order_id, Command.BOOT, spec=ACTOR))
    instance = f"psa-3.1.{order_id}"
    unit.step(2.1, Spawned(instance, 43))
    unit.step(2.2, ActorConnected(instance, State.BOOTED))
    return instance


def test_counters_begin_anew_with_each_run() -> None:
    unit = taking(booted(), 7)
    unit.step(1.5, beat(State.TAKING, counters={"read": 9}))
    unit.step(1.6, Ordered(Order("x", PATH, Command.STOP, 10.0, 7), ""))
    unit.step(1.7, ActorAnswered("psa-3.1.b", "x", True, State.CONFIGURED, counters={"read": 10}))
    assert counts(unit, 7) == {"read": 10}
    unit.step(1.8, Ordered(Order("y", PATH, Command.START, 10.0, 8), ""))
    assert counts(unit, 8) == {}
    unit.step(1.85, beat(State.CONFIGURED, counters={"read": 10}))  # sent before the start was received
    assert counts(unit, 8) == {}


def test_what_an_instance_had_counted_is_added_to_what_the_next_one_counts_in_the_same_run() -> None:
    unit = taking(booted(), 7)
    unit.step(1.5, beat(State.TAKING, counters={"read": 9}))
    unit.step(1.9, Exited("psa-3.1.b", {"signal": 9}))
    assert counts(unit, 7) == {"read": 9, INSTANCES_DIED: 1}
    again = renewed(unit, "b2")
    assert counts(unit, 7) == {"read": 9, INSTANCES_DIED: 1}
    taking(unit, 7, again)
    unit.step(3.0, HeartbeatHeard(again, State.TAKING, counters={"read": 2, "late": 1}))
    assert counts(unit, 7) == {"read": 11, "late": 1, INSTANCES_DIED: 1}


def test_an_instance_that_had_stopped_has_said_all_and_nothing_of_it_is_in_the_next_run() -> None:
    unit = taking(booted(), 7)
    unit.step(1.5, Ordered(Order("x", PATH, Command.STOP, 10.0, 7), ""))
    unit.step(1.6, ActorAnswered("psa-3.1.b", "x", True, State.CONFIGURED, counters={"read": 10}))
    unit.step(1.9, Exited("psa-3.1.b", {"code": 0}))
    assert counts(unit, 7) == {"read": 10}
    again = renewed(unit, "b2")
    assert counts(taking(unit, 8, again), 8) == {}


def test_counters_of_former_instances_outlive_the_agent_and_of_the_present_one_the_actor_knows() -> None:
    unit = taking(booted(), 7)
    unit.step(1.5, beat(State.TAKING, counters={"read": 9}))
    unit.step(1.9, Exited("psa-3.1.b", {"signal": 9}))
    instance = renewed(unit, "b2")
    spawned = note(unit)
    taking(unit, 7, instance)
    again = recovered(ACTOR, spawned, instance=instance)
    again.step(100.0, ActorConnected(instance, State.TAKING, run_number=7))
    again.step(100.1, HeartbeatHeard(instance, State.TAKING, counters={"read": 5}))
    assert counts(again, 7) == {"read": 14, INSTANCES_DIED: 1}


def test_an_instance_that_died_while_the_agent_was_away_is_counted_with_its_last_note() -> None:
    unit = taking(booted(), 7)
    assert SaveNote("psa-3.1.b") in unit.step(1.5, beat(State.TAKING, counters={"read": 9}))
    assert SaveNote("psa-3.1.b") not in unit.step(1.6, beat(State.TAKING, counters={"read": 10}))
    again = recovered(ACTOR, note(unit), exit={"signal": 9})
    assert counts(again, 7) == {"read": 10, INSTANCES_DIED: 1}


def test_what_an_instance_that_died_had_counted_at_last_is_noted_for_the_agent_after_this_one() -> None:
    unit = taking(booted(), 7)
    unit.step(1.5, beat(State.TAKING, counters={"read": 9}))
    assert unit.step(1.9, Exited("psa-3.1.b", {"signal": 9})) == [SaveNote("psa-3.1.b"), Report()]
    again = recovered(ACTOR, note(unit), exit={"signal": 9})
    assert counts(again, 7) == {"read": 9, INSTANCES_DIED: 1}
    assert reason(again.report()) == reason(unit.report())


def test_a_new_agent_hears_from_the_actor_which_run_it_is_being_started_in() -> None:
    before = booted()
    noted = note(before)
    taking(before, 7)
    again = recovered(ACTOR, noted)
    again.step(100.0, ActorConnected("psa-3.1.b", State.STARTING, "s", 7))
    again.step(100.5, ActorAnswered("psa-3.1.b", "s", True, State.TAKING, counters={"read": 0}))
    again.step(101.0, beat(State.TAKING, counters={"read": 5}))
    assert (counts(again, 7), again.report().run_number) == ({"read": 5}, 7)


def test_files_of_a_former_instance_are_kept_too() -> None:
    file = OutputFile(PATH, "/data/run_7.adf", 3, "ab")
    unit = taking(booted(), 7)
    unit.step(1.5, Ordered(Order("x", PATH, Command.STOP, 10.0, 7), ""))
    unit.step(1.6, ActorAnswered("psa-3.1.b", "x", True, State.CONFIGURED, files=(file,)))
    unit.step(1.7, Exited("psa-3.1.b", {"code": 0}))
    assert unit.report().files == (file,)
    assert recovered(ACTOR, note(unit), exit={"code": 0}).report().files == (file,)


def test_a_plain_process_counts_nothing_and_its_end_is_not_counted() -> None:
    unit = booted(PLAIN)
    for number, command in enumerate((Command.LOAD, Command.CONFIGURE, Command.START)):
        unit.step(1.0, order(f"s{number}", command))
    assert unit.report().run_number == 7
    unit.step(2.0, Exited("psa-3.1.b", {"signal": 9}))
    assert unit.report().counters == {}


# ---- the termination ladder ------------------------------------------------------------------------------------------


def test_a_shutdown_with_nothing_to_do_succeeds() -> None:
    unit = Unit(PATH)
    assert unit.step(0.0, order("x", Command.SHUTDOWN)) == [Report()]
    assert outcome(unit) == ("x", True, True, State.INITIAL)


def test_the_ladder_is_term_then_kill_then_giving_up() -> None:
    unit = booted()
    assert unit.step(1.0, order("x", Command.SHUTDOWN)) == [Signal("psa-3.1.b", "TERM"), Report()]
    assert outcome(unit) == ("x", False, True, State.SHUTTING_DOWN)
    unit.step(3.0, beat())
    assert unit.alarm_s == 4.0
    assert unit.step(4.0, Ticked()) == [Signal("psa-3.1.b", "KILL")]
    assert unit.step(6.0, Ticked())[-1] == Report()
    assert outcome(unit) == ("x", True, False, State.UNKNOWN)
    assert "nor after SIGKILL" in reason(unit.report())


def test_a_shutdown_is_done_when_the_process_has_ended_however() -> None:
    for exit_status in ({"code": 0}, {"signal": 15}, {"unknown": "adopted"}):
        unit = booted()
        unit.step(1.0, order("x", Command.SHUTDOWN))
        assert Forget("psa-3.1.b") in unit.step(1.2, Exited("psa-3.1.b", exit_status))
        assert outcome(unit) == ("x", True, True, State.INITIAL)
        assert unit.report().health is Health.OK


def test_one_that_is_ended_because_of_a_fault_stays_an_error_with_its_last_lines_until_it_is_booted_again() -> None:
    unit = booted()
    unit.step(5.0, Ticked(("no more events",)))
    because = Order("x", PATH, Command.SHUTDOWN, 10.0, because="psa-3 hangs; ended")
    unit.step(40.0, Ordered(because, "", None))
    unit.step(40.1, Exited("psa-3.1.b", {"signal": 15}))
    report = unit.report()
    assert (report.state, report.health, report.order_ok) == (State.INITIAL, Health.ERROR, True)
    assert report.failure is not None
    assert (report.failure.kind, report.failure.reason, report.failure.last_lines) == (
        FailureKind.HUNG,
        "psa-3 hangs; ended",
        ("no more events",),
    )
    unit.step(41.0, order("c", Command.BOOT, spec=ACTOR))
    assert unit.report().health is Health.OK


def test_a_persons_shutdown_in_place_of_one_because_of_a_fault_leaves_no_error() -> None:
    unit = booted()
    unit.step(40.0, Ordered(Order("x", PATH, Command.SHUTDOWN, 10.0, because="psa-3 hangs; ended"), "", None))
    unit.step(40.1, order("y", Command.SHUTDOWN))
    unit.step(40.2, Exited("psa-3.1.b", {"signal": 15}))
    assert (outcome(unit), unit.report().health) == (("y", True, True, State.INITIAL), Health.OK)


def restarted(*times: float) -> Unit:
    """A unit whose process was restarted by its role's policy at these times."""
    unit = booted()
    for number, at_s in enumerate(times):
        unit.step(at_s, Exited(unit.instance, {"code": 1}))
        again = Order(f"r{number}", PATH, Command.BOOT, 10.0, 7, ACTOR, restart=True)
        unit.step(at_s, Ordered(again, f"psa-3.1.r{number}", LADDER))
        unit.step(at_s, Ordered(again, f"psa-3.1.r{number}", LADDER))  # comes twice
        unit.step(at_s, ActorConnected(unit.instance, State.BOOTED))
    return unit


def test_restarts_by_a_policy_are_counted_and_outlive_the_agent() -> None:
    unit = restarted(1.5, 3.5)
    assert (unit.report().restarts, unit.report().restarted_s) == (2, (1.5, 3.5))
    manifest = {"instance": unit.instance, "status": "", "exit": {"code": 1}, "pid": 0, "ready": False}
    after = handed_over(5.0, ACTOR, LADDER, note(unit), manifest)
    assert (after.report().restarts, after.report().restarted_s) == (2, (1.5, 3.5))
    elsewhen = handed_over(2.0, ACTOR, LADDER, note(unit), manifest)  # the machine has restarted, and so has its clock
    assert (elsewhen.report().restarts, elsewhen.report().restarted_s) == (2, (1.5,))


def test_whom_a_command_starts_has_not_been_restarted_yet() -> None:
    unit = restarted(1.5, 3.5)
    unit.step(4.0, order("x", Command.SHUTDOWN))
    unit.step(4.0, Exited(unit.instance, {"code": 0}))
    assert unit.report().restarts == 2
    unit.step(5.0, order("c", Command.BOOT, spec=ACTOR))
    assert (unit.report().restarts, unit.report().restarted_s) == (0, ())


@pytest.mark.parametrize("command", [Command.LOAD, Command.BOOT])
def test_a_shutdown_supersedes_what_is_under_way(command: Command) -> None:
    unit = booted() if command is Command.LOAD else Unit(PATH)
    unit.step(1.0, order("b", command, spec=ACTOR) if command is Command.BOOT else order("l", command))
    unit.step(1.1, order("w", Command.UNLOAD))
    assert Signal("psa-3.1.b", "TERM") in unit.step(2.0, order("x", Command.SHUTDOWN))
    unit.step(2.5, Exited("psa-3.1.b", {"signal": 15}))
    assert outcome(unit) == ("x", True, True, State.INITIAL)
    assert unit.step(3.0, order("w", Command.UNLOAD)) == [Report()]


def test_a_second_shutdown_does_not_begin_the_ladder_anew() -> None:
    unit = booted()
    unit.step(1.0, order("x", Command.SHUTDOWN))
    assert unit.step(3.0, order("y", Command.SHUTDOWN)) == [Report()]
    assert unit.alarm_s == 4.0
    unit.step(3.5, Exited("psa-3.1.b", {"code": 0}))
    assert outcome(unit) == ("y", True, True, State.INITIAL)


def test_a_boot_during_a_shutdown_waits_for_it() -> None:
    unit = booted()
    unit.step(1.0, order("x", Command.SHUTDOWN))
    assert unit.step(1.1, order("b2", Command.BOOT, spec=ACTOR)) == []
    effects = unit.step(2.0, Exited("psa-3.1.b", {"code": 0}))
    assert effects[:2] == [Forget("psa-3.1.b"), Spawn("psa-3.1.b2")]


def test_a_hung_process_can_be_shut_down() -> None:
    unit = booted()
    unit.step(5.0, Ticked())
    assert Signal("psa-3.1.b", "TERM") in unit.step(6.0, order("x", Command.SHUTDOWN))


# ---- news of another start -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        Exited("psa-3.1.a", {"code": 0}),
        ActorConnected("psa-3.1.a", State.BOOTED),
        ActorAnswered("psa-3.1.a", "l", True, State.LOADED),
        HeartbeatHeard("psa-3.1.a", State.LOADED),
        Notified("psa-3.1.a", ready=True),
    ],
)
def test_late_news_of_a_former_start_is_left_out(event: Event) -> None:
    unit = booted()
    before = unit.report()
    assert unit.step(1.0, event) == []
    assert unit.report() == before


# ---- after a restart of the agent ------------------------------------------------------------------------------------


def recovered(spec: ProcessSpec, noted: dict[str, Any], now: float = 100.0, **manifest: Any) -> Unit:
    row = {"instance": "psa-3.1.b", "pid": 42, "exit": None, "ready": False, "status": ""} | manifest
    return handed_over(now, spec, LADDER, noted, row)


def test_a_plain_process_is_where_its_note_says() -> None:
    unit = booted(PLAIN)
    unit.step(1.0, order("l", Command.LOAD))
    again = recovered(PLAIN, note(unit))
    assert again.report() == unit.report()


def test_an_actor_is_unknown_until_it_says_where_it_is() -> None:
    again = recovered(ACTOR, note(booted()))
    assert outcome(again) == ("b", True, True, State.UNKNOWN)
    again.step(100.2, ActorConnected("psa-3.1.b", State.BOOTED, ""))
    assert outcome(again) == ("b", True, True, State.BOOTED)


def test_an_actor_is_asked_what_became_of_its_last_order() -> None:
    again = recovered(ACTOR, note(booted()))
    effects = again.step(100.2, ActorConnected("psa-3.1.b", State.LOADING, "l"))
    assert SendToActor("psa-3.1.b", "l", None, ASK_LIMIT_S) in effects
    assert outcome(again) == ("l", False, True, State.LOADING)
    again.step(101.0, ActorAnswered("psa-3.1.b", "l", False, State.BOOTED, "no"))
    assert outcome(again) == ("l", True, False, State.BOOTED)


def test_an_order_that_is_repeated_to_the_new_agent_is_not_carried_out_twice() -> None:
    again = recovered(ACTOR, note(booted()))
    assert again.step(100.1, order("l", Command.LOAD)) == []
    again.step(100.2, ActorConnected("psa-3.1.b", State.LOADED, "l"))
    again.step(100.3, ActorAnswered("psa-3.1.b", "l", True, State.LOADED))
    assert outcome(again) == ("l", True, True, State.LOADED)


def test_an_order_that_never_reached_the_actor_may_come_again() -> None:
    unit = booted()
    unit.step(1.0, order("l", Command.LOAD, spec=ACTOR))
    again = recovered(ACTOR, note(unit))
    again.step(100.2, ActorConnected("psa-3.1.b", State.BOOTED, ""))
    effects = again.step(100.3, order("l", Command.LOAD, spec=ACTOR))
    assert effects[0] == SendToActor("psa-3.1.b", "l", Command.LOAD, 10.0, 7)


def test_a_question_without_an_answer_ends_as_too_slow() -> None:
    again = recovered(ACTOR, note(booted()))
    again.step(100.0, ActorConnected("psa-3.1.b", State.LOADED, "l"))
    again.step(104.0, beat(State.LOADED))
    again.step(100.0 + ASK_LIMIT_S, Ticked())
    assert outcome(again) == ("l", True, False, State.LOADED)
    assert "its last order was not done within 5 s" in reason(again.report())


def test_an_actor_that_does_not_come_back_is_hung() -> None:
    again = recovered(ACTOR, note(booted()))
    again.step(105.0, Ticked())
    assert (again.report().health, again.report().state) == (Health.ERROR, State.UNKNOWN)


def test_an_actor_without_heartbeats_that_does_not_come_back_is_hung_too() -> None:
    again = recovered(UNWATCHED, note(booted(UNWATCHED)))
    assert again.alarm_s == 100.0 + RECONNECT_LIMIT_S
    again.step(100.0 + RECONNECT_LIMIT_S - 0.1, Ticked())
    assert again.report().status == "waiting for the actor to connect again"
    again.step(100.0 + RECONNECT_LIMIT_S, Ticked())
    report = again.report()
    assert (report.health, report.state) == (Health.ERROR, State.UNKNOWN)
    assert reason(report) == "psa-3 on hlt041 has not connected to its restarted agent for more than 30 s"
    assert again.alarm_s is None


def test_an_actor_without_heartbeats_that_comes_back_late_is_well_again_and_asked_for_nothing_more() -> None:
    again = recovered(UNWATCHED, note(booted(UNWATCHED)))
    again.step(100.0 + RECONNECT_LIMIT_S, Ticked())
    again.step(150.0, ActorConnected("psa-3.1.b", State.BOOTED, ""))
    assert (again.report().health, again.report().state) == (Health.OK, State.BOOTED)
    assert again.alarm_s is None


def test_an_actor_without_heartbeats_that_may_be_busy_with_an_order_has_its_whole_limit_to_come_back() -> None:
    unit = booted(UNWATCHED)
    unit.step(1.0, order("l", Command.LOAD, limit_s=90.0, spec=UNWATCHED))
    again = recovered(UNWATCHED, note(unit))
    assert again.alarm_s == 190.0


def test_an_agent_that_was_stopped_gives_an_actor_its_time_to_come_back_anew() -> None:
    again = recovered(UNWATCHED, note(booted(UNWATCHED)))
    again.step(200.0, Ticked())
    assert again.report().health is Health.OK
    assert again.alarm_s == 200.0 + RECONNECT_LIMIT_S


def test_an_actor_without_heartbeats_that_dies_before_it_comes_back_is_waited_for_no_more() -> None:
    again = recovered(UNWATCHED, note(booted(UNWATCHED)))
    again.step(101.0, Exited("psa-3.1.b", {"code": 3}))
    assert again.alarm_s is None
    assert reason(again.report()) == "psa-3 on hlt041 exited with code 3 while it was booted"


def test_a_boot_under_way_goes_on() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, spec=NOTIFY))
    waiting = recovered(NOTIFY, note(unit))
    assert outcome(waiting) == ("b", False, True, State.BOOTING)
    waiting.step(101.0, Notified("psa-3.1.b", ready=True))
    assert outcome(waiting) == ("b", True, True, State.BOOTED)
    said_meanwhile = recovered(NOTIFY, note(unit), ready=True)
    said_meanwhile.step(100.0, Ticked())
    assert outcome(said_meanwhile) == ("b", True, True, State.BOOTED)


def test_what_died_while_nobody_looked_is_told_with_what_is_known() -> None:
    again = recovered(ACTOR, note(booted()), exit={"unknown": "no keeper was there to see it"})
    report = again.report()
    assert (report.state, report.health, report.order_ok) == (State.INITIAL, Health.ERROR, True)
    assert reason(report) == (
        "psa-3 on hlt041 ended while it was booted; how is not known, because no keeper was there to see it"
    )


# ---- probes, watchdog, figures ---------------------------------------------------------------------------------------

PROBED = ProcessSpec(
    PATH, "psa", ("run",), ready=Ready.PROBE, heartbeat_timeout_s=0.0, probing=Probing(("ask",), 1.0, 5.0)
)
WELL = ProcessSpec(
    PATH,
    "psa",
    ("run",),
    ready=Ready.NOTIFY,
    heartbeat_timeout_s=0.0,
    probing=Probing(alive=("well",), alive_interval_s=10.0, alive_misses=2),
)
WATCHDOG = ProcessSpec(
    PATH, "psa", ("run",), ready=Ready.SETTLE, heartbeat_timeout_s=0.0, probing=Probing(watchdog_timeout_s=3.0)
)


def started(spec: ProcessSpec) -> Unit:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, spec=spec))
    unit.step(0.0, Spawned("psa-3.1.b", 42))
    return unit


def probed(code: int, *lines: str) -> Probed:
    return Probed("psa-3.1.b", {"code": code}, lines)


def test_a_plain_process_is_booted_when_its_probe_succeeds() -> None:
    unit = started(PROBED)
    assert unit.step(0.0, Ticked()) == [Probe("psa-3.1.b", ("ask",))]
    assert unit.step(0.2, probed(1)) == []
    assert unit.alarm_s == 1.0
    assert unit.step(1.0, Ticked()) == [Probe("psa-3.1.b", ("ask",))]
    unit.step(1.1, probed(0))
    assert outcome(unit) == ("b", True, True, State.BOOTED)
    assert unit.alarm_s is None


def test_a_probe_that_takes_too_long_is_ended() -> None:
    unit = started(PROBED)
    unit.step(0.0, Ticked())
    assert unit.step(5.0, Ticked()) == [EndProbe("psa-3.1.b"), Report()]
    unit.step(5.1, Probed("psa-3.1.b", {"signal": 9}))
    unit.step(10.0, Ticked())
    assert reason(unit.report()) == (
        "psa-3 on hlt041 was too slow: boot was not done within 10 s; its probe took longer than 5 s"
    )
    unit.step(10.2, probed(0))
    assert outcome(unit) == ("b", True, False, State.BOOTED), "late, but now it is known to be there"


def test_a_shutdown_ends_the_probe_and_wants_no_other() -> None:
    unit = started(PROBED)
    unit.step(0.0, Ticked())
    effects = unit.step(0.1, order("x", Command.SHUTDOWN))
    assert effects == [EndProbe("psa-3.1.b"), Signal("psa-3.1.b", "TERM"), Report()]
    assert unit.step(0.2, Probed("psa-3.1.b", {"signal": 9})) == []
    assert unit.alarm_s == pytest.approx(3.1)


def test_the_end_of_a_process_ends_its_probe() -> None:
    unit = started(PROBED)
    unit.step(0.0, Ticked())
    assert EndProbe("psa-3.1.b") in unit.step(0.1, Exited("psa-3.1.b", {"code": 1}))


def test_a_process_whose_probe_fails_again_and_again_is_hung_and_recovers() -> None:
    unit = booted(WELL)
    for now in (10.0, 20.0):
        assert unit.step(now, Ticked()) == [Probe("psa-3.1.b", ("well",))]
        assert outcome(unit) == ("b", True, True, State.BOOTED)
        effects = unit.step(now + 0.1, probed(3, "no answer on port 80"))
    assert effects == [Report()]
    assert (kind(unit.report()), unit.state) == (FailureKind.HUNG, State.UNKNOWN)
    assert reason(unit.report()) == (
        "psa-3 on hlt041 hangs: its probe failed 2 times in a row, at last it exited with code 3 "
        '(last line: "no answer on port 80")'
    )
    unit.step(30.0, Ticked())
    assert unit.step(30.1, probed(0)) == [Report()]
    assert (unit.report().health, unit.state) == (Health.OK, State.BOOTED)


def test_one_failure_of_the_probe_is_forgiven() -> None:
    unit = booted(WELL)
    for now, code in ((10.0, 1), (20.0, 0), (30.0, 1)):
        unit.step(now, Ticked())
        assert unit.step(now + 0.1, probed(code)) == []
    assert unit.report().health is Health.OK


def test_a_watchdog_that_is_never_heard_is_missed_from_the_start() -> None:
    unit = booted(WATCHDOG)
    assert unit.alarm_s == pytest.approx(3.5)
    unit.step(2.0, Notified("psa-3.1.b", watchdog=True))
    unit.step(5.0, Ticked(("last words",)))
    assert reason(unit.report()) == 'psa-3 on hlt041 has been silent for more than 3 s (last line: "last words")'
    unit.step(6.0, Notified("psa-3.1.b", watchdog=True))
    assert (unit.report().health, unit.state) == (Health.OK, State.BOOTED)


def test_a_new_agent_goes_on_probing() -> None:
    before = booted(WELL)
    manifest = {"instance": "psa-3.1.b", "status": "", "exit": None, "pid": 42, "ready": True}
    unit = handed_over(100.0, WELL, LADDER, note(before), manifest)
    assert unit.alarm_s == 110.0
    assert unit.step(110.0, Ticked()) == [Probe("psa-3.1.b", ("well",))]


def test_figures_are_told_when_they_differ_notably() -> None:
    unit = booted(PLAIN)
    figures = Figures(10.0, 1 << 30, 1, 5, 0, 0)
    assert unit.step(1.0, Sampled("psa-3.1.b", figures)) == [Report()]
    assert unit.step(2.0, Sampled("psa-3.1.b", replace(figures, cpu_percent=10.5, rss_bytes=(1 << 30) + 4096))) == []
    assert unit.report().figures == figures
    later = replace(figures, threads=2)
    assert unit.step(3.0, Sampled("psa-3.1.b", later)) == [Report()]
    assert unit.report().figures == later
    unit.step(4.0, Exited("psa-3.1.b", {"code": 0}))
    assert unit.report().figures is None


def test_figures_that_stay_as_they_are_are_told_again_so_that_people_see_that_they_are_fresh() -> None:
    unit = booted(PLAIN)
    figures = Figures(10.0, 1 << 30, 1, 5, 0, 0)
    unit.step(1.0, Sampled("psa-3.1.b", figures))
    assert unit.step(1.0 + TOLD_AGAIN_S - 0.1, Sampled("psa-3.1.b", figures)) == []
    assert unit.figures_s == 1.0
    assert unit.step(1.0 + TOLD_AGAIN_S, Sampled("psa-3.1.b", figures)) == [Report()]
    assert unit.figures_s == 1.0 + TOLD_AGAIN_S


# ---- a keeper that is silent -----------------------------------------------------------------------------------------


def test_nothing_is_claimed_of_a_process_whose_keeper_is_silent() -> None:
    unit = booted(PLAIN)
    assert unit.step(1.0, KeeperSilent(77)) == [Report()]
    report = unit.report()
    assert (report.state, report.health, kind(report)) == (State.UNKNOWN, Health.ERROR, FailureKind.HUNG)
    assert (
        reason(report)
        == report.status
        == (
            "the keeper of hlt041 does not answer (pid 77), so psa-3 can be neither seen nor ended; kill -CONT 77 if "
            "it is stopped, or kill -9 77: the agent starts a new one"
        )
    )
    assert unit.step(2.0, KeeperHeard()) == [Report()]
    report = unit.report()
    assert (report.state, report.health, report.failure) == (State.BOOTED, Health.OK, None)


def test_a_process_that_does_not_run_is_not_hidden_by_its_keeper() -> None:
    unit = booted(PLAIN)
    unit.step(1.0, Exited("psa-3.1.b", {"code": 1}))
    assert unit.step(2.0, KeeperSilent(77)) == []
    assert reason(unit.report()) == "psa-3 on hlt041 exited with code 1 while it was booted"


@pytest.mark.parametrize("declared", [True, False])
def test_a_shutdown_that_a_silent_keeper_prevents_blames_the_keeper_and_not_the_kernel(declared: bool) -> None:
    unit = booted(PLAIN)
    if declared:
        unit.step(1.0, KeeperSilent(77))
    unit.step(1.0, order("x", Command.SHUTDOWN))
    unit.step(6.0, Ticked(keeper_pid=0 if declared else 77))
    assert outcome(unit) == ("x", True, False, State.UNKNOWN)
    assert reason(unit.report()).startswith(
        "psa-3 on hlt041 was not ended within 5 s: the keeper of hlt041 does not answer (pid 77), so"
    )


def test_a_boot_under_a_silent_keeper_says_so_when_it_is_too_slow() -> None:
    unit = Unit(PATH)
    unit.step(0.0, KeeperSilent(0))
    unit.step(0.0, order("b", Command.BOOT, spec=PLAIN))
    unit.step(10.0, Ticked())
    assert reason(unit.report()) == (
        "psa-3 on hlt041 was too slow: boot was not done within 10 s; the keeper of hlt041 does not answer, so psa-3 "
        "can be neither seen nor ended; the agent tries to start one; keeper.log in the node's directory says more"
    )


# ---- what a boot waits for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "awaited"),
    [
        (ACTOR, "waits for its first message"),
        (NOTIFY, "waits for READY=1"),
        (PROBED, "waits for its probe"),
        (replace(PLAIN, settle_time_s=9.0), "settles: ready when it has run for 9 s"),
    ],
)
def test_a_boot_says_what_it_waits_for_and_for_how_long_so_far(spec: ProcessSpec, awaited: str) -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, limit_s=30.0, spec=spec))
    assert unit.report().status == "is being started"
    unit.step(0.0, Spawned("psa-3.1.b", 42))
    assert unit.report().status == awaited
    assert unit.alarm_s is not None
    assert unit.alarm_s <= 5.0
    assert Report() in unit.step(5.0, Ticked())
    assert unit.report().status == f"{awaited}, 5 s so far"


def test_what_a_process_and_its_probe_say_themselves_is_told_with_what_it_waits_for() -> None:
    unit = Unit(PATH)
    unit.step(0.0, order("b", Command.BOOT, limit_s=30.0, spec=PROBED))
    unit.step(0.0, Spawned("psa-3.1.b", 42))
    unit.step(0.0, Ticked())
    unit.step(0.5, Probed("psa-3.1.b", {"code": 3}, ("no answer",)))
    assert unit.report().status == 'its probe exited with code 3 (last line: "no answer")'
    unit.step(1.0, Notified("psa-3.1.b", status="reading the basis"))
    unit.step(6.0, Ticked())
    assert unit.report().status == (
        'reading the basis (its probe exited with code 3 (last line: "no answer"), 6 s so far)'
    )


def test_a_process_that_was_refused_the_actor_link_says_so_once() -> None:
    unit = booted(PLAIN)
    refused = LinkRefused("psa-3.1.b", "it is not declared as an actor")
    assert unit.step(1.0, refused) == [Report()]
    assert unit.report().status == "it is not declared as an actor"
    assert unit.step(2.0, refused) == []
