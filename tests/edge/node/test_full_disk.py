"""A disk that is full ends no keeper and loses no exit; what must be on disk before it is done is refused.

The disk is as good as full for a process whose limit for files is zero: each write fails, the rest works.
"""

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from grange.proto import tree_pb2

from .node_helpers import AgentNode, KeeperNode, book_on_disk, eventually, exists, state_of

SLEEP = ("/bin/sleep", "1000")
PATH = "sf01/n1/plain-1"
PLAIN_SLEEP = tree_pb2.ProcessSpec(path=PATH, role="plain", argv=SLEEP, ready="settle", settle_time_s=0.02)


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Nothing can be written by this process meanwhile."""
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        if exists(pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def test_an_exit_is_told_on_a_full_disk_and_written_when_there_is_room(keeper: KeeperNode) -> None:
    assert keeper.client is not None
    assert keeper.keeper is not None
    answer = keeper.spawn(*SLEEP)
    with full_disk(keeper.keeper.pid):
        os.kill(answer["pid"], signal.SIGKILL)
        assert keeper.client.event("exited")["exit"] == {"signal": 9}
        assert keeper.client.request("note", instance=answer["instance"], note={"said": "meanwhile"})["ok"]
        assert keeper.manifest("x-1")["exit"] is None
    eventually("it is written", lambda: keeper.manifest("x-1")["exit"] == {"signal": 9})
    assert keeper.manifest("x-1")["note"] == {"said": "meanwhile"}
    assert keeper.keeper.poll() is None


def test_what_cannot_be_noted_is_not_started_and_can_be_asked_for_again(keeper: KeeperNode) -> None:
    assert keeper.client is not None
    assert keeper.keeper is not None
    with full_disk(keeper.keeper.pid):
        answer = keeper.spawn(*SLEEP, instance="x-1.1.1")
        assert (answer["ok"], answer["failed"]) == (False, True)
        assert answer["error"].startswith("its manifest cannot be written: File too large; make room on the disk of ")
        assert keeper.client.request("list")["processes"] == []
    assert keeper.spawn(*SLEEP, instance="x-1.1.1")["ok"]
    assert book_on_disk(keeper.directory).keys() == {"x-1"}


def test_a_slot_whose_lock_cannot_be_had_is_free_again(keeper: KeeperNode) -> None:
    locks = keeper.directory / "locks"
    locks.rename(keeper.directory / "away")
    answer = keeper.spawn(*SLEEP)
    assert answer["error"].endswith("locks/x-1.lock: No such file or directory")
    (keeper.directory / "away").rename(locks)
    assert keeper.client is not None
    assert keeper.client.request("forget", instance=answer["instance"])["ok"]
    assert keeper.spawn(*SLEEP)["ok"]


def test_risen_incarnations_count_from_when_they_are_on_disk(keeper: KeeperNode) -> None:
    client = keeper.client
    assert client is not None
    assert keeper.keeper is not None
    agent = keeper.state()["agent"]
    with full_disk(keeper.keeper.pid):
        answer = client.request("fence", fence=[2, 1, agent])
        assert not answer["ok"]
        assert "the incarnations [2, 1] of a new controller cannot be saved" in answer["error"]
        assert client.request("fence", fence=[1, 9, agent])["ok"] is False, "a rise as well, as yet"
        assert client.request("hello", incarnation=agent)["parents"] == []
    assert client.request("fence", fence=[2, 1, agent])["parents"] == [2, 1]
    assert keeper.state()["parents"] == [2, 1]


def test_a_keeper_starts_on_a_full_disk_and_adopts_what_runs(keeper: KeeperNode) -> None:
    answer = keeper.spawn(*SLEEP)
    keeper.kill_keeper()
    with full_disk(os.getpid()):  # its child inherits that
        keeper.keeper = keeper.popen()
    client = keeper.client = keeper.connect()
    [row] = client.request("list")["processes"]
    assert (row["pid"], row["exit"]) == (answer["pid"], None)
    os.kill(answer["pid"], signal.SIGKILL)
    assert client.event("exited")["exit"] == {"unknown": "its keeper had been replaced"}
    resource.prlimit(keeper.keeper.pid, resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE))
    eventually("it is written", lambda: keeper.manifest("x-1")["exit"])


async def test_an_order_of_a_new_controller_waits_until_its_incarnations_are_on_disk(node: AgentNode) -> None:
    parent = await node.start()
    await parent.carry_out("b", PATH, "boot", spec=PLAIN_SLEEP)
    parent.fence = (2, 1)
    with full_disk(node.keeper_pid()):
        await parent.order("l", PATH, "load")
        said = "orders of incarnations (2, 1) left out"
        await asyncio.to_thread(eventually, "it is left out", lambda: said in node.what_was_said())
        assert state_of(parent.rows[PATH]) == "booted"
    row = await parent.carry_out("l", PATH, "load")
    assert (state_of(row), row.order_ok) == ("loaded", True)
