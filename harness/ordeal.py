"""An ordeal: a farm goes through its whole cycle, and at every step of it something fails.

Each has two sub-farms of three nodes with three processes, roles with all policies and various quorums, one in five a
further level of controllers, and clocks of which no two agree. A step is commanded, people interfere, and one or two
faults come at a random moment of it; sometimes the step is waited for. In some there are quarrels as well: a second
farm controller takes the farm over while the first lives, and two persons command, with the lease between them.

Whether a step succeeds is not demanded, but all that the checkers (`checkers.py`) watch, and that the farm obeys once
the faults are over.
"""

import random
from collections import Counter
from collections.abc import Callable

from grange.core.names import Command, LeaseAction, MemberCommand, State

from . import faults
from .checkers import Broken, Checker
from .farms import varied
from .simulated_controller import SimController
from .simulated_node import SimNode
from .simulated_process import SimProcess
from .surroundings import Times
from .world import PERSON, World

CYCLE = (
    Command.SETUP,
    Command.BOOT,
    Command.LOAD,
    Command.CONFIGURE,
    Command.START,
    Command.PAUSE,
    Command.RESUME,
    Command.STOP,
    Command.UNCONFIGURE,
    Command.UNLOAD,
    Command.SHUTDOWN,
    Command.TEARDOWN,
)
_REACHED = {
    Command.SETUP: "initial",
    Command.BOOT: "booted",
    Command.LOAD: "loaded",
    Command.CONFIGURE: "configured",
    Command.START: "running",
    Command.RESUME: "running",
    Command.PAUSE: "paused",
    Command.STOP: "configured",
    Command.UNCONFIGURE: "loaded",
    Command.UNLOAD: "booted",
    Command.SHUTDOWN: "initial",
    Command.TEARDOWN: "absent",
}
RIVAL = "ann"  # who commands beside `PERSON`
_TARGETS = ("running", "paused", "configured", "initial")
_PAUSES_S = (0.0, 0.0005, 0.002, 0.01, 0.03, 0.1, 0.3, 1.0)
_LULLS_S = (0.0, 0.02, 0.4, 3.0, 12.0)
QUIET_S = 0.4  # until all that is under way has arrived, if nothing hangs
REFORM_SHARE = 0.7  # of the steps begin with processes that behave; those before may have left a farm in pieces
FARM_AWAY_S = 30.0  # the longest that a farm controller is away: until the database is back, and a little
QUARRELS_SHARE = 0.3  # of the worlds have persons, and farm controllers, that command against each other
STEP_WAITS_S = 8.0  # the longest that the next step waits for the one before


def ordeal(seed: int) -> World:
    """One world from its seed; raises `Broken`, with the seed, where something does not hold."""
    return Ordeal(seed).play()


class Ordeal:
    """Makes the choices of one world. `coverage` counts its faults by the farm's state and their kind."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(f"ordeal {seed}")
        self.world = World(
            varied(self.random), seed, Times(heartbeat_s=2.0, report_s=0.02, gather_s=0.002), clocks_differ=True
        )
        self.checker = Checker(self.world)
        self.coverage: Counter[tuple[State, str]] = Counter()
        self.faults: dict[str, tuple[int, Callable[[], str | None]]] = {
            "process killed": (4, self._kill_process),
            "process misbehaves": (4, self._misbehave),
            "process hangs": (1, self._silence),
            "agent killed": (2, self._kill_agent),
            "keeper killed": (2, self._kill_keeper),
            "node restarted": (1, self._restart_node),
            "sub-farm controller killed": (2, self._kill_controller),
            "sub-farm controller replaced": (1, self._replace_controller),
            "farm controller killed": (2, self._kill_farm),
            "link cut": (2, self._cut),
            "link cut one way": (2, self._cut_one_way),
            "messages lost": (2, self._lose),
            "messages late": (2, self._stall),
            "messages repeated": (1, self._repeat),
            "database away": (1, self._database),
            "launch fails": (1, self._launch_fails),
            "farm controller replaced": (0, self._replace_farm),  # apart from the others: `_quarrel`
        }
        # Drawn apart, so that a seed from before there were quarrels plays as it did.
        self.apart = random.Random(f"apart {seed}")
        self.quarrels = self.apart.random() < QUARRELS_SHARE

    def play(self) -> World:
        try:
            for step in CYCLE:
                if self.random.random() < REFORM_SHARE:
                    self.world.reform()
                self._command(step)
                for _ in range(self.random.choice((1, 1, 2))):
                    self._pass(_PAUSES_S)
                    self._fault()
                if self.random.random() < 0.25:
                    self._pass(_PAUSES_S)
                    self._interfere()
                if self.quarrels:
                    self._quarrel()
                self._pass(_LULLS_S)
                if self.random.random() < 0.6:
                    self._lull()
            self.checker.heals(thorough=True)
        except Exception as error:
            raise Broken(f"seed {self.seed}: {type(error).__name__}: {error}") from error
        return self.world

    # ---- the passage of time ----------------------------------------------------------------------------------------

    def _pass(self, choices_s: tuple[float, ...]) -> None:
        self.world.run_for(self.random.choice(choices_s) * self.random.uniform(0.5, 1.5))
        self.checker.deadlines()

    def _lull(self) -> None:
        """Things settle, and what is believed is compared with what is so."""
        world = self.world
        if world.root.alive:
            world.run_until(lambda: not world.root.alive or not _is_busy(world), STEP_WAITS_S)
        world.run_for(QUIET_S)
        self.checker.deadlines()
        if faults.is_calm(world):
            self.checker.quiet()

    # ---- people -----------------------------------------------------------------------------------------------------

    def _command(self, step: Command) -> None:
        """The next step; where the farm does not take it, the same as a target, so that the cycle goes on."""
        self.world.run_until(lambda: self.world.root.alive, FARM_AWAY_S)
        given = self._give(step.value)
        if given in self.world.refusals and self.random.random() < 0.7:
            self._give(f"go {_REACHED[step]}")

    def _interfere(self) -> None:
        if not self.world.root.alive:
            return
        path = self.random.choice([*self.world.controllers, *self.world.nodes, *self._paths()] or [""])
        limit_s = self.random.choice((0.0, 0.0, 0.05, 5.0))
        match self.random.randrange(10):
            case 0:
                self.world.note("people", "cancel")
                self.world.cancel()
            case 1 | 2 | 3 | 4 | 5:
                self._give(f"member {self.random.choice(tuple(MemberCommand))}", path or "sf01", limit_s)
            case 6 | 7:
                self._give(f"go {self.random.choice(_TARGETS)}", "", limit_s)
            case _:
                self._give(self.random.choice(tuple(Command)).value, path, limit_s)

    def _give(self, what: str, path: str = "", limit_s: float = 0.0) -> str:
        self.world.note("people", f"{what} {path}")
        return self.world.command(what, path, limit_s)

    def _quarrel(self) -> None:
        """Two farm controllers at once; two persons, and the lease between them."""
        if self.apart.random() < 0.2:
            self._try("farm controller replaced")
        if self.apart.random() < 0.4 and self.world.root.alive:
            person = self.apart.choice((PERSON, PERSON, RIVAL))
            life_s = self.apart.choice((2.0, 30.0, 1000.0) if person == PERSON else (0.5, 5.0))
            action = self.apart.choice((*LeaseAction, LeaseAction.TAKE))
            self.world.note("people", f"lease {action} by {person} for {life_s:g} s")
            self.world.lease(action, person, life_s)
        if self.apart.random() < 0.3 and self.world.root.alive:
            what = self.apart.choice(("stop", "go running", "shutdown", "member restart"))
            self.world.note("people", f"{what} by {RIVAL}")
            self.world.command(what, "sf01" if what.startswith("member") else "", person=RIVAL)

    # ---- faults -----------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        names = tuple(self.faults)
        for name in self.random.choices(names, [self.faults[name][0] for name in names], k=4):
            if self._try(name):
                return

    def _try(self, name: str) -> bool:
        """Lets a fault happen, if it can just now."""
        state = self.world.state() if self.world.root.alive else State.UNKNOWN
        done = self.faults[name][1]()
        if done is not None:
            self.world.note("fault", f"{name}: {done}")
            self.coverage[state, name] += 1
        return done is not None

    def _paths(self) -> list[str]:
        return [slot.path for slot in self.world.processes()]

    def _slot(self, alive: bool = False) -> SimProcess | None:
        slots = [slot for slot in self.world.processes() if slot.alive or not alive]
        return self.random.choice(slots) if slots else None

    def _node(self) -> str | None:
        paths = [path for path, node in self.world.nodes.items() if node.up]
        return self.random.choice(paths) if paths else None

    def _below(self) -> str | None:
        paths = [path for path, controller in self.world.controllers.items() if path and controller.alive]
        return self.random.choice(paths) if paths else None

    def _link(self) -> str | None:
        node, controller = self._node(), self._below()
        return self.random.choice([path for path in (node, node, controller) if path] or [None])

    def _kill_process(self) -> str | None:
        slot = self._slot(alive=True)
        if slot is None:
            return None
        slot.leaves = self.random.random() < 0.3
        self.world.kill_process(slot.path)
        return slot.path

    def _misbehave(self) -> str | None:
        slot = self._slot()
        if slot is None:
            return None
        step = self.random.choice(CYCLE[1:10])
        how = self.random.choice(("dies_at", "hangs_at", "refuses_at", "deaf", "slow", "leaves", "unkillable"))
        match how:
            case "deaf" | "leaves" | "unkillable":
                setattr(slot, how, True)
                return f"{slot.path}: {how}"
            case "slow":
                slot.slow = self.random.choice((3.0, 30.0, 400.0))
                return f"{slot.path}: starts {slot.slow:g} times slower"
            case _:
                getattr(slot, how).add(step)
                return f"{slot.path}: {how} {step}"

    def _silence(self) -> str | None:
        slot = self._slot(alive=True)
        if slot is None:
            return None
        slot.silent = True
        return slot.path

    def _kill_agent(self) -> str | None:
        path = self._node()
        if path is None or not self.world.nodes[path].agent_up:
            return None
        if self.random.random() < 0.5:
            self.world.kill_agent(path)
            return path
        self.world.nodes[path].dies_after = self.random.randrange(12)
        return f"{path}, after some more effects"

    def _kill_keeper(self) -> str | None:
        path = self._node()
        if path is not None:
            self.world.nodes[path].kill_keeper()
        return path

    def _restart_node(self) -> str | None:
        path = self._node()
        if path is not None:
            self.world.restart_node(path)
        return path

    def _kill_controller(self) -> str | None:
        path = self._below()
        if path is None:
            return None
        if self.random.random() < 0.3:
            self.world.kill_controller(path)
            return path
        faults.doom(self.world, path, self.random.randrange(20))
        return f"{path}, after some more effects"

    def _replace_controller(self) -> str | None:
        path = self._below()
        if path is not None:
            faults.take_place(self.world, path)
            self.world.after(self.random.uniform(0.5, 20.0), lambda: self._let_children_dial(path))
        return path

    def _let_children_dial(self, path: str) -> None:
        """The streams of one half of those below are interrupted: who answers next?"""
        ends: list[SimNode | SimController] = [*self.world.nodes.values(), *self.world.controllers.values()]
        for end in ends:
            if end.path.startswith(f"{path}/") and end.parent is not None and self.random.random() < 0.6:
                self.world.hang_up(end, "the stream was reset")
                self.world.dial(end)

    def _kill_farm(self) -> str | None:
        if not self.world.root.alive:
            return None
        faults.doom(self.world, "", self.random.choice((0, 0, 1, 2, 3, 5, 8, 13, 21)))
        return "after some more effects"

    def _replace_farm(self) -> str | None:
        old = faults.take_over(self.world)
        if old is None:
            return None
        self.world.after(self.apart.uniform(0.2, 20.0), lambda: self._let_some_dial(old))
        self.world.after(self.apart.uniform(0.2, 40.0), lambda: faults.lose_claim(self.world, old))
        return "by another one"

    def _let_some_dial(self, old: SimController) -> None:
        """The streams of some controllers below are interrupted: which farm controller answers next?"""
        for child in list(self.world.controllers.values()):
            if child.parent is old and self.apart.random() < 0.6:
                self.world.hang_up(child, "the stream was reset")
                self.world.dial(child)

    def _cut(self) -> str | None:
        path = self._link()
        if path is None:
            return None
        if self.world.end(path).cut:
            self.world.mend(path)
            return f"{path}, mended"
        self.world.cut(path)
        if self.random.random() < 0.7:
            self.world.after(self.random.choice((0.3, 4.0, 15.0)), lambda: self.world.mend(path))
        return path

    def _cut_one_way(self) -> str | None:
        path = self._link()
        if path is not None:
            up = self.random.random() < 0.5
            faults.lose(self.world, path, up, self.random.uniform(0.5, faults.SILENT_S), mended=False)
            self.world.after(self.random.choice((1.0, 8.0, 20.0)), lambda: self.world.mend(path))
        return path

    def _lose(self) -> str | None:
        path = self._link()
        if path is not None:
            up = self.random.random() < 0.5
            faults.lose(self.world, path, up, self.random.choice((0.005, 0.05, 0.5, 4.0)), mended=True)
        return path

    def _stall(self) -> str | None:
        path = self._link()
        if path is not None:
            up, broken = self.random.random() < 0.5, self.random.random() < 0.5
            faults.stall(self.world, path, up, self.random.choice((0.01, 0.1, 1.0, 4.0)), broken)
        return path

    def _repeat(self) -> str:
        self.world.repeats, self.world.echoes = self.random.random() < 0.5, self.random.random() < 0.5
        return f"reports {self.world.repeats}, orders {self.world.echoes}"

    def _database(self) -> str:
        self.world.database.away = True
        self.world.after(self.random.choice((0.2, 3.0, 15.0)), self._database_is_back)
        return "for a while"

    def _database_is_back(self) -> None:
        self.world.database.away = False

    def _launch_fails(self) -> str | None:
        path = self._link()
        if path is not None:
            self.world.launch_troubles[path] = "no route to host"
            self.world.after(10.0, lambda: self._can_be_launched(path))
        return path

    def _can_be_launched(self, path: str) -> None:
        self.world.launch_troubles.pop(path, None)


def _is_busy(world: World) -> bool:
    held = world.root.core.memory.goal
    return (held is not None and held.active) or bool(world.root.core.memory.repairs)
