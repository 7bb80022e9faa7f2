"""What the shell completes, asked for as the shells do it: by environment variables, from a program of its own."""

import os
import socket
import subprocess
import sys

import pytest

from grange.core.home import Home
from grange.core.names import Command

LIMIT_S = 60.0


def ask(home: Home, line: str, shell: str = "bash") -> "subprocess.CompletedProcess[str]":
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    return subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli"],
        env=os.environ | {"GRANGE_HOME": home.root, "_GRANGE_COMPLETE": f"complete_{shell}"} | asked,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def completed(home: Home, line: str) -> list[str]:
    """What bash is offered, which it sorts; nothing may be said beside it."""
    done = ask(home, line)
    assert done.stderr == ""
    return sorted(done.stdout.split())


def test_commands_options_and_targets_are_completed_without_a_farm(home: Home) -> None:
    assert completed(home, "grange conf") == ["config", "configure"]
    assert completed(home, "grange status --js") == ["--json"]
    assert completed(home, "grange go r") == ["running"]
    assert completed(home, "grange start --type p") == ["production"]


@pytest.mark.parametrize(
    "line", ["grange status ", "grange stop sf", "grange runs show ", "grange use ", "grange cancel "]
)
def test_where_no_farm_runs_nothing_of_it_is_completed_and_nothing_is_said(home: Home, line: str) -> None:
    assert completed(home, line) == []
    assert completed(Home(f"{home.root}/nowhere"), line) == []


def test_members_are_completed_two_levels_deep(running) -> None:
    assert completed(running.home, "grange status ") == ["sf01", "sf01/n1", "sf02", "sf02/n1"]
    assert completed(running.home, "grange logs sf02/") == ["sf02/n1", "sf02/n1/psa-1", "sf02/n1/psa-10"]
    assert completed(running.home, "grange story sf09/") == []


def test_the_home_that_is_typed_is_the_one_that_is_asked(running) -> None:
    nowhere = Home(f"{running.home.root}/nowhere")
    assert completed(nowhere, f"grange --home {running.home.root} boot sf02/n1/psa-10") == ["sf02/n1/psa-10"]
    assert completed(nowhere, f"grange boot --home {running.home.root} sf01/n1/psa-2") == ["sf01/n1/psa-2"]


def test_the_command_under_way_is_completed(running) -> None:
    running.farm.stuck_at = Command.SETUP
    done = subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli", "setup", "--detach"],
        env=os.environ | {"GRANGE_HOME": running.home.root},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert completed(running.home, "grange cancel ") == done.stdout.split()


def test_zsh_and_fish_are_told_what_each_completion_is(running) -> None:
    assert '"sf02/n1":"absent, ok"' in ask(running.home, "grange status sf02/", "zsh").stdout
    assert "sf02/n1\tabsent, ok" in ask(running.home, "grange status sf02/", "fish").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed_on_request(home: Home, shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli"],
        env=os.environ | {"_GRANGE_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert "_GRANGE_COMPLETE" in done.stdout
    assert done.stderr == ""


def test_a_controller_that_does_not_answer_completes_nothing(home: Home) -> None:
    # it takes connections, as a stopped one does, and never says a word
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(home.farm_socket)
        silent.listen()
        assert completed(home, "grange status ") == []
    os.unlink(home.farm_socket)
