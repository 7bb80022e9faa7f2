"""Lengths of time, as they are typed and as they are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grange.core.durations import LONGEST_S, duration_words, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("0.5s", 0.5),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        (" 1H 30 M ", 5400),
        ("2d", 172_800),
        ("1d2h3m4s", 93_784),
    ],
)
def test_a_length_of_time_is_a_number_with_a_unit_or_several_from_large_to_small(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "ten minutes", "-10m", "30s1h", "1h1h", "10 parsecs", "1m2min"])
def test_what_is_not_one_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 90s, 10m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "367d", "9999999999h"])
def test_neither_nothing_nor_more_than_a_year_is_a_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not longer than nothing and at most a year"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0001, "0 s"),
        (0.0213, "0.021 s"),
        (0.25, "0.25 s"),
        (1, "1 s"),
        (9.94, "9.9 s"),
        (12.3, "12 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (600, "10 min"),
        (3600, "1 h"),
        (18_720, "5 h 12 min"),
        (273_700, "3 d 4 h"),
        (8.64e6, "100 d"),
        (float("inf"), "inf s"),
    ],
)
def test_in_words_it_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration_words(seconds) == text


@given(st.integers(10, int(LONGEST_S)))
def test_its_words_are_understood_and_mean_the_same_but_for_what_two_units_cannot_say(seconds: int) -> None:
    meant = parse_duration(duration_words(seconds))
    assert 0 <= seconds - meant < (3600 if seconds >= 86_400 else 60 if seconds >= 3600 else 1)
