"""When a run ends by itself: after so many events, or after so much time, as whoever started it has asked.

Events are what reached the end of the data flow: of the counters written, built, analysed, accepted, read and events,
in this order, the first that any role counts; in each sub-farm those of the role farthest down the data flow that
counts it; summed over the sub-farms. Counters come about every second, so a run ends soon after its last event and
never exactly with it, and none is judged before everybody had the time to say what he counts.

Time is counted from the moment at which the run is running, pauses included: whoever says ten minutes knows when to
be back. While a command is under way neither ends the run: the command ends first.
"""

from collections.abc import Iterable, Mapping, Sequence

from .durations import duration_words
from .memory import Memory, RunMemory, counters_below, role_counters
from .plan import SubFarmSpec

EVENT_COUNTERS = ("written", "built", "analysed", "accepted", "read", "events")
COUNTERS_COME_S = 2.0  # after the start: two heartbeats, in which every role has said what it counts
EVENTS_MOST = 10**15  # a year at thirty million a second: what is more was mistyped
_SINGULAR = ("1 s", "1 min", "1 h", "1 d")

Counted = Mapping[str, Mapping[str, int]]  # role -> counter -> value


def why_over(memory: Memory, now: float) -> str:
    """Why the open run is complete and has to be stopped; empty while it is not, or a command is under way."""
    run, held = memory.run, memory.goal
    if run is None or not run.running or run.stop_asked or run.policy_asked or (held is not None and held.active):
        return ""
    terms, asker = run.terms, f" (asked for by {run.terms.person})" if run.terms.person else ""
    if terms.duration_s and now >= run.running_since_s + terms.duration_s:
        words = duration_words(terms.duration_s)
        return f"{words} {'is' if words in _SINGULAR else 'are'} over{asker}"
    if terms.events and now >= run.running_since_s + COUNTERS_COME_S and run_events(memory) >= terms.events:
        return f"reached {terms.events:,} events{asker}"
    return ""


def look_again_s(run: RunMemory, now: float) -> float | None:
    """The next moment at which time alone may end the run; None when there is none to come."""
    if not run.running or run.stop_asked:
        return None
    moments = []
    if run.terms.duration_s:
        moments.append(run.running_since_s + run.terms.duration_s)
    if run.terms.events:
        moments.append(run.running_since_s + COUNTERS_COME_S)
    return min((moment for moment in moments if moment > now), default=None)


def progress(memory: Memory, now: float) -> str:
    """How far the open run is on the way to its end: `4,310 of 10,000 events, 3 min left`; empty when it has none.

    Where nobody counts what a run of so many events ends with, that is said instead.
    """
    run = memory.run
    if run is None or not run.running or run.stop_asked:
        return ""
    parts = []
    if run.terms.events:
        late = now >= run.running_since_s + COUNTERS_COME_S
        if late and not _event_counter(_counted(memory)):
            counters, end = (
                ", ".join(EVENT_COUNTERS),
                "" if run.terms.duration_s else ": this run will not end by itself",
            )
            parts.append(f"no role has counted events so far ({counters}){end}")
        else:
            parts.append(f"{run_events(memory):,} of {run.terms.events:,} events")
    if run.terms.duration_s:
        left_s = max(0.0, run.running_since_s + run.terms.duration_s - now)
        parts.append(f"{duration_words(round(left_s))} left")
    return ", ".join(parts)


def run_events(memory: Memory) -> int:
    """How many events the run has, by the rule above, as far as counters have come."""
    ranks: dict[str, int] = {}
    specs = memory.farm.sub_farms if memory.farm is not None else (memory.spec,) if memory.spec is not None else ()
    _rank_roles(specs, ranks)
    return count_events(_counted(memory), ranks)


def _counted(memory: Memory) -> list[Counted]:
    """What has been counted in the open run: here, and by each controller below."""
    if memory.run is None:
        return []
    here: list[Counted] = [role_counters(memory, memory.run.number)] if memory.processes else []
    return here + list(counters_below(memory, memory.run.number).values())


def _event_counter(parts: Sequence[Counted]) -> str:
    """The counter that counts events; empty when nobody has any."""
    known = {name for part in parts for counters in part.values() for name in counters}
    return next((name for name in EVENT_COUNTERS if name in known), "")


def count_events(parts: Sequence[Counted], ranks: Mapping[str, int]) -> int:
    """The events that several parts of a farm have counted; `ranks` say how far down the data flow each role is."""
    counter = _event_counter(parts)
    total = 0
    for part in parts:
        counting = [role for role, counters in part.items() if counter in counters]
        last = max((ranks.get(role, 0) for role in counting), default=0)
        total += sum(part[role][counter] for role in counting if ranks.get(role, 0) == last)
    return total


def _rank_roles(specs: Iterable[SubFarmSpec], ranks: dict[str, int]) -> None:
    for spec in specs:
        for role in spec.roles:
            ranks[role.name] = max(role.rank, ranks.get(role.name, 0))
        _rank_roles(spec.sub_farms, ranks)
