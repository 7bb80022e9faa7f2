"""The keeper: the small program on a node that is the parent of the node's agent and processes.

    python -I -S keeper.py NODE_DIRECTORY

It spawns, signals and reaps, and does nothing else; what it may do is decided in `core/keeping.py`. It needs the
standard library alone, loads that file and two parts of its own by path (`keeper_kernel.py`: what the kernel tells and
does; `keeper_forks.py`: templates), and has one thread and one loop, so that it lives for months. It is a child
subreaper: whatever a process leaves behind becomes its child. It restarts its agent with a growing delay. Its own death
loses nothing: processes, agent and sockets live on, the agent starts a new keeper, and that one adopts them all by what
is in the node directory:

    node.json            written by the launcher: who this node is; `agent_command` may replace the agent's program
    keeper.lock          locked by the one keeper of the node; a second one exits with code 75
    keeper.json          the incarnations seen and allotted, the agent's identity
    manifests/SLOT.json  one for each process, on disk before the process executes its program
    locks/SLOT.lock      locked by the process and its descendants; spawning needs the lock
    keeper.sock          requests and events, below
    actor.sock           listened on here, accepted by the agent that inherits it
    notify.sock          sd_notify datagrams: drained at once, forwarded as events

**Spawning.** The forked child waits for a word from the keeper before it executes its program, and that word comes when
the manifest with the child's identity is on disk. **Ending.** When a process has ended it stays a zombie, which keeps
its group's number taken, until the rest of its group and all it has left behind (by session, nonce, slot lock) is
killed; only then is it reaped and its exit told. **Signals.** SIGTERM ends the keeper only when no process is alive.

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
    ping    is the keeper there? -> nothing more
    end     when no process is alive: agent and keeper end, sockets and manifests are removed

**Events**: `{"event": "exited", "instance", "slot", "pid", "exit", "left"}` (`left` are process ids that could not be
killed) and `{"event": "notify", "instance", "fields"}`.
"""

import contextlib
import ctypes
import heapq
import importlib.util
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grange.core import keeping

    from . import keeper_forks as forks
    from . import keeper_kernel as kernel
else:

    def _load(*parts: str) -> ModuleType:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), *parts)
        name = parts[-1].removesuffix(".py")
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    keeping = _load("..", "core", "keeping.py")
    kernel = _load("keeper_kernel.py")
    forks = _load("keeper_forks.py")

EXIT_TAKEN = 75  # EX_TEMPFAIL: another keeper has this node
PR_SET_CHILD_SUBREAPER = 36
CLEAR_LIMIT_S = 2.0  # to kill what an ended process has left behind
CLEAR_POLL_S = 0.01
FAULT_PAUSE_S = 0.05  # after an operation of the loop that failed: what made it fail comes again at once
SLOT_TERMINATE_S = 3.0  # what still holds a slot that is wanted: from TERM to KILL …
SLOT_KILL_S = 2.0  # … and from KILL to giving up
AGENT_END_S = 2.0  # after `end`: to end by itself, then as long again after SIGTERM
BACKLOG_BYTES_MAX = 16 * 1024 * 1024  # unread by a client, which is then dropped
DATAGRAMS_PER_TURN = 256
UNWANTED = "it was signalled before it could be started"
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


# ---- what the keeper has in hand ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Client:
    """One connection on the keeper's socket."""

    socket: socket.socket
    unread: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    wants_events: bool = False


@dataclass(eq=False)
class Running:
    """One process in hand, from the request to spawn it until its exit is told."""

    manifest: "keeping.Manifest"
    request: dict[str, Any] = field(default_factory=dict)
    pidfd: int = -1
    is_child: bool = True
    control: socket.socket | None = None  # until the program is executed
    fork: "forks.Fork | None" = None  # until a template has forked it
    failed: str = ""
    unwanted: bool = False  # signalled before it could be started
    held: int = 0  # a signal that came after the fork, but before the program was executed
    asked_by: list[tuple[Client, Any]] = field(default_factory=list)  # who waits for the answer to `spawn`


class Keeper:
    """The loop and all that it watches."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        with open(self.path("node.json")) as file:
            self.node: dict[str, Any] = json.load(file)
        self.boot_id = kernel.boot_id()
        self.book = keeping.Book()
        self.restarts = keeping.AgentRestarts()
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.timer_count = 0
        self.running: dict[str, Running] = {}  # by instance
        self.clients: set[Client] = set()
        self.forks = forks.Forks(self)
        self.complaints = kernel.Complaints()
        self.owed = kernel.Owed(self.after, self.complaints)
        self.agent_pid = 0
        self.agent_start_ticks = 0
        self.agent_pidfd = -1
        self.agent_since = 0.0
        self.actor_listener: socket.socket | None = None
        self.notify: socket.socket
        self.ending = False
        self.ended = False

    def path(self, *parts: str) -> str:
        return os.path.join(self.directory, *parts)

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self.timer_count += 1
        heapq.heappush(self.timers, (time.monotonic() + delay_s, self.timer_count, call))

    def watch(self, source: Any, call: Callable[[], None]) -> None:
        self.selector.register(source, selectors.EVENT_READ, lambda _: call())

    def unwatch(self, source: Any) -> None:
        self.selector.unregister(source)

    # -- the loop --

    def run(self) -> None:
        """Until the end is asked for and nothing is alive."""
        for name in ("manifests", "locks", "logs"):
            os.makedirs(self.path(name), mode=0o700, exist_ok=True)
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._catch_signals()
        self._open_sockets()
        self._adopt()
        while not self.ended:
            timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, mask in self.selector.select(timeout):
                if key.fd in self.selector.get_map():  # not closed by an earlier one of this turn
                    self._attempt(key.data, mask)
            while self.timers and self.timers[0][0] <= time.monotonic():
                self._attempt(heapq.heappop(self.timers)[2])
        self._clean_up()

    def _attempt(self, call: Callable[..., None], *arguments: Any) -> None:
        """Whatever the machine has run out of, the keeper goes on: what it watches over is worth more."""
        try:
            call(*arguments)
        except OSError as error:
            self.complaints.met("an operation failed", error)
            time.sleep(FAULT_PAUSE_S)

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
        self.watch(reader, self._on_signals)

    def _on_signals(self) -> None:
        numbers = set(self._wakeup[0].recv(4096))
        if signal.SIGTERM in numbers:
            try:
                self.book.check_end()
            except keeping.RequestError as error:
                kernel.say(f"SIGTERM is ignored: {error}")
            else:
                kernel.say("SIGTERM with no process alive: ending")
                self._end(grace_s=0.0)
        self._reap_orphans()

    def _open_sockets(self) -> None:
        # A new keeper that the agent has started inherits what the agent holds, so that nothing queued there is lost.
        given = os.environ.pop("GRANGE_KEEPER_SOCKETS", "")
        actor, _, notify = given.partition(",")
        if actor:
            self.actor_listener = socket.socket(fileno=int(actor))
        if notify:
            self.notify = socket.socket(fileno=int(notify))
        else:
            self.notify = self._bind("notify.sock", socket.SOCK_DGRAM)
        self.notify.setblocking(False)
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.watch(self.notify, self._on_notify)
        self.listener = self._bind("keeper.sock", socket.SOCK_STREAM)
        self.listener.listen(16)
        self.watch(self.listener, self._on_connect)

    def _bind(self, name: str, kind: socket.SocketKind) -> socket.socket:
        path = keeping.check_socket_path(self.path(name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        bound = socket.socket(socket.AF_UNIX, kind)
        bound.bind(path)
        os.chmod(path, 0o600)
        bound.setblocking(False)
        return bound

    # -- what was there before --

    def _adopt(self) -> None:
        state: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError), open(self.path("keeper.json")) as file:
            state = json.load(file)
        self.book.agent = state.get("agent", 0)
        self.book.parents = tuple(state.get("parents", ()))
        for name in sorted(os.listdir(self.path("manifests"))):
            if not name.endswith(".json"):
                continue
            try:
                with open(self.path("manifests", name)) as file:
                    manifest = keeping.Manifest.from_json(file.read())
            except keeping.RequestError as error:
                kernel.say(f"manifests/{name} is left out: {error}")
                continue
            self.book.manifests[manifest.slot] = manifest
            if manifest.alive:
                self._adopt_process(manifest)
        agent = state.get("agent_pid", 0)
        pidfd = self._open_identity(agent, state.get("agent_start_ticks", 0), state.get("boot_id", ""))
        if pidfd is None:
            self._start_agent()
        else:
            kernel.say(f"adopted agent {self.book.agent} (pid {agent})")
            self.agent_pid, self.agent_start_ticks = agent, state["agent_start_ticks"]
            self._watch_agent(pidfd)

    def _open_identity(self, pid: int, start_ticks: int, boot: str) -> int | None:
        """A pidfd of exactly this process; None when it is gone. First the pidfd, then the check: no race."""
        if pid <= 0 or boot != self.boot_id:
            return None
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        stat = kernel.read_stat(pid)
        if stat is None or stat.start_ticks != start_ticks or stat.is_zombie:
            os.close(pidfd)
            return None
        return pidfd

    def _adopt_process(self, manifest: "keeping.Manifest") -> None:
        pidfd = self._open_identity(manifest.pid, manifest.start_ticks, manifest.boot_id)
        start_ticks = None if pidfd is None else manifest.start_ticks
        exit_status = keeping.adopted(manifest, self.boot_id, start_ticks)
        process = Running(manifest, is_child=False)
        self.running[manifest.instance] = process
        if exit_status is not None or pidfd is None:
            self._clear(process, exit_status or {"unknown": ""}, time.monotonic() + CLEAR_LIMIT_S)
            return
        kernel.say(f"adopted {manifest.slot}, instance {manifest.instance} (pid {manifest.pid})")
        process.pidfd = pidfd
        self.watch(pidfd, lambda: self._on_exit(process))

    # -- the agent --

    def _state(self, parents: tuple[int, ...]) -> str:
        state = {
            "agent": self.book.agent,
            "parents": list(parents),
            "agent_pid": self.agent_pid,
            "agent_start_ticks": self.agent_start_ticks,
            "boot_id": self.boot_id,
        }
        return json.dumps(state, indent=1)

    def _start_agent(self) -> None:
        """Start the agent with the next incarnation, which is on disk before; tried for ever."""
        if self.ending:
            return
        what = "the agent cannot be started yet"
        try:
            self._try_agent()
        except OSError as error:
            self.complaints.met(what, error)
            if self.agent_pidfd < 0:
                self.after(self.restarts.ended(0.0), self._start_agent)
        else:
            self.complaints.over(what)

    def _try_agent(self) -> None:
        if self.actor_listener is None:
            self.actor_listener = self._bind("actor.sock", socket.SOCK_STREAM)
            self.actor_listener.listen(512)
        incarnation = self.book.allot_agent()
        self.agent_pid = 0
        try:
            kernel.save(self.path("keeper.json"), self._state(self.book.parents))
        except OSError:
            self.book.agent -= 1  # nobody has it
            raise
        self.owed.cancel(self.path("keeper.json"))
        kernel.bound_log(self.path("agent.log"))  # one that fails again and again does not bound it itself
        sockets = [self.actor_listener.fileno(), self.notify.fileno()]
        environment = dict(os.environ)
        environment["GRANGE_AGENT_INCARNATION"] = str(incarnation)
        environment["GRANGE_AGENT_SOCKETS"] = ",".join(map(str, sockets))
        argv = self.node.get("agent_command") or [self.node["python"], "-P", "-m", "grange.supervisor.agent"]
        pid, control = kernel.start_program(
            [*argv, self.directory], environment, self.directory, self.path("agent.log"), sockets
        )
        stat = kernel.read_stat(pid)
        self.agent_pid, self.agent_start_ticks = pid, stat.start_ticks if stat else 0
        self._watch_agent(os.pidfd_open(pid))
        # Not noted, it would be replaced, not adopted, by the next keeper: no harm is done.
        self.owed.save(self.path("keeper.json"), lambda: self._state(self.book.parents))
        with contextlib.suppress(BrokenPipeError):  # it has said why already
            control.send(b"go")
        if problem := kernel.hear(control):  # the agent is our own program on a local disk: executed at once
            kernel.say(f"the agent cannot be started: {problem.decode()}")
        control.close()

    def _watch_agent(self, pidfd: int) -> None:
        self.agent_pidfd = pidfd
        self.agent_since = time.monotonic()
        self.watch(pidfd, self._on_agent_exit)

    def _on_agent_exit(self) -> None:
        self.selector.unregister(self.agent_pidfd)
        os.close(self.agent_pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.agent_pid, 0)
        self.agent_pidfd = -1
        if self.ending:
            self.ended = True
            return
        delay_s = self.restarts.ended(time.monotonic() - self.agent_since)
        kernel.say(f"agent {self.book.agent} (pid {self.agent_pid}) has ended: started again in {delay_s:.1f} s")
        self.after(delay_s, self._start_agent)

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
        self.selector.register(connection, selectors.EVENT_READ, lambda mask: self._on_client(client, mask))

    def _on_client(self, client: Client, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(client)
        if not mask & selectors.EVENT_READ or client not in self.clients:
            return
        try:
            data = client.socket.recv(1 << 16)
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
            self.selector.unregister(client.socket)
            client.socket.close()

    def _send(self, client: Client, message: dict[str, Any]) -> None:
        if client in self.clients:
            client.unsent += json.dumps(message).encode() + b"\n"
            self._flush(client)

    def _flush(self, client: Client) -> None:
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
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        key = self.selector.get_key(client.socket)
        if key.events != events:
            self.selector.modify(client.socket, events, key.data)

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
        return {}

    def _check_fence(self, request: dict[str, Any]) -> None:
        if not self.book.check_fence(request["fence"]):
            return
        risen = tuple(request["fence"][:-1])
        try:
            kernel.save(self.path("keeper.json"), self._state(risen))
        except OSError as error:
            raise keeping.RequestError(
                f"the incarnations {list(risen)} of a new controller cannot be saved, so its order is not carried out: "
                f"{error.strerror}; make room on the disk of {self.directory}"
            ) from None
        self.book.parents = risen

    def _do_fence(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self._check_fence(request)
        return {"parents": list(self.book.parents)}

    def _do_note(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        manifest = self.book.by_instance(request["instance"])
        manifest.note = request["note"]
        # A note has a meaning only as long as the process lives, hence never after a crash of the machine.
        self._keep_manifest(manifest, sync=False)
        return {}

    def _do_forget(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        manifest = self.book.forget(request["instance"])
        path = self._manifest_path(manifest)
        self.owed.cancel(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return {}

    def _do_end(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self._check_fence(request)
        self.book.check_end()
        self._end(grace_s=AGENT_END_S)
        return {}

    def _do_signal(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        self._check_fence(request)
        manifest = self.book.by_instance(request["instance"])
        process = self.running.get(manifest.instance)
        if process is None or manifest.exit is not None:
            return {"alive": False}
        if process.pidfd < 0:
            process.unwanted = True  # its slot is still being cleared, or a template is still to fork it
            if process.fork is not None:
                self._give_up(process, UNWANTED)
            return {"alive": True}
        if process.control is not None and request["signal"] != signal.SIGKILL:
            process.held = request["signal"]  # the child may not have its group and its default handlers yet
            return {"alive": True}
        stat = kernel.read_stat(manifest.pid)
        if stat is None or stat.start_ticks != manifest.start_ticks:
            return {"alive": False}  # its end is about to be seen
        with contextlib.suppress(ProcessLookupError):
            if request["group"] and process.control is None:
                os.killpg(manifest.pid, request["signal"])
            else:
                signal.pidfd_send_signal(process.pidfd, request["signal"])
        return {"alive": True}

    def _do_spawn(self, client: Client, request: dict[str, Any]) -> dict[str, Any] | None:
        self._check_fence(request)
        manifest = self.book.plan_spawn(request)
        if manifest is None:
            manifest = self.book.manifests[request["slot"]]
            process = self.running.get(manifest.instance)
            if process is None or (process.pidfd >= 0 and process.control is None):
                return self._spawned(manifest)
            process.asked_by.append((client, request.get("id")))
            return None
        try:
            kernel.save(self._manifest_path(manifest), manifest.to_json())
        except OSError as error:
            del self.book.manifests[manifest.slot]  # nothing was started, and nothing is left to be forgotten
            self.complaints.met("a process cannot be started", error)
            return {"ok": False, "failed": True, "error": self._unwritable(error)}
        process = Running(manifest, request, asked_by=[(client, request.get("id"))])
        self.running[manifest.instance] = process
        now = time.monotonic()
        self._take_slot(process, now + SLOT_TERMINATE_S, now + SLOT_TERMINATE_S + SLOT_KILL_S, told=set())
        return None

    def _spawned(self, manifest: "keeping.Manifest") -> dict[str, Any]:
        if manifest.exit is not None and "failed" in manifest.exit:
            return {"ok": False, "failed": True, "error": manifest.exit["failed"]}
        return {"pid": manifest.pid}

    def _answer_spawn(self, process: Running) -> None:
        for client, number in process.asked_by:
            self._send(client, {"id": number, "ok": True} | self._spawned(process.manifest))
        process.asked_by = []

    def _manifest_path(self, manifest: "keeping.Manifest") -> str:
        return self.path("manifests", f"{manifest.slot}.json")

    def _unwritable(self, error: OSError) -> str:
        return f"its manifest cannot be written: {error.strerror}; make room on the disk of {self.directory}"

    def _keep_manifest(self, manifest: "keeping.Manifest", sync: bool = True) -> None:
        """On disk as soon as that is possible."""
        self.owed.save(self._manifest_path(manifest), manifest.to_json, sync)

    # -- starting a process --

    def _take_slot(self, process: Running, kill_at: float, give_up_at: float, told: set[int]) -> None:
        """Start the process once its slot's lock is free; what holds it is ours, and is terminated first."""
        try:
            self._try_slot(process, kill_at, give_up_at, told)
        except OSError as error:
            self._give_up(process, f"{error.filename or 'the keeper'}: {error.strerror}")

    def _try_slot(self, process: Running, kill_at: float, give_up_at: float, told: set[int]) -> None:
        manifest = process.manifest
        path = self.path("locks", f"{manifest.slot}.lock")
        now = time.monotonic()
        if process.unwanted:
            self._give_up(process, UNWANTED)
        elif (lock := kernel.try_lock(path)) is not None:
            self._start(process, lock)
        else:
            file = os.stat(path)
            strangers = {os.getpid()} | self.forks.pids
            holders = [
                stat for stat in kernel.all_stats() if stat.pid not in strangers and kernel.holds(stat.pid, file)
            ]
            if now >= give_up_at:
                names = ", ".join(f"{stat.name} (pid {stat.pid})" for stat in holders) or "a process of another user"
                self._give_up(process, f"slot {manifest.slot} is still held by {names}, which SIGKILL does not end")
                return
            for stat in holders:
                if now >= kill_at or stat.pid not in told:
                    told.add(stat.pid)
                    kernel.say(f"slot {manifest.slot} is wanted: ending its holder {stat.name} (pid {stat.pid})")
                    number = signal.SIGKILL if now >= kill_at else signal.SIGTERM
                    self._signal_if(stat, number, lambda pid: kernel.holds(pid, file))
            self.after(CLEAR_POLL_S * 2, lambda: self._take_slot(process, kill_at, give_up_at, told))

    def _give_up(self, process: Running, why: str) -> None:
        manifest = process.manifest
        manifest.exit = {"failed": why}
        if process.fork is not None:
            self.forks.cancel(process.fork)
            process.fork = None
        self.running.pop(manifest.instance, None)
        self._keep_manifest(manifest)
        self._answer_spawn(process)

    def _start(self, process: Running, lock: int) -> None:
        manifest, request = process.manifest, process.request
        environment = keeping.clean_environment(os.environ, request["environment"])
        environment["GRANGE_NONCE"] = manifest.nonce
        directory = request["working_directory"]
        if template := request.get("options", {}).get("template"):
            process.fork = forks.Fork(
                environment,
                directory,
                manifest.log,
                lock,
                on_forked=lambda pid, control: self._begin(process, pid, control),
                on_failed=lambda why: self._give_up(process, why),
            )
            seen = keeping.clean_environment(os.environ, template["environment"])
            self.forks.fork(template["key"], template["argv"], seen, process.fork)
            return
        try:
            pid, control = kernel.start_program(manifest.argv, environment, directory, manifest.log, [lock])
        except OSError as error:  # no more processes or memory
            self._give_up(process, f"fork: {error.strerror}")
            return
        finally:
            os.close(lock)  # the child has its own copy, and with it the lock
        self._begin(process, pid, control)

    def _begin(self, process: Running, pid: int, control: socket.socket) -> None:
        """The child is there and waits: note who it is, set it up, and let it go on."""
        manifest, process.fork = process.manifest, None
        try:
            stat = kernel.read_stat(pid)
            pidfd = os.pidfd_open(pid)
        except OSError as error:  # no more descriptors
            control.close()  # without a word to go on it ends, and is reaped as an orphan
            self._give_up(process, f"the keeper: {error.strerror}")
            return
        manifest.pid, manifest.start_ticks, manifest.boot_id = pid, stat.start_ticks if stat else 0, self.boot_id
        process.pidfd = pidfd
        process.control = control
        control.setblocking(False)
        self.watch(process.pidfd, lambda: self._on_exit(process))
        self.watch(control, lambda: self._on_control(process))
        try:
            # That something was to be started here is on the disk already; which process it is has a meaning only as
            # long as the machine runs, and so long the file system remembers it.
            kernel.save(self._manifest_path(manifest), manifest.to_json(), sync=False)
        except OSError as error:
            process.failed = self._unwritable(error)
        else:
            process.failed = kernel.set_up(pid, process.request.get("options", {}))
        with contextlib.suppress(BrokenPipeError):
            control.send(b"no" if process.failed else b"go")

    def _on_control(self, process: Running) -> None:
        """The program is executed, or cannot be."""
        if process.control is None:
            return
        try:
            problem = kernel.hear(process.control)
        except BlockingIOError:
            return
        self.selector.unregister(process.control)
        process.control.close()
        process.control = None
        if problem:
            process.failed = problem.decode(errors="replace")
        elif not process.failed:
            self._answer_spawn(process)
            if process.held:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.manifest.pid, process.held)

    # -- the end of a process --

    def _on_exit(self, process: Running) -> None:
        self.selector.unregister(process.pidfd)
        self._on_control(process)
        exit_status: dict[str, Any] = {"unknown": "its keeper had been replaced"}
        if process.failed:
            exit_status = {"failed": process.failed}
        elif process.is_child:
            result = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if result is not None:
                code = result.si_status
                exit_status = {"code": code} if result.si_code == os.CLD_EXITED else {"signal": code}
        self._clear(process, exit_status, time.monotonic() + CLEAR_LIMIT_S)

    def _clear(self, process: Running, exit_status: dict[str, Any], give_up_at: float) -> None:
        """Kill all that the process has left behind; when nothing is left, reap it and tell its exit."""
        manifest = process.manifest
        try:
            left = self._kill_leftovers(process)
            looked = True
        except OSError as error:  # no more descriptors: looked for again, and at last the exit is told all the same
            self.complaints.met("what an ended process has left behind cannot be looked for", error)
            left, looked = set(), False
        if (left or not looked) and time.monotonic() < give_up_at:
            self.after(CLEAR_POLL_S, lambda: self._clear(process, exit_status, give_up_at))
            return
        if left:
            kernel.say(f"{manifest.slot} (pid {manifest.pid}) has left {sorted(left)}, which SIGKILL does not end")
        if process.is_child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(manifest.pid, 0)
        if process.pidfd >= 0:
            os.close(process.pidfd)
        manifest.exit = exit_status
        del self.running[manifest.instance]
        self._keep_manifest(manifest)
        if process.asked_by:
            self._answer_spawn(process)
        if not process.failed:
            row = {"instance": manifest.instance, "slot": manifest.slot, "pid": manifest.pid}
            self._tell({"event": "exited", **row, "exit": exit_status, "left": sorted(left)})

    def _kill_leftovers(self, process: Running) -> set[int]:
        """Signal what an ended process has left behind; returns who of it was still there."""
        manifest = process.manifest
        path = self.path("locks", f"{manifest.slot}.lock")
        lock = kernel.try_lock(path)
        if lock is not None:
            os.close(lock)
        table = list(kernel.all_stats()) if lock is None or not process.is_child else []
        if process.is_child:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(manifest.pid, signal.SIGKILL)  # its leader is not reaped yet: the number is still its own
            self._reap_orphans()
            orphans = self._orphans()
            if orphans and not table:
                everybody = {stat.pid: stat for stat in kernel.all_stats()}
                table = [everybody[pid] for pid in keeping.descendants(everybody.values(), orphans)]
        file = os.stat(path)

        def ours(pid: int) -> bool:
            stat = kernel.read_stat(pid)
            if stat is None or stat.is_zombie:
                return False
            in_session = process.is_child and manifest.pid in (stat.session, stat.group)
            return in_session or kernel.nonce_of(pid) == manifest.nonce or kernel.holds(pid, file)

        strangers = {os.getpid(), manifest.pid, self.agent_pid} | self.forks.pids
        left = {stat for stat in table if stat.pid not in strangers and ours(stat.pid)}
        for stat in left:
            self._signal_if(stat, signal.SIGKILL, ours)
        return {stat.pid for stat in left}

    def _signal_if(self, stat: "keeping.ProcessStat", number: int, ours: Callable[[int], bool]) -> None:
        """Signal exactly the process that was looked at: pidfd first, then its identity and `ours` once more."""
        pidfd = self._open_identity(stat.pid, stat.start_ticks, self.boot_id)
        if pidfd is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if ours(stat.pid):
                signal.pidfd_send_signal(pidfd, number)
        os.close(pidfd)

    def _orphans(self) -> set[int]:
        """Children that became ours when their parents ended."""
        known = {process.manifest.pid for process in self.running.values()} | {self.agent_pid} | self.forks.pids
        return kernel.own_children() - known

    def _reap_orphans(self) -> None:
        if self.forks.under_way:
            return  # one of them may be a process that a template has just forked: it is known in a moment
        for pid in self._orphans():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    # -- notifications --

    def _on_notify(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                data, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return
            credentials = [item for level, kind, item in ancillary if kind == socket.SCM_CREDENTIALS]
            if credentials and (process := self._sender(_CREDENTIALS.unpack(credentials[0][: _CREDENTIALS.size])[0])):
                self._note_notification(process.manifest, keeping.parse_notification(data))

    def _sender(self, pid: int) -> Running | None:
        stat = kernel.read_stat(pid)
        session = stat.session if stat else 0
        for process in self.running.values():
            if process.manifest.pid in (pid, session):
                return process
        nonce = kernel.nonce_of(pid)
        return next((process for process in self.running.values() if process.manifest.nonce == nonce), None)

    def _note_notification(self, manifest: "keeping.Manifest", fields: dict[str, str]) -> None:
        wanted = {name: value for name, value in fields.items() if name in ("READY", "WATCHDOG", "STATUS")}
        if wanted.get("READY") == "1" and not manifest.ready:
            manifest.ready = True
            self._keep_manifest(manifest, sync=False)  # a later keeper and agent must know: it is said once
        manifest.status = wanted.get("STATUS", manifest.status)
        if wanted:
            self._tell({"event": "notify", "instance": manifest.instance, "fields": wanted})

    # -- the end of the keeper --

    def _end(self, grace_s: float) -> None:
        if self.ending:
            return
        self.ending = True
        if self.agent_pidfd < 0:
            self.ended = True
            return
        self.after(grace_s, lambda: self._signal_agent(signal.SIGTERM))
        self.after(grace_s + AGENT_END_S, lambda: self._signal_agent(signal.SIGKILL))

    def _signal_agent(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.agent_pidfd >= 0:
                signal.pidfd_send_signal(self.agent_pidfd, number)

    def _clean_up(self) -> None:
        """Leave nothing but logs and the incarnations, which must go on rising."""
        self.forks.close()
        self.owed.save(self.path("keeper.json"), lambda: self._state(self.book.parents))
        paths = [self.path(name) for name in ("keeper.sock", "actor.sock", "notify.sock")]
        for folder in ("manifests", "locks"):
            paths += [self.path(folder, name) for name in os.listdir(self.path(folder))]
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for folder in ("manifests", "locks"):
            with contextlib.suppress(OSError):
                os.rmdir(self.path(folder))
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
