"""A small agent for the tests of actor processes: it listens, orders, and keeps all that it hears."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grange.core.names import Command, State
from grange.core.plan import DataLink
from grange.proto import actor_pb2
from grange.proto.framing import Unframer, frame
from grange.proto.words import to_wire

LIMIT_S = 30.0
"""How long a test waits for what must come; never reached when all is well."""


class FakeAgent:
    """The node's end of one actor's link, and the actor process itself."""

    def __init__(self, directory: Path, member: str) -> None:
        self.directory = directory
        self.member = member
        self.nonce = f"nonce of {member}"
        self.socket_path = directory / f"{member.replace('/', '.')}.agent"
        self.acknowledges = True
        self.heard: list[actor_pb2.FromActor] = []
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self.process: subprocess.Popen[str] | None = None

    def listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.socket_path))
        self._listener.listen()
        self._run(self._accept, self._listener)

    def go_away(self) -> None:
        """As if the agent had died: the listening socket and the connection are gone."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self.socket_path.unlink()
        with self._changed:
            connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):  # the actor was faster
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT_S)
        self._threads.clear()

    def spawn(self, actor: str) -> subprocess.Popen[str]:
        """Start a Python actor as an agent does."""
        return self.spawn_program([sys.executable, "-P", "-m", "grange.actors.run", actor])

    def spawn_program(self, command: list[str]) -> subprocess.Popen[str]:
        """Start an actor of any language as an agent does."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent),
            "GRANGE_ACTOR_SOCKET": str(self.socket_path),
            "GRANGE_NONCE": self.nonce,
            "GRANGE_MEMBER": self.member,
            "GRANGE_FARM": "test",
            "GRANGE_EXCHANGE_DIRECTORY": str(self.directory / "x"),
            "GRANGE_DATA_DIRECTORY": str(self.directory / "data"),
            "GRANGE_CACHE_DIRECTORY": str(self.directory / "cache"),
            "GRANGE_HEARTBEAT_TIMEOUT_S": "0.5",
        }
        for name in ("x", "data", "cache"):
            (self.directory / name).mkdir(exist_ok=True)
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        return self.process

    def send(self, message: actor_pb2.ToActor) -> None:
        with self._changed:
            assert self._connection is not None, "the actor is not connected"
            self._connection.sendall(frame(message))

    def order(self, command: Command, command_id: str = "", remaining_s: float = 20.0, **fields: Any) -> str:
        """Send an order; its id."""
        command_id = command_id or f"c{next(self._ids)}"
        order = actor_pb2.ActorOrder(
            command_id=command_id,
            command=to_wire(command),
            remaining_s=remaining_s,
            run_number=fields.get("run_number", 0),
        )
        order.parameters.update(fields.get("parameters", {}))
        for name in ("inputs", "outputs"):
            links: tuple[DataLink, ...] = fields.get(name, ())
            for link in links:
                getattr(order, name).add(role=link.role, peers=link.peers)
        self.send(actor_pb2.ToActor(order=order))
        return command_id

    def do(self, command: Command, **fields: Any) -> actor_pb2.ActorAnswer:
        """Send an order and wait for its answer."""
        return self.answer(self.order(command, **fields))

    def bring_to(self, state: State, **fields: Any) -> None:
        """Take a booted actor to `state`, and demand that every step succeeds."""
        steps = {
            State.LOADED: [Command.LOAD],
            State.CONFIGURED: [Command.LOAD, Command.CONFIGURE],
            State.TAKING: [Command.LOAD, Command.CONFIGURE, Command.START],
        }
        for step in steps[state]:
            answer = self.do(step, **{"run_number": 1, **fields})
            assert answer.ok, answer.reason

    def answer(self, command_id: str, repetitions: int = 1) -> actor_pb2.ActorAnswer:
        """The answer to an order, when it has come so many times."""

        def answers() -> list[actor_pb2.ActorAnswer]:
            return [message.answer for message in self.heard if message.answer.command_id == command_id]

        self.wait_for(lambda: len(answers()) >= repetitions, f"answer to {command_id}")
        return answers()[-1]

    def hellos(self, number: int = 1) -> list[actor_pb2.ActorHello]:
        """All hellos, when there are at least so many."""
        self.wait_for(lambda: len(self._of("hello")) >= number, f"{number} hellos")
        return self._of("hello")

    def notes(self) -> list[actor_pb2.ActorNote]:
        return self._of("note")

    def beats(self) -> list[actor_pb2.ActorHeartbeat]:
        return self._of("heartbeat")

    def next_beat(self, condition: Callable[[actor_pb2.ActorHeartbeat], bool]) -> actor_pb2.ActorHeartbeat:
        """The first heartbeat from now on that meets the condition."""
        known = len(self.beats())
        self.wait_for(lambda: any(map(condition, self.beats()[known:])), "a heartbeat like that")
        return next(beat for beat in self.beats()[known:] if condition(beat))

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT_S), f"{self.member}: no {what}; heard {self.heard[-10:]}"

    def terminate(self) -> tuple[int, str]:
        """SIGTERM; the exit code and what the process wrote."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """The exit code and what the process wrote, when it has ended."""
        assert self.process is not None
        _, text = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, text

    def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            self.process.communicate()
        self.go_away()

    def _of(self, body: str) -> list[Any]:
        return [getattr(message, body) for message in list(self.heard) if message.WhichOneof("body") == body]

    def _run(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(argument,))
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._run(self._read, connection)

    def _read(self, connection: socket.socket) -> None:
        unframer = Unframer()
        with connection:
            while data := self._receive(connection):
                for body in unframer.feed(data):
                    self._hear(connection, actor_pb2.FromActor.FromString(body))

    def _receive(self, connection: socket.socket) -> bytes:
        try:
            return connection.recv(1 << 16)
        except OSError:
            return b""

    def _hear(self, connection: socket.socket, message: actor_pb2.FromActor) -> None:
        with self._changed:
            self.heard.append(message)
            if message.WhichOneof("body") == "hello":
                self._connection = connection
            if message.sequence and self.acknowledges:
                acknowledge = actor_pb2.ActorAcknowledge(sequence=message.sequence)
                try:
                    connection.sendall(frame(actor_pb2.ToActor(acknowledge=acknowledge)))
                except OSError:
                    pass
            self._changed.notify_all()


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory with a path short enough for Unix sockets; what a test leaves in `x` or as a socket is a failure."""
    directory = Path(tempfile.mkdtemp(prefix="ga-"))
    yield directory
    left = [path.name for path in directory.rglob("*") if path.is_socket()]
    shutil.rmtree(directory)
    assert not left, f"sockets left behind: {left}"


@pytest.fixture
def agents(short_directory: Path) -> Iterator[Callable[[str], FakeAgent]]:
    """Makes agents by the member path of their actor; all of them and their processes end with the test."""
    made: list[FakeAgent] = []

    def make(member: str) -> FakeAgent:
        agent = FakeAgent(short_directory, member)
        made.append(agent)
        agent.listen()
        return agent

    yield make
    for agent in made:
        agent.close()


@pytest.fixture
def agent(agents: Callable[[str], FakeAgent]) -> FakeAgent:
    """One agent, listening; its actor is not spawned yet."""
    return agents("sf01/n1/psa-1")
