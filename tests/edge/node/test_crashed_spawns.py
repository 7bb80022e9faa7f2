"""A keeper, or a starter of its, killed between manifest, execution and process id: nothing is lost or run twice.

A process whose log is a FIFO that nobody reads is not executed, for its starter waits at the opening of the log: so a
test decides what happens while it is there.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from grange.core.keeping import manifest_line

from .node_helpers import KeeperNode, book_on_disk, eventually, exists, processes_of

SLEEP = ("/bin/sleep", "1000")
TELL_PID = ("/bin/sh", "-c", "echo $$; exec sleep 1000")


class Held:
    """A spawn that does not get further than to its starter, until somebody reads what the process writes."""

    def __init__(self, keeper: KeeperNode, *argv: str, slot: str = "x-1") -> None:
        self.path = keeper.home / f"{slot}.fifo"
        os.mkfifo(self.path)
        self.fields = keeper.spawn_fields(*argv, slot=slot, log=str(self.path))

    def release(self) -> int:
        """A descriptor from which the process's output can be read."""
        return os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)


def starters(keeper: KeeperNode) -> list[int]:
    assert keeper.keeper is not None
    commands = processes_of(keeper.home)
    return [pid for pid, command in commands.items() if "keeper.py" in command and pid != keeper.keeper.pid]


def send(keeper: KeeperNode, *requests: dict[str, Any]) -> None:
    """Several spawns in one breath; returns when a starter is at them."""
    assert keeper.client is not None
    keeper.client.send_at_once(*(("spawn", fields) for fields in requests))
    eventually("a starter is at it", lambda: starters(keeper))


def rows(keeper: KeeperNode) -> dict[str, dict[str, Any]]:
    assert keeper.client is not None
    return {row["slot"]: row for row in keeper.client.request("list")["processes"]}


def sleepers(keeper: KeeperNode) -> set[int]:
    commands = processes_of(keeper.home)
    return {pid for pid, command in commands.items() if "sleep 1000" in command} - {keeper.state()["agent_pid"]}


def test_a_keeper_killed_before_the_execution_has_started_nothing(keeper: KeeperNode) -> None:
    send(keeper, Held(keeper, *SLEEP).fields)
    assert book_on_disk(keeper.directory)["x-1"].pid == 0, "its manifest is on disk"
    keeper.kill_keeper()
    eventually("the starter goes with its keeper", lambda: not starters(keeper))
    client = keeper.start()
    [row] = client.request("list")["processes"]
    assert "whether it has run is not known" in row["exit"]["unknown"]
    assert sleepers(keeper) == set()
    assert client.request("forget", instance=row["instance"])["ok"]
    assert keeper.spawn(*SLEEP)["ok"], "the slot is free again"


def test_a_keeper_killed_before_the_process_id_finds_the_process_and_does_not_start_it_again(
    keeper: KeeperNode,
) -> None:
    assert keeper.keeper is not None
    held = Held(keeper, *TELL_PID)
    send(keeper, held.fields)
    keeper.keeper.send_signal(signal.SIGSTOP)
    output = held.release()
    try:
        pid = int(eventually("it runs", lambda: readable(output)))
        assert book_on_disk(keeper.directory)["x-1"].pid == 0
        keeper.kill_keeper()
        client = keeper.start()
        [row] = client.request("list")["processes"]
        assert (row["pid"], row["exit"]) == (pid, None)
        assert client.request("spawn", **held.fields | {"fence": keeper.fence()})["pid"] == pid
        assert sleepers(keeper) == {pid}
        assert keeper.manifest("x-1")["pid"] == pid
        keeper.signal(row["instance"], signal.SIGTERM)
        assert "unknown" in client.event("exited")["exit"]
        assert not exists(pid)
    finally:
        os.close(output)


def readable(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 100)
    except BlockingIOError:
        return b""


def test_a_starter_that_is_killed_costs_the_process_that_it_was_at_and_no_other(keeper: KeeperNode) -> None:
    others = [keeper.spawn_fields(*SLEEP, slot=f"y-{number}") for number in range(3)]
    send(keeper, others[0], Held(keeper, *SLEEP).fields, *others[1:])
    [starter] = starters(keeper)
    os.kill(starter, signal.SIGKILL)
    assert keeper.client is not None
    event = keeper.client.event("exited")
    assert event["slot"] == "x-1"
    assert "whether it has run is not known" in event["exit"]["unknown"]
    pids = {keeper.client.request("spawn", **fields)["pid"] for fields in others}
    assert len(pids) == 3
    assert sleepers(keeper) == pids


def test_what_hangs_at_its_start_is_ended_by_sigkill_and_holds_up_no_other(keeper: KeeperNode) -> None:
    held = Held(keeper, *SLEEP)
    other = keeper.spawn_fields(*SLEEP, slot="y-1")
    send(keeper, held.fields, other)
    instance = held.fields["instance"]
    assert keeper.signal(instance, signal.SIGTERM)["alive"], "kept for the process that may come"
    assert keeper.signal(instance, signal.SIGKILL)["alive"]
    assert keeper.client is not None
    assert keeper.client.event("exited")["instance"] == instance
    pid = keeper.client.request("spawn", **other)["pid"]
    assert sleepers(keeper) == {pid}


def test_many_that_are_asked_for_in_one_breath_run_once_each(keeper: KeeperNode) -> None:
    requests = [keeper.spawn_fields(*SLEEP, slot=f"x-{number}") for number in range(100)]
    assert keeper.client is not None
    keeper.client.send_at_once(*(("spawn", fields) for fields in requests + requests))
    pids = {keeper.client.request("spawn", **fields)["pid"] for fields in requests}
    assert len(pids) == 100
    assert sleepers(keeper) == pids
    assert {manifest.pid for manifest in book_on_disk(keeper.directory).values()} == pids


def test_an_exit_that_comes_while_its_starter_is_busy_is_told_with_its_code(keeper: KeeperNode) -> None:
    held = Held(keeper, *SLEEP)
    send(keeper, keeper.spawn_fields("/bin/sh", "-c", "exit 7", slot="y-1"), held.fields)
    eventually("it has run", lambda: rows(keeper)["y-1"]["pid"])
    output = held.release()
    try:
        assert keeper.client is not None
        assert keeper.client.event("exited")["exit"] == {"code": 7}
    finally:
        os.close(output)


def test_a_program_without_a_slash_is_looked_for_in_the_path_of_the_process(keeper: KeeperNode) -> None:
    place = keeper.home / "bin"
    place.mkdir()
    (place / "tell").write_text("#!/bin/sh\necho told\n")
    (place / "tell").chmod(0o700)
    assert keeper.spawn("tell", slot="x-1")["error"] == "tell: No such file or directory"
    answer = keeper.spawn("tell", slot="x-2", environment={"PATH": f"/no/such/place:{place}"})
    assert keeper.client is not None
    assert keeper.client.event("exited")["exit"] == {"code": 0}
    assert keeper.log(answer["instance"]) == "told\n"


def test_the_processes_of_a_keeper_of_grange_0_1_0_are_adopted(keeper: KeeperNode) -> None:
    """It had a file for each manifest; its processes live on when grange is replaced by a newer one."""
    answer = keeper.spawn(*SLEEP)
    keeper.kill_keeper()
    manifest = book_on_disk(keeper.directory)["x-1"]
    (keeper.directory / "manifests.jsonl").unlink()
    former = keeper.directory / "manifests"
    former.mkdir()
    (former / "x-1.json").write_text(json.dumps(manifest.row()))
    (former / "y-1.json").write_text('{"slot": ')
    client = keeper.start()
    [row] = client.request("list")["processes"]
    assert (row["pid"], row["exit"]) == (answer["pid"], None)
    assert keeper.manifest("x-1")["pid"] == answer["pid"]
    assert not former.exists()
    assert "manifests/y-1.json is left out" in (keeper.directory / "keeper.log").read_text()


@pytest.mark.parametrize("torn", ["", '{"manifest": {"slot": "y-1", "inst'])
def test_the_book_is_added_to_when_it_cannot_be_written_anew(keeper: KeeperNode, torn: str) -> None:
    first = keeper.spawn(*SLEEP)
    keeper.kill_keeper()
    book: Path = keeper.directory / "manifests.jsonl"
    with open(book, "a") as file:
        file.write(torn)
    in_the_way = keeper.directory / "manifests.jsonl.new"
    in_the_way.mkdir()
    client = keeper.start()
    second = keeper.spawn(*SLEEP, slot="x-2")
    assert second["ok"]
    in_the_way.rmdir()
    assert torn in book.read_text()
    keeper.kill_keeper()
    client = keeper.start()
    assert {row["pid"] for row in client.request("list")["processes"]} == {first["pid"], second["pid"]}
    assert manifest_line(book_on_disk(keeper.directory)["x-2"]) in book.read_text()
