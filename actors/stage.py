"""A stage of a chain: an actor whose data come and go over the exchange, so that its author writes physics alone.

A subclass says what to do with a block (`handle`), sends what comes of it (`emit`), and lets go of what it holds when
nothing more comes (`flush`). This class opens the ends at start, holds back while a reader downstream has no room,
drains at stop and says honestly when it could not.

Draining, from the source to the end of the chain: a stage takes from its inputs until each has sent its marker (or is
dead), lets go of what it holds, waits until all it sent is confirmed, and only then sends its own marker. What does not
fit into the stop's time is not claimed: the stop succeeds, `undrained` is 1, and blocks that nobody confirmed are
counted in frames as `lost`. Where no reader of a role is connected any more, none will be in this run: what is meant
for it is given up after a moment, not at the end of the stop's time.

A block is confirmed upstream either when it has been handled (`answers_for_block = "handled"`: this process has taken
it over, and what it holds dies with it) or when all that came of it is confirmed downstream (`"passed_on"`: if this
process dies, another worker gets the block, and nothing is lost).
"""

import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from grange.core.names import Severity

from .actor import MAX_BLOCK_WAIT_S, Actor
from .errors import ActorError
from .exchange import Block, Exchange, ExchangeError, Reader, Received, Writer
from .parameters import require_at_least
from .surroundings import Surroundings
from .unix_exchange import UnixExchange
from .waiting import wait_readable

WINDOW_BLOCKS = 4
"""Blocks that may be unconfirmed on each input: two under way, one in work, one to spare."""
ANSWER_MARGIN_S = 0.5
"""Of a stop's time, kept back so that the answer arrives before the agent gives up."""
INPUTS_SHARE = 0.7
"""Of the rest, for how long the inputs' markers are waited for; what has come by then must still be passed on."""
UNREAD_LIMIT_S = 2.0
"""At stop, for how long a role without any reader is waited for: a reader that is there connects in a tenth of that."""
_DRAIN_WAIT_S = 0.05


class Stage(Actor):
    """See the module; `declared` of a subclass should include `Stage.declared`."""

    declared: ClassVar[dict[str, Any]] = {"window_blocks": WINDOW_BLOCKS}
    counter_names: ClassVar[tuple[str, ...]] = ()
    """Counted from zero from the first heartbeat of a run on, so that the books see them even if nothing comes."""
    answers_for_block: ClassVar[Literal["handled", "passed_on"]] = "handled"

    def __init__(self, surroundings: Surroundings | None = None) -> None:
        super().__init__(surroundings)
        self.exchange: Exchange = UnixExchange(self.surroundings.exchange_directory)
        self.reader: Reader | None = None
        self.writers: list[Writer] = []
        self._origin = zlib.crc32(f"{self.member} {self.surroundings.nonce}".encode())
        self._last_number = 0
        self._waiting: deque[Block] = deque()  # emitted, and not sent for want of room
        self._to_confirm: dict[tuple[int, int], int] = {}  # how many writers have still to confirm an emitted block
        self._owed: dict[tuple[int, int], list[Received]] = {}  # inputs to confirm when an emitted block is
        self._dead_noted: set[str] = set()
        self._held_up_since: float | None = None
        self._unread_since: float | None = None  # at stop: since when a role has no reader

    def begin(self) -> None:
        """Start of the run, before any block."""

    def handle(self, received: Received) -> None:
        """Handle one block."""

    def idle(self) -> bool:
        """Nothing has come: True if something was done instead."""
        return False

    def flush(self) -> None:
        """Nothing more comes in this run: `emit` what is held."""

    def finish(self) -> None:
        """The end of the run, when all has been passed on: close files."""

    def passed_on(self, block: Block) -> None:
        """An emitted block has been confirmed by every role that reads this one (or nobody does)."""

    def describe(self) -> str:
        """The status sentence while all goes well."""
        return ""

    def emit(self, data: bytes | memoryview, frames: int, received: Received | None = None) -> None:
        """Send a block of `frames` whole frames; a worker gives the block it comes of, whose name it then keeps."""
        if received is None:
            self._last_number += 1
            block = Block(self._origin, self._last_number, frames, data)
        else:
            block = Block(*received.block.key, frames, data)
            if self.answers_for_block == "passed_on":
                owed = self._owed.setdefault(block.key, [])
                owed.append(received)
                if len(owed) > 1:  # it came twice, and the result of the first time is on its way already
                    return
        self._waiting.append(block)
        self._move()

    def process_register(self) -> None:
        require_at_least(self.parameters, {"window_blocks": 1})

    def process_start(self) -> None:
        self._close_ends()
        self.counters.update(dict.fromkeys((*self.counter_names, "undrained"), 0))
        self._last_number = 0
        self._waiting.clear()
        self._to_confirm.clear()
        self._owed.clear()
        self._dead_noted.clear()
        self._held_up_since = None
        # feedback is for a stage that knows what to do with it: this chain decides downstream only
        writers = [peer for link in self.inputs if not link.feedback for peer in link.peers]
        try:
            if writers:
                window_blocks = self.parameters["window_blocks"]
                self.reader = self.exchange.reader(self.member, writers, self.run_number, window_blocks)
            self.writers = [
                self.exchange.writer(self.member, link.peers, self.run_number)
                for link in self.outputs
                if not link.feedback
            ]
            self.begin()
        except ExchangeError as error:
            self._close_ends()
            raise ActorError(str(error)) from error
        except BaseException:
            self._close_ends()
            raise
        self.wake_on = [end for end in (self.reader, *self.writers) if end is not None]

    def turn(self) -> None:
        self._move()

    def process_block(self) -> bool:
        worked = self._step()
        self.status = self._held_up() or self.describe()
        return worked

    def process_stop(self) -> None:
        now, limit_s = time.monotonic(), max(0.0, self.remaining_s() - ANSWER_MARGIN_S)
        deadline = now + limit_s
        self.status = "draining"
        self._unread_since = None
        reader = self.reader
        inputs_by = now + INPUTS_SHARE * limit_s
        if reader is not None and not self._until(lambda: reader.drained and not self._waiting, inputs_by, step=True):
            without_marker = f"no end-of-run marker from {reader.waiting_for() or 'the inputs'}"
            why = f"data not taken by {self._not_taken_by()}" if self._is_unread() else without_marker
            self.undrained(f"undrained: {why}")
        self.flush()
        passed_on = self._until(lambda: not self._waiting and not self._unconfirmed(), deadline)
        if not passed_on and not self.undrained_reason:
            self.undrained(f"undrained: data not taken by {self._not_taken_by()}")
        for writer in self.writers:
            writer.end()
        self._until(lambda: all(writer.finished for writer in self.writers), deadline)
        self._count_lost()
        self.finish()
        self._close_ends()
        self.status = self.undrained_reason

    def close(self) -> None:
        self._close_ends()

    def _step(self) -> bool:
        """Handle one block, if there is one and what comes of it can be sent; True if something was done."""
        self.idle_s = MAX_BLOCK_WAIT_S
        self._move()
        if self._waiting or not all(writer.room() for writer in self.writers):
            return False
        received = self.reader.receive() if self.reader is not None else None
        if received is None:
            return self.idle()
        self.handle(received)
        if self.reader is not None and self.answers_for_block == "handled":
            self.reader.done(received)
        self._move()
        return True

    def _move(self) -> None:
        """Let the ends do their work, send what there is room for, and pass confirmations on."""
        for end in (self.reader, *self.writers):
            if end is not None:
                end.poll()
        while self._waiting and all(writer.room() for writer in self.writers):
            block = self._waiting.popleft()
            self._held_up_since = None
            self._to_confirm[block.key] = len(self.writers)
            for writer in self.writers:
                writer.send(block)
            if not self.writers:
                self._confirm(block)
        for writer in self.writers:
            for block in writer.confirmed():
                self._to_confirm[block.key] -= 1
                if not self._to_confirm[block.key]:
                    self._confirm(block)
        self._note_dead()

    def _confirm(self, block: Block) -> None:
        del self._to_confirm[block.key]
        self.passed_on(block)
        for received in self._owed.pop(block.key, ()):
            if self.reader is not None:
                self.reader.done(received)

    def _note_dead(self) -> None:
        dead = set(self.reader.dead) if self.reader is not None else set()
        for name in sorted(dead - self._dead_noted):
            self.note(
                Severity.WARNING,
                "input-dead",
                f"{name} went away without an end-of-run marker: it counts as ended",
                f"See why: grange story {name}",
            )
        self._dead_noted = dead

    def _held_up(self) -> str:
        """For whom this stage waits, once no block has gone for a second; empty while data flow, however slowly."""
        held_up = bool(self._waiting) or not all(writer.room() for writer in self.writers)
        if not held_up:
            self._held_up_since = None
            return ""
        now = time.monotonic()
        self._held_up_since = self._held_up_since or now
        waited_s = now - self._held_up_since
        if waited_s < 1.0:
            return ""
        whom = "; ".join(filter(None, (writer.waiting_for() for writer in self.writers if not writer.room())))
        return f"waiting for {whom} for {waited_s:.0f} s"

    def _unconfirmed(self) -> int:
        return sum(writer.unconfirmed for writer in self.writers)

    def _not_taken_by(self) -> str:
        return "; ".join(filter(None, (writer.waiting_for() for writer in self.writers)))

    def _is_unread(self) -> bool:
        """Whether a role has had no reader for so long that none is waited for, and the others have taken all."""
        unread = not all(writer.is_read for writer in self.writers)
        if not unread or any(writer.is_read and writer.unconfirmed for writer in self.writers):
            self._unread_since = None
            return False
        now = time.monotonic()
        self._unread_since = self._unread_since or now
        return now - self._unread_since >= UNREAD_LIMIT_S

    def _until(self, condition: Callable[[], bool], deadline: float, *, step: bool = False) -> bool:
        """Move data until the condition holds; False if the deadline comes first, or nobody is there to take them."""
        while True:
            worked = self._step() if step else False
            self._move()
            if condition():
                return True
            if self._is_unread():
                return False
            wait_s = min(_DRAIN_WAIT_S, deadline - time.monotonic())
            if wait_s <= 0:
                return False
            if not worked:
                wait_readable(self.wake_on, wait_s)

    def _count_lost(self) -> None:
        blocks = {block.key: block for writer in self.writers for block in writer.give_up()}
        blocks.update({block.key: block for block in self._waiting})
        self.counters["lost"] = sum(block.frames for block in blocks.values())
        resent = sum(writer.resent for writer in self.writers)
        if resent:
            self.counters["resent_blocks"] = resent

    def _close_ends(self) -> None:
        self.wake_on = []
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        for writer in self.writers:
            writer.close()
        self.writers = []
