"""The scripting client: `from grange.client import Farm` (plain calls) or `AsyncFarm` (asyncio)."""

from .asynchronous import AsyncFarm
from .errors import CommandFailed
from .page import MemberPage
from .synchronous import Farm
from .values import MemberStatus, Outcome, OutcomeKind, Progress, RunRecord, Status, View

__all__ = [
    "AsyncFarm",
    "CommandFailed",
    "Farm",
    "MemberPage",
    "MemberStatus",
    "Outcome",
    "OutcomeKind",
    "Progress",
    "RunRecord",
    "Status",
    "View",
]
