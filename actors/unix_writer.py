"""The sending end of the exchange over Unix sockets: one connection to each reader, and who gets the next block.

A block goes to the reader with most free credit, among equals to the one that has waited longest. Blocks that a lost
reader had not confirmed are sent again, before any new one.
"""

import itertools
import selectors
import socket
import time
from collections import deque
from collections.abc import Mapping

from .exchange import Block, ExchangeError, name_some
from .unix_wire import Connection, Kind, Message

RETRY_S = 0.1
"""How long between two attempts to connect to a reader that is not there."""


class _Peer:
    """One reader, connected or not."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.connection: Connection | None = None
        self.credit = 0
        self.sent: dict[tuple[int, int], Block] = {}  # not confirmed, in the order of sending
        self.served = 0  # when it was sent a block last, in counts of blocks
        self.retry_at = 0.0
        self.marked = False  # the end-of-run marker was pushed


class UnixWriter:
    """See `exchange.Writer`; `paths` are the readers' sockets by their names."""

    def __init__(self, member: str, paths: Mapping[str, str], run_number: int) -> None:
        self._hello = Message(Kind.HELLO, run_number, body=member.encode())
        self._run_number = run_number
        self._peers = [_Peer(name, path) for name, path in paths.items()]
        self._again: deque[Block] = deque()
        self._confirmed: list[Block] = []
        self._counter = itertools.count(1)
        self._ending = False
        self._resent = 0
        self._selector = selectors.DefaultSelector()

    def poll(self) -> None:
        now = time.monotonic()
        for peer in self._peers:
            if peer.connection is None and now >= peer.retry_at:
                self._connect(peer, now)
        for key, events in self._selector.select(0):
            if events & selectors.EVENT_WRITE and key.data.connection is not None:
                key.data.connection.flush()
            self._attend(key.data)
        while self._again and (free := self._most_free()) is not None:
            self._resent += 1
            self._give(free, self._again.popleft())
        if self._ending and not self.unconfirmed:
            self._mark_end()

    def room(self) -> bool:
        return not self._again and self._most_free() is not None

    def send(self, block: Block) -> None:
        peer = self._most_free()
        if peer is None or self._again:
            raise ExchangeError(f"no room for a block: waiting for {self.waiting_for()}. Ask room() first")
        self._give(peer, block)

    def confirmed(self) -> list[Block]:
        confirmed, self._confirmed = self._confirmed, []
        return confirmed

    @property
    def is_read(self) -> bool:
        return any(peer.connection is not None for peer in self._peers)

    @property
    def unconfirmed(self) -> int:
        return len(self._again) + sum(len(peer.sent) for peer in self._peers)

    @property
    def resent(self) -> int:
        return self._resent

    def end(self) -> None:
        self._ending = True
        self.poll()

    @property
    def finished(self) -> bool:
        return (
            self._ending
            and not self.unconfirmed
            and all(peer.marked and peer.connection.flushed for peer in self._peers if peer.connection is not None)
        )

    def give_up(self) -> list[Block]:
        for peer in self._peers:
            if self._ending and not peer.sent:
                self._mark(peer)
        return [*self._again, *(block for peer in self._peers for block in peer.sent.values())]

    def waiting_for(self) -> str:
        """Readers that are not there first: they are the likelier cause."""
        absent = [f"{peer.name} (not connected)" for peer in self._peers if peer.connection is None]
        full = [f"{peer.name} (busy)" for peer in self._peers if peer.connection is not None and peer.sent]
        return name_some([*absent, *full])

    def fileno(self) -> int:
        return self._selector.fileno()

    def close(self) -> None:
        self._selector.close()
        for peer in self._peers:
            if peer.connection is not None:
                peer.connection.close()
                peer.connection = None

    def _most_free(self) -> _Peer | None:
        free = [peer for peer in self._peers if peer.credit > 0]
        return max(free, key=lambda peer: (peer.credit, -peer.served), default=None)

    def _give(self, peer: _Peer, block: Block) -> None:
        assert peer.connection is not None, "credit without a connection"
        peer.sent[block.key] = block
        peer.credit -= 1
        peer.served = next(self._counter)
        peer.connection.push(
            Message(Kind.BLOCK, self._run_number, block.number, block.origin, block.frames, block.data)
        )
        self._watch(peer)

    def _connect(self, peer: _Peer, now: float) -> None:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end.setblocking(False)
        try:
            end.connect(peer.path)
        except OSError:
            end.close()
            peer.retry_at = now + RETRY_S
            return
        peer.connection = Connection(end)
        self._selector.register(peer.connection, selectors.EVENT_READ, peer)
        peer.connection.push(self._hello)
        self._watch(peer)

    def _attend(self, peer: _Peer) -> None:
        """Take in what a reader says, and notice that it is gone."""
        if peer.connection is None:
            return
        for message in peer.connection.messages():
            match message.kind:
                case Kind.WELCOME:
                    peer.credit = message.number
                case Kind.CONFIRM:
                    peer.credit += 1
                    block = peer.sent.pop((message.origin, message.number), None)
                    if block is not None:
                        self._confirmed.append(block)
                case _:
                    peer.connection.lost = True
        if peer.connection.lost:
            self._lose(peer)
        else:
            self._watch(peer)

    def _lose(self, peer: _Peer) -> None:
        assert peer.connection is not None, "it was there a moment ago"
        self._selector.unregister(peer.connection)
        peer.connection.close()
        peer.connection = None
        peer.credit = 0
        peer.marked = False
        peer.retry_at = time.monotonic() + RETRY_S
        self._again.extend(peer.sent.values())
        peer.sent.clear()

    def _mark_end(self) -> None:
        for peer in self._peers:
            self._mark(peer)

    def _mark(self, peer: _Peer) -> None:
        if peer.connection is not None and not peer.marked:
            peer.marked = True
            peer.connection.push(Message(Kind.END, self._run_number))
            self._watch(peer)

    def _watch(self, peer: _Peer) -> None:
        if peer.connection is not None:
            write = 0 if peer.connection.flushed else selectors.EVENT_WRITE
            self._selector.modify(peer.connection, selectors.EVENT_READ | write, peer)
