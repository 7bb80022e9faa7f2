"""Members that are in different states: how many are where, and what brings them together."""

from collections import Counter
from collections.abc import Iterable

from .aggregate import claim
from .names import State
from .reports import Count
from .state import STEADY


def in_words(counts: Iterable[Count]) -> str:
    """How many of the processes that count are in which state: "2 paused, 6 taking"."""
    return ", ".join(f"{number} {state}" for state, number in sorted(_included(counts).items()))


def why(counts: Iterable[Count], whom: str) -> str:
    """That members are in different states, and the target that brings all to the foremost; empty if any is unknown.

    `whom` is the path of the member that they lie in; empty for the farm.
    """
    found = _included(counts)
    foremost = max((state for state in found if state in STEADY), key=claim, default=None)
    if foremost is None or State.UNKNOWN in found:
        return ""
    target = "running" if foremost in (State.TAKING, State.PAUSED) else foremost
    remedy = f"grange go {target}{f' {whom}' if whom else ''}"
    return f"members are in different states: {in_words(counts)}; bring them together with: {remedy}"


def _included(counts: Iterable[Count]) -> Counter[State]:
    found = Counter[State]()
    for count in counts:
        if not count.out and count.processes:
            found[count.state] += count.processes
    return found
