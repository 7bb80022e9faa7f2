"""Faults by chance: whom they befall and how they go on, chosen by a seeded generator (`faults.py` does them)."""

import random
from collections import Counter
from collections.abc import Callable

from grange.core.names import State
from grange.core.paths import join

from . import faults
from .aims import CYCLE
from .simulated_controller import SimController
from .simulated_node import SimNode
from .simulated_process import SimProcess
from .world import World


class Mischief:
    """What can befall one world. `faults` has each kind, with how often it is to come beside the others.

    `coverage` counts what came, by the state that the farm was in and its kind. Some are drawn `apart`.
    """

    def __init__(self, world: World, generator: random.Random, apart: random.Random) -> None:
        self.world = world
        self.random = generator
        self.apart = apart
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

    def any(self) -> None:
        """Some fault happens, if one can just now."""
        names = tuple(self.faults)
        for name in self.random.choices(names, [self.faults[name][0] for name in names], k=4):
            if self.happens(name):
                return

    def happens(self, name: str) -> bool:
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

    def _any_slot(self) -> SimProcess:
        """Of all that the configuration has, whether or not it was ever booted."""
        return self.world.process(self.random.choice(self._configured(processes=True)))

    def _configured(self, processes: bool = False) -> list[str]:
        """The paths of all processes, or of all controllers and nodes."""
        found, waiting = list[str](), [(spec.name, spec) for spec in self.world.farm.sub_farms]
        while waiting:
            path, spec = waiting.pop()
            if processes:
                found += [process.path for process in spec.processes]
            else:
                found += [path, *(join(path, node) for node in spec.nodes)]
            waiting += [(join(path, below.name), below) for below in spec.sub_farms]
        return found

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

    def _misbehave(self) -> str:
        slot = self._any_slot()
        step = self.random.choice(CYCLE[1:10])
        how = self.random.choice(("dies_at", "hangs_at", "refuses_at", "deaf", "slow", "leaves", "unkillable"))
        match how:
            case "leaves":
                slot.leaves, slot.clings_s = True, self.random.choice((0.0, 0.0, 3.0, 6.0))
                return f"{slot.path}: leaves a grandchild, which clings for {slot.clings_s:g} s"
            case "deaf" | "unkillable":
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
        keeper = self.world.nodes[path].keeper if path is not None else None
        if path is None or keeper is None:
            return None
        if self.random.random() < 0.4:
            self.world.nodes[path].kill_keeper()
            return path
        keeper.dies_after = self.random.randrange(12)
        return f"{path}, after some more acts"

    def _restart_node(self) -> str | None:
        path = self._node()
        if path is None:
            return None
        forgets = self.random.random() < 0.5
        self.world.restart_node(path, forgets)
        return f"{path}{', whose disk is empty' if forgets else ''}"

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

    def _launch_fails(self) -> str:
        path = self.random.choice(self._configured())
        self.world.launch_troubles[path] = "no route to host"
        self.world.after(10.0, lambda: self._can_be_launched(path))
        return path

    def _can_be_launched(self, path: str) -> None:
        self.world.launch_troubles.pop(path, None)
