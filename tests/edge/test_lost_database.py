"""The farm's database is lost, or an older one lies in its place: nothing is made up, given twice, or stuck."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from grange.cli import killing
from grange.client import AsyncFarm, OutcomeKind
from grange.controllers.store import FARM, Store
from grange.controllers.traces import NumbersGiven, numbers_given
from grange.core.configuration_text import from_document
from grange.core.effects import AllotRunNumber, Persist
from grange.core.errors import GrangeError
from grange.core.goals import to_document
from grange.core.home import Home
from grange.core.keeping import Manifest, manifest_line
from grange.core.reports import NO_TERMS, Goal, RunTerms
from grange.schema import control, revisions, runs
from grange.schema.control import INCARNATIONS_UNSEEN
from grange.schema.database import open_database, sqlite_url
from grange.schema.errors import DatabaseMissing, UnknownRevision
from grange.schema.outbox import Outbox, RecordClass
from grange.schema.requests import perform
from grange.supervisor.belongings import Belonging, Kind

from .test_database_away import locked
from .test_superseded_store import cut_off, opened

LIMIT_S = 60.0
FILES = ("", "-wal", "-shm")
ORIGIN = {"uid": 0, "host": "h", "pid": 1, "program": "p", "label": ""}
COMMAND = {"digest": "", "person": "ann", "what": "go running", "path": "", "comment": "", "origin": ORIGIN}
KILLED_RUN = "the farm controller was restarted and cannot tell how it ended"


# ---- the whole farm -------------------------------------------------------------------------------------------------


@pytest.fixture
def own(live: Any) -> Iterator[Any]:
    """A farm of its own, up and without a goal."""
    farm = type(live)(Home(tempfile.mkdtemp(prefix="gr")))
    try:
        farm.up()
        yield farm
    finally:
        farm.kill_all()
        shutil.rmtree(farm.home.root)


def grange(own: Any, *arguments: str) -> tuple[int, str, str]:
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", own.home.root, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stdout, done.stderr


def missing(home: Home) -> str:
    return (
        f"the database {home.database} is missing, and a farm was at work here (see {home.root}/sf and {home.nodes}). "
        "Put it back, or a backup of it: grange db restore FILE. To begin with a new one: grange config import FILE. "
        "What still runs is ended by: grange down --kill"
    )


async def test_up_makes_no_database_in_place_of_a_lost_one_and_the_run_goes_on_once_it_is_back(own: Any) -> None:
    async with AsyncFarm(own.home.root) as farm:
        await own.use(farm, worker={})
        number = (await farm.go("running")).run_number
        before = own.processes()
        await own.kill("farm")
        for suffix in FILES:
            os.rename(own.home.database + suffix, f"{own.home.root}/aside{suffix}")
        await asyncio.to_thread(own.begin)
        assert await asyncio.to_thread(own.ended) == 1
        assert own.said() == f"grange: {missing(own.home)}\n"
        assert "grange.db" not in os.listdir(own.home.root)
        for suffix in FILES:
            os.rename(f"{own.home.root}/aside{suffix}", own.home.database + suffix)
        await asyncio.to_thread(own.up)
        assert (await farm.execute("stop")).kind is OutcomeKind.DONE
        assert (await farm.run(number)).stopped_unix_s > 0
        assert own.processes() == before


async def test_under_an_older_database_the_open_run_goes_on_and_its_number_is_not_given_again(own: Any) -> None:
    async with AsyncFarm(own.home.root) as farm:
        await own.use(farm, worker={})
        await asyncio.to_thread(own.grange, "db", "backup", f"{own.home.root}/old.db")
        number = (await farm.go("running", comment="cosmics")).run_number
        before = own.processes()
        with locked(Path(own.home.database)):
            await farm.execute("pause")  # which waits in the outbox, with the run
            await own.kill("farm")
        put_in_place(f"{own.home.root}/old.db", own.home)
        await asyncio.to_thread(own.up)
        assert f"the database is older than this farm: run numbers go on behind {number}" in own.said()
        assert (await farm.status(depth=0)).member.run_number == number
        await farm.go("configured")
        run = await farm.run(number)
        assert (run.comment, run.degraded_reason) == ("cosmics", runs.BEGINNING_LOST)
        assert run.stopped_unix_s > 0
        assert own.processes() == before
        assert (await farm.go("running")).run_number == number + 1


async def test_without_a_farm_controller_down_ends_everything_when_it_is_told_to_kill(own: Any) -> None:
    async with AsyncFarm(own.home.root) as farm:
        await own.use(farm, worker={"count": 2})
        await farm.go("running")
    pid = own.pid("farm")
    assert await asyncio.to_thread(grange, own, "down", "--kill") == (
        3,
        "",
        f"grange: a farm controller has the farm (process {pid}). It ends everything in order: grange down --all. "
        f"One that hangs is ended first: kill -9 {pid}\n",
    )
    await own.kill("farm")
    assert await asyncio.to_thread(grange, own, "down", "--all") == (
        4,
        "",
        f"grange: no controller answers at {own.home.farm_address}. "
        "Start one with: grange up --detach. Where none can be started: grange down --kill\n",
    )
    told = await asyncio.to_thread(grange, own, "down", "--kill")
    assert own.found() == {}
    assert told == (
        0,
        "ended 8 programs and 4 processes of the farm on this machine; "
        "a run that was open is ended in the records by the next: grange up\n",
        "asked 4 processes to end; what is left after 10 s is killed\n",
    )
    assert await asyncio.to_thread(grange, own, "down", "--kill") == (
        0,
        "nothing of the farm runs on this machine\n",
        "",
    )


def test_what_even_a_kill_does_not_end_is_told_by_name(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(home.farm_log).touch()
    myself = psutil.Process()
    stuck = Belonging(Kind.PROCESS, "sf01/n1/psa-1", myself.pid, myself, leads=True)
    monkeypatch.setattr(killing, "belongings", lambda home: [stuck])
    monkeypatch.setattr(killing, "LIMIT_S", -1.0)
    with pytest.raises(GrangeError) as caught:
        killing.kill_everything(Path(home.root))
    assert str(caught.value) == (
        f"1 processes do not end, such as sf01/n1/psa-1 (pid {myself.pid}). "
        "See what they wait for: grep State /proc/PID/status. Then once more: grange down --kill"
    )


# ---- its database ---------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(str(tmp_path / "home"))
    Path(home.root).mkdir()
    return home


def configured(home: Home) -> str:
    """Makes a database with a configuration; its hash."""
    engine = open_database(sqlite_url(Path(home.database)))
    document = {
        "farm": {"name": "lost"},
        "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
        "roles": {"psa": {"command": ["psa"]}},
    }
    imported = revisions.import_configuration(engine, from_document(document), "ann", "", 1)
    engine.dispose()
    return imported.revision.hash


def begin_run(store: Store, revision: str, command_id: str) -> int:
    return asyncio.run(_allot(store, AllotRunNumber(command_id, revision, "ann", NO_TERMS)))


async def _allot(store: Store, effect: AllotRunNumber) -> int:
    return await store.allot_run_number(effect)


def aim(store: Store, revision: str, run: int, number: int = 1) -> None:
    """Has the store record a goal whose run is open."""
    terms = asdict(RunTerms(run_type="production", comment="night", person="ann"))
    told = {
        "number": run,
        "running": True,
        "stop_asked": False,
        "end_reason": "",
        "degraded": False,
        "degraded_reason": "",
        "terms": terms,
        "last_seen_unix_s": 0.0,
    }
    goal = to_document(Goal(command_id=f"c{number}", revision=revision, run_number=run))
    store.persist(Persist("goal_set", f"goal/{number}", {**goal, "active": False, "remaining_s": 0.0, "run": told}))


def put_in_place(backup: Path | str, home: Home) -> None:
    for suffix in FILES:
        Path(home.database + suffix).unlink(missing_ok=True)
    shutil.copy(backup, home.database)


def test_a_home_in_which_no_farm_was_gets_a_database(home: Home) -> None:
    Path(home.root, "sf").mkdir()
    Path(home.nodes).mkdir()
    with opened(home) as store:
        assert store.incarnation == 1


def test_a_home_in_which_a_farm_was_gets_none_in_place_of_the_one_that_is_lost(home: Home) -> None:
    Path(home.node_directory("sf01", "n1")).mkdir(parents=True)
    Path(home.sub_farm_directory("sf01")).mkdir(parents=True)
    with pytest.raises(DatabaseMissing) as caught:
        Store(home)
    assert f"{caught.value}. {caught.value.what_to_try}" == missing(home)
    assert not Path(home.database).exists()


def test_a_run_that_an_older_database_does_not_know_is_adopted_with_what_the_goal_says_of_it(
    home: Home, tmp_path: Path
) -> None:
    revision = configured(home)
    shutil.copy(home.database, tmp_path / "old.db")
    with opened(home) as store:
        number = begin_run(store, revision, "c1")
        with cut_off(store):
            aim(store, revision, number)
            shutil.copy(home.outbox, f"{home.outbox}.left")  # as a crash would leave it
    put_in_place(tmp_path / "old.db", home)
    os.replace(f"{home.outbox}.left", home.outbox)
    with opened(home) as store:
        remembered = store.remembered()
        assert remembered is not None
        assert remembered.run is not None
        assert (remembered.run.number, remembered.run.terms.comment) == (number, "night")
        run = runs.run_details(store._engine, number).run
        assert (run.type, run.comment, run.person, run.revision) == ("production", "night", "ann", revision)
        assert (run.degraded, run.degraded_reason) == (True, runs.BEGINNING_LOST)
        assert store.incarnation == INCARNATIONS_UNSEEN + 2
        assert begin_run(store, revision, "c2") == number + 1
        assert store.state.rejected == 0


def test_a_database_that_does_not_know_what_the_farm_uses_is_refused_with_what_to_do(home: Home) -> None:
    revision = configured(home)
    with opened(home) as store:
        number = begin_run(store, revision, "c1")
        with cut_off(store):
            aim(store, revision, number)
            shutil.copy(home.outbox, f"{home.outbox}.left")  # as a crash would leave it
    for suffix in FILES:
        Path(home.database + suffix).unlink(missing_ok=True)
    os.replace(f"{home.outbox}.left", home.outbox)
    with pytest.raises(UnknownRevision) as caught:
        Store(home)
    assert f"{caught.value}. {caught.value.what_to_try}" == (
        f"the database does not know revision {revision[:12]}, which the farm uses. It is older than the farm. "
        "Put a newer backup in its place, after grange down --kill: grange db restore FILE; "
        f"or go on without the records that wait: mv {home.outbox} {home.outbox}.lost"
    )


def test_the_numbers_that_were_given_are_in_whatever_the_farm_has_left(home: Home) -> None:
    node = Path(home.node_directory("sf01", "n1"))
    node.mkdir(parents=True)
    outbox = Outbox(Path(home.outbox))

    def given() -> NumbersGiven:
        return numbers_given(home, outbox.pending(), outbox.rejected_path)

    assert given() == NumbersGiven(0, 0)
    Path(home.data).mkdir()
    Path(home.data, "run_000003_sf01_builder-1.adf").touch()
    assert given() == NumbersGiven(3, 0)
    outbox.append({"kind": "run_running", "run": 4, "at_ns": 1}, "a", RecordClass.ESSENTIAL, True, 5)
    assert given() == NumbersGiven(4, 5)
    goal = {"run_number": 5, "run": {"number": 6}, "revision": ""}
    outbox.append({"kind": "goal_set", "goal": goal, "at_ns": 1}, "b", RecordClass.ESSENTIAL, True, 6)
    assert given() == NumbersGiven(6, 6)
    kept = {"why": "", "key": "c", "incarnation": 7, "record": {"kind": "run_ended", "run": 7}}
    outbox.rejected_path.write_text(f"{json.dumps(kept)}\ntorn", encoding="utf-8")
    assert given() == NumbersGiven(7, 7)
    manifest = Manifest("psa-1", "i1", "n", ["psa"], "log", note={"unit": {"run_number": 8}, "spec": {}})
    (node / "manifests.jsonl").write_text(f"{manifest_line(manifest)}\n", encoding="utf-8")
    assert given() == NumbersGiven(8, 7)
    (node / "keeper.json").write_text(json.dumps({"agent": 30, "parents": [9, 20]}), encoding="utf-8")
    assert given() == NumbersGiven(8, 9)
    outbox.close()


def test_a_database_that_is_not_older_gives_its_own_next_numbers(home: Home) -> None:
    engine = open_database(sqlite_url(Path(home.database)))
    assert perform(engine, control.GoOnFrom(FARM, 0, 0)) is True
    assert perform(engine, control.GoOnFrom(FARM, 0, 4)) is False
    assert perform(engine, control.GoOnFrom(FARM, 0, 4)) is True
    engine.dispose()


# ---- what a crash, or a restore, leaves open ------------------------------------------------------------------------


def test_what_nobody_can_finish_any_more_is_ended_in_the_records_with_the_reason(home: Home) -> None:
    revision = configured(home)
    with opened(home) as store:
        for one in ("mine", "another's", "done"):
            store.persist(Persist("command_recorded", f"command/{one}", {**COMMAND, "id": one}))
        store.persist(Persist("command_ended", "ended/done", {"id": "done", "outcome": "done", "reason": ""}))
        for number in range(1, 5):
            assert begin_run(store, revision, f"c{number}") == number
        for number in (2, 3):
            store.persist(Persist("run_running", f"running/{number}", {"number": number}))
        store.persist(Persist("run_stop_asked", "asked/3", {"number": 3, "reason": "stop by ann"}))
    with opened(home) as store:
        store.settle_the_rest({"mine"}, 4)
        assert store._writer.flush(LIMIT_S)
        commands = {row.id: (row.outcome, row.reason) for row in control.commands(store._engine)}
        ended = {run.number: run for run in runs.runs(store._engine)}
        assert commands == {
            "mine": (None, ""),
            "another's": (
                "interrupted",
                "the farm controller was restarted meanwhile and cannot tell how it ended",
            ),
            "done": ("done", ""),
        }
        assert {number: run.end_reason for number, run in ended.items()} == {
            1: "given up: it never started",
            2: KILLED_RUN,
            3: "stop by ann",
            4: "",
        }
        seen = {number for number, run in ended.items() if run.last_seen_at_ns == store._last_life_ns}
        assert (seen, ended[4].stopped_at_ns) == ({2, 3}, None)


def test_a_command_under_way_is_as_old_as_it_is_since_it_was_accepted(home: Home) -> None:
    configured(home)
    with opened(home) as store:
        store.persist(Persist("command_recorded", "command/c1", {**COMMAND, "id": "c1"}))
        goal = {**to_document(Goal(command_id="c1")), "active": True, "remaining_s": 60.0, "run": None}
        store.persist(Persist("goal_set", "goal/1", goal))
    with opened(home) as store:
        row, remembered = control.command_of(store._engine, "c1"), store.remembered()
        assert row is not None
        assert remembered is not None
        assert remembered.ages_s.keys() == {"c1"}
        assert 0.0 < remembered.ages_s["c1"] < LIMIT_S
