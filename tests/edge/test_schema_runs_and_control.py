"""Run numbers and claims: never given twice, whoever asks, however often, and whatever crashes in between."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, delete

from grange.core.books import Books
from grange.core.configuration_text import from_document
from grange.schema import control, runs, tables
from grange.schema.control import RefreshClaim, ReleaseClaim, TakeClaim
from grange.schema.database import open_database, sqlite_url, writing
from grange.schema.errors import ClaimHeld, ClaimLost, UnknownRun
from grange.schema.requests import perform
from grange.schema.revisions import import_configuration
from grange.schema.runs import AllotRunNumber, RunDetails

SECOND = 1_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(sqlite_url(tmp_path / "farm.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def revision(engine: Engine) -> str:
    farm = {
        "farm": {"name": "f"},
        "sub_farms": {"s": {"nodes": ["n"], "roles": ["r"]}},
        "roles": {"r": {"command": ["r"]}},
    }
    return import_configuration(engine, from_document(farm), "ada", "first", now_ns=1).revision.hash


def ask_for_run(revision: str, command_id: str) -> AllotRunNumber:
    return AllotRunNumber(command_id, revision, "ada", now_ns=7, comment="a first look")


def test_run_numbers_count_up_from_one(engine: Engine, revision: str) -> None:
    assert [perform(engine, ask_for_run(revision, f"c{n}")) for n in range(3)] == [1, 2, 3]
    assert [run.number for run in runs.runs(engine, limit=2)] == [3, 2]
    assert [run.number for run in runs.runs(engine, before=3)] == [2, 1]


def test_asking_again_with_the_same_command_gives_the_same_number(engine: Engine, revision: str) -> None:
    assert perform(engine, ask_for_run(revision, "c")) == perform(engine, ask_for_run(revision, "c")) == 1
    assert len(runs.runs(engine)) == 1


def test_a_crash_before_the_commit_leaves_neither_number_nor_run(engine: Engine, revision: str) -> None:
    def crash() -> None:
        with writing(engine) as connection:
            ask_for_run(revision, "c1").carry_out(connection)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert runs.runs(engine) == []
    assert perform(engine, ask_for_run(revision, "c2")) == 1


def test_a_number_is_not_given_again_even_if_its_run_is_deleted(engine: Engine, revision: str) -> None:
    perform(engine, ask_for_run(revision, "c1"))
    with writing(engine) as connection:
        connection.execute(delete(tables.run_table))
    assert perform(engine, ask_for_run(revision, "c2")) == 2


def test_many_who_ask_at_once_get_different_numbers(engine: Engine, revision: str) -> None:
    numbers: list[int] = []

    def ask(who: int) -> None:
        own = open_database(str(engine.url))
        try:
            numbers.extend(perform(own, ask_for_run(revision, f"{who}/{n}")) for n in range(5))
        finally:
            own.dispose()

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(numbers) == list(range(1, 21))


def test_a_new_run_shows_who_asked_when_and_nothing_that_has_not_come_yet(engine: Engine, revision: str) -> None:
    perform(engine, ask_for_run(revision, "c"))
    details = runs.run_details(engine, 1)
    run = details.run
    assert (run.person, run.comment, run.type, run.revision) == ("ada", "a first look", "test", revision)
    assert (run.start_asked_at_ns, run.running_at_ns, run.stop_asked_at_ns, run.stopped_at_ns) == (7, None, None, None)
    assert (run.end_reason, run.degraded, run.undrained) == ("", False, False)
    assert details == RunDetails(run, (), (), (), Books())


def test_an_unknown_run_is_refused_with_the_latest_one(engine: Engine, revision: str) -> None:
    with pytest.raises(UnknownRun, match="there is no run 3; there has been none yet"):
        runs.run_details(engine, 3)
    perform(engine, ask_for_run(revision, "c"))
    with pytest.raises(UnknownRun, match="there is no run 3; the latest is 1"):
        runs.run_details(engine, 3)


def take(now_s: int, pid: int = 1, host: str = "h1", boot_id: str = "b1", lock_held: bool = False) -> TakeClaim:
    return TakeClaim("demo", f"grange up {pid}", host, boot_id, pid, now_s * SECOND, 30.0, lock_held)


def test_a_farm_without_a_holder_can_be_claimed(engine: Engine) -> None:
    assert perform(engine, take(100)) == 1


def test_a_second_controller_is_refused_by_name_while_the_claim_is_fresh(engine: Engine) -> None:
    perform(engine, take(100))
    with pytest.raises(ClaimHeld, match=r"controlled by grange up 1 \(process 1 on h1, last heard of 29 s ago\)"):
        perform(engine, take(129, pid=2))


def test_a_claim_that_is_no_longer_fresh_is_taken_over_with_a_higher_incarnation(engine: Engine) -> None:
    first = perform(engine, take(100))
    perform(engine, RefreshClaim("demo", first, 110 * SECOND))
    with pytest.raises(ClaimHeld):
        perform(engine, take(139, pid=2))
    assert perform(engine, take(140, pid=2)) == first + 1


def test_whoever_was_before_is_fenced(engine: Engine) -> None:
    first = perform(engine, take(100))
    second = perform(engine, take(200, pid=2))
    with pytest.raises(
        ClaimLost, match=rf"incarnation {first} has lost its claim to grange up 2 \(incarnation {second}"
    ):
        perform(engine, RefreshClaim("demo", first, 201 * SECOND))
    assert perform(engine, ReleaseClaim("demo", first)) is False
    perform(engine, RefreshClaim("demo", second, 201 * SECOND))


def test_with_the_lock_of_its_home_a_claim_of_the_same_host_and_boot_is_a_dead_ones(engine: Engine) -> None:
    first = perform(engine, take(100))
    assert perform(engine, take(101, pid=2, lock_held=True)) == first + 1


@pytest.mark.parametrize(("host", "boot_id"), [("h2", "b1"), ("h1", "b2")])
def test_the_lock_proves_nothing_about_another_host_or_boot(engine: Engine, host: str, boot_id: str) -> None:
    perform(engine, take(100))
    with pytest.raises(ClaimHeld):
        perform(engine, take(101, pid=2, host=host, boot_id=boot_id, lock_held=True))


def test_a_released_claim_is_free_at_once(engine: Engine) -> None:
    first = perform(engine, take(100))
    assert perform(engine, ReleaseClaim("demo", first)) is True
    assert perform(engine, take(101, pid=2)) == first + 1


def test_a_claim_asked_for_twice_by_the_same_request_is_the_same(engine: Engine) -> None:
    assert perform(engine, take(100)) == perform(engine, take(100)) == 1


def test_a_holder_whose_clock_is_ahead_counts_as_just_refreshed(engine: Engine) -> None:
    perform(engine, take(1000))
    with pytest.raises(ClaimHeld) as caught:
        perform(engine, take(100, pid=2))
    assert caught.value.age_s == 0


def test_farms_have_incarnations_of_their_own(engine: Engine) -> None:
    perform(engine, take(100))
    other = TakeClaim("other", "x", "h1", "b1", 1, 100 * SECOND, 30.0)
    assert perform(engine, other) == 1


def test_claims_and_run_numbers_survive_the_program(engine: Engine, revision: str) -> None:
    perform(engine, take(100))
    perform(engine, ask_for_run(revision, "c1"))
    again = open_database(str(engine.url))
    try:
        assert perform(again, take(200, pid=2)) == 2
        assert perform(again, ask_for_run(revision, "c2")) == 2
    finally:
        again.dispose()


def test_what_was_never_recorded_is_nothing(engine: Engine) -> None:
    assert control.goal(engine, "demo") is None
    assert control.memberships(engine) == {}
    assert control.lease(engine, "demo") is None
    assert control.command_of(engine, "c") is None
    assert control.commands(engine) == control.unfinished_commands(engine) == []


def test_a_request_that_fails_changes_nothing(engine: Engine) -> None:
    class Failing:
        def carry_out(self, connection: Connection) -> None:
            take(100).carry_out(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        perform(engine, Failing())
    assert perform(engine, take(101, pid=2)) == 1
