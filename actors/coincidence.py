"""Which crystal events belong together, and which groups are worth analysing: the trigger's logic, without I/O.

It works on light records (time stamp, crystal, estimated energy; units of 10 ns and keV) and says of each one what
becomes of it. A *group* begins with the earliest record that is in no group yet and holds all within `window` of it.

**Late data.** Records may be out of order by up to `disorder`. The *watermark* is the latest time stamp so far (of the
source that is furthest behind, where there are several) less `disorder`. A record older than the watermark when it
arrives is late: it is dropped and counted, never put into a group. A group is decided once the watermark has passed
its window, so nothing that comes later can belong to it. For one source the outcome does not depend on how the records
are cut into batches. If more than `max_held` records wait (a source has fallen silent), the watermark moves
up to the middle one of them, and what the silent source still sends from before is late.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .adf import Records

Integers = npt.NDArray[np.int64]

LIGHT = np.dtype([("timestamp", "<i8"), ("crystal", "<i4"), ("energy_kev", "<f4"), ("handle", "<i8")])
"""A light record; `handle` is the caller's, to find the event again."""

MAX_HELD = 20_000


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a group must be like to be accepted; times in units of 10 ns, energies in keV, 0 is no upper limit."""

    window: int = 20
    crystal_threshold_kev: float = 0.0  # a crystal counts for the multiplicity from this energy on
    min_multiplicity: int = 1  # different crystals
    max_multiplicity: int = 0
    min_sum_kev: float = 0.0
    max_sum_kev: float = 0.0
    prescale: int = 1  # of the groups that meet all this, every n-th is accepted
    singles_prescale: int = 0  # of the groups below min_multiplicity, every n-th is accepted all the same; 0 is none

    def problems(self) -> list[str]:
        """What cannot be, one sentence each."""
        checks = (
            (self.window >= 0, f"window is {self.window}, and must not be negative"),
            (self.prescale >= 1, f"prescale is {self.prescale}, and must be at least 1"),
            (self.singles_prescale >= 0, f"singles_prescale is {self.singles_prescale}, and must not be negative"),
            (
                self.max_multiplicity == 0 or self.max_multiplicity >= self.min_multiplicity,
                f"max_multiplicity {self.max_multiplicity} is below min_multiplicity {self.min_multiplicity}",
            ),
            (
                self.max_sum_kev == 0 or self.max_sum_kev >= self.min_sum_kev,
                f"max_sum_kev {self.max_sum_kev} is below min_sum_kev {self.min_sum_kev}",
            ),
        )
        return [problem for holds, problem in checks if not holds]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of records, by their handles; `accepted` in the order of time."""

    accepted: Integers
    rejected: Integers
    late: Integers


def group_starts(times: Integers, window: int) -> Integers:
    """Where groups begin in sorted times: each holds all within `window` of its first."""
    following = np.searchsorted(times, times + window, side="right").tolist()
    starts = []
    index = 0
    while index < len(following):
        starts.append(index)
        index = following[index]
    return np.array(starts, np.int64)


def group_of(starts: Integers, count: int) -> Integers:
    """The group's index for each of `count` sorted members."""
    return np.repeat(np.arange(len(starts)), np.diff(np.append(starts, count)))


def multiplicities(group: Integers, crystals: npt.NDArray[np.integer], groups: int) -> Integers:
    """How many different crystals each of `groups` groups has, from members' groups and crystals (below 2^16)."""
    distinct = np.unique(group * (1 << 16) + crystals)
    return np.bincount(distinct >> 16, minlength=groups).astype(np.int64)


class Coincidence:
    """Decides group by group; the caller pushes records as they come."""

    def __init__(self, conditions: Conditions, disorder: int, sources: Sequence[str], max_held: int = MAX_HELD) -> None:
        self._conditions = conditions
        self._disorder = disorder
        self._max_held = max_held
        self._latest: dict[str, int] = dict.fromkeys(sources, 0)
        self._floor = 0
        self._held = np.empty(0, LIGHT)
        self._met = 0  # groups so far that met the conditions
        self._singles = 0  # groups so far below the multiplicity

    @property
    def watermark(self) -> int:
        """Nothing older than this is awaited any more, in units of 10 ns."""
        behind = min(self._latest.values(), default=0) - self._disorder
        return max(behind, self._floor)

    def push(self, source: str, records: Records) -> Decision:
        """Take records of `LIGHT` from one source, in the order of their arrival, and decide what can be decided."""
        times = records["timestamp"]
        late = times < self._watermarks(source, times)
        self._latest[source] = max(self._latest.get(source, 0), int(times.max(initial=0)))
        held = np.concatenate((self._held, records[~late]))
        self._held = held[np.argsort(held["timestamp"], kind="stable")]
        if len(self._held) > self._max_held:
            self._floor = max(self._floor, int(self._held["timestamp"][len(self._held) // 2]))
        return self._decide(self.watermark, records["handle"][late])

    def ended(self, source: str) -> Decision:
        """A source that nothing more comes from no longer holds the others back."""
        before = self.watermark
        self._latest.pop(source, None)
        self._floor = max(self._floor, before)
        return self._decide(self.watermark, np.empty(0, np.int64))

    def flush(self) -> Decision:
        """Nothing more comes from anyone: decide all that is held."""
        return self._decide(None, np.empty(0, np.int64))

    def _watermarks(self, source: str, times: Integers) -> Integers:
        """The watermark at the moment when each of a source's records arrives."""
        own = np.maximum.accumulate(np.concatenate(([self._latest.get(source, 0)], times)))[:-1]
        others = [latest for name, latest in self._latest.items() if name != source]
        behind = np.minimum(own, min(others)) if others else own
        watermarks: Integers = np.maximum(behind - self._disorder, self._floor)
        return watermarks

    def _decide(self, watermark: int | None, late: Integers) -> Decision:
        starts = group_starts(self._held["timestamp"], self._conditions.window)
        if watermark is not None:
            closed = int(np.sum(self._held["timestamp"][starts] + self._conditions.window < watermark))
            end = int(starts[closed]) if closed < len(starts) else len(self._held)
            starts = starts[:closed]
        else:
            end = len(self._held)
        decided, self._held = self._held[:end], self._held[end:]
        if not len(decided):
            return Decision(decided["handle"], decided["handle"], late)
        group = group_of(starts, len(decided))
        keep = self._judge(decided, starts, group)[group]
        return Decision(decided["handle"][keep], decided["handle"][~keep], late)

    def _judge(self, records: Records, starts: Integers, group: Integers) -> npt.NDArray[np.bool_]:
        """Which groups are accepted."""
        conditions = self._conditions
        counts = records["energy_kev"] >= conditions.crystal_threshold_kev
        fold = multiplicities(group[counts], records["crystal"][counts], len(starts))
        total_kev = np.add.reduceat(records["energy_kev"].astype(np.float64), starts)
        enough = fold >= conditions.min_multiplicity
        met = enough & (total_kev >= conditions.min_sum_kev)
        if conditions.max_multiplicity:
            met &= fold <= conditions.max_multiplicity
        if conditions.max_sum_kev:
            met &= total_kev <= conditions.max_sum_kev
        accepted = np.zeros(len(starts), np.bool_)
        self._met += _every(met, conditions.prescale, self._met, accepted)
        if conditions.singles_prescale:
            self._singles += _every(~enough, conditions.singles_prescale, self._singles, accepted)
        return accepted


def _every(chosen: npt.NDArray[np.bool_], nth: int, before: int, accepted: npt.NDArray[np.bool_]) -> int:
    """Accept every `nth` of the chosen groups, counting from `before` earlier ones; how many were chosen."""
    indices = np.flatnonzero(chosen)
    accepted[indices[(before + np.arange(len(indices))) % nth == 0]] = True
    return len(indices)
