"""Starters: short-lived forks of the keeper that execute programs, many each.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and the keeper's other parts
alone.

A fork of the keeper for each process costs more than the program's start itself, and an execution by the keeper's own
`vfork` would hold the keeper up for as long as a slow file system likes. So the keeper forks a *starter* for all that
is to be started now. It executes one program after the other by `posix_spawn`, tells each process id at once, and ends.
Then its children are the keeper's, who is the subreaper; until then their exits are seen, but their statuses are not to
be had. A process with limits, a priority or a watchdog is forked by the starter and set up before it may go on.

A starter dies with its keeper, and may be killed while it hangs. Then it is not known whether the program that it was
at has been executed: that process is *lost*, and to be looked for by its slot's lock and its nonce. The programs behind
it are tried again. A few work at a time.
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from . import keeper_kernel as kernel
    from .keeper_loop import Loop
else:
    import keeper_kernel as kernel

STARTERS_MAX = min(4, os.cpu_count() or 1)  # at a time; each keeps a processor busy
STARTS_MIN = 16  # by one starter, if there are as many: fewer are not worth a fork …
STARTS_MAX = 64  # … and so long the statuses of exits may have to wait
PR_SET_PDEATHSIG = 1
REPORT_BYTES = 65536  # read at a time
REPORT_PAUSE_S = 0.003  # before more is read: a turn of the loop for each report would cost as much as a start
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)  # by the keeper; Python adds the last two


@dataclass(eq=False)
class Start:
    """One program to be executed, and who hears what became of it. The lock's descriptor belongs to the starters."""

    argv: list[str]
    environment: dict[str, str]
    directory: str
    log: str
    lock: int
    options: dict[str, Any]  # of a spawn request, checked
    label: int  # of the instance
    on_started: Callable[[int], None]  # process id; the program is executed
    on_failed: Callable[[str], None]
    on_lost: Callable[[], None]

    @property
    def needs_fork(self) -> bool:
        """What cannot be said to `posix_spawn`."""
        return bool(self.options.get("limits") or self.options.get("nice") or "WATCHDOG_USEC" in self.environment)


@dataclass(eq=False)
class Starter:
    """One starter, at work."""

    pid: int
    pidfd: int
    reports: int
    batch: list[Start]
    unread: bytearray = field(default_factory=bytearray)
    told: int = 0  # of the batch, in its order
    watched: bool = False  # its reports: not in a pause, nor when their end is read


class Starters:
    """The queue of all that is to be executed."""

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._waiting: deque[Start] = deque()
        self._starters: list[Starter] = []
        self._at_end: list[Callable[[], None]] = []
        self._libc = ctypes.CDLL(None)

    @property
    def pids(self) -> set[int]:
        return {starter.pid for starter in self._starters}

    @property
    def under_way(self) -> bool:
        """Whether a process may be there whose id is not known yet, or be somebody else's child."""
        return bool(self._starters)

    def start(self, start: Start) -> None:
        if not self._waiting:
            self._loop.soon(self._next)  # with all others of this turn
        self._waiting.append(start)

    def cancel(self, start: Start) -> None:
        """Give up what hangs; a starter that is at it goes with it."""
        if start in self._waiting:
            self._waiting.remove(start)
            os.close(start.lock)
            start.on_failed("it was signalled before it could be started")
        for starter in self._starters:
            if start in starter.batch:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(starter.pidfd, signal.SIGKILL)

    def at_end(self, call: Callable[[], None]) -> None:
        """Called when the next starter has ended, and its children are the keeper's."""
        self._at_end.append(call)

    def _next(self) -> None:
        while self._waiting and (free := STARTERS_MAX - len(self._starters)) > 0:
            share = -(-len(self._waiting) // free)
            count = min(len(self._waiting), max(STARTS_MIN, share), STARTS_MAX)
            self._fork([self._waiting.popleft() for _ in range(count)])

    def _fork(self, batch: list[Start]) -> None:
        try:
            reader, writer = os.pipe()
            keeper, pid = os.getpid(), os.fork()
        except OSError as error:  # no more descriptors, processes or memory
            for start in batch:
                os.close(start.lock)
                start.on_failed(f"fork: {error.strerror}")
            return
        if pid == 0:
            self._work(batch, writer, keeper)
        os.close(writer)
        os.set_blocking(reader, False)
        starter = Starter(pid, os.pidfd_open(pid), reader, batch)
        self._starters.append(starter)
        self._watch(starter)
        self._loop.watch(starter.pidfd, lambda: self._on_end(starter))

    def _watch(self, starter: Starter) -> None:
        if starter in self._starters:
            starter.watched = True
            self._loop.watch(starter.reports, lambda: self._on_reports(starter))

    def _on_reports(self, starter: Starter) -> None:
        try:
            data = os.read(starter.reports, REPORT_BYTES)
        except BlockingIOError:
            return
        if starter.watched:
            starter.watched = False
            self._loop.unwatch(starter.reports)
            if data:  # otherwise it has said all
                self._loop.after(REPORT_PAUSE_S, lambda: self._watch(starter))
        starter.unread += data
        while (end := starter.unread.find(b"\n")) >= 0:
            pid, why = json.loads(starter.unread[:end])
            del starter.unread[: end + 1]
            start = starter.batch[starter.told]
            starter.told += 1
            os.close(start.lock)  # the process has its own copy, and with it the lock
            if pid:
                start.on_started(pid)
            else:
                start.on_failed(why)

    def _on_end(self, starter: Starter) -> None:
        told = -1
        while told != starter.told:  # what it had said before it ended
            told = starter.told
            self._on_reports(starter)
        if starter.watched:
            self._loop.unwatch(starter.reports)
        self._loop.unwatch(starter.pidfd)
        os.close(starter.reports)
        os.close(starter.pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(starter.pid, 0)
        self._starters.remove(starter)
        calls, self._at_end = self._at_end, []
        for call in calls:
            call()
        lost, *untouched = starter.batch[starter.told :] or (None,)
        self._waiting.extendleft(reversed(untouched))
        self._next()
        if lost is not None:
            kernel.say(f"a starter (pid {starter.pid}) has ended while it executed {lost.argv[0]}")
            os.close(lost.lock)
            lost.on_lost()

    # -- the other side: what a starter does --

    def _work(self, batch: list[Start], writer: int, keeper: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != keeper:
                os._exit(0)
            _close_all_but({writer, *(start.lock for start in batch)})
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for start in batch:
                report: tuple[int, str] = (0, "")
                kernel.give_label(0, start.label)  # which the program inherits
                try:
                    report = (_execute(start), "")
                except Exception as error:  # whatever it is: the others are not to blame
                    report = (0, str(error))
                os.write(writer, json.dumps(report).encode() + b"\n")
                os.close(start.lock)
        except BaseException as error:
            kernel.say(f"the starter: {error!r}")
        os._exit(0)


def _close_all_but(kept: set[int]) -> None:
    """Nothing of the keeper's stays open here: neither its own lock nor a connection."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, 1 << 30)


class _CannotStart(Exception):
    """Says why in one sentence."""


def _execute(start: Start) -> int:
    """The process id of the program, which is executed. Raises `_CannotStart`."""
    if start.needs_fork:
        return _execute_set_up(start)
    what = start.log
    here = os.sched_getaffinity(0)
    try:
        output = os.open(start.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            what = start.directory
            os.chdir(start.directory)
            if problem := kernel.set_up(0, start.options):
                raise _CannotStart(problem)
            what = start.argv[0]
            return _spawn(start, output)
        finally:
            os.close(output)
    except OSError as error:
        raise _CannotStart(f"{what}: {error.strerror}") from None
    finally:
        if start.options.get("cpus"):
            os.sched_setaffinity(0, here)


def _spawn(start: Start, output: int) -> int:
    actions = [
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
        (os.POSIX_SPAWN_DUP2, start.lock, start.lock),  # that is: inherited
    ]
    refused: OSError | None = None
    for program in _programs(start.argv[0], start.environment.get("PATH", os.defpath)):
        try:
            return os.posix_spawn(
                program,
                start.argv,
                start.environment,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=IGNORED,
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            refused = refused or error
        except OSError as error:
            refused = error
    raise refused or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _programs(name: str, path: str) -> list[str]:
    """Where a program may be: a name without a slash is looked for in the process's own PATH."""
    if "/" in name:
        return [name]
    places = [os.path.join(folder, name) for folder in path.split(os.pathsep)]
    return [place for place in places if os.path.exists(place)]


def _execute_set_up(start: Start) -> int:
    try:
        pid, control = kernel.start_program(
            start.argv, start.environment, start.directory, start.log, [start.lock], start.options
        )
    except OSError as error:  # no more processes or memory
        raise _CannotStart(f"fork: {error.strerror}") from None
    with control:
        with contextlib.suppress(BrokenPipeError):  # it has said why already
            control.send(b"go")
        problem = kernel.hear(control).decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        raise _CannotStart(problem)
    return pid
