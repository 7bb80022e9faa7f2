"""Ends of processes: nothing is left behind, and the exit is told.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and the keeper's other parts
alone.

When a process has ended it stays a zombie, which keeps its group's number taken, until the rest of its group and all it
has left behind (by session, nonce, slot lock) is killed; only then is it reaped and its exit told.

A daemon that has given up all three is still a child of this keeper, the subreaper, but nobody can tell whose it was.
It is killed when the last process of the node has ended.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
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


class Ends:
    """What follows when a pidfd says that a process has ended."""

    def __init__(
        self, processes: "Processes", loop: "Loop", journal: "Journal", tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._processes = processes
        self._loop = loop
        self._journal = journal
        self._tell = tell

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
        self._clear(process, exit_status, time.monotonic())

    def _clear(self, process: "Running", exit_status: dict[str, Any], ended_s: float) -> None:
        manifest = process.manifest
        try:
            left = self._kill_leftovers(process)
            looked = True
        except OSError as error:  # no more descriptors: looked for again, and at last the exit is told all the same
            self._loop.complaints.met("what an ended process has left behind cannot be looked for", error)
            left, looked = set(), False
        if not keeping.may_tell_exit(time.monotonic(), ended_s, bool(left) or not looked):
            self._loop.after(CLEAR_POLL_S, lambda: self._clear(process, exit_status, ended_s))
            return
        if left:
            kernel.say(f"{manifest.slot} (pid {manifest.pid}) has left {sorted(left)}, which SIGKILL does not end")
        if process.is_child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(manifest.pid, 0)
        if process.pidfd >= 0:
            os.close(process.pidfd)
        manifest.exit = exit_status
        del self._processes.running[manifest.instance]
        self._journal.note(manifest, "exit")
        self._processes.answer(process)
        if not process.failed:
            row = {"instance": manifest.instance, "slot": manifest.slot, "pid": manifest.pid}
            self._tell({"event": "exited", **row, "exit": exit_status, "left": sorted(left)})
        self._journal.flush_soon()

    def _kill_leftovers(self, process: "Running") -> set[int]:
        """Signal what an ended process has left behind; returns who of it was still there."""
        manifest = process.manifest
        path = self._processes.lock_path(manifest.slot)
        lock = kernel.try_lock(path)
        if lock is not None:
            os.close(lock)
        table = list(kernel.all_stats()) if lock is None or not process.is_child else []
        nobodys: set[int] = set()
        if process.is_child:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(manifest.pid, signal.SIGKILL)  # its leader is not reaped yet: the number is still its own
            self.reap_orphans()
            orphans = self._orphans()
            if orphans:
                everybody = {stat.pid: stat for stat in kernel.all_stats()}
                family = keeping.descendants(everybody.values(), orphans)
                table = table or [everybody[pid] for pid in family]
                if [*self._processes.running.values()] == [process] and not self._processes.one_is_coming:
                    nobodys = family
        file = os.stat(path)

        def ours(pid: int) -> bool:
            stat = kernel.read_stat(pid)
            if stat is None or stat.is_zombie:
                return False
            in_session = process.is_child and manifest.pid in (stat.session, stat.group)
            marked = in_session or kernel.nonce_of(pid) == manifest.nonce or kernel.holds(pid, file)
            return marked or pid in nobodys

        strangers = self._processes.helpers | {manifest.pid}
        left = {stat for stat in table if stat.pid not in strangers and ours(stat.pid)}
        for stat in left:
            kernel.signal_if(stat, self._processes.boot_id, signal.SIGKILL, ours)
        return {stat.pid for stat in left}

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
