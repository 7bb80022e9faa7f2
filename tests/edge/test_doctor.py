"""`grange doctor`: what a crash leaves behind is found and cleared, and nothing that somebody uses is touched."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from grange.cli import doctor_findings
from grange.cli.doctor import _cleared, _condition
from grange.cli.doctor_findings import Finding, end_all
from grange.client import AsyncFarm
from grange.core.home import Home
from grange.core.keeping import Manifest, manifest_line
from grange.core.names import State
from grange.schema.outbox import Outbox, RecordClass
from grange.supervisor.belongings import Belonging, Kind

NODES = 3  # each with a socket of its keeper, its actors and their notifications


def doctor(home: Path | str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and what it says."""
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", str(home), "doctor", "--json", *arguments]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert said.stdout, said.stderr
    return said.returncode, json.loads(said.stdout)


def ours(report: dict[str, Any], kind: str) -> list[str]:
    """Findings of a kind, with what is to be done."""
    return [f"{finding['what']}. {finding['to_do']}" for finding in report["findings"] if finding["kind"] == kind]


def unused(segment: Path) -> str:
    return f"nobody uses the shared memory {segment}. --clear gives it back"


def unheard(socket: Path | str) -> str:
    return f"nobody listens on {socket}. It does no harm, and is replaced by the next program; --clear removes it"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a farm of which nothing runs."""
    Path(Home(str(tmp_path)).farm_log).touch()
    return tmp_path


async def test_a_farm_that_takes_data_is_well_and_clearing_touches_nothing_of_it(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"count": 2})
    await farm.go("running")
    before = live.found()
    with socket.socket(socket.AF_UNIX) as dead:  # of a process that was killed: its sub-farm clears up after it
        dead.bind(f"{live.home.exchange('sf01')}/sf01.n1.psa-1.in")
    code, report = await asyncio.to_thread(doctor, live.home.root, "--clear")
    assert (code, report["findings"]) == (0, [])
    assert "is taking, ok; 9 programs and 4 processes run" in report["condition"]
    assert live.found() == before


async def test_processes_that_nobody_watches_are_found_and_ended_when_asked_with_all_that_lies_about(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 2})
    await farm.go("running")
    before = live.processes()
    await live.kill_programs()
    code, report = await asyncio.to_thread(doctor, live.home.root)
    assert code == 1
    assert ours(report, "process") == [
        f"{path} (pid {pid}) runs, and nobody watches over it. "
        "grange up takes it back if the farm is to go on; --clear ends it"
        for pid, path in sorted((pids[0], path) for path, pids in before.items())
    ]
    sockets = sorted(path for path in live.held() if not path.endswith(".lock"))
    assert sorted(ours(report, "socket")) == [unheard(path) for path in sockets]
    assert len(sockets) > 3 * NODES
    assert live.processes() == before
    code, report = await asyncio.to_thread(doctor, live.home.root, "--clear")
    assert {finding["outcome"] for finding in report["findings"] if finding["clearable"]} == {"cleared"}
    assert (live.processes(), live.held()) == ({}, [])
    await asyncio.to_thread(live.up)
    await farm.go("initial")
    assert (await farm.go("running")).state is State.TAKING


def test_a_daemon_of_which_only_its_limits_say_whose_it_is_is_found_by_the_book_of_its_node(home: Path) -> None:
    node = home / "nodes" / "sf01" / "n1"
    node.mkdir(parents=True)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    manifest = Manifest("psa-1", "psa-1.1.1", "n", ["x"], f"{node}/logs/psa-1.1.1.log", pid=1, boot_id=boot_id)
    (node / "manifests.jsonl").write_text(manifest_line(manifest) + "\n")
    leave = ["/bin/sh", "-c", "cd /; sleep 1000 >&- 2>&- & echo $!"]
    pid = int(subprocess.run(leave, env={}, start_new_session=True, capture_output=True, text=True, timeout=60).stdout)
    daemon = psutil.Process(pid)
    try:
        assert doctor(home)[1]["findings"] == []
        resource.prlimit(pid, resource.RLIMIT_RTTIME, (manifest.label, -1))
        code, report = doctor(home)
        assert (code, ours(report, "process")) == (
            1,
            [
                f"sf01/n1/psa-1 (pid {pid}) runs, and nobody watches over it. "
                "grange up takes it back if the farm is to go on; --clear ends it"
            ],
        )
        assert doctor(home, "--clear")[0] == 0
        assert not daemon.is_running()
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            daemon.kill()


def test_what_nobody_watches_is_ended_all_at_once_and_how_long_that_may_take_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor_findings, "TERMINATE_S", 1.0)
    polite = "import signal; print('up', flush=True); signal.pause()"
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {polite}"
    programs = [
        subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) for code in (deaf, polite, deaf)
    ]
    said: list[str] = []
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == b"up\n"
        os.kill(programs[1].pid, signal.SIGSTOP)
        ones = [
            Belonging(Kind.PROCESS, "sf01/n1/psa", one.pid, psutil.Process(one.pid), leads=True) for one in programs
        ]
        assert end_all(ones, said.append) == set()
    finally:
        for program in programs:
            program.kill()
            program.communicate(timeout=60)
    assert said == [
        "ending 3 processes that nobody watches over; what is still there after 1 s is killed",
        "still there after 1 s, and killed now: 2 of 3",
    ]
    assert end_all([], said.append) == set()
    assert len(said) == 2


def test_a_process_that_does_not_end_stays_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    process: Any = SimpleNamespace(pid=7)
    one = Belonging(Kind.PROCESS, "sf01/n1/psa-1", 7, process, leads=True)
    monkeypatch.setattr("grange.cli.doctor.end_all", lambda ones, progress: {found.pid for found in ones})
    finding = Finding("process", "it runs", "end it", ends=one)
    assert _cleared([finding]) == [(finding, "could not be cleared: process 7 does not end")]


async def test_a_farm_without_its_controller_is_no_leftover(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    await farm.go("running")
    before = live.processes()
    await farm.down()
    await asyncio.to_thread(live.ended)
    code, report = await asyncio.to_thread(doctor, live.home.root, "--clear")
    assert "runs on without a farm controller" in report["condition"]
    assert (code, report["findings"], live.processes()) == (0, [], before)


async def test_a_program_that_is_stopped_is_named_with_how_it_goes_on(farm: AsyncFarm, live: Any) -> None:
    pid = live.pid("agent sf01/n1")
    os.kill(pid, signal.SIGSTOP)
    try:
        code, report = await asyncio.to_thread(doctor, live.home.root)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (code, len(report["findings"])) == (1, 1)
    assert ours(report, "stopped") == [
        f"agent sf01/n1 (pid {pid}) is stopped by a signal. Let it go on: kill -CONT {pid}"
    ]


def test_a_controller_that_does_not_answer_is_told_with_what_can_be_done_about_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(home: Home) -> Any:
        raise TimeoutError

    monkeypatch.setattr("grange.cli.doctor._ask", hangs)
    found: Any = SimpleNamespace(has_farm=True, serving={"farm": SimpleNamespace(pid=7)}, processes=())
    condition, (finding,) = _condition(Home(str(home)), found)
    assert condition == "the farm controller (pid 7) does not answer"
    assert f"{finding.what}. {finding.to_do}" == (
        "it has not answered for 5 s. "
        "If it stays so: kill -CONT 7 if it is stopped, else kill -9 7, then grange up; nothing is lost"
    )


def test_an_empty_home_is_said_to_be_one(home: Path) -> None:
    assert doctor(home) == (
        0,
        {"home": str(home), "condition": "nothing of the farm runs on this machine", "findings": []},
    )


def test_a_socket_without_a_listener_and_a_lock_without_a_holder_are_cleared(home: Path) -> None:
    exchange = home / "x" / "sf01"
    exchange.mkdir(parents=True)
    path, lock = exchange / "a.in", home / "farm.sock.lock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert doctor(home)[1]["findings"] == []
    lock.touch()
    code, report = doctor(home)
    assert (code, ours(report, "socket"), ours(report, "lock")) == (
        1,
        [unheard(path)],
        [f"nobody holds {lock}. It does no harm, and is taken by the next program; --clear removes it"],
    )
    assert doctor(home, "--clear")[0] == 0
    assert (path.exists(), lock.exists(), doctor(home)[0]) == (False, False, 0)


def test_a_book_from_before_the_machine_was_restarted_is_named_and_forgotten(home: Path) -> None:
    node = home / "nodes" / "sf01" / "n1"
    node.mkdir(parents=True)
    old = Manifest("psa-1", "psa-1.1.1", "n", ["x"], "l", pid=1, start_ticks=5, boot_id=str(uuid.uuid4()))
    (node / "manifests.jsonl").write_text(manifest_line(old) + "\n")
    code, report = doctor(home)
    assert (code, ours(report, "book")) == (
        1,
        [
            "the book of sf01/n1 is older than the machine's last start: 1 processes of it are gone. "
            "grange up tells of their end and goes on; --clear forgets them"
        ],
    )
    assert doctor(home, "--clear")[0] == 0
    assert not (node / "manifests.jsonl").exists()


def test_records_that_wait_for_the_database_are_left_to_the_next_controller(home: Path) -> None:
    outbox = Outbox(Path(Home(str(home)).outbox))
    outbox.append({"a": 1}, "key", RecordClass.ESSENTIAL)
    outbox.close()
    code, report = doctor(home, "--clear")
    assert (code, ours(report, "outbox")) == (
        1,
        ["1 records wait for the database. grange up writes them, in their order"],
    )
    again = Outbox(Path(Home(str(home)).outbox))
    assert len(again.pending()) == 1
    again.close()


def test_an_outbox_that_is_none_is_told_and_left_as_it_is(home: Path) -> None:
    outbox = Path(Home(str(home)).outbox)
    outbox.write_text("these are notes")
    code, report = doctor(home, "--clear")
    assert (code, ours(report, "outbox")) == (
        1,
        [
            f"the outbox cannot be looked at: {outbox} is not an outbox of this version; "
            "move it away if it may be lost. See the log: grange logs"
        ],
    )
    assert outbox.read_text() == "these are notes"


def test_shared_memory_that_nobody_has_open_is_given_back_and_what_is_in_use_stays(home: Path) -> None:
    path = Path("/dev/shm") / f"grange-{uuid.uuid4().hex}"
    with path.open("wb"):
        assert unused(path) not in ours(doctor(home)[1], "shared memory")
    try:
        assert unused(path) in ours(doctor(home, "--clear")[1], "shared memory")
        assert not path.exists()
    finally:
        path.unlink(missing_ok=True)


def test_of_many_things_about_which_the_same_is_to_be_done_a_few_are_told_by_name(home: Path) -> None:
    for number in range(7):
        lock = home / "nodes" / "sf01" / f"n{number}" / "keeper.lock"
        lock.parent.mkdir(parents=True)
        lock.touch()
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", str(home), "doctor"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert said[-5:] == [
        *(f"- nobody holds {home}/nodes/sf01/n{number}/keeper.lock" for number in range(3)),
        "- and 4 more like these; all of them: grange doctor --json",
        "  It does no harm, and is taken by the next program; --clear removes it",
    ]


def test_data_that_nobody_will_finish_are_told_and_kept_aside_when_asked(home: Path) -> None:
    part = home / "data" / "run_000007_sf01_builder-1.adf.part"
    part.parent.mkdir()
    part.write_bytes(b"frames")
    code, report = doctor(home)
    assert (code, ours(report, "unfinished file")) == (
        1,
        [
            f"run 7 left {part} unfinished (6 bytes). What is whole in it can be read (docs/runs.md). "
            "--clear keeps it, and moves it to unfinished/ beside it"
        ],
    )
    code, report = doctor(home, "--clear")
    assert (code, [one["outcome"] for one in report["findings"]]) == (0, ["kept, in unfinished/ beside it"])
    aside = part.parent / "unfinished" / part.name
    assert (part.exists(), aside.read_bytes()) == (False, b"frames")
    assert doctor(home)[0] == 0
    part.write_bytes(b"others")  # of the same name: neither is lost
    code, report = doctor(home, "--clear")
    assert (code, report["findings"][0]["outcome"].startswith("could not be cleared: ")) == (1, True)
    assert (part.read_bytes(), aside.read_bytes()) == (b"others", b"frames")


def test_data_that_are_being_written_are_nothing_left_over(home: Path) -> None:
    part = home / "data" / "run_000007_sf01_builder-1.adf.part"
    left = home / "data" / "run_000007_sf02_builder-1.adf.part"  # of a process that died; the run goes on
    part.parent.mkdir()
    left.touch()
    writer = [sys.executable, "-c", f"file = open({str(part)!r}, 'w'); print('open', flush=True); input()"]
    environment = {"GRANGE_DATA_DIRECTORY": Home(str(home)).data, "GRANGE_MEMBER": "sf01/n1/builder-1"}
    with subprocess.Popen(
        writer, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        report = doctor(home)[1]
        process.communicate("", timeout=60)
    assert ours(report, "unfinished file") == []
    assert len(ours(doctor(home)[1], "unfinished file")) == 2
