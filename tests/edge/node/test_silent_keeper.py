"""A keeper that is stopped or hangs is seen: nothing is claimed of its processes until it, or a new one, answers."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from grange.proto import tree_pb2

from .node_helpers import AgentNode, kind_of, state_of

ONE, OTHER = "sf01/n1/plain-1", "sf01/n1/plain-2"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def boot(node: AgentNode, path: str) -> tree_pb2.ProcessReport:
    times = {"settle_time_s": 0.02, "terminate_timeout_s": 0.5, "kill_timeout_s": 2.0}
    spec = tree_pb2.ProcessSpec(path=path, role="plain", argv=("/bin/sleep", "1000"), ready="settle", **times)
    return await node.parent.carry_out(f"b-{path}", path, "boot", spec=spec)


async def test_a_stopped_keeper_is_named_and_what_it_hid_is_told_when_it_goes_on(node: AgentNode) -> None:
    parent = await node.start()
    one = await boot(node, ONE)
    await boot(node, OTHER)
    keeper = node.keeper_pid()
    with stopped(keeper):
        os.kill(one.pid, signal.SIGKILL)
        # Even before the keeper counts as silent, an end that does not come is not the kernel's fault.
        row = await parent.carry_out("x", OTHER, "shutdown")
        assert f"the keeper of n1 does not answer (pid {keeper})" in row.failure.reason
        row = await parent.row(ONE, lambda row: row.health == 3)
        assert (state_of(row), kind_of(row)) == ("unknown", "hung")
        assert (
            row.failure.reason
            == row.status
            == (
                f"the keeper of n1 does not answer (pid {keeper}), so plain-1 can be neither seen nor ended; "
                f"kill -CONT {keeper} if it is stopped, or kill -9 {keeper}: the agent starts a new one"
            )
        )
    row = await parent.row(ONE, lambda row: not row.pid)
    assert row.failure.reason == "plain-1 on n1 was killed by SIGKILL while it was booted"
    row = await parent.row(OTHER, lambda row: not row.pid)
    assert state_of(row) == "initial"


async def test_a_silent_keeper_that_is_killed_is_replaced_and_all_is_well_again(node: AgentNode) -> None:
    parent = await node.start()
    await boot(node, ONE)
    keeper = node.keeper_pid()
    os.kill(keeper, signal.SIGSTOP)
    try:
        await parent.row(ONE, lambda row: row.health == 3)
    finally:
        os.kill(keeper, signal.SIGKILL)
    row = await parent.row(ONE, lambda row: row.health == 1)
    assert (state_of(row), row.HasField("failure")) == ("booted", False)
