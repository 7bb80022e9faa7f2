"""`grange actor new`: what it writes works at once, alone and in a farm, and it never overwrites."""

import ast
import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from grange.cli.main import app
from grange.client import AsyncFarm
from grange.core.configuration_text import parse
from grange.core.names import State

LIMIT_S = 60.0


def new(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["actor", "new", *arguments, "--directory", str(directory)], catch_exceptions=False)


def role_of(directory: Path, name: str) -> dict[str, Any]:
    """The role in the configuration that was written."""
    document = tomllib.loads((directory / f"{name}.toml").read_text(encoding="utf-8"))
    role: dict[str, Any] = document["roles"][name]
    return role


def test_a_python_actor_is_written_with_its_test_and_a_farm_to_try_it_in(tmp_path: Path) -> None:
    done = new(tmp_path / "mine", "gain_check")
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "gain_check.py",
        "gain_check.toml",
        "test_gain_check.py",
    ]
    role = role_of(tmp_path / "mine", "gain_check")
    assert role["actor"] == f"{tmp_path}/mine/gain_check.py:GainCheck"
    assert f'[roles.gain_check]\nactor = "{role["actor"]}"\n' in done.stdout


@pytest.mark.parametrize("language", ["python", "c"])
def test_the_farm_that_is_written_is_a_valid_configuration(tmp_path: Path, language: str) -> None:
    new(tmp_path, "scaler", "--language", language)
    assert not parse((tmp_path / "scaler.toml").read_text(encoding="utf-8"), "toml").warnings


def test_the_python_actor_is_clean_and_its_test_passes_as_written(tmp_path: Path) -> None:
    new(tmp_path, "scaler")
    for file in ("scaler.py", "test_scaler.py"):
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text))
        assert "$" not in text
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_scaler.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_printed_to_try_it_is_there_or_is_installed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = shlex.quote(sys.executable)
    assert f"  {python} -m pytest test_scaler.py\n" in new(tmp_path / "a", "scaler").stdout
    monkeypatch.setattr("grange.cli.new_actor.find_spec", lambda name: None)  # an environment that only runs farms
    lines = new(tmp_path / "b", "scaler").stdout.splitlines()
    place = lines.index(f"  {python} -m pip install pytest")
    assert lines[place + 1] == f"  {python} -m pytest test_scaler.py"


@pytest.mark.parametrize("name", ["Scaler", "2nd", "gain-check", "class", "", "a" * 65])
def test_a_name_that_can_be_no_module_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    done = new(tmp_path, name)
    assert done.exit_code == 2
    assert "cannot name a module and a class" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_never_overwritten_and_nothing_else_is_written(tmp_path: Path) -> None:
    (tmp_path / "test_scaler.py").write_text("mine")
    done = new(tmp_path, "scaler")
    assert done.exit_code == 2
    assert f"{tmp_path}/test_scaler.py: is there already; take another name" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["test_scaler.py"]
    assert (tmp_path / "test_scaler.py").read_text() == "mine"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = new(tmp_path / "file" / "below", "scaler")
    assert done.exit_code == 2
    assert f"{tmp_path}/file/below: cannot be written to" in done.stderr


async def test_a_python_actor_as_written_takes_a_run_in_a_farm(farm: AsyncFarm, live: Any, tmp_path: Path) -> None:
    new(tmp_path, "scaler")
    await takes_a_run(farm, live, role_of(tmp_path, "scaler"), "blocks")


async def test_a_c_actor_as_written_takes_a_run_in_a_farm(farm: AsyncFarm, live: Any, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        assert os.environ.get("CI") != "true", "CI has to build the C actor: install gcc"
        pytest.skip("no gcc here, so the C actor is NOT tested: install gcc")
    new(tmp_path, "scaler", "--language", "c")
    built = await asyncio.create_subprocess_exec("gcc", "-std=c11", "-o", "scaler", "scaler.c", cwd=tmp_path)
    assert await asyncio.wait_for(built.wait(), LIMIT_S) == 0
    await takes_a_run(farm, live, role_of(tmp_path, "scaler"), "turns")


async def takes_a_run(farm: AsyncFarm, live: Any, role: dict[str, Any], counter: str) -> None:
    """From initial to running, until it has counted, with a pause, and back; the run keeps what was counted."""
    await farm.import_configuration(live.configuration({"scaler": role}), "json")
    started = await farm.go("running")
    assert started.state is State.TAKING
    for step in ("pause", "resume"):
        await farm.execute(step)

    async def counted() -> int:
        return (await farm.status()).counters.get("scaler", {}).get(counter, 0)

    await live.eventually(counted, f"no process has counted {counter}")
    assert (await farm.go("initial")).state is State.INITIAL
    run = await farm.run(started.run_number)
    assert {name: roles["scaler"][counter] > 0 for name, roles in run.counters.items()} == {"sf01": True, "sf02": True}
