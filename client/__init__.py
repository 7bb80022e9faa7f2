"""The scripting client: `from grange.client import Farm` (plain calls) or `AsyncFarm` (asyncio)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .asynchronous import AsyncFarm
from .errors import CommandFailed, ControllerHangs
from .synchronous import Farm
from .values import MemberStatus, Outcome, OutcomeKind, Progress, RunRecord, Status, View

if TYPE_CHECKING:
    from .page import MemberPage

__all__ = [
    "AsyncFarm",
    "CommandFailed",
    "ControllerHangs",
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


def __getattr__(name: str) -> Any:
    """`MemberPage`, once it is asked for: it is made of core's own values, a tenth of what `grange status` loaded."""
    if name == "MemberPage":
        return import_module(".page", __name__).MemberPage
    raise AttributeError(f"module {__name__} has no attribute {name}")
