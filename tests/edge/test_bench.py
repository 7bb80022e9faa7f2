"""`make bench` measures part by part: some can be chosen, and one that fails takes nothing away from the others."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from grange.harness import bench, bench_configuration
from grange.harness.bench import MARKS, PARTS, Measured, Results, Wanted, main, run, write_readme
from grange.harness.bench_farm import Shape

THERE = f"""before

{MARKS[0]}
<!-- part: spawn -->

| spawn | 1 |

| spawn | 2 |

<!-- part: status -->

| status | 3 |

{MARKS[1]}
after
"""


async def sound(wanted: Wanted) -> Measured:
    (wanted.directory / "mine").touch()
    return Measured("| sound |", "sound, and more", {"median_s": 0.5})


async def broken(wanted: Wanted) -> Measured:
    raise RuntimeError("sf01 never came back")


def a_run(directory: Path) -> Results:
    wanted = Wanted(directory, Shape(), rounds=1, raw=None)
    return asyncio.run(run(wanted, {"first": sound, "second": broken, "third": sound}))


def test_a_part_that_fails_is_named_with_its_error_and_the_others_are_measured(tmp_path: Path) -> None:
    results = a_run(tmp_path)
    assert results.as_json() == {
        "first": {"median_s": 0.5},
        "third": {"median_s": 0.5},
        "failed": {"second": "RuntimeError: sf01 never came back"},
    }
    assert results.report() == (
        "sound, and more\n\nsound, and more\n\nnot measured: second: RuntimeError: sf01 never came back"
    )


def test_each_part_has_a_directory_of_its_own(tmp_path: Path) -> None:
    a_run(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("mine")) == ["first/mine", "third/mine"]


def test_a_run_with_a_part_that_failed_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "PARTS", {"core": sound, "status": broken})
    assert (main(["--only", "core"]), main(["--only", "core,status", "--json"])) == (0, 1)
    said = capsys.readouterr().out
    assert said.startswith("sound, and more\n")
    assert json.loads(said.partition("\n")[2])["failed"] == {"status": "RuntimeError: sf01 never came back"}


@pytest.mark.parametrize(
    ("chosen", "measured"),
    [
        ([], ["core", "exits", "status"]),
        (["--only", "core"], ["core"]),
        (["--only", "status,core"], ["core", "status"]),
        (["--only", "exits", "--only", "status", "--only", "core"], ["core", "exits", "status"]),
        (["--only", "status", "--only", "core,status"], ["core", "status"]),
    ],
)
def test_every_part_that_is_chosen_is_measured_once(
    chosen: list[str], measured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "PARTS", {"core": sound, "exits": sound, "status": sound})
    assert main([*chosen, "--json"]) == 0
    assert [name for name in json.loads(capsys.readouterr().out) if name != "failed"] == measured


def test_a_part_that_there_is_not_is_refused_and_those_there_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "core,spwan"])
    assert f'there is no part "spwan"; there are: {", ".join(PARTS)}' in " ".join(capsys.readouterr().err.split())


def test_in_the_readme_only_what_was_measured_is_replaced(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(THERE)
    measured = {name: Measured(f"| {name} | new |", "", {}) for name in ("exits", "status")}
    write_readme(Results(measured, {"spawn": "RuntimeError: no keeper"}), readme)
    exits = "<!-- part: exits -->\n\n| exits | new |\n\n"
    assert readme.read_text() == THERE.replace("<!-- part: status", exits + "<!-- part: status").replace(
        "| status | 3 |", "| status | new |"
    )


def test_our_readme_has_a_place_for_the_figures_and_keeps_what_was_not_measured(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    ours = Path(__file__).resolve().parents[2] / "README.md"
    copy.write_text(ours.read_text())
    write_readme(Results(), copy)
    assert copy.read_text() == ours.read_text()


def test_a_readme_without_a_place_for_the_figures_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here\n")
    with pytest.raises(ValueError, match="has no lines") as caught:
        write_readme(Results(), readme)
    begin, end = (mark.strip() for mark in MARKS)
    assert str(caught.value) == f"{readme} has no lines {begin} and {end}"


LIMIT_S = 120.0
SHAPE = ("--sub-farms", "1", "--nodes", "1", "--processes", "2", "--rounds", "100000")


def at_work_in(directory: Path) -> list[str]:
    """The command lines of programs that have to do with a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in command:
                found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bench_that_is_ended_ends_its_farm(number: signal.Signals) -> None:
    with tempfile.TemporaryDirectory(prefix="gb") as place:  # short: sockets lie in it
        argv = [sys.executable, "-P", "-m", "grange.harness.bench", "--only", "transitions", *SHAPE]
        bench = subprocess.Popen(argv, env=os.environ | {"TMPDIR": place}, stderr=subprocess.PIPE, text=True)
        try:
            guard = threading.Timer(LIMIT_S, bench.kill)
            guard.start()
            while not any("grange.supervisor.agent" in line for line in at_work_in(Path(place))):
                assert bench.poll() is None, at_work_in(Path(place))
            guard.cancel()
            bench.send_signal(number)
            _, said = bench.communicate(timeout=LIMIT_S)
        finally:
            bench.kill()
            bench.wait()
        assert (bench.returncode, said.splitlines()[-1]) == (130, "ended before the end; nothing of its farms is left")
        assert at_work_in(Path(place)) == []
        assert list(Path(place).iterdir()) == []


def test_each_step_of_a_configuration_is_measured_beside_what_it_cannot_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_configuration, "SUB_FARMS", 2)
    monkeypatch.setattr(bench_configuration, "NODES", 10)
    rows = bench_configuration.configuration_rows(rounds=2)
    assert [row.ours.name for row in rows] == ["validate", "import", "diff", "load: the plans of all sub-farms"]
    assert all(len(samples.values_s) == 2 for row in rows for samples in (row.ours, row.bare))
    *written, plans = rows
    assert all(row.peak_bytes < 2 * row.peak_of_a_tenth_bytes for row in written)
    assert plans.peak_bytes > 2 * plans.peak_of_a_tenth_bytes
