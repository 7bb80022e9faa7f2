"""What a controller tells the one above it: all that is known of a sub-farm there, in one message.

Of those that are not well it tells the first few by name, and all reasons with the numbers of those who share them.
"""

from . import repairing, run_members
from .causes import Cause, grouped
from .memory import Memory, counted_run, run_counters, run_files
from .names import Membership
from .paths import join
from .reports import ControllerReport
from .runkeeping import stop_wanted
from .standing import run_number
from .view import exceptions, own_row, unwell


def report(memory: Memory, now: float) -> ControllerReport:
    """What this controller tells its parent."""
    held = memory.goal
    missing = any(run_members.is_missing(process) for process in memory.processes.values())
    below = [child.report for child in memory.children.values() if child.report is not None]
    counted = counted_run(memory)
    counters = run_counters(memory, counted)
    changes, changes_left_out = run_members.all_changes(memory)
    return ControllerReport(
        row=own_row(memory, now),
        command_id=held.goal.command_id if held is not None else "",
        done=held is None or not held.active,
        ok=held is None or held.ok,
        reason=held.reason if held is not None else "",
        notes=held.notes if held is not None else (),
        exceptions=tuple(exceptions(memory, now)),
        causes=causes(memory, now),
        counters=counters,
        files=run_files(memory, counted),
        counted_run=counted,
        stop_run_wanted=stop_wanted(memory),
        run_number=run_number(memory),
        degraded=missing or any(one.degraded for one in below),
        undrained=any(values.get("undrained", 0) for values in counters.values()),
        repairs=repairing.report(memory, now),
        changes=changes,
        changes_left_out=changes_left_out,
        unheard=_unheard(memory),
    )


def _unheard(memory: Memory) -> tuple[str, ...]:
    """The nodes and controllers here and below whose program is not attached: only these may be given up for good."""
    found = [join(memory.path, link.name) for link in memory.links.values() if not link.attached]
    for child in memory.children.values():
        if memory.links[child.name].attached and child.report is not None:
            found += child.report.unheard
    return tuple(found)


def causes(memory: Memory, now: float) -> tuple[Cause, ...]:
    """Why members here and below are not well, the most frequent reason first."""
    found = [Cause(row.status, 1, row.path) for row in unwell(memory, now)]
    for child in memory.children.values():
        if child.membership is not Membership.OUT_BY_PERSON and child.report is not None:
            found += child.report.causes
    return grouped(found)
