"""Ctrl-C at any moment of a command: the program ends, or has ended, and no stack trace reaches who has pressed it.

The moments are what Python tells its audit hooks: modules found, files opened, code begun. So they are the same ones
whatever else the machine does.
"""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from grange.core.home import Home

LIMIT_S = 60.0  # for a program to end
QUICK_MOMENTS = 6
SLOW_MOMENTS = 20

# Begins the program as its script does, interrupts it at one moment, given by its number or by what happens then, and
# tells at its end how many there were.
PROBE = """
import atexit, os, signal, sys
moment, counted = sys.argv.pop(1), 0

def hear(event, arguments):
    global counted
    counted += 1
    if moment in (str(counted), event):
        os.kill(os.getpid(), signal.SIGINT)

from grange.cli.begin import main
if moment == "0":
    atexit.register(lambda: os.write(2, b"%d" % counted))
sys.addaudithook(hear)
main()
"""
# A thread that is still there when the program has done its work, and which the interpreter waits for.
LAST_MOMENT = """
import os, signal, sys, threading
from grange.cli.begin import main

def interrupt_at_the_end():
    threading.main_thread().join()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt_at_the_end).start()
main()
"""


def run_python(home: Home, text: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-c", text, *words],
        env=os.environ | {"GRANGE_HOME": home.root},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def interrupted(home: Home, moments: int, *command: str) -> None:
    whole = run_python(home, PROBE, "0", *command)
    assert whole.returncode == 0, whole.stderr
    last = int(whole.stderr)
    for moment in range(1, last, last // moments):
        ended = run_python(home, PROBE, str(moment), *command)
        assert (ended.returncode in (-signal.SIGINT, 130, 0), ended.stderr) == (True, ""), f"moment {moment} of {last}"
        assert ended.stdout in ([whole.stdout] if ended.returncode == 0 else ["", whole.stdout])


def test_ctrl_c_at_any_moment_of_a_command_ends_it_without_a_word(running: Any) -> None:
    interrupted(running.home, QUICK_MOMENTS, "status", "--depth", "0")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["status", "--depth", "0"], ["runs"], ["story"]], ids=" ".join)
def test_ctrl_c_at_twenty_moments_of_a_command_ends_it_without_a_word(running: Any, command: list[str]) -> None:
    interrupted(running.home, SLOW_MOMENTS, *command)


def test_ctrl_c_while_an_event_loop_is_half_made_leaves_nothing_that_complains(running: Any) -> None:
    ended = run_python(running.home, PROBE, "socket.__new__", "status")  # by which a loop is woken
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_ctrl_c_after_the_outcome_changes_neither_the_outcome_nor_what_is_told(running: Any) -> None:
    ended = run_python(running.home, LAST_MOMENT, "setup")
    assert (ended.returncode, running.farm.state) == (0, "initial")
    assert ended.stdout.startswith("setup: done in ")
    assert "Traceback" not in ended.stderr
