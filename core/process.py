"""One process as its agent sees it: what was ordered, what has been heard, and what follows.

`Unit.step(now, event)` is the only door: facts in, effects out; the agent carries them out and decides nothing.

**Orders.** One is in flight at a time. Its id is remembered: a repeated one is answered by reporting again, never
carried out twice. An order that comes meanwhile waits, the newest alone, for the first one's answer or deadline; a
shutdown waits for nothing: it supersedes whatever is under way and climbs the termination ladder: TERM, KILL, giving
up. Each order has its limit, counted from its receipt. For an actor (`ready` is `actor`) an order becomes an order on
the actor link; for a plain process every step but boot and shutdown is immediate and noted with the process.

**States.** While an order is in flight the state is the transitional one. Afterwards the actor's own answer or
heartbeat names it; without one it is `unknown` until the actor is heard again or known dead (`initial`).

**Failures** are of six kinds (`FailureKind`), each one sentence for people. A failure of the order in flight ends that
order. A *trouble* is of the process itself (it died, it hangs): it makes the health `error` until the next boot or
shutdown, or until a hung process is heard again.

**Probes** ask a plain process whether it is ready, then whether it is well (`core/probing.py`); one that fails often
enough in a row makes it hung, as silence does with those that beat or have a watchdog. One way of watching is used for
each process, so what the one says is not undone by another.

**A silent keeper** hides its processes: as long as it is silent, each that may be alive is reported as hung and
`unknown`, with the remedy, whatever it was before; that is what counts again when the keeper is heard.

**Counters** are of one run and of all the instances that the process had in it (`core/tally.py`). **Restarts** by its
role's policy are remembered for the controllers, each of which may have a successor.

**After a restart of the agent** the keeper's manifest says what runs and what had been noted. An actor is `unknown`
until its hello; then it is asked, by the id, what became of its last order, and it repeats its answer.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .effects import Order
from .failures import death, describe_exit, failure, keeper_silent, quote, who
from .figures import TOLD_AGAIN_S, is_notable
from .liveness import Liveness
from .names import Command, Health, Ready, State
from .plan import ProcessSpec
from .probing import Prober
from .process_events import (
    ActorAnswered,
    ActorConnected,
    ActorGone,
    Effect,
    EndProbe,
    Event,
    Exited,
    FailureKind,
    Forget,
    HeartbeatHeard,
    KeeperHeard,
    KeeperSilent,
    Ladder,
    LinkRefused,
    Notified,
    Ordered,
    Probe,
    Probed,
    Report,
    Sampled,
    SaveNote,
    SendToActor,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    Ticked,
)
from .reports import Failure, Figures, ProcessReport
from .state import ROWS, STEADY, Refusal, move
from .tally import BEFORE_RUNS, Tally

ORDER_IDS_KEPT = 64  # answered orders remembered for each process
WAITING_TOLD_EVERY_S = 5.0  # how long a boot has waited; often enough for people, and little for a farm of thousands
RESTARTS_KEPT = 64  # moments of restarts by its role's policy: more than anybody allows within a period
ASK_LIMIT_S = 5.0  # for an actor to repeat what became of its last order


class Unit:
    """The decisions about one process. `path` is its place in the control tree."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.spec: ProcessSpec | None = None
        self.ladder = Ladder()
        self.state = State.INITIAL
        self.instance = ""  # of the last start that the keeper knows of
        self.alive = False
        self.pid = 0
        self.status = ""
        self.tally = Tally()
        self.restarts = 0  # by its role's policy, since a command started it
        self.restarted_s: tuple[float, ...] = ()  # when the last of them were
        self.run_number = 0
        self.figures: Figures | None = None
        self.figures_s = 0.0  # when they were sampled
        self.trouble: Failure | None = None
        self.order: Order | None = None  # in flight
        self.order_id = ""  # of the order accepted last
        self.order_ok = True
        self.order_failure: Failure | None = None
        self._deadline_s = 0.0
        self._waiting: tuple[Order, str, Ladder | None, float] | None = None  # order, instance, ladder, deadline
        self._answered: deque[str] = deque(maxlen=ORDER_IDS_KEPT)
        self._liveness = Liveness(0.0)
        self._prober = Prober()
        self._connected = False
        self._recovering = False  # the agent is new, and the actor has not said hello yet
        self._unsettled = False  # … and the note says that an order was in flight
        self._asking = False  # the order in flight stands for the last one before, whose command nobody knows
        self._known = State.INITIAL  # what the process itself, or the note of a plain one, said last
        self._settle_at_s: float | None = None
        self._kill_at_s: float | None = None
        self._booting_since_s = 0.0
        self._booting_for_s = 0.0  # as told last
        self._silent_keeper: int | None = None  # the process id of a keeper that is silent

    # ---- what others may know ----

    @property
    def slot(self) -> str:
        return self.path.rsplit("/", 1)[1]

    @property
    def speaks(self) -> bool:
        """Whether the process is an actor."""
        return self.spec is not None and self.spec.ready is Ready.ACTOR

    @property
    def alarm_s(self) -> float | None:
        """When the unit wants `Ticked`; None: not before something else happens."""
        times = []
        if self._settle_at_s is not None:
            times.append(self._settle_at_s)
        if self._kill_at_s is not None:
            times.append(self._kill_at_s)
        if self.order is not None:
            times.append(self._deadline_s)
            if self._is_booting:
                times.append(self._waiting_told_s)
        elif self._waiting is not None:
            times.append(self._waiting[3])
        if self.alive:
            if (probe_s := self._prober.alarm_s) is not None:
                times.append(probe_s)
            if not self._is_hung and (silent_s := self._liveness.due_s) is not None:
                times.append(silent_s)
        return min(times, default=None)

    def report(self) -> ProcessReport:
        trouble = self._hidden() or self.trouble
        return ProcessReport(
            path=self.path,
            state=State.UNKNOWN if self._hidden() and self.order is None else self.state,
            instance=self.instance if self.alive else "",
            health=Health.OK if trouble is None else Health.ERROR,
            status=self._sentence_of_status() if trouble is None else trouble.reason,
            pid=self.pid,
            order_id=self.order_id,
            order_done=self.order is None,
            order_ok=self.order_ok,
            failure=self.order_failure or trouble,
            counters=self.tally.counters,
            files=self.tally.files,
            counted_run=self.tally.run_number,
            run_number=self.run_number,
            figures=self.figures if self.alive else None,
            restarts=self.restarts,
            restarted_s=self.restarted_s,
        )

    def _hidden(self) -> Failure | None:
        """Why nothing can be known of the process now; None when it can, or when nothing runs."""
        if self._silent_keeper is None or not self.alive:
            return None
        return failure(FailureKind.HUNG, keeper_silent(self.path, self._silent_keeper))

    def _sentence_of_status(self) -> str:
        if self._recovering:
            return "waiting for the actor to connect again"
        if self.spec is None or not self.alive or not self._is_booting:
            return self.status
        awaited = _awaited(self.spec, self._prober.said) if self.pid else "is being started"
        if self._booting_for_s:
            awaited += f", {self._booting_for_s:.0f} s so far"
        return f"{self.status} ({awaited})" if self.status else awaited

    @property
    def _waiting_told_s(self) -> float:
        """When a boot has waited long enough to be told of again."""
        return self._booting_since_s + self._booting_for_s + WAITING_TOLD_EVERY_S

    def note(self) -> dict[str, Any]:
        """What the agent after this one has to know besides the specification and what the actor itself will say."""
        order = self.order
        return {
            "order_id": self.order_id,
            "command": order.command.value if order and not self._asking else "",  # in flight
            "limit_s": order.limit_s if order else 0.0,
            "ok": self.order_ok,
            "state": self._known.value,
            "run_number": self.run_number,
            "tally": self.tally.note(),
            "restarts": self.restarts,
            "restarted_s": list(self.restarted_s),
        }

    # ---- the one door ----

    def step(self, now: float, event: Event) -> list[Effect]:
        """What follows from a fact. News of another instance than the present one is left out."""
        # One step per event of the agent, hundreds a second in a farm: the frequent ones first.
        if isinstance(event, Ordered):
            return self._ordered(now, event)
        if isinstance(event, Ticked):
            return self._ticked(now, event)
        if isinstance(event, (KeeperSilent, KeeperHeard)):
            self._silent_keeper = event.keeper_pid if isinstance(event, KeeperSilent) else None
            return [Report()] if self.alive else []
        if event.instance != self.instance or not self.alive:
            return []
        match event:
            case ActorAnswered():
                return self._actor_answered(now, event)
            case HeartbeatHeard():
                return self._heartbeat_heard(now, event)
            case Sampled():
                return self._sampled(now, event.figures)
            case Spawned():
                return self._spawned(now, event)
            case SpawnFailed():
                return self._ended(now, {"failed": event.reason}, ())
            case Exited():
                return self._ended(now, event.exit, event.last_lines)
            case Notified():
                return self._notified(now, event)
            case ActorConnected():
                return self._actor_connected(now, event)
            case ActorGone():
                self._connected = False
                return []
            case Probed():
                return self._probed(now, event)
            case LinkRefused():
                changed, self.status = event.reason != self.status, event.reason
                return [Report()] if changed else []

    # ---- orders ----

    def _ordered(self, now: float, event: Ordered) -> list[Effect]:
        order = event.order
        if order.order_id == self.order_id or order.order_id in self._answered:
            return [Report()]
        deadline_s = now + order.limit_s
        if order.command is Command.SHUTDOWN and self._shutting_down:
            self._answered.append(self.order_id)  # the same ladder goes on: its times are not begun anew
            self.order, self.order_id = order, order.order_id
            return [Report()]
        if order.command is Command.SHUTDOWN:
            for superseded in (self.order, self._waiting[0] if self._waiting else None):
                if superseded is not None:
                    self._answered.append(superseded.order_id)
            self.order, self._waiting, self._recovering, self._asking = None, None, False, False
        elif self.order is not None or self._recovering:
            self._waiting = (order, event.new_instance, event.ladder, deadline_s)
            return []
        return self._begin(now, order, event.new_instance, event.ladder, deadline_s)

    def _begin(
        self, now: float, order: Order, new_instance: str, ladder: Ladder | None, deadline_s: float
    ) -> list[Effect]:
        self.order, self.order_id, self.order_ok, self.order_failure = order, order.order_id, True, None
        self._deadline_s = deadline_s
        self._settle_at_s = self._kill_at_s = None
        via = move(self.state, order.command)
        if isinstance(via, Refusal):
            return self._refuse(now, via.reason)
        if order.command is Command.BOOT and order.spec is None:
            return self._refuse(now, "a boot has to say what to start")
        if order.spec is not None:
            self.spec = order.spec
            self.ladder = ladder or self.ladder
            self._liveness.timeout_s = _patience_s(order.spec)
        if order.command is Command.BOOT:
            self._booting_since_s, self._booting_for_s = now, 0.0
            self.restarts = self.restarts + 1 if order.restart else 0
            self.restarted_s = (*self.restarted_s, now)[-RESTARTS_KEPT:] if order.restart else ()
            return self._boot(new_instance)
        if order.command is Command.SHUTDOWN:
            return self._shut_down(now)
        if order.run_number:
            self.run_number = order.run_number
        if order.command is Command.START and self.speaks:
            self.tally.begin(order.run_number)
        if not self.speaks:
            self.state = self._known = ROWS[order.command].to
            return [*self._finish(now, None), SaveNote(self.instance)]
        self.state = via
        effects = self._send(now)
        return [*effects, SaveNote(self.instance), Report()] if order.spec is not None else [*effects, Report()]

    def _boot(self, new_instance: str) -> list[Effect]:
        effects: list[Effect] = [Forget(self.instance)] if self.instance else []
        self.instance, self.alive, self.pid = new_instance, True, 0
        self.state, self._known, self.trouble, self.status = State.BOOTING, State.BOOTING, None, ""
        self.run_number = 0
        self._connected, self.figures = False, None
        self._liveness.forget()
        return [*effects, Spawn(new_instance), Report()]

    def _shut_down(self, now: float) -> list[Effect]:
        if not self.alive:
            return self._gone(now)
        self.state = State.SHUTTING_DOWN
        self._kill_at_s = now + self.ladder.terminate_timeout_s
        self._deadline_s = self._kill_at_s + self.ladder.kill_timeout_s
        return [*self._end_probe(), Signal(self.instance, "TERM"), Report()]

    def _gone(self, now: float) -> list[Effect]:
        """A shutdown is done, and nothing is left. What was wrong is over, unless that is why the process was ended."""
        effects: list[Effect] = [Forget(self.instance)] if self.instance else []
        because, before = self.order.because if self.order is not None else "", self.trouble
        self.instance, self.trouble, self.status = "", None, ""
        if because:
            self.trouble = replace(before or failure(FailureKind.HUNG, because), reason=because)
        self.state = self._known = State.INITIAL
        return effects + self._finish(now, None)

    def _send(self, now: float) -> list[Effect]:
        """The order in flight, for the actor; one that is away gets it when it has connected again."""
        order = self.order
        if order is None or not self._connected:
            return []
        command = None if self._asking else order.command
        remaining_s = max(0.0, self._deadline_s - now)
        return [SendToActor(self.instance, order.order_id, command, remaining_s, order.run_number)]

    def _refuse(self, now: float, reason: str) -> list[Effect]:
        return self._finish(now, failure(FailureKind.REFUSED, f"{who(self.path)}: {reason}"))

    def _finish(self, now: float, problem: Failure | None) -> list[Effect]:
        """The order in flight has its one outcome; the next one begins."""
        self._answered.append(self.order_id)
        self.order, self.order_ok, self.order_failure = None, problem is None, problem
        self._asking = False
        self._settle_at_s = self._kill_at_s = None
        return [*self._next(now), Report()]

    def _next(self, now: float) -> list[Effect]:
        if self._waiting is None:
            return []
        order, instance, ladder, deadline_s = self._waiting
        self._waiting = None
        return [] if order.order_id == self.order_id else self._begin(now, order, instance, ladder, deadline_s)

    # ---- the process ----

    def _spawned(self, now: float, event: Spawned) -> list[Effect]:
        self.pid = event.pid
        if self.spec is not None and self.spec.ready is Ready.SETTLE and self.state is State.BOOTING:
            self._settle_at_s = now + self.spec.settle_time_s
        self._watch(now)
        return [Report()]

    def _watch(self, now: float) -> None:
        """Begin with what a plain process is asked from now on: whether it is ready, and later whether it is well."""
        if self.spec is None or not self.alive:
            return
        probing, booting = self.spec.probing, self._known is State.BOOTING
        if booting and self.spec.ready is Ready.PROBE:
            self._prober.begin(now, probing.interval_s, probing.timeout_s)
        elif not booting and probing.alive:
            self._prober.begin(now + probing.alive_interval_s, probing.alive_interval_s, probing.timeout_s)
        else:
            self._prober.cease()
        if not booting and probing.watchdog_timeout_s > 0:
            self._liveness.heard(now)

    def _booted(self, now: float, state: State = State.BOOTED) -> list[Effect]:
        """The process has said that it is ready, in time or late."""
        self.state = self._known = state
        self._settle_at_s = None
        self._watch(now)
        return [*(self._finish(now, None) if self._is_booting else [Report()]), SaveNote(self.instance)]

    def _notified(self, now: float, event: Notified) -> list[Effect]:
        effects: list[Effect] = []
        if event.status is not None:
            self.status = event.status
            effects = [Report()]
        if event.watchdog:
            effects += self._heard(now, self._known)
        awaited = self.spec is not None and self.spec.ready is Ready.NOTIFY and self._known is State.BOOTING
        if event.ready and awaited and not self._shutting_down:
            effects += self._booted(now)
        return effects

    def _ended(self, now: float, exit_status: Mapping[str, Any], last_lines: tuple[str, ...]) -> list[Effect]:
        order, known = self.order, self._known
        shutting_down = self._shutting_down
        self.alive, self.pid, self._connected, self._recovering = False, 0, False, False
        self._liveness.forget()
        self.tally.ended()
        end_probe = self._end_probe()
        if shutting_down:
            return end_probe + self._gone(now)
        self.state = self._known = State.INITIAL
        command = order.command if order is not None and not self._asking else None
        self.trouble = death(self.path, exit_status, known, command, last_lines)
        if order is not None:
            return end_probe + self._finish(now, self.trouble)
        return [*end_probe, *self._next(now), Report()]

    # ---- probes and figures ----

    def _probed(self, now: float, event: Probed) -> list[Effect]:
        ok = event.exit.get("code") == 0
        awaited = self._prober.ended(now, "" if ok else f"{describe_exit(event.exit)}{quote(event.last_lines)}")
        if not awaited or self.spec is None:
            return []
        if self._known is State.BOOTING:
            return self._booted(now) if not self._prober.said else []
        if not self._prober.said:
            return self._heard(now, self._known)
        misses = self._prober.misses
        if misses < self.spec.probing.alive_misses or self._is_hung:
            return []
        times = "once" if misses == 1 else f"{misses} times in a row"
        return self._hung(f"hangs: its probe failed {times}, at last it {self._prober.said}", ())

    def _end_probe(self) -> list[Effect]:
        return [EndProbe(self.instance)] if self._prober.cease() else []

    def _sampled(self, now: float, figures: Figures) -> list[Effect]:
        if not is_notable(self.figures, figures) and now - self.figures_s < TOLD_AGAIN_S:
            return []
        self.figures, self.figures_s = figures, now
        return [Report()]

    @property
    def _is_booting(self) -> bool:
        return self.order is not None and self.order.command is Command.BOOT and not self._asking

    @property
    def _shutting_down(self) -> bool:
        return self.order is not None and self.order.command is Command.SHUTDOWN

    # ---- the actor ----

    def _actor_connected(self, now: float, event: ActorConnected) -> list[Effect]:
        self._connected = True
        self.run_number = event.run_number or self.run_number
        if event.state not in BEFORE_RUNS:
            self.tally.join(event.run_number)
        effects = self._heard(now, event.state)
        if self._shutting_down:
            return effects
        if self._is_booting:
            return effects + self._booted(now, event.state)
        if self.order is not None:
            return effects + self._send(now)  # it may have missed it; it recognises one that it has
        self.state = event.state
        if not self._recovering:
            return [*effects, Report()]
        self._recovering = False
        last = event.last_command_id
        if last == self.order_id and not self._unsettled:
            return [*effects, *self._next(now), Report()]
        if not last:
            if self._unsettled:
                self.order_id = ""  # it never reached the actor, so it may come again
            return [*effects, *self._next(now), Report()]
        self.order_id, self.order_ok, self.order_failure = last, True, None
        self.order, self._asking = Order(last, self.path, Command.BOOT, ASK_LIMIT_S), True
        self._deadline_s = now + ASK_LIMIT_S
        return [*effects, *self._send(now), Report()]

    def _actor_answered(self, now: float, event: ActorAnswered) -> list[Effect]:
        self._known = event.state
        self.tally.told(event.state, event.counters, event.files)
        if self.order is None:
            self.state = event.state  # late: the order has failed already, but now the state is known
            return [Report()]
        if event.command_id != self.order.order_id:
            return []
        self.state = event.state
        if event.ok:
            return self._finish(now, None)
        return self._refuse(now, event.reason or "the actor gave no reason")

    def _heartbeat_heard(self, now: float, event: HeartbeatHeard) -> list[Effect]:
        before = (self.status, self.tally.counters, self.state)
        self.status = event.status
        if not (self.order is not None and self.order.command is Command.START):  # it may speak of the run before
            self.tally.told(event.state, event.counters)
        effects = self._heard(now, event.state)
        if self.order is None and not self._recovering:
            self.state = event.state
        changed = before != (self.status, self.tally.counters, self.state)
        noted = [SaveNote(self.instance)] if self.tally.is_to_be_noted(event.state) else []
        return [*noted, *(effects or ([Report()] if changed else []))]

    # ---- time ----

    def _heard(self, now: float, state: State) -> list[Effect]:
        """A sign of life; a process that was hung is well again."""
        self._liveness.heard(now)
        self._known = state
        if not self._is_hung:
            return []
        self.trouble = None
        if self.order is None:
            self.state = state
        return [Report()]

    @property
    def _is_hung(self) -> bool:
        return self.trouble is not None and self.trouble.kind == FailureKind.HUNG

    def _ticked(self, now: float, event: Ticked) -> list[Effect]:
        effects: list[Effect] = []
        last_lines = event.last_lines
        if self.alive and not self._is_hung and self._liveness.is_silent(now):
            effects += self._hung(f"has been silent for {self._liveness.silent_for(now):.1f} s", last_lines)
        if self._prober.end_due(now):
            effects.append(EndProbe(self.instance))
        if self.spec is not None and self._prober.start_due(now):
            probing = self.spec.probing
            effects.append(Probe(self.instance, probing.ready if self._known is State.BOOTING else probing.alive))
        if self._is_booting and now >= self._waiting_told_s:
            self._booting_for_s = now - self._booting_since_s
            effects.append(Report())
        if self._settle_at_s is not None and now >= self._settle_at_s:
            effects += self._booted(now)
        if self._kill_at_s is not None and now >= self._kill_at_s:
            self._kill_at_s = None
            effects.append(Signal(self.instance, "KILL"))
        if self.order is not None and now >= self._deadline_s:
            effects += self._overdue(now, self.order, event)
        elif self.order is None and self._waiting is not None and now >= self._waiting[3]:
            effects += self._next(now)  # it waited for an actor that did not come back, and is refused
        return effects

    def _hung(self, what: str, last_lines: tuple[str, ...]) -> list[Effect]:
        self.trouble = failure(FailureKind.HUNG, f"{who(self.path)} {what}{quote(last_lines)}", last_lines)
        if self.order is None:
            self.state = State.UNKNOWN
        return [Report()]

    def _overdue(self, now: float, order: Order, event: Ticked) -> list[Effect]:
        last_lines = event.last_lines
        keeper_pid = self._silent_keeper if self._silent_keeper is not None else event.keeper_pid
        no_keeper = keeper_silent(self.path, keeper_pid) if keeper_pid or self._silent_keeper is not None else ""
        if order.command is Command.SHUTDOWN:
            took_s = self.ladder.terminate_timeout_s + self.ladder.kill_timeout_s
            what = f"has not ended {took_s:g} s after SIGTERM, nor after SIGKILL: the kernel holds it (pid {self.pid})"
            if no_keeper:
                what = f"was not ended within {took_s:g} s: {no_keeper}"
            self.state = State.UNKNOWN
        else:
            name = "its last order" if self._asking else order.command.value
            what = f"was too slow: {name} was not done within {round(order.limit_s, 1):g} s"
            # What it said before the order began says nothing of where it has come to since.
            heard_s = self._liveness.heard_s
            silent = not self.speaks or heard_s is None or self._is_hung or heard_s < self._deadline_s - order.limit_s
            if silent and self._liveness.heard_s is not None:
                what += f", and it has been silent for {self._liveness.silent_for(now):.1f} s"
            if self._is_booting and self._prober.said:
                what += f"; its probe {self._prober.said}"
            if self._is_booting and no_keeper:
                what += f"; {no_keeper}"
            self.state = State.UNKNOWN if silent else self._known
        reason = f"{who(self.path)} {what}{quote(last_lines)}"
        return self._finish(now, failure(FailureKind.TOO_SLOW, reason, last_lines))

    # ---- after a restart of the agent ----

    def recover(
        self,
        now: float,
        spec: ProcessSpec,
        ladder: Ladder,
        note: Mapping[str, Any],
        manifest: Mapping[str, Any],
        last_lines: tuple[str, ...] = (),
    ) -> None:
        """Take up a process from what the keeper has kept of it: `note` is of a former agent's unit."""
        self.spec, self.ladder = spec, ladder
        self.instance, self.status = manifest["instance"], manifest["status"]
        self.order_id, self.order_ok = note["order_id"], note["ok"]
        self.run_number = note["run_number"]
        self._known = State(note["state"])
        self._liveness.timeout_s = _patience_s(spec)
        if "tally" in note:  # an agent of an older version kept none
            self.tally.recover(note["tally"])
        self.restarts = note.get("restarts", 0)
        self.restarted_s = tuple(at_s for at_s in note.get("restarted_s", ()) if at_s <= now)  # not of another boot
        booting = note["command"] == Command.BOOT
        self._unsettled = note["command"] != ""
        if manifest["exit"] is not None:
            self.trouble = death(self.path, manifest["exit"], self._known, None, last_lines)
            if booting:
                self.order_ok, self.order_failure = False, self.trouble
            self._known = State.INITIAL
            self.tally.ended()
            return
        self.alive, self.pid = True, manifest["pid"]
        if booting:
            self.order = Order(self.order_id, self.path, Command.BOOT, note["limit_s"], spec=spec)
            self._deadline_s = now + note["limit_s"]
            self._booting_since_s = now
            self.state = State.BOOTING
            if spec.ready is Ready.SETTLE:
                self._settle_at_s = now + spec.settle_time_s
            elif spec.ready is Ready.NOTIFY and manifest["ready"]:
                self._settle_at_s = now
        elif self.speaks:
            self.state, self._recovering = State.UNKNOWN, True
            self._liveness.heard(now)
        else:
            self.state = self._known if self._known in STEADY else State.UNKNOWN
        self._watch(now)


def _awaited(spec: ProcessSpec, probe_said: str) -> str:
    """What a process that was started has to do to be ready, as the predicate of a sentence about it."""
    match spec.ready:
        case Ready.ACTOR:
            return "waits for its first message"
        case Ready.NOTIFY:
            return "waits for READY=1"
        case Ready.PROBE:
            return f"its probe {probe_said}" if probe_said else "waits for its probe"
        case Ready.SETTLE:
            return f"settles: ready when it has run for {spec.settle_time_s:g} s"


def _patience_s(spec: ProcessSpec) -> float:
    """How long the process may be silent, in seconds; 0: for ever."""
    return spec.probing.watchdog_timeout_s or spec.heartbeat_timeout_s
