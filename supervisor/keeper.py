"""The keeper: the small program on a node that is the parent of the node's agent and processes.

    python -I -S keeper.py NODE_DIRECTORY

It spawns, signals and reaps, and does nothing else; what it may do is decided in `core/keeping.py`. It needs the
standard library alone and has one thread and one loop, so that it lives for months. This file answers requests; its
other parts, loaded by path, are `keeper_loop.py`, `keeper_journal.py` (the book on disk), `keeper_processes.py` (from a
request to a process, by way of `keeper_starter.py` or `keeper_forks.py`), `keeper_ends.py` (from a process to its
exit), `keeper_agent.py` and `keeper_kernel.py` (what the kernel tells and does). The keeper is a child subreaper:
whatever a process leaves behind becomes its child. It restarts its agent with a growing delay. Its own death loses
nothing: processes, agent and sockets live on, the agent starts a new keeper, and that one adopts them all by what is in
the node directory:

    node.json            written by the launcher: who this node is; `agent_command` may replace the agent's program
    keeper.lock          locked by the one keeper of the node; a second one exits with code 75
    keeper.json          the incarnations seen and allotted, the agent's identity
    manifests.jsonl      the book: a manifest for each process, on disk before the process exists, and what became of it
    locks/SLOT.lock      locked by the process and its descendants; spawning needs the lock
    keeper.sock          requests and events, below
    actor.sock           listened on here, accepted by the agent that inherits it
    notify.sock          sd_notify datagrams: drained at once, forwarded as events

**Spawning.** All manifests of a turn of the loop are put on disk with one flush, then the processes are started, and
the identity of each is noted at once. **Ending.** What an ended process has left behind is killed before it is reaped
and its exit told. **Signals.** SIGTERM ends the keeper only when no process is alive.

**A full disk** ends nothing. What has to be on disk before something is done (a manifest before its process, risen
incarnations before a request that carries them) makes that request refused with the reason; all else stays in memory
and is written when that is possible again. A keeper can start, and adopt, when it can read but not write.

**Requests**: one JSON object a line, `{"op": …, "id": n, …}`, answered by `{"id": n, "ok": true, …}` or `{"id": n,
"ok": false, "error": "…"}`, with `"fenced": true` when the sender was replaced. `fence` is the list of incarnations
from the root down to the agent. Fields and types are in `core/keeping.py`.

    hello   the agent introduces itself by its incarnation; from now on it gets events
            -> parents (the highest incarnations seen), processes (all manifests)
    spawn   start a process in a slot; the same instance again is answered, not started. With `options` it gets
            limits, processors and priority, and may be forked from a template instead of executed
            -> pid; `"failed": true` when the program could not be executed or an option not be set
    signal  a signal for one process or its whole group -> alive
    note    replace the agent's note in a manifest
    forget  acknowledge an exit: the manifest is removed
    fence   note the highest incarnations of those above the agent
    list    -> processes
    ping    is the keeper there? -> nothing more; so the keeper knows, too, that the agent is
    end     when no process is alive: agent and keeper end, sockets and manifests are removed

**Events**: `{"event": "exited", "instance", "slot", "pid", "exit", "left"}` (`left` are process ids that could not be
killed) and `{"event": "notify", "instance", "fields"}`.
"""

import contextlib
import ctypes
import importlib.util
import json
import os
import selectors
import signal
import socket
import struct
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grange.core import keeping

    from . import keeper_agent as agents
    from . import keeper_kernel as kernel
    from .keeper_journal import Journal
    from .keeper_loop import Loop
    from .keeper_processes import Processes
else:

    def _load(*parts: str) -> ModuleType:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), *parts)
        name = parts[-1].removesuffix(".py")
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    # Each finds those before it by their names.
    keeping = _load("..", "core", "keeping.py")
    kernel = _load("keeper_kernel.py")
    Loop = _load("keeper_loop.py").Loop
    Journal = _load("keeper_journal.py").Journal
    agents = _load("keeper_agent.py")
    _load("keeper_forks.py")
    _load("keeper_starter.py")
    _load("keeper_ends.py")
    Processes = _load("keeper_processes.py").Processes

EXIT_TAKEN = 75  # EX_TEMPFAIL: another keeper has this node
PR_SET_CHILD_SUBREAPER = 36
READ_BYTES = 256 * 1024  # at a time from a client: as much as its socket holds
BACKLOG_BYTES_MAX = 16 * 1024 * 1024  # unread by a client, which is then dropped
DATAGRAMS_PER_TURN = 256
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


@dataclass(eq=False)
class Client:
    """One connection on the keeper's socket."""

    socket: socket.socket
    unread: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    wants_events: bool = False


class Keeper:
    """What clients ask for, and all that it takes."""

    def __init__(self, directory: str) -> None:
        self.loop = Loop(directory)
        self.book = keeping.Book()
        self.clients: set[Client] = set()
        self.journal = Journal(self.loop, self.book)
        self.processes = Processes(self.loop, self.book, self.journal, self._tell, lambda: self.agent.pid)
        with open(self.loop.path("node.json")) as file:
            node: dict[str, Any] = json.load(file)
        self.agent = agents.Agent(self.loop, self.book, node, self.processes.boot_id, self._on_agent_end)
        self.ended = False

    def run(self) -> None:
        """Until the end is asked for and nothing is alive."""
        for name in ("locks", "logs"):
            os.makedirs(self.loop.path(name), mode=0o700, exist_ok=True)
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._catch_signals()
        self.agent.open_sockets()
        self.loop.watch(self.agent.notify, self._on_notify)
        self.listener = agents.bind(self.loop.path("keeper.sock"), socket.SOCK_STREAM)
        self.listener.listen(16)
        self.loop.watch(self.listener, self._on_connect)
        state = self.agent.read_state()
        self.journal.read()
        self.processes.adopt()
        self.agent.adopt(state)
        self.agent.look()
        while not self.ended:
            self.loop.turn()
        self._clean_up()

    def _catch_signals(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = (reader, writer)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self.loop.watch(reader, self._on_signals)

    def _on_signals(self) -> None:
        numbers = set(self._wakeup[0].recv(4096))
        if signal.SIGTERM in numbers:
            try:
                self.book.check_end()
            except keeping.RequestError as error:
                kernel.say(f"SIGTERM is ignored: {error}")
            else:
                kernel.say("SIGTERM with no process alive: ending")
                self.agent.end(grace_s=0.0)
        self.processes.ends.reap_orphans()

    # -- clients --

    def _on_connect(self) -> None:
        connection, _ = self.listener.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] != os.getuid():
            connection.close()
            return
        connection.setblocking(False)
        client = Client(connection)
        self.clients.add(client)
        self.loop.watch_both(connection, lambda mask: self._on_client(client, mask))

    def _on_client(self, client: Client, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(client)
        if not mask & selectors.EVENT_READ or client not in self.clients:
            return
        try:
            data = client.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.unread += data
        if not data or len(client.unread) > keeping.LINE_BYTES_MAX:
            self._drop(client)
            return
        while (end := client.unread.find(b"\n")) >= 0:
            line = bytes(client.unread[:end])
            del client.unread[: end + 1]
            self._serve(client, line)

    def _drop(self, client: Client) -> None:
        if client in self.clients:
            self.clients.discard(client)
            self.loop.unwatch(client.socket)
            client.socket.close()

    def _send(self, client: Client, message: dict[str, Any]) -> None:
        if client in self.clients:
            if not client.unsent:
                self.loop.soon(lambda: self._flush(client))  # all answers of a turn together
            client.unsent += json.dumps(message).encode() + b"\n"

    def _flush(self, client: Client) -> None:
        if client not in self.clients:
            return
        try:
            while client.unsent:
                del client.unsent[: client.socket.send(client.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if len(client.unsent) > BACKLOG_BYTES_MAX:
            kernel.say("a client does not read: dropped")
            self._drop(client)
            return
        self.loop.want_room(client.socket, bool(client.unsent))

    def _tell(self, event: dict[str, Any]) -> None:
        for client in [client for client in self.clients if client.wants_events]:
            self._send(client, event)

    def _serve(self, client: Client, line: bytes) -> None:
        number = None
        try:
            request = keeping.parse_line(line)
            number = request.get("id")
            keeping.check_request(request)
            answer = getattr(self, f"_do_{request['op']}")(client, request)
        except keeping.RequestError as error:
            answer = {"ok": False, "error": str(error), "fenced": isinstance(error, keeping.Fenced)}
        except OSError as error:
            kernel.say(f"{line[:200]!r}: {error}")
            answer = {"ok": False, "error": f"the keeper could not: {error}"}
        if answer is not None:
            self._send(client, {"id": number, "ok": True} | answer)

    # -- requests: each returns its answer, or None when that comes later --

    def _do_hello(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self.book.check_agent(request["incarnation"])
        for other in list(self.clients):
            if other is not client and other.wants_events:
                self._drop(other)  # a new connection replaces the old one
        client.wants_events = True
        return self._do_list(client, request) | {"parents": list(self.book.parents), "keeper_pid": os.getpid()}

    def _do_list(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        return {"processes": [manifest.row() for manifest in self.book.manifests.values()]}

    def _do_ping(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        if client.wants_events:
            self.agent.pinged()
        return {}

    def _check_fence(self, request: dict[str, Any]) -> None:
        if not self.book.check_fence(request["fence"]):
            return
        risen = tuple(request["fence"][:-1])
        try:
            self.agent.save_state(risen)
        except OSError as error:
            raise keeping.RequestError(
                f"the incarnations {list(risen)} of a new controller cannot be saved, so its order is not carried out: "
                f"{error.strerror}; make room on the disk of {self.loop.directory}"
            ) from None
        self.book.parents = risen

    def _do_fence(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self._check_fence(request)
        return {"parents": list(self.book.parents)}

    def _do_spawn(self, client: Client, request: dict[str, Any]) -> dict[str, Any] | None:
        self._check_fence(request)
        number = request.get("id")
        return self.processes.spawn(request, lambda answer: self._send(client, {"id": number, "ok": True} | answer))

    def _do_signal(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self._check_fence(request)
        return {"alive": self.processes.signal(request["instance"], request["signal"], request["group"])}

    def _do_note(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        manifest = self.book.by_instance(request["instance"])
        manifest.note = request["note"]
        self.journal.note(manifest, "note")
        return {}

    def _do_forget(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self.journal.forget(self.book.forget(request["instance"]).slot)
        return {}

    def _do_end(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self._check_fence(request)
        self.book.check_end()
        self.agent.end(grace_s=agents.AGENT_END_S)
        return {}

    # -- notifications --

    def _on_notify(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                data, ancillary, _, _ = self.agent.notify.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return
            credentials = [item for level, kind, item in ancillary if kind == socket.SCM_CREDENTIALS]
            if not credentials:
                continue
            process = self.processes.sender(_CREDENTIALS.unpack(credentials[0][: _CREDENTIALS.size])[0])
            if process is not None:
                self._note_notification(process.manifest, keeping.parse_notification(data))

    def _note_notification(self, manifest: "keeping.Manifest", fields: dict[str, str]) -> None:
        wanted = {name: value for name, value in fields.items() if name in ("READY", "WATCHDOG", "STATUS")}
        if wanted.get("READY") == "1" and not manifest.ready:
            manifest.ready = True
            self.journal.note(manifest, "ready")  # a later keeper and agent must know: it is said once
        manifest.status = wanted.get("STATUS", manifest.status)
        if wanted:
            self._tell({"event": "notify", "instance": manifest.instance, "fields": wanted})

    # -- the end of the keeper --

    def _on_agent_end(self) -> None:
        self.ended = True

    def _clean_up(self) -> None:
        """Leave nothing but logs and the incarnations, which must go on rising."""
        self.processes.forks.close()
        self.agent.forget()
        self.journal.remove()
        paths = [self.loop.path(name) for name in ("keeper.sock", "actor.sock", "notify.sock")]
        locks = self.loop.path("locks")
        paths += [os.path.join(locks, name) for name in os.listdir(locks)]
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(locks)
        kernel.say("ended: nothing is left")


def lock_node(directory: str) -> int | None:
    """The lock that admits one keeper; None when another has it. Its file may be removed by one that ends meanwhile."""
    path = os.path.join(directory, "keeper.lock")
    while True:
        descriptor = kernel.try_lock(path)
        if descriptor is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: keeper.py NODE_DIRECTORY\n")
        return os.EX_USAGE
    directory = os.path.abspath(arguments[0])
    given = {int(word) for word in os.environ.get("GRANGE_KEEPER_SOCKETS", "").split(",") if word}
    for descriptor in given:
        os.set_inheritable(descriptor, False)
    lock = lock_node(directory)
    # Nothing that a launcher has left open goes on to the processes. A launcher may count on it: a pipe that it leaves
    # open is closed when it is decided which keeper has the node.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in given | {lock}:
            with contextlib.suppress(OSError):
                os.close(int(name))
    if lock is None:
        sys.stderr.write(f"another keeper has {directory}: this one ends\n")
        return EXIT_TAKEN
    with contextlib.suppress(OSError):  # a full disk; the number is for people
        written = os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)  # over the former one, whose space is there
        os.ftruncate(lock, written)
    try:
        Keeper(directory).run()
    except keeping.RequestError as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_CONFIG
    os.unlink(os.path.join(directory, "keeper.lock"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
