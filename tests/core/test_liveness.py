"""Silence, and the waits between attempts."""

from grange.core.liveness import Backoff, Liveness


def test_nobody_is_watched_before_the_first_word() -> None:
    liveness = Liveness(5.0)
    assert liveness.due_s is None
    assert not liveness.is_silent(1000.0)
    assert liveness.silent_for(1000.0) == 0.0


def test_silence_counts_from_the_last_word() -> None:
    liveness = Liveness(5.0)
    liveness.heard(10.0)
    liveness.heard(12.0)
    assert liveness.due_s == 17.0
    assert not liveness.is_silent(16.9)
    assert liveness.is_silent(17.0)
    assert liveness.silent_for(18.5) == 6.5


def test_a_timeout_of_zero_switches_it_off() -> None:
    liveness = Liveness(0.0)
    liveness.heard(10.0)
    assert liveness.due_s is None
    assert not liveness.is_silent(1e9)


def test_who_is_forgotten_is_not_watched_until_the_next_word() -> None:
    liveness = Liveness(5.0)
    liveness.heard(10.0)
    liveness.forget()
    assert not liveness.is_silent(100.0)


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 0.5)
    assert [backoff.failed() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    backoff.succeeded()
    assert backoff.failed() == 0.1
