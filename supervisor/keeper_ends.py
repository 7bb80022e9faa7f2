"""Ends of processes: nothing is left behind, and the exit is told.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and the keeper's other parts
alone.

When a process has ended it stays a zombie, which keeps its group's number taken, until the rest of its group and all it
has left behind (by session, label, nonce, slot lock) is killed; only then is it reaped and its exit told. All whose end
was seen in one turn of the loop share a look at the machine's processes: it takes milliseconds for a hundred of these,
and hundreds may end together.

A daemon that has given up all of these is still a child of this keeper, the subreaper, but nobody can tell whose it
was. It is killed when the last process of the node has ended.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grange.core import keeping

    from . import keeper_kernel as kernel
    from .keeper_journal import Journal
    from .keeper_loop import Loop
    from .keeper_processes import Processes, Running
else:
    import keeper_kernel as kernel
    import keeping

CLEAR_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Ending:
    """A process that has ended, until nothing of it is left and its exit is told."""

    process: "Running"
    exit_status: dict[str, Any]
    ended_s: float  # by the monotonic clock, as it was seen


class Marks:
    """By what a process shows that one of those that have ended has left it behind."""

    def __init__(self, ended: "Sequence[Running]", lock_path: Callable[[str], str]) -> None:
        self._by_leader = {each.manifest.pid: each.manifest.instance for each in ended if each.is_child}
        self._by_label = {each.manifest.label: each.manifest.instance for each in ended}
        self._by_nonce = {each.manifest.nonce: each.manifest.instance for each in ended if each.manifest.nonce}
        self._by_lock: dict[tuple[int, int], str] = {}
        self.nobodys: set[int] = set()  # they show nothing, and with the last process of the node they go
        self._last = ended[-1].manifest.instance
        self.others_may_have_it = not all(each.is_child for each in ended)  # they need not be the keeper's children
        for each in ended:
            path = lock_path(each.manifest.slot)
            lock = kernel.try_lock(path)
            if lock is not None:
                os.close(lock)
            self.others_may_have_it |= lock is None
            self._by_lock[kernel.identity(os.stat(path))] = each.manifest.instance

    def owner(self, pid: int) -> str:
        """The instance whose leftover this process is; empty when it is none's, or has ended."""
        stat = kernel.read_stat(pid)
        if stat is None or stat.is_zombie:
            return ""
        owner = self._by_leader.get(stat.session) or self._by_leader.get(stat.group)
        if owner is None and (label := kernel.label_of(pid)):
            owner = self._by_label.get(label)  # it decides: the other marks take longer to look for
        elif owner is None:
            held = (self._by_lock[file] for file in kernel.open_files(pid) if file in self._by_lock)
            owner = self._by_nonce.get(kernel.nonce_of(pid)) or next(held, None)
        return owner or (self._last if pid in self.nobodys else "")


class Ends:
    """What follows when a pidfd says that a process has ended."""

    def __init__(
        self, processes: "Processes", loop: "Loop", journal: "Journal", tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._processes = processes
        self._loop = loop
        self._journal = journal
        self._tell = tell
        self._endings: list[Ending] = []  # to be cleared at the end of this turn

    def watch(self, process: "Running") -> None:
        self._loop.watch(process.pidfd, lambda: self._on_exit(process))

    def _on_exit(self, process: "Running") -> None:
        self._loop.unwatch(process.pidfd)
        self._processes.on_control(process)
        exit_status: dict[str, Any] = {"unknown": "its keeper had been replaced"}
        if process.failed:
            exit_status = {"failed": process.failed}
        elif process.is_child:
            try:
                result = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                if self._processes.starters.under_way:  # whose child it is as yet
                    self._processes.starters.at_end(lambda: self._on_late_exit(process))
                    return
                result = None
            if result is not None:
                code = result.si_status
                exit_status = {"code": code} if result.si_code == os.CLD_EXITED else {"signal": code}
        self.clear(process, exit_status)

    def _on_late_exit(self, process: "Running") -> None:
        self.watch(process)
        self._on_exit(process)

    def clear(self, process: "Running", exit_status: dict[str, Any]) -> None:
        """Kill all that the process has left behind; when nothing is left, reap it and tell its exit."""
        self._clear_soon([Ending(process, exit_status, time.monotonic())])

    def _clear_soon(self, endings: list[Ending]) -> None:
        if not self._endings:
            self._loop.soon(self._clear)
        self._endings += endings

    def _clear(self) -> None:
        endings, self._endings = self._endings, []
        try:
            left = self._kill_leftovers([ending.process for ending in endings])
            looked = True
        except OSError as error:  # no more descriptors: looked for again, and at last the exits are told all the same
            self._loop.complaints.met("what ended processes have left behind cannot be looked for", error)
            left, looked = {}, False
        again = []
        for ending in endings:
            of_it = left.get(ending.process.manifest.instance, set())
            if keeping.may_tell_exit(time.monotonic(), ending.ended_s, bool(of_it) or not looked):
                self._finish(ending, of_it)
            else:
                again.append(ending)
        if again:
            self._loop.after(CLEAR_POLL_S, lambda: self._clear_soon(again))

    def _finish(self, ending: Ending, left: set[int]) -> None:
        process, manifest = ending.process, ending.process.manifest
        if left:
            kernel.say(f"{manifest.slot} (pid {manifest.pid}) has left {sorted(left)}, which SIGKILL does not end")
        if process.is_child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(manifest.pid, 0)
        if process.pidfd >= 0:
            os.close(process.pidfd)
        manifest.exit = ending.exit_status
        del self._processes.running[manifest.instance]
        self._journal.note(manifest, "exit")
        self._processes.answer(process)
        if not process.failed:
            row = {"instance": manifest.instance, "slot": manifest.slot, "pid": manifest.pid}
            self._tell({"event": "exited", **row, "exit": ending.exit_status, "left": sorted(left)})
        self._journal.flush_soon()

    def _kill_leftovers(self, ended: "list[Running]") -> dict[str, set[int]]:
        """Signal what ended processes have left behind; returns who of it was still there, by instance."""
        marks = Marks(ended, self._processes.lock_path)
        for process in ended:
            if process.is_child:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.manifest.pid, signal.SIGKILL)  # not reaped yet: the number is still its own
        self.reap_orphans()
        orphans = self._orphans()
        if not orphans and not marks.others_may_have_it:
            return {}
        table = list(kernel.all_stats())
        family = keeping.descendants(table, orphans)
        if not marks.others_may_have_it:
            table = [stat for stat in table if stat.pid in family]
        if len(ended) == len(self._processes.running) and not self._processes.one_is_coming:
            marks.nobodys = family
        known = {(process.manifest.pid, process.manifest.start_ticks) for process in self._processes.running.values()}
        helpers = self._processes.helpers
        left: dict[str, set[int]] = {}
        for stat in table:
            if stat.pid in helpers or (stat.pid, stat.start_ticks) in known:
                continue
            if instance := marks.owner(stat.pid):
                left.setdefault(instance, set()).add(stat.pid)
                kernel.signal_if(stat, self._processes.boot_id, signal.SIGKILL, lambda pid: marks.owner(pid) != "")
        return left

    def _orphans(self) -> set[int]:
        """Children that became ours when their parents ended."""
        known = {process.manifest.pid for process in self._processes.running.values()}
        return kernel.own_children() - known - self._processes.helpers

    def reap_orphans(self) -> None:
        if self._processes.one_is_coming:
            return  # one of them may be a process that has just been started: it is known in a moment
        for pid in self._orphans():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
