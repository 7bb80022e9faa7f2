"""What the contracts of link and launcher share: a core that writes down what it is told, and parents around it.

A port lies between a core and the world, so its contract is tried with a core that decides nothing: `Scripted` keeps
the facts that it is given and wishes what the test says. Around it is the program of a parent, with everything but its
core: that of the farm or of a sub-farm (`RealParent`), or a controller of the simulated world (`SimulatedParent`).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from grange.controllers.access_file import AccessFile
from grange.controllers.farm import Farm
from grange.controllers.launching import launched
from grange.controllers.program import EXIT_FENCED
from grange.controllers.runtime import Runtime
from grange.controllers.store import Store
from grange.controllers.subfarm import SubFarm
from grange.core.controller import new_memory
from grange.core.effects import Effect
from grange.core.events import AgentsReported, Event, NodeReported, Ticked
from grange.core.home import Home
from grange.core.memory import ChildMemory, LinkMemory, Memory
from grange.core.names import Kind, State
from grange.core.reports import ControllerReport, Row
from grange.harness.simulated_controller import SimController
from grange.harness.world import World
from grange.proto.gate import Gate
from grange.proto.server import Server, serve
from grange.proto.sockets import SocketLock, socket_path

LIMIT_S = 20.0  # for what must come; never reached when all is well
LOOK_EVERY_S = 0.005
FENCE = (5,)  # of a farm controller; one of a sub-farm has FENCE_BELOW
FENCE_BELOW = (5, 1)

Condition = Callable[[], object]


class Scripted:
    """In the place of a controller's core."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.told: list[Event] = []  # without what a test gives it to be stepped, or what hosts say of themselves
        self.wishes: list[Effect] = []
        self.plans = 0
        path = memory.path
        self.says = ControllerReport(Row(path, memory.kind, path, State.INITIAL, status="new"))

    def step(self, now: float, event: Event) -> list[Effect]:
        if isinstance(event, AgentsReported):
            self.told += event.reports
        elif not isinstance(event, Ticked | NodeReported):
            self.told.append(event)
        wishes, self.wishes = self.wishes, []
        self.plans += 1
        return wishes

    def report(self, now: float) -> ControllerReport:
        return self.says


def parent_of(child: str, fence: tuple[int, ...] = (), expected: bool = True) -> Scripted:
    """The core of the controller above the sub-farm or node at `child`."""
    path, _, link = child.rpartition("/")
    root, fence = not path, fence or (FENCE_BELOW if path else FENCE)
    core = Scripted(new_memory(path, path or "farm", Kind.FARM if root else Kind.SUB_FARM, root, fence))
    if expected:
        expect(core, link)
    return core


def expect(core: Scripted, link: str) -> None:
    """From now on the child at this link is one of its own."""
    memory = core.memory
    memory.links[link] = LinkMemory(link, Kind.SUB_FARM if memory.root else Kind.NODE)
    if memory.root:
        memory.children[link] = ChildMemory(link, link)


class Parent(Protocol):
    """A controller program around a scripted core."""

    core: Scripted

    def wish(self, *effects: Effect) -> None:
        """Core wishes this now."""

    def is_fenced(self) -> bool:
        """Whether the program ends itself because it was replaced."""

    async def until(self, condition: Condition, what: str) -> None:
        """Lets time pass until it is so."""

    async def launched(self) -> None:
        """Waits until it is decided what has come of each program that it was to launch."""

    async def kill(self) -> None:
        """The program is gone, without a word; what it has launched lives on."""


async def eventually(condition: Condition, what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} within {LIMIT_S:.0f} s"
        await asyncio.sleep(LOOK_EVERY_S)


class RealParent:
    """The program of a farm or sub-farm controller: server, children and launching are its own."""

    def __init__(self, home: Home, core: Scripted) -> None:
        self.core = core
        self._home, self._path = home, core.memory.path
        self.program: Farm | SubFarm
        self._store: Store | None = None
        self._server: Server | None = None

    @property
    def address(self) -> str:
        return self._home.sub_farm_address(self._path) if self._path else self._home.farm_address

    async def start(self) -> None:
        lock = SocketLock(socket_path(self.address))
        if self._path:
            self.program = SubFarm(self._home, self._path)
        else:
            self._store = Store(self._home)
            self.program = Farm(self._home, self._store, AccessFile(self._home))
        await self.program.runtime.close()  # of its own core
        children = self.program.children
        self.program.runtime = Runtime(self.core, children, self.program)  # type: ignore[arg-type]
        self._server = await serve(self.address, tree=children, gate=Gate(), lock=lock)
        self.program.runtime.spawn(children.watch_silence())

    def wish(self, *effects: Effect) -> None:
        self.core.wishes += effects
        self.program.runtime.post(Ticked())

    def is_fenced(self) -> bool:
        return self.program.exit_code == EXIT_FENCED

    async def until(self, condition: Condition, what: str) -> None:
        await eventually(condition, what)

    async def launched(self) -> None:
        tasks = self.program.runtime._tasks
        code = launched.__code__
        await eventually(
            lambda: not any(getattr(task.get_coro(), "cr_code", None) is code for task in tasks),
            "it is still launching",
        )

    async def kill(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        await self.program.runtime.close()
        await server.stop(0.0)
        await self.program._launcher.close()
        if self._store is not None:
            self._store.close()


class SimulatedParent:
    """A controller of the simulated world."""

    def __init__(self, world: World, core: Scripted) -> None:
        self.core, self.world = core, world
        memory = core.memory
        self.controller = SimController(memory.path, memory.name, clock=world.clock())
        self.controller.core = core  # type: ignore[assignment]
        world.controllers[memory.path] = self.controller

    def wish(self, *effects: Effect) -> None:
        self.core.wishes += effects
        self.world.tell(self.controller, Ticked())

    def is_fenced(self) -> bool:
        return not self.controller.alive

    async def until(self, condition: Condition, what: str) -> None:
        assert self.world.run_until(lambda: bool(condition()), LIMIT_S), f"{what} within {LIMIT_S:.0f} s"

    async def launched(self) -> None:
        self.world.run_for(2 * self.world.times.launch_s)

    async def kill(self) -> None:
        self.world.kill_controller(self.controller.path)
