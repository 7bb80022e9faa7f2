"""Clients that go away in the middle of a command, in every way there is: it goes on, its id gets the one outcome."""

import asyncio
import os
import signal
import sys
from typing import Any

import grpc
import grpc.aio
import pytest

from grange.client import AsyncFarm, Outcome, OutcomeKind, Progress
from grange.core.errors import SameIdOtherContent
from grange.core.names import State
from grange.proto import control_pb2
from grange.proto.login import log_in
from grange.proto.stub import connect

LIMIT_S = 60.0
SLOW = {"settle_time_s": 2.0}
SCRIPT = """
import sys
from grange.client import Farm
with Farm() as farm:
    farm.execute("boot", command_id=sys.argv[1], on_progress=lambda progress: print("accepted", flush=True))
"""


async def attached(farm: AsyncFarm, command_id: str) -> tuple[Outcome, bool]:
    """The outcome of the command, and whether the controller knew it."""
    heard: list[Progress] = []
    outcome = await farm.execute("boot", command_id=command_id, timeout_s=LIMIT_S, on_progress=heard.append)
    return outcome, heard[0].attached


async def script_goes_away(live: Any, command_id: str) -> None:
    """A script that is killed without a word, as the machine's memory killer does it."""
    script = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        SCRIPT,
        command_id,
        env={**os.environ, "GRANGE_HOME": live.home.root},
        stdout=asyncio.subprocess.PIPE,
    )
    assert script.stdout is not None
    assert await asyncio.wait_for(script.stdout.readline(), LIMIT_S) == b"accepted\n"
    script.send_signal(signal.SIGKILL)
    await asyncio.wait_for(script.wait(), LIMIT_S)


async def call_is_cancelled(live: Any, command_id: str) -> None:
    """A call that its client cancels, over a connection that stays."""
    async with await connect(live.home.farm_address) as stubs:
        request = control_pb2.ExecuteRequest(command_id=command_id, step=3)
        updates = stubs.control.execute(request, LIMIT_S)
        assert (await anext(updates)).HasField("accepted")
        await updates.aclose()


async def connection_breaks(live: Any, command_id: str) -> None:
    """A channel that is closed under its call."""
    metadata = (await log_in(live.home.farm_address, LIMIT_S)).metadata
    channel = grpc.aio.insecure_channel(live.home.farm_address)
    execute = channel.unary_stream(
        "/grange.v1.Control/Execute",
        control_pb2.ExecuteRequest.SerializeToString,
        control_pb2.ExecuteUpdate.FromString,
    )
    call = execute(control_pb2.ExecuteRequest(command_id=command_id, step=3), timeout=LIMIT_S, metadata=metadata)
    assert (await call.read()).HasField("accepted")
    await channel.close(None)


@pytest.mark.parametrize("go_away", [script_goes_away, call_is_cancelled, connection_breaks])
async def test_a_command_goes_on_without_its_client_and_its_id_gets_the_outcome(
    farm: AsyncFarm, live: Any, go_away: Any
) -> None:
    await live.use(farm, worker=SLOW)
    command_id = f"away-{go_away.__name__}"
    await go_away(live, command_id)
    outcome, known = await attached(farm, command_id)
    assert (outcome.kind, outcome.state, known) == (OutcomeKind.DONE, State.BOOTED, True)
    assert await attached(farm, command_id) == (outcome, True)  # after it has ended, the same
    with pytest.raises(SameIdOtherContent):
        await farm.execute("shutdown", command_id=command_id)


async def test_a_command_survives_its_client_and_its_controller_and_is_carried_out_once(
    farm: AsyncFarm, live: Any
) -> None:
    command_id = "away-with-the-controller"
    await live.use(farm, worker=SLOW)
    await script_goes_away(live, command_id)
    await live.kill("farm")
    await asyncio.to_thread(live.up)
    outcome, known = await attached(farm, command_id)
    assert (outcome.kind, known) == (OutcomeKind.DONE, True)
    pids = live.processes()
    assert sorted(pids) == ["sf01/n1/worker-1", "sf02/n3/worker-1"]
    assert (await attached(farm, command_id))[0].kind is OutcomeKind.DONE
    await live.kill("farm")  # and once more, now that it has ended
    await asyncio.to_thread(live.up)
    again, known = await attached(farm, command_id)
    assert (again.kind, again.reason, known) == (OutcomeKind.DONE, outcome.reason, True)
    assert live.processes() == pids
    with pytest.raises(SameIdOtherContent):
        await farm.execute("shutdown", command_id=command_id)
