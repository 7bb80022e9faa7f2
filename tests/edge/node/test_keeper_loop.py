"""The keeper's loop, by itself."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .node_helpers import KEEPER_PROGRAM


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, loaded by its path as a keeper does it."""
    folder = Path(KEEPER_PROGRAM).parent
    for path in (folder.parent / "core" / "keeping.py", folder / "keeper_kernel.py", folder / "keeper_loop.py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
    return module


def test_what_takes_the_number_of_a_closed_descriptor_in_the_same_turn_gets_no_event_of_the_former(
    loops: ModuleType, tmp_path: Path
) -> None:
    """Both are ready at once; whichever is served first closes the other, and something new gets its number."""
    loop = loops.Loop(str(tmp_path))
    pipes = [os.pipe(), os.pipe()]
    silent = os.pipe()
    served = []

    def serve(mine: int, other: int) -> None:
        served.append(mine)
        loop.unwatch(mine)
        loop.unwatch(other)
        os.dup2(silent[0], other)
        loop.watch(other, lambda: served.append(-other))

    first, second = pipes[0][0], pipes[1][0]
    loop.watch(first, lambda: serve(first, second))
    loop.watch(second, lambda: serve(second, first))
    for _, writer in pipes:
        os.write(writer, b"x")
    loop.turn()
    assert len(served) == 1
    for descriptor in (*pipes[0], *pipes[1], *silent):
        os.close(descriptor)
    loop._selector.close()
