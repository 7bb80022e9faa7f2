"""How a moment is written, in logs and on the screen: `2026-11-22 17:52:45.123+01:00`, one form everywhere.

Local time, because that is what the clock on the wall shows, with its distance from UTC, because a log is read on
another day, on another machine, or an hour after the clocks were put back. It sorts as text, and `date -d`, Python's
`datetime.fromisoformat` and every database read it (RFC 3339). What the local time is knows the caller.
"""

from datetime import datetime, timedelta, timezone


def stamp(unix_s: float, utc_offset_s: int, *, milliseconds: bool = True) -> str:
    """A moment in the time zone that is `utc_offset_s` seconds ahead of UTC."""
    zone = timezone(timedelta(seconds=utc_offset_s))
    return datetime.fromtimestamp(unix_s, zone).isoformat(" ", "milliseconds" if milliseconds else "seconds")
