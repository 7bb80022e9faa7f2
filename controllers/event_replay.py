"""Replaying an event log: the same events through a fresh controller must have the same effects.

A module of its own because it checks what it reads with pydantic, which no running controller needs for its log.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from grange.core import events
from grange.core.controller import Controller
from grange.core.memory import Memory

from .event_log import FORMAT, digest

_TYPES = {
    cls.__name__: TypeAdapter(cls)
    for cls in vars(events).values()
    if isinstance(cls, type) and cls.__module__ == events.__name__
}
_MEMORY = TypeAdapter(Memory)


@dataclass(frozen=True, slots=True)
class Difference:
    """An event whose replay gave other effects than it did then."""

    segment: str
    line: int
    event: str
    then: str
    now: str


def replay(directory: Path) -> tuple[int, list[Difference]]:
    """Replays every segment in `directory`: how many events there were, and where the effects differed."""
    total, differences = 0, list[Difference]()
    for segment in sorted(directory.glob("events-*.jsonl")):
        with open(segment, encoding="utf-8") as lines:
            first = json.loads(next(lines))
            if first["format"] != FORMAT:
                raise ValueError(f"{segment}: format {first['format']}, this program reads {FORMAT}")
            controller = Controller(_MEMORY.validate_python(first["memory"]))
            for number, now, event, then in _events(lines):
                total += 1
                effects = digest(controller.step(now, event))
                if effects != then:
                    differences.append(Difference(segment.name, number, type(event).__name__, then, effects))
    return total, differences


def _events(lines: Iterator[str]) -> Iterator[tuple[int, float, Any, str]]:
    selected = None
    for number, line in enumerate(lines, start=2):
        try:
            found = json.loads(line)
        except ValueError:
            return  # the last line of a program that was killed
        value = found["value"]
        if "same_selected" in found:
            value["selected"] = selected
        selected = value.get("selected") or selected
        yield number, found["at"], _TYPES[found["event"]].validate_python(value), found["effects"]
