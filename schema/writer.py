"""The writer: the one thread that writes to the database while a controller runs.

Records are put into the outbox, durably and in order, by any thread; the writer takes them from there, applies each
exactly once, several in a transaction, and acknowledges them. The path is the same whether the database is there or
not: while it is away, records wait, the writer tries again with growing pauses, and `state` says how many wait and why.
Nobody waits for a record, so it lingers a little: those that belong together go in one transaction, and a command is
not slowed by the thread that keeps it. `flush` hurries it, for a reader who wants to see it.
What needs an answer, such as a run number, is asked as a `Request` and answered through a future, ahead of the records
that wait; when the database does not come back in time, the answer is `DatabaseAway`.

A record that can never be applied (it names a run that does not exist, say, or comes from a controller that another has
taken the farm from since) must not hold up the rest: it is set aside in a file beside the outbox and counted.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Engine

from .applying import apply_once, forget_old
from .database import is_away, writing
from .errors import DatabaseAway
from .outbox import Entry, Outbox, RecordClass
from .records import Record, from_payload, to_payload
from .requests import Request

BATCH_RECORDS = 200  # applied in one transaction: few enough for others not to wait long for the write lock
LINGER_S = 0.2  # from the first record that waits to the attempt; longer than most commands
RETRY_FIRST_S = 0.1  # pause after the first failed attempt, doubled up to the last
RETRY_LAST_S = 2.0  # people wait for it after they have made room
FORGET_EVERY_S = 3600.0  # old commands and keys are deleted so often, when nothing waits

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WriterState:
    """How the writer is doing."""

    lag: int  # records that wait for the database
    last_error: str  # why the last attempt failed; "" when it did not
    away_since_ns: int | None  # when attempts began to fail; None while they succeed
    rejected: int  # records set aside since the start, see `Outbox.rejected_path`
    dropped_samples: int  # for want of room in the outbox
    dropped_messages: int
    torn_bytes: int  # cut off the outbox when it was opened


@dataclass(slots=True)
class _Question:
    request: Request[Any]
    future: Future[Any]
    deadline: float  # monotonic seconds


class Writer:
    """Start it, put records and ask requests from any thread, close it. The caller keeps engine and outbox."""

    def __init__(
        self,
        engine: Engine,
        outbox: Outbox,
        clock: Callable[[], int] = time.time_ns,
        retry_s: tuple[float, float] = (RETRY_FIRST_S, RETRY_LAST_S),
        linger_s: float = LINGER_S,
        incarnation: int = 0,
    ) -> None:
        """`incarnation` is the controller's, which its records carry: once a later one has begun, they are refused."""
        self._incarnation = incarnation
        self._engine = engine
        self._outbox = outbox
        self._clock = clock
        self._retry_s = retry_s
        self._linger_s = linger_s
        self._changed = threading.Condition()
        self._questions: deque[_Question] = deque()
        # when those that wait are to be applied; None while none waits, so that the next one wakes the thread
        self._records_due: float | None = 0.0 if outbox.waiting else None
        self._pause_s = 0.0  # 0: the last attempt succeeded
        self._hurried = False  # perhaps in the middle of an attempt that is about to fail
        self._next_attempt = 0.0
        self._next_forgetting = 0.0
        self._last_error = ""
        self._away_since_ns: int | None = None
        self._rejected = 0
        self._close_by: float | None = None
        # a daemon, so that a database driver that hangs for ever cannot keep the program from ending
        self._thread = threading.Thread(target=self._run, name="database-writer", daemon=True)

    # -- for everybody -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, with what a crash has left in the outbox."""
        self._thread.start()

    def put(self, record: Record, sync: bool = True) -> int:
        """Have a record remembered; with `sync`, it survives any crash once this returns. Waits for no database.

        Returns its place in the outbox (0: a message for which there was no room). Raises `OutboxFull`, `OutboxFailed`.
        """
        key = record.key or f"once/{uuid.uuid4().hex}"
        seq = self._outbox.append(to_payload(record), key, record.record_class, sync, self._incarnation)
        with self._changed:
            if self._records_due is None:
                self._records_due = time.monotonic() + self._linger_s
                self._changed.notify_all()
        return seq

    def ask(self, request: Request[T], timeout_s: float) -> "Future[T]":
        """Have a request carried out; the future holds its answer or what it raised, or `DatabaseAway` after the time.

        The time may be exceeded by one attempt at a database that hangs.
        """
        question = _Question(request, Future(), time.monotonic() + timeout_s)
        with self._changed:
            if self._close_by is not None:
                question.future.set_exception(DatabaseAway("the database writer is closed"))
            else:
                self._questions.append(question)
                self._changed.notify_all()
        return question.future

    def hurry(self) -> None:
        """Have what failed tried again now, instead of after its pause."""
        with self._changed:
            self._next_attempt, self._hurried = 0.0, True
            if self._outbox.waiting:
                self._records_due = 0.0
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Have the records applied now, and wait until none waits; whether that was so in time."""
        with self._changed:
            if self._outbox.waiting:
                self._records_due = 0.0
                self._changed.notify_all()
            return self._changed.wait_for(lambda: self._outbox.waiting == 0, timeout_s)

    @property
    def state(self) -> WriterState:
        dropped = self._outbox.dropped
        return WriterState(
            lag=self._outbox.waiting,
            last_error=self._last_error,
            away_since_ns=self._away_since_ns,
            rejected=self._rejected,
            dropped_samples=dropped[RecordClass.SAMPLE],
            dropped_messages=dropped[RecordClass.MESSAGE],
            torn_bytes=self._outbox.torn_bytes,
        )

    def close(self, timeout_s: float) -> bool:
        """Apply what waits, for at most this long, and end; whether nothing waits any more.

        What still waits stays in the outbox for the next start. Requests without an answer get `DatabaseAway`.
        """
        with self._changed:
            self._close_by = time.monotonic() + timeout_s
            self._records_due = 0.0
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + 1.0)
        self._give_up(float("inf"), "the database writer was closed before it could answer")
        return self._outbox.waiting == 0

    def __enter__(self) -> "Writer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(timeout_s=5.0)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_due():
                    self._changed.wait(self._time_to_wait())
                if self._is_over():
                    return
            self._give_up(time.monotonic(), self._last_error or "no answer in time")
            if not self._is_due():
                continue
            try:
                self._answer_questions()
                self._apply_records()
                self._forget()
            except Exception as error:  # the database's fault; ours are dealt with where they arise
                self._note_failure(error)
            else:
                self._note_success()

    def _has_work(self) -> bool:
        return bool(self._questions) or self._outbox.waiting > 0

    def _are_records_due(self) -> bool:
        return self._outbox.waiting > 0 and self._records_due is not None and time.monotonic() >= self._records_due

    def _is_due(self) -> bool:
        wanted = bool(self._questions) or self._are_records_due()
        return self._is_over() or (wanted and time.monotonic() >= self._next_attempt)

    def _is_over(self) -> bool:
        if self._close_by is None:
            return False
        return not self._has_work() or time.monotonic() >= self._close_by

    def _time_to_wait(self) -> float | None:
        """Seconds until something is to be done even if nobody calls; None for no such moment."""
        moments = [question.deadline for question in self._questions]
        if self._questions:
            moments.append(self._next_attempt)
        elif self._outbox.waiting and self._records_due is not None:
            moments.append(max(self._next_attempt, self._records_due))
        if self._close_by is not None:
            moments.append(self._close_by)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _answer_questions(self) -> None:
        while True:
            with self._changed:
                if not self._questions:
                    return
                question = self._questions[0]
            try:
                with writing(self._engine) as connection:
                    answer = question.request.carry_out(connection)
            except Exception as error:
                if is_away(error):
                    raise
                self._note_success()  # the database is there; whoever has the answer sees that it is
                self._settle(question, error=error)
            else:
                self._note_success()
                self._settle(question, answer=answer)

    def _settle(self, question: _Question, answer: Any = None, error: Exception | None = None) -> None:
        with self._changed:
            if question in self._questions:
                self._questions.remove(question)
        if not question.future.set_running_or_notify_cancel():
            return  # whoever asked has lost interest
        if error is not None:
            question.future.set_exception(error)
        else:
            question.future.set_result(answer)

    def _give_up(self, now: float, why: str) -> None:
        """Answer the questions whose time is over."""
        with self._changed:
            late = [question for question in self._questions if question.deadline <= now]
        for question in late:
            self._settle(question, error=DatabaseAway(f"the database gave no answer in time: {why}"))

    def _apply_records(self) -> None:
        if not self._are_records_due():
            return
        while entries := self._outbox.pending(BATCH_RECORDS):
            try:
                self._apply(entries)
            except Exception as error:
                if is_away(error):
                    raise
                for entry in entries:  # one of them cannot be applied; find it
                    self._apply_or_set_aside(entry)
            with self._changed:
                self._outbox.acknowledge(entries[-1].seq)
                self._changed.notify_all()
                if self._questions:
                    return  # they go first; the rest comes in the next round
        with self._changed:
            if not self._outbox.waiting:  # one that was put this instant has set its time, or is about to
                self._records_due = None

    def _apply(self, entries: list[Entry]) -> None:
        with writing(self._engine) as connection:
            for entry in entries:
                apply_once(connection, entry.key, from_payload(entry.payload), self._clock(), entry.incarnation)

    def _apply_or_set_aside(self, entry: Entry) -> None:
        try:
            self._apply([entry])
        except Exception as error:
            if is_away(error):
                raise
            self._outbox.set_aside(entry, f"{type(error).__name__}: {error}")
            self._rejected += 1

    def _forget(self) -> None:
        if self._outbox.waiting or time.monotonic() < self._next_forgetting:
            return
        with writing(self._engine) as connection:
            forget_old(connection, self._clock())
        self._next_forgetting = time.monotonic() + FORGET_EVERY_S

    def _note_failure(self, error: Exception) -> None:
        first, last = self._retry_s
        self._pause_s = min(self._pause_s * 2, last) if self._pause_s else first
        self._next_attempt = 0.0 if self._hurried else time.monotonic() + self._pause_s
        self._hurried = False
        self._last_error = str(error)
        self._away_since_ns = self._away_since_ns if self._away_since_ns is not None else self._clock()

    def _note_success(self) -> None:
        self._pause_s = 0.0
        self._next_attempt = 0.0
        self._last_error = ""
        self._away_since_ns = None
