"""A node's processes, from the request to spawn one until it runs; what comes afterwards is in `keeper_ends.py`.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and the keeper's other parts
alone.

All spawns that come in one turn of the loop are put on disk together, with one flush, before the first of them is
started. Then each takes its slot's lock, whose holders, if there are any, are ours and are ended first. A program is
executed by a starter (`keeper_starter.py`), an actor may be forked from a template (`keeper_forks.py`). As soon as the
process id is known it is noted, unflushed; a keeper that dies before that leaves a process which holds the lock and
shows the nonce, by which the next one finds it.
"""

import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grange.core import keeping

    from . import keeper_ends as ends
    from . import keeper_forks as forks
    from . import keeper_kernel as kernel
    from . import keeper_starter as starter
    from .keeper_journal import Journal
    from .keeper_loop import Loop
else:
    import keeper_ends as ends
    import keeper_forks as forks
    import keeper_kernel as kernel
    import keeper_starter as starter
    import keeping

SLOTS_PER_TURN = 64  # taken, so that nothing else has to wait long when many processes are wanted
POLL_S = 0.02  # from one look at a slot to the next
CUT_SHORT = "its keeper was cut short while it started it: whether it has run is not known"


@dataclass(eq=False)
class Running:
    """One process in hand, from the request to spawn it until its exit is told."""

    manifest: "keeping.Manifest"
    request: dict[str, Any] = field(default_factory=dict)
    pidfd: int = -1
    is_child: bool = False
    control: socket.socket | None = None  # of one that a template has forked, until it runs its actor
    fork: "forks.Fork | None" = None  # until a template has forked it
    start: "starter.Start | None" = None  # until a starter has executed it
    failed: str = ""
    held: int = 0  # the last signal that came before there was a process to get it
    asked_by: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)  # for the answer to `spawn`


class Processes:
    """The table of all processes in hand, and what starts them."""

    def __init__(
        self,
        loop: "Loop",
        book: "keeping.Book",
        journal: "Journal",
        tell: Callable[[dict[str, Any]], None],
        agent_pid: Callable[[], int],
    ) -> None:
        self.boot_id = kernel.boot_id()
        self.running: dict[str, Running] = {}  # by instance
        self._loop = loop
        self._book = book
        self._journal = journal
        self._agent_pid = agent_pid
        self.forks = forks.Forks(loop)
        self.starters = starter.Starters(loop)
        self.ends = ends.Ends(self, loop, journal, tell)
        self._new: list[Running] = []  # to be put on disk at the end of this turn
        self._committed: deque[Running] = deque()  # to be started
        self._own_environment = keeping.clean_environment(os.environ, {})

    @property
    def helpers(self) -> set[int]:
        """Processes of ours that are no manifest's."""
        return {os.getpid(), self._agent_pid()} | self.forks.pids | self.starters.pids

    @property
    def one_is_coming(self) -> bool:
        """Whether a child may be there, or be about to be, whose id is not known yet."""
        return self.forks.under_way or self.starters.under_way

    def lock_path(self, slot: str) -> str:
        return self._loop.path("locks", f"{slot}.lock")

    # -- what was there before --

    def adopt(self) -> None:
        """Take over all that the book calls alive."""
        for manifest in self._book.alive():
            process = self.running[manifest.instance] = Running(manifest)
            if manifest.pid:
                self._adopt(process)
            else:
                self._search(process)

    def _adopt(self, process: Running) -> None:
        manifest = process.manifest
        pidfd = kernel.open_identity(manifest.pid, manifest.start_ticks, manifest.boot_id, self.boot_id)
        exit_status = keeping.adopted(manifest, self.boot_id, None if pidfd is None else manifest.start_ticks)
        if exit_status is not None or pidfd is None:
            self.ends.clear(process, exit_status or {"unknown": ""})
            return
        kernel.say(f"adopted {manifest.slot}, instance {manifest.instance} (pid {manifest.pid})")
        process.pidfd = pidfd
        self.ends.watch(process)

    def _search(self, process: Running) -> None:
        """Find what was executed for a manifest that has no process id: it holds the slot's lock."""
        manifest = process.manifest
        path = self.lock_path(manifest.slot)
        lock = kernel.try_lock(path)
        if lock is not None:
            os.close(lock)
            self.ends.clear(process, {"unknown": CUT_SHORT})
            return
        holders = self._holders(path)
        found = keeping.claimant(manifest, [(stat, kernel.nonce_of(stat.pid)) for stat in holders])
        if found is not None:
            pidfd = kernel.open_identity(found.pid, found.start_ticks, self.boot_id, self.boot_id)
            if pidfd is not None:
                kernel.say(f"found {manifest.slot}, instance {manifest.instance} (pid {found.pid})")
                self._identify(process, found, pidfd)
                return
        if process.held == signal.SIGKILL:
            self.ends.clear(process, {"unknown": CUT_SHORT})  # which kills the holders
        else:
            self._loop.after(POLL_S, lambda: self._search(process))

    def _holders(self, path: str) -> "list[keeping.ProcessStat]":
        file = os.stat(path)
        helpers = self.helpers
        return [stat for stat in kernel.all_stats() if stat.pid not in helpers and kernel.holds(stat.pid, file)]

    # -- spawn --

    def spawn(self, request: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        """The answer when it is known already; otherwise it goes to `answer` later. Raises `RequestError`."""
        manifest = self._book.plan_spawn(request)
        if manifest is None:
            manifest = self._book.manifests[request["slot"]]
            process = self.running.get(manifest.instance)
            if process is None or (process.pidfd >= 0 and process.control is None):
                return _spawned(manifest)
            process.asked_by.append(answer)
            return None
        manifest.boot_id = self.boot_id
        process = self.running[manifest.instance] = Running(manifest, request, asked_by=[answer])
        if not self._new:
            self._loop.soon(self._commit)
        self._new.append(process)
        return None

    def _commit(self) -> None:
        new, self._new = self._new, []
        try:
            self._journal.commit([process.manifest for process in new])
        except OSError as error:
            self._loop.complaints.met("a process cannot be started", error)
            why = f"its manifest cannot be written: {error.strerror}; make room on the disk of {self._loop.directory}"
            for process in new:  # nothing was started, and nothing is left to be forgotten
                del self._book.manifests[process.manifest.slot], self.running[process.manifest.instance]
                process.manifest.exit = {"failed": why}
                self.answer(process)
            return
        self._committed += new
        self._take_slots()

    def _take_slots(self) -> None:
        for _ in range(min(SLOTS_PER_TURN, len(self._committed))):
            self._take_slot(self._committed.popleft(), keeping.WantedSlot(time.monotonic()))
        if self._committed:
            self._loop.soon(self._take_slots)

    def _take_slot(self, process: Running, wanted: "keeping.WantedSlot") -> None:
        """Start the process once its slot's lock is free; what holds it is ours, and is ended first."""
        slot = process.manifest.slot
        path = self.lock_path(slot)
        try:
            lock = kernel.try_lock(path)
            match wanted.look(time.monotonic(), lock is not None, bool(process.held)):
                case keeping.Taking.START:
                    assert lock is not None
                    self._start(process, lock)
                case keeping.Taking.DROP:
                    self.give_up(process, keeping.Taking.DROP.value)
                case keeping.Taking.END_HOLDERS:
                    self._end_holders(slot, path, wanted)
                    self._loop.after(POLL_S, lambda: self._take_slot(process, wanted))
                case keeping.Taking.GIVE_UP:
                    held_by = [f"{stat.name} (pid {stat.pid})" for stat in self._holders(path)]
                    names = ", ".join(held_by) or "a process of another user"
                    self.give_up(process, f"slot {slot} is still held by {names}, which SIGKILL does not end")
        except OSError as error:
            self.give_up(process, f"{error.filename or 'the keeper'}: {error.strerror}")

    def _end_holders(self, slot: str, path: str, wanted: "keeping.WantedSlot") -> None:
        file = os.stat(path)
        for stat in self._holders(path):
            if name := wanted.signal_for(time.monotonic(), stat.pid):
                kernel.say(f"slot {slot} is wanted: ending its holder {stat.name} (pid {stat.pid})")
                number = signal.Signals[f"SIG{name}"]
                kernel.signal_if(stat, self.boot_id, number, lambda pid: kernel.holds(pid, file))

    def _start(self, process: Running, lock: int) -> None:
        manifest, request = process.manifest, process.request
        environment = self._own_environment | request["environment"] | {"GRANGE_NONCE": manifest.nonce}
        options = request.get("options", {})
        if template := options.get("template"):
            process.fork = forks.Fork(
                environment,
                request["working_directory"],
                manifest.log,
                lock,
                on_forked=lambda pid, control: self._on_forked(process, pid, control),
                on_failed=lambda why: self.give_up(process, why),
            )
            seen = self._own_environment | template["environment"]
            self.forks.fork(template["key"], template["argv"], seen, process.fork)
        else:
            process.start = starter.Start(
                manifest.argv,
                environment,
                request["working_directory"],
                manifest.log,
                lock,
                options,
                manifest.label,
                on_started=lambda pid: self._on_started(process, pid),
                on_failed=lambda why: self.give_up(process, why),
                on_lost=lambda: self._on_lost(process),
            )
            self.starters.start(process.start)

    def give_up(self, process: Running, why: str) -> None:
        """It has never run, and never will."""
        manifest = process.manifest
        manifest.exit = {"failed": why}
        if process.fork is not None:
            self.forks.cancel(process.fork)
        process.fork = process.start = None
        self.running.pop(manifest.instance, None)
        self._journal.note(manifest, "exit")
        self.answer(process)

    # -- there it is --

    def _on_started(self, process: Running, pid: int) -> None:
        """The program is executed, by a starter."""
        process.start = None
        try:
            stat = kernel.read_stat(pid)  # there at least as a zombie, since nobody has reaped it
            assert stat is not None
            pidfd = os.pidfd_open(pid)
        except OSError as error:  # no more descriptors: what cannot be watched over does not go on
            os.kill(pid, signal.SIGKILL)
            self.give_up(process, f"the keeper: {error.strerror}")
            return
        process.is_child = True
        self._identify(process, stat, pidfd)

    def _on_lost(self, process: Running) -> None:
        """It may be there: its starter has ended at it."""
        process.start = None
        self._search(process)

    def _identify(self, process: Running, stat: "keeping.ProcessStat", pidfd: int) -> None:
        manifest = process.manifest
        process.is_child = process.is_child or stat.parent == os.getpid()
        process.pidfd = pidfd
        manifest.pid, manifest.start_ticks = stat.pid, stat.start_ticks
        self._journal.note(manifest, "pid", "start_ticks")
        self.ends.watch(process)
        self.answer(process)
        self._send_held(process)

    def _on_forked(self, process: Running, pid: int, control: socket.socket) -> None:
        """The child of a template is there and waits: note who it is, set it up, and let it go on."""
        manifest, process.fork = process.manifest, None
        try:
            stat = kernel.read_stat(pid)
            pidfd = os.pidfd_open(pid)
        except OSError as error:  # no more descriptors
            control.close()  # without a word to go on it ends, and is reaped as an orphan
            self.give_up(process, f"the keeper: {error.strerror}")
            return
        process.pidfd, process.is_child, process.control = pidfd, True, control
        manifest.pid, manifest.start_ticks = pid, stat.start_ticks if stat else 0
        self._journal.note(manifest, "pid", "start_ticks")
        control.setblocking(False)
        self.ends.watch(process)
        self._loop.watch(control, lambda: self.on_control(process))
        kernel.give_label(pid, manifest.label)
        process.failed = kernel.set_up(pid, process.request.get("options", {}))
        with contextlib.suppress(BrokenPipeError):
            control.send(b"no" if process.failed else b"go")

    def on_control(self, process: Running) -> None:
        """A template's child runs its actor, or cannot."""
        if process.control is None:
            return
        try:
            problem = kernel.hear(process.control)
        except BlockingIOError:
            return
        self._loop.unwatch(process.control)
        process.control.close()
        process.control = None
        if problem:
            process.failed = problem.decode(errors="replace")
        elif not process.failed:
            self.answer(process)
            self._send_held(process)

    def answer(self, process: Running) -> None:
        asked_by, process.asked_by = process.asked_by, []
        for answer in asked_by:
            answer(_spawned(process.manifest))

    # -- signals --

    def signal(self, instance: str, number: int, group: bool) -> bool:
        """Whether there is, or will be, a process that gets it. Raises `RequestError`."""
        manifest = self._book.by_instance(instance)
        process = self.running.get(instance)
        if process is None or manifest.exit is not None:
            return False
        if process.pidfd < 0:
            process.held = number
            if process.fork is not None:
                self.give_up(process, keeping.Taking.DROP.value)
            elif process.start is not None and number == signal.SIGKILL:
                self.starters.cancel(process.start)
            return True
        if process.control is not None and number != signal.SIGKILL:
            process.held = number  # the child may not have its group and its default handlers yet
            return True
        stat = kernel.read_stat(manifest.pid)
        if stat is None or stat.start_ticks != manifest.start_ticks:
            return False  # its end is about to be seen
        with contextlib.suppress(ProcessLookupError):
            if group and process.control is None:
                os.killpg(manifest.pid, number)
            else:
                signal.pidfd_send_signal(process.pidfd, number)
        return True

    def _send_held(self, process: Running) -> None:
        if process.held:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.manifest.pid, process.held)

    # -- notifications --

    def sender(self, pid: int) -> Running | None:
        """Whose datagram it is that came from this process id."""
        stat = kernel.read_stat(pid)
        session = stat.session if stat else 0
        for process in self.running.values():
            if process.manifest.pid in (pid, session) and process.manifest.pid:
                return process
        nonce = kernel.nonce_of(pid)
        return next((process for process in self.running.values() if process.manifest.nonce == nonce), None)


def _spawned(manifest: "keeping.Manifest") -> dict[str, Any]:
    if manifest.exit is not None and "failed" in manifest.exit:
        return {"ok": False, "failed": True, "error": manifest.exit["failed"]}
    return {"pid": manifest.pid}
