"""The fold: what a parent may say of its children, as laws and as the lines of the design."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grange.core.aggregate import ceiling, claim, fold_state, worst
from grange.core.effects import Order
from grange.core.memory import InFlight, Memory, ProcessMemory
from grange.core.names import Command, Health, Kind, Membership, State
from grange.core.plan import Quorum
from grange.core.quorum import is_well, shortfall
from grange.core.reports import Failure, ProcessReport
from grange.core.revision import document
from grange.core.standing import own_health, own_state
from grange.core.state import STEADY, TABLE
from grange.core.view import own_row
from grange.harness.farms import uniform

STATES = st.lists(st.sampled_from(State), max_size=8)
UNDER_WAY = st.none() | st.sampled_from(Command)


@given(STATES, UNDER_WAY, st.randoms(use_true_random=False))
def test_the_order_of_the_children_does_not_matter(states: list[State], under_way: Command | None, chance) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(states)
    chance.shuffle(shuffled)
    assert fold_state(shuffled, under_way) is fold_state(states, under_way)


@given(STATES, UNDER_WAY)
def test_it_does_not_matter_how_many_children_share_a_state(states: list[State], under_way: Command | None) -> None:
    assert fold_state(states + states, under_way) is fold_state(states, under_way)


@given(STATES.filter(bool), UNDER_WAY)
def test_no_parent_claims_more_than_its_least_advanced_child(states: list[State], under_way: Command | None) -> None:
    assert claim(fold_state(states, under_way)) <= min(map(claim, states))


@given(STATES.filter(bool), UNDER_WAY)
def test_no_child_can_be_above_what_its_parent_admits(states: list[State], under_way: Command | None) -> None:
    assert ceiling(fold_state(states, under_way)) >= max(map(ceiling, states))


@given(STATES.filter(bool), STATES.filter(bool))
def test_a_fold_of_folds_claims_no_more_than_the_fold_of_all(some: list[State], others: list[State]) -> None:
    folded = fold_state([fold_state(some), fold_state(others)])
    assert claim(folded) <= min(map(claim, some + others))


@pytest.mark.parametrize("state", State)
def test_children_that_agree_are_what_they_are(state: State) -> None:
    assert fold_state([state, state]) is state


def test_no_children_are_absent() -> None:
    assert fold_state([]) is State.ABSENT


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.command.value)
def test_children_along_one_transition_show_as_that_transition(row) -> None:  # type: ignore[no-untyped-def]
    assert fold_state([row.via, row.to]) is row.via
    assert fold_state([row.to], row.command) is row.via


@pytest.mark.parametrize(
    ("states", "under_way", "shown"),
    [
        ("initial booting booted", None, State.BOOTING),
        ("initial booted", Command.BOOT, State.BOOTING),
        ("initial booted", None, State.MIXED),
        ("configured starting taking", None, State.STARTING),
        ("configured taking", Command.START, State.STARTING),
        ("configured taking", Command.STOP, State.STOPPING),
        ("taking paused", None, State.MIXED),
        ("booted configured", Command.CONFIGURE, State.MIXED),
        ("taking loading initial", Command.SHUTDOWN, State.SHUTTING_DOWN),
        ("unknown unknown", None, State.UNKNOWN),
        ("unknown taking", Command.START, State.MIXED),
        ("mixed mixed", None, State.MIXED),
    ],
)
def test_children_that_differ_fold_as_the_design_says(states: str, under_way: Command | None, shown: State) -> None:
    assert fold_state([State(word) for word in states.split()], under_way) is shown


def test_a_claim_rises_along_the_ladder_and_nothing_is_claimed_of_what_nobody_knows() -> None:
    claims = [claim(state) for state in STEADY]
    assert claims == sorted(claims)
    assert claim(State.UNKNOWN) == claim(State.MIXED) == claim(State.SHUTTING_DOWN) == 0


@given(st.lists(st.sampled_from(Health)))
def test_health_is_that_of_the_worst(healths: list[Health]) -> None:
    order = [Health.ERROR, Health.DEGRADED, Health.OK]
    assert worst(healths) is next((health for health in order if health in healths), Health.OK)


# ---- through a controller's memory ----------------------------------------------------------------------------------


def memory_of(states: list[State], quorum: Quorum = Quorum()) -> Memory:  # noqa: B008 - a value
    """A sub-farm that has heard all its processes, one for each of `states`."""
    memory = Memory("sf01", "sf01", Kind.SUB_FARM, root=True)
    farm = uniform(1, 1, max(1, len(states)), ("worker",), {"worker": quorum})
    document(memory, "revision", farm.sub_farms[0])
    link = memory.links["n001"]
    link.expected = link.attached = link.enrolled = True
    for process, state in zip(memory.processes.values(), states, strict=False):
        process.report, process.heard_s = ProcessReport(process.path, state, "i", order_id="o"), 0.0
    return memory


def processes(memory: Memory) -> list[ProcessMemory]:
    return list(memory.processes.values())


@given(st.lists(st.sampled_from(State), min_size=2, max_size=6), st.data())
def test_members_that_are_out_change_neither_state_nor_counted_health(states: list[State], data: st.DataObject) -> None:
    memory = memory_of(states)
    out = data.draw(st.sets(st.sampled_from(range(len(states))), max_size=len(states) - 1))
    for index in out:
        processes(memory)[index].membership = Membership.OUT_BY_PERSON
    alone = memory_of([state for index, state in enumerate(states) if index not in out])
    assert own_state(memory) is own_state(alone)
    assert own_health(memory) is own_health(alone)


def test_a_controller_that_has_no_word_of_its_parent_says_unknown() -> None:
    memory = memory_of([State.TAKING])
    memory.root = False
    assert own_state(memory) is State.UNKNOWN


def test_what_a_dead_process_was_ordered_to_do_is_not_claimed() -> None:
    memory = memory_of([State.CONFIGURED, State.INITIAL])
    for process in processes(memory):
        process.in_flight = InFlight(Order("o", process.path, Command.START, 1.0), 0.0, 1.0)
    assert own_state(memory) is State.MIXED
    assert [count.state for count in own_row(memory, 0.0).counts] == [State.STARTING, State.INITIAL]


@pytest.mark.parametrize(
    ("quorum", "ill", "health"),
    [
        (Quorum(), 0, Health.OK),
        (Quorum(), 1, Health.ERROR),
        (Quorum(number=3), 1, Health.DEGRADED),
        (Quorum(number=3), 2, Health.ERROR),
        (Quorum(fraction=0.5), 2, Health.DEGRADED),
        (Quorum(fraction=0.5), 3, Health.ERROR),
        (Quorum(fraction=0.6), 1, Health.DEGRADED),  # 2.4 of 4 are three
        (Quorum(fraction=0.6), 2, Health.ERROR),
    ],
)
def test_health_follows_the_quorum(quorum: Quorum, ill: int, health: Health) -> None:
    memory = memory_of([State.TAKING] * 4, quorum)
    for process in processes(memory)[:ill]:
        process.fault = "it is ill"
    assert own_health(memory) is health


def test_all_means_all_that_no_person_has_taken_out() -> None:
    memory = memory_of([State.TAKING] * 4)
    processes(memory)[0].membership = Membership.OUT_BY_PERSON
    assert own_health(memory) is Health.OK
    processes(memory)[1].membership = Membership.OUT_BY_FAULT
    short = shortfall(memory, processes(memory)[0].role)
    assert short is not None
    assert str(short) == "role worker: 2 well, 3 needed"
    assert short.missing == (processes(memory)[1],)


def test_a_number_asks_for_no_more_than_there_are() -> None:
    assert [Quorum(number=5).needed(count) for count in (0, 3, 9)] == [0, 3, 5]


def test_a_fraction_counts_against_the_revision_whoever_is_out() -> None:
    assert Quorum(fraction=0.5).needed(5, out_by_person=3) == 3


def test_a_process_that_cannot_be_heard_is_not_well_but_no_fault_yet() -> None:
    memory = memory_of([State.TAKING] * 2)
    memory.links["n001"].enrolled = False
    assert not any(is_well(memory, process) for process in processes(memory))
    assert own_health(memory) is Health.DEGRADED


def test_an_error_does_not_make_anybody_forget_the_state() -> None:
    memory = memory_of([State.TAKING] * 2)
    process = processes(memory)[0]
    process.report = ProcessReport(process.path, State.TAKING, "i", Health.ERROR, failure=Failure("x", "it hurts"))
    assert (own_state(memory), own_health(memory)) == (State.TAKING, Health.DEGRADED)


@given(st.permutations(range(4)))
def test_counts_do_not_depend_on_the_order_in_which_reports_came(order: list[int]) -> None:
    states = [State.TAKING, State.TAKING, State.PAUSED, State.INITIAL]
    memory = memory_of([states[index] for index in order])
    found = {(count.state, count.processes) for count in own_row(memory, 0.0).counts}
    assert found == {(State.TAKING, 2), (State.PAUSED, 1), (State.INITIAL, 1)}


def test_every_pair_of_states_folds_to_something_that_neither_contradicts() -> None:
    for one, other in itertools.product(State, State):
        shown = fold_state([one, other])
        assert claim(shown) <= min(claim(one), claim(other))
        assert ceiling(shown) >= max(ceiling(one), ceiling(other))
