"""Probes: commands beside a process that ask whether it is ready or well, run by the keeper like any other process.

The probes of `psa-2` have the slot `psa-2.probe`, so there is never more than one of them, the slot's lock sees to it
that nothing of one is left when the next begins, and a keeper that dies loses none. Whether and when one is run, and
how long it may take, is decided in `core/process.py`; what it says is read from its output, which is bounded and
removed.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .node_directory import NodeDirectory
from .output import last_lines

SUFFIX = ".probe"  # no slot of a process ends like this: those end in a number
OUTPUT_BYTES_MAX = 1 << 20  # more, and the probe is ended by the kernel

Request = Callable[..., "asyncio.Future[dict[str, Any]]"]  # to the keeper
Tell = Callable[[str, Mapping[str, Any], tuple[str, ...]], None]  # instance of the process, exit, last lines


@dataclass(slots=True)
class Question:
    """One probe that is wanted: of which process, and what is to be run."""

    of: str  # the instance that it asks about
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: str


@dataclass(slots=True)
class _Running:
    question: Question
    instance: str  # of the probe itself
    started: bool = False  # the keeper has said so


class Probes:
    """All probes of a node. `tell` hears of each one's end, once."""

    def __init__(
        self,
        directory: NodeDirectory,
        incarnation: int,
        request: Request,
        fence: Callable[[], list[int]],
        tell: Tell,
    ) -> None:
        self._directory = directory
        self._incarnation = incarnation
        self._request = request
        self._fence = fence
        self._tell = tell
        self._count = 0
        self._running: dict[str, _Running] = {}  # by the probe's slot
        self._waiting: dict[str, Question] = {}  # until the one before has ended
        self._left: set[str] = set()  # instances that a former agent has started
        self._changed = asyncio.Event()

    def ask(self, slot: str, question: Question) -> None:
        """Run a probe of the process in `slot`, after the one that still runs there, if so."""
        slot += SUFFIX
        if slot in self._running:
            self._waiting[slot] = question
        else:
            self._start(slot, question)

    def end(self, slot: str) -> None:
        """Kill the probe of the process in `slot`; its end is told all the same."""
        slot += SUFFIX
        self._waiting.pop(slot, None)
        if running := self._running.get(slot):
            self._kill(running.instance)

    def listed(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """All that the keeper knows: probes that ended while nobody heard of it, and those of a former agent."""
        known = {row["instance"]: row for row in rows if row["slot"].endswith(SUFFIX)}
        for slot, running in list(self._running.items()):
            row = known.pop(running.instance, None)
            if row is not None and row["exit"] is not None and running.started:
                self._ended(slot, row["exit"])
            elif row is None and running.started:
                self._ended(slot, {"unknown": "the keeper does not know it any more"})
        for instance, row in known.items():
            if row["exit"] is not None:
                self._forget(instance)
            elif instance not in self._left:
                self._left.add(instance)
                self._kill(instance)

    def exited(self, event: Mapping[str, Any]) -> bool:
        """Whether the keeper's news was of a probe; it is taken up then."""
        if not event["slot"].endswith(SUFFIX):
            return False
        running = self._running.get(event["slot"])
        if running is not None and running.instance == event["instance"]:
            self._ended(event["slot"], event["exit"])
        else:
            self._left.discard(event["instance"])
            self._forget(event["instance"])
            self._changed.set()
        return True

    async def all_ended(self) -> None:
        """Wait for those that were told to end."""
        while self._running or self._left:
            self._changed.clear()
            await self._changed.wait()

    def _start(self, slot: str, question: Question) -> None:
        self._count += 1
        instance = f"{slot}.{self._incarnation}.{self._count}"
        self._running[slot] = _Running(question, instance)
        answer = self._request(
            "spawn",
            instance=instance,
            slot=slot,
            nonce=secrets.token_hex(16),
            argv=list(question.argv),
            environment=dict(question.environment),
            working_directory=question.working_directory,
            log=os.fspath(self._directory.log(instance)),
            note={"probe_of": question.of},
            fence=self._fence(),
            options={"limits": {"file_bytes": OUTPUT_BYTES_MAX}},
        )
        answer.add_done_callback(lambda future: self._on_spawned(slot, instance, future))

    def _on_spawned(self, slot: str, instance: str, future: "asyncio.Future[dict[str, Any]]") -> None:
        running = self._running.get(slot)
        if future.cancelled() or running is None or running.instance != instance:
            return
        answer = future.result()
        if answer["ok"]:
            running.started = True
        else:
            self._ended(slot, {"failed": answer["error"]})

    def _ended(self, slot: str, exit_status: Mapping[str, Any]) -> None:
        running = self._running.pop(slot)
        lines = last_lines(self._directory.log(running.instance))
        self._forget(running.instance)
        if question := self._waiting.pop(slot, None):
            self._start(slot, question)
        self._changed.set()
        self._tell(running.question.of, exit_status, lines)

    def _forget(self, instance: str) -> None:
        self._directory.log(instance).unlink(missing_ok=True)
        self._request("forget", instance=instance)

    def _kill(self, instance: str) -> None:
        self._request("signal", instance=instance, signal=int(signal.SIGKILL), group=True, fence=self._fence())
