"""Bare gRPC in the shape of a farm: what a transition costs when nobody decides, remembers or checks anything.

    client ── Execute ──► root ══ 3 × Attach ══► middle ══ 8 × Attach ══► leaf ── socket pairs ──► 2 processes

Every box is a process of its own, children dial their parents over Unix sockets, and the messages are those of the
real tree: a Goal for each middle, Orders for each leaf, an order and an answer for each process, one report up for
each leaf and each middle, an Outcome at last. uvloop as in our programs. What a real farm takes beyond this is ours.

    python -P -m grange.harness.bench_bare root|middle|leaf …      (started by `BareTree`, never by hand)

The programs end when their standard input does, so nothing is left behind however the benchmark ends. This is the one
place outside `proto/` that names grpc: what it measures is grpc without our `proto/`.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import uvloop

from grange.proto import actor_pb2, common_pb2, control_pb2, control_pb2_grpc, tree_pb2, tree_pb2_grpc
from grange.proto.framing import Unframer, frame

START_LIMIT_S = 120.0  # for the whole tree, on a busy machine
ROUND_LIMIT_S = 30.0
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 200))
_REVISION = "0" * 64


class BareTree:
    """A tree of bare programs, and the client that commands it; an async context manager that ends them."""

    def __init__(self, directory: Path, sub_farms: int, nodes: int, processes: int) -> None:
        self._directory = directory
        self._shape = (sub_farms, nodes, processes)
        self._programs: list[subprocess.Popen[bytes]] = []
        self._alive, self._lifeline = os.pipe()  # the programs' standard input: it ends when this process does
        self._channel: Any = None
        self._stub: Any = None

    async def __aenter__(self) -> Self:
        sub_farms, nodes, processes = self._shape
        self._directory.mkdir(mode=0o700)
        root = f"unix:{self._directory}/r"
        self._start("root", root, sub_farms)
        for sub_farm in range(sub_farms):
            middle = f"unix:{self._directory}/m{sub_farm}"
            self._start("middle", root, middle, f"sf{sub_farm:02}", nodes, processes)
            for node in range(nodes):
                self._start("leaf", middle, f"sf{sub_farm:02}/n{node:03}", processes)
        self._channel = grpc.aio.insecure_channel(root, options=_OPTIONS)
        self._stub = control_pb2_grpc.ControlStub(self._channel)
        try:
            await self.round(START_LIMIT_S)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    def _start(self, *words: object) -> None:
        argv = [sys.executable, "-P", "-m", "grange.harness.bench_bare", *map(str, words)]
        quiet = {**os.environ, "GRPC_VERBOSITY": "ERROR"}  # all of them see their parents end, and would say so
        self._programs.append(subprocess.Popen(argv, stdin=self._alive, env=quiet))

    async def round(self, limit_s: float = ROUND_LIMIT_S) -> float:
        """Seconds from Execute to Outcome, at the client."""
        request = control_pb2.ExecuteRequest(command_id=str(uuid.uuid4()), step=common_pb2.COMMAND_CONFIGURE)
        began_s = time.perf_counter()
        async for update in self._stub.Execute(request, timeout=limit_s, wait_for_ready=True):
            if update.WhichOneof("body") == "outcome":
                return time.perf_counter() - began_s
        raise RuntimeError("the bare tree ended a command without an outcome")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            await self._channel.close(None)
        os.close(self._lifeline)
        os.close(self._alive)
        for program in self._programs:
            await asyncio.to_thread(program.wait)


# ---- the programs ---------------------------------------------------------------------------------------------------


class Parent:
    """The server side of so many children: sends each its message, and waits for a report of each."""

    def __init__(self, children: int) -> None:
        self._children = children
        self._streams: dict[str, Any] = {}
        self._missing = 0
        self._reported: asyncio.Future[None] | None = None
        self.complete = asyncio.Event()

    async def attach(self, requests: Any, context: Any) -> None:
        """One child, for as long as it is there."""
        hello = await context.read()
        self._streams[hello.hello.path] = context
        if len(self._streams) == self._children:
            self.complete.set()
        while await context.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
            self._missing -= 1
            if not self._missing and self._reported is not None:
                self._reported.set_result(None)

    async def ask(self, message: Callable[[str], tree_pb2.ToChild]) -> None:
        """Sends every child its message; returns when every one has reported."""
        self._reported = asyncio.get_running_loop().create_future()
        self._missing = self._children
        await asyncio.gather(*(stream.write(message(path)) for path, stream in self._streams.items()))
        await self._reported


class Root:
    """Execute, for the client."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    async def execute(self, request: control_pb2.ExecuteRequest, context: Any) -> None:
        """Goals down, reports up, the outcome."""
        await self._parent.complete.wait()
        accepted = control_pb2.Accepted(command_id=request.command_id, steps=["configure"])
        await context.write(control_pb2.ExecuteUpdate(accepted=accepted))
        goal = tree_pb2.Goal(
            fence=tree_pb2.Fence(incarnations=[1], sequence=1),
            command_id=request.command_id,
            targets=[tree_pb2.MemberTarget(target=common_pb2.STATE_CONFIGURED, step=request.step)],
            revision=_REVISION,
            limit_s=60.0,
            set_up=True,
            person="bench",
            doing="configure",
        )
        await self._parent.ask(lambda path: tree_pb2.ToChild(goal=goal))
        outcome = control_pb2.Outcome(
            command_id=request.command_id, kind=control_pb2.OUTCOME_DONE, state=common_pb2.STATE_CONFIGURED
        )
        await context.write(control_pb2.ExecuteUpdate(outcome=outcome))


def _tree(parent: Parent) -> Any:
    """The tree's service, and nothing around it."""
    read, write = tree_pb2.FromChild.FromString, tree_pb2.ToChild.SerializeToString
    attach: Any = grpc.stream_stream_rpc_method_handler(parent.attach, read, write)
    return grpc.method_handlers_generic_handler("grange.v1.Tree", {"Attach": attach})


async def _root(address: str, children: int) -> None:
    parent = Parent(children)
    server = grpc.aio.server(options=_OPTIONS)
    read, write = control_pb2.ExecuteRequest.FromString, control_pb2.ExecuteUpdate.SerializeToString
    execute: Any = grpc.unary_stream_rpc_method_handler(Root(parent).execute, read, write)
    control = grpc.method_handlers_generic_handler("grange.v1.Control", {"Execute": execute})
    server.add_generic_rpc_handlers((_tree(parent), control))
    server.add_insecure_port(address)
    await server.start()
    await _end_of_input()


async def _middle(above: str, address: str, path: str, children: int, processes: int) -> None:
    parent = Parent(children)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_tree(parent),))
    server.add_insecure_port(address)
    await server.start()
    serving = asyncio.create_task(_serve_middle(parent, above, path, processes))
    await asyncio.gather(serving, _end_of_input())


async def _serve_middle(parent: Parent, above: str, path: str, processes: int) -> None:
    await parent.complete.wait()
    async with grpc.aio.insecure_channel(above, options=_OPTIONS) as channel:
        stub: Any = tree_pb2_grpc.TreeStub(channel)
        call = stub.Attach(wait_for_ready=True)
        await call.write(tree_pb2.FromChild(hello=tree_pb2.Hello(path=path)))
        while (message := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            command_id = message.goal.command_id
            await parent.ask(lambda node, id=command_id: _orders(id, node, processes))  # type: ignore[misc]
            row = common_pb2.MemberRow(
                path=path,
                name=path,
                state=common_pb2.STATE_CONFIGURED,
                health=common_pb2.HEALTH_OK,
                counts=[common_pb2.Count(role="worker", state=common_pb2.STATE_CONFIGURED, processes=16)],
                revision=_REVISION,
            )
            report = tree_pb2.ControllerReport(row=row, command_id=command_id, done=True, ok=True)
            await call.write(tree_pb2.FromChild(controller=report))


def _orders(command_id: str, node: str, processes: int) -> tree_pb2.ToChild:
    orders = [
        tree_pb2.ProcessOrder(
            order_id=f"{command_id}/{node}/worker-{number}/configure/1.{number}",
            path=f"{node}/worker-{number}",
            command=common_pb2.COMMAND_CONFIGURE,
            limit_s=60.0,
        )
        for number in range(processes)
    ]
    fence = tree_pb2.Fence(incarnations=[1, 1], sequence=1)
    return tree_pb2.ToChild(orders=tree_pb2.Orders(fence=fence, orders=orders))


async def _leaf(above: str, path: str, ends: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    protocols = [(await loop.create_connection(_Process, sock=end))[1] for end in ends]
    serving = asyncio.create_task(_serve_leaf(above, path, protocols))
    await asyncio.gather(serving, _end_of_input())


class _Process(asyncio.Protocol):
    """A leaf's end of the socket pair of one process."""

    def __init__(self) -> None:
        self._unframer = Unframer()
        self._transport: Any = None
        self._answer: asyncio.Future[actor_pb2.ActorAnswer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for body in self._unframer.feed(data):
            if self._answer is not None:
                self._answer.set_result(actor_pb2.FromActor.FromString(body).answer)

    def ask(self, order: tree_pb2.ProcessOrder) -> "asyncio.Future[actor_pb2.ActorAnswer]":
        self._answer = asyncio.get_running_loop().create_future()
        message = actor_pb2.ActorOrder(command_id=order.order_id, command=order.command, remaining_s=order.limit_s)
        self._transport.write(frame(actor_pb2.ToActor(order=message)))
        return self._answer


async def _serve_leaf(above: str, path: str, processes: list[_Process]) -> None:
    async with grpc.aio.insecure_channel(above, options=_OPTIONS) as channel:
        stub: Any = tree_pb2_grpc.TreeStub(channel)
        call = stub.Attach(wait_for_ready=True)
        await call.write(tree_pb2.FromChild(hello=tree_pb2.Hello(path=path)))
        while (message := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            orders = message.orders.orders
            asked = [process.ask(order) for process, order in zip(processes, orders, strict=True)]
            reports = [
                tree_pb2.ProcessReport(
                    path=order.path,
                    instance=f"{order.path}.1.1",
                    state=answer.state,
                    health=common_pb2.HEALTH_OK,
                    pid=os.getpid(),
                    order_id=answer.command_id,
                    order_done=True,
                    order_ok=answer.ok,
                )
                for order, answer in zip(orders, await asyncio.gather(*asked), strict=True)
            ]
            await call.write(tree_pb2.FromChild(processes=tree_pb2.ProcessReports(reports=reports)))


def _start_process() -> socket.socket:
    """A process that answers orders; it ends when the other end does."""
    here, there = socket.socketpair()
    with there:
        argv = [sys.executable, "-P", "-m", "grange.harness.bench_process", str(there.fileno())]
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=(there.fileno(),))
    return here


async def _end_of_input() -> None:
    """Until whoever has started this program ends; then it ends at once, for there is nothing to wind down."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    await ended.wait()
    os._exit(0)


def main(words: list[str]) -> None:
    match words:
        case ["root", address, children]:
            uvloop.run(_root(address, int(children)))
        case ["middle", above, address, path, children, processes]:
            uvloop.run(_middle(above, address, path, int(children), int(processes)))
        case ["leaf", above, path, processes]:
            ends = [_start_process() for _ in range(int(processes))]  # before gRPC has threads
            uvloop.run(_leaf(above, path, ends))


if __name__ == "__main__":
    main(sys.argv[1:])
