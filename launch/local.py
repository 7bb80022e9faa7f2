"""The launcher for this machine: keepers and controllers as children that nobody takes along.

Each gets a session of its own, nothing on its standard input and a log for its output. It is given a moment to fail: a
program that ends within it with an error is reported with the last lines of its log; after that it is on its own, and
is only reaped. Code 75 says that one of its kind runs already: what was wanted.

Programs are started by `subprocess`, in a thread, not by asyncio: that is a vfork, which the threads of gRPC in the
launching program do not mind.
"""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from grange.core.failures import describe_exit
from grange.core.node import NodeSettings

from .launcher import LaunchError

KEEPER_PROGRAM = Path(__file__).parent.parent / "supervisor" / "keeper.py"  # run by its path, with nothing of ours
EXIT_TAKEN = 75
EXIT_FENCED = 76
EXITS_IN_ORDER = (0, EXIT_TAKEN, EXIT_FENCED)  # released, one of its kind runs already, replaced
FAIL_WINDOW_S = 0.3  # a program that cannot start says so within this
DECIDE_LIMIT_S = 20.0  # for a keeper to take its node, or to find another there, on a busy machine
LAST_LINES = 5
_OF_A_FRAME = "  "  # how a line of Python's tracebacks begins, but the first and the last
FILES_AT_START = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # what the launching program was started with


class LocalLauncher:
    """Launches on this machine, as the same user. `close()` ends nothing that it has launched.

    `ended(what, reason)` is told of a program that ends with an error later on, `what` as it was launched.
    """

    def __init__(self, ended: Callable[[str, str], None] = lambda what, reason: None) -> None:
        self._ended = ended
        self._reapers: set[asyncio.Task[int]] = set()

    async def launch_keeper(self, node_path: str, node_directory: str, settings: NodeSettings) -> None:
        """Settings that a running keeper's agent does not have yet take effect when that starts again."""
        directory = Path(node_directory)
        try:
            await asyncio.to_thread(_write_settings, directory, settings)
        except OSError as error:
            raise LaunchError(
                f"node {node_path}: its directory {node_directory} cannot be written: {error.strerror}",
                "Make room or correct the permissions there, then set up again",
            ) from None
        argv = [sys.executable, "-I", "-S", str(KEEPER_PROGRAM), node_directory]
        # The keeper closes what it inherits when it is decided whether it has the node: the pipe's end says so.
        decided, inherited = os.pipe()
        try:
            name, log = f"keeper of {node_path}", str(directory / "keeper.log")
            reaper = await self._start(name, argv, log, inherited)
            os.close(inherited)
            inherited = -1
            if not await _until_closed(decided, DECIDE_LIMIT_S):
                raise LaunchError(f"{name} was not up {DECIDE_LIMIT_S:g} s after it was started", f"See {log}")
            await self._check(name, reaper, log, node_path)
        finally:
            os.close(decided)
            if inherited >= 0:
                os.close(inherited)

    async def launch_controller(self, name: str, arguments: Sequence[str], log_path: str) -> None:
        reaper = await self._start(name, [sys.executable, *arguments], log_path)
        await self._check(name, reaper, log_path, name)

    async def _start(self, name: str, argv: Sequence[str], log_path: str, *inherited: int) -> "asyncio.Task[int]":
        try:
            process = await asyncio.to_thread(_popen, argv, log_path, inherited)
        except OSError as error:
            what = error.filename or argv[0]  # the program, or its log
            raise LaunchError(f"{name} could not be started: {what}: {error.strerror}") from None
        reaper = asyncio.create_task(_reap(process))
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        return reaper

    async def _check(self, name: str, reaper: "asyncio.Task[int]", log_path: str, what: str) -> None:
        done, _ = await asyncio.wait((reaper,), timeout=FAIL_WINDOW_S)
        if not done:
            reaper.add_done_callback(lambda task: self._reaped(task, name, log_path, what))
        elif reaper.result() == -signal.SIGKILL:
            self._ended(what, _how(name, reaper.result(), log_path))  # by somebody: it says nothing of the next one
        elif reaper.result() not in EXITS_IN_ORDER:
            raise LaunchError(_how(name, reaper.result(), log_path) + " as soon as it was started", f"See {log_path}")

    def _reaped(self, reaper: "asyncio.Task[int]", name: str, log_path: str, what: str) -> None:
        if not reaper.cancelled() and reaper.result() not in EXITS_IN_ORDER:
            self._ended(what, _how(name, reaper.result(), log_path))

    async def close(self) -> None:
        """Stop waiting for what was launched; it lives on."""
        for reaper in list(self._reapers):
            reaper.cancel()
        await asyncio.gather(*self._reapers, return_exceptions=True)


def kill_program(pid: int, arguments: Sequence[str]) -> bool:
    """Kill process `pid` if it is a program that was launched with these last arguments; whether that was done."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # it has gone
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        if words[-len(arguments) :] != [os.fsencode(word) for word in arguments]:
            return False  # another process has its number
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def _how(name: str, code: int, log_path: str) -> str:
    how = f"{name} {describe_exit({'signal': -code} if code < 0 else {'code': code})}"
    return how if code == -signal.SIGKILL else f"{how} ({_last_lines(log_path)})"  # which leaves no time for last words


def _write_settings(directory: Path, settings: NodeSettings) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = settings.to_json()
    path = directory / "node.json"
    if path.exists() and path.read_text() == text:
        return
    temporary = directory / f"node.json.{threading.get_native_id()}"  # several may be launching at once
    temporary.write_text(text)
    temporary.replace(path)


def _popen(argv: Sequence[str], log_path: str, inherited: Sequence[int]) -> "subprocess.Popen[bytes]":
    Path(log_path).parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "ab") as log:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=inherited
        )
    # A controller allows itself more files; what it launches, and a role's process below, finds what is usual here.
    with contextlib.suppress(OSError):  # it has ended
        hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES_AT_START, hard))
    return process


async def _until_closed(descriptor: int, limit_s: float) -> bool:
    """Wait for the other end of a pipe to be closed by everybody; whether it was, within the limit."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    loop.add_reader(descriptor, closed.set)
    try:
        async with asyncio.timeout(limit_s):
            await closed.wait()
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)


async def _reap(process: "subprocess.Popen[bytes]") -> int:
    """The exit code of a child, once it has one; cancelled, the child lives on unwatched."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
        return process.wait()
    except asyncio.CancelledError:
        process.returncode = 0  # left to itself on purpose: no warning
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _last_lines(path: str) -> str:
    lines = [line for line in Path(path).read_text(errors="replace").splitlines()[-LAST_LINES:] if line.strip()]
    if any(line.startswith(_OF_A_FRAME) for line in lines):
        lines = lines[-1:]  # which says what was wrong; where, is for the log
    return " | ".join(line.strip() for line in lines) or "it said nothing"
