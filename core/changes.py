"""What changed, for readers who come when they can: rows by key, in the order in which they last changed.

A change gives its row the next number and moves it to the end, so what a reader has not seen is what lies behind the
number it has read up to. That number is all that is remembered of a reader: however slow one is, nothing waits for it,
and when it comes it finds each row once, as it is then.

A row that was removed stays as a mark, for those who have seen it. Of such marks the newest `REMOVED_KEPT` are kept;
who was away for longer than that begins anew.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Row = TypeVar("Row")

REMOVED_KEPT = 1000  # marks of removed rows: a farm that loads another configuration loses so many members at most
_OVERTAKEN_KEPT = 64  # entries of the order beside twice the rows, before those that are overtaken are cleared away


class Changes(Generic[Row]):
    """Rows by key, each with the number of its last change. `head` is the number of the last change of all."""

    def __init__(self, removed_kept: int = REMOVED_KEPT) -> None:
        self.head = 0
        self.floor = 0  # who has neither read up to this, nor begun after it, has to begin anew
        self._rows: dict[str, tuple[int, Row | None]] = {}  # None: removed
        self._order: list[tuple[int, str]] = []  # ascending; an entry whose row has a later number is overtaken
        self._removed: deque[tuple[int, str]] = deque()
        self._removed_kept = removed_kept

    def put(self, key: str, row: Row) -> None:
        """The row of `key` is new, or another one than before."""
        self._note(key, row)

    def remove(self, key: str) -> None:
        """There is no row of `key` any more; nothing happens when there was none."""
        if self._rows.get(key, (0, None))[1] is None:
            return
        self._note(key, None)
        self._removed.append((self.head, key))
        while len(self._removed) > self._removed_kept:
            number, oldest = self._removed.popleft()
            if self._rows.get(oldest, (0, None))[0] == number:
                del self._rows[oldest]
                self.floor = number

    def touch(self) -> None:
        """Something has changed that is no row, and readers are to come for it."""
        self.head += 1

    def _note(self, key: str, row: Row | None) -> None:
        self.head += 1
        self._rows[key] = (self.head, row)
        self._order.append((self.head, key))
        if len(self._order) > 2 * len(self._rows) + _OVERTAKEN_KEPT:
            self._order = [entry for entry in self._order if self._rows.get(entry[1], (0, None))[0] == entry[0]]

    def since(self, read: int) -> Iterator[tuple[int, str, Row | None]]:
        """What changed after the change number `read`, oldest first: its number, key, and row or None for removed.

        From 0 it is everything, without marks of what is gone. Not to be iterated over across a change.
        """
        for number, key in self._order[bisect_right(self._order, read, key=lambda entry: entry[0]) :]:
            latest, row = self._rows.get(key, (0, None))
            if latest == number and (row is not None or read):
                yield number, key, row
