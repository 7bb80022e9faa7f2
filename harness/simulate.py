"""`make sim`: many ordeals (`ordeal.py`), on all cores, with what they have covered.

    make sim                     the seeds from 0 to 999
    make sim SEED=4711 RUNS=1    one of them, with its log
    make sim SEED=5000 RUNS=200  those from 5000 on

A world that is broken prints one line: its seed, what does not hold, and how to see it again. The table says how often
each kind of fault came in each state of the farm. A cell with nothing in it was never tried: `-` stands where it cannot
be (`aims.cannot_be`), and no other is left after some 200 worlds.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from grange.core.names import State

from .aims import cannot_be
from .checkers import Broken
from .ordeal import Ordeal

Coverage = Counter[tuple[State, str]]
_SEEDS_AT_ONCE = 5  # handed to a worker


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one world."""

    seed: int
    broken: str  # in one line; empty when everything held
    events: int
    coverage: Coverage


@dataclass(slots=True)
class Summary:
    """What became of many."""

    worlds: int = 0
    events: int = 0
    broken: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        self.worlds += 1
        self.events += result.events
        self.coverage += result.coverage
        if result.broken:
            self.broken.append(result.broken)


def trial(seed: int) -> Result:
    """Plays one world and says how it went."""
    if not gc.isenabled():
        gc.collect()  # the world before
    world = Ordeal(seed)
    broken = ""
    try:
        world.play()
    except Broken as error:
        broken = f"{str(error).splitlines()[0]}   (again: make sim SEED={seed} RUNS=1)"
    return Result(seed, broken, world.world.events, world.mischief.coverage)


def trials(seeds: Iterable[int], workers: int) -> Iterable[Result]:
    """Plays many worlds, in the order of their seeds, with so many workers."""
    if workers == 1:
        yield from map(trial, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _collect_by_worlds) as pool:
        yield from pool.imap(trial, seeds, chunksize=_SEEDS_AT_ONCE)


def _collect_by_worlds() -> None:
    """A worker throws worlds away whole, and they are made of cycles: looking for garbage meanwhile takes a quarter."""
    gc.collect()
    gc.freeze()
    gc.disable()


def table(coverage: Coverage) -> list[str]:
    """How often each fault came in each state: one line for each fault, one column for each state that was met."""
    states = [state for state in State if any(met is state for met, _ in coverage)]
    faults = sorted({fault for _, fault in coverage})
    names = [str(state) for state in states]
    widths = [max(5, len(name)) for name in names]
    head = " " * 30 + " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    lines = [head]
    for fault in faults:
        counts = [coverage[state, fault] or ("-" if cannot_be(state, fault) else "·") for state in states]
        cells = (f"{count:>{width}}" for count, width in zip(counts, widths, strict=True))
        lines.append(f"{fault:30}" + " ".join(cells))
    return lines


def replay(seed: int) -> int:
    """Plays one world and prints its log."""
    world = Ordeal(seed)
    broken = ""
    try:
        world.play()
    except Broken as error:
        broken = str(error).splitlines()[0]
    for at_s, who, text in world.world.log:
        print(f"{at_s:9.3f}  {who:24}  {text}")
    print(broken or f"seed {seed}: everything holds; {sum(world.mischief.coverage.values())} faults")
    return 1 if broken else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make sim", description="Plays simulated farms with faults.")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--runs", type=int, default=1000, help="how many; 1 prints the log of that world")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    if given.runs == 1:
        return replay(given.seed)
    began_s, summary = time.monotonic(), Summary()
    for result in trials(range(given.seed, given.seed + given.runs), given.workers):
        summary.add(result)
        if result.broken:
            print(result.broken, flush=True)
    took_s = time.monotonic() - began_s
    print(*table(summary.coverage), sep="\n")
    print(
        f"{len(summary.broken)} of {summary.worlds} worlds are broken "
        f"(seeds {given.seed} to {given.seed + given.runs - 1}); "
        f"{sum(summary.coverage.values())} faults, {summary.events} events in {took_s:.0f} s"
    )
    return 1 if summary.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
