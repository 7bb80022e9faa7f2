"""How a parent's state and health follow from its children: pure, commutative folds, computed afresh each time.

A parent has no state of its own. The fold never claims more than its least advanced included child; members that are
out are left out by the caller. Health is a second axis: an error never makes anybody forget where a member is.
"""

from collections.abc import Iterable
from functools import cache

from .names import Command, Health, State
from .state import STEADY, TABLE, TRANSITIONAL, sources

# What each row's {from, via, to} may look like from above. A shutdown starts anywhere, so every transitional state
# counts as one of its sources, and members that were never booted are at its end already.
_SPANS: dict[Command, frozenset[State]] = {
    row.command: sources(row.command)
    | {row.via, row.to}
    | (frozenset(TRANSITIONAL) if row.command is Command.SHUTDOWN else frozenset())
    for row in TABLE
}
_VIA = {row.command: row.via for row in TABLE}


def fold_state(states: Iterable[State], under_way: Command | None = None) -> State:
    """The state of a parent whose included children are in `states` while `under_way` is being carried out.

    No children: absent. Anything unknown: unknown when all are, otherwise mixed. States within one row's
    {from, via, to} fold to via while a child is in via or the row's command is under way. Otherwise children in
    different states show as mixed.
    """
    return _fold(frozenset(states), under_way)


@cache
def _fold(states: frozenset[State], under_way: Command | None) -> State:
    if not states:
        return State.ABSENT
    if State.UNKNOWN in states or State.MIXED in states:
        return State.UNKNOWN if states == {State.UNKNOWN} else State.MIXED
    if under_way is not None and states <= _SPANS[under_way]:
        return _VIA[under_way]
    if State.SHUTTING_DOWN in states and states <= _SPANS[Command.SHUTDOWN]:
        return State.SHUTTING_DOWN
    for command, span in _SPANS.items():
        if _VIA[command] in states and states <= span:
            return _VIA[command]
    return next(iter(states)) if len(states) == 1 else State.MIXED


# How far up the ladder a state claims to be, and how far up it may still be: a transitional state lies between the two
# ends of its row. What an observer cannot tell claims nothing and may be anywhere.
_LEVEL = {state: level for level, state in enumerate(STEADY)} | {State.PAUSED: STEADY.index(State.TAKING)}
_TOP = max(_LEVEL.values())
_CLAIM: dict[State, int] = dict(_LEVEL)
_CEILING: dict[State, int] = dict(_LEVEL)
for _row in TABLE:
    _ends = [_LEVEL[_row.to], *(_LEVEL[state] for state in sources(_row.command))]
    _CLAIM[_row.via], _CEILING[_row.via] = min(_ends), max(_ends)
_CLAIM |= {State.SHUTTING_DOWN: 0, State.MIXED: 0, State.UNKNOWN: 0}
_CEILING |= {State.MIXED: _TOP, State.UNKNOWN: _TOP}


def claim(state: State) -> int:
    """How much a state claims: the height on the ladder below which nothing in the member can be."""
    return _CLAIM[state]


def ceiling(state: State) -> int:
    """The height on the ladder above which nothing in the member can be."""
    return _CEILING[state]


_SEVERITY = {Health.OK: 0, Health.DEGRADED: 1, Health.ERROR: 2}


def worst(healths: Iterable[Health]) -> Health:
    """The worst of `healths`; ok for none."""
    return max(healths, key=_SEVERITY.__getitem__, default=Health.OK)
