"""Who may import whom: `make contracts` asks import-linter, and these tests ask whether its contracts would notice.

Each forbidden import is put into a small tree with the packages' names, and the contract that is there against it must
be the one that breaks. What import-linter cannot see (which *function* of a module is used) is checked on the syntax.
"""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINTER = PYPROJECT["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in LINTER["contracts"]}
TOP_LEVEL = {package for package in PYPROJECT["tool"]["setuptools"]["packages"] if package.count(".") == 1}

# The imports that the contracts except by name: they must be there, or import-linter complains that they are not.
EXCEPTED = {
    "core/state.py": "import transitions\n",
    "core/configuration.py": "import pydantic\n",
    "harness/bench_bare.py": "import grpc.aio\n",
    "harness/bench_watchers.py": "import grpc.aio\n",
    "harness/bench_configuration.py": "import sqlite3\n",
}


def broken_contracts(tree: Path) -> set[str]:
    """The names of the contracts that the packages below `tree`/grange break."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            *("--config", ROOT / "pyproject.toml"),
            *("--no-cache", "--no-logo"),
        ],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    verdicts = [line for line in done.stdout.splitlines() if " KEPT" in line or " BROKEN" in line]
    assert len(verdicts) == len(CONTRACTS), done.stdout + done.stderr
    return {line.split(" BROKEN")[0].strip() for line in verdicts if " BROKEN" in line}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Packages that break nothing: every one empty, but for the imports that the contracts except."""
    for package in TOP_LEVEL:
        folder = tmp_path.joinpath(*package.split("."))
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    for name, text in EXCEPTED.items():
        (tmp_path / "grange" / name).write_text(text)
    return tmp_path


def test_every_package_is_known_to_the_layers() -> None:
    layers = {name.strip() for layer in CONTRACTS["layers"]["layers"] for name in layer.replace("|", ":").split(":")}
    assert layers == TOP_LEVEL
    assert set(LINTER["root_packages"]) == TOP_LEVEL


@pytest.mark.parametrize(
    ("contract", "except_for"), [("rule-book", set()), ("wire", {"grange.proto"}), ("sql", {"grange.schema"})]
)
def test_every_package_is_bound_by_the_contracts_on_libraries(contract: str, except_for: set[str]) -> None:
    assert set(CONTRACTS[contract]["source_modules"]) == TOP_LEVEL - except_for


def test_packages_that_import_nothing_forbidden_keep_every_contract(tree: Path) -> None:
    assert broken_contracts(tree) == set()


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/a.py", "from grange.proto import b", "layers"),
        ("proto/a.py", "import grange.schema", "layers"),
        ("schema/a.py", "import grange.proto", "layers"),
        ("launch/a.py", "import grange.proto", "layers"),
        ("launch/a.py", "import grange.supervisor", "layers"),
        ("client/a.py", "import grange.controllers", "layers"),
        ("controllers/a.py", "import grange.client", "layers"),
        ("controllers/a.py", "import grange.cli", "layers"),
        ("supervisor/a.py", "import grange.actors", "layers"),
        ("actors/a.py", "import grange.schema", "node"),
        ("supervisor/a.py", "import grange.launch", "node"),
        ("client/a.py", "import grange.schema", "node"),
        ("core/a.py", "import asyncio", "pure"),
        ("core/a.py", "from time import monotonic", "pure"),
        ("core/a.py", "import random", "pure"),
        ("core/a.py", "import os.path", "pure"),
        ("core/controller.py", "import transitions", "rule-book"),
        ("harness/a.py", "from transitions import Machine", "rule-book"),
        ("core/a.py", "import pydantic", "values"),
        ("controllers/a.py", "import grpc.aio", "wire"),
        ("cli/a.py", "import sqlalchemy", "sql"),
        ("controllers/a.py", "import sqlite3", "sql"),
    ],
)
def test_a_forbidden_import_breaks_the_contract_against_it(tree: Path, module: str, line: str, contract: str) -> None:
    (tree / "grange" / "proto" / "b.py").touch()
    (tree / "grange" / module).write_text(line + "\n")
    assert broken_contracts(tree) == {CONTRACTS[contract]["name"]}


# Starting, replacing and signalling processes, by the module that offers it; an empty set stands for all of a module.
PROCESS_CONTROL: dict[str, set[str]] = {
    "multiprocessing": set(),
    "pty": set(),
    "subprocess": set(),
    "signal": {"pidfd_send_signal", "pthread_kill", "raise_signal"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "os": {"fork", "forkpty", "kill", "killpg", "popen", "posix_spawn", "posix_spawnp", "system"}
    | {f"{verb}{ending}" for verb in ("exec", "spawn") for ending in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")},
}
# `harness` breaks things on purpose.
MAY_CONTROL_PROCESSES = {"supervisor", "launch", "harness"}


def process_control(source: str) -> list[str]:
    """The uses of process control in a module's text, each as `line: what`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[tuple[str, str]] = []
        if isinstance(node, ast.Import):
            names = [(alias.name.split(".")[0], "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [(node.module.split(".")[0], alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [(node.value.id, node.attr)]
        for module, name in names:
            functions = PROCESS_CONTROL.get(module)
            if functions is not None and (name in functions or not functions):
                line = getattr(node, "lineno", 0)
                found.append(f"{line}: {module}.{name}".rstrip("."))
    return found


@pytest.mark.parametrize("package", sorted(package.split(".")[1] for package in TOP_LEVEL))
def test_only_supervisor_and_launch_start_and_signal_processes(package: str) -> None:
    found = {
        str(path.relative_to(ROOT)): uses
        for path in (ROOT / package).rglob("*.py")
        if (uses := process_control(path.read_text(encoding="utf-8")))
    }
    assert package in MAY_CONTROL_PROCESSES or found == {}


@pytest.mark.parametrize(
    "source",
    ["import subprocess", "from os import kill", "import os\nos.killpg(1, 9)", "from multiprocessing import Pool"],
)
def test_process_control_is_noticed_however_it_is_named(source: str) -> None:
    assert len(process_control(source)) == 1


def test_reading_the_environment_and_handling_ones_own_signals_is_not_process_control() -> None:
    assert process_control("import os, signal\nos.environ\nsignal.SIGTERM\nos.getpid()") == []
