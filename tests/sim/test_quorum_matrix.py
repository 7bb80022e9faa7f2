"""The quorum's matrix: so many needed, one crashes or hangs, at each step; what becomes of it, the command and the run.

Three workers on three nodes. Needed are all of them, two, a part that is rounded up to two, or none. In each case it is
asked what the command says, where the others are, what is known of the victim, what the run remembers, and whether the
victim comes back into the run. `tests/spec/quorum_*.txt` tell some of the cases at length.
"""

import pytest

from grange.core.effects import Answer
from grange.core.names import Command, Health, Membership, State
from grange.core.plan import ALL, Quorum
from grange.harness.checkers import Checker
from grange.harness.farms import uniform
from grange.harness.world import World

FIRST, SECOND = "sf01/n001/worker-1", "sf01/n002/worker-2"
HEARTBEAT_TIMEOUT_S = 5.0
LIMIT_S = 10.0  # of a command in which somebody hangs
NOTICED_S = 8.0  # by then a silence is a hang
NEEDED = {"all": ALL, "two": Quorum(number=2), "sixty per cent": Quorum(fraction=0.6), "none": Quorum(number=0)}
UP = ("boot", "load", "configure", "start")
HOW = ("crashes", "hangs")
IN, OUT = Membership.IN, Membership.OUT_BY_FAULT


def farm(needed: str) -> World:
    world = World(uniform(1, 3, 2, quorums={"worker": NEEDED[needed]}, heartbeat_timeout_s=HEARTBEAT_TIMEOUT_S))
    Checker(world)
    return world


def spoil(world: World, how: str, step: str, path: str = FIRST) -> None:
    slot = world.process(path)
    (slot.dies_at if how == "crashes" else slot.hangs_at).add(Command(step))


def mend(world: World, path: str = FIRST) -> None:
    slot = world.process(path)
    slot.dies_at.clear()
    slot.hangs_at.clear()


def strike(world: World, how: str, path: str = FIRST) -> None:
    """A process that runs crashes or hangs, and it is noticed."""
    if how == "crashes":
        world.kill_process(path)
    else:
        world.process(path).silent = True
    world.run_for(NOTICED_S)


def done(world: World, what: str, path: str = "") -> Answer:
    answer = world.carry_out(what, path, LIMIT_S)
    assert isinstance(answer, Answer), answer.reason
    assert answer.kind == "done", answer.reason
    return answer


def failed(world: World, what: str) -> str:
    answer = world.carry_out(what, "", LIMIT_S)
    assert isinstance(answer, Answer), answer.reason
    assert answer.kind == "failed", answer
    return answer.reason


def workers(world: World) -> dict[str, State]:
    return {slot.path: slot.state for slot in world.processes() if "worker" in slot.path}


def moments(world: World) -> list[str]:
    """What the records tell of the first run."""
    kinds = ("run_running", "run_degraded", "run_stop_asked", "run_ended")
    found = [record for record in world.records if record.kind in kinds and record.data["number"] == 1]
    return [record.kind.removeprefix("run_") for record in found]


def why_degraded(world: World) -> str:
    (reason,) = (record.data["reason"] for record in world.records if record.kind == "run_degraded")
    return str(reason)


# ---- too few are left ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("step", UP)
@pytest.mark.parametrize(("needed", "victims"), [("all", (FIRST,)), ("two", (FIRST, SECOND))], ids=["all", "two"])
def test_with_too_few_left_the_command_fails_by_name_the_victim_stays_in_and_go_running_heals_it(
    needed: str, victims: tuple[str, ...], step: str, how: str
) -> None:
    world = farm(needed)
    for path in victims:
        spoil(world, how, step, path)
    reason = failed(world, "go running")
    assert "role worker" in reason
    assert any(path.rsplit("/", 1)[1] in reason for path in victims)
    assert world.row().health is Health.ERROR
    assert IN in {world.row(path).membership for path in victims}  # so that nobody claims more than is so
    assert world.state() is not State.TAKING
    for path in victims:
        mend(world, path)
    done(world, "member recover", "sf01")
    done(world, "go running")
    assert set(workers(world).values()) == {State.TAKING}
    assert world.row().health is Health.OK


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("needed", "victims"), [("all", (FIRST,)), ("two", (FIRST, SECOND))], ids=["all", "two"])
def test_with_too_few_left_in_a_run_it_is_stopped_in_order_and_the_evidence_is_kept(
    needed: str, victims: tuple[str, ...], how: str
) -> None:
    world = farm(needed)
    done(world, "go running")
    for path in victims:
        strike(world, how, path)
    world.run_for(30.0)
    assert moments(world) in (
        ["running", "degraded", "stop_asked", "ended"],
        ["running", "stop_asked", "degraded", "ended"],
    )
    assert why_degraded(world).startswith(f"{victims[0]}: worker-1 on n001 ")
    (asked,) = (record.data["reason"] for record in world.records if record.kind == "run_stop_asked")
    assert asked.startswith(f"{victims[-1].rsplit('/', 1)[1]} on ")
    row = world.row(victims[0])
    assert row.health is Health.ERROR
    assert row.status.partition("; ended")[0] in why_degraded(world)  # what was wrong can still be read
    others = {state for path, state in workers(world).items() if path not in victims}
    assert others == {State.CONFIGURED}  # nobody else was ended
    done(world, "member recover", "sf01")
    done(world, "go running")
    assert world.row().run_number == 2


def test_with_one_lost_and_another_excluded_the_run_is_stopped_as_if_it_had_been_the_other_way_round() -> None:
    orders = []
    for first, then in (("strike", "exclude"), ("exclude", "strike")):
        world = farm("two")
        done(world, "go running")
        for what in (first, then):
            strike(world, "crashes") if what == "strike" else done(world, "member exclude", SECOND)
        world.run_for(30.0)
        orders.append((workers(world), [record.data for record in world.records if record.kind == "run_stop_asked"]))
    assert orders[0] == orders[1]
    assert orders[0][1][0]["reason"] == "worker-1 on n001 was killed by SIGKILL while it was taking"


@pytest.mark.parametrize("how", HOW)
def test_with_too_few_left_in_a_stop_the_others_stop_the_run_ends_and_the_command_names_the_victim(how: str) -> None:
    world = farm("all")
    done(world, "go running")
    spoil(world, how, "stop")
    assert "worker-1 on n001" in failed(world, "stop")
    world.run_for(30.0)
    others = {state for path, state in workers(world).items() if path != FIRST}
    assert others == {State.CONFIGURED}
    assert "stop_asked" in moments(world)
    mend(world)
    done(world, "member recover", FIRST)
    world.run_for(1.0)
    assert "ended" in moments(world)
    assert set(workers(world).values()) == {State.CONFIGURED}


# ---- enough are left -------------------------------------------------------------------------------------------------


def bring_back(world: World, way: str) -> None:
    if way == "include":
        done(world, "member exclude", FIRST)
    done(world, f"member {way}", FIRST)


@pytest.mark.parametrize("way", ["include", "restart", "recover"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("step", [*UP, "running"])
@pytest.mark.parametrize("needed", ["two", "sixty per cent", "none"])
def test_with_enough_left_the_run_goes_on_degraded_without_the_victim_which_is_brought_back_into_it(
    needed: str, step: str, how: str, way: str
) -> None:
    world = farm(needed)
    if step in UP:
        spoil(world, how, step)
    done(world, "go running")
    if step == "running":
        strike(world, how)
    row = world.row(FIRST)
    assert (row.membership, row.health) == (OUT, Health.ERROR)
    assert row.status.startswith("worker-1 on n001 ")
    assert (world.state(), world.row().health) == (State.TAKING, Health.DEGRADED)
    assert {state for path, state in workers(world).items() if path != FIRST} == {State.TAKING}
    assert why_degraded(world) == f"{FIRST}: {row.status}"
    mend(world)
    bring_back(world, way)
    assert set(workers(world).values()) == {State.TAKING}
    assert (world.row(FIRST).membership, world.row().health) == (IN, Health.OK)
    assert {slot.run_number for slot in world.processes()} == {1}
    done(world, "stop")
    begin = (
        ["running", "degraded"] if step == "running" else ["degraded", "running"]
    )  # a source takes data before all do
    assert moments(world) == [*begin, "stop_asked", "ended"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("needed", ["two", "sixty per cent", "none"])
def test_with_enough_left_a_stop_is_done_without_the_victim_and_the_next_run_has_it_again(
    needed: str, how: str
) -> None:
    world = farm(needed)
    done(world, "go running")
    spoil(world, how, "stop")
    done(world, "stop")
    assert world.row(FIRST).membership is OUT
    assert why_degraded(world).startswith(f"{FIRST}: worker-1 on n001 ")
    assert moments(world) == ["running", "stop_asked", "degraded", "ended"]
    mend(world)
    bring_back(world, "recover")
    done(world, "go running")
    assert set(workers(world).values()) == {State.TAKING}
    assert world.row().run_number == 2


# ---- nothing of it is left behind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("step", [*UP, "running", "stop"])
@pytest.mark.parametrize("needed", NEEDED)
def test_a_shutdown_ends_the_victim_too_whatever_its_membership(needed: str, step: str, how: str) -> None:
    world = farm(needed)
    if step in UP:
        spoil(world, how, step)
    world.carry_out("go running", "", LIMIT_S)
    if step == "stop":
        spoil(world, how, step)
        world.carry_out("stop", "", LIMIT_S)
    elif step == "running":
        strike(world, how)
    done(world, "shutdown")
    assert [slot.path for slot in world.processes() if slot.alive] == []
    assert world.state() is State.INITIAL
