"""A whole farm for tests: real controllers, keepers, agents and plain processes, in a short home under /tmp.

One farm is set up for all tests that ask for it (`live`), because setting it up costs seconds; each test gets a client
(`farm`), imports the roles that it wants to see (`live.configuration`) and may do anything to the farm, killing its
programs included. Afterwards the farm is brought back to initial and nothing may be left of what the test started. At
the end the farm is taken down, and no process, socket or lock of it may be left on this machine.

Programs are found by their command lines, processes by their environment: both name the home. So what a controller
forgot is found as well.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from grange.client import AsyncFarm, Farm
from grange.core.errors import GrangeError
from grange.core.home import Home

T = TypeVar("T")

LIMIT_S = 45.0
"""How long a test waits for what must come; never reached when all is well."""
_LOOK_EVERY_S = 0.02
_LOG_LINES = 40  # of each log, shown with a failure

WORKER = {"command": ["sleep", "100000"], "settle_time_s": 0.05, "terminate_timeout_s": 1.0}
"""A plain process that does nothing, and ends when it is told to."""


async def eventually(look: Callable[[], T | Awaitable[T]], what: str) -> T:
    """Looks until what it sees is true and returns that; fails with `what` did not come and what was seen last."""
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        seen = look()
        if isinstance(seen, Awaitable):
            seen = await seen
        if seen:
            return seen
        assert time.monotonic() < deadline_s, f"{what} within {LIMIT_S:.0f} s; seen last: {seen!r}"
        await asyncio.sleep(_LOOK_EVERY_S)


class LiveFarm:
    """A farm controller of its own home, and what belongs to it on this machine."""

    eventually = staticmethod(eventually)
    worker: Mapping[str, Any] = WORKER

    def __init__(self, home: Home) -> None:
        self.home = home
        self.controller: subprocess.Popen[bytes] | None = None
        self._said_from_byte = 0  # of its log

    # ---- programs ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Starts the farm controller."""
        os.makedirs(self.home.root, mode=0o700, exist_ok=True)
        with open(self.home.farm_log, "ab") as log:
            self._said_from_byte = log.tell()
            argv = [sys.executable, "-P", "-m", "grange.cli", "--home", self.home.root, "up"]
            self.controller = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def said(self) -> str:
        """What the farm controller that was started last has written into its log."""
        return Path(self.home.farm_log).read_bytes()[self._said_from_byte :].decode()

    def up(self) -> None:
        """Starts the farm controller and returns when it answers."""
        self.begin()
        assert self.controller is not None
        with Farm(self.home.root) as client:
            deadline_s = time.monotonic() + LIMIT_S
            while True:
                with contextlib.suppress(GrangeError):
                    client.status(depth=0)
                    return
                assert self.controller.poll() is None, f"the farm controller has ended: {self.logs()}"
                assert time.monotonic() < deadline_s, f"the farm controller does not answer: {self.logs()}"
                time.sleep(_LOOK_EVERY_S)

    def grange(self, *arguments: str) -> str:
        """What the command line prints on standard output; it has to succeed."""
        argv = [sys.executable, "-P", "-m", "grange.cli", "--home", self.home.root, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout

    def ended(self) -> int:
        """Waits for the farm controller's end and returns its exit code."""
        assert self.controller is not None
        code = self.controller.wait(LIMIT_S)
        self.controller = None
        return code

    def found(self) -> dict[str, list[int]]:
        """Every process on this machine that belongs to this home: what it is, and the process ids.

        "farm", "sf01" (a sub-farm controller), "keeper sf01/n1", "agent sf01/n1", "sf01/n1/worker-1".
        """
        found: dict[str, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (what := self._what(entry)):
                found.setdefault(what, []).append(int(entry))
        return found

    def _what(self, pid: str) -> str:
        try:
            argv = Path("/proc", pid, "cmdline").read_text(errors="replace").split("\0")[:-1]
            environment = Path("/proc", pid, "environ").read_text(errors="replace").split("\0")
        except OSError:
            return ""
        nodes = f"{self.home.root}/nodes/"
        if "grange.controllers.subfarm" in argv and self.home.root in argv:
            return argv[-1]
        if "grange.cli" in argv and argv[-1] == "up" and self.home.root in argv:
            return "farm"
        if argv and argv[-1].startswith(nodes):
            program = "agent" if "grange.supervisor.agent" in argv else "keeper"
            return f"{program} {argv[-1].removeprefix(nodes)}"
        if f"GRANGE_DATA_DIRECTORY={self.home.data}" in environment:
            return next((word.removeprefix("GRANGE_MEMBER=") for word in environment if "GRANGE_MEMBER=" in word), "")
        return ""

    def processes(self) -> dict[str, list[int]]:
        """The processes of the roles, by path."""
        return {what: sorted(pids) for what, pids in self.found().items() if what.count("/") == 2}

    def pid(self, what: str) -> int:
        """The process id of the program or process called `what`; of a controller, the one that serves."""
        pids = self.found().get(what, [])
        if what == "farm" or (what.startswith("sf") and "/" not in what):
            socket = self.home.farm_socket if what == "farm" else self.home.sub_farm_socket(what)
            pids = [pid for pid in pids if str(pid) == Path(f"{socket}.lock").read_text().strip()]
        assert len(pids) == 1, f"{what} runs as {pids}"
        return pids[0]

    async def kill(self, what: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Kills a program or process without a word and waits until it is gone; returns what its process id was."""
        pid = self.pid(what)
        await self.kill_one(what, pid, number)
        return pid

    async def kill_one(self, what: str, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Kills one that may not serve yet, or no longer, and waits until it is gone."""
        os.kill(pid, number)
        if self.controller is not None and pid == self.controller.pid:
            self.ended()
        await eventually(lambda: pid not in self.found().get(what, []), f"{what} did not end")

    async def kill_programs(self) -> None:
        """Kills all controllers, keepers and agents at once, as a crash does; the processes of the roles live on."""

        def programs() -> list[int]:
            return [pid for what, pids in self.found().items() if what.count("/") < 2 for pid in pids]

        def kill() -> bool:  # again, for one may have started another just before
            for pid in programs():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not programs()

        await eventually(kill, "controllers, keepers and agents did not end")
        if self.controller is not None:
            self.ended()

    # ---- configuration ----------------------------------------------------------------------------------------------

    def configuration(self, roles: Mapping[str, Mapping[str, Any]]) -> str:
        """sf01 with nodes n1 and n2, sf02 with n3; every role runs in both, its processes spread over the nodes."""
        return json.dumps(
            {
                "farm": {"name": "live"},
                "sub_farms": {
                    "sf01": {"nodes": ["n[1-2]"], "roles": list(roles)},
                    "sf02": {"nodes": ["n3"], "roles": list(roles)},
                },
                "roles": roles,
            }
        )

    async def use(self, farm: AsyncFarm, **roles: Mapping[str, Any]) -> None:
        """Selects a configuration of these roles; what a role leaves out is that of `WORKER`."""
        filled = {name: {**WORKER, **role} for name, role in roles.items()}
        await farm.import_configuration(self.configuration(filled), "json")

    def flag(self, name: str) -> Path:
        """A file that roles can look for, as {home}/flags/NAME; it is not there unless a test makes it."""
        return Path(self.home.root) / "flags" / name

    # ---- the end of a test, and of all ------------------------------------------------------------------------------

    def reset(self) -> None:
        """Brings the farm back to initial. Fails when that cannot be done, or something is left."""
        shutil.rmtree(Path(self.home.root) / "flags", ignore_errors=True)
        (Path(self.home.root) / "flags").mkdir()
        if self.controller is None or self.controller.poll() is not None:
            self.up()
        with Farm(self.home.root, label="the test's end") as client:
            client.go("initial", timeout_s=LIMIT_S)
        left = self.processes()
        assert not left, f"the farm is initial, and these run on: {left}"

    def down(self) -> None:
        """Takes the farm down. Fails when anything is left."""
        with Farm(self.home.root, label="the tests' end") as client:
            client.go("absent", timeout_s=LIMIT_S)
            client.down()
        assert self.ended() == 0
        deadline_s = time.monotonic() + LIMIT_S
        while left := self.found():  # a released controller is answered before it has ended
            assert time.monotonic() < deadline_s, f"the farm is down, and these run on: {left}"
            time.sleep(_LOOK_EVERY_S)
        assert not self.held(), "nothing of a farm that is down is listened on or locked"

    def kill_all(self) -> None:
        """Kills whatever is there, keepers first, which would start agents again."""
        deadline_s = time.monotonic() + LIMIT_S
        while found := self.found():
            assert time.monotonic() < deadline_s, f"these cannot be killed: {found}"
            for what in sorted(found, key=lambda what: not what.startswith("keeper")):
                for pid in found[what]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_EVERY_S)
        if self.controller is not None:
            self.ended()

    def held(self) -> list[str]:
        """Sockets in the home, and locks that somebody holds."""
        held = []
        for path in Path(self.home.root).rglob("*"):
            if path.is_socket():
                held.append(str(path))
            elif path.suffix == ".lock":
                with open(path, "rb") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        held.append(str(path))
        return held

    def logs(self) -> str:
        """The last lines of what all programs had to say."""
        shown = []
        for path in sorted(Path(self.home.root).rglob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            shown += [f"--- {path}", *lines]
        return "\n".join(shown)


@pytest.fixture(scope="session")
def new_farm() -> type[LiveFarm]:
    """For tests that need a farm of their own."""
    return LiveFarm


@pytest.fixture(scope="session")
def live() -> Iterator[LiveFarm]:
    """The farm that all tests share: initial, with one worker in each sub-farm."""
    root = tempfile.mkdtemp(prefix="gr")
    farm = LiveFarm(Home(root))
    try:
        farm.up()
        with Farm(root) as client:
            client.import_configuration(farm.configuration({"worker": WORKER}), "json")
            client.go("initial", timeout_s=LIMIT_S)
        yield farm
        farm.down()
    finally:
        farm.kill_all()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def farm(live: LiveFarm) -> AsyncIterator[AsyncFarm]:
    """A client of the shared farm, which is initial; it is made so again afterwards."""
    (Path(live.home.root) / "flags").mkdir(exist_ok=True)
    try:
        async with AsyncFarm(live.home.root, label="ann") as client:
            yield client
    finally:
        await asyncio.to_thread(live.reset)


class SmallDisk:
    """A disk of a few megabytes, mounted at a short path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Whatever is free on it is taken by something else."""
        filler = self.path / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            filler.unlink()


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    path = tempfile.mkdtemp(prefix="gr")
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", path]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        os.rmdir(path)
        pytest.skip("a small disk cannot be mounted here: needs root and the right to mount")
    try:
        yield SmallDisk(Path(path))
    finally:
        subprocess.run(["umount", path], check=True)
        os.rmdir(path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows the logs of the farm with a failure."""
    report: Any = yield
    live = getattr(item, "funcargs", {}).get("live")
    if report.failed and isinstance(live, LiveFarm):
        report.sections.append(("logs of the farm", live.logs()))
    return report
