"""What really runs in a place for a process: an actor that takes orders, and what becomes of it.

An actor is a little state machine of its own, with switches for its behaviour: it may be slow, die, hang or refuse at a
step, stop its heartbeats, survive signals, and leave grandchildren behind when it ends, which hold its slot. A world
tells by it what is so from what anybody believes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grange.core.keeping import CLEAR_LIMIT_S, ProcessStat
from grange.core.names import Command, State
from grange.core.process_events import ActorAnswered, ActorConnected, Event, HeartbeatHeard
from grange.core.state import ROWS, Refusal, move

from .surroundings import Surroundings

RECONNECT_S = 0.02  # an actor's, after its agent was restarted


@dataclass(eq=False)
class SimProcess:
    """One place for a process: what is there, and how it will behave."""

    world: Surroundings
    path: str
    tell: Callable[["SimProcess", Event], None]  # on the actor link, to the agent
    ended: Callable[["SimProcess", str, Mapping[str, Any]], None]  # what its parent learns: which instance, and how

    # what is there
    alive: bool = False
    instance: str = ""
    pid: int = 0
    start_ticks: int = 0
    nonce: str = ""
    beats: bool = False  # its heartbeats are expected
    boots: int = 0
    left: int = 0  # grandchildren that live, and hold the slot
    clings_until_s: float = 0.0  # they do not end before, whoever kills them
    changed_s: float = 0.0  # when it last ended or fell silent

    # the actor's own
    state: State = State.INITIAL
    run_number: int = 0
    stopped_run: int = 0
    last_command_id: str = ""
    current: str = ""  # the order that it is carrying out
    current_run: int = 0  # the run number in it
    answers: dict[str, tuple[bool, str]] = field(default_factory=dict)

    # how it will behave
    dies_at: set[Command] = field(default_factory=set)
    hangs_at: set[Command] = field(default_factory=set)
    refuses_at: set[Command] = field(default_factory=set)
    silent: bool = False  # no heartbeats
    deaf: bool = False  # survives SIGTERM
    unkillable: bool = False  # survives SIGKILL as well: the kernel holds it
    slow: float = 1.0  # how many times longer than others it takes to start
    leaves: bool = False  # leaves a grandchild behind, whenever it ends
    clings_s: float = 0.0  # for how long that one survives SIGKILL

    _killed: int = 0  # the boot whose grandchildren have been sent SIGKILL
    _begun: set[str] = field(default_factory=set)  # all instances that were ever started

    @property
    def slot(self) -> str:
        return self.path.rsplit("/", 1)[1]

    @property
    def lives(self) -> bool:
        """Whether anything runs there, and so holds the slot's lock."""
        return self.alive or self.left > 0

    @property
    def is_given_up(self) -> bool:
        """Whether all that runs there are grandchildren that SIGKILL does not end, for longer than a keeper waits."""
        return not self.alive and self.left > 0 and self.world.now >= self.changed_s + CLEAR_LIMIT_S

    def behave(self) -> None:
        """From now on it behaves well."""
        self.dies_at, self.hangs_at, self.refuses_at = set(), set(), set()
        self.deaf = self.unkillable = self.leaves = False
        self.slow, self.clings_s = 1.0, 0.0

    # ---- as the kernel sees it --------------------------------------------------------------------------------------

    def stat(self) -> ProcessStat:
        """Each process leads a session of its own."""
        return ProcessStat(self.pid, self.slot, "S", 1, self.pid, self.pid, self.start_ticks)

    def start(self, instance: str, nonce: str, start_ticks: int, beats: bool) -> None:
        """The program is executed. Nothing runs twice, and whoever lets it is the world's to name."""
        if self.alive:
            self.world.violations.append(f"{self.path} was started while it ran")
        elif self.left:
            self.world.violations.append(f"{self.path} was started while what it had left held its slot")
        if instance in self._begun:
            self.world.violations.append(f"instance {instance} of {self.path} was started a second time")
        self._begun.add(instance)
        self.boots += 1
        self.pid = self.boots
        self.alive, self.instance, self.nonce, self.start_ticks = True, instance, nonce, start_ticks
        self.state, self.beats = State.BOOTING, beats
        self.run_number = self.stopped_run = 0
        self.last_command_id, self.current, self.answers = "", "", {}
        self.silent = False
        times, later = self.world.times, self.world.after
        if Command.BOOT in self.dies_at:
            later(self.world.vary(times.step_s), lambda: self.end(instance, {"code": 1}))
        elif Command.BOOT not in self.hangs_at:
            later(self.slow * self.world.vary(times.boot_s), lambda: self._ready(instance))

    def signal(self, name: str) -> None:
        """TERM or KILL arrives."""
        survives = self.unkillable or (self.deaf and name != "KILL")
        if self.alive and not survives:
            instance, how = self.instance, {"signal": 9 if name == "KILL" else 15}
            self.world.after(self.world.vary(self.world.times.exit_s), lambda: self.end(instance, how))

    def kill_left(self) -> None:
        """SIGKILL for what a process has left behind."""
        if self.left and self._killed != self.boots:
            self._killed = boot = self.boots
            lasts_s = max(self.world.vary(self.world.times.exit_s), self.clings_until_s - self.world.now)
            self.world.after(lasts_s, lambda: self._left_is_gone(boot))

    def _left_is_gone(self, boot: int) -> None:
        if self.boots == boot:
            self.left = 0

    def end(self, instance: str, how: Mapping[str, Any]) -> None:
        """A process ends, and its parent learns how."""
        if self.alive and self.instance == instance:
            self.alive, self.state, self.current = False, State.INITIAL, ""
            self.changed_s = self.world.now
            self.left += self.leaves
            self.clings_until_s = self.world.now + self.clings_s
            self.ended(self, instance, how)

    def vanish(self) -> None:
        """The machine has restarted."""
        self.left = 0
        self.alive, self.state, self.instance, self.current = False, State.INITIAL, "", ""
        self._begun.clear()

    # ---- the actor --------------------------------------------------------------------------------------------------

    def _ready(self, instance: str) -> None:
        if self.alive and self.instance == instance:
            self.state = State.BOOTED
            self._connect()
            if self.beats:
                self._beat(instance)

    def connect_again(self) -> None:
        """The agent is a new one, and the actor's link to the one before is broken; one that hangs does not notice."""
        if self.alive and self.state is not State.BOOTING:
            self.world.after(RECONNECT_S, self._connect)

    def _connect(self) -> None:
        if self.alive and not self.silent:
            self.tell(self, ActorConnected(self.instance, self.state, self.last_command_id, self.run_number))

    def _beat(self, instance: str) -> None:
        if self.alive and self.instance == instance:
            if not self.silent:
                self.tell(self, HeartbeatHeard(instance, self.state))
            self.world.after(self.world.times.heartbeat_s, lambda: self._beat(instance))

    def count(self, counters: Mapping[str, int]) -> None:
        """It says what it has counted, as with a heartbeat."""
        self.tell(self, HeartbeatHeard(self.instance, self.state, counters=counters))

    def order(self, instance: str, command_id: str, command: Command | None, run_number: int) -> None:
        """An order is on its way; without a command it is a question for what became of one."""

        def arrive() -> None:
            if not self.alive or self.instance != instance or self.current == command_id:
                return
            if command_id in self.answers:
                self._answer(command_id, *self.answers[command_id])
            elif command is None:
                self._answer(command_id, False, "never heard of it")
            else:
                self._begin(command_id, command, run_number)

        self.world.after(self.world.vary(self.world.times.link_s), arrive)

    def _begin(self, command_id: str, command: Command, run_number: int) -> None:
        reached = move(self.state, command)
        if self.current:
            self._answer(command_id, False, f"{self.current} is under way")
        elif isinstance(reached, Refusal):
            self._answer(command_id, False, reached.reason)
        elif command is Command.START and run_number <= self.stopped_run:
            self._answer(command_id, False, f"run {self.stopped_run} has been stopped already")
        elif command is Command.STOP and run_number not in (0, self.run_number):
            self._answer(command_id, False, f"the run under way is {self.run_number}, not {run_number}")
        elif command in self.refuses_at:
            self._answer(command_id, False, f"no such calibration for {command}")
        else:
            self._carry_out(command_id, command, reached, run_number)

    def _carry_out(self, command_id: str, command: Command, via: State, run_number: int) -> None:
        instance, self.state = self.instance, via
        self.last_command_id = self.current = command_id
        self.current_run = run_number
        if command in self.hangs_at:
            self.silent, self.changed_s = True, self.world.now
            return
        took_s = self.world.vary(self.world.times.step_s)
        if command in self.dies_at:
            self.world.after(took_s, lambda: self.end(instance, {"code": 1}))
        else:
            self.world.after(took_s, lambda: self._done(instance, command_id, command))

    def finish_late(self) -> None:
        """It hangs in an order, and carries it out after all."""
        self.silent = False
        if self.alive and self.current:
            self._done(self.instance, self.current, Command(self.current.split("/")[-2]))

    def _done(self, instance: str, command_id: str, command: Command) -> None:
        if not self.alive or self.instance != instance or self.current != command_id:
            return
        self.current, self.state = "", ROWS[command].to
        if command is Command.START:
            self.run_number = self.current_run
        elif command is Command.STOP:
            self.stopped_run = self.run_number
        self._answer(command_id, True, "")

    def _answer(self, command_id: str, ok: bool, reason: str) -> None:
        self.answers[command_id] = (ok, reason)
        self.tell(self, ActorAnswered(self.instance, command_id, ok, self.state, reason))
