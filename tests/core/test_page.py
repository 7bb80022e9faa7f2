"""A member's page: all that one controller can tell of one member, and why it is as it is."""

from dataclasses import replace

import pytest

from grange.core.events import NodeReported, ProcessesReported
from grange.core.memory import Memory
from grange.core.names import Command, Kind, Membership
from grange.core.page import AwaitedOrder, ProcessPage, node_link, process_page, role_standings, story
from grange.core.plan import Quorum
from grange.core.reports import Exclusion, Figures
from grange.core.revision import kind_of
from grange.harness.farms import uniform
from grange.harness.world import World

WORKER = "sf01/n001/worker-1"


def running(*shape: int, **more: object) -> World:
    world = World(uniform(*shape, **more))  # type: ignore[arg-type]
    assert world.carry_out("go running").kind == "done"
    return world


def memory_of(world: World, name: str = "sf01") -> Memory:
    return world.controllers[name].core.memory


def page_of(world: World, path: str = WORKER) -> ProcessPage:
    page = process_page(memory_of(world), world.now, path)
    assert page is not None
    return page


def test_a_process_that_is_well_has_its_configuration_its_role_and_nothing_to_explain() -> None:
    world = running(1, 1, 2)
    page = page_of(world)
    assert page.spec == memory_of(world).processes[WORKER].spec
    assert (page.role.role.name, page.role.configured, page.role.needed, page.role.well) == ("worker", 1, 1, 1)
    assert (page.fault, page.membership, page.unheard, page.failure, page.awaited) == ("", "", "", None, None)


def test_one_that_died_says_how_and_that_its_role_does_without_it() -> None:
    world = running(1, 1, 4, quorums={"worker": Quorum(number=1)})
    world.kill_process(WORKER)
    world.run_for(1.0)
    page = page_of(world)
    assert page.fault == "worker-1 on n001 was killed by SIGKILL while it was taking"
    assert page.failure is not None
    assert page.failure.kind == "died while running"
    assert page.membership == "out until it is well again: the quorum of role worker holds without it"
    assert (page.role.configured, page.role.needed, page.role.well) == (2, 1, 1)


def test_one_that_was_ended_says_how_to_bring_it_back() -> None:
    world = running(1, 1, 4, quorums={"worker": Quorum(number=1)})
    process = memory_of(world).processes[WORKER]
    process.withdrawn = True
    assert page_of(world).membership == f"ended, and out until somebody brings it back: grange recover {WORKER}"
    process.cause = "sf01/n001/source-1"
    assert page_of(world).membership == "ended, and out until somebody brings it back: grange recover sf01/n001"


def test_restarts_by_its_policy_are_told_with_the_time_of_the_last_one() -> None:
    world = running(1, 1, 4)
    process = memory_of(world).processes[WORKER]
    assert process.report is not None
    process.report = replace(process.report, restarts=70, restarted_s=(-5.0, world.now - 10.0))
    page = page_of(world)
    assert (page.restarts, page.restarted_age_s) == (70, 10.0)


def test_one_whose_role_is_short_says_that_it_counts_still() -> None:
    world = running(1, 1, 2)
    world.process(WORKER).hangs_at.add(Command.STOP)
    world.carry_out("stop")
    page = page_of(world)
    assert memory_of(world).processes[WORKER].membership is Membership.IN
    assert page.membership == "still in, for the others are too few (role worker: 0 well, 1 needed)"


def test_one_that_a_person_has_taken_out_says_so() -> None:
    world = running(1, 1, 2)
    held = memory_of(world).goal
    assert held is not None
    held.goal = replace(held.goal, excluded=(Exclusion("sf01/n001", "excluded by ann: its disk is full"),))
    assert page_of(world).membership == "excluded by ann: its disk is full"


def test_an_order_under_way_is_told_with_its_time() -> None:
    world = World(uniform(1, 1, 2))
    world.carry_out("go booted")
    world.process(WORKER).hangs_at.add(Command.LOAD)
    world.command("load")
    world.run_for(3.0)
    awaited = page_of(world).awaited
    flight = memory_of(world).processes[WORKER].in_flight
    assert flight is not None
    assert awaited == AwaitedOrder(Command.LOAD, world.now - flight.sent_s, flight.deadline_s - world.now)


def test_while_its_node_cannot_be_heard_the_page_says_how_old_everything_is() -> None:
    world = running(1, 1, 2)
    heard_s = memory_of(world).processes[WORKER].heard_s
    assert heard_s is not None
    world.cut("sf01/n001")
    world.run_for(7.0)
    age_s = world.now - heard_s
    assert page_of(world).unheard == f"its node cannot be heard: all that follows was heard {age_s:.0f} s ago or before"


def test_figures_are_as_old_as_they_were_when_they_were_told_and_what_has_passed_since() -> None:
    world = running(1, 1, 2)
    core, report = world.controllers["sf01"].core, memory_of(world).processes[WORKER].report
    assert report is not None
    figures = Figures(12.0, 1 << 20, 3, 9, 0, 0, age_s=1.5)
    core.step(world.now, ProcessesReported("n001", (replace(report, figures=figures),)))
    page = process_page(core.memory, world.now + 2.0, WORKER)
    assert page is not None
    assert (page.figures, page.figures_age_s) == (figures, pytest.approx(3.5))


def test_a_process_that_is_only_configured_has_a_page_and_nobody_can_tell_how_its_role_is() -> None:
    world = World(uniform(2, 1, 2))
    spec = world.farm.sub_farms[1].processes[-1]
    page = process_page(memory_of(world, ""), world.now, spec.path, world.farm)
    assert page is not None
    assert page.spec == spec
    assert (page.role.configured, page.role.needed, page.role.well) == (1, 1, None)


def test_a_page_is_for_a_process_and_roles_are_told_in_the_order_of_the_data_flow() -> None:
    world = running(1, 1, 2)
    assert process_page(memory_of(world), world.now, "sf01/n001") is None
    assert [standing.role.name for standing in role_standings(memory_of(world))] == ["source", "worker"]


def test_every_member_has_a_kind_and_a_node_has_its_link() -> None:
    memory = memory_of(running(1, 1, 2))
    kinds = [kind_of(memory, path) for path in ("sf01", "sf01/n001", WORKER)]
    assert kinds == [Kind.SUB_FARM, Kind.NODE, Kind.PROCESS]
    assert node_link(memory, "sf01/n001") is memory.links["n001"]


def test_the_story_of_a_member_has_what_happened_to_it_and_what_those_above_were_told_but_not_its_neighbours() -> None:
    world = running(1, 1, 2)
    told = story(memory_of(world), WORKER, 1000)
    assert {member for _, member, _ in told} == {"sf01", "sf01/n001", WORKER}
    assert story(memory_of(world), WORKER, 3) == told[-3:]
    assert {member for _, member, _ in story(memory_of(world), "sf01", 1000)} > {"sf01/n001/source-1", WORKER}


def test_the_story_of_a_node_tells_of_its_keepers_death_and_of_the_next_one() -> None:
    world = running(1, 1, 2)
    core = world.controllers["sf01"].core
    before = len(core.memory.story)
    for pid, silent in ((10, False), (10, False), (0, False), (11, False), (11, True), (11, False)):
        assert core.step(world.now, NodeReported("n001", pid, silent)) == []
    assert [(member, text) for _, member, text in core.memory.story[before:]] == [
        ("sf01/n001", "its keeper is pid 10"),
        ("sf01/n001", "its keeper, pid 10, is gone; its processes run on, and its agent starts another"),
        ("sf01/n001", "its keeper is pid 11"),
        ("sf01/n001", "its keeper, pid 11, does not answer"),
        ("sf01/n001", "its keeper, pid 11, answers again"),
    ]
