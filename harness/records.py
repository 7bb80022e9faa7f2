"""The database of a simulated farm: what was persisted, and what a farm controller that starts again is told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from grange.core.effects import Answer, Persist
from grange.core.events import LeaseRestored, Restored
from grange.core.goals import from_document
from grange.core.names import State
from grange.core.plan import FarmSpec
from grange.core.reports import RunTerms

RUN_FIELDS = ("running", "stop_asked", "end_reason", "degraded", "degraded_reason", "last_seen_unix_s")


class Database:
    """What was persisted: it is in the outbox, on the farm controller's disk, at once, whether or not this is away."""

    def __init__(self) -> None:
        self.records: list[Persist] = []  # in the outbox, in their order; what was repeated is in it once
        self.away = False
        self.run_numbers: dict[str, int] = {}  # by command
        self._keys: set[str] = set()
        self._running_since_s: dict[int, float] = {}
        self._accepted_s: dict[str, float] = {}  # by command
        self.last_life_s = 0.0  # the last sign of life of a farm controller that is gone
        self._lease: tuple[float, Mapping[str, Any]] | None = None  # when it was recorded, and what

    def keep(self, record: Persist, now: float) -> None:
        """Keeps a record; one with the key of another changes nothing, and of goals and leases the newest counts."""
        if record.kind == "lease_set":
            self._lease = now, record.data
            self.records.append(record)
            return
        if record.key in self._keys and record.kind != "goal_set":
            return
        self._keys.add(record.key)
        self.records.append(record)
        if record.kind == "run_running":
            self._running_since_s.setdefault(record.data["number"], now)
        if record.kind == "command_recorded":
            self._accepted_s[record.data["id"]] = now

    def allot(self, command_id: str) -> int:
        """A run number: for the same command the same."""
        return self.run_numbers.setdefault(command_id, len(self.run_numbers) + 1)

    def lease(self, now: float) -> LeaseRestored | None:
        """Who holds the right to command, for a farm controller that takes its farm back."""
        at_s, data = self._lease or (now, {"holder": ""})
        if not data["holder"] or at_s + data["remaining_s"] <= now:
            return None
        passed_s = now - at_s
        return LeaseRestored(
            data["holder"], data["held_for_s"] + passed_s, data["remaining_s"] - passed_s, data["comment"]
        )

    def what_is_remembered(self, revisions: Mapping[str, FarmSpec], now: float) -> Restored | None:
        """What a farm controller takes its farm back with; None for a farm that was never told anything."""
        running_for_s = {number: now - since_s for number, since_s in self._running_since_s.items()}
        found = what_is_remembered(self.records, self.run_numbers, revisions, running_for_s)
        if found is None:
            return None
        under_way = {repair.id for repair in found.goal.repairs}
        under_way |= {found.goal.command_id} if found.under_way else set()
        ages_s = {one: now - self._accepted_s[one] for one in under_way if one in self._accepted_s}
        return replace(found, ages_s=ages_s, last_seen_unix_s=found.last_seen_unix_s or self.last_life_s)

    def settle_the_rest(self) -> list[Persist]:
        """Closes what a crash left open, as the store of a farm controller does when it starts.

        Commands that were accepted and are not part of the goal are interrupted; a run other than the goal's has ended.
        """
        restored = self.what_is_remembered({}, 0.0)
        under_way = set()
        if restored is not None:
            under_way = {repair.id for repair in restored.goal.repairs}
            under_way |= {restored.goal.command_id} if restored.under_way else set()
        ended = {record.data["id"] for record in self.records if record.kind == "command_ended"}
        begun = [record.data["id"] for record in self.records if record.kind == "command_recorded"]
        settled = [
            Persist("command_ended", f"command-ended/{one}", {"id": one, "outcome": "interrupted", "reason": ""})
            for one in begun
            if one not in ended and one not in under_way
        ]
        over = {record.data["number"] for record in self.records if record.kind == "run_ended"}
        open_run = restored.run_number if restored is not None else 0
        settled += [
            Persist("run_ended", f"run_ended/{number}", {"number": number, "end_reason": "given up", "degraded": False})
            for number in self.run_numbers.values()
            if number not in over and number != open_run
        ]
        for record in settled:
            self.keep(record, 0.0)
        return settled


def what_is_remembered(
    records: Sequence[Persist],
    run_numbers: Mapping[str, int],
    revisions: Mapping[str, FarmSpec],
    running_for_s: Mapping[int, float],
) -> Restored | None:
    """What the records tell a farm controller that is started again.

    `running_for_s` says of each run that was running at any time how long ago that began.
    """
    goals = [record.data for record in records if record.kind == "goal_set"]
    if not goals:
        return None
    kept: Mapping[str, Any] = goals[-1]
    ended = {record.data["number"] for record in records if record.kind == "run_ended"}
    run = kept["run"]
    # The newest number may have been allotted for the goal's command, and the farm controller gone before it was told.
    number = run["number"] if run is not None else max(run_numbers.values(), default=0)
    if number in ended:
        run, number = None, 0
    return Restored(
        goal=from_document(kept),
        spec=revisions.get(kept["revision"]),
        under_way=kept["active"],
        remaining_s=kept["remaining_s"],
        run_number=number,
        **{name: run[name] for name in RUN_FIELDS if run is not None},
        running_for_s=running_for_s.get(number, 0.0),
        run_terms=RunTerms(**(run or kept)["terms"]),
        terms=RunTerms(**kept["terms"]),
        outcomes=_outcomes(records),
    )


def _outcomes(records: Sequence[Persist]) -> dict[str, tuple[str, Answer | None]]:
    """The digest of each command, and its outcome if it has one."""
    found: dict[str, tuple[str, Answer | None]] = {}
    for record in records:
        data = record.data
        if record.kind == "command_recorded":
            found[data["id"]] = (data["digest"], None)
        elif record.kind == "command_ended":
            digest, _ = found[data["id"]]
            found[data["id"]] = (digest, Answer(data["id"], data["outcome"], data["reason"], State.UNKNOWN, 0, 0.0))
    return found
