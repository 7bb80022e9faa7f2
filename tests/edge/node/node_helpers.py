"""A node for tests: a real keeper, with a real agent and a parent for it, or with nobody beside the test itself.

`close()` brings the node to its proper end, with a new keeper if a test has killed the last one, and then looks whether
anything is left of it: processes are recognised by the node's directory in their command, environment or place.
"""

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio

from grange.core.keeping import Manifest, replay
from grange.core.node import NodeSettings
from grange.launch.local import KEEPER_PROGRAM, LocalLauncher
from grange.proto import actor_pb2, common_pb2, tree_pb2, tree_pb2_grpc
from grange.proto.framing import Unframer, frame
from grange.proto.gate import Gate, LoginServer

LIMIT_S = 20.0  # for what must come; never reached when all is well
POLL_S = 0.01
NODE = "sf01/n1"


def eventually(what: str, condition: Callable[[], Any]) -> Any:
    """The condition's value, once it is true; fails when it does not come true within `LIMIT_S`."""
    give_up = time.monotonic() + LIMIT_S
    while not (value := condition()):
        assert time.monotonic() < give_up, f"waited {LIMIT_S:g} s in vain: {what}"
        time.sleep(POLL_S)
    return value


def exists(pid: int) -> bool:
    """Whether a process is there; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_of(directory: Path) -> dict[int, str]:
    """All living processes that have to do with a directory, with their commands."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and exists(int(entry.name)):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                traces = command + (entry / "environ").read_bytes() + os.fsencode(os.readlink(entry / "cwd"))
                if os.fsencode(directory) in traces:
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def book_on_disk(directory: Path) -> dict[str, Manifest]:
    """The manifests of a node's directory, by slot."""
    manifests, problems = replay((directory / "manifests.jsonl").read_text())
    assert problems == []
    return manifests


class Client:
    """What an agent says to its keeper, one request after the other."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._unread = bytearray()
        self._number = 0
        self.events: deque[dict[str, Any]] = deque()

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.sendall(json.dumps({"op": op, "id": self._number} | fields).encode() + b"\n")
        while "event" in (message := self._read()) or message["id"] == 0:
            if "event" in message:
                self.events.append(message)
        assert message["id"] == self._number
        return message

    def send_at_once(self, *requests: tuple[str, dict[str, Any]]) -> None:
        """Several requests in one breath, whose answers are left out."""
        lines = (json.dumps({"op": op, "id": 0} | fields).encode() + b"\n" for op, fields in requests)
        self._socket.sendall(b"".join(lines))

    def event(self, name: str) -> dict[str, Any]:
        """The next event of this name; earlier ones of other names are left out."""
        while True:
            event = self.events.popleft() if self.events else self._read()
            if event.get("event") == name:
                return event

    def _read(self) -> dict[str, Any]:
        while (end := self._unread.find(b"\n")) < 0:
            assert select.select([self._socket], [], [], LIMIT_S)[0], "the keeper says nothing"
            data = self._socket.recv(1 << 16)
            assert data, "the keeper has closed the connection"
            self._unread += data
        message: dict[str, Any] = json.loads(self._unread[:end])
        del self._unread[: end + 1]
        return message

    def close(self) -> None:
        self._socket.close()


class KeeperNode:
    """A keeper whose agent does nothing, so that the test can be the agent."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="gnode-"))
        self.directory = self.home / "n"
        self.directory.mkdir()
        settings = self.settings(agent_command=("/bin/sh", "-c", "exec sleep 1000"))
        (self.directory / "node.json").write_text(settings.to_json())
        self.keeper: subprocess.Popen[bytes] | None = None
        self.client: Client | None = None
        self._spawned = 0

    def settings(self, **more: Any) -> NodeSettings:
        home = str(self.home)
        return NodeSettings(
            NODE, "demo", f"unix:{home}/p.sock", home, sys.executable, f"{home}/x", f"{home}/d", f"{home}/c", **more
        )

    def popen(self) -> "subprocess.Popen[bytes]":
        with open(self.directory / "keeper.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER_PROGRAM), str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> Client:
        """Start a keeper and introduce the test as its agent."""
        self.keeper = self.popen()
        self.client = self.connect()
        return self.client

    def connect(self) -> Client:
        def dial() -> Client | None:
            with contextlib.suppress(OSError):
                return Client(self.directory / "keeper.sock")
            return None

        client: Client = eventually("the keeper answers", dial)
        eventually("the agent is there", lambda: self.state()["agent_pid"])
        assert client.request("hello", incarnation=self.state()["agent"])["ok"]
        return client

    def state(self) -> dict[str, Any]:
        path = self.directory / "keeper.json"
        document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"agent_pid": 0}
        return document

    def manifest(self, slot: str) -> dict[str, Any]:
        return book_on_disk(self.directory)[slot].row()

    def log(self, instance: str) -> str:
        return (self.directory / "logs" / f"{instance}.log").read_text()

    def fence(self) -> list[int]:
        state = self.state()
        return [*state["parents"], state["agent"]]

    def spawn(self, *argv: str, slot: str = "x-1", **more: Any) -> dict[str, Any]:
        """Ask for a process; the answer, with the instance added."""
        assert self.client is not None
        fields = self.spawn_fields(*argv, slot=slot, **more)
        return self.client.request("spawn", **fields) | {"instance": fields["instance"]}

    def spawn_fields(self, *argv: str, slot: str = "x-1", **more: Any) -> dict[str, Any]:
        self._spawned += 1
        instance = f"{slot}.1.{self._spawned}"
        fields: dict[str, Any] = {
            "instance": instance,
            "slot": slot,
            "nonce": f"nonce-{self.home.name}-{instance}",
            "argv": list(argv),
            "environment": {},
            "working_directory": str(self.directory),
            "log": str(self.directory / "logs" / f"{instance}.log"),
            "note": {},
            "fence": self.fence(),
        }
        return fields | more

    def signal(self, instance: str, number: int, group: bool = True) -> dict[str, Any]:
        assert self.client is not None
        return self.client.request("signal", instance=instance, signal=number, group=group, fence=self.fence())

    def kill_keeper(self) -> None:
        """As hard as it gets."""
        assert self.keeper is not None
        assert self.client is not None
        self.keeper.kill()
        self.keeper.wait()
        self.client.close()

    def close(self) -> None:
        """End all that runs, then the keeper, and look whether anything is left."""
        if self.client is not None:
            self.client.close()
        if self.keeper is not None:
            if self.keeper.poll() is None:
                self.client = self.connect()
            elif (self.directory / "keeper.sock").exists():
                self.start()
            if self.keeper.poll() is None:
                self._end()
        left = processes_of(self.home)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        sockets = [path.name for path in self.home.rglob("*") if path.is_socket()]
        log = self.directory / "keeper.log"
        said = log.read_text() if log.exists() else ""
        shutil.rmtree(self.home)
        assert not left, said
        assert not sockets, said

    def _end(self) -> None:
        assert self.client is not None
        assert self.keeper is not None
        for row in self.client.request("list")["processes"]:
            if row["exit"] is None and self.signal(row["instance"], signal.SIGKILL)["alive"]:
                self.client.event("exited")
        assert self.client.request("end", fence=self.fence())["ok"]
        os.kill(self.state()["agent_pid"], signal.SIGKILL)
        assert self.keeper.wait(LIMIT_S) == 0
        self.client.close()


class Parent(tree_pb2_grpc.TreeServicer):
    """A sub-farm controller as far as an agent can tell: it welcomes, orders and keeps what it hears."""

    def __init__(self, fence: tuple[int, ...] = (1, 1)) -> None:
        self.fence = fence
        self.sequence = 0
        self.hellos: list[tree_pb2.Hello] = []
        self.rows: dict[str, tree_pb2.ProcessReport] = {}
        self.snapshots = 0
        self.notes: list[tree_pb2.Note] = []
        self.fenced: list[tree_pb2.Fenced] = []
        self.chunks: list[tree_pb2.LogChunk] = []
        self._context: Any = None
        self._changed = asyncio.Condition()

    async def Attach(self, messages: Any, context: Any) -> None:
        async for message in messages:
            match message.WhichOneof("body"):
                case "hello":
                    self.hellos.append(message.hello)
                    await context.write(tree_pb2.ToChild(welcome=tree_pb2.Welcome(fence=self.fence, farm="demo")))
                    self._context = context
                case "processes":
                    if message.processes.snapshot:
                        self.rows = {}
                        self.snapshots += 1
                    self.rows |= {row.path: row for row in message.processes.reports}
                case "log":
                    self.chunks.append(message.log)
                case "notes":
                    self.notes += message.notes.notes
                case "fenced":
                    self.fenced.append(message.fenced)
            async with self._changed:
                self._changed.notify_all()

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(LIMIT_S), self._changed:
            await self._changed.wait_for(condition)
        return condition()

    async def send(self, message: tree_pb2.ToChild) -> None:
        await self._context.write(message)

    def present_fence(self) -> tree_pb2.Fence:
        self.sequence += 1
        return tree_pb2.Fence(incarnations=self.fence, sequence=self.sequence)

    async def order(self, order_id: str, path: str, command: str, **more: Any) -> None:
        """Send an order and wait for nothing; `command` is boot, load, …"""
        order = tree_pb2.ProcessOrder(order_id=order_id, path=path, **({"limit_s": LIMIT_S} | more))
        order.command = common_pb2.Command.Value(f"COMMAND_{command.upper()}")
        await self.send(tree_pb2.ToChild(orders=tree_pb2.Orders(fence=self.present_fence(), orders=[order])))

    async def carry_out(self, order_id: str, path: str, command: str, **more: Any) -> tree_pb2.ProcessReport:
        """Send an order and wait until it is done; the row that says so."""
        await self.order(order_id, path, command, **more)
        return await self.done(order_id, path)

    async def done(self, order_id: str, path: str) -> tree_pb2.ProcessReport:
        await self.until(lambda: self.rows.get(path) and self.rows[path].order_id == order_id)
        return await self.row(path, lambda row: row.order_id == order_id and row.order_done)

    async def row(self, path: str, condition: Callable[[tree_pb2.ProcessReport], bool]) -> tree_pb2.ProcessReport:
        await self.until(lambda: path in self.rows and condition(self.rows[path]))
        return self.rows[path]


def state_of(row: tree_pb2.ProcessReport) -> str:
    return common_pb2.State.Name(row.state).removeprefix("STATE_").lower()


def kind_of(row: tree_pb2.ProcessReport) -> str:
    return tree_pb2.FailureKind.Name(row.failure.kind).removeprefix("FAILURE_").lower()


class AgentNode:
    """A keeper with its agent, launched as a farm does it, and a parent that the test speaks through."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="gnode-"))
        self.directory = self.home / "n"
        self.launcher = LocalLauncher()
        self.parent = Parent()
        self.orphan_timeout_s: float | None = None
        self._server: grpc.aio.Server | None = None
        self._logins: LoginServer | None = None

    def settings(self) -> NodeSettings:
        home = str(self.home)
        directories = (f"{home}/x", f"{home}/d", f"{home}/c")
        parent = f"unix:{home}/p.sock"
        return NodeSettings(NODE, "demo", parent, home, sys.executable, *directories, self.orphan_timeout_s)

    async def serve(self, parent: Parent) -> None:
        """This parent is there from now on, in place of the one before."""
        await self.stop_serving()
        self.parent = parent
        self._server = grpc.aio.server()
        tree_pb2_grpc.add_TreeServicer_to_server(parent, self._server)
        self._server.add_insecure_port(f"unix:{self.home}/p.sock")
        self._logins = LoginServer(f"unix:{self.home}/p.sock", Gate())
        await self._logins.start()
        await self._server.start()

    async def stop_serving(self) -> None:
        if self._server is not None and self._logins is not None:
            await self._server.stop(0)
            await self._logins.stop()
            self._server = self._logins = None

    async def launch(self) -> None:
        await self.launcher.launch_keeper(NODE, str(self.directory), self.settings())

    async def start(self) -> Parent:
        await self.serve(self.parent)
        await self.launch()
        await self.parent.until(lambda: self.parent.snapshots)
        return self.parent

    def keeper_pid(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / "keeper.lock").read_text())
        return 0

    def agent_pid(self) -> int:
        document: dict[str, Any] = json.loads((self.directory / "keeper.json").read_text())
        return int(document["agent_pid"])

    def manifest(self, slot: str) -> dict[str, Any]:
        return book_on_disk(self.directory)[slot].row()

    def what_was_said(self) -> str:
        logs = (self.directory / name for name in ("keeper.log", "agent.log"))
        return "\n".join(log.read_text() for log in logs if log.exists())

    async def again(self, hellos: int) -> None:
        """Wait for an agent's next stream, with its snapshot."""
        await self.parent.until(lambda: len(self.parent.hellos) > hellos and self.parent.snapshots > hellos)

    async def close(self) -> None:
        """Shut everything down as a farm does, release the node, and look whether anything is left."""
        said = ""
        try:
            if self.keeper_pid():
                await self._release()
        finally:
            await self.stop_serving()
            await self.launcher.close()
            left = processes_of(self.home)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            said = self.what_was_said()
            sockets = [path.name for path in self.home.rglob("*") if path.is_socket()]
            shutil.rmtree(self.home)
        assert not left, f"{left}\n{said}"
        assert not sockets, f"{sockets}\n{said}"

    async def _release(self) -> None:
        for number, path in enumerate(sorted(self.parent.rows)):
            row = await self.parent.carry_out(f"close-{number}", path, "shutdown")
            assert state_of(row) == "initial", self.what_was_said()
        await self.parent.send(tree_pb2.ToChild(release=tree_pb2.Release(fence=self.parent.present_fence())))
        with contextlib.suppress(AssertionError):  # what is left is told in `close`
            await asyncio.to_thread(eventually, "the node ends", lambda: not processes_of(self.home))


class FakeActor:
    """The test as an actor: it speaks the actor link in the place of a process that only sleeps."""

    def __init__(self, node: AgentNode, slot: str, nonce: str | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(node.directory / "actor.sock"))
        self.nonce = node.manifest(slot)["nonce"] if nonce is None else nonce
        self._unframer = Unframer()
        self._heard: deque[actor_pb2.ToActor] = deque()

    def say(self, sequence: int = 0, **body: Any) -> None:
        self.socket.sendall(frame(actor_pb2.FromActor(sequence=sequence, **body)))

    def hello(self, state: str = "booted", last_command_id: str = "", contract_version: int = 1) -> None:
        hello = actor_pb2.ActorHello(
            contract_version=contract_version,
            nonce=self.nonce,
            state=common_pb2.State.Value(f"STATE_{state.upper()}"),
            last_command_id=last_command_id,
        )
        self.say(hello=hello)

    def beat(self, state: str, status: str = "") -> None:
        state_value = common_pb2.State.Value(f"STATE_{state.upper()}")
        self.say(heartbeat=actor_pb2.ActorHeartbeat(state=state_value, status=status))

    def answer(self, sequence: int, command_id: str, state: str, ok: bool = True, reason: str = "") -> None:
        state_value = common_pb2.State.Value(f"STATE_{state.upper()}")
        answer = actor_pb2.ActorAnswer(command_id=command_id, ok=ok, reason=reason, state=state_value)
        self.say(sequence, answer=answer)

    async def hear(self, body: str) -> Any:
        """The next message of this kind; others before it are left out."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                while self._heard:
                    message = self._heard.popleft()
                    if message.WhichOneof("body") == body:
                        return getattr(message, body)
                data = await asyncio.to_thread(self._receive)
                assert data, "the agent has closed the link"
                self._heard += [actor_pb2.ToActor.FromString(part) for part in self._unframer.feed(data)]

    def _receive(self) -> bytes:
        assert select.select([self.socket], [], [], LIMIT_S)[0], "the agent says nothing"
        return self.socket.recv(1 << 16)

    async def until_closed(self) -> None:
        while await asyncio.to_thread(self._receive):
            pass

    def close(self) -> None:
        self.socket.close()


@contextlib.contextmanager
def keeper_node() -> Iterator[KeeperNode]:
    node = KeeperNode()
    try:
        node.start()
        yield node
    finally:
        node.close()
