"""Carries out `grange lease`, `who`, `audit` and `token`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from textwrap import fill
from typing import TypeVar

import typer
from rich.table import Table

from grange.client import AsyncFarm
from grange.client.values import AuditEntry, Lease, Origin, Who
from grange.client.values import as_json as to_json
from grange.core.durations import duration_words
from grange.core.wording import COMMENT_LENGTH_MAX

from .plain import in_one_line
from .shell import print_json, say, say_behind, tell
from .text import console, lease_words, moment

T = TypeVar("T")

_INDENT = "    "  # of what goes on in another line
_LATELY_S = 3600.0  # a visitor who has not called for longer is left out


def _ask(home: Path | None, question: Callable[[AsyncFarm], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with AsyncFarm(home) as farm:
            return await question(farm)

    return asyncio.run(ask())


def show_lease(home: Path | None, *, as_json: bool) -> None:
    """Who may command."""
    lease = _ask(home, lambda farm: farm.lease())
    if as_json:
        print_json(_lease_json(lease))
    else:
        tell(_lease_line(lease))


def take_lease(home: Path | None, duration_s: float, comment: str, *, force: bool, as_json: bool) -> None:
    """Takes it, and says from whom."""
    taken = _ask(home, lambda farm: farm.take_lease(duration_s, comment=comment, force=force))
    if as_json:
        print_json(to_json(taken))
        return
    if taken.before is not None:
        say(f"taken from {lease_words(taken.before)}")
    tell(_lease_line(taken.lease))


def release_lease(home: Path | None, *, as_json: bool) -> None:
    """Gives it back."""
    _ask(home, lambda farm: farm.release_lease())
    if as_json:
        print_json(_lease_json(None))
    else:
        tell(_lease_line(None))


def show_who(home: Path | None, *, as_json: bool) -> None:
    """Who may command, who is about."""
    found = _ask(home, lambda farm: farm.who())
    if as_json:
        print_json(to_json(found))
        return
    tell(f"you are {found.you}, {found.access}")
    tell(_lease_line(found.lease))
    if found.access_trouble:
        tell(found.access_trouble)
    if found.last is not None:
        tell(f"last command: {_deed(found.last)}")
    console().print(_visitors(found))


def _visitors(found: Who) -> Table:
    table = Table("person", "may", "from", "last call", "open", box=None, pad_edge=False, header_style="dim")
    now_s = time.time()
    for seen in found.visitors:
        age_s = max(0.0, now_s - seen.last_unix_s)
        if age_s < _LATELY_S or seen.streams:
            streams = str(seen.streams) if seen.streams else ""
            table.add_row(seen.person, seen.access, _from(seen.origin), f"{duration_words(round(age_s))} ago", streams)
    return table


def show_audit(home: Path | None, most: int, age_s: float, person: str, *, as_json: bool) -> None:
    """The trail, the newest last."""
    from .offline import open_store  # the database and all that it needs

    with open_store(home) as store:
        entries = store.audit(most, since_unix_s=time.time() - age_s if age_s else 0.0, person=person)
    if as_json:
        print_json([to_json(entry) for entry in entries])
        return
    say_behind(entries)
    if not entries:
        tell("nothing was commanded")
    screen = console()
    for entry in reversed(entries):
        line = _deed(entry)
        tell(fill(line, screen.width, subsequent_indent=_INDENT) if screen.is_terminal else line)


def print_token(home: Path | None, *, as_json: bool) -> None:
    """For other programs."""
    login = _ask(home, lambda farm: farm.login())
    if as_json:
        print_json(to_json(login))
    else:
        typer.echo(login.token)


def _deed(entry: AuditEntry) -> str:
    """An entry in one line: when, who, what, how it went, and from where."""
    what = " ".join(word for word in (entry.what, entry.members) if word)
    comment = f" ({_shortened(entry.comment)})" if entry.comment else ""
    end = entry.outcome or "under way"
    reason = f": {entry.reason}" if entry.reason else ""
    origin = f"  [{_from(entry.origin)}]" if entry.origin.uid >= 0 else ""
    return in_one_line(f"{moment(entry.at_unix_s)}  {entry.person}  {what}{comment}  {end}{reason}{origin}")


def _shortened(comment: str) -> str:
    """A comment of before they had a limit fills no screens."""
    more = len(comment) - COMMENT_LENGTH_MAX
    return comment if more <= 0 else f"{comment[:COMMENT_LENGTH_MAX]}… and {more:,} characters more: --json"


def _from(origin: Origin) -> str:
    """From where, for people."""
    label = f" as {origin.label}" if origin.label else ""
    return f"{origin.program or 'a program'}{label}, {origin.host} pid {origin.pid}"


def _lease_line(lease: Lease | None) -> str:
    return f"lease: {lease_words(lease)}" if lease is not None else "lease: nobody's; every shifter may command"


def _lease_json(lease: Lease | None) -> object:
    return to_json(lease) if lease is not None else None
