"""A simulated node: keeper, agent and processes, with the production decisions of an agent (`core/process.py`).

The agent's units and the fence that it guards are the real thing. What is simulated is what they decide about: a keeper
that spawns, signals and remembers, and actors that take orders, each a little state machine of its own. So a world can
tell what is really so on a node (`SimProcess`) from what anybody believes.

The agent can be killed and comes back: it takes its units up from the keeper's notes, and the actors connect again. The
keeper can be killed: what the agent asks of it waits for the next one, which adopts, and how a process ended meanwhile
nobody knows. A process may leave grandchildren, which hold its slot; the keeper ends them before it says that the
process has ended. A node that is cut off goes on; its agent dials until somebody answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from grange.core.effects import Order
from grange.core.events import ProcessesReported
from grange.core.fencing import Guard
from grange.core.names import Command, State
from grange.core.process import Unit
from grange.core.process_events import (
    ActorAnswered,
    ActorConnected,
    Event,
    Exited,
    Forget,
    HeartbeatHeard,
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
from grange.core.process_handover import note, recovered
from grange.core.reports import ProcessReport
from grange.core.state import ROWS, Refusal, move

from .network import Stream
from .virtual_time import Clock

RECONNECT_S = 0.02  # an actor's, after its agent was restarted


@dataclass
class Times:
    """How long things take in the simulated world, in seconds; each is varied by up to `spread` of itself."""

    link_s: float = 0.0005
    launch_s: float = 0.3
    step_s: float = 0.01
    boot_s: float = 0.15
    exit_s: float = 0.02  # from SIGTERM to the end
    heartbeat_s: float = 1.0
    report_s: float = 0.002  # a controller gathers changes for so long before it tells its parent
    gather_s: float = 0.0  # and a controller reports of its agents, before it plans
    spread: float = 0.3


def nobody(reason: str) -> None:
    """Nobody is told how a keeper ended that an agent has started."""


class Surroundings(Protocol):
    """What a node needs of its world."""

    now: float
    times: Times
    violations: list[str]

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Does something later."""

    def vary(self, mean_s: float) -> float:
        """A duration of about `mean_s`."""

    def report(self, node: "SimNode", event: ProcessesReported) -> None:
        """Hands on what the agent tells its parent."""

    def note(self, who: str, text: str) -> None:
        """Adds a line to the world's log."""

    def clock(self) -> Clock:
        """The clock of a machine."""

    def kill_agent(self, path: str) -> None:
        """kill -9 of the agent of a node."""


@dataclass
class SimProcess:
    """One place for a process: what really runs there, what the keeper has kept of it, and how it will behave."""

    path: str
    alive: bool = False
    instance: str = ""
    state: State = State.INITIAL  # the actor's own
    run_number: int = 0
    stopped_run: int = 0
    last_command_id: str = ""
    current: str = ""  # the order that it is carrying out
    current_run: int = 0  # the run number in it
    answers: dict[str, tuple[bool, str]] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)
    exit: Mapping[str, Any] | None = None
    boots: int = 0
    dies_at: set[Command] = field(default_factory=set)
    hangs_at: set[Command] = field(default_factory=set)
    refuses_at: set[Command] = field(default_factory=set)
    silent: bool = False  # no heartbeats
    deaf: bool = False  # survives SIGTERM
    unkillable: bool = False  # survives SIGKILL as well: the kernel holds it
    slow: float = 1.0  # how many times longer than others it takes to start
    leaves: bool = False  # leaves a grandchild behind, whenever it ends
    changed_s: float = 0.0  # when it last ended or fell silent
    left: int = 0  # grandchildren that live, and hold the slot

    @property
    def lives(self) -> bool:
        """Whether anything runs there."""
        return self.alive or self.left > 0


class SimNode:
    """The programs of one node; they live while controllers come and go."""

    def __init__(self, world: Surroundings, path: str) -> None:
        self.world = world
        self.path = path
        self.name = path.rsplit("/", 1)[-1]
        self.up = False
        self.agent_up = False
        self.keeper_up = True
        self.keepers = 0  # how many were started here
        self.reaped: Callable[[str], None] = nobody  # whoever launched the keeper hears how it ends
        self.owed: list[Callable[[], None]] = []  # what waits for the next keeper
        self.clock = world.clock()
        self.cut = False
        self.dies_after: int | None = None  # the agent: so many more of its effects
        self.stream = Stream()
        self.changed_s = 0.0  # when its link was last interrupted
        self.parent: object | None = None  # the controller that its stream leads to
        self.incarnation = 0
        self.guard = Guard()
        self.slots: dict[str, SimProcess] = {}
        self.units: dict[str, Unit] = {}
        self._alarms: dict[str, float | None] = {}
        self._told: dict[str, ProcessReport] = {}

    def slot(self, path: str) -> SimProcess:
        found = self.slots.get(path)
        if found is None:
            found = self.slots[path] = SimProcess(path)
        return found

    # ---- the agent --------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """The keeper's program is started, unless one runs; it starts the agent."""
        if not self.up:
            self.up = True
            self.keepers += 1
            self._start_agent()
        elif not self.keeper_up:
            self._adopt()

    def release(self, released: Callable[[], None]) -> None:
        """Keeper and agent end, if nothing is left on the node; once there is a keeper to ask."""

        def end() -> None:
            if not any(slot.lives for slot in self.slots.values()):
                self.up = self.agent_up = False
                self.units = {}
                released()

        self._ask(end)

    def kill_agent(self) -> None:
        """kill -9 of the agent alone; its keeper starts it again."""
        self.agent_up, self.dies_after = False, None
        self.units, self._alarms, self._told, self.owed = {}, {}, {}, []
        self.world.after(self.world.vary(self.world.times.launch_s), self._start_agent)

    def kill_keeper(self) -> None:
        """kill -9 of the keeper alone; the agent starts the next one, which adopts what runs."""
        if self.up and self.keeper_up:
            self.keeper_up = False
            self.world.after(self.world.vary(self.world.times.launch_s), self._start_keeper)
            reaped, self.reaped = self.reaped, nobody
            reaped("was killed by SIGKILL")

    def _start_keeper(self) -> None:
        """The agent does it; where that is gone as well, nobody does until the node is launched again."""
        if self.agent_up:
            self._adopt()

    def _adopt(self) -> None:
        """A new keeper has looked at everything, and the agent tells it again what was asked for meanwhile."""
        if self.keeper_up:
            return
        self.keeper_up = True
        self.keepers += 1
        if not self.agent_up:
            self.world.after(self.world.times.launch_s, self._start_agent)
        for slot in self.slots.values():
            if not slot.alive and slot.exit is None and slot.instance:
                slot.exit = {"unknown": "it ended while no keeper was there"}
                self._clear(slot, slot.instance)
        owed, self.owed = self.owed, []
        for ask in owed:
            ask()

    def _ask(self, request: Callable[[], None]) -> None:
        """The agent asks its keeper for something; while there is none, it waits."""
        if self.keeper_up:
            request()
        else:
            self.owed.append(request)

    def restart(self) -> None:
        """The machine restarts: no process is left, and nobody remembers any."""
        self.keeper_up = True
        for slot in self.slots.values():
            slot.left = 0
            slot.alive, slot.state, slot.instance, slot.exit, slot.current = False, State.INITIAL, "", None, ""
        self.kill_agent()

    def _start_agent(self) -> None:
        if not self.up or self.agent_up or not self.keeper_up:
            return
        self.agent_up = True
        self.incarnation += 1
        for slot in self.slots.values():
            if slot.alive or slot.exit is not None:
                self._recover(slot)

    def _recover(self, slot: SimProcess) -> None:
        spec = slot.note["spec"]
        manifest = {"instance": slot.instance, "status": "", "exit": slot.exit, "pid": slot.boots, "ready": False}
        unit = recovered(self.clock.shows(self.world.now), spec, slot.note["ladder"], slot.note, manifest)
        self.units[slot.path] = unit
        self._arm(unit)
        if slot.alive and slot.state is not State.INITIAL:
            self.world.after(RECONNECT_S, lambda: self._connect(slot))

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

    def snapshot(self) -> ProcessesReported:
        """All that exists here, as far as the agent knows."""
        self._told = {path: unit.report() for path, unit in self.units.items()}
        return ProcessesReported(self.name, tuple(self._told.values()), snapshot=True)

    def orders(self, orders: tuple[Order, ...]) -> None:
        """Orders that the guard has let through."""
        for order in orders:
            unit = self.units.setdefault(order.path, Unit(order.path))
            instance = f"{order.path}.{self.slot(order.path).boots + 1}"
            ladder = Ladder(3.0, 2.0) if order.spec is not None else None
            self._feed(unit, Ordered(order, instance, ladder))

    def _feed(self, unit: Unit, event: Event) -> None:
        if not self.agent_up or self.units.get(unit.path) is not unit:
            return
        slot = self.slot(unit.path)
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
                    self._save(slot, unit)
                    self._ask(partial(self._spawn, slot, instance))
                case Signal(instance, name):
                    self._ask(partial(self._signal, slot, instance, name))
                case SendToActor(instance, command_id, command, remaining_s, run_number):
                    self._order_actor(slot, instance, command_id, command, remaining_s, run_number)
                case SaveNote():
                    self._save(slot, unit)
                case Forget():
                    slot.exit = None
        self._arm(unit)

    def _tell(self, unit: Unit) -> None:
        report = unit.report()
        if self._told.get(unit.path) != report:
            self._told[unit.path] = report
            self.world.report(self, ProcessesReported(self.name, (report,)))

    def _save(self, slot: SimProcess, unit: Unit) -> None:
        slot.note = {**note(unit), "spec": unit.spec, "ladder": unit.ladder}

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

    # ---- the keeper -------------------------------------------------------------------------------------------------

    def _spawn(self, slot: SimProcess, instance: str) -> None:
        if slot.alive:
            self.world.violations.append(f"{slot.path} was started while it ran")
            self._to_agent(slot, SpawnFailed(instance, "the slot is held"))
            return
        if slot.left:  # what holds a slot that is wanted is ours, and is ended first
            self.world.after(self.world.vary(self.world.times.exit_s), lambda: self._spawn_cleared(slot, instance))
            return
        self._start(slot, instance)

    def _spawn_cleared(self, slot: SimProcess, instance: str) -> None:
        slot.left = 0
        self._spawn(slot, instance)

    def _start(self, slot: SimProcess, instance: str) -> None:
        if slot.lives:
            self.world.violations.append(f"{slot.path} was started while what it had left held its slot")
        slot.boots += 1
        slot.alive, slot.instance, slot.state, slot.exit = True, instance, State.BOOTING, None
        slot.run_number = slot.stopped_run = 0
        slot.last_command_id, slot.current, slot.answers = "", "", {}
        slot.silent = False
        self._to_agent(slot, Spawned(instance, slot.boots))
        if Command.BOOT in slot.dies_at:
            self.world.after(self.world.vary(self.world.times.step_s), lambda: self.end(slot, instance, {"code": 1}))
        elif Command.BOOT not in slot.hangs_at:
            self.world.after(slot.slow * self.world.vary(self.world.times.boot_s), lambda: self._ready(slot, instance))

    def _ready(self, slot: SimProcess, instance: str) -> None:
        if slot.alive and slot.instance == instance:
            slot.state = State.BOOTED
            self._connect(slot)
            self._beat(slot, instance)

    def _signal(self, slot: SimProcess, instance: str, name: str) -> None:
        survives = slot.unkillable or (slot.deaf and name != "KILL")
        if slot.alive and slot.instance == instance and not survives:
            delay_s = self.world.vary(self.world.times.exit_s)
            self.world.after(delay_s, lambda: self.end(slot, instance, {"signal": 9 if name == "KILL" else 15}))

    def end(self, slot: SimProcess, instance: str, how: Mapping[str, Any]) -> None:
        """A process ends; the keeper keeps how."""
        if slot.alive and slot.instance == instance:
            slot.alive, slot.state, slot.current = False, State.INITIAL, ""
            slot.changed_s = self.world.now
            slot.left += slot.leaves
            if self.keeper_up:  # otherwise the next one finds that it has ended, and cannot tell how
                slot.exit = how
                self._clear(slot, instance)

    def _clear(self, slot: SimProcess, instance: str) -> None:
        """Nothing may be left of a process before its end is told."""
        how = slot.exit
        if how is None:
            return

        def cleared() -> None:
            slot.left = 0
            self._to_agent(slot, Exited(instance, how))

        if slot.left:
            self.world.after(self.world.vary(self.world.times.exit_s), cleared)
        else:
            self._to_agent(slot, Exited(instance, how))

    def _to_agent(self, slot: SimProcess, event: Event) -> None:
        def arrive() -> None:
            if self.agent_up and slot.path in self.units:
                self._feed(self.units[slot.path], event)

        self.world.after(self.world.vary(self.world.times.link_s), arrive)

    # ---- actors -----------------------------------------------------------------------------------------------------

    def _connect(self, slot: SimProcess) -> None:
        if slot.alive:
            hello = ActorConnected(slot.instance, slot.state, slot.last_command_id, slot.run_number)
            self._to_agent(slot, hello)

    def _beat(self, slot: SimProcess, instance: str) -> None:
        unit = self.units.get(slot.path)
        if not slot.alive or slot.instance != instance:
            return
        if unit is not None and unit.spec is not None and not unit.spec.heartbeat_timeout_s:
            return
        if not slot.silent:
            self._to_agent(slot, HeartbeatHeard(instance, slot.state))
        self.world.after(self.world.times.heartbeat_s, lambda: self._beat(slot, instance))

    def count(self, path: str, counters: Mapping[str, int]) -> None:
        """A process says what it has counted, as with a heartbeat."""
        slot = self.slot(path)
        self._to_agent(slot, HeartbeatHeard(slot.instance, slot.state, counters=counters))

    def _order_actor(
        self, slot: SimProcess, instance: str, command_id: str, command: Command | None, limit_s: float, run: int
    ) -> None:
        def arrive() -> None:
            if not slot.alive or slot.instance != instance or slot.current == command_id:
                return
            if command_id in slot.answers:
                self._answer(slot, command_id, *slot.answers[command_id])
            elif command is None:
                self._answer(slot, command_id, False, "never heard of it")
            else:
                self._begin(slot, command_id, command, run)

        self.world.after(self.world.vary(self.world.times.link_s), arrive)

    def _begin(self, slot: SimProcess, command_id: str, command: Command, run_number: int) -> None:
        reached = move(slot.state, command)
        if slot.current:
            self._answer(slot, command_id, False, f"{slot.current} is under way")
        elif isinstance(reached, Refusal):
            self._answer(slot, command_id, False, reached.reason)
        elif command is Command.START and run_number <= slot.stopped_run:
            self._answer(slot, command_id, False, f"run {slot.stopped_run} has been stopped already")
        elif command is Command.STOP and run_number not in (0, slot.run_number):
            self._answer(slot, command_id, False, f"the run under way is {slot.run_number}, not {run_number}")
        elif command in slot.refuses_at:
            self._answer(slot, command_id, False, f"no such calibration for {command}")
        else:
            instance, slot.state = slot.instance, reached
            slot.last_command_id = slot.current = command_id
            slot.current_run = run_number
            if command in slot.hangs_at:
                slot.silent, slot.changed_s = True, self.world.now
                return
            took_s = self.world.vary(self.world.times.step_s)
            if command in slot.dies_at:
                self.world.after(took_s, lambda: self.end(slot, instance, {"code": 1}))
            else:
                self.world.after(took_s, lambda: self._done(slot, instance, command_id, command))

    def finish_late(self, path: str) -> None:
        """A process that hangs in an order carries it out after all."""
        slot = self.slot(path)
        slot.silent = False
        if slot.alive and slot.current:
            command = Command(slot.current.split("/")[-2])
            self._done(slot, slot.instance, slot.current, command)

    def _done(self, slot: SimProcess, instance: str, command_id: str, command: Command) -> None:
        if not slot.alive or slot.instance != instance or slot.current != command_id:
            return
        slot.current, slot.state = "", ROWS[command].to
        if command is Command.START:
            slot.run_number = slot.current_run
        elif command is Command.STOP:
            slot.stopped_run = slot.run_number
        self._answer(slot, command_id, True, "")

    def _answer(self, slot: SimProcess, command_id: str, ok: bool, reason: str) -> None:
        slot.answers[command_id] = (ok, reason)
        self._to_agent(slot, ActorAnswered(slot.instance, command_id, ok, slot.state, reason))
