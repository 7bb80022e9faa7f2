"""What the programs really load: small ones stay small, and a node needs neither gRPC in its keeper nor SQL anywhere.

Each program is imported in an interpreter of its own, as it is started in a farm, and says afterwards what it holds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Runs KEEPER as `python -I -S` does, but not as the main program, and prints the modules and the files of ours it read.
KEEPER_PROBE = """
import sys
read = set()
sys.addaudithook(lambda event, arguments: read.add(str(arguments[0])) if event == "open" else None)
import json, runpy
keeper, root = sys.argv[1:]
runpy.run_path(keeper, run_name="keeper")
print(json.dumps({"modules": sorted(sys.modules), "files": sorted(name for name in read if name.startswith(root))}))
"""

# Runs the statement handed over, as a program's entry point would, and prints what is loaded when it has ended.
PROGRAM_PROBE = """
import json, sys
statement = sys.argv.pop(1)
try:
    exec(statement)
except SystemExit:
    pass
print()
print(json.dumps(sorted(sys.modules)))
"""


def last_line(arguments: list[str], **environment: str) -> str:
    """What a Python child prints last; its exit code must be 0."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def source_of(file: str) -> str:
    """The source, relative to the root, that a file read stands for: itself, or what its bytecode was made from."""
    path = Path(os.path.normpath(file)).relative_to(ROOT)
    if path.parent.name == "__pycache__":
        path = path.parent.parent / (path.name.split(".")[0] + ".py")
    return str(path)


def test_the_keeper_needs_the_standard_library_its_own_parts_and_core_keeping_alone() -> None:
    keeper = ROOT / "supervisor" / "keeper.py"
    told = json.loads(last_line(["-I", "-S", "-c", KEEPER_PROBE, str(keeper), str(ROOT)]))
    parts = {
        f"keeper_{name}" for name in ("agent", "ends", "forks", "journal", "kernel", "loop", "processes", "starter")
    }
    known = sys.stdlib_module_names | {"__main__", "keeping"} | parts
    assert {name.split(".")[0] for name in told["modules"]} - known == set()
    own = {f"supervisor/{name}.py" for name in {"keeper"} | parts}
    assert {source_of(file) for file in told["files"]} == own | {"core/keeping.py"}


def test_a_template_loads_nothing_of_ours_before_its_actor() -> None:
    loaded = loaded_by("import grange.supervisor.template")
    assert packages_of_ours(loaded) == {"grange.supervisor"}
    assert loaded & {"grpc", "google", "asyncio"} == set()


def loaded_by(statement: str, *arguments: str, **environment: str) -> set[str]:
    """The modules that a program holds at its end: grange's by their full names, others by their top-level ones."""
    names = json.loads(last_line(["-P", "-c", PROGRAM_PROBE, statement, *arguments], **environment))
    return {name if name.startswith("grange") else name.split(".")[0] for name in names}


def packages_of_ours(loaded: set[str]) -> set[str]:
    return {".".join(name.split(".")[:2]) for name in loaded if name.startswith("grange.")}


def test_an_actor_loads_neither_grpc_nor_sql_nor_what_checks_configurations() -> None:
    loaded = loaded_by("import grange.actors.run")
    assert loaded & {"grpc", "sqlalchemy", "alembic", "pydantic", "typer", "rich", "psutil", "numpy"} == set()
    assert packages_of_ours(loaded) <= {"grange.actors", "grange.core", "grange.proto"}


def test_grange_status_loads_the_client_and_nothing_of_the_farm(tmp_path: Path) -> None:
    loaded = loaded_by("from grange.cli.begin import main; main()", "status", GRANGE_HOME=str(tmp_path))
    assert loaded & {"sqlalchemy", "alembic", "numpy", "transitions", "psutil"} == set()
    assert packages_of_ours(loaded) <= {"grange.cli", "grange.client", "grange.core", "grange.proto"}
    assert "grange.client" in loaded
    assert loaded & {"grange.client.page", "grange.core.plan", "grange.core.reports", "grange.core.effects"} == set()


def test_a_sub_farm_controller_loads_neither_sql_nor_what_checks_configurations() -> None:
    loaded = loaded_by("import grange.controllers.subfarm")
    assert loaded & {"sqlalchemy", "alembic", "pydantic", "typer", "rich", "numpy"} == set()


def test_a_farm_controller_loads_what_migrates_a_database_only_for_one_that_is_to_be_migrated(tmp_path: Path) -> None:
    opening = "import grange.controllers.farm as f, pathlib, sys; from grange.schema.database import *; "
    opening += "open_database(sqlite_url(pathlib.Path(sys.argv[1]))).dispose()"
    first, again = (loaded_by(opening, str(tmp_path / "farm.db")) for _ in range(2))
    assert "alembic" in first
    assert again & {"alembic", "mako", "pygments"} == set()
