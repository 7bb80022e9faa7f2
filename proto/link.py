"""The tree's link at the child: one attempt to attach to the parent, and the stream that comes of it.

Agents and sub-farm controllers dial with it, for ever, and begin anew with each `ChildLink`: nothing is carried over
from one stream to the next, because each begins with the whole.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
import grpc.aio

from grange.core.errors import GrangeError, NotAllowed

from . import tree_pb2, tree_pb2_grpc
from .errors import transport_words
from .limits import MESSAGE_BYTES_MAX
from .login import log_in

_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment must not see what stays on this machine
    ("grpc.http2.bdp_probe", 0),  # pings that measure a network, on the path of every message
    ("grpc.use_local_subchannel_pool", 1),  # each attempt is a fresh one: no back-off of gRPC's own
)
# What gRPC makes, now and then, of a call that the parent ends while the first message is still on its way: the status
# that the parent gave is lost, and only another attempt can tell what it was.
_BROKEN_OFF = "Internal error from Core"
_ATTEMPTS = 3
_REFUSALS = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)


class LinkError(Exception):
    """There is no link, or no more. `refused` tells that the parent is there and does not want this child (now)."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class ChildLink:
    """One stream to the parent; used from one event loop. Sending and receiving are independent of each other."""

    def __init__(self, channel: grpc.aio.Channel, call: Any) -> None:
        self._channel = channel
        self._call = call

    @classmethod
    async def connect(cls, address: str, hello: tree_pb2.Hello, timeout_s: float) -> tuple[Self, tree_pb2.Welcome]:
        """Attach to the parent at `address` (`unix:/path`) within `timeout_s` for an attempt. Raises `LinkError`."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await cls._attempt(address, hello, timeout_s)
            except LinkError as error:
                if error.reason != _BROKEN_OFF:
                    raise
        return await cls._attempt(address, hello, timeout_s)

    @classmethod
    async def _attempt(cls, address: str, hello: tree_pb2.Hello, timeout_s: float) -> tuple[Self, tree_pb2.Welcome]:
        try:
            login = await log_in(address, timeout_s)
        except GrangeError as error:
            raise LinkError(error.reason, refused=isinstance(error, NotAllowed)) from None
        channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        attach = tree_pb2_grpc.TreeStub(channel).Attach
        link = cls(channel, attach(metadata=login.metadata))  # type: ignore[call-arg]
        try:
            async with asyncio.timeout(timeout_s):
                await link.send(tree_pb2.FromChild(hello=hello))
                first = await link.read()
            if first is None or first.WhichOneof("body") != "welcome":
                raise LinkError(f"the parent at {address} did not begin with a welcome", refused=True)
        except TimeoutError:
            await link.close()
            raise LinkError(f"the parent at {address} did not answer within {timeout_s:g} s") from None
        except BaseException:
            await link.close()
            raise
        return link, first.welcome

    async def send(self, message: tree_pb2.FromChild) -> None:
        """Send, waiting while the parent is slow. Raises `LinkError` when the stream has ended."""
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._ended(error) from None

    async def __aiter__(self) -> AsyncIterator[tree_pb2.ToChild]:
        """What the parent says, until it ends the stream. Raises `LinkError` when it breaks."""
        while (message := await self.read()) is not None:
            yield message

    async def close(self) -> None:
        """End the stream from this side; what was sent before may still arrive."""
        self._call.cancel()
        try:
            await self._channel.close(None)
        except asyncio.CancelledError:  # the call's own, unless it is for whoever waits here
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise

    async def read(self) -> tree_pb2.ToChild | None:
        """What the parent says next, None when it has ended the stream. Raises `LinkError` when it breaks."""
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise await self._ended(error) from None
        if isinstance(message, tree_pb2.ToChild):
            return message
        if (code := await self._call.code()) is not grpc.StatusCode.OK:
            raise _link_error(code, await self._call.details())
        return None

    async def _ended(self, error: Exception) -> LinkError:
        if self._call.done():
            return _link_error(await self._call.code(), await self._call.details())
        if isinstance(error, grpc.aio.AioRpcError):
            return _link_error(error.code(), error.details())
        return LinkError("the link broke while something was being sent")


def _link_error(code: grpc.StatusCode, details: str | None) -> LinkError:
    return LinkError(transport_words(code, details), refused=code in _REFUSALS)
