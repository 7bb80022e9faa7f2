"""Blocks that several workers return, put back into their order and freed of duplicates: pure bookkeeping.

Blocks carry their origin and a number that counts from 1 there. A worker that is slow holds those behind it back, but
not for ever: when more than `max_held` blocks of an origin wait, the missing ones are passed over. They are given out
when they come after all. A block whose number was given out before is a duplicate, sent again because a worker died
after passing it on.
"""

import heapq
from dataclasses import dataclass, field

from .exchange import Block

MAX_HELD_BLOCKS = 64


@dataclass(slots=True)
class _Origin:
    next: int = 1  # every number below was given out or passed over
    waiting: list[tuple[int, Block]] = field(default_factory=list)  # a heap by number
    numbers: set[int] = field(default_factory=set)  # those waiting
    missing: set[int] = field(default_factory=set)  # those passed over


class Reorder:
    """The order of blocks within one run."""

    def __init__(self, max_held: int = MAX_HELD_BLOCKS) -> None:
        self._max_held = max_held
        self._origins: dict[int, _Origin] = {}
        self.duplicates = 0
        self.passed_over = 0

    def push(self, block: Block) -> list[Block]:
        """Take a block; the blocks whose turn has come."""
        origin = self._origins.setdefault(block.origin, _Origin())
        number = block.number
        if number in origin.missing:
            origin.missing.remove(number)
            return [block]
        if number < origin.next or number in origin.numbers:
            self.duplicates += 1
            return []
        heapq.heappush(origin.waiting, (number, block))
        origin.numbers.add(number)
        ready = self._ready(origin)
        if len(origin.waiting) > self._max_held:
            self._pass_over(origin)
            ready += self._ready(origin)
        return ready

    def flush(self) -> list[Block]:
        """Nothing more comes: all that waits, in order."""
        rest: list[Block] = []
        for origin in self._origins.values():
            while origin.waiting:
                self._pass_over(origin)
                rest += self._ready(origin)
        return rest

    def _ready(self, origin: _Origin) -> list[Block]:
        ready = []
        while origin.waiting and origin.waiting[0][0] == origin.next:
            number, block = heapq.heappop(origin.waiting)
            origin.numbers.remove(number)
            origin.next += 1
            ready.append(block)
        return ready

    def _pass_over(self, origin: _Origin) -> None:
        """No longer wait for what is missing before the first block that is here."""
        first = origin.waiting[0][0]
        self.passed_over += first - origin.next
        origin.missing.update(range(origin.next, first))
        origin.next = first
