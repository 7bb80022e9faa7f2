"""The tree's link at the parent: one child's stream, as the controller that answers it sees it.

Sends never block and are bounded; the iteration over what the child says ends however the link ends: the child is done,
went away or was cut, or this side closed it. So a handler is one loop, and what it does afterwards is its clean-up.
`server.py` gives each stream a handler through `carry`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio

from grange.core.errors import GrangeError, InvalidInput, Unavailable
from grange.core.problems import Problem

from . import tree_pb2

_HELLO_TIMEOUT_S = 10.0  # a child that opens a stream says who it is at once
_OUTGOING_MESSAGES_MAX = 1024  # to one child; one that is so far behind dials again and is told the whole
_INCOMING_MESSAGES_MAX = 64  # from one child before it has to wait
_WIND_DOWN_S = 5.0  # for a handler to notice that its link has ended, and for the last messages to go out


class TreeChannel:
    """One child's stream. Used from the loop's own thread only."""

    def __init__(self) -> None:
        self._outgoing: deque[tree_pb2.ToChild] = deque()
        self._incoming: asyncio.Queue[tree_pb2.FromChild | None] = asyncio.Queue(_INCOMING_MESSAGES_MAX)
        self._wake = asyncio.Event()  # there is something to send, or the end
        self._closed = False
        self.reason = ""  # why this side closed it; empty while it is open, and when the child ended it
        self.cancelled = False  # the child broke off, or the link was cut: nothing that is sent now arrives

    @property
    def closed(self) -> bool:
        """Whether the link has ended, from whichever side."""
        return self._closed

    def send(self, message: tree_pb2.ToChild) -> None:
        """Queues a message and never blocks; on a closed channel it is dropped: the next stream starts with the whole.

        A child that is `_OUTGOING_MESSAGES_MAX` messages behind loses the link.
        """
        if self._closed:
            return
        if len(self._outgoing) >= _OUTGOING_MESSAGES_MAX:
            self.close(f"too slow: {_OUTGOING_MESSAGES_MAX} messages are waiting to be sent")
            return
        self._outgoing.append(message)
        self._wake.set()

    def close(self, reason: str) -> None:
        """Ends the link from this side and discards what is queued both ways; the child is told the reason."""
        if self._closed:
            return
        self.reason = reason
        self._outgoing.clear()
        self.end()

    def end(self, *, cancelled: bool = False) -> None:
        """For the shell: marks the end and wakes whoever waits. What was sent before still goes out, if it can."""
        self.cancelled = self.cancelled or cancelled
        self._closed = True
        self._wake.set()
        while True:
            try:
                self._incoming.put_nowait(None)
                return
            except asyncio.QueueFull:
                self._incoming.get_nowait()  # discarded: the end comes first

    def __aiter__(self) -> AsyncIterator[tree_pb2.FromChild]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[tree_pb2.FromChild]:
        while not self._closed:
            message = await self._incoming.get()
            if message is None or self._closed:
                return
            yield message

    async def read(self, context: Any) -> None:
        """For the shell: feeds the iteration from the wire until the child has no more to say."""
        try:
            while (message := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                await self._incoming.put(message)
            await self._incoming.put(None)
        except Exception:
            self.end(cancelled=True)  # gRPC raises various things on a call that is over

    async def write(self, context: Any) -> None:
        """For the shell: sends what is queued until the end."""
        try:
            while True:
                while self._outgoing:
                    await context.write(self._outgoing.popleft())
                if self._closed:
                    return
                self._wake.clear()
                await self._wake.wait()
        except Exception:
            self.end(cancelled=True)


async def read_hello(context: Any) -> tree_pb2.Hello:
    """The first message of a stream; raises `InvalidInput` when it is something else, or does not come."""
    try:
        async with asyncio.timeout(_HELLO_TIMEOUT_S):
            first = await context.read()
    except TimeoutError:
        raise InvalidInput([Problem("hello", f"nothing was said for {_HELLO_TIMEOUT_S:g} s")]) from None
    if not isinstance(first, tree_pb2.FromChild) or first.WhichOneof("body") != "hello":
        raise InvalidInput([Problem("hello", "the first message on a tree link has to be Hello")])
    return first.hello


async def carry(
    attach: Callable[[tree_pb2.Hello, TreeChannel], Awaitable[None]], hello: tree_pb2.Hello, context: Any
) -> None:
    """Runs a handler between its reader and its writer, and leaves no task behind.

    Raises what the handler raised, or `Unavailable` with the reason when this side closed the channel.
    """
    channel = TreeChannel()
    reader = asyncio.create_task(channel.read(context))
    writer = asyncio.create_task(channel.write(context))
    work = asyncio.ensure_future(attach(hello, channel))
    try:
        # the handler ends by itself when the link ends; the writer ends before it on a broken or closed link only
        await asyncio.wait((work, writer), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        channel.end(cancelled=True)
        raise
    finally:
        channel.end()
        reader.cancel()
        await asyncio.wait((work, writer), timeout=_WIND_DOWN_S)
        work.cancel()
        writer.cancel()
        await asyncio.gather(reader, writer, work, return_exceptions=True)
    error = None if work.cancelled() else work.exception()
    if isinstance(error, GrangeError) or not channel.reason:
        if error is not None:
            raise error
        return
    raise Unavailable(channel.reason)
