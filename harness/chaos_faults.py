"""What `grange chaos` does to a farm: which faults there are, how one is chosen, and how it is carried out.

A fault is chosen by a seeded generator among what the farm has (`choose`, which touches nothing), and carried out on
exactly the processes that were found to belong to the farm's home (`Hand`), each identified by its start time.

A connection between two programs on this machine is cut for good by shutting down the very socket that a program has
open, which `pidfd_getfd` lends to anybody who may trace it. Both ends see what they would see of a broken network: the
end of the stream.
"""

import ctypes
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random

import psutil

from grange.core.home import Home
from grange.supervisor.belongings import Belonging, Kind

STOPPED_LEAST_S = 0.3
STOPPED_MOST_S = 7.0  # longer than any heartbeat's limit: what hangs so long is taken for dead, and comes back
PROCESS_STOPPED_MOST_S = 2.0  # shorter than a heartbeat's limit: nobody may make anything of it
_PIDFD_GETFD = 438  # the system call's number, on every architecture


class Does(StrEnum):
    """What is done to a target."""

    KILL = "kill"  # SIGKILL
    STOP = "stop"  # SIGSTOP, and after a while SIGCONT
    HANG = "hang"  # SIGSTOP, for good
    CUT = "cut"  # the connections that others have made to it


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    does: Does
    targets: tuple[str, ...]  # as `Belonging.what`
    kinds: tuple[Kind, ...]  # of the targets
    for_s: float = 0.0  # of a stop

    @property
    def kind(self) -> str:
        """What it is counted as: "kill agent", "kill agent + keeper"."""
        return f"{self.does} {' + '.join(dict.fromkeys(self.kinds))}"

    def __str__(self) -> str:
        how_long = f" for {self.for_s:.1f} s" if self.for_s else ""
        links = "the links of " if self.does is Does.CUT else ""
        return f"{self.does} {links}{', '.join(self.targets)}{how_long}"


@dataclass(frozen=True, slots=True)
class Targets:
    """What of a farm there is to be hit. Each is sorted, so that a seed means the same again."""

    sub_farms: tuple[str, ...]
    nodes: tuple[str, ...]  # "sf01/n1"
    processes: tuple[str, ...]
    spare: tuple[str, ...] = ()  # of the processes: those that the run goes on without
    watched: tuple[str, ...] = ()  # of the spare ones: those whose silence is noticed
    cuts: bool = True  # whether connections can be cut here


def choose(random: Random, targets: Targets) -> Fault:
    """The next fault; the same for the same state of the generator and the same targets."""
    makers = [_kill_one, _kill_one, _kill_several, _stop]
    if targets.spare:
        makers += [_kill_process, _kill_process]
    if targets.watched:
        makers.append(_hang_process)
    if targets.cuts:
        makers.append(_cut)
    return random.choice(makers)(random, targets)


def _kill_one(random: Random, targets: Targets) -> Fault:
    kind, name = _program(random, targets)
    return Fault(Does.KILL, (name,), (kind,))


def _kill_several(random: Random, targets: Targets) -> Fault:
    """All that watches over a node, or the whole of a control machine."""
    if random.random() < 0.5:
        node = random.choice(targets.nodes)
        return Fault(Does.KILL, (f"agent {node}", f"keeper {node}"), (Kind.AGENT, Kind.KEEPER))
    controllers = ("farm", *targets.sub_farms)
    return Fault(Does.KILL, controllers, (Kind.FARM, *(Kind.SUB_FARM for _ in targets.sub_farms)))


def _stop(random: Random, targets: Targets) -> Fault:
    if random.random() < 0.3:
        process = random.choice(targets.processes)
        for_s = random.uniform(STOPPED_LEAST_S, PROCESS_STOPPED_MOST_S)
        return Fault(Does.STOP, (process,), (Kind.PROCESS,), round(for_s, 2))
    kind, name = _program(random, targets)
    return Fault(Does.STOP, (name,), (kind,), round(random.uniform(STOPPED_LEAST_S, STOPPED_MOST_S), 2))


def _cut(random: Random, targets: Targets) -> Fault:
    kind, name = _program(random, targets)
    return Fault(Does.CUT, (name,), (kind,))


def _kill_process(random: Random, targets: Targets) -> Fault:
    return Fault(Does.KILL, (random.choice(targets.spare),), (Kind.PROCESS,))


def _hang_process(random: Random, targets: Targets) -> Fault:
    return Fault(Does.HANG, (random.choice(targets.watched),), (Kind.PROCESS,))


def _program(random: Random, targets: Targets) -> tuple[Kind, str]:
    kind = random.choice((Kind.FARM, Kind.SUB_FARM, Kind.AGENT, Kind.KEEPER))
    if kind is Kind.FARM:
        return kind, "farm"
    if kind is Kind.SUB_FARM:
        return kind, random.choice(targets.sub_farms)
    return kind, f"{kind} {random.choice(targets.nodes)}"


class Hand:
    """Carries faults out on one farm, and takes back what can be taken back."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._suspended: list[tuple[Fault, psutil.Process]] = []

    def strike(self, fault: Fault, targets: Sequence[Belonging]) -> None:
        """Do it to these processes; one that is gone meanwhile is gone."""
        for target in targets:
            with suppress(psutil.NoSuchProcess):
                if fault.does is Does.KILL:
                    target.process.kill()
                elif fault.does is Does.CUT:
                    cut(target.pid, self._socket(target))
                else:
                    target.process.suspend()
                    self._suspended.append((fault, target.process))

    def release(self, fault: Fault) -> None:
        """Let go on what this fault has stopped."""
        for one, process in self._suspended:
            if one is fault:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        self._suspended = [(one, process) for one, process in self._suspended if one is not fault]

    def free(self) -> None:
        """Let go on all that was stopped, and what was made to hang if nobody has ended it."""
        for fault, _ in tuple(self._suspended):
            self.release(fault)

    def _socket(self, target: Belonging) -> str:
        """Where others dial in at a program."""
        sub_farm, _, node = target.name.partition("/")
        if target.kind is Kind.FARM:
            return self._home.farm_socket
        if target.kind is Kind.SUB_FARM:
            return self._home.sub_farm_socket(target.name)
        name = "keeper.sock" if target.kind is Kind.KEEPER else "actor.sock"
        return f"{self._home.node_directory(sub_farm, node)}/{name}"


def can_cut(pid: int) -> bool:
    """Whether this system lends us what a program of ours has open (ptrace_scope may forbid it)."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        os.close(_borrowed(pidfd, 0))
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def cut(pid: int, path: str) -> int:
    """Shut down the connections that a process has accepted at the socket at `path`; returns how many there were."""
    count = 0
    for connection in _sockets(pid):
        with connection, suppress(OSError):
            listens = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if connection.family == socket.AF_UNIX and connection.getsockname() == path and not listens:
                connection.shutdown(socket.SHUT_RDWR)
                count += 1
    return count


def _sockets(pid: int) -> Iterator[socket.socket]:
    """Every socket that a process has open, lent for as long as it is looked at."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            for number in os.listdir(folder):
                with suppress(OSError):
                    if os.readlink(f"{folder}/{number}").startswith("socket:"):
                        yield socket.socket(fileno=_borrowed(pidfd, int(number)))
        finally:
            os.close(pidfd)


def _borrowed(pidfd: int, number: int) -> int:
    """A descriptor of our own for what another process has open. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(_PIDFD_GETFD, pidfd, number, 0))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor
