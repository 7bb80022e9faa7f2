"""Who was replaced commands nobody."""

from grange.core.fencing import Fence, Guard, Verdict


def test_the_first_who_commands_is_remembered() -> None:
    guard = Guard()
    assert guard.judge(Fence((1, 1), 1)) is Verdict.RISEN
    assert guard.seen == Fence((1, 1), 1)


def test_incarnations_are_compared_in_order_the_farms_first() -> None:
    guard = Guard(Fence((2, 5), 100))
    assert guard.judge(Fence((3, 1), 1)) is Verdict.RISEN
    assert guard.judge(Fence((2, 9), 999)) is Verdict.FENCED


def test_a_refusal_changes_nothing() -> None:
    guard = Guard(Fence((2, 5), 100))
    assert guard.judge(Fence((2, 4), 200)) is Verdict.FENCED
    assert guard.judge(Fence((1,), 200)) is Verdict.FENCED
    assert guard.seen == Fence((2, 5), 100)


def test_within_one_incarnation_a_lower_sequence_is_a_late_duplicate() -> None:
    guard = Guard(Fence((1, 1), 7))
    assert guard.judge(Fence((1, 1), 6)) is Verdict.STALE
    assert guard.judge(Fence((1, 1), 7)) is Verdict.CURRENT
    assert guard.judge(Fence((1, 1), 8)) is Verdict.CURRENT


def test_a_new_incarnation_begins_its_sequence_anew() -> None:
    guard = Guard(Fence((1, 1), 700))
    assert guard.judge(Fence((1, 2), 1)) is Verdict.RISEN
    assert guard.judge(Fence((1, 2), 2)) is Verdict.CURRENT


def test_a_new_parent_numbers_its_commands_from_one_and_the_same_one_goes_on() -> None:
    guard = Guard(Fence((1, 1), 700))
    assert guard.judge_welcome((1, 1)) is Verdict.CURRENT
    assert guard.judge(Fence((1, 1), 699)) is Verdict.STALE
    assert guard.judge_welcome((1, 0)) is Verdict.FENCED
    assert guard.judge_welcome((1, 2)) is Verdict.RISEN
    assert guard.judge(Fence((1, 2), 1)) is Verdict.CURRENT
