"""One contract for what a node promises to its controller, kept by the real programs and by the simulated ones.

The simulator is worth what its nodes are worth: each statement here is tested with a real keeper, agent and Python
actor, and with `harness/simulated_node.py` under its virtual clock.
"""

import asyncio
import contextlib
import heapq
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest
import pytest_asyncio

from grange.core.effects import Order
from grange.core.events import ProcessesReported
from grange.core.fencing import Fence
from grange.core.names import Command, Health, Ready, State
from grange.core.plan import ProcessSpec
from grange.core.reports import ProcessReport
from grange.harness.simulated_node import SimNode
from grange.harness.surroundings import Times
from grange.harness.virtual_time import TRUE_CLOCK, Clock
from grange.proto import tree_pb2
from grange.proto.processes import process_report_from_wire

from .node_helpers import LIMIT_S, AgentNode, eventually

PATH = "sf01/n1/psa-1"
STEPS = (
    (Command.LOAD, State.LOADED),
    (Command.CONFIGURE, State.CONFIGURED),
    (Command.START, State.TAKING),
    (Command.PAUSE, State.PAUSED),
    (Command.RESUME, State.TAKING),
    (Command.STOP, State.CONFIGURED),
    (Command.UNCONFIGURE, State.LOADED),
    (Command.UNLOAD, State.BOOTED),
)
RUN = 7
FENCE = (1, 1)
LOWER_FENCE = (1, 0)

Condition = Callable[[ProcessReport], bool]


class Host(Protocol):
    """A node with one place for a process, seen by the controller that commands it."""

    async def order(
        self, order_id: str, command: Command, fence: tuple[int, ...] = FENCE, late: bool = False, **more: Any
    ) -> None:
        """Sends one order; a boot brings its description. A late one has the number of one that came before."""

    async def told(self, condition: Condition) -> ProcessReport:
        """The process as the node tells it, once it is so."""

    def kill(self, report: ProcessReport) -> None:
        """The process of this report is killed, without a word to anybody."""

    async def kill_agent(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """The agent is killed, something happens, and it is back with all that exists on the node."""

    async def kill_keeper(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """The keeper is killed, something happens, and another one is there."""


class RealHost:
    """Keeper, agent and a Python actor."""

    def __init__(self, node: AgentNode) -> None:
        self._node = node

    async def order(
        self, order_id: str, command: Command, fence: tuple[int, ...] = FENCE, late: bool = False, **more: Any
    ) -> None:
        parent = self._node.parent
        parent.fence = fence
        parent.sequence -= 2 * late
        spec = tree_pb2.ProcessSpec(path=PATH, role="psa", actor="grange.actors.actor:Actor", terminate_timeout_s=5.0)
        more |= {"spec": spec} if command is Command.BOOT else {}
        await parent.order(order_id, PATH, command.value, run_number=RUN, **more)
        parent.sequence += 2 * late

    async def told(self, condition: Condition) -> ProcessReport:
        row = await self._node.parent.row(PATH, lambda row: condition(process_report_from_wire(row, 0.0)))
        return process_report_from_wire(row, 0.0)

    def kill(self, report: ProcessReport) -> None:
        os.kill(report.pid, signal.SIGKILL)

    async def kill_agent(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        before = len(self._node.parent.hellos)
        os.kill(self._node.agent_pid(), signal.SIGKILL)
        meanwhile()
        await self._node.again(before)

    async def kill_keeper(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        before = self._node.keeper_pid()
        os.kill(before, signal.SIGKILL)
        meanwhile()
        await asyncio.to_thread(eventually, "another keeper", lambda: self._node.keeper_pid() not in (0, before))


class VirtualTime:
    """What a simulated node needs of a world: a clock that jumps, and somebody who hears its reports."""

    def __init__(self) -> None:
        self.now = 0.0
        self.times = Times(spread=0.0)
        self.reports: dict[str, ProcessReport] = {}
        self.violations: list[str] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (self.now + delay_s, next(self._numbers), action))

    def vary(self, mean_s: float) -> float:
        return mean_s

    def report(self, node: SimNode, event: ProcessesReported) -> None:
        if event.snapshot:
            self.reports = {}
        self.reports |= {report.path: report for report in event.reports}

    def note(self, who: str, text: str) -> None:
        """Nobody reads it here."""

    def clock(self) -> Clock:
        return TRUE_CLOCK

    def kill_agent(self, path: str) -> None:
        raise AssertionError("no agent was told to die in the middle of its effects")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end_s = self.now + LIMIT_S
        while not condition():
            assert not self.violations, self.violations
            assert self._later, f"{what}: nothing more happens"
            self.now, _, action = heapq.heappop(self._later)
            assert self.now < end_s, f"{what} has not come within {LIMIT_S:.0f} s"
            action()


class SimulatedHost:
    """The node of the simulator."""

    def __init__(self) -> None:
        self._world = VirtualTime()
        self._node = SimNode(self._world, "sf01/n1")
        self._node.launch()
        self._sequence = itertools.count(1)

    async def order(
        self, order_id: str, command: Command, fence: tuple[int, ...] = FENCE, late: bool = False, **more: Any
    ) -> None:
        spec = ProcessSpec(PATH, "psa", (), actor="psa", ready=Ready.ACTOR)
        # the order's name ends as core makes it, for the simulated actor takes the command from there
        more |= {"spec": spec} if command is Command.BOOT else {}
        order = Order(f"{order_id}/{command}/1", PATH, command, LIMIT_S, RUN, **more)
        sequence = next(self._sequence) - 2 * late
        self._node.receive(Fence(fence, sequence), lambda: self._node.orders((order,)), lambda: None)

    async def told(self, condition: Condition) -> ProcessReport:
        reports = self._world.reports
        self._world.until(lambda: PATH in reports and condition(self._told()), "the report")
        return self._told()

    def _told(self) -> ProcessReport:
        return self._world.reports[PATH]

    def kill(self, report: ProcessReport) -> None:
        self._node.slot(PATH).end(report.instance, {"signal": 9})

    async def kill_agent(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        before = self._node.incarnation
        self._node.kill_agent()
        meanwhile()
        self._world.until(lambda: self._node.incarnation > before, "the agent")
        self._world.report(self._node, self._node.snapshot())

    async def kill_keeper(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        before = self._node.keepers
        self._node.kill_keeper()
        meanwhile()
        self._world.until(lambda: self._node.keepers > before, "the keeper")


@pytest_asyncio.fixture(params=["real", "simulated"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    if request.param == "simulated":
        yield SimulatedHost()
        return
    async with contextlib.AsyncExitStack() as stack:
        node = AgentNode()
        stack.push_async_callback(node.close)
        await node.start()
        yield RealHost(node)
        node.parent.fence = FENCE


async def carry_out(host: Host, order_id: str, command: Command) -> ProcessReport:
    await host.order(order_id, command)
    return await host.told(lambda report: report.order_id.startswith(order_id) and report.order_done)


async def taking(host: Host) -> ProcessReport:
    """The process takes data."""
    await carry_out(host, "o-boot", Command.BOOT)
    for command, _ in STEPS[:2]:
        await carry_out(host, f"o-{command}", command)
    return await carry_out(host, "o-start", Command.START)


def gist(report: ProcessReport) -> tuple[object, ...]:
    return report.state, report.health, report.order_ok, bool(report.instance)


async def test_a_process_goes_through_all_its_steps_and_leaves_nothing(host: Host) -> None:
    booted = await carry_out(host, "b", Command.BOOT)
    assert gist(booted) == (State.BOOTED, Health.OK, True, True)
    for number, (command, state) in enumerate(STEPS):
        report = await carry_out(host, f"s{number}", command)
        assert gist(report) == (state, Health.OK, True, True)
        assert report.instance == booted.instance
    assert gist(await carry_out(host, "x", Command.SHUTDOWN)) == (State.INITIAL, Health.OK, True, False)
    assert gist(await carry_out(host, "y", Command.SHUTDOWN)) == (State.INITIAL, Health.OK, True, False)


async def test_a_run_is_told_from_its_start_on(host: Host) -> None:
    assert (await taking(host)).run_number == RUN


async def test_an_order_that_comes_twice_is_carried_out_once(host: Host) -> None:
    await carry_out(host, "b", Command.BOOT)
    first = await carry_out(host, "l", Command.LOAD)
    await host.order("l", Command.LOAD)  # from loaded it would be refused
    after = await carry_out(host, "c", Command.CONFIGURE)
    assert (gist(first), gist(after)) == (
        (State.LOADED, Health.OK, True, True),
        (State.CONFIGURED, Health.OK, True, True),
    )
    assert after.failure is None


async def test_an_order_that_comes_late_after_newer_ones_is_left_out(host: Host) -> None:
    await carry_out(host, "b", Command.BOOT)
    await carry_out(host, "l", Command.LOAD)
    await host.order("c", Command.CONFIGURE, late=True)
    assert gist(await carry_out(host, "u", Command.UNLOAD)) == (State.BOOTED, Health.OK, True, True)


async def test_a_step_that_is_not_possible_is_refused_and_changes_nothing(host: Host) -> None:
    await carry_out(host, "b", Command.BOOT)
    refused = await carry_out(host, "s", Command.START)
    assert gist(refused) == (State.BOOTED, Health.OK, False, True)
    assert refused.failure is not None
    assert refused.failure.kind == "refused"
    assert gist(await carry_out(host, "l", Command.LOAD)) == (State.LOADED, Health.OK, True, True)


async def test_a_process_that_dies_is_told_at_once_with_how_it_ended(host: Host) -> None:
    host.kill(await taking(host))
    died = await host.told(lambda report: report.health is Health.ERROR)
    assert died.state is State.INITIAL
    assert died.failure is not None
    assert died.failure.kind == "died while running"
    assert "was killed by SIGKILL while it was taking" in died.failure.reason


async def test_after_its_death_a_process_is_started_anew_as_another_instance(host: Host) -> None:
    first = await taking(host)
    host.kill(first)
    await host.told(lambda report: report.health is Health.ERROR)
    again = await carry_out(host, "again", Command.BOOT)
    assert gist(again) == (State.BOOTED, Health.OK, True, True)
    assert again.instance != first.instance


async def test_restarts_by_a_policy_are_remembered_by_the_node_also_when_its_agent_dies(host: Host) -> None:
    host.kill(await taking(host))
    await host.told(lambda report: report.health is Health.ERROR)
    await host.order("again", Command.BOOT, restart=True)
    again = await host.told(lambda report: report.state is State.BOOTED)
    assert (again.restarts, len(again.restarted_s)) == (1, 1)
    await host.kill_agent()
    after = await host.told(lambda report: report.state is State.BOOTED)
    assert (after.restarts, len(after.restarted_s)) == (1, 1)


async def test_a_process_that_is_ended_because_of_a_fault_stays_an_error_until_it_is_booted_again(host: Host) -> None:
    await taking(host)
    await host.order("x", Command.SHUTDOWN, because="it hangs")
    ended = await host.told(lambda report: report.state is State.INITIAL)
    assert gist(ended) == (State.INITIAL, Health.ERROR, True, False)
    assert ended.failure is not None
    assert (ended.failure.kind, ended.failure.reason) == ("hung", "it hangs")
    assert gist(await carry_out(host, "b", Command.BOOT)) == (State.BOOTED, Health.OK, True, True)


async def test_the_death_of_the_agent_changes_nothing_about_a_process(host: Host) -> None:
    before = await taking(host)
    await host.kill_agent()
    after = await host.told(lambda report: report.state is State.TAKING)
    assert (after.instance, after.health, after.run_number) == (before.instance, Health.OK, RUN)
    assert gist(await carry_out(host, "p", Command.PAUSE)) == (State.PAUSED, Health.OK, True, True)


async def test_a_process_that_dies_without_an_agent_is_told_when_there_is_one(host: Host) -> None:
    before = await taking(host)
    await host.kill_agent(lambda: host.kill(before))
    died = await host.told(lambda report: report.health is Health.ERROR)
    assert (died.state, died.instance) == (State.INITIAL, "")
    assert died.failure is not None
    assert "SIGKILL" in died.failure.reason


async def test_the_death_of_the_keeper_changes_nothing_about_a_process(host: Host) -> None:
    before = await taking(host)
    await host.kill_keeper()
    after = await carry_out(host, "p", Command.PAUSE)
    assert gist(after) == (State.PAUSED, Health.OK, True, True)
    assert (after.instance, after.run_number) == (before.instance, RUN)
    assert gist(await carry_out(host, "x", Command.SHUTDOWN)) == (State.INITIAL, Health.OK, True, False)


async def test_of_a_process_that_dies_without_a_keeper_the_next_one_tells_that_nobody_knows_how(host: Host) -> None:
    before = await taking(host)
    await host.kill_keeper(lambda: host.kill(before))
    died = await host.told(lambda report: report.health is Health.ERROR)
    assert (died.state, died.instance) == (State.INITIAL, "")
    assert died.failure is not None
    assert "no keeper was there to see it" in died.failure.reason
    assert gist(await carry_out(host, "again", Command.BOOT)) == (State.BOOTED, Health.OK, True, True)


async def test_orders_of_a_controller_that_was_replaced_are_left_out(host: Host) -> None:
    await carry_out(host, "b", Command.BOOT)
    await host.order("stale", Command.LOAD, LOWER_FENCE)
    assert gist(await carry_out(host, "l", Command.LOAD)) == (State.LOADED, Health.OK, True, True)
