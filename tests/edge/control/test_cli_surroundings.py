"""What surrounds a `grange` command, as some scripts and services leave it: closed streams, bytes that are no text."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grange.cli.main import app
from grange.cli.offline import open_store
from grange.core.home import Home

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


def grange(home: Home, *words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, words, env={"GRANGE_HOME": home.root}, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


CONFIGURATION = """{"farm": {"name": "demo"}, "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
 "roles": {"psa": {"command": ["sleep", "60"]}}}"""
NOT_TEXT = (
    'grange: "prod\ufffdction" is not UTF-8 text. Is the encoding of the terminal, or of the script, another one?\n'
)


@pytest.mark.parametrize(
    "words",
    [["setup", "--comment"], ["use"], ["cancel"], ["audit", "--person"], ["--home"], ["--color", "never", "go"]],
    ids=" ".join,
)
def test_a_word_that_is_no_text_is_refused_whatever_it_was_for(running: Any, words: list[str]) -> None:
    assert grange(running.home, *words, os.fsdecode(b"prod\xe9ction")) == (2, "", NOT_TEXT)
    assert running.farm.state == "absent"


def test_the_bytes_of_another_encoding_are_such_a_word(home: Home) -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli", "use", b"prod\xe9ction"], capture_output=True, timeout=LIMIT_S
    )
    assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (2, b"", NOT_TEXT)


NO_HOME = "grange: --home: an empty name. Leave it out, or name a directory, such as .\n"


@pytest.mark.parametrize("words", [["--home", "", "runs"], ["runs", "--home", ""], ["runs", "--home="]], ids=" ".join)
def test_an_empty_home_is_not_the_current_directory(home: Home, words: list[str]) -> None:
    assert grange(home, *words) == (2, "", NO_HOME)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (2**63, f"there is no run '{2**63}'. There has been none yet"),
        (10**23, f"number: {10**23} is less or more than can be asked for"),
    ],
)
def test_a_run_number_that_no_run_can_have_is_refused(home: Home, number: int, sentence: str) -> None:
    with open_store(Path(home.root), create=True) as store:
        store.import_configuration(CONFIGURATION, "json")
    assert grange(home, "runs", "show", str(number)) == (2, "", f"grange: {sentence}\n")
