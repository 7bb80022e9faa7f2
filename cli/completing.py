"""What the shell completes from the farm that runs: members, runs, revisions, and the command under way.

This happens at a press of a key. So nobody is asked where no socket is, an answer that takes longer than `LIMIT_S` is
no answer, and whatever goes wrong is silence: then the shell completes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from grange.core.errors import GrangeError

if TYPE_CHECKING:
    from grange.client import AsyncFarm

LIMIT_S = 0.3  # for the controller's answer; loading what asks it takes about as long again
_LEVELS = 2  # below what is complete: with one only, the shell would take each name for the whole and put a space
_NEWEST = 30  # runs and revisions offered
_SHOWN_CHARACTERS = 10  # of a revision's hash

Completions = list[tuple[str, str]]  # each with what it is, which zsh and fish show


def complete_member(context: typer.Context, incomplete: str) -> Completions:
    """Members whose path begins like that, two levels deep, so that no farm is too large to be asked."""
    above = incomplete.rpartition("/")[0]

    async def question(farm: "AsyncFarm") -> Completions:
        status = await farm.status(above, _LEVELS)
        return [(member.path, f"{member.state}, {member.health}") for member in status.members if member.path != above]

    return _matching(_answer(context, question), incomplete)


def complete_run(context: typer.Context, incomplete: str) -> Completions:
    """Numbers of the newest runs."""

    async def question(farm: "AsyncFarm") -> Completions:
        return [(str(run.number), run.comment or run.end_reason) for run in await farm.runs(_NEWEST)]

    return _matching(_answer(context, question), incomplete)


def complete_revision(context: typer.Context, incomplete: str) -> Completions:
    """Tags, and the beginnings of the newest revisions' hashes: as many digits as were typed, and ten at least."""
    digits = max(_SHOWN_CHARACTERS, len(incomplete))

    async def question(farm: "AsyncFarm") -> Completions:
        found = await farm.config_list(_NEWEST)
        tags = [(tag, revision.hash[:digits]) for revision in found for tag in revision.tags]
        return tags + [(revision.hash[:digits], revision.message) for revision in found]

    return _matching(_answer(context, question), incomplete)


def complete_command(context: typer.Context, incomplete: str) -> Completions:
    """The id of the command under way."""

    async def question(farm: "AsyncFarm") -> Completions:
        busy = (await farm.status(depth=0)).member.busy
        return [(busy.command_id, busy.doing)] if busy is not None else []

    return _matching(_answer(context, question), incomplete)


def _matching(found: Iterable[tuple[str, str]], incomplete: str) -> Completions:
    return [(word, what) for word, what in found if word.startswith(incomplete)]


def _answer(context: typer.Context, question: Callable[["AsyncFarm"], Awaitable[Completions]]) -> Completions:
    """The farm's answer; nothing without one."""
    from grange.client import AsyncFarm
    from grange.client.home import resolve_home

    async def ask() -> Completions:
        async with asyncio.timeout(LIMIT_S), AsyncFarm(home.root, deadline_s=LIMIT_S) as farm:
            return await question(farm)

    try:
        home = resolve_home(_home(context))
        return asyncio.run(ask()) if Path(home.farm_socket).exists() else []
    except (GrangeError, OSError):  # a TimeoutError is an OSError
        return []


def _home(context: typer.Context) -> Path | None:
    """The --home of what was typed so far: that of the innermost command that has one."""
    at: typer.Context | None = context
    while at is not None:
        if given := at.params.get("home"):
            return Path(given)
        at = at.parent  # type: ignore[assignment]
    return None
