"""The database of a simulated farm: what was persisted, and what a farm controller that starts again is told of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from grange.core.effects import Answer, Persist
from grange.core.events import Restored
from grange.core.goals import from_document
from grange.core.names import State
from grange.core.plan import FarmSpec
from grange.core.reports import RunTerms

RUN_FIELDS = ("running", "stop_asked", "end_reason", "degraded", "degraded_reason")


def keep(records: list[Persist], record: Persist) -> None:
    """Keeps a record; one with the key of another changes nothing, and of goals the newest counts."""
    if record.kind == "goal_set" or all(record.key != other.key for other in records):
        records.append(record)


def what_is_remembered(
    records: Sequence[Persist],
    run_numbers: Mapping[str, int],
    revisions: Mapping[str, FarmSpec],
    running_for_s: Mapping[int, float],
) -> Restored | None:
    """What a farm controller takes its farm back with; None for a farm that was never told anything.

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
