"""When a selected configuration comes into force: said where it is selected, and by `grange status`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from grange.cli.main import app
from grange.client import Farm
from grange.core.names import State

WORKER = {"command": ["sleep", "600"], "ready": "settle", "settle_time_s": 0.1}


def words(live: Any, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["--home", live.home.root, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return str(done.stdout)


@pytest.fixture
def imports(live: Any, tmp_path: Any) -> Iterator[Callable[..., str]]:
    """Imports a configuration with this role, and returns what is said about it; the farm is initial afterwards."""

    def importing(**role: Any) -> str:
        file = tmp_path / "farm.json"
        file.write_text(live.configuration({"worker": {**WORKER, **role}}))
        return words(live, "config", "import", str(file))

    yield importing
    live.reset()


def test_what_the_next_load_cannot_take_is_said_with_what_to_do_first(live: Any, imports: Callable[..., str]) -> None:
    assert imports().endswith("; the next load takes it\n")
    with Farm(live.home.root) as farm:
        farm.boot()
        old = farm.status(depth=0).selected_revision
        after = "after: grange go initial, for it has other processes than the one in force\n"
        assert imports(count=2).endswith(f"; a load takes it {after}")
        new = farm.status(depth=0).selected_revision
        assert f"; next load: {new[:10]} (first: grange go initial)" in words(live, "status")
        for shown in ("show", "show sf01"):
            assert f"; {new[:10]} is selected for the next load (first: grange go initial)" in words(
                live, *shown.split()
            )
        assert words(live, "use", old) == f"the next load takes revision {old[:10]} (current)\n"
        assert words(live, "use", new) == f"a load takes revision {new[:10]} (current) {after}"
        farm.go("initial")
        assert farm.status(depth=0).go_first is None
        assert farm.go("loaded").state is State.LOADED
        assert farm.status(depth=0).member.revision == new
