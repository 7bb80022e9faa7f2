"""The node's agent: adopted or started, watched, killed when it hangs, started again, and ended with the keeper.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and the keeper's other parts
alone.

Each agent gets an incarnation of its own, which is on disk before it starts. It inherits the listening end of the actor
link and the notify socket, and hands them to a keeper that it starts when this one is gone.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grange.core import keeping

    from . import keeper_kernel as kernel
    from .keeper_loop import Loop
else:
    import keeper_kernel as kernel
    import keeping

AGENT_END_S = 2.0  # after `end`: to end by itself, then as long again after SIGTERM


def bind(path: str, kind: socket.SocketKind) -> socket.socket:
    """A socket of ours at a path, in the place of a former one. Raises `RequestError` when the path is too long."""
    keeping.check_socket_path(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, kind)
    bound.bind(path)
    os.chmod(path, 0o600)
    bound.setblocking(False)
    return bound


class Agent:
    """The agent beside the keeper, and `keeper.json`, which says who it is and which incarnations were seen."""

    def __init__(
        self, loop: "Loop", book: "keeping.Book", node: dict[str, Any], boot_id: str, on_end: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._book = book
        self._node = node
        self._boot_id = boot_id
        self._on_end = on_end  # called when it has ended after `end`
        self._restarts = keeping.AgentRestarts()
        self._silence = keeping.AgentSilence(looked_s=time.monotonic())
        self._state_path = loop.path("keeper.json")
        self._listener: socket.socket | None = None  # of the actor link
        self.notify: socket.socket
        self.pid = 0
        self._start_ticks = 0
        self._pidfd = -1
        self._since = 0.0
        self._ending = False

    def open_sockets(self) -> None:
        """A keeper that the agent has started inherits what the agent holds, so that nothing queued there is lost."""
        actor, _, notify = os.environ.pop("GRANGE_KEEPER_SOCKETS", "").partition(",")
        if actor:
            self._listener = socket.socket(fileno=int(actor))
        if notify:
            self.notify = socket.socket(fileno=int(notify))
        else:
            self.notify = bind(self._loop.path("notify.sock"), socket.SOCK_DGRAM)
        self.notify.setblocking(False)
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    # -- what is remembered --

    def read_state(self) -> dict[str, Any]:
        """What the former keeper has written, its incarnations now in the book."""
        state: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError), open(self._state_path) as file:
            state = json.load(file)
        self._book.agent = state.get("agent", 0)
        self._book.parents = tuple(state.get("parents", ()))
        return state

    def save_state(self, parents: tuple[int, ...]) -> None:
        """On disk when this returns. Raises `OSError`."""
        state = {
            "agent": self._book.agent,
            "parents": list(parents),
            "agent_pid": self.pid,
            "agent_start_ticks": self._start_ticks,
            "boot_id": self._boot_id,
        }
        kernel.save(self._state_path, json.dumps(state, indent=1))

    def forget(self) -> None:
        """Keep the incarnations, which must go on rising."""
        self._loop.owed.do(self._state_path, lambda: self.save_state(self._book.parents))

    # -- the agent's life --

    def adopt(self, state: dict[str, Any]) -> None:
        """Go on with the agent that is there, or start one."""
        pid, start_ticks = state.get("agent_pid", 0), state.get("agent_start_ticks", 0)
        pidfd = kernel.open_identity(pid, start_ticks, state.get("boot_id", ""), self._boot_id)
        if pidfd is None:
            self._start()
        else:
            kernel.say(f"adopted agent {self._book.agent} (pid {pid})")
            self.pid, self._start_ticks = pid, start_ticks
            self._watch(pidfd)
            self._silence.adopted(time.monotonic())

    def _start(self) -> None:
        """Start the agent with the next incarnation, which is on disk before; tried for ever."""
        if self._ending:
            return
        what = "the agent cannot be started yet"
        try:
            self._try()
        except OSError as error:
            self._loop.complaints.met(what, error)
            if self._pidfd < 0:
                self._loop.after(self._restarts.ended(0.0), self._start)
        else:
            self._loop.complaints.over(what)

    def _try(self) -> None:
        if self._listener is None:
            self._listener = bind(self._loop.path("actor.sock"), socket.SOCK_STREAM)
            self._listener.listen(512)
        incarnation = self._book.allot_agent()
        self.pid = 0
        try:
            self.save_state(self._book.parents)
        except OSError:
            self._book.agent -= 1  # nobody has it
            raise
        self._loop.owed.cancel(self._state_path)
        log = self._loop.path("agent.log")
        kernel.bound_log(log)  # one that fails again and again does not bound it itself
        sockets = [self._listener.fileno(), self.notify.fileno()]
        environment = dict(os.environ)
        environment["GRANGE_AGENT_INCARNATION"] = str(incarnation)
        environment["GRANGE_AGENT_SOCKETS"] = ",".join(map(str, sockets))
        argv = self._node.get("agent_command") or [self._node["python"], "-P", "-m", "grange.supervisor.agent"]
        directory = self._loop.directory
        pid, control = kernel.start_program([*argv, directory], environment, directory, log, sockets)
        stat = kernel.read_stat(pid)
        self.pid, self._start_ticks = pid, stat.start_ticks if stat else 0
        self._watch(os.pidfd_open(pid))
        # Not noted, it would be replaced, not adopted, by the next keeper: no harm is done.
        self._loop.owed.do(self._state_path, lambda: self.save_state(self._book.parents))
        with contextlib.suppress(BrokenPipeError):  # it has said why already
            control.send(b"go")
        if problem := kernel.hear(control):  # the agent is our own program on a local disk: executed at once
            kernel.say(f"the agent cannot be started: {problem.decode()}")
        control.close()

    def pinged(self) -> None:
        """It has asked whether the keeper is there, so it is there itself."""
        self._silence.pinged(time.monotonic())

    def look(self) -> None:
        """Again and again: one that hangs is killed. Its processes do not notice, and the next one knows them all."""
        self._loop.after(keeping.AGENT_LOOK_S, self.look)
        if self._silence.hangs(time.monotonic()) and self._pidfd >= 0 and not self._ending:
            kernel.say(
                f"agent {self._book.agent} (pid {self.pid}) hangs: "
                f"it has not been heard for {keeping.AGENT_SILENT_S:g} s, and is killed"
            )
            self._signal(signal.SIGKILL)

    def _watch(self, pidfd: int) -> None:
        self._silence.started()
        self._pidfd = pidfd
        self._since = time.monotonic()
        self._loop.watch(pidfd, self._on_exit)

    def _on_exit(self) -> None:
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._pidfd = -1
        if self._ending:
            self._on_end()
            return
        delay_s = self._restarts.ended(time.monotonic() - self._since)
        kernel.say(f"agent {self._book.agent} (pid {self.pid}) has ended: started again in {delay_s:.1f} s")
        self._loop.after(delay_s, self._start)

    def end(self, grace_s: float) -> None:
        """Have it end, by itself within `grace_s` or by signals, and not be started again."""
        if self._ending:
            return
        self._ending = True
        if self._pidfd < 0:
            self._on_end()
            return
        self._loop.after(grace_s, lambda: self._signal(signal.SIGTERM))
        self._loop.after(grace_s + AGENT_END_S, lambda: self._signal(signal.SIGKILL))

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
