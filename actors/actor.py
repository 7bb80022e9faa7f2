"""What a physicist fills in: one class, whose methods are called one to one like those of a Narval/AGATA actor.

    order        method                                    Narval/AGATA
    load         process_config                            process_config
    configure    process_register, process_initialise      process_register, process_initialise
    start        process_start                             process_start
    (data)       process_block, again and again            process_block
    pause        process_pause                             process_pause
    resume       process_resume                            process_resume
    stop         process_stop                              process_stop
    unconfigure  process_reset                             process_reset
    unload       process_unload                            process_unload

All of them are called on the process's main thread, one at a time, and all may be left out. A method that raises fails
its order with the reason, and the actor stays in the state it was in. Everything else (the link to the agent, the state
machine, heartbeats, signals) is `driver.py`'s work; this class can be made and called in a test without any of it.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from grange.core.names import Severity
from grange.core.plan import DataLink

from .parameters import settle
from .surroundings import Surroundings
from .waiting import HasFileno

MAX_BLOCK_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """An output file as it is reported at stop; `sha256` in hexadecimal."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Note:
    """A message for people; `code` is short and stable ("late-data")."""

    severity: Severity
    code: str
    text: str
    what_to_do: str


class Actor:
    """The base of every Python actor; a subclass overrides the `process_…` methods that concern it.

    `declared` lists the parameters with their defaults (`REQUIRED` for none); None accepts any. `hang_after_s` is how
    long `process_block` may take before the process counts as hung (heartbeats cease, and the agent draws its
    conclusion `heartbeat_timeout_s` later).
    """

    declared: ClassVar[Mapping[str, Any] | None] = None
    hang_after_s: ClassVar[float] = 3.0

    def __init__(self, surroundings: Surroundings | None = None) -> None:
        self.surroundings = surroundings or Surroundings()
        self.member = self.surroundings.member
        self.log = logging.getLogger(self.member)
        self.parameters: dict[str, Any] = {}
        self.inputs: tuple[DataLink, ...] = ()
        self.outputs: tuple[DataLink, ...] = ()
        self.run_number = 0
        self.status = ""  # one short sentence for people, shown beside the state
        self.counters: dict[str, int] = {}  # reset at start, reported every second and with each answer
        self.idle_s = MAX_BLOCK_WAIT_S  # the longest wait before process_block is called again after it gave False
        self.wake_on: list[HasFileno] = []  # readable: the wait ends early
        self.files: list[FinishedFile] = []
        self.undrained_reason = ""
        self.order_deadline: float | None = None
        self.post_note: Callable[[Note], None] = self._log_note

    def process_config(self) -> None:
        """Load: `self.parameters` are there; read calibrations and the like."""

    def process_register(self) -> None:
        """Configure, first part: `self.inputs` and `self.outputs` are there."""

    def process_initialise(self) -> None:
        """Configure, second part: make everything ready, so that start is quick."""

    def process_start(self) -> None:
        """Start of `self.run_number`: counters are empty, the readers of this actor's output are taking already."""

    def process_block(self) -> bool | None:
        """Handle one block of data and come back soon; False says that there was nothing to do.

        Called again and again while taking; while paused too, unless the actor has no inputs: a source rests, the
        others drain what is under way. What it raises ends the process: a data path that fails must not look well.
        """
        return False

    def process_pause(self) -> None:
        """Pause: a source is not asked for blocks until resumed."""

    def process_resume(self) -> None:
        """Resume."""

    def process_stop(self) -> None:
        """Stop: drain within `remaining_s()`, close and `add_file` the output; `undrained(why)` if data were left."""

    def process_reset(self) -> None:
        """Unconfigure: undo process_initialise and process_register."""

    def process_unload(self) -> None:
        """Unload: undo process_config."""

    def turn(self) -> None:
        """Called on each turn of the main loop in every state, at least every 0.2 s: keep connections alive."""

    def close(self) -> None:
        """Called once when the process ends, in whatever state: close files, unlink sockets. Must be quick."""

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] = self.counters.get(name, 0) + number

    def note(self, severity: Severity, code: str, text: str, what_to_do: str = "") -> None:
        """Tell people something; kept until the agent has it."""
        self.post_note(Note(severity, code, text, what_to_do))

    def add_file(self, path: str | Path, sha256: str = "") -> FinishedFile:
        """Report a finished output file with the answer to stop; without `sha256` (hexadecimal) it is read for it."""
        with open(path, "rb") as file:
            digest = sha256 or hashlib.file_digest(file, "sha256").hexdigest()
            finished = FinishedFile(str(path), os.fstat(file.fileno()).st_size, digest)
        self.files.append(finished)
        return finished

    def undrained(self, reason: str) -> None:
        """In process_stop: the stop succeeds, but not all data arrived; `undrained` counts 1, and people see why."""
        self.counters["undrained"] = 1
        self.undrained_reason = reason
        self.note(Severity.WARNING, "undrained", reason, "See which process fell silent, and why, before the next run")

    def remaining_s(self) -> float:
        """Seconds left to the order being carried out; never below 0, and 0 when there is none."""
        return 0.0 if self.order_deadline is None else max(0.0, self.order_deadline - time.monotonic())

    def take_parameters(self, given: Mapping[str, Any]) -> None:
        """Check what the configuration gives against `declared`; `ActorError` names every problem."""
        self.parameters = dict(given) if self.declared is None else settle(self.declared, given)

    def _log_note(self, note: Note) -> None:
        self.log.log(getattr(logging, note.severity.name), "%s: %s", note.code, note.text)
