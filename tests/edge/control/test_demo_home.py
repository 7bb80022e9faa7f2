"""`grange demo` changes nothing in a home that is not its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grange.core.home import Home
from grange.proto.sockets import SocketLock

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


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a farm of one's own."""
    (tmp_path / "farm.toml").write_text(FARM)
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    imported = grange(home, "config", "import", str(tmp_path / "farm.toml"), "-m", "beam time")
    assert imported.returncode == 0, imported.stderr
    return home


def test_a_home_with_another_farm_is_left_alone(home: Path) -> None:
    before = grange(home, "config", "log").stdout
    demo = grange(home, "demo")
    assert (demo.returncode, demo.stdout) == (3, "")
    revision = before.split()[0]
    assert demo.stderr == (
        f"grange: {home} has a farm of another configuration (revision {revision}, 'beam time'). "
        "Choose an empty directory: grange demo --home DIRECTORY\n"
    )
    assert grange(home, "config", "log").stdout == before
    assert {"input", "cache"} & set(os.listdir(home)) == set()


def test_a_home_whose_farm_is_up_is_left_alone(home: Path) -> None:
    with SocketLock(Home(str(home)).farm_socket):
        demo = grange(home, "demo")
    assert (demo.returncode, demo.stdout) == (3, "")
    assert demo.stderr == (
        f"grange: the farm of {home} is up (process {os.getpid()}). "
        "Choose an empty directory: grange demo --home DIRECTORY\n"
    )
