"""The server shell: sockets, standard services, the tree's link, and errors as every gRPC client meets them."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from grange.core.errors import AddressInUse, InvalidInput, Refused
from grange.core.home import Home
from grange.proto import control_pb2, tree_pb2
from grange.proto.channel import TreeChannel
from grange.proto.login import log_in
from grange.proto.server import serve
from grange.proto.stub import connect

LIMIT_S = 30.0


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def read(path: str) -> str:
    return Path(path).read_text()


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


class Parent:
    """Tree handlers that note what happens, and can be told to close a stream."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.channels: list[TreeChannel] = []

    async def attach(self, hello: tree_pb2.Hello, channel: TreeChannel) -> None:
        if hello.path == "stranger":
            raise Refused("stranger is not a child of this farm")
        self.channels.append(channel)
        channel.send(tree_pb2.ToChild(welcome=tree_pb2.Welcome(farm="demo")))
        async for message in channel:
            await self.heard.put(message.WhichOneof("body") or "")
            if message.HasField("beat") and message.beat.sequence == 99:
                return
        await self.heard.put("end")


@asynccontextmanager
async def tree_call(home: Home, parent: Parent) -> AsyncIterator["grpc.aio.StreamStreamCall"]:
    """One stream of a child, opened and greeted."""
    server = await serve(home.farm_address, tree=parent)
    channel = grpc.aio.insecure_channel(home.farm_address)
    attach = channel.stream_stream(
        "/grange.v1.Tree/Attach", tree_pb2.FromChild.SerializeToString, tree_pb2.ToChild.FromString
    )
    call = attach(timeout=LIMIT_S, metadata=(await log_in(home.farm_address, LIMIT_S)).metadata)
    await call.write(tree_pb2.FromChild(hello=tree_pb2.Hello(path="sf01")))
    assert (await call.read()).welcome.farm == "demo"
    yield call
    await channel.close()
    await server.stop(0)


def beat(sequence: int) -> tree_pb2.FromChild:
    return tree_pb2.FromChild(beat=tree_pb2.Beat(sequence=sequence))


async def test_the_health_service_says_serving_for_the_whole_and_for_each_service(running) -> None:
    async with grpc.aio.insecure_channel(running.home.farm_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "grange.v1.Control", "grange.v1.Configuration", "grange.v1.Runs"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="grange.v1.Tree"), timeout=LIMIT_S)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_client_without_our_proto_files_learns_the_services_by_reflection_and_calls_one(running) -> None:
    async with grpc.aio.insecure_channel(running.home.farm_address) as channel:
        pool, services = await reflect(channel)
        assert services == {
            "grange.v1.Control",
            "grange.v1.Configuration",
            "grange.v1.Runs",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        inspect = pool.FindServiceByName("grange.v1.Control").FindMethodByName("Inspect")
        call = channel.unary_unary(
            "/grange.v1.Control/Inspect",
            message_factory.GetMessageClass(inspect.input_type).SerializeToString,
            message_factory.GetMessageClass(inspect.output_type).FromString,
        )
        request = json_format.ParseDict({"depth": 1}, message_factory.GetMessageClass(inspect.input_type)())
        answer = json_format.MessageToDict(
            await call(request, timeout=LIMIT_S, metadata=(await log_in(running.home.farm_address, LIMIT_S)).metadata)
        )
    assert answer["farm"] == "demo"
    assert [row["state"] for row in answer["rows"]] == ["STATE_ABSENT"] * 3


async def reflect(channel: grpc.aio.Channel) -> tuple[descriptor_pool.DescriptorPool, set[str]]:
    """All that a server's reflection tells, in a pool of its own: what grpcurl does."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def ask(**what: str) -> reflection_pb2.ServerReflectionResponse:
        async for answer in stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(**what)]), timeout=LIMIT_S
        ):
            return answer
        raise AssertionError("reflection did not answer")

    services = {service.name for service in (await ask(list_services="")).list_services_response.service}
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    async def add(serialized: bytes) -> None:
        file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
        for name in file.dependency:
            if name not in added:
                for one in (await ask(file_by_filename=name)).file_descriptor_response.file_descriptor_proto:
                    await add(one)
        if file.name not in added:
            added.add(file.name)
            pool.Add(file)

    for symbol in services:
        if symbol.startswith("grange."):
            found = await ask(file_containing_symbol=symbol)
            for one in found.file_descriptor_response.file_descriptor_proto:
                await add(one)
    return pool, services


async def test_a_refusal_carries_standard_details_that_any_client_can_read(running) -> None:
    async with grpc.aio.insecure_channel(running.home.farm_address) as channel:
        execute = channel.unary_stream(
            "/grange.v1.Control/Execute",
            control_pb2.ExecuteRequest.SerializeToString,
            control_pb2.ExecuteUpdate.FromString,
        )
        metadata = (await log_in(running.home.farm_address, LIMIT_S)).metadata
        request = control_pb2.ExecuteRequest(command_id="c-1", step=5)  # stop, in absent
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await execute(request, timeout=LIMIT_S, metadata=metadata).read()
    status = rpc_status.from_call(caught.value)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    info, precondition = error_details_pb2.ErrorInfo(), error_details_pb2.PreconditionFailure()
    assert [any(detail.Unpack(into) for detail in status.details) for into in (info, precondition)] == [True, True]
    assert (info.reason, info.domain, info.metadata["possible"]) == ("REFUSED", "grange", '["setup", "shutdown"]')
    assert [violation.type for violation in precondition.violations] == ["STATE"]


async def test_a_second_server_at_the_same_socket_is_refused_by_the_pid_of_the_first(running) -> None:
    with pytest.raises(AddressInUse, match=f"held by process {os.getpid()}"):
        await serve(running.home.farm_address, control=running.farm)
    stubs = await connect(running.home.farm_address)
    async with stubs:
        assert (await stubs.control.inspect(control_pb2.InspectRequest(), LIMIT_S)).farm == "demo"


async def test_the_socket_is_for_its_owner_only_and_goes_with_the_server(running) -> None:
    assert mode(running.home.farm_socket) == 0o600
    running.stop_server()
    assert os.listdir(running.home.root) == []


async def test_directories_that_a_server_makes_are_for_their_owner_only(home: Home) -> None:
    server = await serve(home.sub_farm_address("sf01"), tree=Parent())
    try:
        assert mode(home.sub_farm_directory("sf01")) == 0o700
    finally:
        await server.stop(0)


async def test_what_a_killed_server_left_behind_is_no_obstacle(home: Home) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(home.farm_socket)
    write(f"{home.farm_socket}.lock", "4711\n")
    server = await serve(home.farm_address, tree=Parent())
    assert read(f"{home.farm_socket}.lock") == f"{os.getpid()}\n"
    await server.stop(0)


async def test_what_is_no_socket_is_never_removed_to_make_room_for_one(home: Home) -> None:
    write(home.farm_socket, "somebody's data")
    with pytest.raises(InvalidInput, match=r"farm\.sock cannot be made a socket"):
        await serve(home.farm_address, tree=Parent())
    assert read(home.farm_socket) == "somebody's data"
    os.unlink(home.farm_socket)


async def test_a_socket_path_that_is_too_long_is_refused_with_the_remedy(home: Home) -> None:
    with pytest.raises(InvalidInput, match=r"at most 107\. Choose a shorter --home"):
        await serve(f"unix:{home.root}/{'x' * 107}", tree=Parent())


@pytest.mark.parametrize("address", ["localhost:50051", "unix:relative.sock", "unix-abstract:grange"])
async def test_what_is_no_unix_socket_is_refused_because_it_would_need_credentials(address: str) -> None:
    with pytest.raises(InvalidInput, match="not of the form unix:/absolute/path"):
        await serve(address, tree=Parent())


async def test_a_service_without_handlers_is_not_offered_and_a_caller_is_told_so(home: Home) -> None:
    server = await serve(home.farm_address, tree=Parent())
    stubs = await connect(home.farm_address)
    async with stubs:
        with pytest.raises(Refused, match="does not offer this call"):
            await stubs.control.inspect(control_pb2.InspectRequest(), LIMIT_S)
    await server.stop(0)


async def test_a_tree_link_carries_messages_both_ways_and_its_iteration_ends_when_the_child_is_done(home: Home) -> None:
    parent = Parent()
    async with tree_call(home, parent) as call:
        await call.write(beat(1))
        assert await parent.heard.get() == "beat"
        parent.channels[0].send(tree_pb2.ToChild(goal=tree_pb2.Goal(doing="boot")))
        assert (await call.read()).goal.doing == "boot"
        await call.done_writing()
        assert await parent.heard.get() == "end"
        assert await call.code() is grpc.StatusCode.OK


async def test_the_iteration_over_a_tree_link_ends_when_the_child_breaks_off(home: Home) -> None:
    parent = Parent()
    async with tree_call(home, parent) as call:
        call.cancel()
        assert await parent.heard.get() == "end"


async def test_a_tree_link_that_the_parent_closes_tells_the_child_why_and_drops_what_was_queued(home: Home) -> None:
    parent = Parent()
    async with tree_call(home, parent) as call:
        parent.channels[0].send(tree_pb2.ToChild(goal=tree_pb2.Goal(doing="boot")))
        parent.channels[0].close("a new stream took its place")
        parent.channels[0].send(tree_pb2.ToChild(goal=tree_pb2.Goal(doing="load")))
        assert await parent.heard.get() == "end"
        with pytest.raises(grpc.aio.AioRpcError, match="a new stream took its place"):
            await call.read()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_was_sent_before_a_handler_returned_still_reaches_the_child(home: Home) -> None:
    parent = Parent()
    async with tree_call(home, parent) as call:
        for number in range(500):
            parent.channels[0].send(tree_pb2.ToChild(goal=tree_pb2.Goal(run_number=number)))
        await call.write(beat(99))
        assert [(await call.read()).goal.run_number for _ in range(500)] == list(range(500))
        assert await call.read() is grpc.aio.EOF


async def test_a_child_that_does_not_read_loses_its_link_instead_of_filling_the_memory(home: Home) -> None:
    parent = Parent()
    async with tree_call(home, parent):
        channel = parent.channels[0]
        for _ in range(1025):
            channel.send(tree_pb2.ToChild(goal=tree_pb2.Goal(doing="x")))
        assert channel.closed
        assert channel.reason == "too slow: 1024 messages are waiting to be sent"


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (tree_pb2.FromChild(hello=tree_pb2.Hello(path="stranger")), grpc.StatusCode.FAILED_PRECONDITION),
        (beat(1), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_child_that_is_not_ours_or_does_not_say_who_it_is_is_refused(
    home: Home, first: tree_pb2.FromChild, code: grpc.StatusCode
) -> None:
    server = await serve(home.farm_address, tree=Parent())
    async with grpc.aio.insecure_channel(home.farm_address) as channel:
        attach = channel.stream_stream(
            "/grange.v1.Tree/Attach", tree_pb2.FromChild.SerializeToString, tree_pb2.ToChild.FromString
        )
        call = attach(timeout=LIMIT_S, metadata=(await log_in(home.farm_address, LIMIT_S)).metadata)
        await call.write(first)
        assert await call.code() is code
    await server.stop(0)
