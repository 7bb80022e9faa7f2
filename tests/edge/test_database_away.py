"""The database goes away while data is taken: locked by another, read-only, full; and is back again.

A run goes on and can be stopped, and the farm shut down; what has to be recorded waits in the outbox and is written
afterwards, in order and once; status says that it waits; only a new run is refused, for want of a number. A farm
controller that is started meanwhile waits, and takes the farm back when the database is there.
"""

import asyncio
import contextlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm, OutcomeKind
from grange.client.person import user_name
from grange.core.errors import Refused
from grange.core.home import Home
from grange.core.names import Health, State

UP_SAYS_LIMIT_S = 60.0


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another connection holds the write lock."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextlib.contextmanager
def read_only(database: Path) -> Iterator[None]:
    """Nobody can write the files, root included; the file system has to know immutable files."""
    files = [str(path) for path in database.parent.glob(f"{database.name}*")]
    program = shutil.which("chattr")
    if program is None or subprocess.run([program, "+i", *files], capture_output=True, check=False).returncode:
        pytest.skip("files cannot be made immutable here: needs root, chattr and a file system that knows it")
    try:
        yield
    finally:
        subprocess.run([program, "-i", *files], check=True)


@pytest.fixture
def cramped(live: Any, small_disk: Any) -> Iterator[Any]:
    """A farm of its own whose database, and nothing else of it, lies on a small disk."""
    root = tempfile.mkdtemp(prefix="gr")
    farm = type(live)(Home(root))
    try:
        Path(farm.home.database).symlink_to(small_disk.path / "grange.db")
        farm.up()
        yield farm
        farm.down()
    finally:
        farm.kill_all()
        shutil.rmtree(root)


AWAY: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {"locked": locked, "read-only": read_only}


@pytest.mark.parametrize("how", AWAY)
async def test_a_run_goes_on_and_ends_and_all_is_recorded_in_order_and_once_when_the_database_is_back(
    farm: AsyncFarm, live: Any, how: str
) -> None:
    await go_through(farm, live, AWAY[how](Path(live.home.database)), how)


async def test_so_it_is_when_the_disk_of_the_database_is_full(cramped: Any, small_disk: Any) -> None:
    async with AsyncFarm(cramped.home.root, label="ann") as farm:
        await go_through(farm, cramped, small_disk.full(), "full")


async def go_through(farm: AsyncFarm, live: Any, away: contextlib.AbstractContextManager[None], how: str) -> None:
    """A run in which the database goes away and comes back, with deaths meanwhile."""
    await live.use(farm, worker={"count": 2, "quorum": 1, "policy": "ignore"})
    number = (await farm.go("running")).run_number

    async def told() -> bool:
        member = (await farm.status(depth=0)).member
        return member.health is Health.DEGRADED and "they wait in the outbox" in member.status

    with away:
        await farm.execute("pause")
        await live.eventually(told, "status does not say that records wait")
        await farm.execute("resume")
        await live.kill("sf01/n1/worker-1")
        await live.kill("sf01")
        assert (await farm.execute("stop", command_id=f"{how}-stop")).state is State.CONFIGURED
        with pytest.raises(Refused, match="no run can be started, for it gets its number from the database"):
            await farm.go("running")
        assert (await farm.execute("shutdown")).state is State.INITIAL
        assert live.processes() == {}

    async def well() -> bool:
        return (await farm.status(depth=0)).member.health is Health.OK

    await live.eventually(well, "the database is back, and status does not say so")
    run = await farm.run(number)
    assert 0 < run.running_unix_s <= run.stop_asked_unix_s <= run.stopped_unix_s
    assert (run.end_reason, run.degraded) == (f"stop by {user_name()}", True)
    assert [member.path for member in run.members].count("sf01/n1/worker-1") >= 1
    assert (await farm.execute("stop", command_id=f"{how}-stop")).kind is OutcomeKind.DONE  # its outcome is known
    assert recorded(live.home.database) == ["go running", "pause", "resume", "stop", "shutdown"]
    assert (await farm.go("running")).run_number > number


@pytest.mark.parametrize("how", AWAY)
async def test_a_farm_controller_that_is_started_without_its_database_waits_for_it_and_the_run_goes_on(
    farm: AsyncFarm, live: Any, how: str
) -> None:
    await come_back(farm, live, AWAY[how](Path(live.home.database)))


async def test_so_it_is_when_it_is_started_on_a_full_disk(cramped: Any, small_disk: Any) -> None:
    async with AsyncFarm(cramped.home.root, label="ann") as farm:
        await come_back(farm, cramped, small_disk.full())


async def come_back(farm: AsyncFarm, live: Any, away: contextlib.AbstractContextManager[None]) -> None:
    """A run in which the farm controller dies while the database is away, with records that wait for it."""
    await live.use(farm, worker={"count": 2})
    number = (await farm.go("running")).run_number
    processes = live.processes()
    with away:
        await farm.execute("pause")
        await live.kill("farm")
        up = asyncio.create_task(asyncio.to_thread(live.up))
        await waits(live)
        assert not up.done()
    await up
    await is_now(farm, live, State.PAUSED, number)
    assert live.processes() == processes
    assert (await farm.execute("resume")).state is State.TAKING
    assert (await farm.execute("stop")).state is State.CONFIGURED
    assert (await farm.run(number)).stopped_unix_s > 0


async def waits(live: Any) -> None:
    """The farm controller that was started last waits for its database."""

    async def said() -> bool:
        return "waiting for the database since" in live.said()

    await live.eventually(said, "the farm controller does not wait for its database")


async def is_now(farm: AsyncFarm, live: Any, state: State, run_number: int) -> None:
    """Its children report to a farm controller that was started again, and then it is so."""

    async def there() -> bool:
        member = (await farm.status(depth=0)).member
        return (member.state, member.run_number) == (state, run_number)

    await live.eventually(there, f"the farm is not {state} again, run {run_number}")


async def test_an_end_of_a_run_that_waited_for_the_database_when_the_farm_controller_died_is_recorded_as_it_was(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    number = (await farm.go("running")).run_number
    with locked(Path(live.home.database)):
        before_unix_s = time.time()
        await farm.execute("stop")
        after_unix_s = time.time()
        await live.kill("farm")
        up = asyncio.create_task(asyncio.to_thread(live.up))
        await waits(live)
    await up
    await is_now(farm, live, State.CONFIGURED, 0)
    run = await farm.run(number)
    assert before_unix_s <= run.stop_asked_unix_s <= run.stopped_unix_s <= after_unix_s
    assert run.end_reason == f"stop by {user_name()}"


async def test_a_run_that_was_stopped_while_the_whole_home_was_full_is_recorded_as_it_was_after_a_death(
    live: Any, small_disk: Any
) -> None:
    cramped = type(live)(Home(str(small_disk.path)))
    try:
        await asyncio.to_thread(cramped.up)
        async with AsyncFarm(cramped.home.root, label="ann") as farm:
            await cramped.use(farm, worker={})
            number = (await farm.go("running")).run_number
            with small_disk.full():
                for step in ("pause", "resume") * 4:  # more than what is left of the page that is written last
                    await farm.execute(step)
                before_unix_s = time.time()
                await farm.execute("stop")
                after_unix_s = time.time()
                await cramped.kill("farm")
                up = asyncio.create_task(asyncio.to_thread(cramped.up))
                await waits(cramped)
            await up
            await is_now(farm, cramped, State.CONFIGURED, 0)
            run = await farm.run(number)
            assert before_unix_s <= run.stop_asked_unix_s <= run.stopped_unix_s <= after_unix_s
            assert run.end_reason == f"stop by {user_name()}"
        await asyncio.to_thread(cramped.down)
    finally:
        cramped.kill_all()


async def test_on_a_home_that_is_full_grange_up_says_so_and_the_farm_is_back_by_itself_when_there_is_room(
    live: Any, small_disk: Any
) -> None:
    cramped = type(live)(Home(str(small_disk.path)))
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", cramped.home.root, "up", "--detach"]
    try:
        await asyncio.to_thread(cramped.up)
        async with AsyncFarm(cramped.home.root, label="ann") as farm:
            await cramped.use(farm, worker={"count": 2})
            number = (await farm.go("running")).run_number
            before = cramped.processes()
            with small_disk.full():
                await cramped.kill("farm")
                fill_up(Path(cramped.home.farm_log))
                up = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                assert up.stderr is not None
                said = await asyncio.wait_for(up.stderr.readline(), UP_SAYS_LIMIT_S)
                assert said.decode() == (
                    f"the farm controller is not up yet: the disk of {cramped.home.root} is full, so it waits for room "
                    "and cannot write its log. Make room, and it goes on by itself\n"
                )
                assert up.returncode is None
            assert ((await up.communicate())[1], up.returncode) == (b"", 0)
            await is_now(farm, cramped, State.TAKING, number)
            assert cramped.processes() == before
            assert (await farm.execute("stop")).state is State.CONFIGURED
            assert (await farm.run(number)).stopped_unix_s > 0
            await farm.go("absent")
            await farm.down()
            await cramped.eventually(lambda: not cramped.found(), "something of the farm lives on")
    finally:
        cramped.kill_all()


def fill_up(file: Path) -> None:
    """Takes what is left of the file's last page on a full disk: not one more line fits."""
    with contextlib.suppress(OSError), open(file, "ab", buffering=0) as log:
        while log.write(b"\n"):
            pass


async def test_a_farm_controller_that_waits_for_its_database_ends_when_it_is_told_to(
    farm: AsyncFarm, live: Any
) -> None:
    with locked(Path(live.home.database)):
        await live.kill("farm")
        live.begin()
        await waits(live)
        live.controller.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(live.ended) == 0
    assert live.said().endswith(
        "the farm controller has ended; it has not had its database yet, and what it controls runs on. "
        "To come back: grange up\n"
    )
    await asyncio.to_thread(live.up)


async def test_a_run_is_started_at_once_when_there_is_room_again(cramped: Any, small_disk: Any) -> None:
    async with AsyncFarm(cramped.home.root, label="ann") as farm:
        await cramped.use(farm, worker={})
        number = (await farm.go("running")).run_number

        async def told() -> bool:
            return "are tried again every 2 s" in (await farm.status(depth=0)).member.status

        with small_disk.full():
            for step in ("pause", "resume") * 4:  # more than what is left of the page that is written last
                await farm.execute(step)
            await farm.execute("stop")
            await cramped.eventually(told, "status does not say that records wait")
        assert (await farm.go("running")).run_number == number + 1


async def test_what_the_database_tells_while_records_wait_for_it_is_said_to_be_older(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    number = (await farm.go("running")).run_number
    assert (await farm.run(number)).behind == ""
    with locked(Path(live.home.database)):
        await farm.execute("stop")

        async def behind() -> str:
            return (await farm.run(number)).behind

        text = await live.eventually(behind, "nothing says that a run is told as it was before")
        assert re.match(
            r"\d+ records wait, so what is told may be older: the database has not taken records since", text
        )
        assert {run.behind.partition(", ")[2] for run in await farm.runs()} == {text.partition(", ")[2]}
        assert (await farm.audit())[0].behind
        for words in (["runs"], ["runs", "show", str(number)], ["audit"]):
            argv = [sys.executable, "-P", "-m", "grange.cli", "--home", live.home.root, *words]
            done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=True)
            assert " records wait, so what is told may be older: the database has not taken" in done.stderr

    async def told() -> bool:
        return not (await farm.run(number)).behind

    await live.eventually(told, "the database is back, and what it tells is said to be older")
    assert (await farm.run(number)).stopped_unix_s > 0


def recorded(database: str) -> list[str]:
    """The last five commands that the database has, in their order."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT what FROM command ORDER BY accepted_at_ns DESC LIMIT 5").fetchall()
    return [what for (what,) in reversed(rows)]
