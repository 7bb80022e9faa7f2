"""What each world is about: a state of the farm, and some faults that come just when it is there.

Chance alone leaves some faults untried in states that last for some milliseconds. So one seed after the other aims at
one state after the other, and at it with other faults each time: `AIMED_SEEDS` of them try every fault in every state,
but those of `cannot_be`.
"""

from grange.core.names import Command, State
from grange.core.state import TABLE

CYCLE: tuple[Command, ...] = tuple(row.command for row in TABLE)  # of a farm: from setup to teardown
STATES_AIMED_AT = tuple(dict.fromkeys(state for row in TABLE for state in (row.via, row.to)))
FAULTS_AIMED = 3  # in one world
AIMED_SEEDS = 12 * len(STATES_AIMED_AT)  # until each fault was aimed at each state twice, for some miss

# What needs something that is not there, by the states in which it is not. Now and then it is, because a step before
# has failed and left it, and then the fault comes; but no world can be relied upon for that.
_OF_PROGRAMS = frozenset(
    (
        "agent killed",
        "keeper killed",
        "node restarted",
        "sub-farm controller killed",
        "sub-farm controller replaced",
        "link cut",
        "link cut one way",
        "messages lost",
        "messages late",
    )
)
_OF_PROCESSES = frozenset(("process killed", "process hangs"))
_WITHOUT_PROCESSES = (State.ABSENT, State.SETTING_UP, State.INITIAL, State.TEARING_DOWN)


def cannot_be(state: State, fault: str) -> str:
    """Why a fault need not come in a state of the farm; empty: it has to."""
    if state is State.ABSENT and fault in _OF_PROGRAMS:
        return "no program runs below the farm controller, and nothing is linked to it"
    if state in _WITHOUT_PROCESSES and fault in _OF_PROCESSES:
        return "no process runs before boot and after shutdown"
    return ""


def aim(seed: int, faults: tuple[str, ...]) -> tuple[State, tuple[str, ...]]:
    """The state that the world of this seed is about, and the faults that come in it: one seed after the other."""
    turn, place = divmod(seed, len(STATES_AIMED_AT))
    state = STATES_AIMED_AT[place]
    possible = [fault for fault in faults if not cannot_be(state, fault)]
    chosen = [possible[(FAULTS_AIMED * turn + each) % len(possible)] for each in range(FAULTS_AIMED)]
    return state, tuple(sorted(chosen, key=lambda fault: fault.startswith("farm controller")))  # last: they end it
