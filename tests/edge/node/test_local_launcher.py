"""Programs get started on this machine, once, and outlive who started them."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grange.launch import local
from grange.launch.daemon import spawn_detached
from grange.launch.launcher import LaunchError
from grange.launch.local import LocalLauncher

from .node_helpers import AgentNode, eventually, exists


async def test_a_keeper_is_launched_once_however_often_it_is_asked_for(node: AgentNode) -> None:
    await node.start()
    keeper = node.keeper_pid()
    await node.launch()
    await node.launch()
    assert node.keeper_pid() == keeper
    assert len(node.parent.hellos) == 1


async def test_a_program_that_fails_at_once_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "FAIL_WINDOW_S", 20.0)  # a busy machine takes longer to start an interpreter
    launcher = LocalLauncher()
    arguments = ["-c", "import sys; sys.exit('the database is newer than this program')"]
    with pytest.raises(LaunchError) as caught:
        await launcher.launch_controller("sub-farm sf01", arguments, str(tmp_path / "sf01.log"))
    assert str(caught.value) == (
        "sub-farm sf01 exited with code 1 (the database is newer than this program) as soon as it was started. "
        f"See {tmp_path}/sf01.log"
    )
    await launcher.close()


async def test_of_a_program_that_broke_with_a_traceback_its_last_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "FAIL_WINDOW_S", 20.0)
    launcher = LocalLauncher()
    broken = tmp_path / "broken.py"
    broken.write_text("def begin():\n    open('/no/book')\n\nprint('starts')\nbegin()\n")
    with pytest.raises(LaunchError) as caught:
        await launcher.launch_controller("keeper of sf01/n1", ["-S", str(broken)], str(tmp_path / "keeper.log"))
    assert str(caught.value) == (
        "keeper of sf01/n1 exited with code 1 (FileNotFoundError: [Errno 2] No such file or directory: '/no/book') "
        f"as soon as it was started. See {tmp_path}/keeper.log"
    )
    await launcher.close()


async def test_a_program_that_cannot_be_executed_or_does_not_get_up_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> bool:
        return False

    launcher, said = LocalLauncher(), []
    idle = tmp_path / "idle.py"
    idle.write_text("")
    monkeypatch.setattr(local, "_until_closed", never)
    monkeypatch.setattr(local, "KEEPER_PROGRAM", idle)
    settings: Any = SimpleNamespace(to_json=lambda: "{}")
    for executable in (sys.executable, "/no/such/python"):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(LaunchError) as caught:
            await launcher.launch_keeper("sf01/n1", str(tmp_path / "n1"), settings)
        said.append(str(caught.value))
    assert said == [
        f"keeper of sf01/n1 was not up 20 s after it was started. See {tmp_path}/n1/keeper.log",
        "keeper of sf01/n1 could not be started: /no/such/python: No such file or directory",
    ]
    await launcher.close()


async def test_a_program_that_finds_another_of_its_kind_is_no_error(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    await launcher.launch_controller("farm", ["-c", "raise SystemExit(75)"], str(tmp_path / "farm.log"))
    await launcher.close()


async def test_a_directory_that_cannot_be_written_is_named(node: AgentNode) -> None:
    (node.home / "n").write_text("a file where the directory should be")
    with pytest.raises(LaunchError) as caught:
        await node.launch()
    assert str(caught.value) == (
        f"node sf01/n1: its directory {node.directory} cannot be written: File exists. "
        "Make room or correct the permissions there, then set up again"
    )


async def test_what_was_launched_outlives_its_launcher_in_a_session_of_its_own(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    log = tmp_path / "farm.log"
    code = "import os, signal; print(os.getpid(), os.getsid(0), flush=True); signal.pause()"
    await launcher.launch_controller("farm", ["-c", code], str(log))
    pid, session = map(int, (await asyncio.to_thread(eventually, "it tells", log.read_text)).split())
    await launcher.close()
    try:
        assert session == pid
        assert exists(pid)
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    finally:
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, pid, 0)


def test_a_detached_program_is_started_and_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "farm.log"
    code = "import os; print(os.getsid(0) == os.getpid(), os.environ['MINE'])"
    pid = spawn_detached([sys.executable, "-c", code], str(log), {"MINE": "1"})
    os.waitpid(pid, 0)
    assert log.read_text() == "True 1\n"


def test_a_program_that_does_not_exist_cannot_be_detached(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="/no/such/program could not be started: No such file or directory"):
        spawn_detached(["/no/such/program"], str(tmp_path / "log"))


DIES = (
    "import os, resource, signal; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
    "print('about to fail', flush=True); "
)


async def test_the_last_words_of_a_program_that_broke_as_soon_as_it_was_started_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "FAIL_WINDOW_S", 20.0)
    launcher = LocalLauncher()
    code = f"{DIES}os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(LaunchError) as caught:
        await launcher.launch_controller("sf01", ["-S", "-c", code], str(tmp_path / "sf01.log"))
    assert caught.value.reason == "sf01 was killed by SIGSEGV (about to fail) as soon as it was started"
    await launcher.close()


async def test_a_program_that_somebody_kills_as_soon_as_it_is_started_has_ended_and_is_no_launch_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "FAIL_WINDOW_S", 20.0)
    ended: list[tuple[str, str]] = []
    launcher = LocalLauncher(lambda what, reason: ended.append((what, reason)))
    code = f"{DIES}os.kill(os.getpid(), signal.SIGKILL)"
    await launcher.launch_controller("sf01", ["-S", "-c", code], str(tmp_path / "sf01.log"))
    assert ended == [("sf01", "sf01 was killed by SIGKILL")]
    await launcher.close()
