"""The systemd unit in `deploy/`: systemd takes it, and what it starts takes a farm back and says when it has."""

import asyncio
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from grange.cli.exits import Exit
from grange.client import AsyncFarm

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "grange@.service"
PROGRAM = "/opt/grange/bin/grange"


def service() -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def test_nothing_but_the_farm_controller_ends_with_the_unit_and_it_is_started_again_unless_it_makes_no_sense() -> None:
    settings = service()
    assert (settings["KillMode"], settings["OOMPolicy"], settings["Restart"]) == ("process", "continue", "on-failure")
    assert settings["RestartPreventExitStatus"] == f"{Exit.USAGE.value} {Exit.REFUSED.value}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on this machine")
def test_systemd_takes_the_unit_without_a_complaint(tmp_path: Path) -> None:
    unit = tmp_path / "grange@demo.service"
    unit.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))  # which has to be there
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def started(live: Any, words: list[str], address: str) -> list[bytes]:
    """Starts the farm controller as systemd does; the first three things that it tells systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, open(live.home.farm_log, "ab") as log:
        manager.bind(address)
        manager.settimeout(20.0)
        live.controller = subprocess.Popen(
            [sys.executable, "-P", "-m", "grange.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"},
        )
        said = [manager.recv(100) for _ in range(3)]
    os.unlink(address)
    return said


def environment_of(pid: int) -> str:
    return Path("/proc", str(pid), "environ").read_text()


async def test_started_by_its_unit_a_controller_takes_the_run_back_and_says_that_it_is_ready_and_alive(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    run = (await farm.go("running")).run_number
    before = live.processes()
    await live.kill("farm")
    program, *words = shlex.split(service()["ExecStart"].replace("/var/lib/grange/%i", live.home.root))
    assert program == PROGRAM
    address = f"{live.home.root}/notify"
    assert await asyncio.to_thread(started, live, words, address) == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    status = await farm.status()
    assert (status.member.run_number, live.processes()) == (run, before)
    await live.kill("sf01", signal.SIGTERM)  # it is started again, by the controller that the unit has started
    await live.eventually(lambda: live.found().get("sf01"), "another sub-farm controller did not come")
    environment = environment_of(live.found()["sf01"][0])
    assert [name for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC") if name in environment] == []
