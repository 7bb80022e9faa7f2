"""When a probe is due, and what its failures add up to. Times are made up, in seconds."""

from grange.core.probing import Prober


def running(now: float = 0.0) -> Prober:
    prober = Prober()
    prober.begin(now, interval_s=1.0, timeout_s=5.0)
    assert prober.start_due(now)
    return prober


def test_an_idle_prober_wants_nothing() -> None:
    assert Prober().alarm_s is None
    assert not Prober().start_due(1e9)


def test_there_is_one_probe_at_a_time() -> None:
    prober = running()
    assert not prober.start_due(100.0)
    assert prober.alarm_s == 5.0


def test_the_next_one_is_due_an_interval_after_the_start_of_the_last() -> None:
    prober = running()
    prober.ended(0.3, "")
    assert prober.alarm_s == 1.0
    assert not prober.start_due(0.9)
    assert prober.start_due(1.0)


def test_after_one_that_took_longer_than_the_interval_the_next_is_due_at_once() -> None:
    prober = running()
    prober.ended(3.0, "exited with code 1")
    assert prober.start_due(3.0)


def test_failures_in_a_row_are_counted_and_a_success_forgets_them() -> None:
    prober = running()
    for now in (1.0, 2.0, 3.0):
        prober.ended(now, "exited with code 1")
        prober.start_due(now + 1.0)
    assert (prober.misses, prober.said) == (3, "exited with code 1")
    prober.ended(5.0, "")
    assert (prober.misses, prober.said) == (0, "")


def test_one_that_takes_too_long_is_ended_once_and_has_failed_whatever_it_says() -> None:
    prober = running()
    assert not prober.end_due(4.9)
    assert prober.end_due(5.0)
    assert not prober.end_due(6.0)
    assert prober.alarm_s is None
    prober.ended(5.1, "")
    assert (prober.misses, prober.said) == (1, "took longer than 5 s")


def test_to_cease_says_whether_one_has_to_be_ended() -> None:
    prober = running()
    assert prober.cease()
    assert not prober.cease()
    assert not prober.ended(1.0, "was killed by SIGKILL")
    assert prober.alarm_s is None
    overdue = running()
    overdue.end_due(5.0)
    assert overdue.cease()
