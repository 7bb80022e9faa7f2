"""What a crash leaves behind on this machine, found from the outside: nothing of the farm is asked or needed.

A crash of the machine or a `kill -9` of everything leaves sockets on which nobody listens, locks that nobody holds,
books of processes that an older boot of the machine had, shared memory that nobody has open, and at worst processes
that nobody watches. None of it does harm: whoever starts next takes it over. But an operator wants to know, and may
want it gone.

Each finding says what it is, what to do about it, and, when it can be cleared, how. Clearing checks once more that it
still is what was found: a socket is removed under the lock of whoever would listen on it, a process is signalled by its
start time.
"""

import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from grange.core import keeping
from grange.core.errors import AddressInUse
from grange.core.home import Home
from grange.proto.sockets import SocketLock
from grange.schema.errors import SchemaError
from grange.schema.outbox import Outbox
from grange.supervisor.belongings import Belonging, Kind, belongings, serving

from .unfinished import ASIDE, put_aside, unfinished_files

TERMINATE_S = 3.0  # from SIGTERM to SIGKILL, for a process that nobody watches
KILL_S = 2.0  # for SIGKILL to take effect
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should not be as it is."""

    kind: str  # a word to filter by: "process", "stopped", "socket", "lock", "book", "shared memory", "outbox", …
    what: str
    to_do: str
    clear: Callable[[], None] | None = None  # raises `OSError`
    done: str = "cleared"  # what clearing does
    ends: Belonging | None = None  # it is cleared by ending this: all that are to end together, with `end_all`

    @property
    def is_clearable(self) -> bool:
        """False: a person has to decide."""
        return self.clear is not None or self.ends is not None


@dataclass(frozen=True, slots=True)
class Found:
    """What runs of a farm, and what is wrong with it."""

    serving: dict[str, Belonging]
    processes: tuple[Belonging, ...]
    findings: tuple[Finding, ...]

    @property
    def has_farm(self) -> bool:
        return Kind.FARM in {one.kind for one in self.serving.values()}


def look(home: Home) -> Found:
    """Everything that can be seen of the farm on this machine."""
    everything = belongings(home)
    served = serving(home, everything)
    processes = tuple(one for one in everything if one.kind is Kind.PROCESS)
    listened = _listened()
    findings = [
        *_stopped(everything),
        *_unwatched(processes, served),
        *_sockets(home, listened),
        *_locks(home),
        *_books(home, served),
        *_shared_memory(),
        *_unfinished(home, processes),
    ]
    if Kind.FARM not in {one.kind for one in served.values()}:
        findings += _outbox(home)
    return Found(served, processes, tuple(findings))


# ---- processes ------------------------------------------------------------------------------------------------------


def _stopped(everything: Sequence[Belonging]) -> Iterator[Finding]:
    for one in everything:
        with suppress(psutil.Error):
            if one.process.status() == psutil.STATUS_STOPPED:
                who = one.what if one.kind is not Kind.FARM else "the farm controller"
                yield Finding(
                    "stopped", f"{who} (pid {one.pid}) is stopped by a signal", f"Let it go on: kill -CONT {one.pid}"
                )


def _unwatched(processes: Sequence[Belonging], served: dict[str, Belonging]) -> Iterator[Finding]:
    """Processes on a node where neither a keeper nor an agent lives, which would bring each other back."""
    for one in processes:
        node = one.name.rpartition("/")[0]
        if f"{Kind.KEEPER} {node}" not in served and f"{Kind.AGENT} {node}" not in served:
            yield Finding(
                "process",
                f"{one.name} (pid {one.pid}) runs, and nobody watches over it",
                "grange up takes it back if the farm is to go on; --clear ends it",
                ends=one,
            )


def end_all(ones: Sequence[Belonging], progress: Callable[[str], None]) -> set[int]:
    """End processes, first politely, all in the time that one may take; the pids of those that are still there.

    `progress` gets a sentence whenever they are waited for.
    """
    left = [one.process for one in ones]
    if left:
        noun = "process" if len(left) == 1 else "processes"
        late = f"what is still there after {TERMINATE_S:g} s is killed"
        progress(f"ending {len(left)} {noun} that nobody watches over; {late}")
        left = _signalled(left, signal.SIGTERM, TERMINATE_S)
    if left:
        progress(f"still there after {TERMINATE_S:g} s, and killed now: {len(left)} of {len(ones)}")
        left = _signalled(left, signal.SIGKILL, KILL_S)
    return {process.pid for process in left}


def _signalled(processes: Sequence[psutil.Process], number: signal.Signals, limit_s: float) -> list[psutil.Process]:
    """Those that a signal has not ended within the limit."""
    for process in processes:
        with suppress(psutil.Error):  # gone, or not ours to end: then it is still there afterwards
            process.send_signal(number)
            process.resume()  # one that is stopped could not hear
    left: list[psutil.Process] = psutil.wait_procs(processes, timeout=limit_s)[1]
    return left


# ---- files ----------------------------------------------------------------------------------------------------------


def _listened() -> set[str]:
    """The paths of all sockets that are bound on this machine."""
    lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]
    return {words[7] for line in lines if len(words := line.split(maxsplit=7)) == 8}


def _sockets(home: Home, listened: set[str]) -> Iterator[Finding]:
    for folder, _, names in os.walk(home.root):
        # A sub-farm at work clears up after its processes itself: at its end, or when one is started again.
        sub_farm = os.path.basename(folder)
        if folder == home.exchange(sub_farm) and _is_held(Path(f"{home.sub_farm_socket(sub_farm)}.lock")):
            continue
        for name in sorted(names):
            path = os.path.join(folder, name)
            with suppress(OSError):
                if stat.S_ISSOCK(os.lstat(path).st_mode) and path not in listened:
                    yield Finding(
                        "socket",
                        f"nobody listens on {path}",
                        "It does no harm, and is replaced by the next program; --clear removes it",
                        partial(_remove_socket, path),
                    )


def _remove_socket(path: str) -> None:
    try:
        with SocketLock(path) if Path(f"{path}.lock").exists() else nullcontext():
            if path not in _listened():
                Path(path).unlink(missing_ok=True)
    except AddressInUse as error:
        raise OSError(str(error)) from None


def _locks(home: Home) -> Iterator[Finding]:
    root = Path(home.root)
    patterns = ("farm.sock.lock", "sf/*/c.sock.lock", "nodes/*/*/keeper.lock", "nodes/*/*/locks/*.lock")
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        # A keeper at work has the locks of its slots at hand, held or not.
        if path.parent.name == "locks" and _is_held(path.parent.parent / "keeper.lock"):
            continue
        if path.exists() and not _is_held(path):
            yield Finding(
                "lock",
                f"nobody holds {path}",
                "It does no harm, and is taken by the next program; --clear removes it",
                partial(_remove_lock, path),
            )


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _remove_lock(path: Path) -> None:
    """Under the lock itself, so that nobody has just taken it."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{path} was taken just now") from None
        path.unlink()


def _books(home: Home, served: dict[str, Belonging]) -> Iterator[Finding]:
    """Nodes whose keeper died with the machine: by their books processes run that an older boot had."""
    boot_id = BOOT_ID.read_text().strip()
    for path in sorted(Path(home.root).glob("nodes/*/*/manifests.jsonl")):
        node = f"{path.parent.parent.name}/{path.parent.name}"
        if f"{Kind.KEEPER} {node}" in served or f"{Kind.AGENT} {node}" in served:
            continue
        manifests, _ = keeping.replay(path.read_text(errors="replace"))
        old = [one for one in manifests.values() if one.alive and one.boot_id and one.boot_id != boot_id]
        if old:
            yield Finding(
                "book",
                f"the book of {node} is older than the machine's last start: {len(old)} processes of it are gone",
                "grange up tells of their end and goes on; --clear forgets them",
                partial(path.unlink, missing_ok=True),
            )


def _shared_memory() -> Iterator[Finding]:
    """Segments of ours that nobody has open or mapped; of whatever farm of this user, for they do not say."""
    segments = sorted(path for path in SHARED_MEMORY.glob("grange-*") if path.stat().st_uid == os.getuid())
    if not segments:
        return
    used = set(_mapped())
    for path in segments:
        if str(path) not in used:
            yield Finding(
                "shared memory",
                f"nobody uses the shared memory {path}",
                "--clear gives it back",
                partial(path.unlink, missing_ok=True),
            )


def _mapped() -> Iterator[str]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            yield from (mapped.path for mapped in process.memory_maps())
            yield from (file.path for file in process.open_files())


def _unfinished(home: Home, processes: Sequence[Belonging]) -> Iterator[Finding]:
    """Files that nobody will finish: of a run in which no process of the farm writes any more."""
    held = set[str]()
    for process in processes:
        with suppress(psutil.Error):
            held.update(file.path for file in process.process.open_files())
    left = [one for one in unfinished_files(home) if not one.is_aside]
    open_runs = {one.run_number for one in left if str(one.path) in held}
    for one in left:
        if one.run_number not in open_runs:
            yield Finding(
                "unfinished file",
                f"run {one.run_number} left {one.path} unfinished ({one.size_bytes:,} bytes)",
                f"What is whole in it can be read (docs/runs.md). --clear keeps it, and moves it to {ASIDE}/ beside it",
                partial(put_aside, one),
                f"kept, in {ASIDE}/ beside it",
            )


def _outbox(home: Home) -> Iterator[Finding]:
    """What a farm controller has promised to record, and did not live to."""
    if not Path(home.outbox).exists():
        return
    try:
        with SocketLock(home.farm_socket, shared=True):  # no controller opens it meanwhile
            outbox = Outbox(Path(home.outbox))
            waiting = len(outbox.pending())
            outbox.close()
    except (AddressInUse, SchemaError) as error:
        yield Finding("outbox", f"the outbox cannot be looked at: {error}", "See the log: grange logs")
        return
    if waiting:
        yield Finding("outbox", f"{waiting} records wait for the database", "grange up writes them, in their order")
