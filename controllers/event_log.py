"""The event log: what a controller was told and what it wished, so that any of its decisions can be replayed.

The log is a few files of lines of JSON, the oldest dropped: it is bounded in bytes. Each segment opens with a snapshot
of the controller's memory; then comes a line for each event, with the monotonic time at which it was taken in and a
digest of the effects. `event_replay.py` feeds a segment to a fresh controller and compares: a difference means that
core depends on something that is not an event. A command comes with the whole configuration that is selected, which
would be most of the log: a segment has it once, and says of further commands that theirs is the same.

Writing is off the path of a command: events and effects are immutable, so they are encoded when nothing has happened
for a moment, or some moments later at the latest. A crash loses those moments, never anything that matters: what must
not be lost is in the outbox.
"""

import asyncio
import contextlib
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from grange.core.effects import Effect
from grange.core.events import CommandGiven, Event
from grange.core.memory import Memory
from grange.core.plan import FarmSpec

SEGMENT_BYTES = 4_000_000
SEGMENTS_KEPT = 4
QUIET_S = 0.1  # without an event, before what waits is written
LATEST_S = 2.0  # that anything waits while there is no quiet
RETRY_S = 10.0  # between attempts while the disk refuses
FORMAT = 3

log = logging.getLogger(__name__)


def _plain(value: Any) -> Any:
    """What JSON can say of a value that it does not know: of a dataclass its fields, by name."""
    if (fields := getattr(type(value), "__dataclass_fields__", None)) is not None:
        return {name: getattr(value, name) for name in fields}
    raise TypeError(f"{type(value).__name__} is none of the plain values that events and memories are made of")


# By hand, for what the checks of a library for such values take to load is a fifth of a controller's start.
_json = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


class EventLog:
    """Writes segments `events-000001.jsonl`… into a directory; used from one event loop."""

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES, kept: int = SEGMENTS_KEPT) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._segment_bytes, self._kept = segment_bytes, kept
        numbers = [int(path.stem.split("-")[1]) for path in directory.glob("events-*.jsonl")]
        self._number = max(numbers, default=0)
        self._file: IO[str] | None = None
        self._written = 0
        self._selected: FarmSpec | None = None  # as this segment has it last
        self._waiting: list[tuple[float, Event, Sequence[Effect]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._retry_at_s: float | None = None  # after a failure: when a new segment is tried

    def open_segment(self, memory: Memory) -> None:
        """Begins a segment with a snapshot; what is noted from now on happens to that memory."""
        self.flush()
        if self._file is not None:
            self._file.close()
        self._number += 1
        self._file = open(self._directory / f"events-{self._number:06}.jsonl", "w", encoding="utf-8")  # noqa: SIM115
        self._written = self._file.write(_json({"format": FORMAT, "memory": memory}) + "\n")
        self._selected = None
        self._file.flush()
        for old in sorted(self._directory.glob("events-*.jsonl"))[: -self._kept]:
            old.unlink(missing_ok=True)

    def note(self, now: float, event: Event, effects: Sequence[Effect], memory: Memory) -> None:
        """Notes what was just taken in; `memory` is as it is afterwards, for the next segment's snapshot."""
        if self._file is None:
            if self._retry_at_s is not None and now >= self._retry_at_s:
                self._begin_again(now, memory)
            return
        self._waiting.append((now, event, tuple(effects)))
        if self._written > self._segment_bytes:
            self._begin_again(now, memory)
        elif self._timer is None:
            self._look_again(0, 0)

    def _begin_again(self, now: float, memory: Memory) -> None:
        """A new segment; when the disk refuses it, nothing is noted until a later attempt succeeds."""
        try:
            self.open_segment(memory)
            self._retry_at_s = None
        except OSError as error:
            self._give_up(error)
            self._retry_at_s = now + RETRY_S

    def _give_up(self, error: OSError) -> None:
        """What was to be written is lost, and with it the sense of what would follow: the segment ends here."""
        log.error("the event log cannot be written, it goes on in a new segment: %s", error)
        self._waiting.clear()
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        self._file = None
        self._retry_at_s = 0.0

    def _look_again(self, seen: int, looks: int) -> None:
        """Writes when no more waits than `seen` a moment ago, or after so many looks that it is time."""
        if len(self._waiting) == seen or looks * QUIET_S >= LATEST_S:
            self.flush()
        else:
            again = asyncio.get_running_loop().call_later
            self._timer = again(QUIET_S, self._look_again, len(self._waiting), looks + 1)

    def flush(self) -> None:
        """Writes what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if self._file is None or not waiting:
            return
        lines = []
        for now, event, effects in waiting:
            line = {"at": now, "event": type(event).__name__, "effects": digest(effects)}
            lines.append(_json(line | self._value(event)))
        try:
            self._written += self._file.write("\n".join(lines) + "\n")
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _value(self, event: Event) -> dict[str, Any]:
        """The event, without the configuration if that is the same as before in this segment."""
        if not isinstance(event, CommandGiven) or event.selected is None:
            return {"value": event}
        if event.selected is self._selected:
            return {"value": replace(event, selected=None), "same_selected": True}
        self._selected = event.selected
        return {"value": event}

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None


def digest(effects: Sequence[Effect]) -> str:
    """A short fingerprint of effects, and what they are."""
    names = ",".join(type(effect).__name__ for effect in effects)
    return f"{zlib.crc32(repr(list(effects)).encode()):08x} {names}"
