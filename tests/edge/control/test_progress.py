"""What is told of a command while it is under way, where there is no terminal."""

import pytest

from grange.cli.progress import Lines
from grange.client import Progress

ID = "4711"


def said_of(progress: Progress, capsys: pytest.CaptureFixture[str], *, has_steps: bool = True) -> str:
    Lines("go running", has_steps=has_steps).show(progress)
    return capsys.readouterr().err.strip()


def test_an_accepted_command_is_told_with_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    told = said_of(Progress(ID, ("configure", "start"), False), capsys)
    assert told == "go running: accepted as 4711: configure, start"


def test_where_all_are_known_to_be_there_nothing_is_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert said_of(Progress(ID, (), False), capsys) == "go running: accepted as 4711: nothing to do"


def test_of_members_that_are_not_heard_yet_nothing_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    told = said_of(Progress(ID, (), False, unheard=("sf01",)), capsys)
    assert told == "go running: accepted as 4711: what sf01 needs is not known yet"
    told = said_of(Progress(ID, ("start",), False, unheard=("sf01", "sf02")), capsys)
    assert told == "go running: accepted as 4711: start; what sf01, sf02 need is not known yet"


def test_of_a_command_that_was_under_way_already_no_steps_are_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    told = said_of(Progress(ID, (), True), capsys)
    assert told == "go running: accepted as 4711 (it was under way already)"
