"""A simulated node: keeper, agent and processes, with the production decisions of the first two.

The agent's units (`core/process.py`) and the fence that it guards are the real thing, and so is what its keeper decides
(`simulated_keeper.py`). What is simulated is what they decide about: the machine, and actors that take orders
(`simulated_process.py`).

The agent can be killed and comes back: it takes its units up from what the keeper has kept, and the actors connect
again. The keeper can be killed: what the agent asks of it waits for the next one, and what has no answer is asked
again. A node that is cut off goes on; its agent dials until somebody answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from grange.core import process_handover
from grange.core.effects import Order
from grange.core.events import ProcessesReported
from grange.core.fencing import Fence, Guard, Verdict
from grange.core.plan import ProcessSpec
from grange.core.process import Unit
from grange.core.process_events import (
    Event,
    Exited,
    Forget,
    Ladder,
    Ordered,
    Report,
    SaveNote,
    SendToActor,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    Ticked,
)
from grange.core.reports import ProcessReport

from .network import Stream
from .simulated_keeper import BEATS, SIGNALS, Machine, Message, SimKeeper
from .simulated_process import SimProcess
from .surroundings import Surroundings
from .virtual_time import Clock

FENCE_LIMIT_S = 3.0  # for the keeper to write down the incarnations of a new controller
LADDER = Ladder(3.0, 2.0)
_NUMBERS = {name: number for number, name in SIGNALS.items()}

Then = Callable[[Message], None]  # what follows from an answer of the keeper


def nobody(reason: str) -> None:
    """Nobody is told how a keeper ended that an agent has started."""


def _nothing() -> None:
    """Nothing follows."""


class NodeSurroundings(Surroundings, Protocol):
    """What a node needs of its world."""

    def report(self, node: "SimNode", event: ProcessesReported) -> None:
        """Hands on what the agent tells its parent."""

    def kill_agent(self, path: str) -> None:
        """kill -9 of the agent of a node."""


class SimNode:
    """The programs of one node; they live while controllers come and go."""

    def __init__(self, world: NodeSurroundings, path: str) -> None:
        self.world = world
        self.path = path
        self.name = path.rsplit("/", 1)[-1]
        self.clock = world.clock()
        self.machine = Machine()
        self.up = False  # it was launched
        self.keeper: SimKeeper | None = None
        self.keepers = 0  # how many were started here
        self.reaped: Callable[[str], None] = nobody  # whoever launched the keeper hears how it ends
        self._released: Callable[[], None] = _nothing
        self._specs: dict[str, list[ProcessSpec]] = {}  # all that were ever written down, by slot: text, in reality
        # its link to a controller
        self.cut = False
        self.stream = Stream()
        self.changed_s = 0.0  # when it was last interrupted
        self.parent: object | None = None  # the controller that its stream leads to
        # the agent
        self.agent_up = False
        self.dies_after: int | None = None  # so many more of its effects
        self.incarnation = 0
        self.units: dict[str, Unit] = {}
        self._forget()

    @property
    def keeper_up(self) -> bool:
        return self.keeper is not None

    @property
    def slots(self) -> dict[str, SimProcess]:
        """All places for processes, by path, with what is really there."""
        return self.machine.slots

    def slot(self, path: str) -> SimProcess:
        found = self.machine.slots.get(path)
        if found is None:
            found = self.machine.slots[path] = SimProcess(self.world, path, self._from_actor, self._process_ended)
        return found

    # ---- programs ---------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """The keeper's program is started, unless one runs; it starts the agent."""
        self.up = True
        self._start_keeper()

    def _start_keeper(self) -> None:
        if not self.up or self.keeper is not None:
            return
        self.keepers += 1
        self.keeper = keeper = SimKeeper(self.world, self)
        keeper.begin(self.agent_up)
        if self.agent_up and keeper.alive:
            self._greet(keeper)

    def kill_keeper(self) -> None:
        """kill -9 of the keeper alone; the agent, if there is one, starts the next one, which adopts what runs."""
        if self.keeper is not None:
            self.keeper.alive, self.keeper = False, None
            self.world.after(self.world.vary(self.world.times.launch_s), self._replace_keeper)
            reaped, self.reaped = self.reaped, nobody
            reaped("was killed by SIGKILL")

    def _replace_keeper(self) -> None:
        """The agent does it; where that is gone as well, nobody does until the node is launched again."""
        if self.agent_up:
            self._start_keeper()

    def kill_agent(self) -> None:
        """kill -9 of the agent alone; its keeper starts it again."""
        self.agent_up, self.dies_after, self.units = False, None, {}
        self._forget()
        if self.keeper is not None:
            self.keeper.agent_ended()

    def restart(self, forgets: bool = True) -> None:
        """The machine restarts, and a keeper with it: no process is left, and perhaps nobody remembers any."""
        if self.keeper is not None:
            self.keeper.alive, self.keeper = False, None
        self.kill_agent()
        self.machine.restart(forgets)
        self.world.after(self.world.vary(self.world.times.launch_s), self._start_keeper)

    def release(self, released: Callable[[], None]) -> None:
        """Keeper and agent end, if nothing is left on the node; once there is a keeper to ask."""
        self._released = released
        self._request("end", fence=self._fence)

    def leave(self) -> None:
        """Keeper and agent have ended."""
        if self.keeper is not None:
            self.keeper.alive, self.keeper = False, None
        self.up = self.agent_up = False
        self.units = {}
        self._forget()
        released, self._released = self._released, _nothing
        released()

    # ---- the agent and its keeper -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        """All that an agent has in its memory is gone with it."""
        self.guard = Guard()
        self._by_instance: dict[str, Unit] = {}
        self._alarms: dict[str, float | None] = {}
        self._told: dict[str, ProcessReport] = {}
        self._unanswered: dict[int, tuple[Message, Then]] = {}
        self._number = 0
        self._started = 0
        self._inbox: list[tuple[Fence, bool, Callable[[], None], Callable[[], None]]] = []
        self._recalls = True  # it has not heard yet what the keeper knows
        self._line_s = 0.0  # when the keeper's last words arrive

    def begin_agent(self, incarnation: int) -> None:
        """A keeper has started the agent, which introduces itself."""
        self.agent_up, self.incarnation = True, incarnation
        if self.keeper is not None:
            self._greet(self.keeper)

    def _greet(self, keeper: SimKeeper) -> None:
        """A new line between the two: what is known there, and what has no answer yet is asked again."""
        hello = keeper.hello(self.incarnation)
        for request, _ in list(self._unanswered.values()):
            keeper.serve(request)
        if hello["parents"] > self.guard.seen.incarnations:
            self.guard.seen = Fence(hello["parents"])
        for row in hello["processes"]:
            unit = self._by_instance.get(row["instance"])
            if unit is None:
                if self._recalls:
                    self._recover(row)
            elif row["exit"] is not None and "failed" not in row["exit"]:
                self._feed(unit, Exited(row["instance"], row["exit"]))
        self._recalls = False

    def _recover(self, row: Message) -> None:
        spec = self._specs[row["slot"]][row["note"]["spec"]]
        now = self.clock.shows(self.world.now)
        unit = process_handover.recovered(now, spec, LADDER, row["note"]["unit"], row)
        self.units[unit.path] = self._by_instance[unit.instance] = unit
        self._arm(unit)
        self.slot(unit.path).connect_again()

    def _request(self, op: str, then: Then = lambda answer: None, **fields: Any) -> None:
        """Asks the keeper for something; while there is none, that waits."""
        self._number += 1
        request = {"op": op, "id": self._number} | fields
        self._unanswered[self._number] = request, then
        if self.keeper is not None:
            self.keeper.serve(request)

    def hear(self, message: Message) -> None:
        """The keeper says something, which arrives behind all that it has said before."""
        agent = self.incarnation

        def arrive() -> None:
            if self.agent_up and self.incarnation == agent:
                self._heard(message)

        arrives_s = max(self.world.now + self.world.vary(self.world.times.link_s), self._line_s)
        self._line_s = arrives_s
        self.world.after(arrives_s - self.world.now, arrive)

    def _heard(self, message: Message) -> None:
        if "event" in message:
            unit = self._by_instance.get(message["instance"])
            if unit is not None:
                self._feed(unit, Exited(message["instance"], message["exit"]))
        elif message["id"] in self._unanswered:
            _, then = self._unanswered.pop(message["id"])
            then(message)

    def _process_ended(self, slot: SimProcess, instance: str, how: Mapping[str, Any]) -> None:
        if self.keeper is not None:  # otherwise the next one finds that it has ended, and cannot tell how
            self.keeper.process_ended(slot, instance, how)

    # ---- the agent and its parent -----------------------------------------------------------------------------------

    @property
    def _fence(self) -> list[int]:
        return [*self.guard.seen.incarnations, self.incarnation]

    def receive(self, fence: Fence, act: Callable[[], None], fenced: Callable[[], None]) -> None:
        """A controller commands something: `act` carries it out, unless that one was replaced, or it is late."""
        self._inbox.append((fence, False, act, fenced))
        if len(self._inbox) == 1:
            self._read()

    def welcome(self, incarnations: tuple[int, ...]) -> None:
        """A parent says who it is."""
        if incarnations:
            self._inbox.append((Fence(incarnations), True, _nothing, _nothing))
            if len(self._inbox) == 1:
                self._read()

    def _read(self) -> None:
        """One thing after the other; a rise is on disk, in the keeper's hands, before anything is done for it."""
        while self._inbox:
            fence, is_welcome, act, fenced = self._inbox[0]
            before = self.guard.seen
            verdict = self.guard.judge_welcome(fence.incarnations) if is_welcome else self.guard.judge(fence)
            if verdict is Verdict.RISEN:
                self._rise(before, act)
                return
            del self._inbox[0]
            if verdict is Verdict.CURRENT:
                act()
            elif verdict is Verdict.FENCED:
                fenced()

    def _rise(self, before: Fence, act: Callable[[], None]) -> None:
        inbox, risen = self._inbox, self.guard.seen
        decided = False

        def decide(answer: Message) -> None:
            nonlocal decided
            if decided or self._inbox is not inbox:
                return
            decided = True
            del inbox[0]
            if answer["ok"]:
                act()
            else:
                self.guard.seen = before
            self._read()

        self._request("fence", decide, fence=[*risen.incarnations, self.incarnation])
        self.world.after(FENCE_LIMIT_S, lambda: decide({"ok": False}))

    def snapshot(self) -> ProcessesReported:
        """All that exists here, as far as the agent knows."""
        self._told = {path: unit.report() for path, unit in self.units.items()}
        return ProcessesReported(self.name, tuple(self._told.values()), snapshot=True)

    def heard_by(self, event: ProcessesReported, clock: Clock) -> ProcessesReported:
        """What the agent tells as a controller gets it: moments on that one's clock, as the edges translate them."""
        if self.clock == clock or not any(report.restarted_s for report in event.reports):
            return event
        mine, theirs = self.clock.shows(self.world.now), clock.shows(self.world.now)
        return replace(
            event,
            reports=tuple(
                replace(report, restarted_s=tuple(theirs - (mine - at_s) for at_s in report.restarted_s))
                for report in event.reports
            ),
        )

    # ---- the agent and its units ------------------------------------------------------------------------------------

    def orders(self, orders: tuple[Order, ...]) -> None:
        """Orders that the guard has let through."""
        for order in orders:
            unit = self.units.setdefault(order.path, Unit(order.path))
            self._started += 1
            instance = f"{unit.slot}.{self.incarnation}.{self._started}"
            self._feed(unit, Ordered(order, instance, LADDER if order.spec is not None else None))

    def _feed(self, unit: Unit, event: Event) -> None:
        if not self.agent_up or self.units.get(unit.path) is not unit:
            return
        for effect in unit.step(self.clock.shows(self.world.now), event):
            if self.dies_after is not None:
                self.dies_after -= 1
                if self.dies_after < 0:
                    self.world.note(self.path, f"the agent dies before {type(effect).__name__}")
                    self.world.kill_agent(self.path)
                    return
            match effect:
                case Report():
                    self._tell(unit)
                case Spawn(instance):
                    self._spawn(unit, instance)
                case Signal(instance, name):
                    self._request("signal", instance=instance, signal=_NUMBERS[name], group=True, fence=self._fence)
                case SendToActor(instance, command_id, command, _, run_number):
                    self.slot(unit.path).order(instance, command_id, command, run_number)
                case SaveNote(instance):
                    self._request("note", instance=instance, note=self._note(unit))
                case Forget(instance):
                    self._by_instance.pop(instance, None)
                    self._request("forget", instance=instance)
        self._arm(unit)

    def _tell(self, unit: Unit) -> None:
        report = unit.report()
        if self._told.get(unit.path) != report:
            self._told[unit.path] = report
            self.world.report(self, ProcessesReported(self.name, (report,)))

    def _note(self, unit: Unit) -> dict[str, Any]:
        """What is kept with a process; its specification is written down once, and named by its place there."""
        written = self._specs.setdefault(unit.slot, [])
        if unit.spec is not None and (not written or written[-1] != unit.spec):
            written.append(unit.spec)
        return {"unit": process_handover.note(unit), "spec": len(written) - 1}

    def _spawn(self, unit: Unit, instance: str) -> None:
        self._by_instance[instance] = unit
        beats = unit.spec is not None and unit.spec.heartbeat_timeout_s > 0
        self._request(
            "spawn",
            lambda answer: self._spawned(unit, instance, answer),
            instance=instance,
            slot=unit.slot,
            nonce=f"nonce of {instance}",
            argv=["actor"],
            environment={BEATS: "1"} if beats else {},
            working_directory="/",
            log="/dev/null",
            note=self._note(unit),
            fence=self._fence,
        )

    def _spawned(self, unit: Unit, instance: str, answer: Message) -> None:
        spawned = Spawned(instance, answer["pid"]) if answer["ok"] else SpawnFailed(instance, answer["error"])
        self._feed(unit, spawned)

    def _from_actor(self, slot: SimProcess, event: Event) -> None:
        def arrive() -> None:
            if self.agent_up and slot.path in self.units:
                self._feed(self.units[slot.path], event)

        self.world.after(self.world.vary(self.world.times.link_s), arrive)

    def _arm(self, unit: Unit) -> None:
        """Sees to it that the unit hears of the moment that it waits for."""
        at_s = unit.alarm_s
        if at_s == self._alarms.get(unit.path):
            return
        self._alarms[unit.path] = at_s
        if at_s is not None:
            self.world.after(self.clock.lasts(at_s, self.world.now), lambda: self._alarm(unit, at_s))

    def _alarm(self, unit: Unit, at_s: float) -> None:
        if self._alarms.get(unit.path) == at_s:
            self._alarms[unit.path] = None
            self._feed(unit, Ticked())
