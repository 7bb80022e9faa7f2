"""A simulated keeper: the production decisions of one (`core/keeping.py`) on a machine that remembers what is so.

The book, the rules by which it spawns, fences, forgets, adopts, waits for a slot and tells an exit, and the lines that
it writes to its disk are the real thing. What is simulated is what `supervisor/keeper*.py` do with the kernel: start,
signal, look for who holds a slot, wait for ends. A keeper can be killed at any event, and between any two of its own
acts (`dies_after`): with a manifest on disk and no process, or with a process whose number nobody has noted. The next
one reads what is on disk and finds the processes by it.

A machine is as unkind as it may be: the number of each process that has ended is at once that of somebody else's.
"""

import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from grange.core import keeping
from grange.core.keeping import Manifest, ProcessStat, RequestError, Taking, WantedSlot

from .simulated_process import SimProcess
from .surroundings import Surroundings

IDENTIFY_S = 0.0005  # from the execution of a program until its process id is noted
POLL_S = 0.02  # from one look at a slot to the next
CLEAR_POLL_S = 0.01
CUT_SHORT = "its keeper was cut short while it started it: whether it has run is not known"
NOT_ITS_CHILD = "its keeper had been replaced"
SIGNALS = {15: "TERM", 9: "KILL"}
BEATS = "GRANGE_HEARTBEAT_TIMEOUT_S"  # in the environment of an actor whose heartbeats are expected

Message = dict[str, Any]


class Machine:
    """What outlives the programs of a node: its processes, the keeper's files, and which start of it this is."""

    def __init__(self) -> None:
        self.starts = 1
        self.disks = 1  # an empty one has come in the place of the one before so often
        self.slots: dict[str, SimProcess] = {}  # by path
        self.lines: list[str] = []  # manifests.jsonl
        self.agent, self.parents = 0, tuple[int, ...]()  # keeper.json
        self.ticks = itertools.count(1)

    @property
    def boot_id(self) -> str:
        return f"boot {self.starts}"

    def stat(self, slot: SimProcess, pid: int) -> ProcessStat | None:
        """Who has this number: the process that had it in this slot, or else a stranger."""
        if slot.alive and slot.pid == pid:
            return slot.stat()
        return ProcessStat(pid, "stranger", "S", 1, pid, pid, start_ticks=0)

    def restart(self, forgets: bool) -> None:
        """No process is left; where the disk is not the machine's own, nobody remembers any."""
        self.starts += 1
        for slot in self.slots.values():
            slot.vanish()
        if forgets:
            self.disks += 1
            self.lines, self.agent, self.parents = [], 0, ()


class Host(Protocol):
    """The rest of the node, as its keeper needs it."""

    path: str
    machine: Machine

    def slot(self, path: str) -> SimProcess:
        """The place of a process."""

    def hear(self, message: Message) -> None:
        """An answer, or an event, for the agent."""

    def begin_agent(self, incarnation: int) -> None:
        """The agent's program is executed."""

    def kill_keeper(self) -> None:
        """kill -9 of this keeper."""

    def leave(self) -> None:
        """Agent and keeper have ended, as they were asked to."""


class _Killed(Exception):
    """This keeper is no more."""


class SimKeeper:
    """One keeper program; another one on the same node is another `SimKeeper`."""

    def __init__(self, world: Surroundings, host: Host) -> None:
        self.world = world
        self.alive = True
        self.dies_after: int | None = None  # so many more of its acts
        self.agent_up = False
        self.book = keeping.Book()
        self._host = host
        self._machine = host.machine
        self._restarts = keeping.AgentRestarts()
        self._agent_since_s = 0.0
        self._children: set[str] = set()  # instances that it has started itself
        self._ends: dict[str, Mapping[str, Any]] = {}  # of those that are not identified yet
        self._held: dict[str, str] = {}  # by instance: the last signal that came before there was a process
        self._asked: dict[str, list[int]] = {}  # by instance: spawns to be answered

    # ---- its life ---------------------------------------------------------------------------------------------------

    def begin(self, agent_up: bool) -> None:
        """Reads what the one before has written, takes over all that is alive, and sees to the agent."""
        self.book.manifests, problems = keeping.replay("\n".join(self._machine.lines))
        self.world.violations += problems
        self.book.agent, self.book.parents = self._machine.agent, self._machine.parents
        self._machine.lines = [keeping.manifest_line(manifest) for manifest in self.book.manifests.values()]
        for manifest in self.book.alive():
            if manifest.pid:
                self._adopt(manifest)
            else:
                self._search(manifest)
        self.agent_up = agent_up
        if not agent_up:
            self._begin_agent()

    def agent_ended(self) -> None:
        """The agent has ended: the next one is started, soon or later."""
        self.agent_up = False
        waits_s = self._restarts.ended(self.world.now - self._agent_since_s)
        self._after(waits_s + self.world.vary(self.world.times.launch_s), self._begin_agent)

    def _begin_agent(self) -> None:
        if not self.agent_up:
            self._machine.agent = self.book.allot_agent()  # on disk before it starts
            self.agent_up, self._agent_since_s = True, self.world.now
            self._host.begin_agent(self.book.agent)

    def _do(self, action: Callable[[], None]) -> None:
        """Does something, as far as it lives to do it."""
        if self.alive:
            with contextlib.suppress(_Killed):
                action()

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        self.world.after(delay_s, lambda: self._do(action))

    def _act(self, what: str) -> None:
        """It is about to do something that others see; it may die before."""
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                self.world.note(self._host.path, f"the keeper dies before it {what}")
                self._host.kill_keeper()
                raise _Killed

    # ---- the book on disk -------------------------------------------------------------------------------------------

    def _write(self, line: str) -> None:
        self._act("writes")
        self._machine.lines.append(line)

    def _slot(self, manifest: Manifest) -> SimProcess:
        return self._host.slot(f"{self._host.path}/{manifest.slot}")

    # ---- requests ---------------------------------------------------------------------------------------------------

    def hello(self, incarnation: int) -> Message:
        """All that it knows, for an agent that introduces itself."""
        self.book.check_agent(incarnation)
        rows = [manifest.row() for manifest in self.book.manifests.values()]
        return {"processes": rows, "parents": self.book.parents}

    def serve(self, request: Message) -> None:
        """Carries a request out and answers it, now or later."""
        self._do(lambda: self._serve(request))

    def _serve(self, request: Message) -> None:
        try:
            answer = getattr(self, f"_do_{keeping.check_request(request)['op']}")(request)
        except RequestError as error:
            answer = {"ok": False, "error": str(error), "fenced": isinstance(error, keeping.Fenced)}
        if answer is not None:
            self._tell({"id": request["id"], "ok": True} | answer)

    def _tell(self, message: Message) -> None:
        self._act("answers")
        self._host.hear(message)

    def _check_fence(self, request: Message) -> None:
        if self.book.check_fence(request["fence"]):
            risen = tuple(request["fence"][:-1])
            self._act("saves the incarnations")
            self._machine.parents = risen
            self.book.parents = risen

    def _do_fence(self, request: Message) -> Message:
        self._check_fence(request)
        return {}

    def _do_note(self, request: Message) -> Message:
        manifest = self.book.by_instance(request["instance"])
        manifest.note = request["note"]
        self._write(keeping.change_line(manifest, ("note",)))
        return {}

    def _do_forget(self, request: Message) -> Message:
        self._write(keeping.forgotten_line(self.book.forget(request["instance"]).slot))
        return {}

    def _do_end(self, request: Message) -> Message | None:
        self._check_fence(request)
        self.book.check_end()
        self._act("ends")
        self._machine.lines = []
        self._host.leave()
        return None

    def _do_signal(self, request: Message) -> Message:
        self._check_fence(request)
        manifest, name = self.book.by_instance(request["instance"]), SIGNALS[request["signal"]]
        if manifest.exit is not None:
            return {"alive": False}
        if not manifest.pid:
            self._held[manifest.instance] = name
            return {"alive": True}
        slot = self._slot(manifest)
        stat = self._machine.stat(slot, manifest.pid)
        if stat is None or stat.start_ticks != manifest.start_ticks:
            return {"alive": False}
        self._act("signals")
        slot.signal(name)
        return {"alive": True}

    # ---- from a request to a process --------------------------------------------------------------------------------

    def _do_spawn(self, request: Message) -> Message | None:
        self._check_fence(request)
        manifest = self.book.plan_spawn(request)
        if manifest is None:
            manifest = self.book.manifests[request["slot"]]
            if manifest.pid or manifest.exit is not None:
                return _spawned(manifest)
            self._asked.setdefault(manifest.instance, []).append(request["id"])
            return None
        manifest.boot_id = self._machine.boot_id
        self._asked[manifest.instance] = [request["id"]]
        self._write(keeping.manifest_line(manifest))
        self._take(manifest, request["environment"], WantedSlot(self.world.now))
        return None

    def _take(self, manifest: Manifest, environment: Mapping[str, str], wanted: WantedSlot) -> None:
        """The process is started once nobody holds its slot."""
        slot, now = self._slot(manifest), self.world.now
        match wanted.look(now, not slot.lives, manifest.instance in self._held):
            case Taking.START:
                self._start(manifest, slot, environment)
            case Taking.DROP:
                self._give_up(manifest, Taking.DROP.value)
            case Taking.GIVE_UP:
                self._give_up(manifest, f"slot {manifest.slot} is still held")
            case Taking.END_HOLDERS:
                name = wanted.signal_for(now, slot.pid)
                if name and slot.alive:
                    slot.signal(name)
                if name == "KILL":
                    slot.kill_left()
                self._after(POLL_S, lambda: self._take(manifest, environment, wanted))

    def _start(self, manifest: Manifest, slot: SimProcess, environment: Mapping[str, str]) -> None:
        self._act("starts a process")
        self._children.add(manifest.instance)
        slot.start(manifest.instance, manifest.nonce, next(self._machine.ticks), BEATS in environment)
        self._after(IDENTIFY_S, lambda: self._identify(manifest, slot.stat()))

    def _give_up(self, manifest: Manifest, why: str) -> None:
        manifest.exit = {"failed": why}
        self._write(keeping.change_line(manifest, ("exit",)))
        self._answer(manifest)

    def _identify(self, manifest: Manifest, stat: ProcessStat) -> None:
        manifest.pid, manifest.start_ticks = stat.pid, stat.start_ticks
        self._write(keeping.change_line(manifest, ("pid", "start_ticks")))
        self._answer(manifest)
        if manifest.instance in self._held:
            self._slot(manifest).signal(self._held.pop(manifest.instance))
        if manifest.instance in self._ends:
            self._clear(manifest, self._ends.pop(manifest.instance), self.world.now)

    def _answer(self, manifest: Manifest) -> None:
        for number in self._asked.pop(manifest.instance, ()):
            self._tell({"id": number, "ok": True} | _spawned(manifest))

    # ---- what was there before --------------------------------------------------------------------------------------

    def _adopt(self, manifest: Manifest) -> None:
        stat = self._machine.stat(self._slot(manifest), manifest.pid)
        ended = keeping.adopted(manifest, self._machine.boot_id, stat.start_ticks if stat is not None else None)
        if ended is not None:
            self._clear(manifest, ended, self.world.now)

    def _search(self, manifest: Manifest) -> None:
        """Finds what was executed for a manifest that has no process id: it holds the slot's lock."""
        slot = self._slot(manifest)
        if not slot.lives:
            self._clear(manifest, {"unknown": CUT_SHORT}, self.world.now)
            return
        found = keeping.claimant(manifest, [(slot.stat(), slot.nonce)] if slot.alive else [])
        if found is not None:
            self._identify(manifest, found)
        elif self._held.get(manifest.instance) == "KILL":
            self._clear(manifest, {"unknown": CUT_SHORT}, self.world.now)
        else:
            self._after(POLL_S, lambda: self._search(manifest))

    # ---- from a process to its exit ---------------------------------------------------------------------------------

    def process_ended(self, slot: SimProcess, instance: str, how: Mapping[str, Any]) -> None:
        """The kernel says that a process has ended, which this keeper has started or adopted."""
        manifest = self.book.manifests.get(slot.slot)
        if manifest is None or manifest.instance != instance or not manifest.alive:
            return
        how = how if instance in self._children else {"unknown": NOT_ITS_CHILD}
        if not manifest.pid:
            self._ends[instance] = how
            return
        self._do(lambda: self._clear(manifest, how, self.world.now))

    def _clear(self, manifest: Manifest, how: Mapping[str, Any], ended_s: float) -> None:
        """Kills all that a process has left behind; when nothing is left, its exit is told."""
        slot = self._slot(manifest)
        if slot.alive:
            self.world.violations.append(f"the keeper of {self._host.path} takes {slot.slot} for ended, which lives")
        slot.kill_left()
        if not keeping.may_tell_exit(self.world.now, ended_s, slot.lives):
            self._after(CLEAR_POLL_S, lambda: self._clear(manifest, how, ended_s))
            return
        manifest.exit = dict(how)
        self._write(keeping.change_line(manifest, ("exit",)))
        self._answer(manifest)
        self._tell({"event": "exited", "instance": manifest.instance, "exit": manifest.exit})


def _spawned(manifest: Manifest) -> Message:
    if manifest.exit is not None and "failed" in manifest.exit:
        return {"ok": False, "error": manifest.exit["failed"]}
    return {"pid": manifest.pid}
