"""Members of a real farm are restarted, recovered, taken out and taken in, beside whatever is under way."""

import asyncio
import json
import re
import subprocess
import sys
from typing import Any

import pytest

from grange.client import AsyncFarm, CommandFailed, OutcomeKind
from grange.client.person import user_name
from grange.core.errors import Refused, UnknownMember
from grange.core.names import Health, Membership, State

TWO_EACH = {"count": 2, "policy": "ignore", "quorum": 1}
"""Two workers in each of the two sub-farms, of which one may be missing."""


async def member(farm: AsyncFarm, path: str) -> Any:
    return (await farm.status(path, 0)).member


async def running(farm: AsyncFarm, live: Any, **more: Any) -> dict[str, list[int]]:
    """A farm that takes data; its processes."""
    await live.use(farm, worker=TWO_EACH | more)
    await farm.go("running")
    found: dict[str, list[int]] = live.processes()
    return found


async def test_a_restarted_process_is_another_one_in_the_same_run_and_the_others_stay(
    farm: AsyncFarm, live: Any
) -> None:
    before = await running(farm, live)
    run = (await member(farm, "")).run_number
    path = sorted(before)[0]
    outcome = await farm.restart(path)
    assert (outcome.kind, outcome.state) == (OutcomeKind.DONE, State.TAKING)
    after = live.processes()
    assert after.pop(path) != before.pop(path)
    assert after == before
    assert (await member(farm, "")).run_number == run


async def test_a_selector_restarts_all_that_it_selects(farm: AsyncFarm, live: Any) -> None:
    before = await running(farm, live)
    await farm.restart("sf01/@worker")
    after = live.processes()
    assert {path for path in before if after[path] != before[path]} == {path for path in before if path[:4] == "sf01"}
    assert (await member(farm, "")).state is State.TAKING


async def test_who_is_well_is_not_brought_back_and_the_command_line_says_so(farm: AsyncFarm, live: Any) -> None:
    before = await running(farm, live)
    path = sorted(before)[0]
    for words, said in (
        (["recover", path], f"  nothing to do: {path} is well"),
        (["recover"], "  nothing to do: the farm is well"),
        (["include", "sf01", "sf02"], "  nothing to do: all 2 members are in and well"),
    ):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-P", "-m", "grange.cli", "--home", live.home.root, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        accepted, *rest = done.stderr.splitlines()
        assert (done.returncode, rest[-1]) == (0, said)
        assert re.fullmatch(rf"{' '.join(words)}: accepted as [0-9a-f-]{{36}}", accepted)
    told = json.loads(await asyncio.to_thread(live.grange, "recover", path, "--json"))
    assert (told["kind"], told["notes"]) == ("done", [f"nothing to do: {path} is well"])
    assert live.processes() == before


async def test_a_dead_process_is_recovered_into_the_run_and_the_others_are_left_alone(
    farm: AsyncFarm, live: Any
) -> None:
    before = await running(farm, live)
    path = sorted(before)[0]
    await live.kill(path)
    await live.eventually(lambda: _is_out(farm, path), "the death was not told")
    await farm.recover()
    after = live.processes()
    assert after.pop(path) != before.pop(path)
    assert after == before
    assert (await member(farm, "")).health is Health.OK


async def _is_out(farm: AsyncFarm, path: str) -> bool:
    return (await member(farm, path)).membership is Membership.OUT_BY_FAULT


async def test_one_that_does_not_come_back_fails_the_restart_with_the_reason_and_not_the_run(
    farm: AsyncFarm, live: Any, tmp_path: Any
) -> None:
    flag = tmp_path / "broken"
    command = ["sh", "-c", f"test -e {flag} && exit 7; exec sleep 100000"]
    before = await running(farm, live, command=command)
    path = sorted(before)[0]
    flag.touch()
    with pytest.raises(CommandFailed) as failed:
        await farm.restart(path)
    assert "restart failed after" in failed.value.outcome.reason
    assert "exited with code 7" in failed.value.outcome.reason
    assert (await member(farm, "")).state is State.TAKING
    flag.unlink()
    await farm.recover(path)
    assert (await member(farm, path)).state is State.TAKING


async def test_an_excluded_member_is_passed_by_until_it_is_included_and_then_caught_up(
    farm: AsyncFarm, live: Any
) -> None:
    before = await running(farm, live)
    path = sorted(before)[0]
    await farm.go("booted")
    await farm.exclude(path, comment="noisy")
    out = await member(farm, path)
    assert (out.membership, out.status.split(";")[0]) == (Membership.OUT_BY_PERSON, f"excluded by {user_name()}: noisy")
    await farm.go("running")
    assert ((await member(farm, "")).state, (await member(farm, path)).state) == (State.TAKING, State.BOOTED)
    await farm.include(path)
    back = await member(farm, path)
    assert (back.state, back.membership) == (State.TAKING, Membership.IN)
    assert live.processes() == before


async def test_an_exclusion_outlives_the_farm_controller_and_a_shutdown_reaches_who_is_out(
    farm: AsyncFarm, live: Any
) -> None:
    path = sorted(await running(farm, live))[0]
    await farm.exclude(path)
    await live.kill("farm")
    live.up()
    await live.eventually(lambda: _excluded(farm, path), "the exclusion was forgotten")
    await farm.go("initial")
    assert live.processes() == {}
    await farm.include(path)


async def _excluded(farm: AsyncFarm, path: str) -> bool:
    return (await member(farm, path)).membership is Membership.OUT_BY_PERSON


async def test_who_keeps_a_command_waiting_is_taken_out_and_the_command_ends_well(farm: AsyncFarm, live: Any) -> None:
    never = {"command": ["sleep", "100000"], "ready": "notify", "count": 1}
    await live.use(farm, worker={}, never=never)
    paths = [f"{name}/@never" for name in ("sf01", "sf02")]
    accepted = asyncio.Event()
    boot = asyncio.create_task(farm.execute("boot", on_progress=lambda _: accepted.set()))
    await asyncio.wait_for(accepted.wait(), 20)
    await farm.exclude(paths)
    assert (await asyncio.wait_for(boot, 20)).kind is OutcomeKind.DONE
    assert (await member(farm, "")).state is State.BOOTED
    await farm.go("initial")
    await farm.include("@never")


async def test_a_cancel_without_an_id_ends_the_restart_under_way_and_names_it(
    farm: AsyncFarm, live: Any, tmp_path: Any
) -> None:
    flag = tmp_path / "never ready"
    probe = {"ready": "probe", "probe": ["test", "!", "-e", str(flag)], "probe_interval_s": 0.1}
    await running(farm, live, **probe)
    flag.touch()
    accepted = asyncio.Event()
    restart = asyncio.create_task(
        farm.command_members(
            "restart", "sf01/@worker", command_id="again-1", on_progress=lambda _: accepted.set(), check=False
        )
    )
    await asyncio.wait_for(accepted.wait(), 20)
    assert await farm.cancel() == ("again-1",)
    assert (await asyncio.wait_for(restart, 20)).kind is OutcomeKind.CANCELLED
    assert await farm.cancel("again-1") == ()
    with pytest.raises(Refused, match="nothing is under way"):
        await farm.cancel()
    flag.unlink()
    await farm.recover()


async def test_what_makes_no_sense_is_refused_with_the_reason(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    with pytest.raises(UnknownMember, match=r"@wrker.*Nearest: @worker"):
        await farm.restart("sf01/@wrker")
    with pytest.raises(Refused, match="there is nothing to restart: sf01 is down, and is meant to be"):
        await farm.restart("sf01")
    with pytest.raises(Refused, match="the farm as a whole cannot be excluded"):
        await farm.exclude("")


async def test_status_and_watch_show_what_a_pattern_selects(farm: AsyncFarm, live: Any) -> None:
    paths = sorted(await running(farm, live))
    assert sorted(member.path for member in (await farm.status("@worker", 0)).members) == paths
    part = [path for path in paths if path.startswith("sf01/")]
    assert sorted(member.path for member in (await farm.status("sf01/@w*", 0)).members) == part
    async for view in farm.watch("sf01/@worker", 0):
        assert sorted(view.members) == part
        break
    for look in (lambda: farm.status("@nobody"), farm.watch("@nobody").__anext__):
        with pytest.raises(UnknownMember, match="Nearest: @worker"):
            await look()


async def test_logs_of_several_processes_are_told_apart_by_their_names(farm: AsyncFarm, live: Any) -> None:
    paths = sorted(await running(farm, live, command=["sh", "-c", "echo here I am; exec sleep 100000"]))
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", live.home.root, "logs", "sf0?/@worker"]

    def lines() -> list[str]:
        shown = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
        return sorted(shown)

    expected = [f"{path} | here I am" for path in paths]
    await live.eventually(lambda: lines() == expected, "the output of all workers was not shown")


async def test_a_node_that_is_gone_for_good_is_given_up_and_the_farm_is_well_without_it(
    farm: AsyncFarm, live: Any
) -> None:
    await running(farm, live, quorum=0)
    node = "sf01/n1"
    with pytest.raises(Refused, match="is a process: --gone is for a node or a sub-farm"):
        await farm.exclude(f"{node}/worker-1", gone=True)
    with pytest.raises(Refused, match=f"{node} answers, so it is not gone for good"):
        await farm.exclude(node, gone=True)
    await farm.exclude(node)
    assert [member.membership for member in (await farm.status(node, 1)).members] == [Membership.OUT_BY_PERSON] * 2
    assert [path for path in live.processes() if path.startswith(node)] == [f"{node}/worker-1"]
    await farm.go("initial")
    assert live.processes() == {}
    await farm.include(node)
