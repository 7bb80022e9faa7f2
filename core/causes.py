"""Why members are not well: every reason once, with how many share it.

What happened to a process begins with its name, `psa-3 on hlt004 was killed by SIGKILL`. Where several share a reason
their names are left away, so that after a power failure a farm has one thing to say, and not one for each process.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from .names import Health, Kind, Membership

CAUSES_SHOWN = 20  # reasons; all others together are one more
OTHERS = "other reasons"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why members are not well; several share one reason."""

    reason: str  # of a single one with its name, as `psa-3 on hlt004 was killed`; of several without
    members: int
    example: str  # path of one of them


class Shown(Protocol):
    """A member as an observer has it: a row, or what a client has made of it."""

    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def health(self) -> Health: ...
    @property
    def status(self) -> str: ...
    @property
    def membership(self) -> Membership: ...


def causes_of(members: Iterable[Shown]) -> tuple[Cause, ...]:
    """Why those processes among these that are not well are so."""
    return grouped(
        Cause(one.status, 1, one.path)
        for one in members
        if one.kind is Kind.PROCESS and one.health is not Health.OK and one.membership is not Membership.OUT_BY_PERSON
    )


def grouped(found: Iterable[Cause]) -> tuple[Cause, ...]:
    """Each reason once, the most frequent first; beyond `CAUSES_SHOWN` all others in one."""
    groups: dict[str, Cause] = {}
    for cause in found:
        reason = _without_name(cause)
        known = groups.get(reason)
        groups[reason] = cause if known is None else Cause(reason, known.members + cause.members, known.example)
    others = groups.pop(OTHERS, None)
    ordered = sorted(groups.values(), key=lambda cause: -cause.members)
    shown, rest = ordered[:CAUSES_SHOWN], ordered[CAUSES_SHOWN:] + ([others] if others is not None else [])
    if rest:
        shown.append(Cause(OTHERS, sum(cause.members for cause in rest), rest[0].example))
    return tuple(shown)


def _without_name(cause: Cause) -> str:
    """What happened, without to whom: a process's own sentence begins with `SLOT on NODE`."""
    parts = cause.example.split("/")
    return cause.reason.removeprefix(f"{parts[-1]} on {parts[-2]} ") if len(parts) > 1 else cause.reason
