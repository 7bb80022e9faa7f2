"""A database that is lost, or older than its farm, and what the home tells of the farm without it.

A database that was replaced by an older one no longer knows the numbers that are never given twice, nor, perhaps, the
run that is open. The farm around it does: incarnations are in the state of every keeper, which refuses a lower one; run
numbers are in the notes of the processes, in the names of the data files, and in the records that still wait for the
database or that it refused; and the open run is in the goal that waits there. So numbers go on behind the last one
given, and the open run goes on as what is known of it. In place of a lost database none is made: it would know nothing.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grange.core import keeping
from grange.core.home import Home
from grange.core.judging import RUN_TYPES
from grange.core.reports import RunTerms
from grange.schema import control, revisions, runs
from grange.schema.database import Database
from grange.schema.errors import DatabaseMissing, UnknownRevision
from grange.schema.outbox import Entry, Outbox
from grange.schema.requests import perform

log = logging.getLogger(__name__)

_PUT_BACK = (
    "Put it back, or a backup of it: grange db restore FILE. To begin with a new one: grange config import FILE. "
    "What still runs is ended by: grange down --kill"
)
_TOO_OLD = (
    "It is older than the farm. Put a newer backup in its place, after grange down --kill: grange db restore FILE; "
    "or go on without the records that wait: mv {outbox} {outbox}.lost"
)
_DATA_FILE = re.compile(r"run_(\d{1,18})_")


@dataclass(frozen=True, slots=True)
class NumbersGiven:
    """The highest that the home knows of; 0 for none."""

    run: int = 0
    incarnation: int = 0  # of a farm controller


def was_there(home: Home) -> str:
    """By which folders one sees that a farm has been at work in a home; empty when none has."""
    folders = (f"{home.root}/sf", home.nodes)
    return " and ".join(path for path in folders if os.path.isdir(path) and os.listdir(path))


def demand_database(home: Home) -> None:
    """Raises `DatabaseMissing` where a farm was at work and its database is gone."""
    if not os.path.exists(home.database) and (seen := was_there(home)):
        raise DatabaseMissing(
            f"the database {home.database} is missing, and a farm was at work here (see {seen})", _PUT_BACK
        )


def bring_up_to_the_farm(database: Database, farm: str, home: Home, outbox: Outbox) -> None:
    """Has a database that is older than its farm give no number twice, and know the run that is open.

    To be asked before the claim is taken and before what waits in the outbox is written. Raises `UnknownRevision` when
    the database does not know what the farm was told to use.
    """
    waiting = outbox.pending()
    given = numbers_given(home, waiting, outbox.rejected_path)
    if not perform(database, control.GoOnFrom(farm, given.incarnation, given.run)):
        log.warning("the database is older than this farm: run numbers go on behind %d", given.run)
    for entry in waiting:
        goal = entry.payload.get("goal")
        if not goal or not goal["revision"]:
            continue
        try:
            revisions.find_revision(database, goal["revision"])
        except UnknownRevision:
            error = UnknownRevision(f"the database does not know revision {goal['revision'][:12]}, which the farm uses")
            error.what_to_try = _TOO_OLD.format(outbox=home.outbox)
            raise error from None
        if (recorded := goal.get("run")) is not None:
            perform(database, _adopted(recorded, goal, entry.payload["at_ns"]))


def _adopted(recorded: Mapping[str, Any], goal: Mapping[str, Any], at_ns: int) -> runs.AdoptRun:
    """The open run that a goal's record tells, as far as it does."""
    number, terms = recorded["number"], RunTerms(**recorded.get("terms", {}))
    asked = runs.AllotRunNumber(
        f"adopted/{number}",
        goal["revision"],
        terms.person or goal["person"],
        at_ns,
        terms.run_type or RUN_TYPES[0],
        terms.run_mode,
        terms.comment,
        terms.events,
        round(terms.duration_s * 1e9),
    )
    return runs.AdoptRun(number, asked)


def numbers_given(home: Home, waiting: Iterable[Entry], rejected: Path) -> NumbersGiven:
    """What the home tells, with the records of its outbox: those that wait, and the file of those that were refused."""
    runs, incarnations = [0, *_data_files(home)], [0]
    kept = [(entry.payload, entry.incarnation) for entry in waiting]
    for payload, incarnation in (*kept, *_set_aside(rejected)):
        runs += _runs_of(payload)
        incarnations.append(incarnation)
    for node in Path(home.nodes).glob("*/*"):
        runs += _runs_of_processes(node)
        incarnations.append(_highest_seen(node))
    return NumbersGiven(max(runs), max(incarnations))


def _runs_of(payload: Mapping[str, Any]) -> Iterator[int]:
    """The runs that a record is about."""
    goal = payload.get("goal") or {}
    for found in (payload.get("run"), goal.get("run_number"), (goal.get("run") or {}).get("number")):
        if isinstance(found, int):
            yield found


def _set_aside(rejected: Path) -> Iterator[tuple[Mapping[str, Any], int]]:
    with suppress(FileNotFoundError), rejected.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # a torn line
                told = json.loads(line)
                yield told["record"], int(told["incarnation"])


def _data_files(home: Home) -> Iterator[int]:
    with suppress(FileNotFoundError), os.scandir(home.data) as files:
        for file in files:
            if name := _DATA_FILE.match(file.name):
                yield int(name[1])


def _runs_of_processes(node: Path) -> Iterator[int]:
    with suppress(OSError):
        manifests, _ = keeping.replay((node / "manifests.jsonl").read_text(errors="replace"))
        yield from (int(one.note.get("unit", {}).get("run_number", 0)) for one in manifests.values())


def _highest_seen(node: Path) -> int:
    """The farm controller's incarnation is the first of those above a node."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        return int(json.loads((node / "keeper.json").read_text())["parents"][0])
    return 0
