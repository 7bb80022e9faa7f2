"""The agent's end of the actor link: who connects, what they say, and their orders.

The keeper listens, so that actors can always connect; the agent accepts. An actor proves itself by an equal user id and
by the nonce that its process was given; anybody else, and a process that is not declared as an actor, is told why and
cut off. A new connection of an instance replaces its former one. Answers and notes are acknowledged after they were
handed on, and each is handed on once: a number seen before is only acknowledged again. An acknowledgement says "up to
here" and nobody waits for it, so one that comes a little later is for all, and takes no time from the order that was
just answered.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import cast

from google.protobuf.message import DecodeError

from grange.proto import actor_pb2
from grange.proto.framing import FramingError, Unframer, frame

CONTRACT_VERSION = 1
HELLO_LIMIT_S = 10.0  # from the connection to its first message
ACKNOWLEDGE_WAITS_S = 0.2
UNSENT_BYTES_MAX = 16 * 1024 * 1024  # for an actor that does not read; its link is cut then
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

_log = logging.getLogger(__name__)

OnMessage = Callable[[str, actor_pb2.FromActor], None]  # instance, hello or what follows it


class _Connection(asyncio.Protocol):
    """One connection, from its acceptance to its end."""

    def __init__(self, server: "ActorServer", peer_uid: int) -> None:
        self._server = server
        self._peer_uid = peer_uid
        self._unframer = Unframer()
        self._transport: asyncio.Transport | None = None
        self._hello_limit: asyncio.TimerHandle | None = None
        self.handed_on = 0  # the highest number to acknowledge
        self.instance = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._hello_limit = asyncio.get_running_loop().call_later(HELLO_LIMIT_S, self._too_late)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unframer.feed(data):
                self._take(actor_pb2.FromActor.FromString(body))
        except (FramingError, DecodeError) as error:
            self.refuse(f"these bytes are not the actor link's: {error}")

    def _take(self, message: actor_pb2.FromActor) -> None:
        if self._transport is None:
            return
        if not self.instance:
            self._admit(message)
        elif message.WhichOneof("body") != "hello":
            self._server.received(self, message)

    def _admit(self, message: actor_pb2.FromActor) -> None:
        if message.WhichOneof("body") != "hello":
            self.refuse("the first message on the link has to be a hello")
            return
        hello = message.hello
        instance = self._server.instances.get(hello.nonce, "")
        if self._peer_uid != os.getuid():
            self.refuse(f"user id {self._peer_uid} is not the agent's ({os.getuid()})")
        elif not instance:
            self.refuse("the nonce is of no instance that runs here: GRANGE_NONCE has to be handed over unchanged")
        elif reason := self._server.refusals.get(instance):
            self.refuse(reason)
            self._server.refused(instance, reason)
        elif hello.contract_version != CONTRACT_VERSION:
            self.refuse(f"contract version {hello.contract_version} is not the agent's ({CONTRACT_VERSION})")
        else:
            if self._hello_limit is not None:
                self._hello_limit.cancel()
            self.instance = instance
            self._server.admitted(self, message)

    def send(self, message: actor_pb2.ToActor) -> None:
        if self._transport is None:
            return
        self._transport.write(frame(message))
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            _log.warning("%s does not read its link: cut", self.instance)
            self.cut()

    def acknowledge(self) -> None:
        """Tell the actor what was handed on until now."""
        self.send(actor_pb2.ToActor(acknowledge=actor_pb2.ActorAcknowledge(sequence=self.handed_on)))

    def refuse(self, reason: str) -> None:
        _log.warning("actor link refused: %s", reason)
        self.send(actor_pb2.ToActor(refusal=actor_pb2.ActorRefusal(reason=reason)))
        self.cut()

    def _too_late(self) -> None:
        self.refuse(f"no hello within {HELLO_LIMIT_S:g} s")

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._hello_limit is not None:
            self._hello_limit.cancel()
        self._server.lost(self)


class ActorServer:
    """All actor connections of a node. `instances` says which nonce belongs to which instance that may connect."""

    def __init__(
        self,
        listener: socket.socket,
        on_message: OnMessage,
        on_lost: Callable[[str], None],
        refused: Callable[[str, str], None],  # instance and reason
    ) -> None:
        self.instances: dict[str, str] = {}
        self.refusals: dict[str, str] = {}  # why an instance may not speak as an actor
        self.refused = refused
        self._listener = listener
        self._on_message = on_message
        self._on_lost = on_lost
        self._connections: dict[str, _Connection] = {}
        self._open: set[_Connection] = set()
        self._sequences: dict[str, int] = {}  # the highest number taken, by instance
        self._accepting: asyncio.Task[None] | None = None
        self._owed: set[_Connection] = set()  # those to which an acknowledgement is owed
        self._acknowledging: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # out of descriptors: those who wait stay in the queue
                _log.warning("cannot accept an actor: %s", error)
                await asyncio.sleep(1.0)
                continue
            credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            connection = _Connection(self, _CREDENTIALS.unpack(credentials)[1])
            self._open.add(connection)
            await loop.connect_accepted_socket(lambda taken=connection: taken, accepted)  # type: ignore[misc]

    def expect(self, nonce: str, instance: str, refusal: str = "") -> None:
        """From now on the actor with this nonce may connect, or is told why it may not."""
        self.instances[nonce] = instance
        if refusal:
            self.refusals[instance] = refusal

    def forget(self, instance: str) -> None:
        """The instance has ended."""
        self.instances = {nonce: name for nonce, name in self.instances.items() if name != instance}
        self._sequences.pop(instance, None)
        self.refusals.pop(instance, None)
        if connection := self._connections.pop(instance, None):
            connection.cut()

    def send(self, instance: str, message: actor_pb2.ToActor) -> None:
        """To an actor that is not connected nothing is sent: its hello brings the order again."""
        if connection := self._connections.get(instance):
            connection.send(message)

    def admitted(self, connection: _Connection, hello: actor_pb2.FromActor) -> None:
        former = self._connections.get(connection.instance)
        self._connections[connection.instance] = connection
        if former is not None:
            former.cut()
        self._on_message(connection.instance, hello)

    def received(self, connection: _Connection, message: actor_pb2.FromActor) -> None:
        instance = connection.instance
        if self._connections.get(instance) is not connection:
            return
        sequence = message.sequence
        if not sequence:
            self._on_message(instance, message)
            return
        if sequence > self._sequences.get(instance, 0):
            self._sequences[instance] = sequence
            self._on_message(instance, message)
        connection.handed_on = max(connection.handed_on, sequence)
        self._owed.add(connection)
        if self._acknowledging is None:
            loop = asyncio.get_running_loop()
            self._acknowledging = loop.call_later(ACKNOWLEDGE_WAITS_S, self._acknowledge)

    def _acknowledge(self) -> None:
        self._acknowledging = None
        for connection in tuple(self._owed):
            connection.acknowledge()
        self._owed.clear()

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self._owed.discard(connection)
        if connection.instance and self._connections.get(connection.instance) is connection:
            del self._connections[connection.instance]
            self._on_lost(connection.instance)

    async def close(self) -> None:
        """Drop all connections; actors wait for the next agent."""
        if self._accepting is not None:
            self._accepting.cancel()
            if self._acknowledging is not None:
                self._acknowledging.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        for connection in list(self._open):
            connection.cut()
