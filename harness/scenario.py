"""Readable transcripts: directives for a simulated farm, each with what came of it.

A transcript is a text file. Lines that begin with `#` are for people. A directive that printed anything is followed by
`----` and by what it printed; an empty line ends it. `run_transcript` carries the directives out in one world, without
any randomness, and gives the whole text again with what was printed now: a test compares the two, or writes the new.

    farm sub_farms=1 nodes=2 processes=2 quorum.worker=50% policy.worker=ignore heartbeat=5 levels=3
    setup | go running [PATH] [timeout=S] [id=ID]     gives a command and waits for its outcome; a run may be given
                                                      events=N, for=DURATION, comment=WORD, mode=WORD, type=TYPE
    begin go running …                                gives a command
    member exclude|include|restart|recover PATH… [timeout=S] [gone=yes]   gives it, and waits for its outcome
    begin member …                                    gives it
    wait [SECONDS]                                    lets time pass; without a number until the command has an outcome
    until STATE [PATH]                                lets time pass until the member is in that state
    behave PATH dies-at=start hangs-at=boot refuses-at=load deaf unkillable, or: well
    kill PATH | restart PATH | cut PATH | mend PATH   a process, node (its agent) or controller; `farm` is the root
    count PATH NAME=VALUE…                            a process says what it has counted
    silence PATH | finish PATH                        a process stops its heartbeats; one that hangs goes on
    unlaunchable PATH [REASON…] | launchable PATH
    select processes=3 level=2                        selects another revision of that name, with that shape
    cancel | repeats
    show [PATH] | runs | members | boots
"""

from collections.abc import Callable, Iterable, Mapping

from grange.core.durations import parse_duration
from grange.core.names import Command, Policy, State
from grange.core.paths import covers
from grange.core.plan import ALL, FarmSpec, Quorum
from grange.core.reports import RunTerms

from .checkers import Checker
from .farms import deep, uniform
from .surroundings import Times
from .world import World

WAIT_MOST_S = 300.0


class TranscriptError(ValueError):
    """A transcript cannot be read; the text says which line, and why."""


def run_transcript(text: str) -> str:
    """The transcript with what its directives print now."""
    lines, output = text.splitlines(), list[str]()
    scenario = Scenario()
    position = 0
    while position < len(lines):
        line = lines[position]
        output.append(line)
        position += 1
        if not line.strip() or line.startswith("#"):
            continue
        if position < len(lines) and lines[position] == "----":
            while position < len(lines) and lines[position].strip():
                position += 1
        try:
            printed = scenario.carry_out(line)
        except (KeyError, ValueError, IndexError, StopIteration) as error:
            raise TranscriptError(f"{line!r}: {error!r}") from error
        if printed:
            output += ["----", *printed]
            output += [""] if position < len(lines) and lines[position].strip() else []
    return "\n".join(output) + "\n"


class Scenario:
    """One world, and the directives that drive it."""

    def __init__(self) -> None:
        self._options: dict[str, str] = {}
        self._begin(self._farm())
        self._directives: Mapping[str, Callable[[list[str]], Iterable[str] | None]] = {
            "farm": self._new,
            "begin": lambda words: self._give(words, wait=False),
            "go": lambda words: self._give(["go", *words]),
            "member": lambda words: self._give(["member", *words]),
            "wait": self._wait,
            "until": self._until,
            "behave": self._behave,
            "kill": self._kill,
            "restart": self._restart,
            "cut": lambda words: self.world.cut(words[0]),
            "mend": lambda words: self.world.mend(words[0]),
            "count": self._count,
            "silence": self._silence,
            "finish": self._finish,
            "unlaunchable": self._unlaunchable,
            "launchable": lambda words: self.world.launch_troubles.__delitem__(words[0]),
            "select": self._select,
            "cancel": lambda words: self.world.cancel(),
            "repeats": self._repeats,
            "show": self._show,
            "runs": lambda words: self._runs(),
            "members": lambda words: self._members(),
            "boots": lambda words: self._boots(),
        } | {command.value: self._step(command) for command in Command}

    def _begin(self, farm: FarmSpec) -> None:
        self.world = World(farm, times=Times(spread=0.0))
        self.checker = Checker(self.world)
        self._last = ""

    def carry_out(self, line: str) -> list[str]:
        """What a directive printed, and what the world said meanwhile."""
        name, *words = line.split()
        before = len(self.world.log)
        printed = self._directives[name](words)
        said = [f"{who}: {text}" for _, who, text in self.world.log[before:]] if name != "farm" else []
        return [*said, *(printed or ())]

    # ---- farms ------------------------------------------------------------------------------------------------------

    def _farm(self, revision: str = "0" * 64) -> FarmSpec:
        given = self._options
        quorums = {role: _quorum(value) for role, value in _under("quorum.", given)}
        policies = {role: Policy(value) for role, value in _under("policy.", given)}
        if given.get("levels") == "3":
            return deep()
        return uniform(
            int(given.get("sub_farms", "1")),
            int(given.get("nodes", "1")),
            int(given.get("processes", "2")),
            quorums=quorums,
            policies=policies,
            revision=revision,
            parameters={"level": given.get("level", "1")},
            heartbeat_timeout_s=float(given.get("heartbeat", "0")),
        )

    def _new(self, words: list[str]) -> list[str]:
        self._options = _options(words)
        self._begin(self._farm())
        return []

    def _select(self, words: list[str]) -> list[str]:
        self._options |= _options(words)
        self.world.select(self._farm(self._options["level"] * 64))
        return []

    # ---- commands ---------------------------------------------------------------------------------------------------

    def _step(self, command: Command) -> Callable[[list[str]], list[str]]:
        return lambda words: self._give([command.value, *words])

    def _give(self, words: list[str], wait: bool = True) -> list[str]:
        options = _options(word for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        length = 2 if plain[0] in ("go", "member") else 1
        what, path = " ".join(plain[:length]), " ".join(plain[length:])
        limit_s, lasts = float(options.get("timeout", "0")), options.get("for", "")
        terms = RunTerms(
            options.get("type", ""),
            options.get("mode", ""),
            options.get("comment", ""),
            int(options.get("events", "0")),
            parse_duration(lasts) if lasts else 0.0,
            "tester",
        )
        gone = options.get("gone") == "yes"
        given = self.world.command(what, path, limit_s, options.get("id", ""), terms, gone)
        refusal = self.world.refusals.get(given)
        if refusal is not None:
            return [f"  nearest: {' '.join(refusal.nearest)}"] if refusal.nearest else []
        self._last = given
        return self._wait([]) if wait else []

    def _wait(self, words: list[str]) -> list[str]:
        if words:
            self.world.run_for(float(words[0]))
            return []
        if not self.world.run_until(lambda: self.world.outcome(self._last) is not None, WAIT_MOST_S):
            raise ValueError(f"{self._last} has no outcome after {WAIT_MOST_S:.0f} s")
        answer = self.world.answers.get(self._last)
        return [f"  {note}" for note in answer.notes] if answer is not None else []

    def _until(self, words: list[str]) -> list[str]:
        state, path = State(words[0]), "".join(words[1:])
        if not self.world.run_until(lambda: self.world.state(path) is state, WAIT_MOST_S):
            raise ValueError(f"{path or 'farm'} is {self.world.state(path)} after {WAIT_MOST_S:.0f} s, not {state}")
        return []

    # ---- faults -----------------------------------------------------------------------------------------------------

    def _behave(self, words: list[str]) -> None:
        slot = self.world.process(words[0])
        slot.behave()
        slot.deaf, slot.unkillable = "deaf" in words, "unkillable" in words
        for option, step in _options(word for word in words[1:] if "=" in word).items():
            getattr(slot, option.replace("-", "_")).add(Command(step))

    def _kill(self, words: list[str]) -> None:
        path = words[0] if words[0] != "farm" else ""
        if path in self.world.controllers:
            self.world.kill_controller(path)
        elif path in self.world.nodes:
            self.world.kill_agent(path)
        else:
            self.world.kill_process(path)

    def _restart(self, words: list[str]) -> None:
        if words[0] == "farm":
            self.world.start_farm()
        else:
            self.world.restart_node(words[0])

    def _count(self, words: list[str]) -> None:
        counters = {name: int(value) for name, value in _options(words[1:]).items()}
        self.world.process(words[0]).count(counters)

    def _silence(self, words: list[str]) -> None:
        self.world.process(words[0]).silent = True

    def _finish(self, words: list[str]) -> None:
        self.world.process(words[0]).finish_late()

    def _unlaunchable(self, words: list[str]) -> None:
        self.world.launch_troubles[words[0]] = " ".join(words[1:]) or "no route to host"

    def _repeats(self, words: list[str]) -> None:
        self.world.repeats = not self.world.repeats

    # ---- looking ----------------------------------------------------------------------------------------------------

    def _show(self, words: list[str]) -> list[str]:
        """The members below a path, as the controllers that have them see them."""
        path = "".join(words)
        alive = [controller for controller in self.world.controllers.values() if controller.alive]
        rows = {row.path: row for controller in alive for row in controller.core.rows(self.world.now, path)}
        # Where a controller is not heard, its parent's view of it is what people see.
        for controller in alive:
            for child in controller.core.memory.children.values():
                if covers(path, child.path) and not controller.core.memory.links[child.name].enrolled:
                    rows |= {row.path: row for row in controller.core.rows(self.world.now, child.path, 0)}
        return [
            f"{'  ' * (row.path.count('/') + (row.path != ''))}{row.path or 'farm'}: {row.state}"
            + (f", {row.health}" if row.health != "ok" else "")
            + (f", {row.membership}" if row.membership != "in" else "")
            + (f": {row.status}" if row.status and not row.status.startswith("on ") else "")
            for row in sorted(rows.values(), key=lambda row: row.path.split("/"))
        ]

    def _runs(self) -> list[str]:
        """The life of each run, as the records tell it."""
        lives: dict[int, list[str]] = {number: ["allotted"] for number in self.world.run_numbers.values()}
        for record in self.world.records:
            if record.kind.startswith("run_") and record.kind != "run_member":
                data = record.data
                text = record.kind.removeprefix("run_").replace("_", " ")
                text += f" ({data['reason']})" if record.kind in ("run_stop_asked", "run_degraded") else ""
                if record.kind == "run_ended":
                    text += f" ({data['end_reason']})"
                lives.setdefault(data["number"], []).append(text)
        return [f"run {number}: {', '.join(life)}" for number, life in sorted(lives.items())]

    def _members(self) -> list[str]:
        """Who went out of each run and came back, as the records tell it."""
        moved = [record.data for record in self.world.records if record.kind == "run_member"]
        return [f"run {data['number']}: {data['path']} {data['membership']}: {data['reason']}" for data in moved]

    def _boots(self) -> list[str]:
        """How often each process was started."""
        slots = sorted(self.world.processes(), key=lambda slot: slot.path)
        return [f"{slot.path}: {slot.boots}{' (runs)' if slot.alive else ''}" for slot in slots]


def _options(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _under(prefix: str, options: dict[str, str]) -> list[tuple[str, str]]:
    return [(name.removeprefix(prefix), value) for name, value in options.items() if name.startswith(prefix)]


def _quorum(text: str) -> Quorum:
    if text == "all":
        return ALL
    return Quorum(fraction=int(text[:-1]) / 100) if text.endswith("%") else Quorum(number=int(text))
