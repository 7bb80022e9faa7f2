"""What a role's policy does when one of its processes dies or hangs while data is taken, with real processes.

The decisions are told in `tests/spec` and `tests/sim/test_quorum_matrix.py`; here it is seen that they reach processes.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm, CommandFailed
from grange.client.person import user_name
from grange.core.names import Health, Membership, State

SAMPLES = str(Path(__file__).parent.parent / "actors")
ACTOR = {"actor": "sample_actors:Counting", "command": None, "environment": {"PYTHONPATH": SAMPLES}}
HEARTBEAT_TIMEOUT_S = 1.0
VICTIM = "sf01/n1/worker-1"
BREAKS_AGAIN = 'test -e {home}/flags/broken && test "$GRANGE_MEMBER" = sf01/n1/worker-1 && exit 4; exec sleep 100000'


async def member(farm: AsyncFarm, path: str = "") -> Any:
    return (await farm.status(path, 0)).member


async def is_whole(farm: AsyncFarm, number: int) -> bool:
    """Whether the farm takes data in that run with nobody missing."""
    root = await member(farm)
    return (root.state, root.health, root.run_number) == (State.TAKING, Health.OK, number)


async def is_gone(farm: AsyncFarm, path: str = VICTIM) -> bool:
    found = await member(farm, path)
    return (found.membership, found.health) == (Membership.OUT_BY_FAULT, Health.ERROR)


@pytest.fixture
def stopped_processes() -> Iterator[list[int]]:
    """Processes that a test has stopped with SIGSTOP; whatever is left of them goes on."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


# ---- restart ---------------------------------------------------------------------------------------------------------


async def test_restart_one_that_died_is_started_again_in_its_place_and_joins_the_run(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2, "policy": "restart"})
    number = (await farm.go("running")).run_number
    before = live.processes()
    await live.kill(VICTIM)

    async def renewed() -> bool:
        return live.processes().get(VICTIM, before[VICTIM]) != before[VICTIM] and await is_whole(farm, number)

    await live.eventually(renewed, "it was not restarted into the run")
    after = live.processes()
    assert len(after.pop(VICTIM)) == 1
    before.pop(VICTIM)
    assert after == before
    run = await farm.run(number)
    assert run.degraded_reason.endswith("worker-1 on n1 was killed by SIGKILL while it was taking")


async def test_restart_one_that_dies_too_often_is_given_up_and_a_person_brings_it_back(
    farm: AsyncFarm, live: Any
) -> None:
    restarts = {"policy": "restart", "restart_most": 2, "restart_delay_s": 0.1}
    await live.use(farm, worker={"command": ["/bin/sh", "-c", BREAKS_AGAIN], "count": 2, "quorum": 1, **restarts})
    number = (await farm.go("running")).run_number
    live.flag("broken").touch()
    await live.kill(VICTIM)
    await live.eventually(lambda: is_gone(farm), "it was not given up")
    assert "given up after 2 restarts" in (await member(farm, VICTIM)).status
    assert (await member(farm)).run_number == number
    live.flag("broken").unlink()
    await farm.recover(VICTIM)
    assert await is_whole(farm, number)


async def test_restart_what_a_process_was_allowed_is_used_up_for_the_next_sub_farm_controller_too(
    farm: AsyncFarm, live: Any
) -> None:
    restarts = {"policy": "restart", "restart_most": 1, "restart_delay_s": 0.1}
    await live.use(farm, worker={"count": 2, "quorum": 1, **restarts})
    number = (await farm.go("running")).run_number
    killed = await live.kill(VICTIM)

    async def renewed() -> bool:  # at first the farm may not have heard yet that anything was killed
        return live.processes().get(VICTIM, [killed]) != [killed] and await is_whole(farm, number)

    await live.eventually(renewed, "it was not restarted into the run")
    before = await live.kill("sf01")

    async def replaced() -> bool:
        return live.found().get("sf01", [before]) != [before] and await is_whole(farm, number)

    await live.eventually(replaced, "the sub-farm did not come back")

    async def remembered() -> bool:
        page = await farm.show(VICTIM)
        process = page.process
        return process is not None and process.restarts == 1 and 0 < process.restarted_unix_s <= page.at_unix_s

    await live.eventually(remembered, "the new controller was not told of the restart")
    await live.kill(VICTIM)
    await live.eventually(lambda: is_gone(farm), "it was not given up")
    assert "given up after 1 restart" in (await member(farm, VICTIM)).status


async def test_restart_one_that_hangs_is_ended_first(farm: AsyncFarm, live: Any, stopped_processes: list[int]) -> None:
    hanging = {**ACTOR, "heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S, "settle_time_s": 0.0, "terminate_timeout_s": 0.5}
    await live.use(farm, worker={**hanging, "count": 2, "quorum": 1, "policy": "restart"})
    number = (await farm.go("running")).run_number
    hung = live.pid(VICTIM)
    stopped_processes.append(hung)
    os.kill(hung, signal.SIGSTOP)

    async def renewed() -> bool:
        pids = live.processes().get(VICTIM, [])
        return bool(pids) and hung not in pids and await is_whole(farm, number)

    await live.eventually(renewed, "what hung was not replaced")
    assert len(live.processes()[VICTIM]) == 1


# ---- exclude the node ------------------------------------------------------------------------------------------------


async def test_exclude_node_takes_down_all_that_runs_there_and_recover_brings_it_back_into_the_run(
    farm: AsyncFarm, live: Any
) -> None:
    roles = {"worker": {"count": 2, "quorum": 1, "policy": "exclude_node"}, "other": {"count": 2, "quorum": 1}}
    await live.use(farm, **roles)
    number = (await farm.go("running")).run_number
    before = live.processes()
    there = {path for path in before if path.startswith("sf01/n1/")}
    assert len(there) == 2
    await live.kill(VICTIM)
    await live.eventually(lambda: not there & live.processes().keys(), "processes of the node run on")
    assert {path: pids for path, pids in before.items() if path not in there} == live.processes()
    assert (await member(farm)).run_number == number
    assert "is out with its node" in (await member(farm, "sf01/n1/other-1")).status
    await farm.recover("sf01/n1")
    assert await is_whole(farm, number)
    assert live.processes().keys() == before.keys()


# ---- ignore, and stop the run ----------------------------------------------------------------------------------------


async def test_ignore_leaves_the_run_alone_whatever_dies_and_the_run_says_who_was_missing(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2, "policy": "ignore"})
    number = (await farm.go("running")).run_number
    await live.kill(VICTIM)

    async def told() -> bool:
        return (await member(farm)).health is Health.ERROR

    await live.eventually(told, "nobody noticed")
    assert (await member(farm)).run_number == number
    assert (await member(farm, VICTIM)).membership is Membership.IN  # all are needed, so nobody claims that it is well
    await farm.execute("stop")
    run = await farm.run(number)
    assert (run.end_reason, run.degraded) == (f"stop by {user_name()}", True)
    (missing,) = [one for one in run.members if one.path == VICTIM]
    assert missing.reason.startswith("kept in, for its role falls short without it: worker-1 on n1 was killed")


async def test_ignore_one_that_hangs_is_ended_when_it_is_not_heard_again_and_recover_brings_it_back(
    farm: AsyncFarm, live: Any, stopped_processes: list[int]
) -> None:
    hanging = {**ACTOR, "heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S, "settle_time_s": 0.0, "terminate_timeout_s": 0.5}
    await live.use(farm, worker={**hanging, "count": 2, "quorum": 1, "policy": "ignore", "hung_timeout_s": 0.5})
    number = (await farm.go("running")).run_number
    before = live.processes()
    hung = live.pid(VICTIM)
    stopped_processes.append(hung)
    os.kill(hung, signal.SIGSTOP)
    await live.eventually(lambda: VICTIM not in live.processes(), "what hung was not ended")

    async def told() -> bool:
        found = await member(farm, VICTIM)
        return (found.state, found.membership) == (State.INITIAL, Membership.OUT_BY_FAULT)

    await live.eventually(told, "it was not told that it was ended")
    ended = "; ended, for it was not heard again within 0.5 s"
    assert (await member(farm, VICTIM)).status.endswith(ended)
    assert any(line.text.startswith("is being ended") for line in (await farm.story(VICTIM)).story)
    before.pop(VICTIM)
    assert live.processes() == before
    assert (await member(farm)).run_number == number
    await live.kill("sf01")
    await live.eventually(told, "the next controller does not know of it")
    assert live.processes() == before
    await farm.recover(VICTIM)
    assert await is_whole(farm, number)


async def test_ignore_one_that_hangs_and_is_heard_again_in_time_is_taken_back(
    farm: AsyncFarm, live: Any, stopped_processes: list[int]
) -> None:
    hanging = {**ACTOR, "heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S, "settle_time_s": 0.0}
    await live.use(farm, worker={**hanging, "count": 2, "quorum": 1, "policy": "ignore"})
    number = (await farm.go("running")).run_number
    before = live.processes()
    stopped_processes.append(live.pid(VICTIM))
    os.kill(live.pid(VICTIM), signal.SIGSTOP)
    await live.eventually(lambda: is_gone(farm), "nobody noticed")
    os.kill(live.pid(VICTIM), signal.SIGCONT)
    await live.eventually(lambda: is_whole(farm, number), "it was not taken back")
    assert live.processes() == before


async def test_stop_run_ends_the_run_in_order_and_leaves_the_others_and_the_evidence(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2, "policy": "stop_run"})
    number = (await farm.go("running")).run_number
    before = live.processes()
    await live.kill(VICTIM)

    async def over() -> bool:
        return (await farm.run(number)).stopped_unix_s > 0

    await live.eventually(over, "the run was not stopped")
    before.pop(VICTIM)
    assert live.processes() == before
    victim = await member(farm, VICTIM)
    assert (victim.health, "SIGKILL" in victim.status) == (Health.ERROR, True)
    run = await farm.run(number)
    assert run.degraded_reason.startswith(f"{VICTIM}: worker-1 on n1 was killed by SIGKILL")


# ---- at configure ----------------------------------------------------------------------------------------------------


async def test_a_unit_that_fails_before_a_run_is_retried_alone_or_taken_out_and_no_run_is_started_for_that(
    farm: AsyncFarm, live: Any
) -> None:
    command = ["/bin/sh", "-c", BREAKS_AGAIN]
    await live.use(farm, worker={"command": command, "count": 2})
    live.flag("broken").touch()
    with pytest.raises(CommandFailed) as failed:
        await farm.go("configured")
    assert "worker-1 on n1 exited with code 4" in failed.value.outcome.reason
    before = live.processes()
    with pytest.raises(CommandFailed):
        await farm.recover(VICTIM)  # alone, and in vain
    await farm.exclude(VICTIM)
    assert (await farm.go("configured")).state is State.CONFIGURED
    live.flag("broken").unlink()
    await farm.include(VICTIM)
    assert (await member(farm, VICTIM)).state is State.CONFIGURED
    assert (await member(farm)).health is Health.OK
    after = live.processes()
    after.pop(VICTIM)
    assert after == before
    assert (await member(farm)).run_number == 0
