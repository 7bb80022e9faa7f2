"""A shutdown while the first programs of a farm are on their way: absent is said when it is so."""

import pytest

from grange.core.effects import Answer
from grange.core.names import State
from grange.harness.farms import uniform
from grange.harness.world import World


@pytest.mark.parametrize("wait_s", [0.0, 0.01, 0.1, 0.3])
def test_a_shutdown_of_a_setup_waits_for_what_was_launched_and_has_not_dialled_in(wait_s: float) -> None:
    world = World(uniform(2, 2, 2))
    world.command("setup")
    world.run_for(wait_s)
    done = world.carry_out("shutdown")
    assert isinstance(done, Answer)
    assert (done.kind, world.state()) == ("done", State.ABSENT)
    # they have come, and were let go: `grange down`, which may follow at once, leaves nobody who would do it later
    assert {path: one.alive for path, one in world.controllers.items()} == {"": True, "sf01": False, "sf02": False}
