"""What surrounds a `grange` command, as some scripts and services leave it: streams that are closed."""

import os
import subprocess
import sys
from typing import Any

import pytest

LIMIT_S = 60.0  # for a program to end


@pytest.mark.parametrize("words", ["status", "shutdown --json", "status <&- 2>&-"])
def test_with_a_closed_standard_output_a_command_does_what_it_does(running: Any, words: str) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'exec "$0" -P -m grange.cli {words} >&-', sys.executable],
        env=os.environ | {"GRANGE_HOME": running.home.root},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
