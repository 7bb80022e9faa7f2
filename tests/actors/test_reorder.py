"""Blocks from several workers: put back into order, freed of duplicates, and not waited for for ever."""

from hypothesis import given
from hypothesis import strategies as st

from grange.actors.exchange import Block
from grange.actors.reorder import Reorder


def push(reorder: Reorder, *numbers: int, origin: int = 1) -> list[int]:
    return [block.number for number in numbers for block in reorder.push(Block(origin, number, frames=1, data=b""))]


def test_blocks_come_out_in_the_order_of_their_numbers():
    assert push(Reorder(), 2, 3, 1, 5, 4) == [1, 2, 3, 4, 5]


def test_a_block_that_came_before_is_a_duplicate():
    reorder = Reorder()
    assert push(reorder, 1, 3, 1, 3, 2) == [1, 2, 3]
    assert reorder.duplicates == 2


def test_each_origin_counts_for_itself():
    reorder = Reorder()
    assert push(reorder, 1, origin=1) == [1]
    assert push(reorder, 1, origin=2) == [1]
    assert reorder.duplicates == 0


def test_a_missing_block_is_passed_over_when_too_many_wait_and_given_out_when_it_comes_after_all():
    reorder = Reorder(max_held=2)
    assert push(reorder, 2, 3) == []
    assert push(reorder, 4) == [2, 3, 4]
    assert reorder.passed_over == 1
    assert push(reorder, 1) == [1]
    assert push(reorder, 1) == []


def test_at_the_end_all_that_waits_comes_out():
    reorder = Reorder()
    assert push(reorder, 3, 5) == []
    assert [block.number for block in reorder.flush()] == [3, 5]


@given(st.permutations(range(1, 30)), st.integers(0, 30))
def test_every_block_comes_out_exactly_once(numbers, max_held):
    reorder = Reorder(max_held)
    out = push(reorder, *numbers, *numbers) + [block.number for block in reorder.flush()]
    assert sorted(out) == list(range(1, 30))
    assert reorder.duplicates == 29
