"""Whose word an agent acts on: the newest controller's, each command once and in order (`core/fencing.py`).

A rise of the incarnations is on disk, in the keeper's hands, before anything is done because of it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from grange.core.fencing import Fence, Guard, Verdict
from grange.proto import tree_pb2

FENCE_LIMIT_S = 3.0  # for the keeper to write down the incarnations of a new controller

Request = Callable[..., "asyncio.Future[dict[str, Any]]"]  # to the keeper

_log = logging.getLogger(__name__)


class Allegiance:
    """The agent's guard; `incarnation` is the agent's own, which comes last in what its keeper is told."""

    def __init__(self, incarnation: int, request: Request) -> None:
        self._incarnation = incarnation
        self._request = request
        self._guard = Guard()

    @property
    def seen(self) -> tuple[int, ...]:
        """The highest incarnations, from the root down to the parent."""
        return self._guard.seen.incarnations

    @property
    def fence(self) -> list[int]:
        """By whose word the keeper is asked for something, the agent's own included."""
        return [*self.seen, self._incarnation]

    def recall(self, incarnations: Iterable[int]) -> None:
        """What the keeper has kept of it."""
        fence = Fence(tuple(incarnations))
        if fence.incarnations > self.seen:
            self._guard.seen = fence

    async def welcomed(self, welcome: tree_pb2.Welcome) -> tree_pb2.Fenced | None:
        """A parent says who it is; what it is told when it was replaced."""
        if not welcome.fence:
            return None  # a parent that has just started does not know yet by whose word it will command
        before, incarnations = self._guard.seen, tuple(welcome.fence)
        verdict = self._guard.judge_welcome(incarnations)
        _, fenced = await self._act_on(verdict, Fence(incarnations), before, "welcome")
        return fenced

    async def judge(self, fence: tree_pb2.Fence, what: str) -> tuple[bool, tree_pb2.Fenced | None]:
        """Whether to act on a command; and what its sender is told when it was replaced."""
        before, given = self._guard.seen, Fence(tuple(fence.incarnations), fence.sequence)
        return await self._act_on(self._guard.judge(given), given, before, what)

    async def _act_on(
        self, verdict: Verdict, fence: Fence, before: Fence, what: str
    ) -> tuple[bool, tree_pb2.Fenced | None]:
        """Whether to act: for a parent that commands, once a rise is on disk. One that was replaced is told so.

        A late duplicate is left out without a word: whoever repeats an order gives it a number of its own.

        A rise that the keeper cannot write down now was never seen: what comes with it is left out, its sender asks
        again, and meanwhile sees what goes on here.
        """
        if verdict is Verdict.FENCED:
            _log.warning("%s of incarnations %s refused: %s was seen", what, fence.incarnations, self.seen)
            return False, tree_pb2.Fenced(
                seen=self.seen, reason="a newer controller has taken over: this one ends itself"
            )
        if verdict is Verdict.STALE:
            _log.info("%s %d left out: %d was seen", what, fence.sequence, self._guard.seen.sequence)
            return False, None
        if verdict is Verdict.RISEN:
            try:
                answer = await asyncio.wait_for(self._request("fence", fence=self.fence), FENCE_LIMIT_S)
            except TimeoutError:
                answer = {"ok": False, "error": f"the keeper has not answered for {FENCE_LIMIT_S:g} s"}
            if not answer["ok"]:
                self._guard.seen = before
                _log.error("%s of incarnations %s left out: %s", what, fence.incarnations, answer["error"])
                return False, None
        return True, None
