"""The database goes away while data is taken: locked by another, read-only, full; and is back again.

A run goes on and can be stopped, and the farm shut down; what has to be recorded waits in the outbox and is written
afterwards, in order and once; status says that it waits; only a new run is refused, for want of a number.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm, OutcomeKind
from grange.client.person import user_name
from grange.core.errors import Refused
from grange.core.home import Home
from grange.core.names import Health, State


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


@contextlib.contextmanager
def full(database: Path) -> Iterator[None]:
    """Whatever is free where the database lies is taken by something else."""
    filler = database.resolve().with_name("filler")
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture
def cramped(live: Any) -> Iterator[Any]:
    """A farm of its own whose database, and nothing else of it, lies on a disk of two megabytes."""
    root = tempfile.mkdtemp(prefix="gr")
    farm, disk = type(live)(Home(root)), Path(root, "disk")
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        shutil.rmtree(root)
        pytest.skip("a small disk cannot be mounted here: needs root and the right to mount")
    try:
        Path(farm.home.database).symlink_to(disk / "grange.db")
        farm.up()
        yield farm
        farm.down()
    finally:
        farm.kill_all()
        subprocess.run(["umount", str(disk)], check=True)
        shutil.rmtree(root)


AWAY: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {"locked": locked, "read-only": read_only}


@pytest.mark.parametrize("how", AWAY)
async def test_a_run_goes_on_and_ends_and_all_is_recorded_in_order_and_once_when_the_database_is_back(
    farm: AsyncFarm, live: Any, how: str
) -> None:
    await go_through(farm, live, AWAY[how](Path(live.home.database)), how)


async def test_so_it_is_when_the_disk_of_the_database_is_full(cramped: Any) -> None:
    async with AsyncFarm(cramped.home.root, label="ann") as farm:
        await go_through(farm, cramped, full(Path(cramped.home.database)), "full")


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


def recorded(database: str) -> list[str]:
    """The last five commands that the database has, in their order."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT what FROM command ORDER BY accepted_at_ns DESC LIMIT 5").fetchall()
    return [what for (what,) in reversed(rows)]
