"""The source of the reference chain: reads an ADF file of crystal events and sends it on in blocks.

It stands for the digitisers: as fast as the chain takes the data, or at a set rate; once, or again and again with
shifted time stamps and event numbers, so that a small file makes a long run.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from grange.core.names import Severity

from .adf import TIMESTAMP_BITS, AdfError, Records, unpack_crystal_frames
from .adf_file import read_blocks
from .errors import ActorError
from .parameters import REQUIRED, WHAT_TO_DO, require_at_least
from .stage import Stage

_LOOP_GAP = 100_000
"""Between two passes over the file, in units of 10 ns (1 ms): no coincidence reaches from one into the next."""

MAX_BACKLOG_S = 0.5
"""How far behind its rate a producer may fall and still catch up."""


class Producer(Stage):
    """Parameters:

    - `file` (required): the ADF file, of data:crystal frames
    - `frames_per_block` (64): how many crystal frames go into a block
    - `rate_hz` (0): crystal frames per second; 0 is as fast as the chain takes them
    - `loops` (1): how many times the file is read; 0 is until stopped
    - `window_blocks`: of no meaning here

    Counts `read`, in crystal frames sent. At the end of the file it goes on taking, with the status "file finished".
    """

    declared: ClassVar[dict[str, Any]] = {
        **Stage.declared,
        "file": REQUIRED,
        "frames_per_block": 64,
        "rate_hz": 0.0,
        "loops": 1,
    }
    counter_names = ("read",)

    def process_config(self) -> None:
        file = self.parameters["file"]
        if not isinstance(file, str):
            raise ActorError(f"file is {file!r}, and must be a text, such as 'crystals.adf'", WHAT_TO_DO)
        require_at_least(self.parameters, {"frames_per_block": 1, "rate_hz": 0, "loops": 0})

    def process_initialise(self) -> None:
        path = Path(self.parameters["file"])
        try:
            first = next(read_blocks(path, 1), None)
            if first is None:
                raise ActorError(f"{path} holds no frames", "Name a file of data:crystal frames")
            unpack_crystal_frames(first, path=str(path))
        except OSError as error:
            raise ActorError(
                f"cannot read {path}: {error.strerror}", "Correct the parameter 'file' of its role"
            ) from error
        except AdfError as error:
            raise ActorError(str(error), "Name a file of data:crystal frames") from error

    def begin(self) -> None:
        self._blocks: Iterator[Records] | None = self._passes()
        self._ended = ""
        self._due_at = time.monotonic()

    def process_pause(self) -> None:
        self.status = f"paused, {self.describe()}"

    def process_resume(self) -> None:
        self._due_at = time.monotonic()

    def idle(self) -> bool:
        """A source gets no blocks: it makes one when it is due."""
        wait_s = self._due_at - time.monotonic()
        if self._blocks is None or wait_s > 0:
            self.idle_s = max(0.0, wait_s) if self._blocks is not None else 1.0
            return False
        try:
            block = next(self._blocks, None)
        except (OSError, AdfError) as error:
            self._blocks, self._ended = None, f"input file unreadable: {error}"
            self.note(
                Severity.ERROR, "corrupt-input", f"reading ends here: {error}", "Replace the file and start a new run"
            )
            return False
        if block is None:
            self._blocks, self._ended = None, "file finished"
            return False
        self.count("read", len(block))
        self.emit(block.tobytes(), len(block))
        rate_hz = self.parameters["rate_hz"]
        if rate_hz > 0:
            # what could not be sent in time is made up for, but not a whole hold-up in one burst
            self._due_at = max(self._due_at, time.monotonic() - MAX_BACKLOG_S) + len(block) / rate_hz
        return True

    def flush(self) -> None:
        self._blocks = None

    def describe(self) -> str:
        return self._ended or f"{self.counters['read']:,} crystal frames read"

    def _passes(self) -> Iterator[Records]:
        """The file's blocks, pass after pass, each pass later than the one before."""
        path, loops = Path(self.parameters["file"]), self.parameters["loops"]
        shift, number_shift, passes = 0, 0, 0
        while loops == 0 or passes < loops:
            first, last, frames = 0, 0, 0
            for view in read_blocks(path, self.parameters["frames_per_block"]):
                block = unpack_crystal_frames(view, path=str(path))
                if not frames:
                    first = int(block["timestamp"].min())
                last = max(last, int(block["timestamp"].max()))
                frames += len(block)
                yield _shifted(block, shift, number_shift) if passes else block
            shift += last - first + _LOOP_GAP
            number_shift += frames
            passes += 1


def _shifted(block: Records, ticks: int, numbers: int) -> Records:
    """A copy with later time stamps and higher event numbers; both wrap round where their fields end."""
    later = block.copy()
    later["timestamp"] = (later["timestamp"] + np.uint64(ticks)) & np.uint64((1 << TIMESTAMP_BITS) - 1)
    later["event_number"] += np.uint32(numbers % (1 << 32))
    return later
