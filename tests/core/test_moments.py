"""Moments are written alike by every program, and so that they can be read back."""

from datetime import datetime

import pytest

from grange.core.moments import stamp

HOUR_S = 3600


@pytest.mark.parametrize(
    ("offset_s", "text"),
    [
        (0, "2026-11-22 16:52:45.123+00:00"),
        (HOUR_S, "2026-11-22 17:52:45.123+01:00"),
        (-int(3.5 * HOUR_S), "2026-11-22 13:22:45.123-03:30"),
    ],
)
def test_a_moment_is_written_in_local_time_with_its_distance_from_utc(offset_s: int, text: str) -> None:
    assert stamp(1795366365.123, offset_s) == text
    assert datetime.fromisoformat(text).timestamp() == 1795366365.123


def test_where_milliseconds_say_nothing_they_are_left_out() -> None:
    assert stamp(1795366365.999, HOUR_S, milliseconds=False) == "2026-11-22 17:52:45+01:00"


def test_the_hour_that_comes_twice_when_the_clocks_are_put_back_can_be_told_apart() -> None:
    summer, winter = stamp(1792890000.0, 2 * HOUR_S), stamp(1792893600.0, HOUR_S)
    assert (summer, winter) == ("2026-10-25 03:00:00.000+02:00", "2026-10-25 03:00:00.000+01:00")
