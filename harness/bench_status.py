"""What `grange status` costs, beside an interpreter that only imports the two libraries that it cannot do without."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from grange.core.names import Command

from .bench_farm import BenchFarm, Shape, plain_processes
from .bench_figures import Samples, table

ROUNDS = 10
FARM = Shape(sub_farms=2, nodes=2, processes=8)
IMPORTS = "python -c 'import grpc, typer'"


async def status_rows(farm: BenchFarm, home: Path, rounds: int = ROUNDS) -> list[tuple[Samples, Samples]]:
    """Wall-clock and processor seconds of each: the imports alone, and `grange status` of the farm in `home`.

    The farm is set up and left booted.
    """
    await farm.use(plain_processes(FARM))
    await farm.do(Command.SETUP)
    await farm.do(Command.BOOT)
    programs = {
        IMPORTS: [sys.executable, "-P", "-c", "import grpc, typer"],
        "grange status": [sys.executable, "-P", "-m", "grange.cli", "--home", str(home), "status"],
    }
    rows = {name: (Samples(name), Samples(name)) for name in programs}
    for _ in range(rounds):
        for name, argv in programs.items():
            wall_s, processor_s = await asyncio.to_thread(_run, argv)
            rows[name][0].add(wall_s)
            rows[name][1].add(processor_s)
    return list(rows.values())


def status_table(rows: Sequence[tuple[Samples, Samples]]) -> str:
    """For people."""
    cells = [(wall.name, f"{wall.median_s:.2f} s", f"{processor.median_s:.2f} s") for wall, processor in rows]
    return table(("program", "wall clock", "processor"), cells)


def _run(argv: list[str]) -> tuple[float, float]:
    began_s = time.perf_counter()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {process.returncode}: {said.decode(errors='replace')}")
    return took_s, used.ru_utime + used.ru_stime
