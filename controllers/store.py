"""The farm controller's memory beyond its life: its claim, its records through the outbox, run numbers, its goal.

Waiting for the database happens in the writer's thread or in a helper thread, never on the event loop, with one
exception: a record that has to be durable before an effect is appended to the outbox file and synced on the spot.
"""

import asyncio
import contextlib
import functools
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from grange.core.access import Origin
from grange.core.configuration import Configuration
from grange.core.effects import AllotRunNumber, Answer, Persist
from grange.core.events import LeaseRestored
from grange.core.expansion import expand_farm
from grange.core.goals import from_document
from grange.core.home import Home
from grange.core.judging import RUN_TYPES
from grange.core.known_ids import IDS_MAX, KnownIds
from grange.core.memory import OUTCOMES_KEPT, RunMemory
from grange.core.names import Membership, State
from grange.core.plan import FarmSpec
from grange.core.reports import Goal, RunTerms
from grange.proto.log_lines import local_stamp
from grange.schema import control, revisions, runs
from grange.schema.database import open_database, sqlite_url
from grange.schema.errors import ClaimLost, DatabaseAway, OutboxFailed, OutboxFull, SchemaError
from grange.schema.outbox import Outbox
from grange.schema.records import (
    AuditNoted,
    CommandEnded,
    CommandRecorded,
    GoalSet,
    LeaseSet,
    Record,
    RunCounter,
    RunDegraded,
    RunEnded,
    RunFile,
    RunMemberMoved,
    RunRunning,
    RunStopAsked,
)
from grange.schema.requests import perform
from grange.schema.writer import RETRY_LAST_S, Writer, WriterState

from .program import boot_id
from .traces import bring_up_to_the_farm, demand_database

log = logging.getLogger(__name__)

CLAIM_REFRESH_S = 5.0
CLAIM_FRESH_S = 20.0  # a claim that was not refreshed for so long is a dead controller's
LOOK_EVERY_S = 1.0  # at how the way into the database fares
TRY_AGAIN_S = 0.5  # whoever starts a run waits so long for a database that was away; a locked one takes longer to tell
ANSWER_S = 10.0  # for what needs an answer of the database
CATCH_UP_S = 2.0  # a reader waits so long for records that are on their way; older ones are better than none
DRAIN_S = 10.0  # at the start, from one look at what a crash left in the outbox to the next
GIVE_UP_S = 6.0  # for the writer's last attempt, which waits for a lock for up to 5 s
FARM = "farm"  # the farm's key in its own database

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the database remembers of a farm's control."""

    goal: Goal
    spec: FarmSpec | None
    under_way: bool
    remaining_s: float
    terms: RunTerms  # of the run that the goal's command was to start
    run: RunMemory | None  # the run that has not ended
    running_for_s: float  # that run, until now
    outcomes: Mapping[str, tuple[str, Answer | None]]
    ages_s: Mapping[str, float]  # of the commands under way, since they were accepted


class Store:
    """The database of one farm, held by its controller."""

    def __init__(self, home: Home) -> None:
        """Opens the database and takes the claim; the caller holds the home's lock. Raises `SchemaError`.

        `DatabaseAway` also when what a crash has left in the outbox does not get in: the database would not know yet
        what the farm was told last.
        """
        demand_database(home)
        self._engine = open_database(sqlite_url(Path(home.database)))
        with contextlib.ExitStack() as undone:
            undone.callback(self._engine.dispose)
            claim = control.TakeClaim(
                FARM,
                holder=f"grange {socket.gethostname()}:{os.getpid()}",
                host=socket.gethostname(),
                boot_id=boot_id(),
                pid=os.getpid(),
                now_ns=time.time_ns(),
                fresh_s=CLAIM_FRESH_S,
                same_host_lock_held=True,
            )
            self._last_life_ns = control.last_sign_of_life(self._engine, FARM) or 0
            self._outbox = Outbox(Path(home.outbox))
            undone.callback(self._outbox.close)
            bring_up_to_the_farm(self._engine, FARM, home, self._outbox)
            self.incarnation = perform(self._engine, claim)
            self._unsaved: deque[tuple[Record, bool]] = deque()
            self._trouble = ""
            self._writer = Writer(self._engine, self._outbox, incarnation=self.incarnation)
            self._writer.start()
            undone.callback(self._writer.close, GIVE_UP_S)
            self._drain()
            perform(self._engine, control.Begin(FARM, self.incarnation))
            self._known = KnownIds()
            for row in reversed(control.commands(self._engine, IDS_MAX)):
                self._known.add(row.id, row.accepted_at_ns / 1e9)
            undone.pop_all()

    def _drain(self) -> None:
        """Waits until the database has all that waits. Raises `DatabaseAway` when it does not take it."""
        while not self._writer.flush(DRAIN_S):
            state = self._writer.state
            if state.away_since_ns is not None:
                raise DatabaseAway(f"{state.lag} records of before wait for the database: {state.last_error}")
            log.info("%d records of before still wait for the database", state.lag)
        if rejected := self._writer.state.rejected:
            log.warning(
                "%d records of before were refused by the database and are kept in %s, each with the reason",
                rejected,
                self._outbox.rejected_path,
            )

    @property
    def state(self) -> WriterState:
        """How the way into the database fares."""
        return self._writer.state

    def close(self) -> None:
        """Writes what waits, gives the claim back, and closes everything."""
        with contextlib.suppress(SchemaError, TimeoutError):
            self._writer.ask(control.ReleaseClaim(FARM, self.incarnation), 2.0).result(3.0)
        if not self._writer.close(5.0):
            log.warning("%d records wait in the outbox for the next start", self._writer.state.lag)
        self._outbox.close()
        self._engine.dispose()

    async def read(self, question: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Asks the database something (a function of `grange.schema` that takes the engine first), in a thread."""
        return await asyncio.to_thread(functools.partial(question, self._engine, *arguments, **options))

    async def caught_up(self) -> None:
        """Waits until the database has what was recorded so far, so that a question sees it; not for long."""
        if self._writer.state.lag:
            await asyncio.to_thread(self._writer.flush, CATCH_UP_S)

    # ---- the claim --------------------------------------------------------------------------------------------------

    async def keep_claim(self, lost: Callable[[str], None]) -> None:
        """For ever: keeps the claim fresh; calls `lost` and returns when a later controller has the farm."""
        while True:
            await asyncio.sleep(CLAIM_REFRESH_S)
            self.save()
            refresh = control.RefreshClaim(FARM, self.incarnation, time.time_ns())
            try:
                await asyncio.wrap_future(self._writer.ask(refresh, ANSWER_S))
            except ClaimLost as error:
                lost(str(error))
                return
            except SchemaError as error:
                log.warning("the claim could not be refreshed: %s", error)

    async def watch(self, told: Callable[[str], None]) -> None:
        """For ever: says why records wait when the database or the disk refuses them, and nothing when they do not."""
        while True:
            if self._trouble:
                self.save()
            told(self.why_records_wait())
            await asyncio.sleep(LOOK_EVERY_S)

    async def try_again(self, *, wait: bool) -> None:
        """Has what the disk and the database refused tried again at once.

        With `wait` it returns when it is known whether the database is there again, or soon without.
        """
        self.save()
        if self._writer.state.away_since_ns is None:
            return
        self._writer.hurry()
        if wait:
            refresh = control.RefreshClaim(FARM, self.incarnation, time.time_ns())
            with contextlib.suppress(SchemaError, TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(self._writer.ask(refresh, ANSWER_S)), TRY_AGAIN_S)

    def behind(self) -> str:
        """Why what the database tells may be older than what happened; empty when it tells all."""
        count = self._writer.state.lag + len(self._unsaved)
        if not count or not (why := self.why_records_wait()):
            return ""
        return f"{count} records wait, so what is told may be older: {why}"

    def why_records_wait(self) -> str:
        """Empty when they do not."""
        if self._trouble:
            return f"records wait in memory: {self._trouble}"
        state = self._writer.state
        if state.away_since_ns is None:
            return ""
        since = local_stamp(state.away_since_ns / 1e9, milliseconds=False)
        return (
            f"the database has not taken records since {since}, they wait in the outbox and are tried again "
            f"every {RETRY_LAST_S:.0f} s: {state.last_error}"
        )

    # ---- records ----------------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why records cannot be made durable just now; empty when they can."""
        return self._trouble

    def persist(self, effect: Persist) -> None:
        """Makes a record durable (in the outbox) before this returns.

        One that the disk refuses waits in memory, so that a run can be stopped on a full disk; `trouble` says so, and
        further commands are refused until it is written.
        """
        for record in _records(effect, time.time_ns()):
            self._unsaved.append((record, effect.sync))
            if isinstance(record, CommandRecorded):
                self._known.add(record.command_id, time.time())
        self.save()

    def note(self, person: str, origin: Origin, what: str, outcome: str, reason: str = "", **said: str) -> None:
        """Adds to the audit trail what is no recorded command; `said` are `members` and `comment`."""
        if self._trouble:
            return  # what cannot be written must not fill the memory either
        told = said.get("members", ""), said.get("comment", ""), outcome, reason
        self._unsaved.append((AuditNoted(person, origin, what, *told, time.time_ns()), False))
        self.save()

    def save(self) -> None:
        """Puts what is still in memory into the outbox, in order, until the disk refuses."""
        while self._unsaved:
            try:
                self._writer.put(*self._unsaved[0])
            except (OutboxFailed, OutboxFull) as error:
                if not self._trouble:
                    log.error("records cannot be made durable, they wait in memory: %s", error)
                self._trouble = str(error)
                return
            self._unsaved.popleft()
        if self._trouble:
            log.info("records are durable again")
        self._trouble = ""

    async def allot_run_number(self, effect: AllotRunNumber) -> int:
        """The number of a new run; asked again for the same command, the same. Raises `SchemaError`.

        `ClaimLost` when another controller has the farm by now.
        """
        request = runs.AllotRunNumber(
            effect.command_id,
            effect.revision,
            effect.person,
            time.time_ns(),
            effect.terms.run_type or RUN_TYPES[0],
            effect.terms.run_mode,
            effect.terms.comment,
            effect.terms.events,
            round(effect.terms.duration_s * 1e9),
        )
        held = control.Holding(FARM, self.incarnation, request)
        return await asyncio.wrap_future(self._writer.ask(held, ANSWER_S))

    def command(self, command_id: str) -> control.CommandRow | None:
        """A command that the database remembers; of one that nobody has given yet it is not asked."""
        known = self._known.may_have(command_id, time.time())
        return control.command_of(self._engine, command_id) if known else None

    # ---- taking the farm back ---------------------------------------------------------------------------------------

    def lease(self) -> LeaseRestored | None:
        """Who held the right to command, and has it still."""
        found, now_ns = control.lease(self._engine, FARM), time.time_ns()
        if found is None or found.until_ns <= now_ns:
            return None
        held_for_s, remaining_s = max(0, now_ns - found.at_ns) / 1e9, (found.until_ns - now_ns) / 1e9
        return LeaseRestored(found.holder, held_for_s, remaining_s, found.comment)

    def remembered(self) -> Remembered | None:
        """What this farm was told to reach before; None when it never was told anything."""
        document = control.goal(self._engine, FARM)
        if document is None:
            return None
        goal = from_document(document)
        age_s = max(0.0, time.time() - document["at_unix_s"])
        remaining_s = max(5.0, document["remaining_s"] - age_s)
        terms = _terms(document)
        run, running_for_s = self._open_run(document, terms, age_s)
        under_way = commands_under_way(goal, document["active"])
        return Remembered(
            goal=goal,
            spec=self._spec(goal.revision),
            under_way=document["active"],
            remaining_s=remaining_s,
            terms=terms,
            run=run,
            running_for_s=running_for_s,
            outcomes=self._outcomes(goal, under_way),
            ages_s=self._ages_s(under_way),
        )

    def _open_run(self, document: Mapping[str, Any], terms: RunTerms, age_s: float) -> tuple[RunMemory | None, float]:
        """The run that was open when the goal was recorded, unless it has ended meanwhile; and how long it is running.

        The newest number may have been allotted for the goal's command without the goal's record telling it. A moment
        that is not in the database yet is no younger than the goal's record, which is `age_s` old.
        """
        recorded = document.get("run")  # records of before it was kept have none
        if recorded is not None:
            found = runs.run_details(self._engine, recorded["number"]).run
        else:
            newest = runs.runs(self._engine, limit=1) if document["active"] else []
            if not newest:
                return None, 0.0
            found = newest[0]
        if found.stopped_at_ns is not None:
            return None, 0.0
        running_for_s = age_s if found.running_at_ns is None else time.time() - found.running_at_ns / 1e9
        if recorded is None:
            return RunMemory(found.number, terms=terms), 0.0
        run = RunMemory(**{**recorded, "terms": _terms(recorded)})
        run.last_seen_unix_s = run.last_seen_unix_s or self._last_life_ns / 1e9
        return run, max(0.0, running_for_s)

    def _outcomes(self, goal: Goal, under_way: Collection[str]) -> dict[str, tuple[str, Answer | None]]:
        """The last commands by id, oldest first, so that one that is repeated is recognised.

        Which run a command was about is known of the last one, whose goal is kept: its caller may still be asking.
        """
        found: dict[str, tuple[str, Answer | None]] = {}
        for row in reversed(control.commands(self._engine, limit=OUTCOMES_KEPT)):
            if row.id in under_way:
                found[row.id] = (row.digest, None)
            elif row.outcome is not None:
                duration_s = ((row.ended_at_ns or row.accepted_at_ns) - row.accepted_at_ns) / 1e9
                run_number = goal.run_number if row.id == goal.command_id else 0
                answer = Answer(row.id, row.outcome, row.reason, State.UNKNOWN, run_number, duration_s)
                found[row.id] = (row.digest, answer)
        return found

    def _ages_s(self, commands: Collection[str]) -> dict[str, float]:
        found = [row for one in commands if (row := control.command_of(self._engine, one)) is not None]
        return {row.id: max(0.0, time.time() - row.accepted_at_ns / 1e9) for row in found}

    def settle_the_rest(self, under_way: Collection[str], open_run: int) -> None:
        """Closes what a crash left open: commands that nobody finishes, runs that the goal does not know."""
        now_ns = time.time_ns()
        for row in control.unfinished_commands(self._engine):
            if row.id not in under_way:
                reason = "the farm controller was restarted meanwhile and cannot tell how it ended"
                self._writer.put(CommandEnded(row.id, "interrupted", reason, now_ns))
        for run in runs.runs(self._engine, limit=20):
            if run.stopped_at_ns is not None or run.number == open_run:
                continue
            if run.running_at_ns is None:
                ended = RunEnded(run.number, "given up: it never started", False, now_ns)
            else:  # it is not known when it ended: at the last sign of life of whoever had it, for all that is
                reason = run.end_reason or "the farm controller was restarted and cannot tell how it ended"
                ended = RunEnded(run.number, reason, False, now_ns, last_seen_at_ns=self._last_life_ns or None)
            self._writer.put(ended)

    def _spec(self, revision: str) -> FarmSpec | None:
        if not revision:
            return None
        found, configuration = revisions.load_configuration(self._engine, revision)
        return expand_farm(configuration, found.hash)

    def selected(self) -> FarmSpec | None:
        """The configuration that the next load takes; None while there is none."""
        if revisions.CURRENT not in revisions.tags(self._engine):
            return None
        return self._spec(revisions.CURRENT)

    def plan(self, revision: str, configuration: Configuration) -> FarmSpec:
        return expand_farm(configuration, revision)


def _terms(document: Mapping[str, Any]) -> RunTerms:
    """What was said of a run; nothing in records of before it was kept."""
    return RunTerms(**document.get("terms", {}))


def commands_under_way(goal: Goal, active: bool) -> set[str]:
    """The ids of commands of a goal that have no outcome yet: its own while it is `active`, and its repairs."""
    return {repair.id for repair in goal.repairs} | ({goal.command_id} if active else set())


def _records(effect: Persist, now_ns: int) -> list[Record]:
    """The records of an effect of core, stamped with the wall clock."""
    data = effect.data
    match effect.kind:
        case "command_recorded":
            what = data["digest"], data["person"], data["what"], data["path"]
            return [CommandRecorded(data["id"], *what, now_ns, data["comment"], Origin(**data["origin"]))]
        case "command_ended":
            return [CommandEnded(data["id"], data["outcome"], data["reason"], now_ns)]
        case "goal_set":
            return [GoalSet(FARM, {**data, "at_unix_s": now_ns / 1e9}, now_ns)]
        case "lease_set":
            since_ns, until_ns = now_ns - round(data["held_for_s"] * 1e9), now_ns + round(data["remaining_s"] * 1e9)
            return [LeaseSet(FARM, data["holder"], since_ns, until_ns, data["comment"])]
        case "run_running":
            return [RunRunning(data["number"], now_ns)]
        case "run_stop_asked":
            return [RunStopAsked(data["number"], data["reason"], now_ns)]
        case "run_degraded":
            return [RunDegraded(data["number"], data["reason"], now_ns)]
        case "run_member":
            at_ns = now_ns - round(data["age_s"] * 1e9)
            membership = Membership(data["membership"])
            return [RunMemberMoved(data["number"], data["path"], membership, data["reason"], at_ns, str(data["id"]))]
        case "run_ended":
            counters = tuple(RunCounter(**counter) for counter in data["counters"])
            files = tuple(
                RunFile(file["sub_farm"], file["path"], file["size_bytes"], f"sha256:{file['sha256']}", file["member"])
                for file in data["files"]
            )
            return [
                RunEnded(
                    data["number"],
                    data["end_reason"],
                    data["undrained"],
                    now_ns,
                    counters,
                    files,
                    data["changes_left_out"],
                    round(data["last_seen_unix_s"] * 1e9) or None,
                )
            ]
    raise AssertionError(f"core wished for a record of kind {effect.kind}")
