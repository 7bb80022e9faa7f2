"""The tree's link at the child: how an attempt ends that comes to nothing."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from grange.proto import tree_pb2, tree_pb2_grpc
from grange.proto.gate import Gate, LoginServer
from grange.proto.link import ChildLink, LinkError

HELLO = tree_pb2.Hello(path="sf01/n1")
WELCOME = tree_pb2.ToChild(welcome=tree_pb2.Welcome(farm="demo"))


class Scripted(tree_pb2_grpc.TreeServicer):
    """A parent that does what the test says."""

    def __init__(self) -> None:
        self.script: Any = None

    async def Attach(self, messages: Any, context: Any) -> None:
        await self.script(messages, context)


@pytest_asyncio.fixture
async def parent() -> AsyncIterator[tuple[Scripted, str]]:
    """A parent and its address."""
    home = Path(tempfile.mkdtemp(prefix="glink-"))
    servicer, server = Scripted(), grpc.aio.server()
    tree_pb2_grpc.add_TreeServicer_to_server(servicer, server)
    address = f"unix:{home}/p.sock"
    server.add_insecure_port(address)
    logins = LoginServer(address, Gate())
    await logins.start()
    await server.start()
    try:
        yield servicer, address
    finally:
        await server.stop(0)
        await logins.stop()
        shutil.rmtree(home)


async def test_nobody_at_the_address_is_an_error_and_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(LinkError) as caught:
        await ChildLink.connect(f"unix:{tmp_path}/nobody.sock", HELLO, 5.0)
    assert not caught.value.refused


async def test_a_parent_that_does_not_want_this_child_says_why(parent: tuple[Scripted, str]) -> None:
    servicer, address = parent

    async def refuse(messages: Any, context: Any) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "sf01/n1 is no node of this sub-farm")

    servicer.script = refuse
    with pytest.raises(LinkError, match=r"sf01/n1 is no node of this sub-farm") as caught:
        await ChildLink.connect(address, HELLO, 5.0)
    assert caught.value.refused


async def test_a_parent_that_says_nothing_is_given_up(parent: tuple[Scripted, str]) -> None:
    servicer, address = parent

    async def listen(messages: Any, context: Any) -> None:
        with contextlib.suppress(Exception):
            async for _ in messages:
                pass

    servicer.script = listen
    with pytest.raises(LinkError, match=r"did not answer within 0\.1 s"):
        await ChildLink.connect(address, HELLO, 0.1)


async def test_a_parent_that_does_not_begin_with_a_welcome_is_none(parent: tuple[Scripted, str]) -> None:
    servicer, address = parent

    async def release(messages: Any, context: Any) -> None:
        await context.write(tree_pb2.ToChild(release=tree_pb2.Release()))
        with contextlib.suppress(Exception):  # a call that ended here might break off before it was read
            async for _ in messages:
                pass

    servicer.script = release
    with pytest.raises(LinkError, match="did not begin with a welcome"):
        await ChildLink.connect(address, HELLO, 5.0)


async def test_what_is_said_both_ways_arrives_until_the_parent_ends_the_stream(parent: tuple[Scripted, str]) -> None:
    servicer, address = parent
    heard: list[str] = []

    async def talk(messages: Any, context: Any) -> None:
        await context.write(WELCOME)
        async for message in messages:
            heard.append(message.WhichOneof("body"))
            if heard[-1] == "beat":
                break
        await context.write(tree_pb2.ToChild(orders=tree_pb2.Orders()))

    servicer.script = talk
    link, welcome = await ChildLink.connect(address, HELLO, 5.0)
    assert welcome.farm == "demo"
    await link.send(tree_pb2.FromChild(beat=tree_pb2.Beat(sequence=1)))
    assert [message.WhichOneof("body") async for message in link] == ["orders"]
    assert heard == ["hello", "beat"]
    with pytest.raises(LinkError):
        await link.send(tree_pb2.FromChild(beat=tree_pb2.Beat(sequence=2)))
    await link.close()


async def test_a_parent_that_breaks_off_ends_the_iteration_with_its_reason(parent: tuple[Scripted, str]) -> None:
    servicer, address = parent

    async def abort(messages: Any, context: Any) -> None:
        await context.write(WELCOME)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "a newer stream has replaced this one")

    servicer.script = abort
    link, _ = await ChildLink.connect(address, HELLO, 5.0)
    with pytest.raises(LinkError, match="a newer stream has replaced this one") as caught:
        async for _message in link:
            pass
    assert not caught.value.refused
    await link.close()
