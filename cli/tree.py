"""A farm as a table of its tree: state, health, what each member says, and how many processes are where.

Used by `grange status` for one moment and by `grange watch` for every moment.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from grange.client import MemberStatus, Status
from grange.client.values import Busy, Cause
from grange.core import paths
from grange.core.hostlist import natural_key
from grange.core.names import Health, Kind

from .text import duration, health, membership, revision, state

EXPANDED_PROCESSES_MAX = 60  # shown one by one unless a depth is asked for: a screen or two
_STATUS_LENGTH_MAX = 300  # characters of a member's sentence


def header(status: Status) -> Text:
    """The farm in three lines: where it is, with which configuration, and what is under way."""
    member = status.member
    text = Text()
    text.append(f"{status.farm or member.name}", style="bold")
    if member.path:
        text.append(f" {member.path}")
    text.append(": ").append_text(state(member.state)).append(", ").append_text(health(member.health))
    if member.run_number:
        text.append(f", run {member.run_number}", style="bold")
    text.append("\n")
    loaded, selected = member.revision, status.selected_revision
    text.append(f"configuration {revision(loaded or selected)}")
    if loaded and selected and loaded != selected:
        text.append(f"; {revision(selected)} is selected for the next load", style="yellow")
    text.append(f" · {status.holder or 'controller'}, grange {status.version}")
    if member.busy is not None:
        text.append("\n").append_text(busy_text(member.busy))
    elif status.possible:
        text.append(f"\npossible now: {', '.join(status.possible)}")
    return text


def busy_text(busy: Busy) -> Text:
    """The transition under way, in one sentence."""
    text = Text(f"{busy.doing}", style="bold")
    since = duration(max(0.0, time.time() - busy.since_unix_s))
    text.append(f" by {busy.person or 'somebody'} for {since}: {busy.done} of {busy.total} done", style="not bold")
    if busy.slowest:
        text.append(f", waiting for {busy.slowest}", style="yellow not bold")
    return text.append(f" · cancel with: grange cancel {busy.command_id}", style="dim not bold")


def tree(members: Iterable[MemberStatus]) -> Table:
    """One row for each member, indented below its parent; siblings in natural order."""
    rows = sorted(members, key=lambda member: natural_path(member.path))
    known = {member.path for member in rows}
    expanded = {paths.parent(member.path) for member in rows if member.path}
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for member in rows:
        depth = sum(1 for above in _ancestors(member.path) if above in known)
        name = Text("  " * depth + (member.name or "farm"), style="bold" if member.kind is Kind.FARM else "")
        counts = "" if member.path in expanded and member.kind is Kind.NODE else counts_text(member)
        said = "; ".join(part for part in (counts, member.status[:_STATUS_LENGTH_MAX]) if part)
        table.add_row(name, state(member.state), health(member.health), membership(member.membership), said)
    return table


def counts_text(member: MemberStatus) -> str:
    """How many processes of each role are where: `psa 3 taking, 1 unknown (error); trigger 1 taking`."""
    roles: dict[str, Counter[str]] = {}
    for count in member.counts:
        where = str(count.state) if count.health is Health.OK else f"{count.state} ({count.health})"
        roles.setdefault(count.role, Counter())[where] += count.processes
    return "; ".join(
        f"{role} " + ", ".join(f"{number} {where}" for where, number in sorted(wheres.items()))
        for role, wheres in sorted(roles.items())
    )


def causes_lines(causes: Iterable[Cause]) -> list[RenderableType]:
    """Why members are not well, after an empty line; nothing when all are well."""
    lines = [Text(f"{cause.members} × {cause.reason} ({cause.example})", style="red") for cause in causes]
    return ["", Text("not well:", style="bold"), *lines] if lines else []


def whole(status: Status) -> RenderableType:
    """All of `grange status`."""
    parts: list[RenderableType] = [header(status), "", tree(status.members), *causes_lines(status.causes)]
    if any(status.counters.values()):
        parts += ["", counters_table(status.counters)]
    return Group(*parts)


def counters_table(counters: Mapping[str, Mapping[str, int]]) -> RenderableType:
    """What each role has counted in the run."""
    table = Table.grid(padding=(0, 2))
    for role, values in sorted(filter(lambda counted: counted[1], counters.items())):
        table.add_row(Text(role), Text("  ".join(f"{name} {value}" for name, value in sorted(values.items()))))
    return Group(Text("counted in the run:", style="bold"), table)


def natural_path(path: str) -> tuple[object, ...]:
    """A sort key: parents before their children, psa-2 before psa-10."""
    return tuple(natural_key(part) for part in path.split("/")) if path else ()


def _ancestors(path: str) -> Iterable[str]:
    while path:
        path = paths.parent(path)
        yield path
