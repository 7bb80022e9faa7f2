"""The writer: every record reaches the database exactly once, in order, whenever the database is there."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import OperationalError

from grange.core.configuration_text import from_document
from grange.core.names import Membership, Severity
from grange.core.run_members import KEPT_IN
from grange.schema import control, runs, tables
from grange.schema.applying import COMMANDS_KEPT_S, apply_once, forget_old
from grange.schema.database import open_database, reading, sqlite_url, writing
from grange.schema.errors import ClaimLost, DatabaseAway
from grange.schema.outbox import Outbox, RecordClass
from grange.schema.records import (
    CommandEnded,
    CommandRecorded,
    GoalSet,
    LeaseSet,
    MembershipSet,
    MessageSent,
    Record,
    RunCounter,
    RunDegraded,
    RunEnded,
    RunFile,
    RunMemberMoved,
    RunRunning,
    RunStopAsked,
    UnreadableRecord,
    from_payload,
    to_payload,
)
from grange.schema.requests import perform
from grange.schema.revisions import import_configuration
from grange.schema.runs import AllotRunNumber
from grange.schema.writer import Writer

PATIENCE_S = 20.0  # a bound for what takes milliseconds; nothing here waits for it to pass
NOW_NS = 1_800_000_000 * 10**9


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(sqlite_url(tmp_path / "farm.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox")
    yield outbox
    outbox.close()


@pytest.fixture
def writer(engine: Engine, outbox: Outbox) -> Iterator[Writer]:
    """Not started yet; tries again almost at once."""
    writer = Writer(engine, outbox, clock=lambda: NOW_NS, retry_s=(0.005, 0.02))
    yield writer
    writer.close(timeout_s=PATIENCE_S)


@pytest.fixture
def run_number(engine: Engine) -> int:
    farm = {
        "farm": {"name": "f"},
        "sub_farms": {"s": {"nodes": ["n"], "roles": ["r"]}},
        "roles": {"r": {"command": ["r"]}},
    }
    revision = import_configuration(engine, from_document(farm), "ada", "first", now_ns=1).revision.hash
    return perform(engine, AllotRunNumber("c0", revision, "ada", now_ns=10))


class Away:
    """Makes an engine fail as if the database were gone, and tells when somebody has met that."""

    def __init__(self) -> None:
        self.met = threading.Event()

    def refuse(self, connection: Connection) -> None:
        self.met.set()
        raise OperationalError("BEGIN", {}, Exception("server closed the connection unexpectedly"))


@contextmanager
def away(engine: Engine) -> Iterator[Away]:
    gone = Away()
    event.listen(engine, "begin", gone.refuse)
    try:
        yield gone
    finally:
        event.remove(engine, "begin", gone.refuse)


def message(n: int, repeats: int = 1, run: int | None = None, text: str = "text") -> MessageSent:
    return MessageSent(
        f"m{n}", Severity.ERROR, "shifter", "sf01/n1/psa-1", "n1", "died", text, "recover", 1, 2 + repeats, repeats, run
    )


def command(n: int) -> CommandRecorded:
    return CommandRecorded(f"c{n}", "digest", "ada", "boot", "sf01", at_ns=n)


def recorded_commands(engine: Engine) -> list[str]:
    return [row.id for row in reversed(control.commands(engine, limit=10_000))]


EVERY_KIND: list[Record] = [
    command(1),
    CommandEnded("c1", "done", "", NOW_NS),
    GoalSet("demo", {"target": "running", "run": 3, "revision": "abc", "command_id": "c1"}, 3),
    MembershipSet("sf01/n1/psa-1", Membership.OUT_BY_PERSON, "noisy", "ada", 4, run=1),
    MembershipSet("sf01/n1/psa-1", Membership.IN, "", "ada", 5),
    LeaseSet("demo", "ada", 6),
    RunRunning(1, 7),
    RunStopAsked(1, "enough", 8),
    RunDegraded(1, "psa-1 died", 9),
    RunMemberMoved(1, "sf01/n1/psa-2", Membership.OUT_BY_FAULT, "died", 9, "3.1/1"),
    RunEnded(
        1,
        "enough",
        True,
        10,
        (RunCounter("sf01", "psa", "analysed", 5),),
        (RunFile("sf01", "/d/r1.adf", 9, "sha256:0", "sf01/n1/builder-1"),),
        changes_left_out=2,
    ),
    message(1, run=1),
]


@pytest.mark.parametrize("record", EVERY_KIND, ids=lambda record: type(record).__name__)
def test_every_kind_of_record_survives_the_way_through_the_outbox(outbox: Outbox, record: Record) -> None:
    outbox.append(to_payload(record), "k", record.record_class)
    assert from_payload(outbox.pending()[0].payload) == record


def test_what_happens_once_by_nature_has_a_key_of_its_own() -> None:
    assert [record.key for record in EVERY_KIND if record.key] == [
        "command/c1/recorded",
        "command/c1/ended",
        "run/1/running",
        "run/1/stop_asked",
        "run/1/member/3.1/1",
        "run/1/ended",
    ]


def test_characters_that_a_database_refuses_are_replaced(outbox: Outbox) -> None:
    payload = to_payload(message(1, text="a\0b\ud800c\n"))
    assert payload["text"] == "a\ufffdb?c\n"
    outbox.append(payload, "k", RecordClass.MESSAGE)


@pytest.mark.parametrize("payload", [{}, {"kind": "later_kind"}, {"kind": "lease_set", "farm": "x"}, {"kind": ["x"]}])
def test_a_record_of_another_version_is_recognised(payload: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecord):
        from_payload(payload)


def test_a_whole_run_is_remembered(engine: Engine, writer: Writer, run_number: int) -> None:
    assert run_number == 1
    writer.start()
    for record in EVERY_KIND:
        writer.put(record, sync=False)
    assert writer.flush(PATIENCE_S)
    assert writer.state.rejected == 0
    details = runs.run_details(engine, 1)
    run = details.run
    assert (run.start_asked_at_ns, run.running_at_ns, run.stop_asked_at_ns, run.stopped_at_ns) == (10, 7, 8, 10)
    assert (run.end_reason, run.undrained, run.degraded, run.degraded_reason) == ("enough", True, True, "psa-1 died")
    assert details.counters == (RunCounter("sf01", "psa", "analysed", 5),)
    assert details.files == (RunFile("sf01", "/d/r1.adf", 9, "sha256:0", "sf01/n1/builder-1"),)
    assert [(member.path, member.membership, member.reason) for member in details.members] == [
        ("sf01/n1/psa-1", Membership.OUT_BY_PERSON, "noisy"),
        ("sf01/n1/psa-2", Membership.OUT_BY_FAULT, "died"),
    ]
    assert run.changes_left_out == 2
    assert control.goal(engine, "demo") == {"target": "running", "run": 3, "revision": "abc", "command_id": "c1"}
    assert control.memberships(engine)["sf01/n1/psa-1"].membership is Membership.IN
    assert (held := control.lease(engine, "demo")) is not None
    assert held.holder == "ada"
    recorded = control.command_of(engine, "c1")
    assert recorded is not None
    assert (recorded.outcome, recorded.ended_at_ns) == ("done", NOW_NS)


def test_a_change_of_membership_that_a_run_has_already_is_not_kept_again(
    engine: Engine, writer: Writer, run_number: int
) -> None:
    out, back = Membership.OUT_BY_FAULT, Membership.IN
    writer.start()
    for number, (membership, reason) in enumerate(
        [
            (back, "was never out"),
            (out, "died"),
            (out, "found dead anew"),
            (back, "back"),
            (out, "again"),
        ]
    ):
        writer.put(RunMemberMoved(run_number, "sf01/n1/psa-1", membership, reason, number, f"1.1/{number}"))
    writer.put(RunMemberMoved(run_number, "sf01/n1/psa-1", out, "told twice", 4, "1.1/4"))
    writer.put(RunMemberMoved(99, "sf01/n1/psa-1", out, "of no run", 5, "1.1/5"))
    assert writer.flush(PATIENCE_S)
    assert [member.reason for member in runs.run_details(engine, run_number).members] == ["died", "back", "again"]
    assert writer.state.rejected == 1


def test_one_that_is_missing_and_kept_in_is_kept_once_and_so_is_its_return(
    engine: Engine, writer: Writer, run_number: int
) -> None:
    writer.start()
    reasons = [f"{KEPT_IN}died", f"{KEPT_IN}found dead anew", "takes data again", "takes data again"]
    for number, reason in enumerate(reasons):
        writer.put(RunMemberMoved(run_number, "sf01/n1/psa-1", Membership.IN, reason, number, f"1.1/{number}"))
    assert writer.flush(PATIENCE_S)
    members = runs.run_details(engine, run_number).members
    assert [member.reason for member in members] == [f"{KEPT_IN}died", "takes data again"]


def test_the_books_of_a_run_are_kept_in_the_order_of_its_data_flow(engine: Engine, writer: Writer) -> None:
    farm = {
        "farm": {"name": "f"},
        "sub_farms": {"s": {"nodes": ["n"], "roles": ["z_trigger", "a_trigger", "source"]}},
        "roles": {
            "source": {"command": ["r"]},
            "z_trigger": {"command": ["r"], "reads": ["source"]},
            "a_trigger": {"command": ["r"], "reads": ["z_trigger"]},
        },
    }
    revision = import_configuration(engine, from_document(farm), "ada", "chain", now_ns=1).revision.hash
    number = perform(engine, AllotRunNumber("chain", revision, "ada", 1))
    counters = (
        RunCounter("s", "source", "read", 10),
        RunCounter("s", "z_trigger", "accepted", 4),
        RunCounter("s", "a_trigger", "accepted", 4),
    )
    writer.start()
    writer.put(RunEnded(number, "enough", False, 9, counters))
    assert writer.flush(PATIENCE_S)
    books = runs.run_details(engine, number).books
    assert (books.rules_asked, [mismatch.role for _, mismatch in books.mismatches]) == (1, ["z_trigger"])


def test_repeats_of_a_message_raise_its_count(engine: Engine, writer: Writer) -> None:
    writer.start()
    for repeats in (1, 5):
        writer.put(message(1, repeats))
    assert writer.flush(PATIENCE_S)
    columns = (tables.message_table.c.repeats, tables.message_table.c.last_at_ns)
    with reading(engine) as connection:
        assert [tuple(row) for row in connection.execute(select(*columns))] == [(5, 7)]


def test_the_first_reason_and_the_first_moment_stay(engine: Engine, writer: Writer, run_number: int) -> None:
    writer.start()
    for record in (RunDegraded(1, "first", 1), RunDegraded(1, "second", 2), RunEnded(1, "", False, 5)):
        writer.put(record)
    assert writer.flush(PATIENCE_S)
    with writing(engine) as connection:
        apply_once(connection, "another key", RunEnded(1, "crashed", False, 9), NOW_NS, 0)
    run = runs.run_details(engine, run_number).run
    assert (run.degraded_reason, run.stopped_at_ns, run.end_reason) == ("first", 5, "crashed")


def test_a_record_applied_twice_changes_nothing_the_second_time(engine: Engine) -> None:
    with writing(engine) as connection:
        assert apply_once(connection, "k", LeaseSet("demo", "ada", 1), NOW_NS, 0) is True
        assert apply_once(connection, "other", LeaseSet("demo", "bob", 2), NOW_NS, 0) is True
        assert apply_once(connection, "k", LeaseSet("demo", "ada", 1), NOW_NS, 0) is False
    assert (held := control.lease(engine, "demo")) is not None
    assert held.holder == "bob"


def test_what_a_crash_left_in_the_outbox_is_applied_at_the_next_start(engine: Engine, writer: Writer) -> None:
    for n in range(450):  # more than two transactions hold
        writer.put(command(n), sync=False)
    assert recorded_commands(engine) == []
    writer.start()
    assert writer.flush(PATIENCE_S)
    assert recorded_commands(engine) == [f"c{n}" for n in range(450)]


def test_a_crash_between_commit_and_acknowledgement_applies_nothing_twice(
    engine: Engine, outbox: Outbox, writer: Writer
) -> None:
    writer.put(LeaseSet("demo", "ada", 1))
    (entry,) = outbox.pending()
    with writing(engine) as connection:
        apply_once(connection, entry.key, from_payload(entry.payload), NOW_NS, 0)
        apply_once(connection, "later", LeaseSet("demo", "bob", 2), NOW_NS, 0)
    writer.start()
    assert writer.flush(PATIENCE_S)
    assert (held := control.lease(engine, "demo")) is not None
    assert held.holder == "bob"


def test_while_the_database_is_away_records_wait_and_the_state_says_why(engine: Engine, writer: Writer) -> None:
    with away(engine) as gone:
        writer.start()
        writer.put(command(1))
        writer.put(command(2))
        assert gone.met.wait(PATIENCE_S)
        gone.met.clear()
        assert gone.met.wait(PATIENCE_S)  # it tries again; by then the first failure is noted
        state = writer.state
        assert (state.lag, state.away_since_ns) == (2, NOW_NS)
        assert "server closed the connection unexpectedly" in state.last_error
    assert writer.flush(PATIENCE_S)
    assert writer.ask(Once(), PATIENCE_S).result(PATIENCE_S) == 1
    assert recorded_commands(engine) == ["c1", "c2"]


@dataclass
class Once:
    """A request that counts how often it was carried out."""

    times: int = 0

    def carry_out(self, connection: Connection) -> int:
        self.times += 1
        return self.times


def test_after_the_database_is_back_the_state_is_clean(engine: Engine, writer: Writer) -> None:
    with away(engine) as gone:
        writer.start()
        writer.put(command(1))
        assert gone.met.wait(PATIENCE_S)
    assert writer.close(PATIENCE_S)
    assert (writer.state.lag, writer.state.last_error, writer.state.away_since_ns) == (0, "", None)


def test_a_request_is_answered_ahead_of_records_and_after_the_database_is_back(
    engine: Engine, writer: Writer, run_number: int
) -> None:
    revision = runs.run_details(engine, run_number).run.revision
    with away(engine) as gone:
        writer.start()
        answer = writer.ask(AllotRunNumber("c1", revision, "ada", 1), PATIENCE_S)
        assert gone.met.wait(PATIENCE_S)
        assert not answer.done()
    assert answer.result(PATIENCE_S) == run_number + 1


def test_without_the_database_a_request_is_refused_after_its_time(engine: Engine, writer: Writer) -> None:
    with away(engine):
        writer.start()
        answer = writer.ask(Once(), timeout_s=0.05)
        with pytest.raises(DatabaseAway, match=r"gave no answer in time: .*server closed the connection"):
            answer.result(PATIENCE_S)


def test_what_a_request_raises_is_its_answer(writer: Writer) -> None:
    writer.start()
    with pytest.raises(ClaimLost):
        writer.ask(control.RefreshClaim("demo", 1, NOW_NS), PATIENCE_S).result(PATIENCE_S)
    assert writer.ask(Once(), PATIENCE_S).result(PATIENCE_S) == 1


def test_a_request_that_was_cancelled_does_no_harm(engine: Engine, writer: Writer) -> None:
    with away(engine) as gone:
        writer.start()
        answer = writer.ask(Once(), PATIENCE_S)
        assert gone.met.wait(PATIENCE_S)
        assert answer.cancel()
    assert writer.ask(Once(), PATIENCE_S).result(PATIENCE_S) == 1


def test_a_record_that_can_never_be_applied_is_set_aside_and_holds_up_nothing(
    engine: Engine, outbox: Outbox, writer: Writer
) -> None:
    outbox.append({"kind": "later_kind"}, "from a later version", RecordClass.ESSENTIAL)
    writer.put(command(1))
    writer.put(RunRunning(99, 1))
    writer.put(MembershipSet("sf01", Membership.OUT_BY_PERSON, "", "ada", 4, run=99))
    writer.put(command(2))
    writer.start()
    assert writer.flush(PATIENCE_S)
    assert recorded_commands(engine) == ["c1", "c2"]
    assert writer.state.rejected == 3
    kept = outbox.rejected_path.read_text(encoding="utf-8").splitlines()
    assert 'there is no record kind \\"later_kind\\"' in kept[0]
    assert "the database has no run 99" in kept[1]
    assert "FOREIGN KEY" in kept[2]


def test_closing_applies_what_waits(engine: Engine, writer: Writer) -> None:
    writer.start()
    for n in range(5):
        writer.put(command(n), sync=False)
    assert writer.close(PATIENCE_S) is True
    assert len(recorded_commands(engine)) == 5
    with pytest.raises(DatabaseAway, match="closed"):
        writer.ask(Once(), PATIENCE_S).result(PATIENCE_S)


def test_closing_while_the_database_is_away_leaves_the_records_and_answers_everybody(
    engine: Engine, outbox: Outbox, writer: Writer
) -> None:
    with away(engine) as gone:
        writer.start()
        writer.put(command(1))
        answer: Future[int] = writer.ask(Once(), PATIENCE_S)
        assert gone.met.wait(PATIENCE_S)
        assert writer.close(timeout_s=0.05) is False
        with pytest.raises(DatabaseAway, match="closed before it could answer"):
            answer.result(PATIENCE_S)
    assert [entry.key for entry in outbox.pending()] == ["command/c1/recorded"]


def test_a_writer_that_was_never_started_can_be_closed(writer: Writer) -> None:
    assert writer.close(PATIENCE_S) is True


def test_the_outbox_bounds_what_waits(engine: Engine, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "small", limit_bytes=2000)
    writer = Writer(engine, outbox, retry_s=(0.005, 0.02))
    n = 0
    while not writer.state.dropped_messages:
        writer.put(message(n), sync=False)
        writer.put(command(n), sync=False)
        n += 1
    with writer:
        assert writer.flush(PATIENCE_S)
    assert recorded_commands(engine) == [f"c{i}" for i in range(n)]
    with reading(engine) as connection:
        arrived = connection.execute(select(func.count()).select_from(tables.message_table)).scalar_one()
    assert arrived == n - writer.state.dropped_messages
    outbox.close()


def test_ended_commands_are_kept_for_a_day(engine: Engine) -> None:
    day_ns = COMMANDS_KEPT_S * 10**9
    with writing(engine) as connection:
        for n in (1, 2, 3):
            apply_once(connection, f"k{n}", command(n), NOW_NS, 0)
        apply_once(connection, "e1", CommandEnded("c1", "done", "", NOW_NS - day_ns - 1), NOW_NS, 0)
        apply_once(connection, "e2", CommandEnded("c2", "done", "", NOW_NS - day_ns), NOW_NS, 0)
        forget_old(connection, NOW_NS)
    assert recorded_commands(engine) == ["c2", "c3"]
    assert [row.id for row in control.unfinished_commands(engine)] == ["c3"]


CONTROLLER = """
import sys
from pathlib import Path
from grange.schema.database import open_database
from grange.schema.outbox import Outbox
from grange.schema.records import CommandRecorded
from grange.schema.writer import Writer

writer = Writer(open_database(sys.argv[1]), Outbox(Path(sys.argv[2])))
writer.start()
n = 0
while True:
    writer.put(CommandRecorded(f"c{n}", "digest", "ada", "boot", "sf01", n))
    print(n, flush=True)  # promised: on the disk
    n += 1
"""


def test_what_was_promised_before_a_kill_is_in_the_database_after_the_next_start(tmp_path: Path) -> None:
    """A real process is killed in the middle of its work, three times; each promise is kept, once and in order."""
    url, path = sqlite_url(tmp_path / "farm.db"), tmp_path / "outbox"
    for promises in (30, 60, 90):
        arguments = [sys.executable, "-P", "-c", CONTROLLER, url, str(path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            promised = -1
            for line in process.stdout:
                promised = int(line)
                if promised == promises:
                    os.kill(process.pid, signal.SIGKILL)
        assert promised >= promises
        engine, outbox = open_database(url), Outbox(path)
        with Writer(engine, outbox) as writer:
            assert writer.flush(PATIENCE_S)
        found = recorded_commands(engine)
        assert found == [f"c{n}" for n in range(len(found))]
        assert len(found) > promised
        outbox.close()
        engine.dispose()


def test_what_failed_is_tried_again_at_once_when_somebody_hurries_it(engine: Engine, outbox: Outbox) -> None:
    with Writer(engine, outbox, clock=lambda: NOW_NS, retry_s=(3600.0, 3600.0), linger_s=0.0) as writer:
        with away(engine) as gone:
            writer.put(command(1))
            assert gone.met.wait(PATIENCE_S)
            assert not writer.flush(0.0), "a pause of an hour has begun"
        answer = writer.ask(control.RefreshClaim("demo", 1, NOW_NS), PATIENCE_S)
        writer.hurry()
        with pytest.raises(ClaimLost):
            answer.result(PATIENCE_S)
        assert writer.state.away_since_ns is None, "whoever has an answer of the database sees that it is there"
        assert writer.flush(PATIENCE_S)
    assert recorded_commands(engine) == ["c1"]
