"""What `grange demo` looks after: each of its promises has a run that breaks it, and the sentence that is then said."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer

from grange.actors.adf import KEY_BYTES, PSA_HEAD, PSA_HIT, pack_psa_frame
from grange.actors.adf_file import FrameWriter
from grange.cli import demo
from grange.cli.demo import Findings
from grange.client import RunRecord
from grange.client.values import OutputFile
from grange.core.home import Home

EVENTS = 5
FRAMES = 3


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    """A run that is as it should be: the books balance, and one file holds what was written."""
    with FrameWriter(tmp_path / "run.adf") as writer:
        for _ in range(FRAMES):
            writer.write(pack_psa_frame(np.zeros((), PSA_HEAD), np.zeros(1, PSA_HIT)))
    summary = writer.close()
    return RunRecord(
        number=7,
        type="test",
        mode="",
        revision="e" * 64,
        person="ann",
        comment="",
        start_asked_unix_s=1.0,
        running_unix_s=2.0,
        stop_asked_unix_s=3.0,
        stopped_unix_s=4.0,
        end_reason="",
        degraded=False,
        undrained=False,
        counters={"sf01": {"producer": {"read": EVENTS}, "builder": {"written": FRAMES}}},
        files=(OutputFile("sf01/n1/builder-1", str(writer.path), summary.bytes, f"sha256:{summary.sha256}"),),
    )


def problems(run: RunRecord) -> list[str]:
    findings = Findings(run=run)
    demo._check(findings, EVENTS)
    return findings.problems


def counted(**counters: int) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    return {"sf01": {"all": {"read": EVENTS, "written": FRAMES} | counters}}


def test_of_a_run_that_is_as_it_should_be_there_is_nothing_to_say(run: RunRecord) -> None:
    assert problems(run) == []


def test_books_that_do_not_balance_are_told_rule_by_rule(run: RunRecord) -> None:
    lost = "sf01: builder: built = written does not hold: 5 against 4 (1 missing)"
    assert problems(replace(run, mismatches=(lost,))) == [f"the books do not balance: {lost}"]


def test_a_run_that_was_not_drained_is_told(run: RunRecord) -> None:
    assert problems(replace(run, undrained=True)) == ["the run was not drained"]


def test_an_input_that_was_not_read_as_a_whole_is_told(run: RunRecord) -> None:
    assert problems(replace(run, counters=counted(read=4))) == ["sf01: 4 crystal events were read, the input has 5"]


def test_files_that_hold_less_than_was_counted_are_told(run: RunRecord) -> None:
    said = "the files hold {'sf01': 3} psa frames, {'sf01': 4} were counted as written"
    assert problems(replace(run, counters=counted(written=4))) == [said]


def test_a_run_without_a_file_is_told(run: RunRecord) -> None:
    said = "the files hold {'sf01': 0} psa frames, {'sf01': 3} were counted as written"
    assert problems(replace(run, files=())) == [said, "no file was written"]


def test_a_file_that_has_gone_is_told(run: RunRecord) -> None:
    path = Path(run.files[0].path)
    path.unlink()
    assert problems(run) == [
        f"{path} was written and cannot be read again: No such file or directory",
        "the files hold {'sf01': 0} psa frames, {'sf01': 3} were counted as written",
    ]


def test_a_file_that_has_been_cut_short_is_told_with_the_place(run: RunRecord) -> None:
    path = Path(run.files[0].path)
    os.truncate(path, (whole := path.stat().st_size - KEY_BYTES))  # by meta:eof
    assert problems(run) == [
        f"what was written is damaged: {path}, byte {whole}: "
        "the file ends without meta:eof: its writer did not finish, or the copy is cut short",
        "the files hold {'sf01': 0} psa frames, {'sf01': 3} were counted as written",
    ]


@pytest.mark.parametrize("changes", [{"size_bytes": 1}, {"sha256": "sha256:" + "0" * 64}])
def test_a_file_that_is_another_than_was_written_is_told(run: RunRecord, changes: dict[str, Any]) -> None:
    file = run.files[0]
    said = f"{file.path} is not the file that was written: read again it differs"
    assert problems(replace(run, files=(replace(file, **changes),))) == [said]


class Reading:
    """A farm of one sub-farm that has read so many crystal events, each time it is asked."""

    def __init__(self, *read: int) -> None:
        self._read = iter(read)

    def status(self, path: str = "", depth: int = 0) -> Any:
        if depth:
            return SimpleNamespace(members=(None, SimpleNamespace(path="sf01")))
        return SimpleNamespace(counters={"producer": {"read": next(self._read)}})


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ((40, 40), []),
        ((40, 41), ["something was read while paused: {'sf01': 40} became {'sf01': 41}"]),
    ],
)
def test_what_is_read_during_a_pause_is_told(read: tuple[int, int], said: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(demo, "PAUSED_S", 0.0)
    findings = Findings()
    farm: Any = Reading(*read)
    demo._look_while_paused(farm, findings)
    assert findings.problems == said


def test_what_is_left_behind_is_named_unless_it_is_on_its_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "EXIT_LIMIT_S", 30.0)
    left: Iterator[list[str]] = iter([["process 4711: keeper.py"], []])
    monkeypatch.setattr(demo, "leftovers", lambda _home: next(left))
    assert demo._wait_for_nothing(Home(str(tmp_path))) == []
    monkeypatch.setattr(demo, "EXIT_LIMIT_S", 0.0)
    monkeypatch.setattr(demo, "leftovers", lambda _home: ["process 4711: keeper.py"])
    assert demo._wait_for_nothing(Home(str(tmp_path))) == ["process 4711: keeper.py"]


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_a_demonstration_with_a_problem_says_so_and_ends_with_1(
    run: RunRecord, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        demo._tell(Findings(run=run, problems=["the run was not drained"]), as_json=as_json)
    said = capsys.readouterr()
    assert (ended.value.exit_code, said.err) == (1, "demo: the run was not drained\n")
    assert "the books balance, the files hold" not in said.out
    if as_json:
        assert json.loads(said.out)["problems"] == ["the run was not drained"]


def test_a_demonstration_without_a_problem_says_what_holds(run: RunRecord, capsys: pytest.CaptureFixture[str]) -> None:
    demo._tell(Findings(run=run), as_json=False)
    said = capsys.readouterr()
    last = "\nthe books balance, the files hold what was counted, and nothing was left behind\n"
    assert (said.out.endswith(last), said.err) == (True, "")
