"""What a process has counted in one run, over all the instances that it had in it.

An actor counts from zero with each start, so what the instances before it have counted in the same run is added to
what it says itself. The sum belongs to one run, and says which: a start in another run begins a new one, and until then
the old one can still be read. Files that were finished are kept in the same way.

Counters come with heartbeats and answers. What an instance counted after the last of them, before it was killed, nobody
knows: such an end is counted itself, as `instances_died`, so that books which do not balance exactly say why.
"""

from collections.abc import Mapping
from typing import Any

from .names import State
from .reports import OutputFile

INSTANCES_DIED = "instances_died"  # the counter of instances that ended in the run before they had stopped
BEFORE_RUNS = frozenset({State.BOOTING, State.BOOTED, State.LOADING, State.LOADED, State.CONFIGURING, State.CONFIGURED})


class Tally:
    """The counters and files of one process. `counters` and `files` are those of the run `run_number`."""

    def __init__(self) -> None:
        self.run_number = 0  # the run that they belong to; 0: none yet
        self._counters: Mapping[str, int] = {}  # of the instance that is there, or was there last
        self._files: tuple[OutputFile, ...] = ()
        self._before: dict[str, int] = {}  # of those before it in this run
        self._files_before: tuple[OutputFile, ...] = ()
        self._open = False  # it has started and not stopped: it may be counting
        self._noted = True  # … and the agent's note says so

    @property
    def counters(self) -> Mapping[str, int]:
        return added(self._before, self._counters) if self._before else self._counters

    @property
    def files(self) -> tuple[OutputFile, ...]:
        return self._files_before + self._files

    def begin(self, run_number: int) -> None:
        """The process is being started in a run."""
        if run_number != self.run_number or not run_number:
            self._before, self._files_before = {}, ()
        self.run_number, self._counters, self._files = run_number, {}, ()
        self._open, self._noted = True, False

    def join(self, run_number: int) -> None:
        """It says that it is in a run; one of which a new agent has not heard yet begins with that."""
        if run_number and run_number != self.run_number:
            self.begin(run_number)

    def told(self, state: State, counters: Mapping[str, int], files: tuple[OutputFile, ...] = ()) -> None:
        """The process says where it is, what it has counted and which files it has finished; nothing is no news."""
        self._counters = dict(counters) or self._counters
        self._files = files or self._files
        if state is State.CONFIGURED:
            self._open = False  # it has stopped, and these are its last words

    def ended(self) -> None:
        """The instance has ended, in whatever way."""
        self._before = added(self._before, self._counters)
        if self._open:
            self._before[INSTANCES_DIED] = self._before.get(INSTANCES_DIED, 0) + 1
        self._files_before += self._files
        self._counters, self._files, self._open = {}, (), False

    def is_to_be_noted(self, state: State) -> bool:
        """Whether it is in a run and no note says so: true once, when the start is over and nobody waits any more."""
        due = self._open and not self._noted and state is State.TAKING
        self._noted = self._noted or due
        return due

    def note(self) -> dict[str, Any]:
        """What the agent after this one has to know; `recover` reads it."""
        return {
            "run_number": self.run_number,
            "counters": dict(self._counters),
            "before": self._before,
            "files": [[file.member, file.path, file.size_bytes, file.sha256] for file in self.files],
            "open": self._open,
        }

    def recover(self, note: Mapping[str, Any]) -> None:
        self.run_number, self._open = note["run_number"], note["open"]
        self._counters, self._before = dict(note["counters"]), dict(note["before"])
        self._files_before = tuple(OutputFile(*file) for file in note["files"])


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The sums of two sets of counters."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
