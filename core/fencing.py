"""Fencing: a program that was replaced, and does not know it, commands nobody.

Every command carries the incarnation numbers of those who command, from the root of the control tree down. Each number
is allotted by the level above and only rises, so the lists are compared in order, like words in a dictionary: the
farm's number first. A higher list than any seen before is remembered, durably and before acting on it; a lower one is
refused and its sender told, which ends itself. Within one list the sequence number rises too; a lower one is a late
duplicate, to be left out without a word.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """Who commands, and the number of the command."""

    incarnations: tuple[int, ...]
    sequence: int = 0


class Verdict(Enum):
    """What to do with a command."""

    CURRENT = "current"  # act
    RISEN = "risen"  # remember it durably, then act
    STALE = "stale"  # a late duplicate: leave it out
    FENCED = "fenced"  # tell the sender that it was replaced


@dataclass(slots=True)
class Guard:
    """The highest fence seen."""

    seen: Fence = Fence(())

    def judge_welcome(self, incarnations: tuple[int, ...]) -> Verdict:
        """What to do with a parent that says who it is, before its first command: a new one numbers them from 1."""
        same = incarnations == self.seen.incarnations
        return self.judge(Fence(incarnations, self.seen.sequence if same else 0))

    def judge(self, fence: Fence) -> Verdict:
        """What to do with a command; from now on `fence` is the highest seen unless it was lower."""
        if fence.incarnations < self.seen.incarnations:
            return Verdict.FENCED
        if fence.incarnations > self.seen.incarnations:
            self.seen = fence
            return Verdict.RISEN
        if fence.sequence < self.seen.sequence:
            return Verdict.STALE
        self.seen = fence
        return Verdict.CURRENT
