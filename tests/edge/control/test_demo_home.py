"""`grange demo` changes nothing in a home that is not its own, and leaves nothing of its own however it is ended."""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grange.cli import demo_place
from grange.cli.interrupting import Interrupts
from grange.cli.leftovers import leftovers
from grange.cli.main import app
from grange.client import Farm
from grange.core.home import Home
from grange.proto.sockets import SocketLock

LIMIT_S = 60.0
INTERRUPTED = 130

FARM = """
[farm]
name = "agata"

[sub_farms.sf01]
nodes = ["n1"]
roles = ["psa"]

[roles.psa]
command = ["sleep", "9"]
"""


def grange(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-m", "grange.cli", *words, "--home", str(home)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a farm of one's own, which no test changes."""
    directory = tmp_path_factory.mktemp("another")
    (directory / "farm.toml").write_text(FARM)
    home = directory / "h"
    home.mkdir(mode=0o700)
    imported = grange(home, "config", "import", str(directory / "farm.toml"), "-m", "beam time")
    assert imported.returncode == 0, imported.stderr
    return home


def test_a_home_with_another_farm_is_left_alone(another: Path) -> None:
    before = grange(another, "config", "log").stdout
    demo = grange(another, "demo")
    assert (demo.returncode, demo.stdout) == (3, "")
    revision = before.split()[0]
    assert demo.stderr == (
        f"grange: {another} has a farm of another configuration (revision {revision}, 'beam time'). "
        "Choose an empty directory: grange demo --home DIRECTORY\n"
    )
    assert grange(another, "config", "log").stdout == before
    assert {"input", "cache"} & set(os.listdir(another)) == set()


def test_a_home_whose_farm_is_up_is_left_alone(another: Path) -> None:
    with SocketLock(Home(str(another)).farm_socket):
        demo = grange(another, "demo")
    assert (demo.returncode, demo.stdout) == (3, "")
    assert demo.stderr == (
        f"grange: the farm of {another} is up (process {os.getpid()}). "
        "Choose an empty directory: grange demo --home DIRECTORY\n"
    )


def test_a_former_demonstration_that_is_up_may_be_ended_and_it_is_said_how(running: Any, tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(FARM)
    with Farm(running.home.root) as farm:
        farm.config_import(tmp_path / "farm.toml", message="grange demo")
    Path(running.home.database).touch()
    done = CliRunner().invoke(app, ["--home", running.home.root, "demo"])
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (
        f"grange: the farm of {running.home.root} is up (process {os.getpid()}). "
        "Choose an empty directory: grange demo --home DIRECTORY; "
        f"or end that demonstration: grange --home {running.home.root} down --all\n"
    )


def test_a_fresh_home_that_is_named_is_refused_and_what_is_there_stays(another: Path) -> None:
    demo = grange(another, "demo", "--fresh")
    assert (demo.returncode, demo.stdout) == (2, "")
    assert demo.stderr == (
        f"grange: --fresh: a fresh home is one that is made and removed, and {another} is named. "
        "Give either --fresh or --home\n"
    )
    assert Path(Home(str(another)).database).exists()


# ---- ended from outside ---------------------------------------------------------------------------------------------

# The demonstration without its computed input: nobody reads it before the farm is up.
STARTING = """
import fcntl, sys, termios
from grange.cli import demo_input
from grange.cli.main import main

def empty(home, events):
    path = demo_input.Path(home.root) / "input" / "crystals.adf"
    path.parent.mkdir(parents=True)
    path.touch()
    return path

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
demo_input.compute_basis, demo_input.write_input = lambda home: None, empty
sys.argv[1:] = ["demo", *sys.argv[1:]]
main()
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short path, for sockets, in which temporary ones are made too."""
    directory = Path(tempfile.mkdtemp(prefix="gr"))
    yield directory
    shutil.rmtree(directory)


class Demonstration:
    """The program at a terminal of its own."""

    def __init__(self, directory: Path, *words: str) -> None:
        self._terminal, its_end = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", STARTING, *words],
            env=os.environ | {"TMPDIR": str(directory), "GRANGE_HOME": str(directory / "h"), "NO_COLOR": "1"},
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
            start_new_session=True,
        )
        os.close(its_end)
        self.said = b""

    def wait_for(self, words: str) -> None:
        while words.encode() not in self.said:
            self.said += os.read(self._terminal, 4096)

    def terminate(self) -> None:
        self._process.terminate()
        with contextlib.suppress(OSError):  # the program has gone
            while some := os.read(self._terminal, 4096):
                self.said += some
        os.close(self._terminal)

    def close_terminal(self) -> None:
        os.close(self._terminal)

    def exit_code(self) -> int:
        return self._process.wait(LIMIT_S)


def test_a_demonstration_that_is_terminated_takes_its_farm_down_and_removes_its_fresh_home(short: Path) -> None:
    demo = Demonstration(short, "--fresh")
    demo.wait_for("setup")
    demo.terminate()
    assert demo.exit_code() == INTERRUPTED
    assert b"demo: taking the farm down" in demo.said
    assert list(short.iterdir()) == []


def test_a_demonstration_whose_terminal_is_closed_takes_its_farm_down(short: Path) -> None:
    demo = Demonstration(short, "--keep")
    demo.wait_for("the farm controller runs")
    demo.close_terminal()
    demo.exit_code()
    home = Home(str(short / "h"))
    assert (Path(home.farm_log).exists(), leftovers(home)) == (True, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_way_to_end_is_an_interrupt_and_is_as_before_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_an_interrupt_that_is_held_comes_when_it_is_released() -> None:
    came = []
    with Interrupts() as interrupts:
        interrupts.hold()
        os.kill(os.getpid(), signal.SIGTERM)
        came.append("held")
        with pytest.raises(KeyboardInterrupt):
            interrupts.release()
        interrupts.release()
    assert came == ["held"]


def test_after_the_first_interrupt_only_ctrl_c_is_another() -> None:
    with Interrupts():
        for number in (signal.SIGHUP, signal.SIGINT):
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        for number in (signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)


def test_what_is_ignored_from_the_beginning_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_fresh_home_stays_as_long_as_its_farm_is_up(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    with demo_place.place(None, fresh=True) as gone:
        pass
    with demo_place.place(None, fresh=True) as home:
        lock = SocketLock(home.farm_socket)
    assert (Path(gone.root).exists(), Path(home.root).exists()) == (False, True)
    lock.release()
