"""The trigger's logic: groups, conditions, and the rule for what comes too late."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grange.actors.coincidence import LIGHT, Coincidence, Conditions, Decision, group_starts

ONE = "producer-1"


def records(*rows: tuple[int, int, float]) -> np.ndarray:
    """Light records from (time stamp, crystal, energy); the handle counts from 0."""
    light = np.zeros(len(rows), LIGHT)
    for index, (timestamp, crystal, energy_kev) in enumerate(rows):
        light[index] = (timestamp, crystal, energy_kev, index)
    return light


def decide(conditions: Conditions, *rows: tuple[int, int, float], disorder: int = 1000) -> tuple[list[int], ...]:
    """Accepted, rejected and late handles when all is pushed at once and flushed."""
    coincidence = Coincidence(conditions, disorder, [ONE])
    return together(coincidence.push(ONE, records(*rows)), coincidence.flush())


def together(*decisions: Decision) -> tuple[list[int], ...]:
    return tuple(
        [int(handle) for decision in decisions for handle in getattr(decision, name)]
        for name in ("accepted", "rejected", "late")
    )


def test_a_group_holds_all_within_the_window_of_its_first_member():
    times = np.array([0, 10, 20, 21, 30, 41, 42], np.int64)
    assert group_starts(times, 20).tolist() == [0, 3, 6]


def test_multiplicity_counts_different_crystals_above_the_threshold():
    conditions = Conditions(window=5, min_multiplicity=2, crystal_threshold_kev=50)
    accepted, rejected, _ = decide(
        conditions,
        *((0, 1, 100.0), (1, 2, 100.0)),  # two crystals
        *((100, 1, 100.0), (101, 1, 100.0)),  # one crystal twice
        *((200, 1, 100.0), (201, 2, 20.0)),  # the second one too weak
    )
    assert (accepted, rejected) == ([0, 1], [2, 3, 4, 5])


def test_the_upper_multiplicity_and_the_sum_energy_limit_a_group():
    rows = [(0, 1, 100.0), (100, 1, 500.0), (200, 1, 900.0), (300, 1, 300.0), (301, 2, 300.0)]
    assert decide(Conditions(min_sum_kev=200, max_sum_kev=700), *rows)[0] == [1, 3, 4]
    assert decide(Conditions(max_multiplicity=1), *rows)[0] == [0, 1, 2]


def test_prescales_keep_every_nth_group_counting_over_batches():
    coincidence = Coincidence(Conditions(window=1, prescale=3), 0, [ONE])
    light = records(*((10 * index, 1, 100.0) for index in range(9)))
    parts = [coincidence.push(ONE, light[first : first + 2]) for first in range(0, 9, 2)]
    assert together(*parts, coincidence.flush())[0] == [0, 3, 6]


def test_singles_below_the_multiplicity_can_be_kept_by_a_prescale_of_their_own():
    rows = [(100 * index, 1, 100.0) for index in range(4)]
    assert decide(Conditions(min_multiplicity=2), *rows)[0] == []
    assert decide(Conditions(min_multiplicity=2, singles_prescale=2), *rows)[0] == [0, 2]


def test_what_is_older_than_the_watermark_when_it_arrives_is_late():
    rows = [(1000, 1, 1.0), (901, 1, 1.0), (899, 1, 1.0), (900, 1, 1.0)]
    assert decide(Conditions(), *rows, disorder=100) == ([3, 1, 0], [], [2])


def test_a_group_is_decided_once_the_watermark_has_passed_its_window():
    coincidence = Coincidence(Conditions(window=20), 100, [ONE])
    assert together(coincidence.push(ONE, records((0, 1, 1.0), (120, 1, 1.0)))) == ([], [], [])
    assert together(coincidence.push(ONE, records((121, 2, 1.0)))) == ([0], [], [])


def test_the_source_furthest_behind_holds_the_watermark_until_it_ends():
    coincidence = Coincidence(Conditions(window=5), 0, [ONE, "producer-2"])
    assert together(coincidence.push(ONE, records((100, 1, 1.0), (200, 1, 1.0)))) == ([], [], [])
    assert together(coincidence.push("producer-2", records((150, 2, 1.0)))) == ([0], [], [])
    assert together(coincidence.ended("producer-2")) == ([0], [], [])
    assert coincidence.watermark == 200


def test_a_silent_source_is_not_waited_for_beyond_what_may_be_held():
    coincidence = Coincidence(Conditions(window=0), 0, [ONE, "producer-2"], max_held=10)
    light = records(*((10 * index, 1, 1.0) for index in range(1, 13)))
    accepted, _, _ = together(coincidence.push(ONE, light))
    assert accepted == [0, 1, 2, 3, 4, 5]
    assert together(coincidence.push("producer-2", records((20, 1, 1.0))))[2] == [0]


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3), st.floats(0, 100, width=32)), max_size=60),
    st.integers(1, 60),
    st.integers(0, 100),
)
def test_every_record_is_decided_once_whatever_the_batches(rows, batch, disorder):
    conditions = Conditions(window=7, min_multiplicity=2, prescale=2, singles_prescale=3)
    light = records(*rows)
    whole = decide(conditions, *rows, disorder=disorder)
    coincidence = Coincidence(conditions, disorder, [ONE])
    parts = [coincidence.push(ONE, light[first : first + batch]) for first in range(0, len(light), batch)]
    assert together(*parts, coincidence.flush()) == whole
    assert sorted(itertools.chain(*whole)) == list(range(len(rows)))


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        (Conditions(window=-1), "window is -1"),
        (Conditions(prescale=0), "prescale is 0"),
        (Conditions(min_multiplicity=3, max_multiplicity=2), "max_multiplicity 2 is below"),
        (Conditions(min_sum_kev=3.0, max_sum_kev=2.0), "max_sum_kev 2.0 is below"),
    ],
)
def test_conditions_that_cannot_be_are_named(conditions, says):
    (problem,) = conditions.problems()
    assert says in problem
