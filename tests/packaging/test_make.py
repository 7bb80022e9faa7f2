"""What the Makefile promises to whoever meets it first; the targets themselves are what CI runs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def words_after(start: str) -> list[str]:
    """The words of the Makefile's line that begins with `start`."""
    return next(line.removeprefix(start).split() for line in MAKEFILE.splitlines() if line.startswith(start))


TARGETS = sorted(words_after(".PHONY:"))


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHON")
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_target_with_a_sentence() -> None:
    listed = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", make("help").stdout, re.MULTILINE))
    assert sorted(listed) == TARGETS


def test_make_without_a_target_is_help() -> None:
    assert make().stdout == make("help").stdout


def test_a_python_that_is_too_old_or_lacks_venv_is_answered_by_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(f"VENV={tmp_path / 'venv'}", f"PYTHON={old} {tmp_path / 'none'}", "setup")
    assert done.returncode != 0
    assert "grange needs Python 3.11 or newer with its venv module" in done.stderr.splitlines()[0]
    assert str(old) in done.stderr.splitlines()[0]
    assert not (tmp_path / "venv").exists()


def test_nothing_is_installed_anew_while_the_stamps_are_fresh(tmp_path: Path) -> None:
    """A second `make test` or `make demo` must start at once, and without a network."""
    stamps = tmp_path / "venv"
    (stamps / "bin").mkdir(parents=True)
    for name in ("bin/pip", ".installed", ".installed-dev"):
        (stamps / name).touch()
    for target in ("setup", "test", "demo"):
        assert "pip install" not in make(f"VENV={stamps}", "--dry-run", target).stdout


def test_a_changed_dependency_is_installed_by_the_next_command(tmp_path: Path) -> None:
    stamps = tmp_path / "venv"
    (stamps / "bin").mkdir(parents=True)
    for name in ("bin/pip", ".installed", ".installed-dev"):
        (stamps / name).touch()
        os.utime(stamps / name, (0, 0))
    assert "--editable '.[dev]'" in make(f"VENV={stamps}", "--dry-run", "test").stdout
    assert "--editable ." in make(f"VENV={stamps}", "--dry-run", "demo").stdout


@pytest.mark.parametrize("part", words_after("CHECKS :="))
def test_every_part_of_check_is_a_target_of_its_own(part: str) -> None:
    assert part in TARGETS


def test_engines_says_so_when_there_is_nothing_to_install() -> None:
    done = make("ENGINE_PACKAGES=", "engines")
    assert (done.returncode, done.stdout) == (0, "no engine tests yet: nothing to install\n")


def test_engines_says_what_it_installs() -> None:
    assert "installing: slurmd" in make("ENGINE_PACKAGES=slurmd", "--dry-run", "engines").stdout


def test_continuous_integration_runs_the_same_targets_as_people() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert [line for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("make ")] == [
        "make engines",
        "make check",
        "make chaos",
    ]
