"""Two people changed the same configuration: what both want, or where they want different things.

The document that both began with is the base. A key that only one side changed takes that side's value; one that both
changed in the same way takes that; anything else is a conflict, and then nothing is merged. Mappings are merged key by
key, everything else, lists too, is one value: the order of a list means something.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .configuration_changes import ABSENT, exactly
from .problems import join_place


@dataclass(frozen=True, slots=True)
class Conflict:
    """One place that both sides changed. Plain JSON values, or `ABSENT` where there is none."""

    place: str
    base: Any
    mine: Any
    theirs: Any


def merge(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Conflict, ...]]:
    """The merged document, and where it cannot be had: with conflicts it has what was in the base there."""
    conflicts: list[Conflict] = []
    merged = _merge((), base, mine, theirs, conflicts)
    return merged, tuple(conflicts)


def _merge(
    keys: tuple[str, ...],
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    conflicts: list[Conflict],
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in dict.fromkeys((*theirs, *mine, *base)):
        at_base, at_mine, at_theirs = (side.get(key, ABSENT) for side in (base, mine, theirs))
        value = _merge_value((*keys, key), at_base, at_mine, at_theirs, conflicts)
        if value is not ABSENT:
            merged[key] = value
    return merged


def _merge_value(keys: tuple[str, ...], base: Any, mine: Any, theirs: Any, conflicts: list[Conflict]) -> Any:
    if exactly(mine) == exactly(theirs) or exactly(mine) == exactly(base):
        return theirs
    if exactly(theirs) == exactly(base):
        return mine
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        return _merge(keys, base if isinstance(base, Mapping) else {}, mine, theirs, conflicts)
    conflicts.append(Conflict(join_place(*keys), base, mine, theirs))
    return base
