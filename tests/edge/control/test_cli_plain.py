"""What others have written is shown without what a terminal would obey, and on terminals that lack its characters."""

import os
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from rich.panel import Panel
from rich.text import Text

from grange.cli import colours
from grange.cli.colours import Colour
from grange.cli.plain import in_one_line, plain
from grange.cli.text import console
from grange.core.names import Command
from grange.proto import runs_pb2

LIMIT_S = 60.0
WILD = "\x1b[31mred\x07 \x9b2J\x1b]0;title\x1b\\\x7f over\rwritten"
TAME = "[31mred 2J]0;title\\ overwritten"
FORGED = "beam lost\n2026-11-22 01:00:00  root  shutdown"


def grange(home: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli", "--home", home, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | environment,
        timeout=LIMIT_S,
        check=False,
    )


def test_control_characters_are_left_out_and_ends_of_lines_and_tabs_stay() -> None:
    assert plain(WILD) == TAME
    assert plain("one\n\ttwo é 日本") == "one\n\ttwo é 日本"
    assert in_one_line(FORGED) == "beam lost 2026-11-22 01:00:00  root  shutdown"


def test_at_a_terminal_the_only_escapes_are_those_of_our_own_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(colours, "_chosen", [Colour.ALWAYS])
    console().print(Panel(Text(WILD, style="green"), expand=False))
    shown = terminal.getvalue()
    assert TAME in shown
    assert {part.split("m")[0] for part in shown.split("\x1b")[1:]} == {"[32", "[0"}
    assert set(shown) & {"\x07", "\x9b", "\x7f", "\r"} == set()


@pytest.mark.parametrize("arguments", [("status",), ("runs",), ("runs", "show", "7"), ("story",), ("show",)])
def test_what_people_and_processes_have_said_cannot_command_the_terminal_of_others(
    running: Any, arguments: tuple[str, ...]
) -> None:
    running.farm.sentence = WILD
    running.farm.runs.append(runs_pb2.Run(number=7, person="ada", comment=WILD, end_reason=WILD))
    found = grange(running.home.root, *arguments)
    assert (found.returncode, found.stderr) == (0, "")
    assert all(character.isprintable() or character == "\n" for character in found.stdout)
    assert arguments in (("story",), ("show",)) or TAME in found.stdout


def test_the_reason_of_a_failure_is_shown_like_that_too(running: Any) -> None:
    running.farm.fails_at = Command.SETUP
    found = grange(running.home.root, "setup", "sf01\x1b[2J")
    assert found.returncode != 0
    assert "[2J" in found.stderr
    assert "\x1b" not in found.stderr


def test_a_run_whose_comment_has_several_lines_has_one_in_the_table(running: Any) -> None:
    running.farm.runs.append(runs_pb2.Run(number=7, person="ada", comment=FORGED))
    assert len(grange(running.home.root, "runs").stdout.splitlines()) == 2


def test_a_terminal_without_a_character_shows_a_question_mark_for_it(running: Any) -> None:
    running.farm.sentence = "détecteur 日本"
    found = grange(running.home.root, "status", PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (0, "")
    assert "d?tecteur ??" in found.stdout
