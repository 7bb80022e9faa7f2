"""Lengths of time as people type and read them: `90s`, `10m`, `1h30m`, and `1 min 30 s`, `10 min`, `1 h 30 min`.

A number alone is refused, for nobody can tell whether it means seconds or minutes.
"""

import re
from math import isfinite

LONGEST_S = 366 * 86_400.0  # a year: what is longer was mistyped

_UNITS_S = {"d": 86_400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*")
_WORDS = (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))
_DIGITS_BELOW_S = 10.0
_DIGITS = 2


def parse_duration(text: str) -> float:
    """Seconds. Raises `ValueError`, which says what is accepted, for anything but a positive length up to a year."""
    rest, seconds, smallest_s = text.strip().lower(), 0.0, LONGEST_S
    while rest:
        part = _PART.match(rest)
        if part is None or _UNITS_S[part[2]] >= smallest_s:  # each unit once, the larger ones first
            raise ValueError(f"{text!r} is no length of time; write it as 90s, 10m or 1h30m")
        smallest_s = _UNITS_S[part[2]]
        seconds += float(part[1]) * smallest_s
        rest = rest[part.end() :]
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"{text!r} is not longer than nothing and at most a year; write it as 90s, 10m or 1h30m")
    return seconds


def duration_words(seconds: float) -> str:
    """Two digits, or two units at most, the second only if there is any of it: 0.25 s, 12 s, 3 min 20 s, 5 h 12 min."""
    if seconds < _DIGITS_BELOW_S or not isfinite(seconds):
        return f"{round(seconds, 3):.{_DIGITS}g} s"
    whole = round(seconds)
    for unit, size, smaller_unit, smaller in _WORDS:
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def length_fault(seconds: float) -> str:
    """Why this is no length of time that can be given; empty when it can. Zero can: it has a meaning of its own."""
    return "" if 0 <= seconds <= LONGEST_S else f"{duration_words(seconds)} is not between nothing and a year"
