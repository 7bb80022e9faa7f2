"""Random scenarios from a seed: commands and faults in any order, under the eyes of the checkers.

python -P -m grange.harness.fuzz 4711          replays the world of that seed and prints its log
python -P -m grange.harness.fuzz 0 1000        runs the seeds from 0 to 999 and says which are broken
"""

import random
import sys

from grange.core.names import Command, MemberCommand, Policy
from grange.core.plan import ALL, FarmSpec, Quorum

from .checkers import Broken, Checker
from .farms import deep, uniform
from .world import World

MOVES = 14  # commands and faults in one world
QUIET_S = 0.3  # until all that is under way has arrived, if nothing hangs
_TARGETS = ("running", "paused", "configured", "loaded", "booted", "initial", "absent")
_PAUSES_S = (0.0, 0.001, 0.004, 0.012, 0.03, 0.1, 0.4, 2.0, 12.0)
_STEPS = (Command.BOOT, Command.LOAD, Command.CONFIGURE, Command.START, Command.PAUSE, Command.STOP)


def play(seed: int, moves: int = MOVES) -> World:
    """One world from its seed; raises `Broken`, with the seed, where something does not hold."""
    return Player(seed, moves).play()


class Player:
    """Makes the choices of one world."""

    def __init__(self, seed: int, moves: int) -> None:
        self.seed, self.moves = seed, moves
        self.random = random.Random(f"fuzz {seed}")
        self.world = World(self._farm(), seed)
        self.checker = Checker(self.world)

    def _farm(self) -> FarmSpec:
        choose = self.random
        if choose.random() < 0.15:
            return deep()
        return uniform(
            choose.choice((1, 2)),
            choose.choice((1, 2)),
            choose.choice((2, 3)),
            quorums={"worker": choose.choice((ALL, Quorum(number=1), Quorum(fraction=0.5)))},
            policies={"source": Policy.STOP_RUN, "worker": choose.choice(tuple(Policy))},
            heartbeat_timeout_s=choose.choice((0.0, 5.0)),
        )

    def play(self) -> World:
        try:
            self.world.carry_out("go running")
            for _ in range(self.moves):
                self._move()
                self.world.run_for(self.random.choice(_PAUSES_S))
                if self.random.random() < 0.3:
                    self.world.run_for(QUIET_S)
                    self.checker.quiet()
            self.checker.heals()
        except Exception as error:
            raise Broken(f"seed {self.seed}: {type(error).__name__}: {error}") from error
        return self.world

    def _move(self) -> None:
        moves = (
            (8, self._command),
            (3, self._go),
            (2, self._process),
            (2, self._behave),
            (1, self._agent),
            (1, self._controller),
            (1, self._farm_controller),
            (2, self._cut),
            (1, self._cancel),
            (1, self._repeat),
            (1, self._restart_node),
            (3, self._members),
        )
        weights, actions = zip(*moves, strict=True)
        self.random.choices(actions, weights)[0]()

    def _note(self, text: str) -> None:
        self.world.note("fuzz", text)

    def _some_path(self) -> str:
        if self.random.random() < 0.7:
            return ""
        paths = [*self.world.controllers, *self.world.nodes, *self._processes()]
        return self.random.choice(paths)

    def _processes(self) -> list[str]:
        return [slot.path for slot in self.world.processes()]

    def _command(self) -> None:
        if self.world.root.alive:
            step, path = self.random.choice(tuple(Command)), self._some_path()
            self._note(f"{step} {path}")
            self.world.command(step.value, path, self.random.choice((0.0, 0.0, 0.05, 5.0)))

    def _go(self) -> None:
        if self.world.root.alive:
            target, path = self.random.choice(_TARGETS), self._some_path()
            self._note(f"go {target} {path}")
            self.world.command(f"go {target}", path)

    def _members(self) -> None:
        if self.world.root.alive:
            word, some = self.random.choice(tuple(MemberCommand)), self.random.choice((1, 1, 2))
            paths = " ".join(self._some_path() or "sf01" for _ in range(some))
            self._note(f"{word} {paths}")
            self.world.command(f"member {word}", paths, self.random.choice((0.0, 0.0, 0.05, 5.0)))

    def _process(self) -> None:
        if paths := self._processes():
            path = self.random.choice(paths)
            self._note(f"kill {path}")
            self.world.kill_process(path)

    def _behave(self) -> None:
        if slots := self.world.processes():
            slot, step = self.random.choice(slots), self.random.choice(_STEPS)
            how = self.random.choice((slot.dies_at, slot.hangs_at, slot.refuses_at, None))
            for behaviour in (slot.dies_at, slot.hangs_at, slot.refuses_at):
                behaviour.clear()
            if how is not None:
                how.add(step)
            self._note(f"{slot.path}: dies {slot.dies_at}, hangs {slot.hangs_at}, refuses {slot.refuses_at}")

    def _agent(self) -> None:
        path = self.random.choice(tuple(self.world.nodes) or ("",))
        if path:
            self._note(f"kill the agent of {path}")
            self.world.kill_agent(path)

    def _restart_node(self) -> None:
        path = self.random.choice(tuple(self.world.nodes) or ("",))
        if path and self.world.nodes[path].up:
            self._note(f"restart {path}")
            self.world.restart_node(path)

    def _controller(self) -> None:
        paths = [path for path, controller in self.world.controllers.items() if path and controller.alive]
        if paths:
            self.world.kill_controller(self.random.choice(paths))

    def _farm_controller(self) -> None:
        if self.world.root.alive:
            self.world.kill_controller("")
        self.world.run_for(self.random.choice(_PAUSES_S))
        self.world.start_farm()

    def _cut(self) -> None:
        paths = [*self.world.nodes, *(path for path in self.world.controllers if path)]
        if not paths:
            return
        path = self.random.choice(paths)
        is_cut = (self.world.nodes.get(path) or self.world.controllers[path]).cut
        self._note(f"{'mend' if is_cut else 'cut'} {path}")
        (self.world.mend if is_cut else self.world.cut)(path)

    def _cancel(self) -> None:
        if self.world.root.alive:
            self._note("cancel")
            self.world.cancel()

    def _repeat(self) -> None:
        self.world.repeats = not self.world.repeats


def main(arguments: list[str]) -> int:
    first = int(arguments[0]) if arguments else 0
    if len(arguments) < 2:
        for at, who, text in play(first).log:
            print(f"{at:9.3f}  {who:18}  {text}")
        return 0
    broken = 0
    for seed in range(first, int(arguments[1])):
        try:
            play(seed)
        except Broken as error:
            broken += 1
            print(str(error).splitlines()[0])
    print(f"{broken} of {int(arguments[1]) - first} worlds are broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
