"""One contract for time as a controller's core is given it, kept by the runtime and by the simulated world.

There is no clock object. The seam is two wishes and one argument: core is given `now` with each fact, in seconds of a
clock that began anywhere, and asks with `WakeAt` to be told (`Ticked`) when a moment of that clock has come. It may
rely on this:

- the clock never goes back;
- an alarm comes once, as a fact of its own, and never before its moment: on core's clock the moment has then passed;
- the alarm asked for last is the one that counts, and asking for none takes it back;
- a moment that has passed already comes at once, after everything else that was wished in the same step;
- a moment that one program tells another is the same one on the other's clock.

How late an alarm may be is nobody's promise. The real runtime is tried on uvloop, on which controllers run and which
counts in whole milliseconds, and on asyncio; the simulated one with a clock that is the world's, and with one that
began elsewhere and goes too slowly or too fast. On a node the seam is `Unit.alarm_s`, and what it promises is in the
contract of the host.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

import pytest
import uvloop

from grange.controllers.runtime import Runtime
from grange.core.controller import new_memory
from grange.core.effects import Effect, Persist, WakeAt
from grange.core.events import ConfigurationSelected, Event, Ticked
from grange.core.names import Kind, Membership, State
from grange.core.reports import ControllerReport, MembershipChange, Row
from grange.harness.farms import uniform
from grange.harness.simulated_controller import SimController, translated
from grange.harness.virtual_time import TRUE_CLOCK, Clock
from grange.harness.world import World
from grange.proto.controllers import controller_report_from_wire, controller_report_to_wire

LIMIT_S = 20.0  # for what must come; never reached when all is well
BEGIN = ConfigurationSelected("clocks", "")
SHORT_S = 0.003  # of a real clock: long enough to be an alarm, and not at once

# What a core wishes when it is given a fact at this moment: the number of the fact counts from 1.
Script = Callable[[int, float], list[Effect]]


class Sleeper:
    """In the place of a controller's core: wishes what the script says, and writes down what it was given and when."""

    def __init__(self, script: Script) -> None:
        self.memory = new_memory("", "clocks", Kind.FARM, root=True)
        self.steps: list[tuple[float, Event]] = []
        self._script = script

    def step(self, now: float, event: Event) -> list[Effect]:
        self.steps.append((now, event))
        return self._script(len(self.steps), now)

    @property
    def ticks(self) -> list[float]:
        return [now for now, event in self.steps if event == Ticked()]


class Program(Protocol):
    """A controller program around a core."""

    def play(self, core: Sleeper, done: Callable[[], bool], carried_out: Callable[[Effect], None]) -> None:
        """Begins it, and lets time pass until `done`; `carried_out` hears of the wishes other than alarms."""


class RealProgram:
    """The runtime of a controller, on an event loop."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._run = run

    def play(self, core: Sleeper, done: Callable[[], bool], carried_out: Callable[[Effect], None]) -> None:
        self._run(self._play(core, done, carried_out))

    async def _play(self, core: Sleeper, done: Callable[[], bool], carried_out: Callable[[Effect], None]) -> None:
        class Ports:
            def persist(self, effect: Persist) -> None:
                carried_out(effect)

        runtime = Runtime(core, None, Ports())  # type: ignore[arg-type]
        stepped = asyncio.Event()
        runtime.after_event = stepped.set
        runtime.post(BEGIN)
        async with asyncio.timeout(LIMIT_S):
            while not done():
                stepped.clear()
                await stepped.wait()
        await runtime.close()


class SimulatedProgram:
    """A controller of the simulated world."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def play(self, core: Sleeper, done: Callable[[], bool], carried_out: Callable[[Effect], None]) -> None:
        world = World(uniform(1, 1, 1))
        world.effects_seen.append(
            lambda controller, effect: carried_out(effect) if isinstance(effect, Persist) else None
        )
        controller = world.controllers[""] = SimController("", "clocks", clock=self._clock)
        controller.core = core  # type: ignore[assignment]
        world.tell(controller, BEGIN)
        assert world.run_until(done, LIMIT_S), "it has not come"


PROGRAMS: dict[str, Program] = {
    "real, on uvloop": RealProgram(uvloop.run),
    "real, on asyncio": RealProgram(asyncio.run),
    "simulated": SimulatedProgram(TRUE_CLOCK),
    "simulated, too slow": SimulatedProgram(Clock(98_765.4, 0.999)),
    "simulated, too fast": SimulatedProgram(Clock(3.2, 1.001)),
}


@pytest.fixture(params=list(PROGRAMS))
def program(request: pytest.FixtureRequest) -> Program:
    return PROGRAMS[request.param]


def played(program: Program, script: Script, done: Callable[[Sleeper], bool]) -> Sleeper:
    """The core with this script, once it is `done`."""
    core = Sleeper(script)
    program.play(core, lambda: done(core), lambda effect: None)
    return core


def test_an_alarm_never_comes_before_its_moment(program: Program) -> None:
    asked: list[float] = []

    def script(number: int, now: float) -> list[Effect]:
        asked.append(now + SHORT_S + number * 1e-4)  # every tenth of a millisecond
        return [WakeAt(asked[-1])]

    core = played(program, script, lambda core: len(core.ticks) >= 30)
    early = [(at_s, now) for at_s, now in zip(asked, core.ticks, strict=False) if now < at_s]
    assert not early


def test_the_clock_never_goes_back(program: Program) -> None:
    core = played(program, lambda number, now: [WakeAt(now + SHORT_S / number)], lambda core: len(core.ticks) >= 20)
    moments = [now for now, _ in core.steps]
    assert moments == sorted(moments)


def test_an_alarm_comes_once(program: Program) -> None:
    """What comes next is the next one, at its own time."""
    alarms = {1: SHORT_S, 2: 5 * SHORT_S}
    core = played(
        program,
        lambda number, now: [WakeAt(now + alarms[number])] if number in alarms else [],
        lambda core: len(core.ticks) == 2,
    )
    first, second = core.ticks
    assert second >= first + alarms[2]


def test_the_alarm_that_was_asked_for_last_is_the_one_that_counts(program: Program) -> None:
    def script(number: int, now: float) -> list[Effect]:
        if number > 1:
            return []
        return [WakeAt(now + SHORT_S), WakeAt(now + 9 * SHORT_S), WakeAt(now + 4 * SHORT_S)]

    core = played(program, script, lambda core: bool(core.ticks))
    (began, _), (rang, _) = core.steps
    assert rang >= began + 4 * SHORT_S


def test_an_alarm_that_was_taken_back_does_not_come(program: Program) -> None:
    """What shows it is a later one: nothing came before that."""

    def script(number: int, now: float) -> list[Effect]:
        return [WakeAt(now + SHORT_S), WakeAt(None), WakeAt(now + 4 * SHORT_S)] if number == 1 else [WakeAt(None)]

    core = played(program, script, lambda core: bool(core.ticks))
    assert core.ticks[0] >= core.steps[0][0] + 4 * SHORT_S


def test_a_moment_that_has_passed_comes_at_once_and_after_all_that_was_wished_with_it(program: Program) -> None:
    order: list[str] = []

    def script(number: int, now: float) -> list[Effect]:
        order.append(f"fact {number}")
        record = Persist("note", f"{number}", {})
        return [WakeAt(now - 5.0), record, WakeAt(now)] if number == 1 else []

    core = Sleeper(script)
    program.play(core, lambda: bool(core.ticks), lambda effect: order.append("recorded"))
    assert order == ["fact 1", "recorded", "fact 2"]


def told_really(report: ControllerReport, now: float, receivers_now: float) -> ControllerReport:
    wall_s = time.time()
    return controller_report_from_wire(controller_report_to_wire(report, wall_s, now), wall_s, receivers_now)


def told_in_the_simulator(report: ControllerReport, now: float, receivers_now: float) -> ControllerReport:
    return translated(report, Clock(now, 1.001), Clock(receivers_now, 0.999), 0.0)


@pytest.mark.parametrize("told", [told_really, told_in_the_simulator], ids=["real", "simulated"])
def test_a_moment_told_to_another_program_is_the_same_on_its_clock(
    told: Callable[[ControllerReport, float, float], ControllerReport],
) -> None:
    change = MembershipChange("1", "sf01/n1", Membership.OUT_BY_FAULT, "it died", 90.0, 7)
    report = ControllerReport(Row("sf01", Kind.SUB_FARM, "sf01", State.TAKING), changes=(change,))
    (received,) = told(report, 100.0, 5_000.0).changes
    assert received.at_s == pytest.approx(4_990.0, abs=1e-3)
    assert replace(received, at_s=change.at_s) == change
