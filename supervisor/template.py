"""A template: a process that has done the imports of an actor, and forks actors from itself.

    python -P -m grange.supervisor.template RUNNER ACTOR

RUNNER is the module that runs an actor by `main([ACTOR])`, ACTOR is `package.module:Class`. The keeper starts the
template and asks it over the socket in GRANGE_TEMPLATE_SOCKET; `keeper_forks.py` is that side.

All requests that are there are forked together: a child of the template forks a process for each and ends, so that they
become children of the keeper, who is the subreaper. Each of them waits for `go`, sets itself up as a program that is
executed would have been, and runs the actor. Its arguments in /proc stay the template's; its nonce is written over the
place that the template's own environment has for it, so that it is recognised like any other process.

Nothing here may start a thread or use gRPC before the fork. A library that starts a thread at its import makes a fork
unsafe: the request is answered with that. When a source file that was read has changed, the template ends, and the
keeper starts another with what is there now. An actor that cannot be imported is forked all the same: it meets the
error again, and says it as it always would.
"""

import contextlib
import ctypes
import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

REQUEST_BYTES_MAX = 256 * 1024
FORKS_AT_ONCE = 16  # so that the keeper can set those up while more are forked
LOOK_AGAIN_S = 1.0  # whether a source file has changed
PR_SET_NAME = 15
NAME_BYTES_MAX = 15  # of a process's name, for the kernel


class Runner(Protocol):
    """The module that runs an actor."""

    def main(self, arguments: Sequence[str]) -> int: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What a forked process is to become."""

    request: Mapping[str, Any]  # environment, directory, log
    control: socket.socket
    lock: int

    def close(self) -> None:
        """Here; a process that is forked has its own."""
        self.control.close()
        os.close(self.lock)


class Sources:
    """The files that were read by the imports, and whether one of them is another now."""

    def __init__(self) -> None:
        self._looked_s = time.monotonic()
        self._times = dict(self._read(_files()))

    def _read(self, files: Iterable[str]) -> Iterable[tuple[str, int]]:
        for file in files:
            try:
                yield file, os.stat(file).st_mtime_ns
            except OSError:
                yield file, 0

    def have_changed(self) -> bool:
        """Looked at no more often than every `LOOK_AGAIN_S`."""
        now = time.monotonic()
        if now < self._looked_s + LOOK_AGAIN_S:
            return False
        self._looked_s = now
        return dict(self._read(self._times)) != self._times


def _files() -> list[str]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [file for file in files if isinstance(file, str)]


class NoncePlace:
    """The place of the nonce in the environment that /proc shows; to be found before anything changes it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._libc.getenv.restype = ctypes.c_void_p
        self._address = self._libc.getenv(b"GRANGE_NONCE")
        self._room = len(os.environ.get("GRANGE_NONCE", ""))

    def show(self, nonce: str) -> None:
        text = nonce.encode()
        if self._address and len(text) <= self._room:
            ctypes.memmove(self._address, text.ljust(self._room, b"\0"), self._room)

    def name(self, name: str) -> None:
        """What the kernel calls this process."""
        self._libc.prctl(PR_SET_NAME, name.encode()[:NAME_BYTES_MAX], 0, 0, 0)


def fork_away(count: int) -> tuple[list[int], int | None]:
    """Fork processes that are nobody's children but the subreaper's.

    Returns their ids here (negative: the error number of one that could not be forked), fewer than `count` when it was
    cut short, and None; in each of them its number, from 0. Raises `OSError`.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        for number in range(count):
            try:
                pid = os.fork()
            except OSError as error:
                pid = -(error.errno or errno.EAGAIN)
            if pid == 0:
                os.close(writer)
                return [], number
            os.write(writer, b"%d\n" % pid)
        os._exit(0)
    os.close(writer)
    with open(reader) as answers:
        pids = [int(line) for line in answers]
    os.waitpid(child, 0)  # from here on its children have another parent
    return pids, None


def serve(keeper: socket.socket) -> Task | None:
    """Fork whenever the keeper asks; returns its task in a forked process, None in the template when it is to end."""
    sources = Sources()
    while True:
        tasks = receive(keeper)
        if not tasks or sources.have_changed():
            return None
        answers = []
        try:
            threads = len(os.listdir("/proc/self/task"))
            if threads > 1:
                raise OSError(
                    0,
                    f"the imports of its template have started {threads - 1} threads, so it cannot be forked: "
                    "set template = false",
                )
            pids, number = fork_away(len(tasks))
            if number is not None:
                keeper.close()
                mine = tasks.pop(number)
                for task in tasks:
                    task.close()
                return mine
            answers = [f"pid {pid}" if pid > 0 else f"failed {os.strerror(-pid)}" for pid in pids]
            why = "its template was disturbed"
        except OSError as error:
            why = str(error.strerror)
        answers += [f"failed {why}"] * (len(tasks) - len(answers))
        for task, answer in zip(tasks, answers, strict=True):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # no longer wanted
                task.control.sendall(answer.encode())
            task.close()


def receive(keeper: socket.socket) -> list[Task]:
    """What is asked for now, waited for when there is nothing; empty when the keeper is gone."""
    tasks: list[Task] = []
    while len(tasks) < FORKS_AT_ONCE:
        if tasks and not select.select([keeper], [], [], 0)[0]:
            break
        text, descriptors, _, _ = socket.recv_fds(keeper, REQUEST_BYTES_MAX, 2)
        if not text:
            break
        tasks.append(Task(json.loads(text), socket.socket(fileno=descriptors[0]), descriptors[1]))
    return tasks


def become(task: Task, place: NoncePlace) -> None:
    """Set this process up as the keeper does it with a program, once the keeper says `go`."""
    os.setsid()
    if task.control.recv(2) != b"go":
        os._exit(0)
    environment, log, directory = (task.request[name] for name in ("environment", "log", "directory"))
    what = log
    try:
        place.show(environment["GRANGE_NONCE"])
        os.environ.clear()
        os.environ.update(environment)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.set_inheritable(task.lock, True)
        what = directory
        os.chdir(directory)
    except OSError as error:
        task.control.sendall(f"{what}: {error.strerror}".encode())
        os._exit(127)
    place.name(environment.get("GRANGE_MEMBER", "").rpartition("/")[2])
    task.control.close()


def main(arguments: Sequence[str]) -> int:
    """Serve until the keeper is gone; in each forked process run the actor. The exit code."""
    if len(arguments) != 2 or "GRANGE_TEMPLATE_SOCKET" not in os.environ:
        sys.stderr.write("usage: the keeper starts templates; see grange.supervisor.template\n")
        return os.EX_USAGE
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runner_name, actor = arguments
    place = NoncePlace()
    keeper = socket.socket(fileno=int(os.environ.pop("GRANGE_TEMPLATE_SOCKET")))
    keeper.set_inheritable(False)
    runner = cast(Runner, importlib.import_module(runner_name))
    with contextlib.suppress(Exception):
        importlib.import_module(actor.partition(":")[0])
    gc.collect()
    gc.freeze()  # what is there now is never looked at again, so that its pages stay shared
    task = serve(keeper)
    if task is None:
        return 0
    become(task, place)
    return runner.main([actor])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
