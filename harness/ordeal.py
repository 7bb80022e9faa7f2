"""An ordeal: a farm goes through its whole cycle, and at every step of it something fails.

Each has two sub-farms of three nodes with three processes, roles with all policies and various quorums, one in five a
further level of controllers, and clocks of which no two agree. A step is commanded, people interfere, and one or two
faults come at a random moment of it; sometimes the step is waited for. In some there are quarrels as well: a second
farm controller takes the farm over while the first lives, and two persons command, with the lease between them.

Each also has an aim: a state of the farm, transitional ones included, and some faults that come just when it is there.
Seeds that follow each other have other aims, so that `AIMED_SEEDS` of them try every fault in every state but those of
`aims.cannot_be`.

Whether a step succeeds is not demanded, but all that the checkers (`checkers.py`) watch, that at least `FAULTS_LEAST`
faults have come, and that the farm obeys once they are over.
"""

import random
from collections.abc import Callable

from grange.core.names import Command, LeaseAction, MemberCommand
from grange.core.state import ROWS, Refusal, move

from . import faults
from .aims import CYCLE, aim
from .checkers import Broken, Checker
from .farms import varied
from .mischief import Mischief
from .simulated_controller import SimController
from .surroundings import Times
from .world import PERSON, World

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
FAULTS_LEAST = 10  # in each world
FURTHER_LOOKS_MOST = 100  # for a fault that can come, where there were too few: some can at any time
QUIET_S = 0.4  # until all that is under way has arrived, if nothing hangs
REFORM_SHARE = 0.7  # of the steps begin with processes that behave; those before may have left a farm in pieces
FARM_AWAY_S = 30.0  # the longest that a farm controller is away: until the database is back, and a little
QUARRELS_SHARE = 0.3  # of the worlds have persons, and farm controllers, that command against each other
APPROACH_S = 60.0  # the longest for a command on the way to the state that is aimed at
HIT_LOOK_S = 0.02  # what is aimed, but has nothing to befall yet, is tried again after this …
HIT_LOOKS_MOST = 50  # … so many times, while the farm stays in the state
STEP_WAITS_S = 8.0  # the longest that the next step waits for the one before


def ordeal(seed: int) -> World:
    """One world from its seed; raises `Broken`, with the seed, where something does not hold."""
    return Ordeal(seed).play()


class Ordeal:
    """Makes the choices of one world."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(f"ordeal {seed}")
        self.world = World(
            varied(self.random), seed, Times(heartbeat_s=2.0, report_s=0.02, gather_s=0.002), clocks_differ=True
        )
        self.checker = Checker(self.world)
        # Drawn apart, so that a seed from before there were quarrels plays as it did.
        self.apart = random.Random(f"apart {seed}")
        self.quarrels = self.apart.random() < QUARRELS_SHARE
        self.mischief = Mischief(self.world, self.random, self.apart)
        self.aim, self.aimed = aim(seed, tuple(self.mischief.faults))

    def play(self) -> World:
        try:
            for step in CYCLE:
                if self.random.random() < REFORM_SHARE:
                    self.world.reform()
                if self.aim in (ROWS[step].via, ROWS[step].to):
                    self._approach(step)
                    self._command(step)
                    self._hit()
                else:
                    self._command(step)
                for _ in range(self.random.choice((1, 1, 2))):
                    self._pass(_PAUSES_S)
                    self.mischief.any()
                if self.random.random() < 0.25:
                    self._pass(_PAUSES_S)
                    self._interfere()
                if self.quarrels:
                    self._quarrel()
                self._pass(_LULLS_S)
                if self.random.random() < 0.6:
                    self._lull()
            self._make_up_for_calm()
            self.checker.heals(thorough=True)
        except Exception as error:
            raise Broken(f"seed {self.seed}: {type(error).__name__}: {error}") from error
        return self.world

    def _make_up_for_calm(self) -> None:
        """Where chance has left too few faults, for what came up could not come just then, further ones come now."""
        coverage = self.mischief.coverage
        for _ in range(FURTHER_LOOKS_MOST):
            if coverage.total() >= FAULTS_LEAST:
                break
            self.mischief.any()
            self._pass(_PAUSES_S)
        few = f"only {coverage.total()} faults have come, and {FAULTS_LEAST} are the least"
        self.checker.demand(coverage.total() >= FAULTS_LEAST, few)

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
        path = self.random.choice(
            [*self.world.controllers, *self.world.nodes, *(slot.path for slot in self.world.processes())] or [""]
        )
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
            self.mischief.happens("farm controller replaced")
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

    # ---- the aim -----------------------------------------------------------------------------------------------------

    def _approach(self, step: Command) -> None:
        """A farm that is not where the step that is aimed at begins is mended, and brought there."""
        world = self.world
        world.run_until(lambda: world.root.alive, FARM_AWAY_S)
        if step is Command.SETUP or not isinstance(move(world.state(), step), Refusal):
            return
        faults.be_over(world)
        held = world.root.core.memory.goal
        out = [exclusion.path for exclusion in held.goal.excluded] if held is not None else []
        self._carry_out("go initial")
        if out:
            self._carry_out("member include", " ".join(out))
        self._carry_out(f"go {_REACHED[CYCLE[CYCLE.index(step) - 1]]}")

    def _carry_out(self, what: str, path: str = "") -> None:
        """Gives a command, and waits until the farm has done with it."""
        if self.world.root.alive:
            self._give(what, path)
            self.world.run_until(lambda: not self.world.root.alive or not _is_busy(self.world), APPROACH_S)

    def _hit(self) -> None:
        """The farm comes into the state that is aimed at, and in it what is aimed happens, as soon as it can."""
        if not self.world.run_until(self._is_at_aim(), STEP_WAITS_S):
            return
        waiting = self.aimed
        for _ in range(HIT_LOOKS_MOST):
            waiting = tuple(name for name in waiting if not self.mischief.happens(name))
            self.world.run_for(HIT_LOOK_S)
            if not waiting or not self.world.root.alive or self.world.state() is not self.aim:
                return

    def _is_at_aim(self) -> Callable[[], bool]:
        """Looks at the farm after each event of its controller, for a look takes its time."""
        looked_at: tuple[SimController, int] | None = None

        def look() -> bool:
            nonlocal looked_at
            root = self.world.root
            if looked_at == (root, root.events):
                return False
            looked_at = root, root.events
            return root.alive and self.world.state() is self.aim

        return look


def _is_busy(world: World) -> bool:
    held = world.root.core.memory.goal
    return (held is not None and held.active) or bool(world.root.core.memory.repairs)
