"""A farm controller that cannot write: it says so, refuses what has to be recorded, and can still end a run.

The disk is as good as full for a process whose limit for files is zero: each write fails, the rest works.
"""

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from grange.client import AsyncFarm, OutcomeKind
from grange.core.errors import Refused
from grange.core.names import State


@contextlib.contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Nothing can be written by this process meanwhile."""
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


async def test_on_a_full_disk_commands_are_refused_but_a_run_is_stopped_and_nothing_of_it_is_lost(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={})
    number = (await farm.go("running")).run_number
    with full_disk(live.pid("farm")):
        await farm.execute("pause")  # the one that meets it: its records wait in memory
        with pytest.raises(Refused) as refused:
            await farm.execute("resume")
        why = f"outbox {live.home.outbox}: a record could not be made durable (File too large); make room on the disk"
        assert str(refused.value) == (
            f"no command can be recorded: {why}. It is tried again every second and with each command; "
            "stop and shutdown are still possible"
        )
        assert (await farm.status()).member.state is State.PAUSED
        stopped = await farm.execute("stop", command_id="full-1")
        assert (stopped.kind, stopped.state) == (OutcomeKind.DONE, State.CONFIGURED)
        assert await farm.execute("stop", command_id="full-1") == stopped
    # what has to be recorded is tried again with the next command, which is not refused
    assert (await farm.execute("unconfigure")).kind is OutcomeKind.DONE
    assert (await farm.run(number)).stopped_unix_s > 0
    await live.kill("farm")
    await asyncio.to_thread(live.up)
    assert (await farm.execute("stop", command_id="full-1")).kind is OutcomeKind.DONE
