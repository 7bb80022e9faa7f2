"""Actors that the contract tests run as real processes; each does one thing that a test asks about."""

import time
from typing import ClassVar

from grange.actors.actor import Actor
from grange.actors.errors import ActorError
from grange.actors.parameters import REQUIRED
from grange.core.names import Severity, State


class Diary(Actor):
    """Says in notes which of its methods were called, and writes one file per run."""

    def _write(self, what: str) -> None:
        self.note(Severity.INFO, "called", what)

    def process_config(self) -> None:
        self._write(f"process_config {self.parameters!r}")

    def process_register(self) -> None:
        self._write(f"process_register {self.inputs!r} {self.outputs!r}")

    def process_initialise(self) -> None:
        self._write("process_initialise")

    def process_start(self) -> None:
        self.count("blocks", 0)
        self.path = self.surroundings.data_directory / f"run-{self.run_number}.txt"
        self._write(f"process_start {self.run_number}")

    def process_block(self) -> bool:
        self.count("blocks")
        self.status = f"{self.counters['blocks']} blocks"
        return False

    def process_pause(self) -> None:
        self._write("process_pause")

    def process_resume(self) -> None:
        self._write("process_resume")

    def process_stop(self) -> None:
        self.path.write_text("data\n")
        self.add_file(self.path)
        self._write("process_stop")

    def process_reset(self) -> None:
        self._write("process_reset")

    def process_unload(self) -> None:
        self._write("process_unload")

    def close(self) -> None:
        (self.surroundings.data_directory / "closed").touch()


class Picky(Actor):
    """Declares its parameters, and fails where they say."""

    declared: ClassVar = {"file": REQUIRED, "threshold_kev": 10.0, "count": 3, "fail": ""}

    def process_initialise(self) -> None:
        match self.parameters["fail"]:
            case "configure":
                raise ActorError("no such calibration 'may-2'", "Fix the parameter set")
            case "lost":
                raise ActorError("the detector is off", state=State.BOOTED)
            case "bug":
                raise KeyError("gain")

    def process_block(self) -> bool:
        if self.parameters["fail"] == "block":
            raise ActorError("the disk is full", "Make room")
        return False

    def process_stop(self) -> None:
        if self.parameters["fail"] == "drain":
            self.undrained("undrained: psa-1 never sent its marker")


class Stuck(Actor):
    """Hangs where its parameter says, until a file appears."""

    hang_after_s = 0.5

    def _hang(self, where: str) -> None:
        if self.parameters.get("hang") == where:
            while not (self.surroundings.data_directory / "go-on").exists():
                time.sleep(0.01)

    def process_initialise(self) -> None:
        self._hang("configure")

    def process_start(self) -> None:
        self._hang("start")

    def process_block(self) -> bool:
        self._hang("block")
        return False


class Counting(Actor):
    """Reads a block of one event a thousand times a second, as a source of data that never ends."""

    def process_start(self) -> None:
        self.count("read", 0)
        self.idle_s = 0.001

    def process_block(self) -> bool:
        self.count("read")
        return False
