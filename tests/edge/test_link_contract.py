"""One contract for the link between a parent and its child, kept by gRPC streams and by the simulated network.

The seam is in core's own words. A parent's effects (`SendOrders`, `SendGoal`, `SendDocument`, `Release`) go down, what
a child has to tell comes up as `ProcessesReported` or `ControllerReported`, and the stream itself as `ChildAttached`
and `ChildLost`. Core may rely on this:

- **A stream begins with the whole**: behind `ChildAttached` comes all that the child is, from an agent as a snapshot.
- **Within a stream** all that arrives comes once, unaltered, and in the order in which it was sent. From a child not
  every change arrives, but the present does: a newer word takes the place of one that has not left yet.
- **There are no numbers to resume by**: a stream that ends takes with it what it had not delivered, and what is sent to
  a child that is not attached is gone. The next stream begins with the whole again, and core sends what it still wants.
- **The child dials**, for ever: after a cut, when its parent was killed, and while it is not let in because the parent
  does not know it (yet).
- **One stream**: a second one of the same child ends the first, is told behind its loss, and nothing comes out of the
  first any more. A child that nothing is heard of loses its stream.
- **Fencing**: a child that has seen higher incarnations is not attached, and its parent, which so learns that it was
  replaced, ends itself. What an agent does about single orders is in the contract of the host.

Real is what farm, sub-farm and agent use for it, with a relay on the way that can cut, and hold up; simulated is
`harness/network.py` and `World`. Neither loses single bytes between two ends that live: both stand for streams.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import pytest
import pytest_asyncio

from grange.controllers import children
from grange.controllers.documents import Documents
from grange.controllers.parent import ParentLink as ControllersLink
from grange.controllers.runtime import Runtime
from grange.core.controller import new_memory
from grange.core.effects import Effect, Order, Release, SendDocument, SendGoal, SendOrders
from grange.core.events import ChildAttached, ChildLost, ControllerReported, GoalGiven, ProcessesReported, Ticked
from grange.core.fencing import Fence
from grange.core.home import Home
from grange.core.names import Command, Kind, State
from grange.core.plan import FarmSpec, Quorum, SubFarmSpec
from grange.core.reports import ControllerReport, Goal, ProcessReport, Row
from grange.harness import faults
from grange.harness.farms import uniform
from grange.harness.simulated_controller import SimController
from grange.harness.simulated_node import SimNode
from grange.harness.world import World
from grange.proto import tree_pb2
from grange.proto.sockets import login_path, socket_path
from grange.proto.words import to_wire
from grange.supervisor.parent_link import ParentLink as AgentsLink
from grange.supervisor.wire import order_from_wire, report_to_wire, spec_from_wire

from .filled import filled, flat
from .scripted import FENCE, FENCE_BELOW, Parent, RealParent, Scripted, SimulatedParent, eventually, expect, parent_of

SUB_FARM, NODE = "sf01", "sf01/n001"  # as harness/farms.py calls them
NEWER = (6,)  # incarnations of a farm controller after that of `FENCE`
MANY = 50
SILENT_S = 1.5  # instead of the five seconds of a farm: a little more than one beat


class Link(Protocol):
    """A parent and one child of it, which says and hears what the test wants."""

    child: str  # its path
    parent: Parent

    def say(self, status: str) -> None:
        """The child has this to tell from now on."""

    def tell(self, report: Any) -> None:
        """The child has this report to tell from now on."""

    def arrived(self) -> list[Any]:
        """What has come down to the child: orders, goals, descriptions and "release"."""

    def obeyed(self, incarnations: tuple[int, ...]) -> None:
        """The child has seen these, of its farm controller and those below it."""

    async def begin(self) -> None:
        """The child is started, and dials."""

    def cut(self) -> None: ...
    def mend(self) -> None: ...

    async def in_vain(self) -> None:
        """The child has dialled some times more without success."""

    async def hold_up(self) -> None:
        """What the child says gets no further, and neither end knows."""

    async def break_behind(self, status: str) -> None:
        """The child loses its stream, and opens another with this to tell; then the first delivers what it held."""

    async def new_parent(self, core: Scripted) -> None:
        """The parent's program is killed and started anew."""


# ---- the real thing -------------------------------------------------------------------------------------------------


class Relay:
    """Between a child and its parent's socket: cuts, and holds up what the child says."""

    def __init__(self, address: str, parent: str) -> None:
        self._path, self._parent = socket_path(address), socket_path(parent)
        self.whole = True
        self.dials = 0
        self.holding = False
        self.held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self._childs_ends: list[asyncio.StreamWriter] = []
        self._parents_ends: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for path, connected in ((self._path, self._stream), (login_path(self._path), self._login)):
            self._servers.append(await asyncio.start_unix_server(connected, path))

    def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._begin(self._carry(reader, writer, self._parent, self._hold_or_pass))

    def _login(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dials += 1  # each begins with a login
        self._begin(self._carry(reader, writer, login_path(self._parent), asyncio.StreamWriter.write))

    def _begin(self, carrying: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(carrying)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hold_or_pass(self, to_parent: asyncio.StreamWriter, data: bytes) -> None:
        if self.holding:
            self.held.append((to_parent, data))
        else:
            to_parent.write(data)

    async def _carry(
        self,
        from_child: asyncio.StreamReader,
        to_child: asyncio.StreamWriter,
        parent: str,
        up: Callable[[asyncio.StreamWriter, bytes], None],
    ) -> None:
        self._childs_ends.append(to_child)
        with contextlib.suppress(OSError):  # nobody is there
            if self.whole:
                from_parent, to_parent = await asyncio.open_unix_connection(parent)
                self._parents_ends.append(to_parent)
                pumps = (
                    asyncio.create_task(_pump(from_child, partial(up, to_parent))),
                    asyncio.create_task(_pump(from_parent, to_child.write)),
                )
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                if not any(end is to_parent for end, _ in self.held):
                    to_parent.close()
        to_child.close()

    def break_off(self, childs_only: bool = False) -> None:
        """Ends all connections; or only the child's ends of them."""
        for end in [*self._childs_ends, *(() if childs_only else self._parents_ends)]:
            end.transport.abort()

    def deliver(self) -> None:
        """What was held goes on; its connections end behind it."""
        held, self.held = self.held, []
        for to_parent, data in held:
            to_parent.write(data)
        for to_parent, _ in held:
            to_parent.close()

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        self.break_off()
        await asyncio.gather(*self._tasks)


async def _pump(reader: asyncio.StreamReader, write: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            write(data)


class RealAgent:
    """An agent's line to its parent, with the test behind it."""

    def __init__(self, path: str, address: str) -> None:
        self._path = path
        self.row = ProcessReport(f"{path}/worker-1", State.INITIAL, status="new")
        self.came: list[Any] = []
        self.seen: tuple[int, ...] = ()
        self._link = AgentsLink(
            address,
            lambda: tree_pb2.Hello(path=path, kind=to_wire(Kind.NODE), incarnation=3, fence=self.seen),
            lambda path: report_to_wire(self.row, self.row.figures.age_s if self.row.figures else 0.0, monotonic()),
            lambda: [self.row.path],
            tree_pb2.NodeReport,
            self._welcome,
            self._take,
            lambda: None,
        )

    async def run(self) -> None:
        await self._link.run()

    async def _welcome(self, welcome: tree_pb2.Welcome) -> None:
        """What an agent judges by it is in the contract of the host."""

    async def _take(self, message: tree_pb2.ToChild) -> None:
        match message.WhichOneof("body"):
            case "orders":
                for order in message.orders.orders:
                    spec = spec_from_wire(order.spec) if order.HasField("spec") else None
                    self.came.append(order_from_wire(order, spec))
            case "release":
                self.came.append("release")
                raise asyncio.CancelledError  # it ends

    def tell(self, report: ProcessReport) -> None:
        self.row = report
        self._link.changed(report.path)


class RealController:
    """A sub-farm controller's line to its parent, with the test in the place of its core."""

    def __init__(self, path: str, address: str, directory: Path) -> None:
        self._core = Scripted(new_memory(path, path, Kind.SUB_FARM, root=False))
        self._runtime = Runtime(self._core, None, None)  # type: ignore[arg-type]
        self._released = asyncio.Event()
        documents = Documents(directory / "documents")
        self._link = ControllersLink(
            self._runtime, address, f"unix:{directory}/c.sock", "0", "boot", documents, self._released.set
        )
        self._runtime.after_event = self._link.changed

    @property
    def seen(self) -> tuple[int, ...]:
        return self._core.memory.fence[:-1]

    @seen.setter
    def seen(self, incarnations: tuple[int, ...]) -> None:
        self._core.memory.fence = (*incarnations, 1)

    @property
    def came(self) -> list[Any]:
        return [*map(_given, self._core.told), *(["release"] if self._released.is_set() else [])]

    async def run(self) -> None:
        running = asyncio.create_task(self._link.run())
        try:
            await self._released.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self._runtime.close()

    def tell(self, report: ControllerReport) -> None:
        self._core.says = report
        self._runtime.post(Ticked())


class RealLink:
    """A real parent, a relay, and a child that has everything but what it is about."""

    def __init__(self, child: str, home: Home, parent: RealParent) -> None:
        self.child, self.parent = child, parent
        self._home = home
        address = f"unix:{home.root}/relay.sock"
        self._relay = Relay(address, parent.address)
        self._end = RealAgent(child, address) if "/" in child else RealController(child, address, Path(home.root))
        self._running: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self._relay.start()
        self._running = asyncio.create_task(self._end.run())

    def say(self, status: str) -> None:
        self.tell(_whole(self.child, status))

    def tell(self, report: Any) -> None:
        self._end.tell(report)

    def arrived(self) -> list[Any]:
        return self._end.came

    def obeyed(self, incarnations: tuple[int, ...]) -> None:
        self._end.seen = incarnations

    def cut(self) -> None:
        self._relay.whole = False
        self._relay.break_off()

    def mend(self) -> None:
        self._relay.whole, self._relay.holding = True, False
        self._relay.break_off()

    async def in_vain(self) -> None:
        before = self._relay.dials
        await eventually(lambda: self._relay.dials >= before + 3, "the child has not dialled again")

    async def hold_up(self) -> None:
        self._relay.holding = True

    async def break_behind(self, status: str) -> None:
        await eventually(lambda: self._relay.held, "nothing was held")
        self._relay.holding = False
        self._relay.break_off(childs_only=True)
        self.say(status)
        before = self._relay.dials
        attached = _count(self.parent.core, ChildAttached)
        await eventually(lambda: _count(self.parent.core, ChildAttached) > attached, "the child has not come back")
        assert self._relay.dials > before
        self._relay.deliver()

    async def new_parent(self, core: Scripted) -> None:
        await self.parent.kill()
        self.parent = RealParent(self._home, core)
        await self.parent.start()

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._relay.close()
        await self.parent.kill()


# ---- the simulated one ----------------------------------------------------------------------------------------------


class SaidNode(SimNode):
    """A node of the simulated world that says what the test wants."""

    def __init__(self, world: World, path: str) -> None:
        super().__init__(world, path)
        self.launch()
        self.row = _whole(path, "new")
        self.came: list[Any] = []

    def snapshot(self) -> ProcessesReported:
        return ProcessesReported(self.name, (self.row,), snapshot=True)

    def orders(self, orders: tuple[Order, ...]) -> None:
        self.came += orders

    def release(self, released: Callable[[], None]) -> None:
        self.came.append("release")
        super().release(released)


class SaidController(SimController):
    """A controller of the simulated world with the test in the place of its core."""

    def __init__(self, path: str) -> None:
        super().__init__(path, path)
        self.scripted = Scripted(new_memory(path, path, Kind.SUB_FARM, root=False))
        self.core = self.scripted  # type: ignore[assignment]

    @property
    def came(self) -> list[Any]:
        return [*map(_given, self.scripted.told), *([] if self.alive else ["release"])]


class SimulatedLink:
    """Two ends in a world whose messages take their time."""

    def __init__(self, child: str, core: Scripted) -> None:
        self.child = child
        self.world = World(FARM)
        self.parent = SimulatedParent(self.world, core)
        self._end = SaidNode(self.world, child) if "/" in child else SaidController(child)

    async def begin(self) -> None:
        if isinstance(self._end, SaidNode):
            self.world.nodes[self.child] = self._end
        else:
            self.world.controllers[self.child] = self._end
        self.world.dial(self._end)

    def say(self, status: str) -> None:
        self.tell(_whole(self.child, status))

    def tell(self, report: Any) -> None:
        if isinstance(self._end, SaidNode):
            self._end.row = report
            self.world.report(self._end, ProcessesReported(self._end.name, (report,)))
        else:
            self._end.scripted.says = report
            self.world.tell(self._end, Ticked())

    def arrived(self) -> list[Any]:
        return self._end.came

    def obeyed(self, incarnations: tuple[int, ...]) -> None:
        if isinstance(self._end, SaidNode):
            self._end.guard.seen = Fence(incarnations)
        else:
            self._end.scripted.memory.fence = (*incarnations, 1)

    def cut(self) -> None:
        self.world.cut(self.child)

    def mend(self) -> None:
        self.world.mend(self.child)

    async def in_vain(self) -> None:
        self.world.run_for(1.0)

    async def hold_up(self) -> None:
        faults.lose(self.world, self.child, up=True, noticed_s=SILENT_S, mended=False)

    async def break_behind(self, status: str) -> None:
        self.world.hang_up(self._end, "the stream was reset")
        self.say(status)
        self.world.dial(self._end)

    async def new_parent(self, core: Scripted) -> None:
        await self.parent.kill()
        self.parent = SimulatedParent(self.world, core)

    async def close(self) -> None:
        """Nothing of it is left."""


# ---- both -----------------------------------------------------------------------------------------------------------

FARM: FarmSpec = uniform(1, 1, 1)


@pytest_asyncio.fixture(params=["real agent", "simulated agent", "real controller", "simulated controller"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """A parent that expects its child, which has not begun."""
    which, _, kind = request.param.partition(" ")
    child = NODE if kind == "agent" else SUB_FARM
    core = parent_of(child)
    if which == "simulated":
        yield SimulatedLink(child, core)
        return
    home = Home(tempfile.mkdtemp(prefix="glink-"))
    parent = RealParent(home, core)
    await parent.start()
    real = RealLink(child, home, parent)
    try:
        yield real
    finally:
        await real.close()
        shutil.rmtree(home.root)


def _whole(child: str, status: str) -> Any:
    """All that a child has to tell, with this status."""
    if "/" in child:
        return ProcessReport(f"{child}/worker-1", State.INITIAL, status=status)
    return ControllerReport(Row(child, Kind.SUB_FARM, child, State.INITIAL, status=status))


def _given(event: Any) -> Any:
    """What a controller below was sent."""
    return event.goal if isinstance(event, GoalGiven) else event.spec


def _count(core: Scripted, kind: type) -> int:
    return sum(isinstance(event, kind) for event in core.told)


def words(core: Scripted) -> list[str]:
    """What the parent was told: attached, lost, and the statuses that the child said."""
    found = []
    for event in core.told:
        match event:
            case ChildAttached():
                found.append("attached")
            case ChildLost():
                found.append("lost")
            case ProcessesReported(_, reports):
                found += [report.status for report in reports]
            case ControllerReported(_, report):
                found.append(report.row.status)
    return found


async def heard(link: Link, *expected: str) -> None:
    """Waits until the parent was told just this so far."""
    await link.parent.until(lambda: len(words(link.parent.core)) >= len(expected), f"not told: {expected}")
    assert words(link.parent.core) == list(expected)


def sent(link: Link, number: int) -> Effect:
    """Something to send to the child; `number` is in it."""
    name = link.child.rpartition("/")[2]
    if "/" not in link.child:
        return SendGoal(name, FENCE, number, Goal(f"{number}"))
    return SendOrders(name, FENCE_BELOW, number, (Order(f"{number}", f"{link.child}/worker-1", Command.LOAD, 1.0),))


def numbers(link: Link) -> list[int]:
    """Of what has arrived at the child."""
    return [int(one.command_id if isinstance(one, Goal) else one.order_id) for one in link.arrived()]


async def test_a_stream_begins_with_the_whole(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    begun = link.parent.core.told[1]
    assert isinstance(begun, ControllerReported) or begun.snapshot  # type: ignore[union-attr]


async def test_all_that_is_sent_to_a_child_arrives_once_and_in_its_order(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    for number in range(MANY):
        link.parent.wish(sent(link, number))
    await link.parent.until(lambda: len(link.arrived()) >= MANY, "not all has arrived")
    assert numbers(link) == list(range(MANY))


async def test_a_child_is_heard_in_its_order_and_its_last_word_always(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    for number in range(MANY):
        link.say(f"{number}")
    await link.parent.until(lambda: words(link.parent.core)[-1] == f"{MANY - 1}", "its last word")
    said = [int(word) for word in words(link.parent.core)[2:]]
    assert said == sorted(set(said))


async def test_a_cut_is_told_and_the_child_comes_back_with_what_it_is_by_then(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    link.cut()
    await heard(link, "attached", "new", "lost")
    link.say("not heard")
    link.say("changed")
    await link.in_vain()
    link.mend()
    await heard(link, "attached", "new", "lost", "attached", "changed")


async def test_what_is_sent_to_a_child_that_is_not_attached_is_gone(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    link.cut()
    await heard(link, "attached", "new", "lost")
    link.parent.wish(sent(link, 1))
    link.mend()
    await heard(link, "attached", "new", "lost", "attached", "new")
    link.parent.wish(sent(link, 2))
    await link.parent.until(link.arrived, "nothing has arrived")
    assert numbers(link) == [2]


async def test_a_child_finds_its_parent_when_that_was_started_anew(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    await link.new_parent(parent_of(link.child))
    link.say("changed")
    await link.parent.until(lambda: "changed" in words(link.parent.core), "what it is by then")
    assert words(link.parent.core)[0] == "attached"
    link.parent.wish(sent(link, 1))
    await link.parent.until(link.arrived, "nothing has arrived")


async def test_a_child_that_is_not_expected_is_let_in_once_it_is(link: Link) -> None:
    core = link.parent.core
    core.memory.links.clear()
    await link.begin()
    await link.in_vain()
    assert core.told == []
    expect(core, link.child.rpartition("/")[2])
    await heard(link, "attached", "new")


async def test_a_second_stream_ends_the_first_of_which_nothing_more_is_heard(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    if isinstance(link, SimulatedLink):
        faults.stall(link.world, link.child, up=True, seconds=2.0, broken=False)
    else:
        await link.hold_up()
    link.say("held")
    await link.break_behind("changed")
    await heard(link, "attached", "new", "lost", "attached", "changed")
    link.say("last")
    await heard(link, "attached", "new", "lost", "attached", "changed", "last")


async def test_a_child_of_which_nothing_is_heard_loses_its_stream(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "SILENT_S", SILENT_S)
    await link.begin()
    await heard(link, "attached", "new")
    await link.hold_up()
    link.say("changed")
    await heard(link, "attached", "new", "lost")
    link.mend()
    await heard(link, "attached", "new", "lost", "attached", "changed")


async def test_a_parent_that_was_replaced_learns_it_from_its_child_and_ends_without_it(link: Link) -> None:
    link.obeyed(NEWER)
    await link.begin()
    await link.parent.until(link.parent.is_fenced, "it ends itself")
    assert link.parent.core.told == []
    newest = parent_of(link.child, fence=(*NEWER, 1)[: link.child.count("/") + 1])
    await link.new_parent(newest)
    await heard(link, "attached", "new")
    assert not link.parent.is_fenced()


async def test_a_child_that_is_released_has_all_that_was_sent_before_and_is_lost_for_good(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    fence = FENCE_BELOW if "/" in link.child else FENCE
    release = Release(link.child.rpartition("/")[2], fence, 2, "teardown")
    link.parent.wish(sent(link, 1), release)
    await heard(link, "attached", "new", "lost")
    assert link.arrived()[1:] == ["release"]


# ---- nothing is lost or altered on the way ---------------------------------------------------------------------------


FULL_ROW = filled(Row, {"Row.status": "full"})


async def test_all_that_a_child_reports_is_told_to_its_parent(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    kind = ProcessReport if "/" in link.child else ControllerReport
    report = filled(kind, {"ProcessReport.status": "full", "Failure.kind": "hung", "ControllerReport.row": FULL_ROW})
    link.tell(report)
    await heard(link, "attached", "new", "full")
    told = link.parent.core.told[-1]
    received = told.report if isinstance(told, ControllerReported) else told.reports[0]  # type: ignore[union-attr]
    assert flat(received) == flat(report)


async def test_all_that_is_ordered_and_asked_for_arrives(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    if "/" in link.child:
        wanted: Any = filled(Order, {"Order.path": f"{link.child}/worker-1", "ProcessSpec.parameters": {}})
        link.parent.wish(SendOrders(link.child.rpartition("/")[2], FENCE_BELOW, 1, (wanted,)))
    else:
        wanted = filled(Goal, {"Target.state": State.TAKING})
        link.parent.wish(SendGoal(link.child, FENCE, 1, wanted))
    await link.parent.until(link.arrived, "nothing has arrived")
    assert flat(link.arrived()[0]) == flat(wanted)


@pytest.mark.parametrize("link", ["real controller", "simulated controller"], indirect=True)
async def test_the_description_of_a_sub_farm_arrives_whole_and_before_the_goal_that_needs_it(link: Link) -> None:
    await link.begin()
    await heard(link, "attached", "new")
    spec = filled(SubFarmSpec, {"SubFarmSpec.name": SUB_FARM, "RoleSpec.quorum": Quorum(number=3)})
    link.parent.core.memory.farm = FarmSpec("farm", "f" * 64, (spec,))
    link.parent.wish(SendDocument(SUB_FARM, "f" * 64), SendGoal(SUB_FARM, FENCE, 1, Goal("1")))
    await link.parent.until(lambda: len(link.arrived()) == 2, "not all has arrived")
    assert flat(link.arrived()[0]) == flat(spec)
    assert link.arrived()[1].command_id == "1"
