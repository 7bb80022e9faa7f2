"""Carries out `grange doctor`: is the farm well as seen from this machine, and what is left over of a crash?"""

import asyncio
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import typer

from grange.client import AsyncFarm, Status
from grange.client.home import demand_farm, demand_own, resolve_home
from grange.core.errors import GrangeError
from grange.core.home import Home
from grange.core.names import State

from .doctor_findings import Finding, Found, end_all, look
from .exits import Exit
from .shell import print_json, say, tell

ALIKE_SHOWN = 3  # of those of a kind about which the same is to be done, by name
ANSWER_LIMIT_S = 5.0  # for the farm controller; reading never waits, so one that is well answers at once


def examine(given: Path | None, *, clear: bool, as_json: bool) -> None:
    """Tell what is found, and with `clear` remove what can be; exits with 1 when something stays."""
    home = resolve_home(given)
    demand_farm(home)
    demand_own(home)
    found = look(home)
    condition, trouble = _condition(home, found)
    findings = [*trouble, *found.findings]
    told = _cleared(findings) if clear else [(finding, "") for finding in findings]
    if clear:  # what was held by a process that has been ended is free now
        known = {finding.what for finding in findings}
        told += _cleared([one for one in look(home).findings if one.what not in known])
    stays = [finding for finding, how in told if how != finding.done]
    if as_json:
        print_json({"home": home.root, "condition": condition, "findings": [_as_json(*one) for one in told]})
    else:
        _tell(condition, told, clear=clear)
    if stays:
        raise typer.Exit(Exit.FAILED)


def _condition(home: Home, found: Found) -> tuple[str, list[Finding]]:
    """One sentence on what there is of the farm, and what is wrong with its controller."""
    programs = len(found.serving)
    if not found.has_farm:
        if not programs and not found.processes:
            return "nothing of the farm runs on this machine", []
        return (
            f"the farm runs on without a farm controller ({programs} programs, {len(found.processes)} processes); "
            "grange up takes it back"
        ), []
    pid = found.serving["farm"].pid
    try:
        status = asyncio.run(_ask(home))
    except (GrangeError, TimeoutError) as error:
        reason = str(error) or f"it has not answered for {ANSWER_LIMIT_S:.0f} s"
        to_do = (
            f"If it stays so: kill -CONT {pid} if it is stopped, else kill -9 {pid}, then grange up; nothing is lost"
        )
        return f"the farm controller (pid {pid}) does not answer", [Finding("controller", reason, to_do)]
    member = status.member
    if member.state is State.ABSENT:
        return f"the farm controller (pid {pid}) answers: {status.farm} is absent, {member.health}", []
    return (
        f"the farm controller (pid {pid}) answers: {status.farm} is {member.state}, {member.health}; "
        f"{programs} programs and {len(found.processes)} processes run on this machine"
    ), []


async def _ask(home: Home) -> Status:
    async with asyncio.timeout(ANSWER_LIMIT_S), AsyncFarm(home.root) as farm:
        return await farm.status(depth=0)


def _cleared(findings: Sequence[Finding]) -> list[tuple[Finding, str]]:
    """Each, with what became of it. What is to be ended is ended first, for it may hold the rest."""
    stays = end_all([finding.ends for finding in findings if finding.ends is not None], say)
    return [(finding, _outcome(finding, stays)) for finding in findings]


def _outcome(finding: Finding, stays: Container[int]) -> str:
    if finding.ends is not None:
        pid = finding.ends.pid
        return f"could not be cleared: process {pid} does not end" if pid in stays else finding.done
    if finding.clear is None:
        return "left to a person"
    try:
        finding.clear()
    except OSError as error:
        return f"could not be cleared: {error}"
    return finding.done


def _as_json(finding: Finding, how: str) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "what": finding.what,
        "to_do": finding.to_do,
        "clearable": finding.is_clearable,
        "outcome": how,
    }


def _tell(condition: str, told: list[tuple[Finding, str]], *, clear: bool) -> None:
    tell(condition)
    if not told:
        tell("nothing is left over: no stale socket, lock, book, shared memory, unfinished file or process")
        return
    alike: dict[tuple[str, str], list[str]] = {}
    for finding, how in told:
        advice = f"{how}. {finding.to_do}" if how == "left to a person" else how or finding.to_do
        alike.setdefault((finding.kind, advice), []).append(finding.what)
    for (_, advice), things in alike.items():
        shown = things if len(things) <= ALIKE_SHOWN + 1 else things[:ALIKE_SHOWN]
        for thing in shown:
            tell(f"- {thing}")
        if len(things) > len(shown):
            tell(f"- and {len(things) - len(shown)} more like these; all of them: grange doctor --json")
        tell(f"  {advice}")
    if not clear and any(finding.is_clearable for finding, _ in told):
        say("to clear what can be cleared: grange doctor --clear")
