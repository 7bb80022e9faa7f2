"""An actor that takes a moment for each step, so that there is a moment to hit it in."""

import time

from grange.actors.actor import Actor

MOMENT_S = 0.6


class Slow(Actor):
    """Counts nothing and does nothing, slowly."""

    def process_config(self) -> None:
        time.sleep(MOMENT_S)

    def process_initialise(self) -> None:
        time.sleep(MOMENT_S)

    def process_start(self) -> None:
        time.sleep(MOMENT_S)

    def process_stop(self) -> None:
        time.sleep(MOMENT_S)

    def process_pause(self) -> None:
        time.sleep(MOMENT_S)

    def process_resume(self) -> None:
        time.sleep(MOMENT_S)

    def process_reset(self) -> None:
        time.sleep(MOMENT_S)

    def process_unload(self) -> None:
        time.sleep(MOMENT_S)
