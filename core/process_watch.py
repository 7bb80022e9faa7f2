"""Whether a process is ready, and later whether it is well: what is waited for, asked and missed.

One way of each is used for a process, as its role says. *Ready*: an actor by its first message, a plain process by
READY=1, by a probe command that succeeds, or by having run for a time. *Well*: by heartbeats, by its watchdog, or by a
probe; one that is silent for too long, or fails its probe often enough in a row, hangs. Silence counts from the first
word on: how long a start may take is the limit of its order.

What follows for the process is decided in `process.py`. All times are monotonic seconds given by the caller.
"""

from .durations import duration_words
from .failures import describe_exit, quote
from .liveness import Liveness
from .names import Ready
from .plan import ProcessSpec
from .probing import Prober
from .process_events import Probed

LATE_S = 2.0  # by which the agent comes to look on no machine, however busy, unless it was stopped itself
WAITING_TOLD_EVERY_S = 5.0  # how long a boot has waited; often enough for people, and little for a farm of thousands


class Watch:
    """The watch over one process, instance after instance."""

    def __init__(self) -> None:
        self.liveness = Liveness(0.0)
        self.absence = Liveness(0.0)  # of an actor that is to connect to a new agent, and is asked for no heartbeats
        self.prober = Prober()
        self.settled_s: float | None = None  # when it will have run for long enough to be ready
        self._waited_since_s = 0.0  # for it to be ready
        self._waited_for_s = 0.0  # as told last

    def expect(self, spec: ProcessSpec) -> None:
        """From now on the process is as `spec` describes it."""
        self.liveness.timeout_s = spec.probing.watchdog_timeout_s or spec.heartbeat_timeout_s

    def wait(self, now: float) -> None:
        """It is being started, and waited for."""
        self._waited_since_s, self._waited_for_s = now, 0.0

    def begin(self, now: float, spec: ProcessSpec, *, ready: bool) -> None:
        """Begin with what a plain process is asked from now on: whether it is ready, and later whether it is well."""
        probing = spec.probing
        if not ready and spec.ready is Ready.PROBE:
            self.prober.begin(now, probing.interval_s, probing.timeout_s)
        elif ready and probing.alive:
            self.prober.begin(now + probing.alive_interval_s, probing.alive_interval_s, probing.timeout_s)
        else:
            self.prober.cease()
        if ready and probing.watchdog_timeout_s > 0:
            self.liveness.heard(now)

    def await_again(self, now: float, limit_s: float) -> None:
        """Its agent is a new one, to which it has to connect."""
        self.liveness.heard(now)
        if not self.liveness.timeout_s:
            self.absence = Liveness(limit_s, now)

    def forget(self) -> None:
        """It has ended, or a new instance begins."""
        self.liveness.forget()
        self.absence.forget()

    # ---- time ----

    def silence(self, now: float) -> str:
        """That it has been silent for too long, as the predicate of a sentence about it; empty when it has not.

        An agent that comes late to look was stopped, and could hear nobody: it gives the process its time anew.
        """
        for one, what in (
            (self.liveness, "has been silent for more than"),
            (self.absence, "has not connected to its restarted agent for more than"),
        ):
            if one.due_s is not None and now > one.due_s + LATE_S:
                one.heard(now)
            if one.is_silent(now):
                return f"{what} {duration_words(one.timeout_s)}"  # its limit: that stays true for as long as it is read
        return ""

    @property
    def silent_at_s(self) -> float | None:
        """When it will have been silent for too long."""
        due_s = [one.due_s for one in (self.liveness, self.absence) if one.due_s is not None]
        return min(due_s, default=None)

    @property
    def told_again_s(self) -> float:
        """When it has been waited for long enough to be told of again."""
        return self._waited_since_s + self._waited_for_s + WAITING_TOLD_EVERY_S

    def tell_again(self, now: float) -> bool:
        """Whether people should hear now how long it has been waited for."""
        if now < self.told_again_s:
            return False
        self._waited_for_s = now - self._waited_since_s
        return True

    def heard_since(self, moment_s: float) -> bool:
        return self.liveness.heard_s is not None and self.liveness.heard_s >= moment_s

    # ---- probes ----

    def probed(self, now: float, event: Probed) -> bool:
        """A probe has ended; False: it was not wanted any more."""
        ok = event.exit.get("code") == 0
        return self.prober.ended(now, "" if ok else f"{describe_exit(event.exit)}{quote(event.last_lines)}")

    def hang(self, spec: ProcessSpec) -> str:
        """How the probe shows that the process hangs, for people; empty when it does not, or not yet."""
        misses = self.prober.misses
        if misses < spec.probing.alive_misses:
            return ""
        times = "once" if misses == 1 else f"{misses} times in a row"
        return f"hangs: its probe failed {times}, at last it {self.prober.said}"

    # ---- words ----

    def awaited(self, spec: ProcessSpec) -> str:
        """What a process that was started has to do to be ready, as the predicate of a sentence about it."""
        match spec.ready:
            case Ready.ACTOR:
                return "waits for its first message"
            case Ready.NOTIFY:
                return "waits for READY=1"
            case Ready.PROBE:
                return f"its probe {self.prober.said}" if self.prober.said else "waits for its probe"
            case Ready.SETTLE:
                return f"settles: ready when it has run for {duration_words(spec.settle_time_s)}"

    def so_far(self) -> str:
        """How long it has been waited for, as told last; empty while that is not worth a word."""
        return f", {duration_words(self._waited_for_s)} so far" if self._waited_for_s else ""
