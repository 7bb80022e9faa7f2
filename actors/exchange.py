"""The data exchange between actors: blocks of bytes from writers to readers, for one run at a time.

One reader takes from several writers; one writer serves several readers as a *work queue*, where each block goes to one
of them. A `Reader` and a `Writer` live for one run: opened at start, closed at the end of stop. What may be relied
upon, whatever carries the blocks:

- A reader *confirms* a block (`done`) when it answers for it: it has taken the block over, or passed its result on. A
  writer keeps every block until it is confirmed. When a reader dies, the blocks that it had not confirmed are sent
  again, to another reader or to the restarted one. So a block may arrive twice, never not at all; `origin` and `number`
  name it through the whole chain, and whoever collects from several workers restores the order and discards the second.
- A reader grants credit: it never has more than its window of blocks unconfirmed, so a slow reader slows its writers
  down (`room` is false) and nothing piles up. Neither side ever blocks; `waiting_for` says in words for whom it waits.
- The end-of-run marker comes in band, after everything else was confirmed. An input that goes away without one is dead,
  and counts as ended. `Reader.drained` is true when every input that ever came has ended and its blocks are given out.

`unix_exchange.py` carries blocks over Unix sockets on one machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_BLOCK_BYTES = 64 << 20
"""A larger block is refused: blocks are to be small enough that several are under way to each worker."""


class ExchangeError(Exception):
    """The exchange cannot be opened or used so: why, and what to try."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of whole frames.

    `origin` stands for the process instance that numbered it, `number` counts from 1 there within a run, and both stay
    the same when a worker passes its result on; `frames` is how many frames are in `data`.
    """

    origin: int
    number: int
    frames: int
    data: bytes | memoryview

    @property
    def key(self) -> tuple[int, int]:
        """What names the block through the chain."""
        return self.origin, self.number


@dataclass(frozen=True, slots=True)
class Received:
    """A block as a reader gets it; `writer` is the path of the process that sent it."""

    block: Block
    writer: str


class Reader(Protocol):
    """The receiving end of one run; nothing in it blocks."""

    def poll(self) -> None:
        """Move what can be moved; to be called often."""

    def receive(self) -> Received | None:
        """The next block, if one is here."""

    def done(self, received: Received) -> None:
        """Confirm a block: its writer may forget it, and may send another."""

    @property
    def drained(self) -> bool:
        """True if every input that ever came has ended, or is dead, and all blocks have been given out."""

    @property
    def dead(self) -> tuple[str, ...]:
        """The inputs that went away without an end-of-run marker and have not come back, sorted."""

    def waiting_for(self) -> str:
        """The inputs that have not ended, for people; empty when there are none."""

    def fileno(self) -> int:
        """Readable when `poll` has something to do."""

    def close(self) -> None:
        """End it and leave nothing behind."""


class Writer(Protocol):
    """The sending end of one run towards the readers of one role; nothing in it blocks."""

    def poll(self) -> None:
        """Move what can be moved, and connect to readers that are not there yet; to be called often."""

    def room(self) -> bool:
        """True if a reader has credit for one more block."""

    def send(self, block: Block) -> None:
        """Send a block to the reader with most free credit; `ExchangeError` when there is no `room`."""

    def confirmed(self) -> list[Block]:
        """The blocks that were confirmed since this was asked last."""

    @property
    def is_read(self) -> bool:
        """Whether any reader is connected."""

    @property
    def unconfirmed(self) -> int:
        """How many blocks are under way."""

    @property
    def resent(self) -> int:
        """How many blocks had to be sent again so far."""

    def end(self) -> None:
        """Nothing more comes: the marker follows when all blocks are confirmed."""

    @property
    def finished(self) -> bool:
        """True once, after `end`, all blocks are confirmed and the marker is on its way to every reader there is."""

    def give_up(self) -> list[Block]:
        """The blocks that no reader has confirmed: they are lost, as far as this writer knows.

        After `end`, readers that have confirmed all that they were sent get their marker all the same.
        """

    def waiting_for(self) -> str:
        """The readers that keep this writer waiting, and why, for people; empty when there are none."""

    def fileno(self) -> int:
        """Readable when `poll` has something to do (but connecting needs `poll` also without it)."""

    def close(self) -> None:
        """End it and leave nothing behind."""


class Exchange(Protocol):
    """What opens readers and writers; `ExchangeError` where that is impossible."""

    def reader(self, member: str, writers: Sequence[str], run_number: int, window_blocks: int) -> Reader:
        """The reading end of `member`, for blocks from the processes `writers`."""

    def writer(self, member: str, readers: Sequence[str], run_number: int) -> Writer:
        """A writing end of `member`, a work queue for the processes `readers`."""


def name_some(names: Sequence[str], limit: int = 3) -> str:
    """Names for a sentence: the first few, and how many more."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
