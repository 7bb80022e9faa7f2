"""How a run and the table of runs look: exact texts, and nothing wider than 80 columns."""

import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from grange.cli.run_page import run_page, runs_table
from grange.cli.unfinished import Unfinished
from grange.client import RunRecord
from grange.client.values import OutputFile, RunMember
from grange.core.names import Membership

START = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC
RUN = RunRecord(
    number=12,
    type="production",
    mode="cosmics",
    revision="e" * 64,
    person="ann",
    comment="first beam of the year, with the new trigger table and the old calibration",
    start_asked_unix_s=START,
    running_unix_s=START + 2.1,
    stop_asked_unix_s=START + 602.1,
    stopped_unix_s=START + 603.4,
    end_reason="10 min are over (asked for by ann)",
    degraded=True,
    undrained=False,
    degraded_reason="members were out",
    counters={"sf01": {"producer": {"read": 100}, "psa": {"analysed": 60}, "builder": {"built": 60, "written": 60}}},
    files=(OutputFile("sf01/n1/builder-1", "/data/run_12.adf", 5_250_000, "ab" * 32),),
    rules_asked=2,
    members=(
        RunMember("sf01/n1/psa-2", Membership.OUT_BY_FAULT, "psa-2 on n1 was killed by SIGKILL", START + 100),
        RunMember("sf01/n1/psa-2", Membership.IN, "takes data again", START + 130),
    ),
    ends_after_events=1_000_000,
    ends_after_s=600.0,
    tags=("nominal",),
)

PAGE = """\
run 12
  type           production/cosmics
  comment        first beam of the year, with the new trigger table and the old
                 calibration
  by             ann
  configuration  eeeeeeeeee (nominal)
  start asked    2026-01-01 00:00:00+00:00
  running        2026-01-01 00:00:02+00:00, 2.1 s later
  to end after   1,000,000 events or 10 min
  stop asked     2026-01-01 00:10:02+00:00, after 10 min
  stopped        2026-01-01 00:10:03+00:00, 1.3 s later
  took data      10 min
  ended          10 min are over (asked for by ann)
  quality        degraded: members were out

went out and came back
  2026-01-01 00:01:40+00:00  sf01/n1/psa-2 out-by-fault: psa-2 on n1 was killed
  by SIGKILL
  2026-01-01 00:02:10+00:00  sf01/n1/psa-2 in: takes data again

counted in sf01
  producer  read 100
  psa       analysed 60
  builder   built 60  written 60

the books balance: all 2 rules hold

files
  /data/run_12.adf
    5.2 MB, written by sf01/n1/builder-1
    sha256 abababababababababababababababababababababababababababababababab
"""


@pytest.fixture(autouse=True)
def in_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    os.environ.setdefault("TZ", "")
    time.tzset()


def printed(*parts: Any) -> str:
    """What a terminal of 80 columns shows, without the blanks that lines are filled up with."""
    console = Console(file=io.StringIO(), width=80, highlight=False, emoji=False, markup=False)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def test_a_run_is_shown_with_all_that_is_known_of_it() -> None:
    assert printed(*run_page(RUN)) == PAGE


def test_a_run_under_way_shows_what_has_not_happened_as_a_dash() -> None:
    run = RunRecord(3, "test", "", "e" * 64, "ann", "", START, START + 1, 0.0, 0.0, "", degraded=False, undrained=False)
    assert printed(*run_page(run)) == (
        "run 3\n"
        "  type           test\n"
        "  by             ann\n"
        "  configuration  eeeeeeeeee\n"
        "  start asked    2026-01-01 00:00:00+00:00\n"
        "  running        2026-01-01 00:00:01+00:00, 1 s later\n"
        "  stop asked     -\n"
        "  stopped        -\n"
        "  took data      -\n"
        "  ended          not yet: grange status\n"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rules_asked": 1}, "the books balance: 1 rule holds"),
        ({"rules_asked": 0}, "no books: nothing was counted that could be compared"),
        (
            {"mismatches": ("sf01: builder: built = written does not hold: 5 against 4 (1 missing)",)},
            "the books do not balance\n  sf01: builder: built = written does not hold: 5 against 4 (1 missing)\n",
        ),
        (
            {"inexact": ("sf01: psa: accepted = analysed does not hold: 5 against 4; 1 instance of psa died",)},
            "the books are exact but for what died in the run\n  sf01: psa: accepted = analysed does not",
        ),
        ({"changes_left_out": 7}, "  and 7 more changes, which were too many to keep\n"),
        (
            {"undrained": True, "degraded": False},
            "quality        undrained: not all data that were under way arrived\n",
        ),
    ],
)
def test_what_was_not_as_it_should_be_is_said(changes: dict[str, Any], text: str) -> None:
    assert text in printed(*run_page(replace(RUN, **changes)))


def test_the_table_of_runs_is_one_line_for_each_in_80_columns() -> None:
    old = replace(RUN, number=3, mode="", comment="", degraded=False, type="test", end_reason="stop by ann")
    assert printed(runs_table((RUN, old), comments=False)) == (
        "run  type                started           took data  by   ended\n"
        "12   production/cosmics  2026-01-01 00:00  10 min     ann  (degraded) 10 min ar…\n"
        "3    test                2026-01-01 00:00  10 min     ann  stop by ann\n"
    )


def test_comments_are_shown_where_there_is_room() -> None:
    console = Console(file=io.StringIO(), width=130)
    console.print(runs_table((replace(RUN, comment="first beam"),)))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[1].rstrip().endswith("first beam")


OPEN = replace(RUN, stop_asked_unix_s=0.0, stopped_unix_s=0.0, end_reason="", degraded=False, mode="", comment="")


def test_an_open_run_is_told_with_the_state_that_its_farm_is_in() -> None:
    table = printed(runs_table((OPEN,), comments=False, now={12: "running"}))
    assert table.splitlines()[1] == "12   production  2026-01-01 00:00  -          ann  running"
    assert "  ended          not yet: paused\n" in printed(*run_page(OPEN, {12: "paused"}))
    assert printed(runs_table((OPEN,), comments=False)).splitlines()[1].endswith("  not yet")  # nobody can tell


def test_a_run_that_nobody_saw_end_took_data_to_the_last_sign_of_life() -> None:
    run = replace(RUN, stop_asked_unix_s=START + 40_000, stopped_unix_s=START + 40_001, last_seen_unix_s=START + 602.1)
    page = " ".join(printed(*run_page(run)).split())
    assert "took data 10 min, to the last sign of life, 2026-01-01 00:10:02+00:00; nobody saw it end" in page
    assert "  10 min     ann" in printed(runs_table((run,), comments=False))


def test_files_that_nobody_finished_are_told_with_the_run() -> None:
    left = (Unfinished(12, Path("/data/run_12.adf.part"), 5_250_000),)
    assert printed(*run_page(RUN, left=left)).endswith(
        "\nunfinished files\n  /data/run_12.adf.part\n    5.2 MB; its writer ended before the run\n"
    )
    assert printed(*run_page(OPEN, left=left)).endswith("    5.2 MB; its writer may be at it\n")
