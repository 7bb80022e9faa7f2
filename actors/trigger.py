"""The software trigger of the reference chain: only groups of crystal events that meet its conditions go on to PSA.

Its logic is `coincidence.py`, on light records made from the frames' own energies; here the frames are kept until
their record is decided, and the accepted ones are sent on in the order of time, the bytes unchanged.
"""

from typing import Any, ClassVar

import numpy as np

from grange.core.names import Severity

from .adf import CRYSTAL_FRAME, Records, unpack_crystal_frames
from .coincidence import LIGHT, MAX_HELD, Coincidence, Conditions, Decision, Integers
from .errors import ActorError
from .exchange import Received
from .parameters import WHAT_TO_DO, require_at_least
from .stage import Stage

_ROW_BITS = 32
_CONDITIONS = Conditions()


class Trigger(Stage):
    """Parameters; times in units of 10 ns, energies in keV, 0 is no upper limit:

    - `window` (20): crystal events within this time of the first one belong together
    - `disorder` (1000): how much out of order frames may come; older ones are late and dropped
    - `crystal_threshold_kev` (0): a crystal counts for the multiplicity from this energy on
    - `min_multiplicity` (1), `max_multiplicity` (0): how many different crystals a group must have
    - `min_sum_kev` (0), `max_sum_kev` (0): what their energies must add up to
    - `prescale` (1): of the groups that meet this, every n-th is accepted
    - `singles_prescale` (0): of the groups below min_multiplicity, every n-th is accepted all the same; 0 is none
    - `max_held` (20000): crystal frames that may wait for a decision (8 kB each)
    - `frames_per_block` (64): accepted crystal frames in a block, the unit of work of a PSA process
    - `window_blocks` (4): blocks under way on each input

    Counts `accepted`, `rejected` and `late`, in crystal frames; after a drained stop they add up to what was read.
    """

    declared: ClassVar[dict[str, Any]] = {
        **Stage.declared,
        **{name: getattr(_CONDITIONS, name) for name in Conditions.__dataclass_fields__},
        "disorder": 1000,
        "max_held": MAX_HELD,
        "frames_per_block": 64,
    }
    counter_names = ("accepted", "rejected", "late")

    def process_config(self) -> None:
        self._conditions = Conditions(**{name: self.parameters[name] for name in Conditions.__dataclass_fields__})
        problems = self._conditions.problems()
        if problems:
            raise ActorError("; ".join(problems), WHAT_TO_DO)
        require_at_least(self.parameters, {"disorder": 0, "max_held": 1, "frames_per_block": 1})

    def begin(self) -> None:
        sources = [peer for link in self.inputs for peer in link.peers]
        self._coincidence = Coincidence(
            self._conditions, self.parameters["disorder"], sources, self.parameters["max_held"]
        )
        self._blocks: dict[int, Records] = {}
        self._undecided: dict[int, int] = {}  # rows of a block that wait for a decision
        self._last_block = 0
        self._accepted: list[Records] = []
        self._ended: set[str] = set()

    def handle(self, received: Received) -> None:
        frames = unpack_crystal_frames(received.block.data)
        self._last_block += 1
        self._blocks[self._last_block] = frames
        self._undecided[self._last_block] = len(frames)
        light = np.empty(len(frames), LIGHT)
        light["timestamp"] = frames["timestamp"]
        light["crystal"] = frames["crystal"]
        light["energy_kev"] = frames["core_energy_kev"][:, 0]
        light["handle"] = (self._last_block << _ROW_BITS) + np.arange(len(frames))
        self._carry_out(self._coincidence.push(received.writer, light))

    def idle(self) -> bool:
        """Nothing has come: dead inputs hold nobody back, and what is accepted already goes on."""
        for source in set(self.reader.dead if self.reader is not None else ()) - self._ended:
            self._ended.add(source)
            self._carry_out(self._coincidence.ended(source))
        return self._send(1)

    def flush(self) -> None:
        self._carry_out(self._coincidence.flush())
        self._send(1)

    def describe(self) -> str:
        return f"{self.counters['accepted']:,} crystal frames accepted, {self.counters['rejected']:,} rejected"

    def _carry_out(self, decision: Decision) -> None:
        self.count("accepted", len(decision.accepted))
        self.count("rejected", len(decision.rejected))
        if len(decision.late) and not self.counters["late"]:
            self.note(
                Severity.WARNING,
                "late-data",
                f"crystal frames come more than {self.parameters['disorder']} x 10 ns out of order: dropped as late",
                "Find the source that lags, or raise the trigger's parameter disorder",
            )
        self.count("late", len(decision.late))
        if len(decision.accepted):
            self._accepted.append(self._frames(decision.accepted))
        for handles in (decision.accepted, decision.rejected, decision.late):
            self._release(handles)
        self._send(self.parameters["frames_per_block"])

    def _frames(self, handles: Integers) -> Records:
        """The frames of these handles, in their order."""
        frames = np.empty(len(handles), CRYSTAL_FRAME)
        numbers, rows = handles >> _ROW_BITS, handles & ((1 << _ROW_BITS) - 1)
        for number in np.unique(numbers):
            mine = numbers == number
            frames[mine] = self._blocks[int(number)][rows[mine]]
        return frames

    def _release(self, handles: Integers) -> None:
        """Forget the blocks of which every frame is decided."""
        for number, decided in zip(*np.unique(handles >> _ROW_BITS, return_counts=True), strict=True):
            self._undecided[int(number)] -= int(decided)
            if not self._undecided[int(number)]:
                del self._undecided[int(number)], self._blocks[int(number)]

    def _send(self, at_least: int) -> bool:
        """Send accepted frames in blocks while there are `at_least` so many; True if any went."""
        size = self.parameters["frames_per_block"]
        if sum(map(len, self._accepted)) < at_least:
            return False
        frames = np.concatenate(self._accepted)
        first = 0
        while len(frames) - first >= at_least and first < len(frames):
            block = frames[first : first + size]
            self.emit(block.tobytes(), len(block))
            first += len(block)
        self._accepted = [frames[first:]] if first < len(frames) else []
        return True
