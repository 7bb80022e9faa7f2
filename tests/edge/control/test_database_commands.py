"""`grange db` at the command line: who may restore when, and what is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from grange.cli.main import app
from grange.core.home import Home
from grange.proto.sockets import SocketLock
from grange.schema import revisions, tables
from grange.schema.database import open_database, sqlite_url, writing
from grange.schema.outbox import Outbox, RecordClass

FARM = {
    "farm": {"name": "demo"},
    "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
    "roles": {"psa": {"command": ["sleep", "60"]}},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A farm that nobody controls, with one revision; it is where commands are given, too."""
    monkeypatch.chdir(tmp_path)
    home = Home(str(tmp_path / "home"))
    monkeypatch.setenv("GRANGE_HOME", home.root)
    (tmp_path / "farm.json").write_text(json.dumps(FARM))
    assert run("config import farm.json").exit_code == 0
    return home


def run(words: str) -> Result:
    return CliRunner().invoke(app, words.split(), catch_exceptions=False)


def test_a_sound_database_is_said_to_be(home: Home) -> None:
    told = f"{home.database} is sound: schema {tables.VERSION}, 1 revisions, 5 objects, 0 runs\n"
    assert run("db check").stdout == told
    assert run("db upgrade").stdout == f"schema {tables.VERSION} is in place\n"


def test_what_is_not_sound_is_told_with_the_way_out(home: Home) -> None:
    engine = open_database(sqlite_url(Path(home.database)))
    short = revisions.find_revision(engine).short
    with writing(engine) as connection:
        connection.execute(update(tables.revision_table).values(author="eve"))
    engine.dispose()
    result = run("db check")
    assert (result.exit_code, result.stderr.splitlines()) == (
        1,
        [
            f"revision {short}: what it says of itself was changed",
            "Put a backup in its place: grange db restore FILE",
        ],
    )
    assert result.stdout.startswith(f"{home.database} is not sound: ")
    assert json.loads(run("db check --json").stdout)["faults"] != []


def test_a_backup_goes_into_the_home_unless_a_file_is_named_and_restores(home: Home) -> None:
    told = run("db backup").stdout
    (backup,) = Path(home.root, "backup").iterdir()
    assert told.startswith(f"backed up: {backup} (")
    run("config set roles.psa.count=2")
    result = run(f"db restore {backup}")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert first == f"restored: {home.database} from {backup}"
    assert second.startswith(f"what was there is kept in {home.database}.before-")
    assert "count" not in run("config export").stdout


def test_a_place_where_nothing_can_be_written_is_told(home: Home, tmp_path: Path) -> None:
    to = tmp_path / "nowhere" / "copy.db"
    assert run(f"db backup {to}").stderr == (
        f"grange: {home.database} could not be copied to {to}: unable to open database file. "
        f"See whether {to.parent} is there, can be written and has room\n"
    )


def test_records_that_wait_are_of_the_database_that_is_replaced(home: Home) -> None:
    outbox = Outbox(Path(home.outbox))
    outbox.append({"of": "before"}, "key", RecordClass.ESSENTIAL)
    outbox.close()
    run("db backup copy.db")
    told = run("db restore copy.db").stdout.splitlines()
    assert told[2].startswith(f"records that waited for it are kept in {home.outbox}.before-")
    assert not Path(home.outbox).exists()


def test_a_backup_that_cannot_be_used_leaves_everything_as_it_is(home: Home) -> None:
    outbox = Outbox(Path(home.outbox))
    outbox.append({"of": "before"}, "key", RecordClass.ESSENTIAL)
    outbox.close()
    before = Path(home.outbox).read_bytes()
    result = run("db restore farm.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr
        == "grange: farm.json is damaged: file is not a database. Name another backup; nothing has changed\n"
    )
    assert Path(home.outbox).read_bytes() == before


def test_nothing_is_restored_under_a_farm_that_is_up(home: Home) -> None:
    run("db backup copy.db")
    with SocketLock(home.farm_socket):
        result = run("db restore copy.db")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        f"grange: the farm is up (process {os.getpid()}). Take all of it down first: grange down --all\n"
    )


def test_nothing_is_restored_under_processes_that_run_on(home: Home) -> None:
    run("db backup copy.db")
    program = [sys.executable, "-c", "print(flush=True); input()", "grange.controllers", home.root]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as left:
        assert left.stdout is not None
        left.stdout.readline()
        result = run("db restore copy.db")
        left.kill()
    assert (result.exit_code, result.stdout) == (3, "")
    which = f"process {left.pid}: {' '.join(program)}"
    assert result.stderr == (
        f"grange: of this farm 1 processes run, such as {which}. Take all of it down first: grange down --all; "
        "where no farm controller can be started: grange down --kill\n"
    )


@pytest.mark.parametrize("words", ["db check", "db backup", "db upgrade"])
def test_a_farm_that_has_no_database_yet_gets_none_from_being_looked_at(home: Home, words: str) -> None:
    Path(home.database).rename(Path(home.root, "farm.log"))
    result = run(words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"grange: home: there is no database in {home.root}. One is made by: grange config import FILE\n"
    )
    assert not Path(home.database).exists()
