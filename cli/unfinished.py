"""Files of runs that nobody finished: what a writer leaves that dies before the run's end (`….part`).

They hold data that were taken, so nothing here ever deletes one: they are told, and put aside when asked. Whole frames
can be read of them as of any ADF file (`grange.actors.adf_file.read_blocks`); only the last one may be cut.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grange.core.home import Home

ASIDE = "unfinished"  # the folder beside the finished ones where they are put
_NAME = re.compile(r"run_(\d+)_.+\.part")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file that its writer has not finished: it may be at it."""

    run_number: int
    path: Path
    size_bytes: int

    @property
    def is_aside(self) -> bool:
        return self.path.parent.name == ASIDE


def unfinished_files(home: Home) -> Iterator[Unfinished]:
    """All of a farm on this machine, by run and name, those that were put aside too."""
    found = []
    for folder in (Path(home.data), Path(home.data) / ASIDE):
        for path in folder.glob("run_*.part"):
            if name := _NAME.fullmatch(path.name):
                found.append(Unfinished(int(name[1]), path, path.stat().st_size))
    yield from sorted(found, key=lambda one: (one.run_number, one.path.name))


def put_aside(one: Unfinished) -> None:
    """Moves it beside the finished ones. Raises `OSError`, also when one of that name is there."""
    folder = one.path.parent / ASIDE
    folder.mkdir(mode=0o700, exist_ok=True)
    os.link(one.path, folder / one.path.name)  # which replaces nothing, as a renaming would
    one.path.unlink()
