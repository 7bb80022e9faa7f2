"""`grange up` and `down` with the real farm controller, which here has no farm below it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from grange.core.home import Home

LIMIT_S = 60.0


def grange(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command as a program of its own, so that what it leaves in the background is not this process's child."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli", *arguments],
        env=os.environ | {"GRANGE_HOME": home.root},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_up_in_the_background_returns_when_it_answers_and_down_when_it_has_gone(home: Home) -> None:
    up = grange(home, "up", "--detach")
    assert up.returncode == 0, up.stderr
    found = re.fullmatch(rf"the farm controller runs as process (\d+); its log is {home.farm_log}\n", up.stdout)
    assert found is not None
    try:
        assert Path(home.farm_socket).is_socket()
        for arguments in (["up"], ["up", "--detach"]):
            second = grange(home, *arguments)
            assert second.returncode == 3
            assert f"is held by process {found[1]}" in second.stderr
    finally:
        down = grange(home, "down")
    assert (down.returncode, down.stdout) == (0, "the farm controller has ended; nothing of the farm is left\n")
    assert not Path(home.farm_socket).exists()


def test_up_in_the_foreground_ends_with_ctrl_c_and_says_what_is_left_of_the_farm(home: Home) -> None:
    up = subprocess.Popen(
        [sys.executable, "-P", "-m", "grange.cli", "up"],
        env=os.environ | {"GRANGE_HOME": home.root},
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(LIMIT_S, up.kill)
    guard.start()
    assert up.stderr is not None
    assert any(f"the farm controller of {home.root} is up" in line for line in up.stderr)
    up.send_signal(signal.SIGINT)
    _, stderr = up.communicate()
    guard.cancel()
    assert up.returncode == 0
    assert stderr.endswith("the farm controller has ended; nothing of the farm is left. To begin anew: grange up\n")


def test_a_controller_that_cannot_start_in_the_background_tells_why_by_its_last_lines(home: Home) -> None:
    Path(home.farm_socket).write_text("somebody's data")
    up = grange(home, "up", "--detach")
    assert up.returncode == 1
    assert "the farm controller ended at once" in up.stderr
    assert f"{home.farm_socket} cannot be made a socket" in up.stderr
    assert f"Its log: {home.farm_log}" in up.stderr
    Path(home.farm_socket).unlink()


def test_up_and_down_as_json_are_one_object_each(home: Home) -> None:
    told = json.loads(grange(home, "up", "--detach", "--json").stdout)
    down = json.loads(grange(home, "down", "--json").stdout)
    assert told == {"home": home.root, "pid": told["pid"], "log": home.farm_log}
    assert down == {"home": home.root, "state": "absent", "processes": 0}
