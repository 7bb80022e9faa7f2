"""A small data flow whose books can be checked against what was really done, and is slow enough to be hit.

A source makes events, the workers of its sub-farm share them out, and each worker writes into a ledger of its own which
event it has in hand before it counts it. A ledger is on disk with every line, so it outlives a kill; the counters of a
process go with it but for what its last heartbeat said. Each step of a worker takes a moment, so that there is one to
hit it in.
"""

import time
from typing import Any, ClassVar

from grange.actors.exchange import Received
from grange.actors.stage import Stage

MOMENT_S = 0.6
EVENT_EVERY_S = 0.01


class Source(Stage):
    """Makes one event after the other, and counts each as `read`."""

    counter_names = ("read",)

    def begin(self) -> None:
        self._due_s = time.monotonic()

    def process_resume(self) -> None:
        self._due_s = time.monotonic()

    def idle(self) -> bool:
        wait_s = self._due_s - time.monotonic()
        if wait_s > 0:
            self.idle_s = wait_s
            return False
        self._due_s += EVENT_EVERY_S
        self.count("read")
        self.emit(b"event", 1)
        return True


class Worker(Stage):
    """Writes each event down and counts it as `accepted`; slow in all that is not data."""

    counter_names = ("accepted",)

    def process_config(self) -> None:
        time.sleep(MOMENT_S)

    def process_initialise(self) -> None:
        time.sleep(MOMENT_S)
        self.surroundings.data_directory.mkdir(parents=True, exist_ok=True)

    def process_start(self) -> None:
        time.sleep(MOMENT_S)
        super().process_start()

    def begin(self) -> None:
        name = f"ledger-{self.run_number}-{self.member.replace('/', '.')}"
        self._ledger = open(self.surroundings.data_directory / name, "ab", buffering=0)  # noqa: SIM115

    def handle(self, received: Received) -> None:
        block = received.block
        self._ledger.write(b"%d/%d\n" % block.key)
        self.count("accepted")

    def finish(self) -> None:
        self._ledger.close()

    def process_stop(self) -> None:
        time.sleep(MOMENT_S)
        super().process_stop()

    def process_pause(self) -> None:
        time.sleep(MOMENT_S)

    def process_resume(self) -> None:
        time.sleep(MOMENT_S)

    def process_reset(self) -> None:
        time.sleep(MOMENT_S)

    def process_unload(self) -> None:
        time.sleep(MOMENT_S)


class Lingering(Worker):
    """Takes a moment to end, too."""

    def close(self) -> None:
        time.sleep(MOMENT_S)
        super().close()


class Careless(Worker):
    """Takes an event out of the flow now and then, and counts it nowhere: the books must not balance."""

    declared: ClassVar[dict[str, Any]] = {**Worker.declared, "lose_every": 10}

    def handle(self, received: Received) -> None:
        if received.block.number % self.parameters["lose_every"]:
            super().handle(received)
