"""Which command ids may have been given before, so that the records are asked about those only.

Saying too often that one may be known costs a question; saying once too seldom would carry a command out twice. So an
id is let go only when the records have long let it go themselves, and when there are too many, every id may be known.
"""

from collections import deque

KEPT_S = 2 * 86_400.0  # the records keep a command for a day after its end, and none takes a day
IDS_MAX = 100_000  # one a second for more than a day; beyond that each new command costs a question


class KnownIds:
    """Ids in the order in which they came; times are seconds of any one clock."""

    def __init__(self, kept_s: float = KEPT_S, ids_max: int = IDS_MAX) -> None:
        self._kept_s, self._ids_max = kept_s, ids_max
        self._ids: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()
        self._complete_from_s = float("-inf")  # before this, ids were dropped that the records may have

    def add(self, command_id: str, now_s: float) -> None:
        """An id has been given at `now_s`."""
        if command_id not in self._ids:
            self._ids.add(command_id)
            self._order.append((now_s, command_id))
        while self._order and self._order[0][0] <= now_s - self._kept_s:
            self._ids.discard(self._order.popleft()[1])
        while len(self._order) > self._ids_max:
            given_at_s, oldest = self._order.popleft()
            self._ids.discard(oldest)
            self._complete_from_s = given_at_s + self._kept_s

    def may_have(self, command_id: str, now_s: float) -> bool:
        """Whether the records may have such a command."""
        return command_id in self._ids or now_s < self._complete_from_s
