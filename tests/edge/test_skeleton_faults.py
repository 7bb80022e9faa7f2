"""What goes wrong with processes: each command ends within its limit, says who, where and why, and leaves a way out."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm, CommandFailed, OutcomeKind
from grange.client.person import user_name
from grange.core.names import Health, Membership, State

ENDS_AT_ONCE = "test -e {home}/flags/broken && { echo no such calibration: may-2; exit 3; }; exec sleep 100000"
"""A program that works unless the flag `broken` is there."""
ON_ONE_NODE = 'test -e {home}/flags/broken && test "$GRANGE_MEMBER" = sf01/n1/worker-1 && exit 4; exec sleep 100000'
"""As above, but only one of its processes breaks."""
NEVER_READY = "exec sleep 100000"
READY_IF_ALLOWED = (
    "import os, socket, time\n"
    "link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "if not os.path.exists('{home}/flags/mute'): link.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n"
    "time.sleep(100000)"
)
STUBBORN = "trap '' TERM; while :; do sleep 1000; done"
SAMPLES = str(Path(__file__).parent.parent / "actors")


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def names(text: str, *words: str) -> bool:
    """Whether the text says which process on which node it means, and all the words."""
    return ("worker-1 on n1" in text or "worker-1 on n3" in text) and all(word in text for word in words)


async def failure(farm: AsyncFarm, target: str, **options: Any) -> str:
    """The reason why going to the target fails."""
    with pytest.raises(CommandFailed) as failed:
        await farm.go(target, **options)
    assert failed.value.outcome.kind is OutcomeKind.FAILED
    return failed.value.reason


async def is_running(farm: AsyncFarm) -> bool:
    member = (await farm.status(depth=0)).member
    return (member.state, member.health) == (State.TAKING, Health.OK)


# ---- on the way up --------------------------------------------------------------------------------------------------


async def test_a_process_that_dies_at_boot_is_named_with_its_node_its_code_and_its_last_words(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"command": shell(ENDS_AT_ONCE)})
    live.flag("broken").touch()
    reason = await failure(farm, "running")
    assert names(reason, "code 3", "no such calibration: may-2"), reason
    live.flag("broken").unlink()
    assert (await farm.go("running")).state is State.TAKING
    assert await is_running(farm)


async def test_a_program_that_is_not_there_is_named(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"command": ["/usr/bin/no-such-program"]})
    reason = await failure(farm, "booted")
    assert names(reason, "/usr/bin/no-such-program", "No such file"), reason
    await live.use(farm, worker={})
    assert (await farm.go("running")).state is State.TAKING


async def test_a_process_that_is_never_ready_fails_the_boot_within_its_limit(farm: AsyncFarm, live: Any) -> None:
    command = ["/usr/bin/env", "python3", "-S", "-c", READY_IF_ALLOWED]
    await live.use(farm, worker={"command": command, "ready": "notify", "boot_timeout_s": 2.0})
    live.flag("mute").touch()
    reason = await failure(farm, "running")
    assert names(reason, "too slow", "within 2 s"), reason
    live.flag("mute").unlink()
    assert (await farm.go("running")).state is State.TAKING


async def test_within_the_quorum_a_process_that_does_not_boot_is_left_out_and_the_farm_is_degraded(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"command": shell(ON_ONE_NODE), "count": 3, "quorum": 2})
    live.flag("broken").touch()
    outcome = await farm.go("running")
    assert outcome.state is State.TAKING
    assert any("sf01/n1/worker-1" in note for note in outcome.notes)
    status = await farm.status()
    by_path = {member.path: member for member in status.members}
    assert (status.member.state, status.member.health) == (State.TAKING, Health.DEGRADED)
    assert by_path["sf01/n1/worker-1"].membership is Membership.OUT_BY_FAULT
    assert "code 4" in by_path["sf01/n1/worker-1"].status
    assert [cause.example for cause in status.causes] == ["sf01/n1/worker-1"]
    await farm.execute("stop")
    assert (await farm.run(outcome.run_number)).degraded


# ---- while running --------------------------------------------------------------------------------------------------


async def test_the_death_of_a_process_that_the_run_needs_stops_the_run_and_says_why(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 2, "policy": "stop_run"})
    number = (await farm.go("running")).run_number
    await live.kill("sf01/n1/worker-1")

    async def stopped() -> bool:
        run = await farm.run(number)
        return run.stopped_unix_s > 0

    await live.eventually(stopped, "the run was not stopped")
    run = await farm.run(number)
    assert names(run.end_reason, "SIGKILL"), run.end_reason
    status = await farm.status()
    assert status.member.health is Health.ERROR
    assert "worker-1" in status.member.status
    again = await farm.go("running")
    assert (again.state, again.run_number > number) == (State.TAKING, True)
    assert await is_running(farm)


async def test_the_death_of_a_process_that_the_run_can_do_without_degrades_it(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 3, "quorum": 2, "policy": "ignore"})
    number = (await farm.go("running")).run_number
    await live.kill("sf01/n1/worker-1")

    async def degraded() -> bool:
        return (await farm.status(depth=0)).member.health is Health.DEGRADED

    await live.eventually(degraded, "nobody noticed")
    member = (await farm.status(depth=0)).member
    assert (member.state, member.run_number) == (State.TAKING, number)
    await farm.execute("stop")
    run = await farm.run(number)
    assert (run.degraded, user_name() in run.end_reason) == (True, True)


async def test_an_actor_that_hangs_while_running_stops_the_run(farm: AsyncFarm, live: Any) -> None:
    actor = {"actor": "sample_actors:Diary", "command": None, "heartbeat_timeout_s": 1.0, "settle_time_s": 0.0}
    await live.use(farm, worker={**actor, "environment": {"PYTHONPATH": SAMPLES}})
    number = (await farm.go("running")).run_number
    hung = live.pid("sf01/n1/worker-1")
    os.kill(hung, signal.SIGSTOP)

    async def stopped() -> bool:
        return (await farm.run(number)).stopped_unix_s > 0

    try:
        await live.eventually(stopped, "the run was not stopped")
        reason = (await farm.run(number)).end_reason
        assert names(reason, "silent"), reason
        assert (await farm.execute("shutdown")).state is State.INITIAL
        assert live.processes() == {}
    finally:
        if hung in live.processes().get("sf01/n1/worker-1", []):
            os.kill(hung, signal.SIGCONT)


# ---- shutdown, from anywhere ----------------------------------------------------------------------------------------


async def test_shutdown_works_in_the_middle_of_a_boot(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"command": shell(NEVER_READY), "ready": "notify", "count": 2})
    boot = asyncio.create_task(farm.execute("boot", check=False))
    await live.eventually(lambda: len(live.processes()) == 4, "the processes were not started")
    assert (await farm.execute("shutdown")).state is State.INITIAL
    assert (await boot).kind is OutcomeKind.SUPERSEDED
    assert live.processes() == {}


async def test_shutdown_ends_what_is_stopped_and_what_ignores_termination(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"command": shell(STUBBORN), "terminate_timeout_s": 0.5, "count": 2})
    await farm.go("running")
    leader = next(member.pid for member in (await farm.status()).members if member.path == "sf01/n1/worker-1")
    os.kill(leader, signal.SIGSTOP)
    assert (await farm.execute("shutdown")).state is State.INITIAL
    assert live.processes() == {}
    assert await is_initial(farm)


async def is_initial(farm: AsyncFarm) -> bool:
    member = (await farm.status(depth=0)).member
    return (member.state, member.health) == (State.INITIAL, Health.OK)


@pytest.mark.parametrize("killed", ["agent sf01/n1", "keeper sf01/n1", "sf01"])
async def test_shutdown_works_just_after_a_program_was_killed(farm: AsyncFarm, live: Any, killed: str) -> None:
    await live.use(farm, worker={"count": 2})
    await farm.go("running")
    await live.kill(killed)
    outcome = await farm.execute("shutdown")
    assert outcome.kind is OutcomeKind.DONE, outcome.reason
    await live.eventually(lambda: not live.processes(), "processes run on")
    await live.eventually(lambda: is_initial(farm), "the farm was not seen initial")


async def test_absent_just_after_a_sub_farm_controller_was_killed_leaves_nothing_behind(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2})
    await farm.go("running")
    await live.kill("sf01")
    outcome = await farm.go("absent")
    assert (outcome.kind, outcome.notes) == (OutcomeKind.DONE, ())
    assert not live.processes()
    await live.eventually(lambda: list(live.found()) == ["farm"], "keepers and agents live on")


@pytest.mark.slow
async def test_a_shutdown_reaches_the_processes_of_a_sub_farm_controller_that_hangs(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 2})
    await farm.go("running")
    hung = live.pid("sf01")
    os.kill(hung, signal.SIGSTOP)
    await farm.execute("shutdown", check=False)  # done at once, or later when the next controller has dialled in
    await live.eventually(lambda: not live.processes(), "processes run on")
    await live.eventually(lambda: is_initial(farm), "the farm was not seen initial")
    assert hung not in live.found().get("sf01", [])


@pytest.mark.slow
async def test_a_farm_controller_is_not_taken_down_before_it_has_ended_everything(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 2})
    await farm.go("running")
    node = [live.pid("keeper sf02/n3"), live.pid("agent sf02/n3")]
    for pid in node:
        os.kill(pid, signal.SIGSTOP)
    try:
        code, said = await asyncio.to_thread(down_all, live)
        assert (code, live.pid("farm") > 0) == (1, True)
        assert "the farm controller has not been ended, for it has not ended everything: 2 processes may still" in said
        assert (await farm.status(depth=0)).member.unaccounted == 2
    finally:
        for pid in node:
            os.kill(pid, signal.SIGCONT)
    await live.eventually(lambda: not live.processes(), "processes run on")
    await live.eventually(lambda: list(live.found()) == ["farm"], "keepers and agents live on")


def down_all(live: Any) -> tuple[int, str]:
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", live.home.root, "down", "--all"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    return said.returncode, said.stderr
