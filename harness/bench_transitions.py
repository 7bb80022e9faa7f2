"""What a transition costs from Execute to Outcome, beside what it would cost if nobody did anything about it.

    raw socket pairs   a message and an answer for each of as many forked processes      bench_raw.py
    bare gRPC          the farm's tree and messages, and no logic at all                 bench_bare.py
    farm               real controllers, keepers, agents and processes                   bench_farm.py

The three take turns in one run, round by round, so that a busy machine slows all of them alike and the ratios can be
trusted more than the times.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from grange.core.names import Command

from .bench_bare import BareTree
from .bench_farm import BenchFarm, Memory, Shape, actors, plain_processes
from .bench_figures import Samples, megabytes, milliseconds, table
from .bench_raw import RawRing

ROUNDS = 30
PAUSE_S = 0.1  # before each measurement: a transition begins on a quiet farm, as it does when a person commands it
IDLE_S = 3.0  # how long the farm is watched doing nothing, to tell a transition's work from heartbeats
TARGET_RATIO = 1.5  # a transition beside bare gRPC
# There and back, in the order in which they are measured.
PAIRS = (
    (Command.CONFIGURE, Command.UNCONFIGURE),
    (Command.START, Command.STOP),
    (Command.PAUSE, Command.RESUME),
)


@dataclass(slots=True)
class Transitions:
    """What was measured of transitions, and of the farm that made them."""

    shape: Shape
    raw: Samples = field(default_factory=lambda: Samples("raw socket pairs"))
    bare: Samples = field(default_factory=lambda: Samples("bare gRPC"))
    actors: dict[str, Samples] = field(default_factory=dict)
    plain: dict[str, Samples] = field(default_factory=dict)
    once_s: dict[str, float] = field(default_factory=dict)  # what is done once only
    processor_s: dict[str, float] = field(default_factory=dict)  # for one transition of actors, by kind of program
    memory: dict[str, Memory] = field(default_factory=dict)

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
        }

    def _beside(self, samples: Samples) -> dict[str, float]:
        return {
            **samples.as_json(),
            "to_raw": samples.median_s / self.raw.median_s,
            "to_bare": samples.median_s / self.bare.median_s,
        }


async def measure(directory: Path, shape: Shape, rounds: int, raw: RawRing, say: Callable[[str], None]) -> Transitions:
    """Every transition `rounds` times. Raises `GrangeError` when the farm does not do as it is told."""
    return await _Bench(shape, rounds, raw, directory, say).run()


def transition_table(found: Transitions) -> str:
    """For people: what has something to be compared with."""
    raw, bare = found.raw, found.bare
    rows = [(samples.name, samples) for samples in (raw, bare)]
    rows += [(f"{name} (actors)", samples) for name, samples in found.actors.items()]
    rows += [(f"{name} (plain processes)", samples) for name, samples in found.plain.items()]
    cells = [
        (
            name,
            milliseconds(samples.median_s),
            milliseconds(samples.p90_s),
            f"{samples.median_s / raw.median_s:.1f}",
            f"{samples.median_s / bare.median_s:.2f}",
        )
        for name, samples in rows
    ]
    return table(("from Execute to Outcome", "median", "p90", "× raw", "× bare gRPC"), cells)


def transition_report(found: Transitions) -> str:
    """For people: everything."""
    once = [(name, f"{took_s:.2f} s") for name, took_s in found.once_s.items()]
    memory = [
        (
            kind,
            str(memory.programs),
            megabytes(memory.resident_bytes / memory.programs),
            megabytes(memory.own_bytes / memory.programs),
            milliseconds(found.processor_s.get(kind, 0.0)),
        )
        for kind, memory in found.memory.items()
    ]
    worst = max(samples.median_s for samples in found.actors.values()) / found.bare.median_s
    return "\n\n".join(
        (
            f"{found.shape}, {len(found.bare.values_s)} rounds of the references",
            transition_table(found),
            f"slowest transition of actors: {worst:.2f} × bare gRPC (wanted: at most {TARGET_RATIO})",
            table(("once", "took"), once),
            table(("programs", "number", "RSS each", "PSS each", "CPU per transition, all"), memory),
        )
    )


class _Bench:
    """One run."""

    def __init__(self, shape: Shape, rounds: int, raw: RawRing, directory: Path, say: Callable[[str], None]) -> None:
        self._found = Transitions(shape)
        self._rounds = rounds
        self._raw = raw
        self._directory = directory
        self._say = say

    async def run(self) -> Transitions:
        found, shape = self._found, self._found.shape
        self._say(f"{shape}; {self._rounds} rounds of each; starting the bare tree")
        async with BareTree(self._directory / "bare", shape.sub_farms, shape.nodes, shape.processes) as bare:
            self._say("starting the farm")
            async with BenchFarm(self._directory / "farm") as farm:
                await farm.use(actors(shape))
                await self._once(farm, Command.SETUP, "setup (programs)")
                await self._once(farm, Command.BOOT, "boot (actors)")
                found.memory = farm.memory()
                await self._once(farm, Command.LOAD, "load (actors)")
                idle_s = await _idle(farm)
                await self._transitions(farm, bare, PAIRS, found.actors, idle_s)
                await self._once(farm, Command.SHUTDOWN, "shutdown (actors)")
                await farm.use(plain_processes(shape))
                await self._once(farm, Command.BOOT, "boot (plain processes)")
                await self._once(farm, Command.LOAD, "load (plain processes)")
                await self._transitions(farm, bare, PAIRS[:1], found.plain, None)
                await self._once(farm, Command.SHUTDOWN, "shutdown (plain processes)")
                await self._once(farm, Command.TEARDOWN, "teardown (programs)")
        return found

    async def _once(self, farm: BenchFarm, command: Command, name: str) -> None:
        self._say(name)
        self._found.once_s[name] = await farm.do(command)

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
            self._say(" and ".join(pair))
            before_s, began_s = farm.processor_s(), time.monotonic()
            for _ in range(self._rounds):
                for command in pair:
                    await self._references(bare)
                    await asyncio.sleep(PAUSE_S)
                    into.setdefault(command, Samples(command)).add(await farm.do(command))
            if number == 0 and idle_s is not None:
                await asyncio.sleep(PAUSE_S)
                took_s, elapsed_s = farm.processor_s(), time.monotonic() - began_s
                self._found.processor_s = {
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
        self._found.raw.add(self._raw.round())
        self._found.bare.add(await bare.round())


async def _idle(farm: BenchFarm) -> dict[str, float]:
    """Processor seconds per second of a farm at rest, by kind of program."""
    before_s = farm.processor_s()
    await asyncio.sleep(IDLE_S)
    return {kind: (used_s - before_s[kind]) / IDLE_S for kind, used_s in farm.processor_s().items()}
