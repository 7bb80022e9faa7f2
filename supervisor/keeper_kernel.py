"""What a keeper asks the kernel and has it do: processes as /proc tells them, locks, files, and starting programs.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and `core/keeping.py` alone.

A process is set up (`set_up`) between its fork and its program, so that a limit that cannot be set is found before
anything runs, and is found in the same way for programs that are executed, which do it themselves, and for actors that
a template has forked, for which it is done from outside.
"""

import contextlib
import fcntl
import os
import resource
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from grange.core import keeping
else:
    import keeping

STAT_BYTES_MAX = 4096  # a line of some 300 bytes
LIMITS_BYTES_MAX = 4096  # sixteen lines of 80 bytes
LOG_BYTES_MAX = 1_000_000  # of the keeper's log, and of the agent's when an agent is started; as much is kept of before


def read_stat(pid: int) -> "keeping.ProcessStat | None":
    """The process that has this number now, a zombie too; None when there is none."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)  # not as a file object: this is asked for very often
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        return keeping.parse_stat(os.read(descriptor, STAT_BYTES_MAX).decode(errors="replace"))
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)


def all_stats() -> "Iterator[keeping.ProcessStat]":
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            yield stat


def own_children() -> set[int]:
    """The process ids of this process's children, zombies included."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children") as file:
            return {int(word) for word in file.read().split()}
    except FileNotFoundError:  # a kernel built without this file
        return {stat.pid for stat in all_stats() if stat.parent == me}


def nonce_of(pid: int) -> str:
    """The instance nonce in a process's environment; empty when it has none or may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return ""
    return next((word[13:].decode() for word in words if word.startswith(b"GRANGE_NONCE=")), "")


def label_of(pid: int) -> int:
    """The label that a process shows; 0 when it has none, or is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/limits", os.O_RDONLY)
    except OSError:
        return 0
    try:
        return keeping.parse_label(os.read(descriptor, LIMITS_BYTES_MAX).decode(errors="replace"))
    except ProcessLookupError:
        return 0
    finally:
        os.close(descriptor)


def give_label(pid: int, label: int) -> None:
    """Label a process (0: this one), and what it will start. It stays without where its hard limit is lower."""
    with contextlib.suppress(OSError, ValueError):
        hard = resource.prlimit(pid, resource.RLIMIT_RTTIME)[1]
        resource.prlimit(pid, resource.RLIMIT_RTTIME, (label, hard))


def identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def open_files(pid: int) -> Iterator[tuple[int, int]]:
    """The identities of the files that a process has open; none when it is gone, or may not be looked at."""
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for number in numbers:
        with contextlib.suppress(OSError):
            yield identity(os.stat(f"/proc/{pid}/fd/{number}"))


def holds(pid: int, file: os.stat_result) -> bool:
    """Whether a process has this file open."""
    return identity(file) in open_files(pid)


def open_identity(pid: int, start_ticks: int, boot: str, boot_now: str) -> int | None:
    """A pidfd of exactly this process; None when it is gone. First the pidfd, then the check: no race."""
    if pid <= 0 or boot != boot_now:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stat = read_stat(pid)
    if stat is None or stat.start_ticks != start_ticks or stat.is_zombie:
        os.close(pidfd)
        return None
    return pidfd


def signal_if(stat: "keeping.ProcessStat", boot: str, number: int, ours: Callable[[int], bool]) -> None:
    """Signal exactly the process that was looked at: pidfd first, then its identity and `ours` once more."""
    pidfd = open_identity(stat.pid, stat.start_ticks, boot, boot)
    if pidfd is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if ours(stat.pid):
            signal.pidfd_send_signal(pidfd, number)
    os.close(pidfd)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def try_lock(path: str) -> int | None:
    """The locked descriptor of the file at `path`; None when somebody else holds the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def save(path: str, text: str, sync: bool = True) -> None:
    """Replace a file as a whole. Unsynced it still survives the death of every process, but not of the machine."""
    temporary = path + ".new"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(text)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # a part of it helps nobody, and its space is needed
        raise
    if sync:
        sync_folder(path)


def sync_folder(path: str) -> None:
    """Have the file at `path` found again after a crash of the machine."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def say(text: str) -> None:
    """One line for the keeper's log, which is its standard error."""
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp(time.time_ns())} keeper {os.getpid()}: {text}\n".encode())
    if fcntl.fcntl(2, fcntl.F_GETFL) & os.O_APPEND and stat.S_ISREG(os.fstat(2).st_mode):  # no terminal or pipe
        bound_log(os.readlink("/proc/self/fd/2"))


def stamp(unix_ns: int) -> str:
    """A moment as all programs of the farm write it (`core/moments.py`, which the keeper does not load)."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', local)}.{rest_ns // 1_000_000:03d}{zone[:3]}:{zone[3:]}"


def bound_log(path: str) -> None:
    """Keep the end of a log that has become too long beside it, as `PATH.1`, and begin it anew.

    Whoever writes to it has opened it for appending, and goes on at its new end.
    """
    with contextlib.suppress(OSError):
        size = os.stat(path).st_size
        if size > LOG_BYTES_MAX:
            with open(path, "rb") as log, open(path + ".1", "wb") as copy:
                os.sendfile(copy.fileno(), log.fileno(), size - LOG_BYTES_MAX, LOG_BYTES_MAX)
            os.truncate(path, 0)


def start_program(
    argv: list[str],
    environment: dict[str, str],
    directory: str,
    log: str,
    keep: list[int],
    options: dict[str, Any] | None = None,
) -> tuple[int, socket.socket]:
    """Fork a child that executes `argv` once it has read `go` from the socket that is returned with its process id.

    The child writes there why it could not execute the program, if so; the socket's end means that it has. When the
    keeper dies before it has said `go`, or says that it never will, the child ends.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _become(argv, environment, directory, log, keep, options or {}, theirs)
    theirs.close()
    return pid, ours


def _become(
    argv: list[str],
    environment: dict[str, str],
    directory: str,
    log: str,
    keep: list[int],
    options: dict[str, Any],
    control: socket.socket,
) -> NoReturn:
    what = argv[0]
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        # All that needs a new descriptor comes before the limits: until the program is executed the child has others
        # too, which may be more than the limit that it gets.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        what = log
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        what = directory
        os.chdir(directory)
        if control.recv(2) != b"go":
            os._exit(0)
        if problem := set_up(0, options):
            control.sendall(problem.encode())
            os._exit(127)
        if "WATCHDOG_USEC" in environment:
            environment = environment | {"WATCHDOG_PID": str(os.getpid())}
        what = argv[0]
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        control.sendall(f"{what}: {error.strerror}".encode())
    except BaseException as error:
        control.sendall(f"{what}: {error!r}".encode())
    os._exit(127)


def hear(control: socket.socket) -> bytes:
    """What a started child says on its socket: why it could not go on, or nothing at its end. Raises `BlockingIOError`.

    A child that ended with our word to go on unread shows as a reset first; what it had said comes after that.
    """
    try:
        return control.recv(4096)
    except ConnectionResetError:
        return control.recv(4096)


def set_up(pid: int, options: dict[str, Any]) -> str:
    """Give a process (0: this one) what its role says; why that cannot be, or an empty text.

    `options` are those of a spawn request, checked.
    """
    for name, value in options.get("limits", {}).items():
        kind = getattr(resource, f"RLIMIT_{keeping.RLIMITS[name]}")
        try:
            resource.prlimit(pid, kind, (value, value))
        except (OSError, ValueError) as error:
            hard = resource.prlimit(pid, kind)[1]
            most = "none" if hard == resource.RLIM_INFINITY else hard
            return f"the limit {name} = {value} cannot be set: {_why(error)} (the hard limit here is {most})"
    if cpus := set(options.get("cpus", ())):
        here = os.sched_getaffinity(pid)
        if not cpus <= here:
            return f"processors {_numbers(cpus)} cannot be used: there are {_numbers(here)} here"
        os.sched_setaffinity(pid, cpus)
    if nice := options.get("nice", 0):
        try:
            os.setpriority(os.PRIO_PROCESS, pid, nice)
        except OSError as error:
            return f"nice = {nice} cannot be set: {_why(error)} (below 0 only for root)"
    return ""


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _numbers(numbers: set[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))
