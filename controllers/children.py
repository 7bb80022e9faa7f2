"""The parent's end of the tree's link: children that dialled in, what they say, and what is sent down to them.

A stream is answered with a Welcome, then everything it brings becomes events. A new stream of a child takes the place
of the old one. A child that has said nothing for `SILENT_S` loses its stream, and finds back by itself. A child that
has seen a higher incarnation than ours tells so, and this program ends itself: somebody else is in charge.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from grange.core.effects import Order, Release, SendDocument, SendGoal, SendOrders
from grange.core.errors import Refused, Unavailable
from grange.core.events import (
    ChildAttached,
    ChildLost,
    ControllerReported,
    LaunchFailed,
    NodeReported,
    ProcessesReported,
)
from grange.core.failures import unsendable
from grange.core.names import State
from grange.core.paths import name as last_part
from grange.core.plan import StepLimits
from grange.core.reports import ProcessReport
from grange.proto import tree_pb2
from grange.proto.channel import TreeChannel
from grange.proto.controllers import controller_report_from_wire, goal_to_wire
from grange.proto.processes import order_to_wire, process_report_from_wire

from .runtime import Runtime

log = logging.getLogger(__name__)

SILENT_S = 5.0  # five heartbeats
STREAM_ENDS_S = 1.0  # for the stream of a program that has ended to end as well
_LOG_CHUNKS_MAX = 256  # of one reader of a process's output; a slow one loses the oldest
_DEFAULT_LIMITS = StepLimits()


@dataclass(slots=True)
class Child:
    """One child that is attached."""

    link: str
    hello: tree_pb2.Hello
    channel: TreeChannel
    heard_s: float
    enrolled: bool = False
    outputs: dict[int, "asyncio.Queue[tree_pb2.LogChunk]"] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # the stream, and it was told


class Children:
    """All children of one controller; the tree handlers of its server and the links of its runtime."""

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        welcome: Callable[[str, tree_pb2.Hello], tree_pb2.Welcome],
        document: Callable[[str, str], tree_pb2.Document | None],
        fenced: Callable[[str], None],
    ) -> None:
        self._runtime = runtime
        self._welcome = welcome
        self._document = document
        self._fenced = fenced
        self._children: dict[str, Child] = {}
        self._requests = itertools.count(1)

    def get(self, link: str) -> Child | None:
        return self._children.get(link)

    # ---- what children say ------------------------------------------------------------------------------------------

    async def attach(self, hello: tree_pb2.Hello, channel: TreeChannel) -> None:
        """One stream of one child, until it ends. Raises `Refused` when it is not one of ours (now)."""
        runtime = self._runtime()
        memory = runtime.controller.memory
        link = last_part(hello.path)
        if link not in memory.links:
            raise Refused(f"{hello.path} is not a child of {memory.path or memory.name}, as far as is known now")
        if (mine := memory.fence) and tuple(hello.fence[: len(mine)]) > mine:
            self._fenced(f"{hello.path} has seen incarnation {list(hello.fence)}, this is {list(mine)}")
            raise Refused("a newer controller is in charge")
        old = self._children.pop(link, None)
        if old is not None:
            old.channel.close("a new stream of the same child took its place")
            runtime.post(ChildLost(link, "dialled in anew"))
        child = self._children[link] = Child(link, hello, channel, runtime.now())
        welcome = self._welcome(link, hello)
        channel.send(tree_pb2.ToChild(welcome=welcome))
        incarnation = hello.incarnation or welcome.incarnation
        runtime.post(
            ChildAttached(link, incarnation, hello.host, hello.pid, hello.revision, hello.version, hello.boot_id)
        )
        try:
            async for message in channel:
                child.heard_s = runtime.now()
                self._take(child, message)
        finally:
            if self._children.get(link) is child:
                del self._children[link]
                for output in child.outputs.values():
                    _put(output, tree_pb2.LogChunk(end=True, error=f"the link to {hello.path} was lost"))
                runtime.post(ChildLost(link, channel.reason))
            child.ended.set()

    def _take(self, child: Child, message: tree_pb2.FromChild) -> None:
        runtime = self._runtime()
        match message.WhichOneof("body"):
            case "processes":
                now = runtime.now()
                reports = tuple(process_report_from_wire(report, now) for report in message.processes.reports)
                runtime.gather(ProcessesReported(child.link, reports, message.processes.snapshot))
            case "node":
                runtime.post(NodeReported(child.link, message.node.keeper_pid, message.node.keeper_silent))
            case "controller":
                report = controller_report_from_wire(message.controller, runtime.wall(), runtime.now())
                runtime.post(ControllerReported(child.link, report))
            case "log":
                output = child.outputs.get(message.log.request_id)
                if output is not None:
                    _put(output, message.log)
            case "fenced":
                self._fenced(message.fenced.reason or f"{child.hello.path} obeys a newer controller")
            case "notes":
                for note in message.notes.notes:
                    log.info("%s: %s%s", note.member, note.text, f" — {note.what_to_do}" if note.what_to_do else "")
            case _:
                pass  # a heartbeat, or what a newer version says

    def reaped(self, link: str, reason: str) -> None:
        """The program of a child has ended badly. Core hears of it behind the loss of its stream, which it explains."""
        self._runtime().spawn(self._tell_end(link, reason))

    async def _tell_end(self, link: str, reason: str) -> None:
        child = self._children.get(link)
        if child is not None:
            with contextlib.suppress(TimeoutError):  # a keeper's: the agent holds the stream, and lives
                async with asyncio.timeout(STREAM_ENDS_S):
                    await child.ended.wait()
        self._runtime().post(LaunchFailed(link, reason, ran=True))

    async def watch_silence(self) -> None:
        """For ever: ends the streams of children that say nothing."""
        while True:
            await asyncio.sleep(1.0)
            now = self._runtime().now()
            for child in tuple(self._children.values()):
                if now - child.heard_s > SILENT_S:
                    child.channel.close(f"nothing was heard for {now - child.heard_s:.0f} s")

    # ---- what is sent to them ---------------------------------------------------------------------------------------

    def send_orders(self, effect: SendOrders) -> None:
        """One that no message can carry has failed at once: nobody else would ever say so."""
        orders, failed = [], []
        for order in effect.orders:
            process = self._runtime().controller.memory.processes.get(order.path)
            try:
                orders.append(order_to_wire(order, process.role.limits if process else _DEFAULT_LIMITS))
            except (ValueError, TypeError, OverflowError) as error:
                log.exception("the order %s for %s cannot be sent", order.order_id, order.path)
                failed.append(_failed(order, process.report if process else None, error))
        fence = tree_pb2.Fence(incarnations=effect.fence, sequence=effect.sequence)
        self._send(effect.link, tree_pb2.ToChild(orders=tree_pb2.Orders(fence=fence, orders=orders)))
        if failed:
            self._runtime().post(ProcessesReported(effect.link, tuple(failed)))

    def send_goal(self, effect: SendGoal) -> None:
        self._send(effect.link, tree_pb2.ToChild(goal=goal_to_wire(effect.goal, effect.fence, effect.sequence)))

    def send_document(self, effect: SendDocument) -> None:
        document = self._document(effect.link, effect.revision)
        if document is not None:
            self._send(effect.link, tree_pb2.ToChild(document=document))

    def release(self, effect: Release) -> None:
        fence = tree_pb2.Fence(incarnations=effect.fence, sequence=effect.sequence)
        self._send(effect.link, tree_pb2.ToChild(release=tree_pb2.Release(fence=fence, reason=effect.reason)))

    def _send(self, link: str, message: tree_pb2.ToChild) -> None:
        child = self._children.get(link)
        if child is not None:  # otherwise its next stream begins with the whole
            child.channel.send(message)

    # ---- output of processes ----------------------------------------------------------------------------------------

    async def read_output(self, link: str, path: str, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """The last lines of a process's output, and what follows. Raises `Unavailable`, `Refused`."""
        child = self._children.get(link)
        if child is None:
            raise Unavailable(f"the agent of {link} is not attached", "Look with: grange status")
        request_id = next(self._requests)
        output: asyncio.Queue[tree_pb2.LogChunk] = asyncio.Queue(_LOG_CHUNKS_MAX)
        child.outputs[request_id] = output
        ask = tree_pb2.ReadLog(request_id=request_id, path=path, lines=lines, follow=follow)
        child.channel.send(tree_pb2.ToChild(read_log=ask))
        try:
            while True:
                chunk = await output.get()
                if chunk.data:
                    yield chunk.data
                if chunk.error:
                    if self._children.get(link) is not child:
                        raise Unavailable(chunk.error, "Look with: grange status")
                    raise Refused(chunk.error)
                if chunk.end:
                    return
        finally:
            child.outputs.pop(request_id, None)
            with contextlib.suppress(Exception):
                cancel = tree_pb2.ReadLog(request_id=request_id, path=path, cancel=True)
                child.channel.send(tree_pb2.ToChild(read_log=cancel))


def _failed(order: Order, known: ProcessReport | None, error: Exception) -> ProcessReport:
    """What the process's agent would say of an order that it cannot carry out."""
    return replace(
        known or ProcessReport(order.path, State.INITIAL),
        order_id=order.order_id,
        order_done=True,
        order_ok=False,
        failure=unsendable(order.path, order.command, str(error)),
    )


def _put(output: "asyncio.Queue[tree_pb2.LogChunk]", chunk: tree_pb2.LogChunk) -> None:
    if output.full():
        output.get_nowait()
    output.put_nowait(chunk)
