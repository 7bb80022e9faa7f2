"""A keeper that is stopped or hangs is replaced, for that harms no process; what it hid is told by the next one."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from grange.controllers import hanging
from grange.controllers.hanging import end_keeper_if_it_hangs
from grange.proto import tree_pb2

from .node_helpers import AgentNode, eventually, exists, kind_of, state_of

ONE, OTHER = "sf01/n1/plain-1", "sf01/n1/plain-2"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stopped for as long as it lives; a pidfd, for its number may belong to another by then."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
    try:
        yield
    finally:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        except ProcessLookupError:
            pass
        os.close(pidfd)


async def boot(node: AgentNode, path: str) -> tree_pb2.ProcessReport:
    times = {"settle_time_s": 0.02, "terminate_timeout_s": 0.5, "kill_timeout_s": 2.0}
    spec = tree_pb2.ProcessSpec(path=path, role="plain", argv=("/bin/sleep", "1000"), ready="settle", **times)
    return await node.parent.carry_out(f"b-{path}", path, "boot", spec=spec)


async def test_a_stopped_keeper_is_named_by_an_order_that_waits_for_it_and_replaced_with_all_that_it_hid_told(
    node: AgentNode,
) -> None:
    parent = await node.start()
    one = await boot(node, ONE)
    other = await boot(node, OTHER)
    keeper = node.keeper_pid()
    with stopped(keeper):
        os.kill(one.pid, signal.SIGKILL)
        # Even before the keeper has been silent for long, an end that does not come is not the kernel's fault.
        row = await parent.carry_out("x", OTHER, "shutdown")
        assert f"the keeper of n1 does not answer (pid {keeper})" in row.failure.reason
        row = await parent.row(ONE, lambda row: not row.pid)
        assert kind_of(row) == "died_running"
        assert "how is not known" in row.failure.reason
        assert node.keeper_pid() != keeper
        row = await parent.row(OTHER, lambda row: not row.pid)  # the request to end it was sent to the new keeper
        assert (state_of(row), other.pid > 0) == ("initial", True)


async def test_processes_never_notice_that_their_keeper_hung_and_was_replaced(node: AgentNode) -> None:
    parent = await node.start()
    one = await boot(node, ONE)
    keeper = node.keeper_pid()
    with stopped(keeper):
        await parent.until(lambda: node.keeper_pid() != keeper)
        row = await parent.carry_out("y", ONE, "load")
    assert (row.pid, state_of(row), row.HasField("failure")) == (one.pid, "loaded", False)


async def test_a_keeper_that_hangs_together_with_its_agent_is_killed_by_whoever_would_launch_it(
    node: AgentNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = await node.start()
    one = await boot(node, ONE)
    keeper = node.keeper_pid()
    assert await end_keeper_if_it_hangs(str(node.directory)) == ""
    monkeypatch.setattr(hanging, "ANSWER_LIMIT_S", 0.2)
    with stopped(node.agent_pid()):
        with stopped(keeper):
            assert await end_keeper_if_it_hangs(str(node.directory)) == (
                f"its keeper (pid {keeper}) hung: it said nothing for 0.4 s when asked, and was killed"
            )
            await asyncio.to_thread(eventually, "the keeper has ended", lambda: not exists(keeper))
        await node.launch()
        assert node.keeper_pid() != keeper
    row = await parent.carry_out("y", ONE, "load")
    assert (row.pid, state_of(row), row.HasField("failure")) == (one.pid, "loaded", False)


async def test_where_no_keeper_is_none_is_killed(node: AgentNode) -> None:
    assert await end_keeper_if_it_hangs(str(node.directory)) == ""
    node.directory.mkdir()
    (node.directory / "keeper.lock").write_text(f"{os.getpid()}\n")  # left over, and its number is another's now
    assert await end_keeper_if_it_hangs(str(node.directory)) == ""
    (node.directory / "keeper.lock").unlink()
