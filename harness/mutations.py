"""Planted bugs: each patches one function of core or of the simulated world, and the checkers have to find it.

A checker that never fails says nothing. So each of these is a way in which grange could be wrong, switched on while a
`with` lasts; nothing of it is in core. `found_by` is the first seed whose ordeal breaks with it.

    python -P -m grange.harness.mutations [NAME…]     looks for the first seed of each, among `SEEDS`
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from grange.core import (
    deadlines,
    faults,
    keeping,
    lease,
    links,
    observing,
    outcomes,
    planner,
    process_handover,
    repairing,
    runkeeping,
    view,
)
from grange.core.effects import Persist
from grange.core.fencing import Guard, Verdict
from grange.core.keeping import Book, Manifest, RequestError, Taking, WantedSlot
from grange.core.names import Membership
from grange.core.plan import Quorum
from grange.core.process import Unit

from .checkers import Broken
from .ordeal import ordeal
from .records import Database
from .simulated_controller import SimController

SEEDS = 1000  # each planted bug is found by one of so many worlds


@dataclass(frozen=True, slots=True)
class Mutation:
    """A planted bug: in `owner`, a module or class, the function `name` becomes what `wrong` makes of it."""

    what: str
    owner: Any
    name: str
    wrong: Callable[[Callable[..., Any]], Callable[..., Any]]
    found_by: int

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The bug is there as long as this lasts."""
        right = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.wrong(right))
        try:
            yield
        finally:
            setattr(self.owner, self.name, right)

    def finding(self, seed: int) -> str:
        """What the ordeal of that seed finds with the bug; empty: nothing. A crash is none, for it needs no checker."""
        with self.planted():
            try:
                ordeal(seed)
            except Broken as error:
                return str(error).splitlines()[0] if isinstance(error.__cause__, AssertionError) else ""
        return ""

    def first_seed(self, seeds: range) -> int | None:
        """The first of the seeds that finds the bug."""
        return next((seed for seed in seeds if self.finding(seed)), None)


def _constant(value: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The function gives always the same."""
    return lambda right: lambda *arguments, **options: value


def _nothing(right: Callable[..., Any]) -> Callable[..., Any]:
    """The function wishes for nothing."""
    return lambda *arguments, **options: []


def _no_one(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda memory: iter(())


def _always_one(right: Callable[..., int]) -> Callable[..., int]:
    def allot(database: Database, command_id: str) -> int:
        right(database, command_id)
        database.run_numbers[command_id] = 1
        return 1

    return allot


def _one_less(right: Callable[..., int]) -> Callable[..., int]:
    return lambda *arguments, **options: max(0, right(*arguments, **options) - 1)


def _spares_the_excluded(right: Callable[..., Any]) -> Callable[..., Any]:
    def wanted(memory: Any, process: Any, goal: Any) -> Any:
        return None if process.membership is Membership.OUT_BY_PERSON else right(memory, process, goal)

    return wanted


def _same_command(right: Callable[..., bool]) -> Callable[..., bool]:
    return lambda one, other: bool(one.command_id == other.command_id)


def _keeps_the_run(right: Callable[..., Persist]) -> Callable[..., Persist]:
    def end(memory: Any, now: float, run: Any) -> Persist:
        ended = right(memory, now, run)
        memory.run = run
        return ended

    return end


def _still_active(right: Callable[..., Persist]) -> Callable[..., Persist]:
    def goal_record(memory: Any) -> Persist:
        record = right(memory)
        return replace(record, data={**record.data, "active": True, "remaining_s": 1.0})

    return goal_record


def _backwards(right: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    return lambda *arguments: right(*arguments)[::-1]


def _forgets_what_was_under_way(right: Callable[..., Any]) -> Callable[..., Any]:
    def what_is_remembered(database: Database, revisions: Any, now: float) -> Any:
        restored = right(database, revisions, now)
        return replace(restored, under_way=False) if restored is not None and revisions else restored

    return what_is_remembered


def _without_waiting(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda unit, now: [*right(unit, now), *unit._gone(now)]


def _knows_nothing(right: Callable[..., Unit]) -> Callable[..., Unit]:
    return lambda now, spec, *arguments: Unit(spec.path)


def _spawns_again(right: Callable[..., Manifest | None]) -> Callable[..., Manifest | None]:
    def plan_spawn(book: Book, request: Any) -> Manifest | None:
        book.manifests.pop(request["slot"], None)
        return right(book, request)

    return plan_spawn


def _takes_a_held_slot(right: Callable[..., Taking]) -> Callable[..., Taking]:
    return lambda wanted, now, is_free, is_unwanted: right(wanted, now, True, is_unwanted)


def _forgets_one(right: Callable[..., Any]) -> Callable[..., Any]:
    def replay(text: str) -> Any:
        manifests, problems = right(text)
        return {slot: manifests[slot] for slot in sorted(manifests)[1:]}, problems

    return replay


def _whoever_has_the_number(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda manifest, boot_id, start_ticks: right(manifest, boot_id, manifest.start_ticks)


def _keeps_what_is_forgotten(right: Callable[..., Manifest]) -> Callable[..., Manifest]:
    def forget(book: Book, instance: str) -> Manifest:
        manifest = right(book, instance)
        book.manifests[manifest.slot] = manifest
        return manifest

    return forget


def _counts_one(right: Callable[..., int]) -> Callable[..., int]:
    return lambda memory: min(1, right(memory))


def _knows_no_parents(right: Callable[..., bool]) -> Callable[..., bool]:
    def check_fence(book: Book, fence: Any) -> bool:
        try:
            right(book, fence)
        except RequestError:
            pass
        return False

    return check_fence


def _by_its_own_number(right: Callable[..., str]) -> Callable[..., str]:
    return lambda memory, process, command, command_id: (
        f"{command_id}/{process.path}/{command}/{memory.fence[-1]}.{process.attempts}"
    )


MUTATIONS = (
    Mutation(
        "an order's id is that of an order of the farm controller before", planner, "_order_id", _by_its_own_number, 119
    ),
    Mutation("an order that was lost is not sent again", observing, "_resend", _nothing, 2),
    Mutation("nobody is fenced", Guard, "judge", _constant(Verdict.CURRENT), 16),
    Mutation("a new agent takes up nothing of what runs", process_handover, "recovered", _knows_nothing, 0),
    Mutation("a quorum needs one less", Quorum, "needed", _one_less, 4),
    Mutation("a command is answered before it is done", outcomes, "waiting", _no_one, 0),
    Mutation("an exit is not heeded", Unit, "_ended", _nothing, 0),
    Mutation("a process is spawned twice when its agent asks again", Book, "plan_spawn", _spawns_again, 21),
    Mutation("a process is started in a slot whose lock is held", WantedSlot, "look", _takes_a_held_slot, 50),
    Mutation("a new keeper has lost a process of the one before", keeping, "replay", _forgets_one, 0),
    Mutation("a new keeper adopts whoever has the number now", keeping, "adopted", _whoever_has_the_number, 9),
    Mutation("a new keeper does not find what it cannot name", keeping, "claimant", _constant(None), 21),
    Mutation("a new keeper takes for ended what lives", keeping, "adopted", _constant({"unknown": "nobody saw it"}), 0),
    Mutation("a keeper does not forget an exit", Book, "forget", _keeps_what_is_forgotten, 1),
    Mutation("a keeper keeps no incarnations for the next agent", Book, "check_fence", _knows_no_parents, 78),
    Mutation("more of a goal is not sent on", links, "same", _same_command, 0),
    Mutation("no alarm is ever set", deadlines, "next_s", _constant(None), 4),
    Mutation("a shutdown spares whom a person has excluded", planner, "wanted", _spares_the_excluded, 0),
    Mutation("a repair never ends", repairing, "finish", _nothing, 0),
    Mutation("all runs get the same number", Database, "allot", _always_one, 0),
    Mutation("the order of ranks is ignored", planner._Ranks, "allow", _constant(True), 0),
    Mutation(
        "a new farm controller drops the command under way",
        Database,
        "what_is_remembered",
        _forgets_what_was_under_way,
        1,
    ),
    Mutation("an outcome is told before it is recorded", outcomes, "_tell", _backwards, 0),
    Mutation("a run that has ended is still there", runkeeping, "_end", _keeps_the_run, 0),
    Mutation("the run number is not passed on", links, "run_number_for", _constant(0), 0),
    Mutation("a child is released with what it has", links, "is_empty", _constant(True), 0),
    Mutation("a process counts as ended when it is signalled", Unit, "_shut_down", _without_waiting, 0),
    Mutation("an exit is told while grandchildren live", keeping, "may_tell_exit", _constant(True), 7),
    Mutation("what a node knows nothing of is believed to be there", observing, "_missing", _nothing, 22),
    Mutation("no fault makes a role short", faults, "shortfall", _constant(None), 4),
    Mutation("a command is recorded as under way for ever", outcomes, "goal_record", _still_active, 0),
    Mutation(
        "who has seen a newer farm controller heeds the older one", SimController, "is_outdated", _constant(False), 1
    ),
    Mutation("a farm controller that starts again knows of no lease", lease, "restored", _constant(None), 0),
    Mutation("of those that are unaccounted for one is counted", view, "unaccounted", _counts_one, 5),
    Mutation("anybody commands, whoever holds the lease", lease, "refusal", _constant(None), 3),
)


def main(names: list[str]) -> int:
    missed = 0
    for mutation in MUTATIONS:
        if names and not any(name in mutation.what for name in names):
            continue
        seed = mutation.first_seed(range(SEEDS))
        missed += seed is None
        print(f"{mutation.what}: {'not found' if seed is None else seed}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
