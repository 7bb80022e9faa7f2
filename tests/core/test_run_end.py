"""A run that ends by itself: what counts as an event, when it is looked at, and whom it never disturbs."""

import pytest

from grange.core.effects import Answer, Refuse
from grange.core.events import LeaseCommandGiven
from grange.core.names import Command, LeaseAction, Policy, State
from grange.core.reports import RunTerms
from grange.core.run_end import COUNTERS_COME_S, count_events
from grange.harness.farms import deep, uniform
from grange.harness.world import World

CHAIN = {"producer": 0, "trigger": 1, "psa": 2, "builder": 3}


def running(world: World, **terms: object) -> World:
    assert world.carry_out("go running", terms=RunTerms(**terms)).kind == "done"  # type: ignore[arg-type]
    return world


def ending(world: World, number: int = 1) -> str:
    """Why a run ended; empty while it has not."""
    found = [r.data for r in world.records if r.kind == "run_ended" and r.data["number"] == number]
    return str(found[0]["end_reason"]) if found else ""


def count(world: World, path: str, **counters: int) -> None:
    world.process(path).count(counters)


@pytest.mark.parametrize(
    ("counters", "events"),
    [
        ({}, 0),
        ({"producer": {"read": 9}}, 9),
        ({"producer": {"read": 9}, "trigger": {"accepted": 5, "rejected": 4}}, 5),
        ({"producer": {"read": 9}, "psa": {"analysed": 4}, "builder": {"built": 3, "written": 0}}, 0),
        ({"producer": {"read": 9}, "builder": {"written": 2, "events": 1}}, 2),
        ({"producer": {"events": 9}, "psa": {"events": 7}}, 7),
        ({"psa": {"temperature": 300}}, 0),
    ],
)
def test_events_are_what_the_last_role_of_the_data_flow_has_counted(
    counters: dict[str, dict[str, int]], events: int
) -> None:
    assert count_events([counters], CHAIN) == events


def test_events_of_all_sub_farms_are_summed_and_roles_side_by_side_too() -> None:
    assert count_events([{"psa": {"built": 3}}, {"builder": {"built": 4}}], CHAIN) == 7
    assert count_events([{"left": {"written": 1}, "right": {"written": 2}}], {"left": 1, "right": 1}) == 3


def test_time_counts_from_the_moment_at_which_the_run_is_running() -> None:
    world = World(uniform(2, 1, 2))
    world.carry_out("go configured")
    running(world, duration_s=10.0, person="ann")
    world.run_for(9.9)
    assert ending(world) == ""
    world.run_for(0.5)
    assert ending(world) == "10 s are over (asked for by ann)"
    assert world.state() is State.CONFIGURED


def test_whichever_comes_first_ends_the_run_and_it_ends_once() -> None:
    world = running(World(uniform(1, 1, 2)), duration_s=60.0, events=100)
    world.run_for(COUNTERS_COME_S)
    count(world, "sf01/n001/worker-1", built=100)
    world.run_for(120.0)
    assert ending(world) == "reached 100 events"
    assert [record.kind for record in world.records].count("run_ended") == 1


def test_events_are_judged_when_everybody_has_had_the_time_to_say_what_he_counts() -> None:
    world = running(World(uniform(1, 1, 2)), events=100)
    count(world, "sf01/n001/source-1", read=5000)
    world.run_for(COUNTERS_COME_S / 2)
    count(world, "sf01/n001/worker-1", built=99)
    world.run_for(60.0)
    assert ending(world) == ""
    count(world, "sf01/n001/worker-1", built=101)
    world.run_for(1.0)
    assert ending(world) == "reached 100 events"


def test_a_source_that_has_given_all_at_once_ends_the_run_without_another_word() -> None:
    world = running(World(uniform(1, 1, 2)), events=100)
    count(world, "sf01/n001/source-1", read=100)
    world.run_for(COUNTERS_COME_S + 0.5)
    assert ending(world) == "reached 100 events"


def test_counters_add_up_through_three_levels() -> None:
    world = running(World(deep()), events=4)
    for worker in [slot.path for slot in world.processes() if "worker" in slot.path]:
        count(world, worker, written=1)
    world.run_for(COUNTERS_COME_S + 1.0)
    assert ending(world) == "reached 4 events"


def test_a_command_under_way_is_never_disturbed_by_the_end_of_the_time() -> None:
    world = running(World(uniform(1, 1, 2, policies={"source": Policy.IGNORE})), duration_s=5.0)
    world.process("sf01/n001/source-1").hangs_at.add(Command.PAUSE)
    command = world.command("pause")
    world.run_for(6.0)
    assert ending(world) == ""
    world.run_until(lambda: world.outcome(command) is not None)
    world.run_for(60.0)
    assert ending(world) == "5 s are over"


def test_a_run_that_was_stopped_by_a_person_is_not_stopped_again() -> None:
    world = running(World(uniform(1, 1, 2)), duration_s=5.0)
    world.carry_out("stop")
    world.run_for(60.0)
    assert ending(world) == "stop by tester"
    assert sum(record.kind == "command_recorded" for record in world.records) == 2


@pytest.mark.parametrize("dead_for_s", [1.0, 100.0])
def test_a_run_ends_by_itself_although_the_farm_controller_was_killed_in_between(dead_for_s: float) -> None:
    world = running(World(uniform(2, 1, 2)), duration_s=60.0, person="ann", comment="night", run_type="production")
    world.run_for(10.0)
    world.kill_controller("")
    world.run_for(dead_for_s)
    world.start_farm()
    world.run_for(55.0)
    assert ending(world) == "1 min is over (asked for by ann)"


def test_what_was_said_of_a_run_survives_a_kill_between_the_command_and_the_number() -> None:
    world = World(uniform(1, 1, 2))
    world.command("go running", terms=RunTerms(comment="night", duration_s=30.0))
    world.run_for(0.001)
    world.kill_controller("")
    world.start_farm()
    world.run_until(lambda: bool(world.root.core.memory.run and world.root.core.memory.run.running))
    run = world.root.core.memory.run
    assert run is not None
    assert run.terms == RunTerms(comment="night", duration_s=30.0)
    world.run_for(31.0)
    assert ending(world) == "30 s are over"


def test_a_new_number_has_its_own_terms() -> None:
    world = running(World(uniform(1, 1, 2)), duration_s=5.0)
    world.carry_out("stop")
    running(world)
    world.run_for(60.0)
    assert ending(world, 2) == ""


@pytest.mark.parametrize(
    ("terms", "what"),
    [
        (RunTerms(comment="other"), "the comment 'first'"),
        (RunTerms(run_mode="x", duration_s=5.0), "no mode and no duration"),
        (
            RunTerms("production", "x", "y", 5, 5.0),
            "the type test, no mode, the comment 'first', no number of events and no duration",
        ),
    ],
)
def test_what_is_said_anew_of_an_open_run_is_refused_with_what_to_do(terms: RunTerms, what: str) -> None:
    world = running(World(uniform(1, 1, 2)), comment="first")
    refused = world.carry_out("go running", terms=terms)
    assert isinstance(refused, Refuse)
    assert refused.reason.startswith(
        f"run 1 has been started already, with {what}; to set it anew end that one first: grange stop"
    )


def test_the_same_said_again_and_nothing_said_bring_members_back_as_ever() -> None:
    world = running(World(uniform(1, 1, 2)), comment="first", events=5)
    for terms in (RunTerms(), RunTerms(comment="first"), RunTerms("test", "", "first", 5)):
        answer = world.carry_out("go running", terms=terms)
        assert isinstance(answer, Answer)
        assert (answer.kind, answer.run_number) == ("done", 1)


def test_a_comment_with_a_command_that_ends_a_run_says_why_and_never_keeps_it_from_ending() -> None:
    world = running(World(uniform(1, 1, 2)))
    assert world.carry_out("go configured", terms=RunTerms(comment="beam lost")).kind == "done"
    assert ending(world) == "beam lost"
    assert world.carry_out("shutdown", terms=RunTerms(comment="good night")).kind == "done"
    refused = world.carry_out("boot", terms=RunTerms(comment="why not"))
    assert "neither starts nor ends one" in refused.reason


def test_a_run_ends_by_itself_whoever_holds_the_lease() -> None:
    world = running(World(uniform(1, 1, 2)), duration_s=10.0)
    world.tell(world.root, LeaseCommandGiven(LeaseAction.TAKE, "ann", 3600.0))
    refused = world.carry_out("stop")
    assert isinstance(refused, Refuse)
    assert refused.kind == "lease"
    world.run_for(11.0)
    assert ending(world) == "10 s are over"
    assert world.state() is State.CONFIGURED


@pytest.mark.parametrize(("terms", "end"), [({}, ": this run will not end by itself"), ({"duration_s": 60.0}, "")])
def test_a_run_of_so_many_events_in_which_nobody_counts_any_says_that_it_will_not_end(
    terms: dict[str, float], end: str
) -> None:
    world = running(World(uniform(1, 1, 2)), events=100, **terms)
    assert "0 of 100 events" in world.row().status
    count(world, "sf01/n001/worker-1", temperature=300)
    world.run_for(COUNTERS_COME_S + 1.0)
    told = "no role has counted events so far (written, built, analysed, accepted, read, events)"
    assert f"run 1: {told}{end}" in world.row().status
    count(world, "sf01/n001/worker-1", built=7)
    world.run_for(1.0)
    assert "7 of 100 events" in world.row().status
