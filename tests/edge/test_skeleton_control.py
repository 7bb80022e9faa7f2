"""Control as its callers meet it: refusals that change nothing, one command at a time, and looking that never waits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from grange.client import AsyncFarm, OutcomeKind, Progress
from grange.client.person import user_name
from grange.core.errors import Refused, SameIdOtherContent, UnknownCommand, UnknownMember
from grange.core.names import State
from grange.proto import common_pb2, control_pb2
from grange.proto.stub import Stubs, connect

NEVER_READY = {"command": ["sleep", "100000"], "ready": "notify"}
TALKER = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"


@pytest.fixture
async def stubs(live: Any) -> AsyncIterator[Stubs]:
    """The farm controller's services without the client in between."""
    async with await connect(live.home.farm_address, "ann") as stubs:
        yield stubs


@contextlib.asynccontextmanager
async def under_way(farm: AsyncFarm, live: Any, command_id: str) -> AsyncIterator["asyncio.Task[Any]"]:
    """A boot that goes on until something is done about it."""
    await live.use(farm, worker=NEVER_READY)
    accepted = asyncio.Event()

    def hear(progress: Progress) -> None:
        accepted.set()

    command = asyncio.create_task(farm.execute("boot", command_id=command_id, on_progress=hear, check=False))
    await asyncio.wait_for(accepted.wait(), 20)
    yield command
    await asyncio.wait_for(command, 20)


# ---- refusals -------------------------------------------------------------------------------------------------------


async def test_a_command_of_the_wrong_state_is_refused_with_what_is_possible_and_changes_nothing(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    before = await farm.status()
    with pytest.raises(Refused) as refused:
        await farm.execute("start")
    assert refused.value.possible == ("boot", "teardown")
    assert "start is not possible: the farm is initial" in refused.value.reason
    after = await farm.status()
    assert [member.state for member in after.members] == [member.state for member in before.members]


async def test_an_unknown_member_is_refused_with_the_nearest_names(farm: AsyncFarm, live: Any) -> None:
    for attempt in (lambda: farm.execute("boot", "sf03"), lambda: farm.status("sf03"), farm.watch("sf03").__anext__):
        with pytest.raises(UnknownMember) as unknown:
            await attempt()
        assert unknown.value.name == "sf03"
        assert {"sf01", "sf02"} <= {*unknown.value.nearest}


async def test_a_command_during_another_is_refused_by_name_and_the_other_goes_on(farm: AsyncFarm, live: Any) -> None:
    async with under_way(farm, live, "busy-1"):
        with pytest.raises(Refused) as refused:
            await farm.execute("load")
        for word in (f"boot of {user_name()}", "grange cancel"):
            assert word in str(refused.value)
        busy = (await farm.status(depth=0)).member.busy
        assert busy is not None
        assert (busy.command_id, busy.doing, busy.person) == ("busy-1", "boot", user_name())
        await farm.cancel("busy-1")


async def test_a_sub_farm_controller_sends_callers_to_its_farm(farm: AsyncFarm, live: Any) -> None:
    async with AsyncFarm(address=live.home.sub_farm_address("sf01")) as below:
        said = []
        for refused in (below.execute("boot", "sf01"), below.down()):
            with pytest.raises(Refused) as caught:
                await refused
            said.append(str(caught.value))
        assert said == [
            f"sub-farm sf01 takes its commands through its farm controller at {live.home.farm_address}. "
            "Command the farm with the path sf01",
            "sub-farm sf01 is ended by its farm controller. Use: grange go absent",
        ]
        assert (await below.status("sf01")).member.state is State.INITIAL


# ---- one command ----------------------------------------------------------------------------------------------------


async def test_cancel_ends_a_command_and_leaves_every_member_where_it_is(farm: AsyncFarm, live: Any) -> None:
    async with under_way(farm, live, "cancelled-1") as command:
        await farm.cancel()
        outcome = await command
        assert (outcome.kind, user_name() in outcome.reason) == (OutcomeKind.CANCELLED, True)
    with pytest.raises(UnknownCommand):
        await farm.cancel("never given")
    assert (await farm.execute("shutdown")).state is State.INITIAL


async def test_the_same_id_attaches_and_with_other_content_is_refused(farm: AsyncFarm, live: Any) -> None:
    async with under_way(farm, live, "same-1") as command:
        attached = asyncio.create_task(farm.execute("boot", command_id="same-1", check=False))
        with pytest.raises(SameIdOtherContent):
            await farm.execute("shutdown", command_id="same-1")
        await farm.cancel("same-1")
        assert await attached == await command


async def test_an_outcome_is_known_after_the_controller_was_started_again(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    outcome = await farm.execute("boot", command_id="remembered-1")
    await live.kill("farm")
    await asyncio.to_thread(live.up)
    again = await farm.execute("boot", command_id="remembered-1")
    assert (again.kind, again.reason) == (outcome.kind, outcome.reason)
    with pytest.raises(SameIdOtherContent):
        await farm.execute("shutdown", command_id="remembered-1")


async def test_a_client_that_goes_away_does_not_cancel_its_command(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"settle_time_s": 1.0})
    accepted = asyncio.Event()
    async with AsyncFarm(live.home.root, label="bob") as leaving:
        command = asyncio.create_task(
            leaving.execute("boot", command_id="left-1", on_progress=lambda progress: accepted.set())
        )
        await asyncio.wait_for(accepted.wait(), 20)
        command.cancel()
        await asyncio.gather(command, return_exceptions=True)
    outcome = await farm.execute("boot", command_id="left-1")
    assert (outcome.kind, outcome.state) == (OutcomeKind.DONE, State.BOOTED)


async def test_a_part_of_the_farm_is_commanded_alone(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    outcome = await farm.execute("boot", "sf02")
    assert (outcome.state, sorted(live.processes())) == (State.BOOTED, ["sf02/n3/worker-1"])
    assert (await farm.go("booted")).state is State.BOOTED
    assert sorted(live.processes()) == ["sf01/n1/worker-1", "sf02/n3/worker-1"]


# ---- looking --------------------------------------------------------------------------------------------------------


async def test_status_is_answered_during_a_command_and_names_who_is_waited_for(farm: AsyncFarm, live: Any) -> None:
    async with under_way(farm, live, "status-1"):

        async def waits_for_a_worker() -> bool:
            status = await farm.status()
            busy = status.member.busy
            return busy is not None and busy.slowest.endswith("worker-1") and status.member.state is State.BOOTING

        await live.eventually(waits_for_a_worker, "nobody is named")
        await farm.cancel("status-1")


async def test_a_watch_begins_with_everything_and_goes_on_with_whole_rows_that_changed(
    farm: AsyncFarm, stubs: Stubs, live: Any
) -> None:
    await live.use(farm, worker={})
    request = control_pb2.WatchRequest(path="", depth=3)
    updates = stubs.control.watch(request, 60.0)
    first = await anext(updates)
    assert (first.snapshot, first.rows[0].path, first.incarnation > 0) == (True, "", True)
    await farm.execute("boot", "sf01")
    seen: list[control_pb2.WatchUpdate] = []
    async with asyncio.timeout(20):
        async for update in updates:
            seen.append(update)
            if any(row.path == "sf01/n1/worker-1" and row.pid for row in update.rows):
                break
    await updates.aclose()
    sequences = [update.sequence for update in (first, *seen)]
    assert sequences == sorted(sequences)
    assert not any(update.snapshot for update in seen)
    assert {update.incarnation for update in seen} == {first.incarnation}
    changed = {row.path for update in seen for row in update.rows}
    assert {"sf01", "sf01/n1", "sf01/n1/worker-1"} <= changed
    assert "sf02/n3/worker-1" not in changed - {row.path for row in first.rows}


async def test_a_slow_reader_of_a_watch_gets_the_newest_and_never_a_backlog(
    farm: AsyncFarm, stubs: Stubs, live: Any
) -> None:
    await live.use(farm, worker={})
    updates = stubs.control.watch(control_pb2.WatchRequest(path="", depth=0), 60.0)
    await anext(updates)
    for _ in range(3):  # nobody reads meanwhile
        await farm.go("running")
        await farm.go("initial")
    await farm.go("booted")
    read = 0
    async with asyncio.timeout(20):
        async for update in updates:
            read += 1
            if any(row.path == "" and row.state == common_pb2.STATE_BOOTED for row in update.rows):
                break
    await updates.aclose()
    assert read < 100


async def test_a_watch_of_a_new_controller_begins_anew_with_a_higher_incarnation(
    farm: AsyncFarm, stubs: Stubs, live: Any
) -> None:
    request = control_pb2.WatchRequest(path="", depth=0)
    before = await anext(stubs.control.watch(request, 60.0))
    await live.kill("farm")
    await asyncio.to_thread(live.up)
    async with await connect(live.home.farm_address) as again:
        after = await anext(again.control.watch(request, 60.0))
    assert (after.snapshot, after.incarnation > before.incarnation) == (True, True)


async def test_output_of_a_process_is_read_through_the_farm_and_followed(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"command": ["/bin/sh", "-c", TALKER]})
    await farm.execute("boot")
    seen = b""
    async with asyncio.timeout(20), contextlib.aclosing(farm.output("sf01/n1/worker-1", 5, follow=True)) as output:
        async for data in output:
            seen += data
            if seen.count(b"\n") > 10:
                break
    numbers = [int(line.split()[1]) for line in seen.decode().splitlines()[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    last = b"".join([data async for data in farm.output("sf01/n1/worker-1", 3)])
    assert last.startswith(b"line ")
    assert last.count(b"\n") == 3


async def test_output_of_a_process_that_never_ran_is_not_there(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 9})
    await farm.go("booted", "sf02")
    with pytest.raises(Refused, match="nothing was ever started as sf01/n2/worker-9"):
        [data async for data in farm.output("sf01/n2/worker-9")]


async def test_the_story_of_a_member_tells_what_happened_to_it_and_above_it(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    await farm.execute("boot")
    await farm.execute("shutdown")
    story = (await farm.story("sf01/n1/worker-1")).story
    texts = [line.text for line in story]
    times = [line.at_unix_s for line in story]
    assert times == sorted(times)
    assert texts.index("booted") < len(texts) - 1 - texts[::-1].index("initial")
    whole = [line.text for line in (await farm.story()).story]
    assert any(f"boot commanded by {user_name()}" in text for text in whole)
    assert "booted" in whole


@pytest.mark.parametrize("which", ["farm", "sub-farm"])
async def test_health_and_reflection_are_answered_without_proto_files(farm: AsyncFarm, live: Any, which: str) -> None:
    address = live.home.farm_address if which == "farm" else live.home.sub_farm_address("sf01")
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="grange.v1.Control"), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = await anext(aiter(reflection.ServerReflectionInfo(iter([asked]), timeout=20)))
        assert "grange.v1.Control" in {service.name for service in listed.list_services_response.service}
