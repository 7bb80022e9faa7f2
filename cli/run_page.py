"""Carries out `grange runs` and `grange runs show N`: the table of runs, and all that is known of one.

Both fit 80 columns: in the table type and reason are cut at a terminal and comments left out where it is narrow; on a
run's page nothing is.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from grange.client import Farm, RunRecord
from grange.client.home import resolve_home
from grange.client.values import OutputFile, RunMember
from grange.client.values import as_json as to_json
from grange.core.durations import duration_words
from grange.core.names import Membership, State

from .offline import open_store
from .plain import in_one_line
from .shell import print_json, say_behind
from .text import console, moment, revision, size
from .unfinished import Unfinished, unfinished_files

_MINUTES = len("2026-11-22 01:24")  # of a moment: enough for a table
_NOTHING: Mapping[int, str] = {}
_COMMENTS_FROM_WIDTH = 110  # columns: with less there is no room for why a run ended


def list_runs(home: Path | None, most: int, *, as_json: bool) -> None:
    with open_store(home) as store:
        runs, now = store.runs(most), _how_it_goes(store)
    if as_json:
        print_json([to_json(run) for run in runs])
        return
    say_behind(runs)
    screen = console()
    comments = screen.width >= _COMMENTS_FROM_WIDTH
    screen.print(runs_table(runs, comments=comments, now=now) if runs else "no runs yet")


def show_run(home: Path | None, number: int, *, as_json: bool) -> None:
    with open_store(home) as store:
        run, now = store.run(number), _how_it_goes(store)
    left = tuple(one for one in unfinished_files(resolve_home(home)) if one.run_number == number)
    if as_json:
        unfinished = [{"path": str(one.path), "size_bytes": one.size_bytes} for one in left]
        print_json(to_json(run) | {"unfinished": unfinished})
        return
    say_behind([run])
    print_run(run, now, left)


def _how_it_goes(store: Farm) -> Mapping[int, str]:
    """The state of the run that is under way, by its number; nothing while no controller can tell."""
    if store.is_offline:
        return {}
    farm = store.status(depth=0).member
    return {farm.run_number: "running" if farm.state is State.TAKING else farm.state.value}


def runs_table(runs: tuple[RunRecord, ...], *, comments: bool = True, now: Mapping[int, str] = _NOTHING) -> Table:
    """One line for each run; what does not fit a terminal is cut from type, reason and comment.

    `now` says how the run is that has not ended.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, is_cut in (
        ("run", False),
        ("type", True),
        ("started", False),
        ("took data", False),
        ("by", False),
        ("ended", True),
        ("comment", True),
    ):
        if comments or name != "comment":
            table.add_column(name, no_wrap=not is_cut)
    for run in runs:
        table.add_row(
            str(run.number),
            _one_line(_type(run)),
            moment(run.start_asked_unix_s)[:_MINUTES],
            _data_time(run),
            run.person,
            _one_line(_ended(run, now.get(run.number, ""))),
            *([_one_line(run.comment)] if comments else []),
        )
    return table


def print_run(run: RunRecord, now: Mapping[int, str] = _NOTHING, left: Sequence[Unfinished] = ()) -> None:
    """A run with its moments, its members' comings and goings, its books and its files, for people."""
    screen = console()
    for part in run_page(run, now, left):
        screen.print(part)


def run_page(
    run: RunRecord, now: Mapping[int, str] = _NOTHING, left: Sequence[Unfinished] = ()
) -> Iterator[RenderableType]:
    yield Text(f"run {run.number}", style="bold")
    yield _facts(run, now.get(run.number, ""))
    if run.members:
        yield _title("went out and came back")
        yield from (_member(member) for member in run.members)
    if run.changes_left_out:
        yield _indented(f"and {run.changes_left_out} more changes, which were too many to keep")
    for sub_farm, roles in sorted(run.counters.items()):
        yield _title(f"counted in {sub_farm}")
        yield _counters(roles)
    yield from _books(run)
    if run.files:
        yield _title("files")
        for file in run.files:
            yield from _file(file)
    if left:
        yield _title("unfinished files")
        why = "its writer ended before the run" if run.stopped_unix_s else "its writer may be at it"
        for one in left:
            yield _indented(str(one.path))
            yield _further(f"{size(one.size_bytes)}; {why}")


def _facts(run: RunRecord, now: str) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    quality = [f"degraded{': ' * bool(run.degraded_reason)}{run.degraded_reason}"] if run.degraded else []
    quality += ["undrained: not all data that were under way arrived"] if run.undrained else []
    tags = f" ({', '.join(run.tags)})" if run.tags else ""
    for name, value in (
        ("type", _type(run)),
        ("comment", run.comment),
        ("by", run.person),
        ("configuration", f"{revision(run.revision)}{tags}"),
        ("start asked", moment(run.start_asked_unix_s)),
        ("running", _since(run.running_unix_s, "", run.start_asked_unix_s, "later")),
        ("to end after", _wanted_end(run)),
        ("stop asked", _since(run.stop_asked_unix_s, "after ", run.running_unix_s, "")),
        ("stopped", _since(run.stopped_unix_s, "", run.stop_asked_unix_s, "later")),
        ("took data", _data_time_and_why(run)),
        ("ended", run.end_reason or ("" if run.stopped_unix_s else f"not yet: {now or 'grange status'}")),
        ("quality", "; ".join(quality) or ("good" if run.stopped_unix_s else "")),
    ):
        if value:
            facts.add_row(f"  {name}", Text(value))
    return facts


def _wanted_end(run: RunRecord) -> str:
    events = f"{run.ends_after_events:,} events" if run.ends_after_events else ""
    return " or ".join(filter(None, [events, duration_words(run.ends_after_s) if run.ends_after_s else ""]))


def _since(at_unix_s: float, before: str, since_unix_s: float, after: str) -> str:
    """A moment, and how far it is from the one before; a dash for what has not happened."""
    if not at_unix_s or not since_unix_s:
        return moment(at_unix_s)
    return f"{moment(at_unix_s)}, {before}{duration_words(max(0.0, at_unix_s - since_unix_s))} {after}".rstrip()


def _member(member: RunMember) -> RenderableType:
    at = moment(member.at_unix_s)
    style = "" if member.membership is Membership.IN else "yellow"
    text = Text(f"{at}  {member.path} {member.membership}", style=style)
    return _indented(text.append(f": {member.reason}" if member.reason else "", style="not bold"))


def _counters(roles: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for role, values in roles.items():
        table.add_row(f"  {role}", "  ".join(f"{name} {value}" for name, value in sorted(values.items())))
    return table


def _books(run: RunRecord) -> Iterator[RenderableType]:
    if run.mismatches:
        yield Text("\nthe books do not balance", style="bold red")
        yield from (_indented(Text(mismatch, style="red")) for mismatch in run.mismatches)
    if run.inexact:
        yield Text("\nthe books are exact but for what died in the run", style="bold yellow")
        yield from (_indented(Text(rule, style="yellow")) for rule in run.inexact)
    if run.mismatches or run.inexact:
        return
    if run.rules_asked:
        rules = "1 rule holds" if run.rules_asked == 1 else f"all {run.rules_asked} rules hold"
        yield Text(f"\nthe books balance: {rules}", style="bold")
    elif run.counters:
        yield Text("\nno books: nothing was counted that could be compared", style="bold")


def _file(file: OutputFile) -> Iterator[RenderableType]:
    yield _indented(file.path)
    yield _further(f"{size(file.size_bytes)}, written by {file.member}")
    yield _further(f"sha256 {file.sha256}")


def _further(text: str) -> Padding:
    """What is said of a file, below its name."""
    return Padding(Text(text), (0, 0, 0, 4), expand=False)


def _type(run: RunRecord) -> str:
    return "/".join(filter(None, [run.type, run.mode]))


def _ended(run: RunRecord, now: str) -> str:
    flags = ["degraded"] * run.degraded + ["undrained"] * run.undrained
    marks = f"({', '.join(flags)}) " if flags else ""  # in front: what is cut is the end
    return marks + (run.end_reason or ("-" if run.stopped_unix_s else now or "not yet"))


def _data_time(run: RunRecord) -> str:
    """From running to the stop's asking, or to the last sign of life; a dash while it cannot be told."""
    ended = run.last_seen_unix_s or run.stop_asked_unix_s or run.stopped_unix_s
    return duration_words(max(0.0, ended - run.running_unix_s)) if run.running_unix_s and ended else "-"


def _data_time_and_why(run: RunRecord) -> str:
    if not run.last_seen_unix_s:
        return _data_time(run)
    return f"{_data_time(run)}, to the last sign of life, {moment(run.last_seen_unix_s)}; nobody saw it end"


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _indented(text: str | Text) -> Padding:
    """Further lines of a long text are indented like its first."""
    return Padding(Text(text) if isinstance(text, str) else text, (0, 0, 0, 2), expand=False)


def _one_line(text: str) -> Text:
    return Text(in_one_line(text), no_wrap=True, overflow="ellipsis")
