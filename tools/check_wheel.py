"""Checks a wheel as a user meets it: `make wheel` calls this with the wheel that it has just built.

1. The wheel holds every file of the packages that pyproject.toml lists (code, type marks, .proto files, migrations),
   and nothing of ours beside them.
2. Installed in a clean environment, from the exact versions of the constraints file and without the network,
   `grange --version` tells the project's version.
3. `grange demo --json` runs a short farm there and prints a run with a number and with all that a reader may rely on.

It leaves nothing behind and ends with 1 and a sentence when something is not so.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
DEMO = ("demo", "--json", "--events", "400")
# Far more than a loaded two-core machine needs, so that reaching it means that something hangs.
DEMO_TIMEOUT_S = 300.0
PROMISED_KEYS = {"run_number", "revision", "transitions", "roles", "files"}


class WheelError(Exception):
    """The wheel is not what it ought to be; the text says in what."""


def package_files(project: dict[str, Any]) -> set[str]:
    """The files that belong into the wheel, as `grange/...` paths: what lies in the listed packages' own folders."""
    files = set()
    for package in project["tool"]["setuptools"]["packages"]:
        folder = ROOT.joinpath(*package.split(".")[1:])
        for path in folder.iterdir():
            if path.is_file() and not path.name.startswith("."):
                files.add(f"{package.replace('.', '/')}/{path.name}")
    return files


def check_contents(wheel: Path, expected: set[str]) -> None:
    """Compares what the wheel holds, its metadata aside, with what the packages hold."""
    with ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    if found != expected:
        missing = ", ".join(sorted(expected - found)) or "nothing"
        surplus = ", ".join(sorted(found - expected)) or "nothing"
        raise WheelError(
            f"{wheel.name} lacks {missing} and holds {surplus} too much. "
            "Look at packages and package-data under [tool.setuptools] in pyproject.toml"
        )


def run(arguments: list[str], directory: Path) -> str:
    """Runs a command in `directory`, away from the repository and its environment; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRANGE_"))}
    environment["HOME"] = str(directory)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "VIRTUAL_ENV", "MAKEFLAGS"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            arguments,
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEMO_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WheelError(f"`{' '.join(arguments)}` did not end within {DEMO_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        raise WheelError(f"`{' '.join(arguments)}` exited with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check_demo(output: str) -> int:
    """The run number that the demo printed, once all that its JSON promises is there."""
    try:
        printed = json.loads(output)
    except json.JSONDecodeError as error:
        raise WheelError(f"grange {' '.join(DEMO)} did not print JSON ({error}): {output[:400]!r}") from error
    if missing := PROMISED_KEYS - printed.keys():
        raise WheelError(f"grange {' '.join(DEMO)} printed JSON without {', '.join(sorted(missing))}")
    number = printed["run_number"]
    if not isinstance(number, int) or number < 1 or not printed["files"]:
        raise WheelError(f"grange {' '.join(DEMO)} finished no run: number {number!r}, files {printed['files']!r}")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a wheel's contents, and that it works in a clean environment.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument(
        "--wheelhouse", type=Path, required=True, help="a directory with the wheels of all dependencies"
    )
    parser.add_argument("--constraints", type=Path, required=True)
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["project"]["version"]
    try:
        check_contents(arguments.wheel, package_files(project))
        print(f"{arguments.wheel.name}: complete")
        with TemporaryDirectory(prefix="grange-wheel-") as scratch:
            directory = Path(scratch)
            venv.create(directory / "venv", with_pip=True)
            program = str(directory / "venv" / "bin" / "grange")
            pip = [str(directory / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-index"]
            places = [
                "--find-links",
                str(arguments.wheelhouse.resolve()),
                "--constraint",
                str(arguments.constraints.resolve()),
            ]
            run([*pip, *places, str(arguments.wheel.resolve())], directory)
            if version not in (printed := run([program, "--version"], directory)).split():
                raise WheelError(f"grange --version printed {printed!r}, and pyproject.toml says {version}")
            print(f"installed in a clean environment: {printed.strip()}")
            print(f"short demo: run {check_demo(run([program, *DEMO], directory))} finished, its books balance")
    except WheelError as error:
        print(f"make wheel: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
