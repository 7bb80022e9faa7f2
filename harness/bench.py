"""`make bench`: what a transition costs, beside what it would cost if nobody did anything about it.

    raw socket pairs   a message and an answer for each of as many forked processes      bench_raw.py
    bare gRPC          the farm's tree and messages, and no logic at all                 bench_bare.py
    farm               real controllers, keepers, agents and processes                   bench_farm.py
    core alone         events per second of the simulator                                bench_core.py

Then what it costs to start a process (`bench_spawn.py`), how long it takes until a watcher sees that one has died
(`bench_exit.py`), how long until the farm has got over the end of one of its programs (`bench_recovery.py`) and what
`grange status` costs (`bench_status.py`), each beside what nobody can do without, and a transition while very many
watch (`bench_watchers.py`), beside one that nobody watches.

The first three take turns in one run, round by round, so that a busy machine slows all of them alike and the ratios
can be trusted more than the times. docs/performance.md says how to read the figures and what they were.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from grange.core.names import Command

from .bench_bare import BareTree
from .bench_core import events_per_second
from .bench_exit import exit_rows, exit_table
from .bench_farm import BenchFarm, Memory, Shape, actors, plain_processes
from .bench_figures import Samples, megabytes, milliseconds, table
from .bench_raw import RawRing
from .bench_recovery import Recovery, recovery_table
from .bench_recovery import rows as recovery_rows
from .bench_spawn import measured, spawn_table
from .bench_status import status_rows, status_table
from .bench_watchers import watcher_rows, watcher_table

ROUNDS = 30
PAUSE_S = 0.1  # before each measurement: a transition begins on a quiet farm, as it does when a person commands it
IDLE_S = 3.0  # how long the farm is watched doing nothing, to tell a transition's work from heartbeats
TARGET_RATIO = 1.5  # a transition beside bare gRPC
# What lies between these lines in README.md is replaced by `make bench ARGS=--readme`.
README = Path("README.md")
MARKS = ("<!-- figures: printed by make bench ARGS=--readme -->\n", "<!-- end of figures -->\n")
# There and back, in the order in which they are measured.
PAIRS = (
    (Command.CONFIGURE, Command.UNCONFIGURE),
    (Command.START, Command.STOP),
    (Command.PAUSE, Command.RESUME),
)


@dataclass(slots=True)
class Figures:
    """Everything that was measured."""

    shape: Shape
    raw: Samples = field(default_factory=lambda: Samples("raw socket pairs"))
    bare: Samples = field(default_factory=lambda: Samples("bare gRPC"))
    actors: dict[str, Samples] = field(default_factory=dict)
    plain: dict[str, Samples] = field(default_factory=dict)
    once_s: dict[str, float] = field(default_factory=dict)  # what is done once only
    processor_s: dict[str, float] = field(default_factory=dict)  # for one transition of actors, by kind of program
    memory: dict[str, Memory] = field(default_factory=dict)
    events_per_s: float = 0.0
    spawn: list[Samples] = field(default_factory=list)
    exits: list[Samples] = field(default_factory=list)
    recovery: list[Recovery] = field(default_factory=list)
    status: list[tuple[Samples, Samples]] = field(default_factory=list)  # wall-clock and processor
    watchers: list[Samples] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return {
            "shape": asdict(self.shape),
            "target_ratio": TARGET_RATIO,
            "raw": self.raw.as_json(),
            "bare": self.bare.as_json(),
            "actors": {name: self._beside(samples) for name, samples in self.actors.items()},
            "plain": {name: self._beside(samples) for name, samples in self.plain.items()},
            "once_s": self.once_s,
            "processor_s_per_transition": self.processor_s,
            "memory": {kind: asdict(memory) for kind, memory in self.memory.items()},
            "core_events_per_s": self.events_per_s,
            "spawn": {samples.name: samples.as_json() for samples in self.spawn},
            "exit": {samples.name: samples.as_json() for samples in self.exits},
            "watchers": {samples.name: samples.as_json() for samples in self.watchers},
            "recovery": {row.farm.name: row.as_json() for row in self.recovery},
            "status": {wall.name: {"wall": wall.as_json(), "cpu": cpu.as_json()} for wall, cpu in self.status},
        }

    def _beside(self, samples: Samples) -> dict[str, float]:
        return {
            **samples.as_json(),
            "to_raw": samples.median_s / self.raw.median_s,
            "to_bare": samples.median_s / self.bare.median_s,
        }


class Bench:
    """One run of all measurements."""

    def __init__(self, shape: Shape, rounds: int, raw: RawRing, directory: Path) -> None:
        self.figures = Figures(shape)
        self._rounds = rounds
        self._raw = raw
        self._directory = directory

    async def run(self) -> None:
        shape = self.figures.shape
        say(f"{shape}; {self._rounds} rounds of each; starting the bare tree")
        async with BareTree(self._directory / "bare", shape.sub_farms, shape.nodes, shape.processes) as bare:
            say("starting the farm")
            async with BenchFarm(self._directory / "farm") as farm:
                await farm.use(actors(shape))
                await self._once(farm, Command.SETUP, "setup (programs)")
                await self._once(farm, Command.BOOT, "boot (actors)")
                self.figures.memory = farm.memory()
                await self._once(farm, Command.LOAD, "load (actors)")
                idle_s = await _idle(farm)
                await self._transitions(farm, bare, PAIRS, self.figures.actors, idle_s)
                await self._once(farm, Command.SHUTDOWN, "shutdown (actors)")
                await farm.use(plain_processes(shape))
                await self._once(farm, Command.BOOT, "boot (plain processes)")
                await self._once(farm, Command.LOAD, "load (plain processes)")
                await self._transitions(farm, bare, PAIRS[:1], self.figures.plain, None)
                await self._once(farm, Command.SHUTDOWN, "shutdown (plain processes)")
                await self._once(farm, Command.TEARDOWN, "teardown (programs)")
        say("core alone")
        self.figures.events_per_s = events_per_second()
        say("starting processes")
        self.figures.spawn = await asyncio.to_thread(measured)
        say("exits, and grange status")
        async with BenchFarm(self._directory / "exits") as farm:
            self.figures.exits = await exit_rows(farm)
            self.figures.status = await asyncio.to_thread(status_rows, self._directory / "exits")
        say("watchers")
        async with BenchFarm(self._directory / "watchers") as farm:
            self.figures.watchers = await watcher_rows(farm)
        say("recovery")
        async with BenchFarm(self._directory / "recovery") as farm:
            self.figures.recovery = await recovery_rows(farm, self._directory / "recovery")

    async def _once(self, farm: BenchFarm, command: Command, name: str) -> None:
        say(name)
        self.figures.once_s[name] = await farm.do(command)

    async def _transitions(
        self,
        farm: BenchFarm,
        bare: BareTree,
        pairs: Sequence[tuple[Command, Command]],
        into: dict[str, Samples],
        idle_s: dict[str, float] | None,
    ) -> None:
        """Every pair there and back `rounds` times, each time beside its references, and down again at the end."""
        done: list[Command] = []
        for number, pair in enumerate(pairs):
            say(" and ".join(pair))
            before_s, began_s = farm.processor_s(), time.monotonic()
            for _ in range(self._rounds):
                for command in pair:
                    await self._references(bare)
                    await asyncio.sleep(PAUSE_S)
                    into.setdefault(command, Samples(command)).add(await farm.do(command))
            if number == 0 and idle_s is not None:
                await asyncio.sleep(PAUSE_S)
                took_s, elapsed_s = farm.processor_s(), time.monotonic() - began_s
                self.figures.processor_s = {
                    kind: max(0.0, took_s[kind] - before_s[kind] - idle_s[kind] * elapsed_s) / (2 * self._rounds)
                    for kind in took_s
                }
            if number + 1 < len(pairs) and pair[0] is not Command.PAUSE:
                await farm.do(pair[0])
                done.append(pair[1])
        for command in reversed(done):
            await farm.do(command)

    async def _references(self, bare: BareTree) -> None:
        await asyncio.sleep(PAUSE_S)
        self.figures.raw.add(self._raw.round())
        self.figures.bare.add(await bare.round())


async def _idle(farm: BenchFarm) -> dict[str, float]:
    """Processor seconds per second of a farm at rest, by kind of program."""
    before_s = farm.processor_s()
    await asyncio.sleep(IDLE_S)
    return {kind: (used_s - before_s[kind]) / IDLE_S for kind, used_s in farm.processor_s().items()}


def report(figures: Figures) -> str:
    """For people: everything."""
    once = [(name, f"{took_s:.2f} s") for name, took_s in figures.once_s.items()]
    memory = [
        (
            kind,
            str(found.programs),
            megabytes(found.resident_bytes / found.programs),
            megabytes(found.own_bytes / found.programs),
            milliseconds(figures.processor_s.get(kind, 0.0)),
        )
        for kind, found in figures.memory.items()
    ]
    worst = max(samples.median_s for samples in figures.actors.values()) / figures.bare.median_s
    return "\n\n".join(
        (
            f"{figures.shape}, {len(figures.bare.values_s)} rounds of the references",
            _tables(figures),
            f"slowest transition of actors: {worst:.2f} × bare gRPC (wanted: at most {TARGET_RATIO})",
            table(("once", "took"), once),
            table(("programs", "number", "RSS each", "PSS each", "CPU per transition, all"), memory),
        )
    )


def _tables(figures: Figures) -> str:
    """Those that have something to be compared with."""
    raw, bare = figures.raw, figures.bare
    rows = [(samples.name, samples) for samples in (raw, bare)]
    rows += [(f"{name} (actors)", samples) for name, samples in figures.actors.items()]
    rows += [(f"{name} (plain processes)", samples) for name, samples in figures.plain.items()]
    transitions = [
        (
            name,
            milliseconds(samples.median_s),
            milliseconds(samples.p90_s),
            f"{samples.median_s / raw.median_s:.1f}",
            f"{samples.median_s / bare.median_s:.2f}",
        )
        for name, samples in rows
    ]
    return "\n\n".join(
        (
            table(("from Execute to Outcome", "median", "p90", "× raw", "× bare gRPC"), transitions),
            spawn_table(figures.spawn),
            exit_table(figures.exits),
            recovery_table(figures.recovery),
            status_table(figures.status),
            watcher_table(figures.watchers),
            f"Core alone decides {figures.events_per_s:,.0f} events per second.",
        )
    )


def write_readme(figures: Figures, path: Path = README) -> None:
    """Put the tables where they belong. Raises `ValueError` when the file has no place for them."""
    before, mark, rest = path.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise ValueError(f"{path} has no lines {MARKS[0].strip()} and {MARKS[1].strip()}")
    path.write_text(f"{before}{mark}\n{_tables(figures)}\n\n{end}{after}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sub-farms", type=int, default=Shape().sub_farms)
    parser.add_argument("--nodes", type=int, default=Shape().nodes, help="in each sub-farm")
    parser.add_argument("--processes", type=int, default=Shape().processes, help="on each node")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each transition")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, times in seconds")
    parser.add_argument("--readme", action="store_true", help="write the tables into README.md as well")
    given = parser.parse_args(arguments)
    shape = Shape(given.sub_farms, given.nodes, given.processes)
    directory = Path(tempfile.mkdtemp(prefix="gb-"))  # short: sockets lie in it
    try:
        with RawRing(shape.all_processes) as raw:  # forks, so it comes before everything that has threads
            bench = Bench(shape, given.rounds, raw, directory)
            uvloop.run(bench.run())
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if given.readme:
        write_readme(bench.figures)
    print(json.dumps(bench.figures.as_json(), indent=2) if given.json else report(bench.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
