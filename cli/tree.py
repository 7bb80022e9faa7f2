"""A farm as a table of its tree: state, health, what each member says, and how many processes are where.

Used by `grange status` for one moment and by `grange watch` for every moment.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from grange.client import MemberStatus, Status
from grange.client.values import Busy, Cause
from grange.core import paths
from grange.core.durations import duration_words
from grange.core.hostlist import natural_key
from grange.core.names import Health, Kind, State

from .text import health, lease_words, membership, revision
from .text import state as state_text

EXPANDED_PROCESSES_MAX = 60  # shown one by one unless a depth is asked for: a screen or two
_EXCLUDED = "excluded"  # where processes are that a person has taken out: in no state that counts


def header(status: Status, told: Collection[str] = ()) -> Text:
    """The farm in a few lines: where it is, what it says, with which configuration, and what is under way."""
    member = status.member
    text = headline(member, status.farm).append("\n")
    if member.busy is None and (sentence := own_sentence(member, told)):
        text.append_text(sentence).append("\n")
    loaded, selected = member.revision, status.selected_revision
    text.append(f"configuration {revision(loaded or selected)}")
    if loaded and selected and loaded != selected:
        first = f" (first: grange go {status.go_first})" if status.go_first else ""
        text.append(f"; next load: {revision(selected)}{first}", style="yellow")
    text.append(f" · {status.holder or 'controller'}, grange {status.version}")
    if status.lease is not None:
        text.append(f"\nlease: {lease_words(status.lease)}")
    if status.access_trouble:
        text.append(f"\n{status.access_trouble}", style="yellow")
    if member.busy is not None:
        text.append("\n").append_text(busy_text(member.busy))
    elif status.possible:
        text.append(f"\npossible now: {', '.join(status.possible)}")
    return text


def headline(member: MemberStatus, farm: str = "") -> Text:
    """Name, state, health and run, in one line."""
    text = Text(farm or member.name, style="bold")
    if member.path:
        text.append(f" {member.path}")
    text.append(": ", style="not bold").append_text(state_text(member.state)).append(", ", style="not bold")
    text.append_text(health(member.health))
    if member.run_number:
        text.append(f", run {member.run_number}")
    return text


def own_sentence(member: MemberStatus, told: Collection[str]) -> Text | None:
    """What a member says of itself, so far as it stands neither in its headline nor in `told`: how far its run is."""
    sentence = member.status
    for known in told:
        sentence = "" if sentence == known else sentence.removesuffix(f"; {known}")
    known_already = not sentence or sentence == f"run {member.run_number}"
    return None if known_already else Text(sentence, style="not bold")


def busy_text(busy: Busy) -> Text:
    """The transition under way, in two lines."""
    text = Text(f"{busy.doing}", style="bold")
    since = duration_words(max(0.0, time.time() - busy.since_unix_s))
    text.append(f" by {busy.person or 'somebody'} for {since}: {busy.done} of {busy.total} done\n", style="not bold")
    if busy.slowest:
        text.append(f"waiting for {busy.slowest}; ", style="yellow not bold")
    return text.append("cancel with: grange cancel", style="dim not bold")


def tree(members: Iterable[MemberStatus], told: Iterable[str] = (), *, one_line: bool = False) -> Table:
    """One row for each member, indented below its parent; siblings in natural order.

    Sentences in `told` stand elsewhere already: a parent does not repeat them, the process they are about does. What
    does not fit a terminal goes on in its column, or is cut where a row is to be `one_line`.
    """
    told = set(told)
    rows = sorted(members, key=lambda member: natural_path(member.path))
    known = {member.path for member in rows}
    expanded = {paths.parent(member.path) for member in rows if member.path}
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(no_wrap=True)
    table.add_column()  # the only one that gives way: state and health are never cut
    for member in rows:
        depth = sum(1 for above in _ancestors(member.path) if above in known)
        name = Text(
            "  " * depth + ((member.name if depth else member.path) or member.name or "farm"),
            style="bold" if member.kind is Kind.FARM else "",
        )
        counts = "" if member.path in expanded and member.kind is Kind.NODE else counts_text(member)
        sentence = "" if member.kind is not Kind.PROCESS and member.status in told else member.status
        if not sentence and not counts and member.health is not Health.OK:
            sentence = _not_well_below(member, rows)
        pid = f"pid {member.pid}" if member.kind is Kind.PROCESS and member.pid else ""
        returning = "returning" if member.returning else ""
        said = "; ".join(part for part in (counts, pid, returning, sentence) if part)
        line = Text(said, no_wrap=True, overflow="ellipsis") if one_line else Text(said, overflow="fold")
        table.add_row(name, state_text(member.state), health(member.health), membership(member.membership), line)
    return table


def _not_well_below(member: MemberStatus, rows: Iterable[MemberStatus]) -> str:
    """How many of those right below a member are not well, where why is told elsewhere."""
    below = [row for row in rows if row.path and paths.parent(row.path) == member.path and row.path != member.path]
    ill = sum(row.health is not Health.OK for row in below)
    return f"{ill} of {len(below)} not well" if ill else ""


def counts_text(member: MemberStatus) -> str:
    """How many processes of each role are where: `psa 3 taking, 1 unknown (error), 2 excluded; trigger 1 taking`."""
    roles: dict[str, Counter[str]] = {}
    for count in member.counts:
        where = str(count.state) if count.health is Health.OK else f"{count.state} ({count.health})"
        roles.setdefault(count.role, Counter())[_EXCLUDED if count.out else where] += count.processes
    return "; ".join(
        f"{role} " + ", ".join(f"{wheres[where]} {where}" for where in sorted(wheres, key=_excluded_last))
        for role, wheres in sorted(roles.items())
    )


def _excluded_last(where: str) -> tuple[bool, str]:
    return where == _EXCLUDED, where


def causes_lines(
    causes: Iterable[Cause], top: MemberStatus | None = None, *, returning: bool = False
) -> list[RenderableType]:
    """Why members are not well and what to try, before an empty line; nothing when all are well.

    While some are `returning` there is nothing to try: what is under way may be all that is needed.
    """
    lines, only_controllers = [], True
    for cause in causes:
        only_controllers = only_controllers and bool(cause.example) and "/" not in cause.example
        who = f"{cause.members} members, such as {cause.example}" if cause.members > 1 else cause.example
        lines.append(Text(f"{who}: {cause.reason}", style="red"))
    if not lines:
        return []
    advice = [] if returning else _advice(top)
    if only_controllers and advice:  # a sub-farm is told by its own name while its controller cannot be heard
        advice = [Text("  a controller that is lost is started again by itself: wait some seconds", style="yellow")]
    return [Text("not well:", style="bold"), *lines, *advice, ""]


def _advice(top: MemberStatus | None) -> list[Text]:
    """What brings members back: into a run each by itself, else a target, which gives each one the steps it needs."""
    if top is None or top.busy is not None:
        return []
    if top.path:
        return [Text(f"  to bring back what is not well there: grange recover {top.path}", style="yellow")]
    if top.state in (State.TAKING, State.PAUSED):
        return [Text("  to bring them back into the run: grange recover", style="yellow")]
    return [Text("  once the cause is gone: grange go running (or go initial, to end everything)", style="yellow")]


def whole(status: Status) -> RenderableType:
    """All of `grange status`."""
    told = {cause.reason for cause in status.causes}
    trouble = causes_lines(status.causes, status.member, returning=any(member.returning for member in status.members))
    head = header(status, told)
    rows = tree(status.members, told | {status.member.status})
    parts: list[RenderableType] = [head, "", *trouble, rows]
    if any(status.counters.values()):
        parts += ["", counters_table(status.counters)]
    return Group(*parts)


def part(status: Status) -> RenderableType:
    """Those members of `grange status` that a pattern selects."""
    told = {cause.reason for cause in status.causes}
    return Group(*causes_lines(status.causes), tree(status.members, told))


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
