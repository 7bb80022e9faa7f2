"""What it costs to start a process through the keeper, beside what the kernel alone takes for it.

    posix_spawn          `sleep`, started by this process
    posix_spawn, log     the same, each with a new file for its output, as a process of a farm has one
    keeper, executed     `sleep` through a keeper
    fork                 a copy of this process that sleeps
    keeper, forked       an actor from a template

The keeper has a manifest on the disk before each process, takes the slot's lock, gives it a session, a log and a clean
environment, notes its identity and tells who asked. Each row is the time from the first request until the last process
is known to run, divided by their number; all rows are measured in turn, round by round, in one run.

    python -P -m grange.harness.bench_spawn     (small: a bare fork copies the memory map of its caller)
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from grange.core.node import NodeSettings
from grange.launch.local import KEEPER_PROGRAM

from .bench_figures import Samples, table

PROCESSES = 200
ROUNDS = 7
TARGET_RATIO = 1.5  # executed beside posix_spawn, forked beside fork
NAMES = ("posix_spawn", "posix_spawn, log", "keeper, executed", "fork", "keeper, forked")
LIMIT_S = 60.0  # for all processes of a round
SLEEP = shutil.which("sleep") or "/bin/sleep"
SLEEP_S = "1000"
RUNNER = "import signal\n\ndef main(arguments):\n    signal.pause()\n"


class SpawnBenchError(RuntimeError):
    """The keeper did not do what was asked of it: what it said."""


class BenchKeeper:
    """A keeper with an agent that does nothing, for which the bench speaks."""

    def __init__(self, directory: Path) -> None:
        self._home = directory
        self._node = directory / "n"
        self._node.mkdir(parents=True)
        (directory / "bench_runner.py").write_text(RUNNER)
        home = str(directory)
        agent = ("/bin/sh", "-c", f"exec {SLEEP} {SLEEP_S}")  # without the node's directory, which is added
        settings = NodeSettings(
            "bench/n", "bench", "unix:/nobody", home, sys.executable, home, home, home, agent_command=agent
        )
        (self._node / "node.json").write_text(settings.to_json())
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER_PROGRAM), str(self._node)], stderr=subprocess.DEVNULL
        )
        self._socket = self._dial()
        self._lines = self._socket.makefile("rb")
        self._requests = 0
        self._ask([{"op": "list"}])  # answered when the keeper has begun, and with it its agent
        self._agent: dict[str, Any] = json.loads((self._node / "keeper.json").read_text())
        self._ask([{"op": "hello", "incarnation": self._agent["agent"]}])

    def _dial(self) -> socket.socket:
        give_up = time.monotonic() + LIMIT_S
        while True:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(LIMIT_S)
            try:
                connection.connect(str(self._node / "keeper.sock"))
                return connection
            except OSError as error:
                connection.close()
                if time.monotonic() > give_up:
                    raise SpawnBenchError(f"the keeper does not answer within {LIMIT_S:g} s: {error}") from error
                time.sleep(0.01)

    def _ask(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send requests in one breath; their answers, in the order in which they come."""
        lines = []
        for request in requests:
            self._requests += 1
            lines.append(json.dumps(request | {"id": self._requests}).encode() + b"\n")
        self._socket.sendall(b"".join(lines))
        answers: list[dict[str, Any]] = []
        while len(answers) < len(requests):
            message = json.loads(self._lines.readline())
            if "event" not in message:
                answers.append(message)
        if bad := next((answer for answer in answers if not answer["ok"]), None):
            raise SpawnBenchError(f"the keeper: {bad['error']}")
        return answers

    def _spawn(self, instance: str, slot: str, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "op": "spawn",
            "instance": instance,
            "slot": slot,
            "nonce": f"bench-{instance}",
            "argv": [SLEEP, SLEEP_S],
            "environment": {},
            "working_directory": str(self._home),
            "log": str(self._node / "logs" / f"{instance}.log"),
            "note": {},
            "fence": [self._agent["agent"]],
            "options": options,
        }

    def start_s(self, count: int, *, template: bool) -> float:
        """Seconds for each of `count` processes; all are ended again, outside of that time."""
        options: dict[str, Any] = {}
        if template:
            argv = [sys.executable, "-P", "-m", "grange.supervisor.template", "bench_runner", "bench:Bench"]
            options["template"] = {"key": "bench", "argv": argv, "environment": {"PYTHONPATH": str(self._home)}}
            self._end(self._ask([self._spawn("warm.1.1", "warm", options)]), ["warm.1.1"])
        instances = [f"b-{number}.1.{self._requests}" for number in range(count)]
        requests = [self._spawn(instance, instance.split(".")[0], options) for instance in instances]
        begin = time.perf_counter()
        answers = self._ask(requests)
        took_s = time.perf_counter() - begin
        self._end(answers, instances)
        return took_s / count

    def _end(self, answers: list[dict[str, Any]], instances: list[str]) -> None:
        for answer in answers:
            os.kill(answer["pid"], signal.SIGKILL)
        give_up = time.monotonic() + LIMIT_S
        while any(row["exit"] is None for row in self._ask([{"op": "list"}])[0]["processes"]):
            if time.monotonic() > give_up:
                raise SpawnBenchError(f"processes are left {LIMIT_S:g} s after SIGKILL")
            time.sleep(0.01)
        self._ask([{"op": "forget", "instance": instance} for instance in instances])

    def close(self) -> None:
        """End the keeper, its agent and its template."""
        with contextlib.suppress(OSError, ValueError, SpawnBenchError):
            self._ask([{"op": "end", "fence": [self._agent["agent"]]}])
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._agent["agent_pid"], signal.SIGKILL)
        self._lines.close()
        self._socket.close()
        try:
            self._keeper.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()


def _bare_spawn() -> int:
    return os.posix_spawn(SLEEP, [SLEEP, SLEEP_S], {})


def _bare_spawn_with(folder: str, number: int) -> int:
    output = os.open(f"{folder}/{number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    actions = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    pid = os.posix_spawn(SLEEP, [SLEEP, SLEEP_S], {}, file_actions=actions)
    os.close(output)
    return pid


def _bare_fork() -> int:
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).pause()
        os._exit(0)
    return pid


def _bare_s(count: int, start: Callable[[int], int]) -> float:
    begin = time.perf_counter()
    pids = [start(number) for number in range(count)]
    took_s = time.perf_counter() - begin
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return took_s / count


@contextlib.contextmanager
def _keeper() -> Iterator[BenchKeeper]:
    with tempfile.TemporaryDirectory(prefix="gspawn-") as home:
        keeper = BenchKeeper(Path(home))
        try:
            yield keeper
        finally:
            keeper.close()


def measured() -> list[Samples]:
    """What `spawn_rows` tells, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "grange.harness.bench_spawn", "--json"],
        check=True,
        stdout=subprocess.PIPE,  # what it says of its troubles is for whoever runs this
        timeout=10 * LIMIT_S,
    )
    return [Samples(name, values_s) for name, values_s in json.loads(done.stdout).items()]


def spawn_rows(processes: int = PROCESSES, rounds: int = ROUNDS) -> list[Samples]:
    """Seconds for each process, by `NAMES`."""
    rows = [Samples(name) for name in NAMES]
    with _keeper() as keeper, tempfile.TemporaryDirectory(prefix="gspawn-") as logs:
        for _ in range(rounds):
            into = tempfile.mkdtemp(dir=logs)
            rows[0].add(_bare_s(processes, lambda _: _bare_spawn()))
            rows[1].add(_bare_s(processes, partial(_bare_spawn_with, into)))
            rows[2].add(keeper.start_s(processes, template=False))
            rows[3].add(_bare_s(processes, lambda _: _bare_fork()))
            rows[4].add(keeper.start_s(processes, template=True))
    return rows


def spawn_table(rows: Sequence[Samples]) -> str:
    """For people; the ratios are medians of the rounds' own."""
    bare = (rows[0], rows[0], rows[0], rows[3], rows[3])
    cells = [
        (
            row.name,
            f"{1000 * row.median_s:.2f} ms",
            f"{1000 * row.p90_s:.2f} ms",
            f"{median(mine / its for mine, its in zip(row.values_s, beside.values_s, strict=True)):.2f}",
        )
        for row, beside in zip(rows, bare, strict=True)
    ]
    return table((f"each of {PROCESSES} started at once", "median", "p90", "× bare"), cells)


def main(arguments: Sequence[str]) -> None:
    rows = spawn_rows()
    if "--json" in arguments:
        print(json.dumps({row.name: row.values_s for row in rows}))
    else:
        print(spawn_table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
