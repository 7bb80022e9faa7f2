"""One process as its agent sees it: what was ordered, what has been heard, and what follows.

`Unit.step(now, event)` is the only door: facts in, effects out; the agent carries them out and decides nothing.

**Orders** come one at a time, each with its limit (`core/process_orders.py`); a shutdown supersedes whatever is under
way and climbs the termination ladder: TERM, KILL, giving up. For an actor (`ready` is `actor`) an order becomes an
order on the actor link; for a plain process every step but boot and shutdown is immediate and noted with the process.

**States.** While an order is in flight the state is the transitional one. Afterwards the actor's own answer or
heartbeat names it; without one it is `unknown` until the actor is heard again or known dead (`initial`).

**Failures** are of six kinds (`FailureKind`), each one sentence for people. A failure of the order in flight ends that
order. A *trouble* is of the process itself (it died, it hangs): it makes the health `error` until the next boot or
shutdown, or until a hung process is heard again. A death ends the order in flight, a hang does so in most steps.

**Ready and well** is what the watch finds (`core/process_watch.py`): by the process's own word, by probes, by silence.

**A silent keeper** hides its processes: as long as it is silent, each that may be alive is reported as hung and
`unknown`, with the remedy, whatever it was before; that is what counts again when the keeper is heard.

**Counters** are of one run and of all the instances that the process had in it (`core/tally.py`). **Restarts** by its
role's policy are remembered for the controllers, each of which may have a successor.

**After a restart of the agent** a unit is made of what the keeper has kept (`core/process_handover.py`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .durations import duration_words
from .effects import Order
from .failures import death, failure, hung, keeper_silent, not_ended, refused, too_slow
from .figures import TOLD_AGAIN_S, is_notable
from .names import Command, Health, Ready, State
from .plan import ProcessSpec
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
from .process_orders import Orders, Received
from .process_watch import Watch
from .reports import Failure, Figures, ProcessReport
from .state import ROWS, Refusal, move
from .tally import BEFORE_RUNS, Tally

# In these an actor that is silent for too long hangs, and the order's limit is not waited for. On the way up it may
# have a reason: one long call, such as loading a library from cold storage, may let no thread of an interpreter beat.
STEPS_NEVER_SILENT = (Command.PAUSE, Command.RESUME, Command.STOP, Command.UNCONFIGURE, Command.UNLOAD)
_COUNTING = (State.TAKING, State.PAUSED)
RESTARTS_KEPT = 64  # moments of restarts by its role's policy: more than anybody allows within a period


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
        self.orders = Orders()
        self.watch = Watch()
        self._connected = False
        self.recovering = False  # the agent is new, and the actor has not said hello yet
        self.unsettled = False  # … and the note says that an order was in flight
        self.known = State.INITIAL  # what the process itself, or the note of a plain one, said last
        self.died_in = State.INITIAL  # … before it ended
        self._kill_at_s: float | None = None
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
        watch, orders = self.watch, self.orders
        times = [watch.settled_s, self._kill_at_s, orders.alarm_s]
        if orders.booting:
            times.append(watch.told_again_s)
        if self.alive:
            times.append(watch.prober.alarm_s)
            if not self._is_hung:
                times.append(watch.silent_at_s)
        return min([at_s for at_s in times if at_s is not None], default=None)

    def report(self) -> ProcessReport:
        hidden, orders = self._hidden(), self.orders
        trouble = hidden or self.trouble
        return ProcessReport(
            path=self.path,
            state=State.UNKNOWN if hidden and orders.in_flight is None else self.state,
            instance=self.instance if self.alive else "",
            health=Health.OK if trouble is None else Health.ERROR,
            status=self._sentence_of_status() if trouble is None else trouble.reason,
            pid=self.pid,
            order_id=orders.last_id,
            order_done=orders.in_flight is None,
            order_ok=orders.ok,
            failure=orders.failure or trouble,
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
        if self.recovering:
            return "waiting for the actor to connect again"
        if self.spec is None or not self.alive or not self.orders.booting:
            return self.status
        awaited = self.watch.awaited(self.spec) if self.pid else "is being started"
        awaited += self.watch.so_far()
        return f"{self.status} ({awaited})" if self.status else awaited

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
        order, orders = event.order, self.orders
        if orders.is_repeated(order):
            return [Report()]
        received = Received(event, now + order.limit_s)
        if order.command is Command.SHUTDOWN and orders.shutting_down:
            orders.renew(order)  # the same ladder goes on
            return [Report()]
        if order.command is Command.SHUTDOWN:
            orders.supersede()
            self.recovering = False
        elif orders.in_flight is not None or self.recovering:
            orders.waiting = received
            return []
        return self._begin(now, received)

    def _begin(self, now: float, received: Received) -> list[Effect]:
        self.orders.begin(received)
        self.watch.settled_s = self._kill_at_s = None
        order = received.event.order
        via = move(self.state, order.command)
        if isinstance(via, Refusal):
            return self._refuse(now, via.reason)
        if order.command is Command.BOOT and order.spec is None:
            return self._refuse(now, "a boot has to say what to start")
        if order.spec is not None:
            self.spec = order.spec
            self.ladder = received.event.ladder or self.ladder
            self.watch.expect(order.spec)
        if order.command is Command.BOOT:
            self.watch.wait(now)
            self.restarts = self.restarts + 1 if order.restart else 0
            self.restarted_s = (*self.restarted_s, now)[-RESTARTS_KEPT:] if order.restart else ()
            return self._boot(received.event.new_instance)
        if order.command is Command.SHUTDOWN:
            return self._shut_down(now)
        if order.run_number:
            self.run_number = order.run_number
        if order.command is Command.START and self.speaks:
            self.tally.begin(order.run_number)
        if not self.speaks:
            self.state = self.known = ROWS[order.command].to
            return [*self._finish(now, None), SaveNote(self.instance)]
        self.state = via
        effects = self._send(now)
        return [*effects, SaveNote(self.instance), Report()] if order.spec is not None else [*effects, Report()]

    def _boot(self, new_instance: str) -> list[Effect]:
        effects: list[Effect] = [Forget(self.instance)] if self.instance else []
        self.instance, self.alive, self.pid = new_instance, True, 0
        self.state, self.known, self.trouble, self.status = State.BOOTING, State.BOOTING, None, ""
        self.run_number = 0
        self._connected, self.figures = False, None
        self.watch.forget()
        return [*effects, Spawn(new_instance), Report()]

    def _shut_down(self, now: float) -> list[Effect]:
        if not self.alive:
            return self._gone(now)
        self.state = State.SHUTTING_DOWN
        self._kill_at_s = now + self.ladder.terminate_timeout_s
        self.orders.deadline_s = self._kill_at_s + self.ladder.kill_timeout_s
        return [*self._end_probe(), Signal(self.instance, "TERM"), Report()]

    def _gone(self, now: float) -> list[Effect]:
        """A shutdown is done, and nothing is left. What was wrong is over, unless that is why the process was ended."""
        effects: list[Effect] = [Forget(self.instance)] if self.instance else []
        because, before = self.orders.in_flight.because if self.orders.in_flight is not None else "", self.trouble
        self.instance, self.trouble, self.status = "", None, ""
        if because:
            self.trouble = replace(before or failure(FailureKind.HUNG, because), reason=because)
        self.state = self.known = State.INITIAL
        return effects + self._finish(now, None)

    def _send(self, now: float) -> list[Effect]:
        """The order in flight, for the actor; one that is away gets it when it has connected again."""
        order = self.orders.in_flight
        if order is None or not self._connected:
            return []
        remaining_s = max(0.0, self.orders.deadline_s - now)
        return [SendToActor(self.instance, order.order_id, self.orders.command, remaining_s, order.run_number)]

    def _refuse(self, now: float, reason: str) -> list[Effect]:
        return self._finish(now, refused(self.path, reason))

    def _finish(self, now: float, problem: Failure | None) -> list[Effect]:
        """The order in flight has its one outcome; the next one begins."""
        self.orders.finish(problem)
        self.watch.settled_s = self._kill_at_s = None
        return [*self._next(now), Report()]

    def _next(self, now: float) -> list[Effect]:
        received = self.orders.take_waiting()
        return [] if received is None else self._begin(now, received)

    # ---- the process ----

    def _spawned(self, now: float, event: Spawned) -> list[Effect]:
        self.pid = event.pid
        if self.spec is not None and self.spec.ready is Ready.SETTLE and self.state is State.BOOTING:
            self.watch.settled_s = now + self.spec.settle_time_s
        self.begin_watch(now)
        return [Report()]

    def begin_watch(self, now: float) -> None:
        """Watch it as it is from now on: on its way to be ready, or ready."""
        if self.spec is not None and self.alive:
            self.watch.begin(now, self.spec, ready=self.known is not State.BOOTING)

    def _booted(self, now: float, state: State = State.BOOTED) -> list[Effect]:
        """The process has said that it is ready, in time or late."""
        self.state = self.known = state
        self.watch.settled_s = None
        self.begin_watch(now)
        return [*(self._finish(now, None) if self.orders.booting else [Report()]), SaveNote(self.instance)]

    def _notified(self, now: float, event: Notified) -> list[Effect]:
        effects: list[Effect] = []
        if event.status is not None:
            self.status = event.status
            effects = [Report()]
        if event.watchdog:
            effects += self._heard(now, self.known)
        awaited = self.spec is not None and self.spec.ready is Ready.NOTIFY and self.known is State.BOOTING
        if event.ready and awaited and not self.orders.shutting_down:
            effects += self._booted(now)
        return effects

    def _ended(self, now: float, exit_status: Mapping[str, Any], last_lines: tuple[str, ...]) -> list[Effect]:
        orders, known = self.orders, self.known
        self.alive, self.pid, self._connected, self.recovering = False, 0, False, False
        self.watch.forget()
        self.tally.ended()
        end_probe = self._end_probe()
        if orders.shutting_down:
            return end_probe + self._gone(now)
        self.state, self.known, self.died_in = State.INITIAL, State.INITIAL, known
        self.trouble = death(self.path, exit_status, known, orders.command, last_lines)
        if orders.in_flight is not None:
            return end_probe + self._finish(now, self.trouble)
        noted = [SaveNote(self.instance)] if self.speaks and known in _COUNTING else []  # what it counted
        return [*end_probe, *noted, *self._next(now), Report()]

    # ---- probes and figures ----

    def _probed(self, now: float, event: Probed) -> list[Effect]:
        if not self.watch.probed(now, event) or self.spec is None:
            return []
        failed = self.watch.prober.said != ""
        if self.known is State.BOOTING:
            return [] if failed else self._booted(now)
        if not failed:
            return self._heard(now, self.known)
        hang = self.watch.hang(self.spec)
        return self._hung(now, hang, ()) if hang and not self._is_hung else []

    def _end_probe(self) -> list[Effect]:
        return [EndProbe(self.instance)] if self.watch.prober.cease() else []

    def _sampled(self, now: float, figures: Figures) -> list[Effect]:
        if not is_notable(self.figures, figures) and now - self.figures_s < TOLD_AGAIN_S:
            return []
        self.figures, self.figures_s = figures, now
        return [Report()]

    # ---- the actor ----

    def _actor_connected(self, now: float, event: ActorConnected) -> list[Effect]:
        self._connected = True
        self.watch.absence.forget()
        self.run_number = event.run_number or self.run_number
        if event.state not in BEFORE_RUNS:
            self.tally.join(event.run_number)
        effects = self._heard(now, event.state)
        orders = self.orders
        if orders.shutting_down:
            return effects
        if orders.booting:
            return effects + self._booted(now, event.state)
        if orders.in_flight is not None:
            return effects + self._send(now)  # it may have missed it; it recognises one that it has
        self.state = event.state
        if not self.recovering:
            return [*effects, Report()]
        self.recovering = False
        if event.last_command_id and (event.last_command_id != orders.last_id or self.unsettled):
            orders.ask(now, event.last_command_id, self.path)
            return [*effects, *self._send(now), Report()]
        if self.unsettled:
            orders.forget_last()
        return [*effects, *self._next(now), Report()]

    def _actor_answered(self, now: float, event: ActorAnswered) -> list[Effect]:
        self.known = event.state
        self.tally.told(event.state, event.counters, event.files)
        in_flight = self.orders.in_flight
        if in_flight is None:
            self.state = event.state  # late: the order has failed already, but now the state is known
            return [Report()]
        if event.command_id != in_flight.order_id:
            return []
        self.state = event.state
        if event.ok:
            return self._finish(now, None)
        return self._refuse(now, event.reason or "the actor gave no reason")

    def _heartbeat_heard(self, now: float, event: HeartbeatHeard) -> list[Effect]:
        before = (self.status, self.tally.counters, self.state)
        self.status = event.status
        if self.orders.command is not Command.START:  # it may speak of the run before
            self.tally.told(event.state, event.counters)
        effects = self._heard(now, event.state)
        if self.orders.in_flight is None and not self.recovering:
            self.state = event.state
        changed = before != (self.status, self.tally.counters, self.state)
        noted = [SaveNote(self.instance)] if self.tally.is_to_be_noted(event.state) else []
        return [*noted, *(effects or ([Report()] if changed else []))]

    # ---- time ----

    def _heard(self, now: float, state: State) -> list[Effect]:
        """A sign of life; a process that was hung is well again."""
        self.watch.liveness.heard(now)
        self.known = state
        if not self._is_hung:
            return []
        self.trouble = None
        if self.orders.in_flight is None:
            self.state = state
        return [Report()]

    @property
    def _is_hung(self) -> bool:
        return self.trouble is not None and self.trouble.kind == FailureKind.HUNG

    def _ticked(self, now: float, event: Ticked) -> list[Effect]:
        effects: list[Effect] = []
        watch, orders = self.watch, self.orders
        if self.alive and not self._is_hung and (silence := watch.silence(now)):
            effects += self._hung(now, silence, event.last_lines)
        if watch.prober.end_due(now):
            effects.append(EndProbe(self.instance))
        if self.spec is not None and watch.prober.start_due(now):
            probing = self.spec.probing
            effects.append(Probe(self.instance, probing.ready if self.known is State.BOOTING else probing.alive))
        if orders.booting and watch.tell_again(now):
            effects.append(Report())
        if watch.settled_s is not None and now >= watch.settled_s:
            effects += self._booted(now)
        if self._kill_at_s is not None and now >= self._kill_at_s:
            self._kill_at_s = None
            effects.append(Signal(self.instance, "KILL"))
        if orders.alarm_s is None or now < orders.alarm_s:
            return effects
        if orders.in_flight is not None:
            return effects + self._overdue(now, orders.in_flight, event)
        return effects + self._next(now)  # it waited for an actor that did not come back, and is refused

    def _hung(self, now: float, what: str, last_lines: tuple[str, ...]) -> list[Effect]:
        step = self.orders.command if self.orders.command in STEPS_NEVER_SILENT else None
        if step is not None:
            what += f", in the middle of {step}"
        self.trouble = hung(self.path, what, last_lines)
        if step is not None or self.orders.in_flight is None:
            self.state = State.UNKNOWN
        return [Report()] if step is None else self._finish(now, self.trouble)

    def _overdue(self, now: float, order: Order, event: Ticked) -> list[Effect]:
        keeper_pid = self._silent_keeper if self._silent_keeper is not None else event.keeper_pid
        no_keeper = keeper_silent(self.path, keeper_pid) if keeper_pid or self._silent_keeper is not None else ""
        if order.command is Command.SHUTDOWN:
            self.state = State.UNKNOWN
            took_s = self.ladder.terminate_timeout_s + self.ladder.kill_timeout_s
            return self._finish(now, not_ended(self.path, self.pid, took_s, no_keeper, event.last_lines))
        liveness, prober = self.watch.liveness, self.watch.prober
        # What it said before the order began says nothing of where it has come to since.
        began_s = self.orders.deadline_s - order.limit_s
        silent = not self.speaks or self._is_hung or not self.watch.heard_since(began_s)
        self.state = State.UNKNOWN if silent else self.known
        besides = ""
        if silent and liveness.heard_s is not None:
            besides += f", and it had been silent for {duration_words(liveness.silent_for(now))} by then"
        if self.orders.booting and prober.said:
            besides += f"; its probe {prober.said}"
        if self.orders.booting and no_keeper:
            besides += f"; {no_keeper}"
        step = "its last order" if self.orders.asking else order.command.value
        return self._finish(now, too_slow(self.path, step, order.limit_s, besides, event.last_lines))
