"""`make bench`: what grange costs, each thing beside what it would cost if nobody did anything about it.

    transitions   from Execute to Outcome, beside raw socket pairs and bare gRPC          bench_transitions.py
    spawn         starting 200 processes, beside posix_spawn and fork                     bench_spawn.py
    exits         until a watcher sees that a process has died, beside a bare pidfd       bench_exit.py
    recovery      until the farm has got over the end of one of its programs              bench_recovery.py
    status        `grange status`, beside the libraries that it cannot do without         bench_status.py
    watchers      a transition while very many watch, beside one that nobody watches      bench_watchers.py
    configuration a configuration of 32,000 processes, beside reading as much JSON        bench_configuration.py
    core          events per second of the simulator: core alone                          bench_core.py

Each is a *part*, measured by itself on a farm of its own; `--only` chooses some. A part that fails is named with its
error and takes nothing away from the others. docs/performance.md says how to read the figures and what they were.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvloop

from .bench_configuration import configuration_rows, configuration_table
from .bench_core import events_per_second
from .bench_exit import exit_rows, exit_table
from .bench_farm import BenchFarm, Shape
from .bench_figures import Samples
from .bench_raw import RawRing
from .bench_recovery import recovery_table
from .bench_recovery import rows as recovery_rows
from .bench_spawn import measured, spawn_table
from .bench_status import status_rows, status_table
from .bench_transitions import ROUNDS, measure, transition_report, transition_table
from .bench_watchers import watcher_rows, watcher_table

# What lies between these lines in README.md is written by `make bench ARGS=--readme`, each part below its own mark.
README = Path("README.md")
MARKS = ("<!-- figures: printed by make bench ARGS=--readme -->\n", "<!-- end of figures -->\n")
PART_MARK = "<!-- part: {} -->"

EXIT_INTERRUPTED = 130  # as a shell has it of Ctrl-C


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run was asked for; `raw` are the forks beside which transitions are measured."""

    directory: Path
    shape: Shape
    rounds: int
    raw: RawRing | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a part has found: its table, for people; everything, for people (the table again if that is all); JSON."""

    table: str
    report: str
    figures: object


@dataclass(slots=True)
class Results:
    """What a run came to, by part, in the order of `PARTS`."""

    measured: dict[str, Measured] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {**{name: found.figures for name, found in self.measured.items()}, "failed": self.failed}

    def report(self) -> str:
        """For people: everything."""
        failed = [f"not measured: {name}: {error}" for name, error in self.failed.items()]
        return "\n\n".join([*(found.report for found in self.measured.values()), *failed])


async def _transitions(wanted: Wanted) -> Measured:
    assert wanted.raw is not None
    found = await measure(wanted.directory, wanted.shape, wanted.rounds, wanted.raw, say)
    return Measured(transition_table(found), transition_report(found), found.as_json())


async def _spawn(wanted: Wanted) -> Measured:
    return _of_rows(rows := await asyncio.to_thread(measured), spawn_table(rows))


async def _exits(wanted: Wanted) -> Measured:
    async with BenchFarm(wanted.directory) as farm:
        return _of_rows(rows := await exit_rows(farm), exit_table(rows))


async def _recovery(wanted: Wanted) -> Measured:
    async with BenchFarm(wanted.directory) as farm:
        found = await recovery_rows(farm, wanted.directory)
    text = recovery_table(found)
    return Measured(text, text, {row.farm.name: row.as_json() for row in found})


async def _status(wanted: Wanted) -> Measured:
    async with BenchFarm(wanted.directory) as farm:
        found = await status_rows(farm, wanted.directory)
    text = status_table(found)
    return Measured(text, text, {wall.name: {"wall": wall.as_json(), "cpu": cpu.as_json()} for wall, cpu in found})


async def _watchers(wanted: Wanted) -> Measured:
    async with BenchFarm(wanted.directory) as farm:
        return _of_rows(rows := await watcher_rows(farm), watcher_table(rows))


async def _configuration(wanted: Wanted) -> Measured:
    rows = await asyncio.to_thread(configuration_rows)
    text = configuration_table(rows)
    return Measured(text, text, {row.ours.name: row.as_json() for row in rows})


async def _core(wanted: Wanted) -> Measured:
    figure = events_per_second()
    text = f"Core alone decides {figure:,.0f} events per second."
    return Measured(text, text, {"events_per_s": figure})


def _of_rows(rows: Sequence[Samples], text: str) -> Measured:
    return Measured(text, text, {row.name: row.as_json() for row in rows})


# In the order in which they are measured and shown.
PARTS: Mapping[str, Callable[[Wanted], Awaitable[Measured]]] = {
    "transitions": _transitions,
    "spawn": _spawn,
    "exits": _exits,
    "recovery": _recovery,
    "status": _status,
    "watchers": _watchers,
    "configuration": _configuration,
    "core": _core,
}


async def _ended_by_signals(work: Coroutine[Any, Any, Results]) -> Results:
    """Has SIGTERM and SIGHUP end the work as Ctrl-C does: by its own way out, which takes its farm down."""
    task = asyncio.current_task()
    assert task is not None  # it is a coroutine
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await work


async def run(wanted: Wanted, parts: Mapping[str, Callable[[Wanted], Awaitable[Measured]]]) -> Results:
    """Measures each part in a directory of its own below that of `wanted`; one that fails is noted with its error."""
    results = Results()
    for name, part in parts.items():
        say(f"--- {name}")
        directory = wanted.directory / name
        directory.mkdir()
        try:
            results.measured[name] = await part(replace(wanted, directory=directory))
        except Exception as error:  # whatever it is, the other parts are measured
            results.failed[name] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
    return results


def write_readme(results: Results, path: Path = README) -> None:
    """Put the tables of what was measured in place of those there; those of other parts stay.

    Raises `ValueError` when the file has no place for them.
    """
    before, mark, rest = path.read_text().partition(MARKS[0])
    there, end, after = rest.partition(MARKS[1])
    if not end:
        raise ValueError(f"{path} has no lines {MARKS[0].strip()} and {MARKS[1].strip()}")
    tables = _tables_of(there, PARTS) | {name: found.table for name, found in results.measured.items()}
    blocks = [f"{PART_MARK.format(name)}\n\n{tables[name]}\n\n" for name in PARTS if name in tables]
    path.write_text(f"{before}{mark}\n{''.join(blocks)}{end}{after}")


def _tables_of(text: str, names: Iterable[str]) -> dict[str, str]:
    """The table below each part's mark."""
    marks = {PART_MARK.format(name): name for name in names}
    tables: dict[str, list[str]] = {}
    lines: list[str] = []  # those above the first mark belong to no part
    for line in text.splitlines():
        if line in marks:
            lines = tables.setdefault(marks[line], [])
        else:
            lines.append(line)
    return {name: "\n".join(lines).strip() for name, lines in tables.items()}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _chosen(text: str) -> list[str]:
    """Parts by their names, as `--only` has them."""
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f'there is no part "{unknown[0]}"; there are: {", ".join(PARTS)}')
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(  # as a list of names, or once for each
        "--only", type=_chosen, action="extend", metavar="NAME[,NAME]", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--sub-farms", type=int, default=Shape().sub_farms, help="of transitions")
    parser.add_argument("--nodes", type=int, default=Shape().nodes, help="in each sub-farm")
    parser.add_argument("--processes", type=int, default=Shape().processes, help="on each node")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each transition")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, times in seconds")
    parser.add_argument("--readme", action="store_true", help="write the tables of these parts into README.md as well")
    given = parser.parse_args(arguments)
    shape = Shape(given.sub_farms, given.nodes, given.processes)
    parts = {name: part for name, part in PARTS.items() if name in (given.only or PARTS)}
    directory = Path(tempfile.mkdtemp(prefix="gb-"))  # short: sockets lie in it
    try:
        with contextlib.ExitStack() as stack:
            raw = None
            if "transitions" in parts:  # it forks, so it comes before everything that has threads
                raw = stack.enter_context(RawRing(shape.all_processes))
            results = uvloop.run(_ended_by_signals(run(Wanted(directory, shape, given.rounds, raw), parts)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        say("ended before the end; nothing of its farms is left")
        return EXIT_INTERRUPTED
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if given.readme:
        write_readme(results)
    print(json.dumps(results.as_json(), indent=2) if given.json else results.report())
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
