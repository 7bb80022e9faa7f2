"""Ctrl-C in a script with the synchronous client: a KeyboardInterrupt where the script waits, and nothing after it."""

import subprocess
import sys
from typing import Any

import pytest

from grange.core.names import Command

LIMIT_S = 60.0  # for a script to end
SCRIPT = """
import os, signal, sys, threading, time
from concurrent import futures
from grange.client import Farm

def waits(thread):
    frame = sys._current_frames()[thread.ident]
    while frame is not None and frame.f_code is not futures.wait.__code__:
        frame = frame.f_back
    return frame is not None

def interrupt_when_it_waits():
    while not waits(threading.main_thread()):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

interrupting = threading.Thread(target=interrupt_when_it_waits)
try:
    with Farm({home!r}) as farm:
        {waiting}
except KeyboardInterrupt:
    print("interrupted")
interrupting.join()
with Farm({home!r}) as farm:  # the next one hears of no call that the first has left
    print(farm.status(depth=0).member.state)
"""
WATCHING = "for view in farm.watch(depth=0): interrupting.ident or interrupting.start()"
COMMANDING = "interrupting.start(); farm.execute('setup')"


@pytest.mark.parametrize("waiting", [WATCHING, COMMANDING], ids=["watch", "command"])
def test_ctrl_c_is_a_keyboard_interrupt_and_leaves_nothing_to_the_next_farm(running: Any, waiting: str) -> None:
    running.farm.stuck_at = Command.SETUP
    text = SCRIPT.format(home=running.home.root, waiting=waiting)
    script = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", text], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (script.returncode, script.stderr) == (0, "")
    assert script.stdout.splitlines() == ["interrupted", running.farm.state]


WHILE_IT_IS_MADE = """
import os, signal, sys
from grange.client import Farm

pressed = []

def press(event, arguments):
    if event == "socket.__new__" and not pressed:  # the loop of a client makes itself a pair
        pressed.append(event)
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(press)
try:
    Farm("/nowhere")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_a_client_is_made_leaves_nothing_half_made_that_complains() -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", WHILE_IT_IS_MADE], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("interrupted\n", "", 0)
