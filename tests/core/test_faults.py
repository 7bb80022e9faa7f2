"""What becomes of a process that is not well; the whole stories are in tests/spec."""

from dataclasses import replace

import pytest

from grange.core.effects import Order, Say
from grange.core.faults import descends, fault, forgive, heal, review
from grange.core.goals import aim, hold
from grange.core.membership import apply
from grange.core.memory import GoalMemory, InFlight, Memory, ProcessMemory, aim_of
from grange.core.names import Command, Health, Kind, Membership, Policy, Severity, State
from grange.core.plan import ALL, Quorum
from grange.core.planner import wanted
from grange.core.reports import Exclusion, Goal, ProcessReport, Target
from grange.core.revision import document
from grange.core.waiting import slowest
from grange.harness.farms import uniform

WHY = "worker-1 on n001 exited with code 2"


def memory_of(
    state: State = State.CONFIGURED,
    quorum: Quorum = ALL,
    policy: Policy = Policy.STOP_RUN,
    active: bool = True,
    command: Command | None = Command.CONFIGURE,
    target: State = State.CONFIGURED,
) -> Memory:
    """A sub-farm with three workers in `state`, under a goal."""
    memory = Memory("sf01", "sf01", Kind.SUB_FARM, root=False, fence=(1, 2))
    farm = uniform(1, 1, 3, ("worker",), {"worker": quorum}, {"worker": policy})
    document(memory, "r", farm.sub_farms[0])
    memory.links["n001"].expected = memory.links["n001"].attached = memory.links["n001"].enrolled = True
    for process in memory.processes.values():
        process.report, process.heard_s = ProcessReport(process.path, state, "i", order_id="o", run_number=7), 0.0
    goal = Goal("c1", ("",), (Target("", target, command),), "r", 7, set_up=True)
    memory.goal = GoalMemory(goal, 0.0, 100.0, active=active)
    return memory


def first(memory: Memory) -> ProcessMemory:
    return next(iter(memory.processes.values()))


def dies(memory: Memory, was: State) -> ProcessMemory:
    process = first(memory)
    process.report = ProcessReport(process.path, State.INITIAL, "", Health.ERROR)
    fault(memory, 1.0, process, WHY, was)
    return process


def test_with_a_quorum_that_holds_it_goes_out_and_the_command_goes_on() -> None:
    memory = memory_of(quorum=Quorum(number=2))
    process = dies(memory, State.CONFIGURING)
    assert memory.goal is not None
    assert (process.membership, memory.goal.failing) == (Membership.OUT_BY_FAULT, "")


def test_without_it_stays_in_and_the_command_fails_with_role_and_cause() -> None:
    memory = memory_of()
    process = dies(memory, State.CONFIGURING)
    assert memory.goal is not None
    assert (process.membership, memory.goal.failing) == (Membership.IN, f"role worker: 2 well, 3 needed: {WHY}")
    assert memory.goal.goal.targets == (Target("", None),)


def test_on_the_way_down_the_others_go_on_and_the_fault_is_told_at_the_end() -> None:
    memory = memory_of(State.TAKING, command=Command.STOP)
    dies(memory, State.STOPPING)
    assert memory.goal is not None
    assert (memory.goal.failing, memory.goal.casualty) == ("", f"role worker: 2 well, 3 needed: {WHY}")


@pytest.mark.parametrize(
    ("was", "policy", "lost", "wanted"),
    [
        (State.TAKING, Policy.STOP_RUN, False, WHY),
        (State.PAUSED, Policy.STOP_RUN, False, WHY),
        (State.TAKING, Policy.IGNORE, False, ""),
        (State.STARTING, Policy.STOP_RUN, False, ""),
        (State.CONFIGURED, Policy.STOP_RUN, False, ""),
        (State.TAKING, Policy.STOP_RUN, True, ""),
    ],
)
def test_the_policy_stops_the_run_when_data_was_taken_and_it_is_known_that_the_process_takes_none(
    was: State, policy: Policy, lost: bool, wanted: str
) -> None:
    memory = memory_of(State.TAKING, policy=policy, active=False, command=None, target=State.TAKING)
    process = first(memory)
    process.report = ProcessReport(process.path, State.INITIAL, "", Health.ERROR)
    fault(memory, 1.0, process, WHY, was, lost)
    assert memory.stop_run_wanted == wanted


def test_one_that_refuses_and_still_takes_data_does_not_stop_the_run() -> None:
    memory = memory_of(State.TAKING, command=Command.PAUSE, target=State.PAUSED)
    fault(memory, 1.0, first(memory), "worker-1 on n001 refused pause", State.PAUSING)
    assert memory.stop_run_wanted == ""


def test_the_fault_of_one_that_a_person_has_taken_out_is_noted_and_fails_nothing() -> None:
    memory = memory_of()
    assert memory.goal is not None
    memory.goal.goal = replace(memory.goal.goal, excluded=(Exclusion(first(memory).path, "excluded by ann"),))
    apply(memory, 0.5)
    assert fault(memory, 1.0, first(memory), WHY, State.CONFIGURING) == []
    assert (first(memory).fault, first(memory).membership) == (WHY, Membership.OUT_BY_PERSON)
    assert not memory.goal.failing


@pytest.mark.parametrize(
    ("needed", "membership"),
    [(2, Membership.IN), (1, Membership.OUT_BY_FAULT)],
    ids=["the quorum is lost", "the quorum holds"],
)
def test_one_that_is_out_counts_again_when_a_person_takes_another_out_that_the_quorum_needs(
    needed: int, membership: Membership
) -> None:
    memory = memory_of(State.TAKING, Quorum(number=needed), active=False, command=None, target=State.TAKING)
    process = dies(memory, State.TAKING)
    assert memory.goal is not None
    last = list(memory.processes)[-1]
    memory.goal.goal = replace(memory.goal.goal, excluded=(Exclusion(last, "excluded by ann"),))
    apply(memory, 2.0)
    review(memory, 2.0)
    assert process.membership is membership


def test_one_that_comes_back_stands_for_all_of_its_role_that_are_out() -> None:
    memory = memory_of(State.TAKING, Quorum(number=2), active=False, command=None, target=State.TAKING)
    given_up = dies(memory, State.TAKING)
    other = list(memory.processes.values())[1]
    other.fault, other.returning, other.membership = "it was restarted", True, Membership.OUT_BY_FAULT
    review(memory, 2.0)
    assert (given_up.membership, other.membership) == (Membership.OUT_BY_FAULT, Membership.IN)
    assert memory.stop_run_wanted == ""


def test_it_stays_faulty_while_it_says_what_it_said_at_the_fault() -> None:
    memory = memory_of(State.LOADED)
    process = first(memory)
    fault(memory, 1.0, process, "worker-1 on n001 refused configure", State.CONFIGURING)
    heal(memory, 2.0, process)
    assert process.fault != ""


def test_seen_well_where_it_should_be_it_is_taken_back() -> None:
    memory = memory_of(State.LOADED, quorum=Quorum(number=2))
    process = first(memory)
    fault(memory, 1.0, process, "no answer to configure", State.CONFIGURING)
    process.report = ProcessReport(process.path, State.CONFIGURED, "i", order_id="o", run_number=7)
    heal(memory, 2.0, process)
    assert (process.fault, process.membership) == ("", Membership.IN)


def test_seen_well_but_behind_it_is_brought_to_the_others_and_stays_out_meanwhile() -> None:
    memory = memory_of(State.TAKING, Quorum(number=2), active=False, command=None, target=State.TAKING)
    process = first(memory)
    process.report = ProcessReport(process.path, State.LOADED, "i", order_id="o")
    fault(memory, 1.0, process, "no answer to configure", State.CONFIGURING)
    process.report = ProcessReport(process.path, State.CONFIGURED, "i", order_id="o")
    heal(memory, 2.0, process)
    assert (process.returning, process.membership) == (True, Membership.OUT_BY_FAULT)


def test_one_that_returns_to_a_run_that_has_ended_meanwhile_goes_as_far_as_configured() -> None:
    memory = memory_of(active=False)
    process = first(memory)
    process.fault, process.returning, process.rejoin = "it was restarted", True, State.TAKING
    assert memory.goal is not None
    ended = replace(memory.goal.goal, targets=(Target("", None),), run_number=0)
    assert aim_of(process, ended) == Target(process.path, State.CONFIGURED)


def test_a_dead_process_is_not_well_again_by_being_dead_for_longer() -> None:
    memory = memory_of()
    process = dies(memory, State.CONFIGURING)
    heal(memory, 2.0, process)
    assert process.fault == WHY


@pytest.mark.parametrize(
    ("command", "target", "forgiven"),
    [
        (Command.BOOT, State.BOOTED, True),
        (None, State.TAKING, True),
        (None, State.CONFIGURED, True),
        (Command.LOAD, State.LOADED, False),
        (Command.STOP, State.CONFIGURED, False),
        (Command.SHUTDOWN, State.INITIAL, False),
        (None, State.INITIAL, False),
    ],
)
def test_a_dead_process_gets_another_chance_from_a_command_that_can_boot_it(
    command: Command | None, target: State, forgiven: bool
) -> None:
    memory = memory_of(quorum=Quorum(number=2))
    process = dies(memory, State.CONFIGURING)
    held = GoalMemory(Goal("c2", ("",), (Target("", target, command),), "r", 7, set_up=True), 2.0, 100.0)
    memory.goal = held
    forgive(memory, held)
    assert (process.fault == "") is forgiven


def test_one_that_refused_the_stop_is_told_again_by_the_next() -> None:
    memory = memory_of(State.TAKING, command=Command.STOP)
    fault(memory, 1.0, first(memory), "worker-1 on n001 refused stop", State.STOPPING)
    assert memory.goal is not None
    forgive(memory, memory.goal)
    assert first(memory).fault == ""


def test_a_target_replaces_those_that_it_covers() -> None:
    targets = (Target("", State.TAKING), Target("sf01/n001", State.BOOTED), Target("sf02", State.LOADED))
    assert aim(targets, Target("sf01", State.PAUSED)) == (
        Target("", State.TAKING),
        Target("sf02", State.LOADED),
        Target("sf01", State.PAUSED),
    )
    assert hold(Goal(targets=targets)) == (Target("", None),)


@pytest.mark.parametrize(
    ("was", "target", "down"),
    [
        (State.STOPPING, Target("", State.CONFIGURED), True),
        (State.CONFIGURING, Target("", State.CONFIGURED), False),
        (State.TAKING, Target("", State.TAKING), False),
        (State.UNKNOWN, Target("", State.CONFIGURED), False),
        (State.TAKING, Target("", State.CONFIGURED, Command.STOP), True),
        (State.TAKING, Target("", State.PAUSED, Command.PAUSE), False),
    ],
)
def test_which_way_is_down(was: State, target: Target, down: bool) -> None:
    assert descends(was, target) is down


# ---- one that hangs --------------------------------------------------------------------------------------------------

SILENT = "worker-1 on n001 has been silent for more than 5 s"
ENDED = f"{SILENT}; ended, for it was not heard again within 30 s"


def hangs(memory: Memory) -> ProcessMemory:
    """At 1 s."""
    process = first(memory)
    process.report = ProcessReport(process.path, State.UNKNOWN, "i", Health.ERROR)
    fault(memory, 1.0, process, SILENT, State.TAKING)
    return process


def taking(quorum: Quorum = Quorum(number=2), policy: Policy = Policy.IGNORE) -> Memory:  # noqa: B008
    return memory_of(State.TAKING, quorum, policy, active=False, command=None, target=State.TAKING)


def test_one_that_hangs_while_the_others_do_without_it_is_ended_after_its_time() -> None:
    memory = taking()
    process = hangs(memory)
    assert review(memory, 1.0) == review(memory, 30.9) == []
    assert process.end_at_s == 31.0
    assert review(memory, 31.0) == [Say(Severity.WARNING, process.path, ENDED)]
    assert (process.withdrawn, process.fault, process.membership) == (True, ENDED, Membership.OUT_BY_FAULT)
    assert review(memory, 99.0) == []


@pytest.mark.parametrize("policy", [Policy.IGNORE, Policy.STOP_RUN])
def test_under_any_policy_that_leaves_it_where_it_is(policy: Policy) -> None:
    memory = taking(policy=policy)
    process = hangs(memory)
    review(memory, 1.0)
    review(memory, 31.0)
    assert process.withdrawn


def test_one_that_is_restarted_too_often_and_hangs_is_ended_too() -> None:
    memory = taking(policy=Policy.RESTART)
    first(memory).restarts = (0.1, 0.2, 0.3)
    process = hangs(memory)
    review(memory, 1.0)
    review(memory, 31.0)
    assert process.fault == f"{SILENT}; given up after 3 restarts; ended, for it was not heard again within 30 s"


def test_one_that_is_heard_again_has_all_its_time_again() -> None:
    memory = taking()
    process = hangs(memory)
    review(memory, 1.0)
    process.report = ProcessReport(process.path, State.TAKING, "i", run_number=7)
    heal(memory, 20.0, process)
    assert (review(memory, 20.0), process.end_at_s) == ([], None)
    process.report = ProcessReport(process.path, State.UNKNOWN, "i", Health.ERROR)
    fault(memory, 25.0, process, SILENT, State.TAKING)
    review(memory, 25.0)
    assert process.end_at_s == 55.0


def test_one_without_which_its_role_falls_short_is_left_for_a_person() -> None:
    memory = taking(Quorum(number=3))
    process = hangs(memory)
    review(memory, 1.0)
    assert (process.membership, process.end_at_s) == (Membership.IN, None)


def test_one_whose_role_says_so_is_left_as_it_is() -> None:
    memory = taking()
    process = first(memory)
    process.role = replace(process.role, hung_timeout_s=0.0)
    hangs(memory)
    assert (review(memory, 1.0), process.end_at_s) == ([], None)


def test_one_of_which_its_agent_cannot_tell_is_not_ended_for_that() -> None:
    memory = taking()
    process = hangs(memory)
    memory.links["n001"].keeper_silent = True
    review(memory, 1.0)
    assert process.end_at_s is None
    memory.links["n001"].keeper_silent = False
    memory.links["n001"].enrolled = False
    review(memory, 2.0)
    assert process.end_at_s is None


def test_a_dead_one_is_not_ended() -> None:
    memory = taking()
    process = dies(memory, State.TAKING)
    review(memory, 1.0)
    assert process.end_at_s is None


def test_one_whose_ending_was_in_vain_is_not_ended_again_and_again() -> None:
    memory = taking()
    process = hangs(memory)
    process.unended = "c1"
    review(memory, 1.0)
    assert process.end_at_s is None


# ---- one that others wait for ---------------------------------------------------------------------------------------


def draining(memory: Memory, rank: int = 1, command: Command = Command.STOP) -> None:
    """Another process of the same part of the data flow is at an order."""
    other = list(memory.processes.values())[-1]
    other.role = replace(other.role, name="builder", rank=rank)
    other.in_flight = InFlight(Order("o1", other.path, command, 30.0), 0.0, 30.0)


@pytest.mark.parametrize("quorum", [Quorum(number=2), Quorum(number=3)])
def test_one_that_the_stop_of_others_waits_for_is_ended_at_once_whether_it_is_missed_or_not(quorum: Quorum) -> None:
    memory = taking(quorum)
    process = hangs(memory)
    draining(memory)
    told = f"{SILENT}; ended, for the stop of the others was waiting for it"
    assert review(memory, 1.0) == [Say(Severity.WARNING, process.path, told)]
    assert (process.withdrawn, wanted(memory, process, Goal("c1"))) == (True, Command.SHUTDOWN)


@pytest.mark.parametrize(("rank", "command"), [(0, Command.STOP), (1, Command.PAUSE)])
def test_nobody_waits_for_it_in_its_own_rank_or_in_a_step_without_an_end_of_data(rank: int, command: Command) -> None:
    memory = taking()
    process = hangs(memory)
    draining(memory, rank, command)
    assert (review(memory, 1.0), process.withdrawn) == ([], False)


def test_one_whose_role_says_so_is_left_as_it_is_whoever_waits() -> None:
    memory = taking()
    first(memory).role = replace(first(memory).role, hung_timeout_s=0.0)
    process = hangs(memory)
    draining(memory)
    assert (review(memory, 1.0), process.withdrawn) == ([], False)


def test_who_is_being_ended_is_named_before_those_that_wait_for_it() -> None:
    memory = taking()
    process = hangs(memory)
    draining(memory)
    review(memory, 1.0)
    process.in_flight = InFlight(Order("o2", process.path, Command.SHUTDOWN, 8.0), 1.0, 9.0)
    assert slowest(memory) == process.path
