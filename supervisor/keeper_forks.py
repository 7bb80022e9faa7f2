"""Templates as the keeper sees them: started when they are first needed, asked to fork, ended when they are idle.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and the keeper's other parts
alone. The other side is `template.py`, the program that a template runs.

There is one template for each *key* (an actor and the environment that its imports see). Some requests are with it at
a time, others wait here. It answers with the new process's id when that process is the keeper's own child: the template
forks a child that forks all that is wanted and ends, and the keeper is the subreaper. The new process waits for the
word to go on.

A template that ends takes nothing with it: the requests that it had are tried once more with the next one, and those
that wait are for that one too. A new keeper starts new templates, since the old ones end when the keeper's end of their
socket is closed.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from . import keeper_kernel as kernel
else:
    import keeper_kernel as kernel

TEMPLATES_MAX = 32  # on one node; each holds the memory of an interpreter with its imports
IDLE_S = 60.0  # without a request, after which a template ends
ATTEMPTS_MAX = 2  # for one process, each with another template
WITH_TEMPLATE_MAX = 32  # requests; it forks some of them while the keeper sets up those before
RESTART_DELAY_S = 0.1
NONCE_BYTES = 64  # room in the template's environment for the nonce that its forks show in /proc
ANSWER_BYTES_MAX = 4096


class Host(Protocol):
    """What the keeper's loop does for its templates."""

    def watch(self, source: Any, call: Callable[[], None]) -> None: ...

    def unwatch(self, source: Any) -> None: ...

    def after(self, delay_s: float, call: Callable[[], None]) -> None: ...

    def path(self, *parts: str) -> str: ...


@dataclass(eq=False)
class Fork:
    """One process that is to be forked: what it is told, the slot's lock, and who hears what became of it."""

    environment: dict[str, str]
    directory: str
    log: str
    lock: int
    on_forked: Callable[[int, socket.socket], None]  # process id, and the socket on which it waits for `go`
    on_failed: Callable[[str], None]
    attempts: int = 0
    control: socket.socket | None = None

    def close(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None
        os.close(self.lock)

    def request(self) -> bytes:
        return json.dumps({"environment": self.environment, "directory": self.directory, "log": self.log}).encode()


@dataclass(eq=False)
class Template:
    """One template, from the first request for it until it is no longer wanted; its process may change."""

    key: str
    argv: list[str]
    environment: dict[str, str]
    pid: int = 0
    pidfd: int = -1
    link: socket.socket | None = None
    current: list[Fork] = field(default_factory=list)  # with it, in the order in which they were sent
    waiting: deque[Fork] = field(default_factory=deque)
    used_s: float = 0.0
    retired: bool = False


class Forks:
    """All templates of a node."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._templates: dict[str, Template] = {}  # by key: those that are wanted
        self._alive: set[Template] = set()  # those that have a process

    @property
    def pids(self) -> set[int]:
        return {template.pid for template in self._alive}

    @property
    def under_way(self) -> bool:
        """Whether a process may be there, or be about to be, whose id is not known yet."""
        return any(template.current for template in self._alive)

    def fork(self, key: str, argv: list[str], environment: dict[str, str], fork: Fork) -> None:
        """Have a process forked from the template `key`, which is started with `argv` when there is none."""
        template = self._templates.get(key)
        if template is None:
            if not self._make_room():
                fork.close()
                fork.on_failed(f"{TEMPLATES_MAX} templates are busy on this node: try again, or set template = false")
                return
            template = self._templates[key] = Template(key, argv, environment)
        template.waiting.append(fork)
        if template.pid:
            self._next(template)
        else:
            self._start(template)

    def cancel(self, fork: Fork) -> None:
        """No longer wanted; a template that is at it may hang, so it is ended, and the next one does the rest."""
        for template in list(self._templates.values()):
            if fork in template.waiting:
                template.waiting.remove(fork)
                fork.close()
            elif fork in template.current:
                template.current.remove(fork)
                self._drop_control(fork)
                fork.close()
                for other in template.current:
                    other.attempts -= 1  # it is not its fault
                self._kill(template)

    def close(self) -> None:
        """End all templates; nobody is waiting for one."""
        for template in list(self._alive):
            self._kill(template)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(template.pid, 0)

    # -- a template's process --

    def _make_room(self) -> bool:
        if len(self._templates) < TEMPLATES_MAX:
            return True
        idle = [template for template in self._templates.values() if not template.current and not template.waiting]
        if idle:
            self._retire(min(idle, key=lambda template: template.used_s))
        return bool(idle)

    def _start(self, template: Template) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = template.environment | {
            "GRANGE_TEMPLATE_SOCKET": str(theirs.fileno()),
            "GRANGE_NONCE": "0" * NONCE_BYTES,
        }
        log = self._log(template)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(log)
        try:
            pid, control = kernel.start_program(
                template.argv, environment, self._host.path(), log, keep=[theirs.fileno()]
            )
        except OSError as error:  # no more processes or memory
            ours.close()
            theirs.close()
            self._fail(template, f"fork: {error.strerror}")
            return
        theirs.close()
        ours.setblocking(False)
        template.pid, template.pidfd, template.link = pid, os.pidfd_open(pid), ours
        self._alive.add(template)
        self._host.watch(template.pidfd, lambda: self._on_exit(template))
        with contextlib.suppress(BrokenPipeError):  # it has said why already
            control.send(b"go")
        if problem := kernel.hear(control):  # the interpreter is on a local disk: executed at once
            kernel.say(f"template {template.key} cannot be started: {problem.decode(errors='replace')}")
        control.close()
        self._next(template)

    def _log(self, template: Template) -> str:
        return self._host.path("logs", f"template-{template.key}.log")

    def _kill(self, template: Template) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(template.pidfd, signal.SIGKILL)

    def _retire(self, template: Template) -> None:
        """It ends by itself when its socket does."""
        del self._templates[template.key]
        template.retired = True
        if template.link is not None:
            template.link.close()
            template.link = None

    def _on_exit(self, template: Template) -> None:
        self._host.unwatch(template.pidfd)
        os.close(template.pidfd)
        how = "has ended"
        with contextlib.suppress(ChildProcessError):
            code = os.waitstatus_to_exitcode(os.waitpid(template.pid, 0)[1])
            how = f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"
        self._alive.discard(template)
        template.pid, template.pidfd = 0, -1
        if template.link is not None:
            template.link.close()
            template.link = None
        if template.retired:
            return
        kernel.say(f"template {template.key} {how}")
        forks, template.current = template.current, []
        for fork in reversed(forks):
            self._drop_control(fork)
            if fork.attempts < ATTEMPTS_MAX:
                template.waiting.appendleft(fork)
            else:
                fork.close()
                fork.on_failed(f"its template {how} before it could be forked; see {self._log(template)}")
        if template.waiting:
            self._host.after(RESTART_DELAY_S, lambda: self._start_again(template))
        else:
            self._templates.pop(template.key, None)

    def _start_again(self, template: Template) -> None:
        if not template.waiting:
            self._templates.pop(template.key, None)
        elif not template.pid:
            self._start(template)

    def _fail(self, template: Template, why: str) -> None:
        self._templates.pop(template.key, None)
        while template.waiting:
            fork = template.waiting.popleft()
            fork.close()
            fork.on_failed(why)

    # -- forks --

    def _next(self, template: Template) -> None:
        """Send the template what it may have; when nothing is left to be done, let it be idle."""
        if template.link is None:
            return
        template.used_s = time.monotonic()
        while template.waiting and len(template.current) < WITH_TEMPLATE_MAX:
            if not self._send(template, template.link, template.waiting.popleft()):
                return
        if not template.current:
            self._host.after(IDLE_S, lambda: self._end_idle(template))

    def _send(self, template: Template, link: socket.socket, fork: Fork) -> bool:
        """Whether the template has room for more."""
        try:
            control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:  # no more descriptors
            fork.close()
            fork.on_failed(f"the keeper: {error.strerror}")
            return True
        with theirs:
            try:
                socket.send_fds(link, [fork.request()], [theirs.fileno(), fork.lock])
            except BlockingIOError:  # until it has answered one of those that it has
                control.close()
                template.waiting.appendleft(fork)
                return False
            except (BrokenPipeError, ConnectionResetError):  # its end is about to be seen
                pass
            except OSError as error:  # too long an environment
                control.close()
                fork.close()
                fork.on_failed(f"the request to its template cannot be sent: {error.strerror}")
                return True
        control.setblocking(False)
        fork.control = control
        fork.attempts += 1
        template.current.append(fork)
        self._host.watch(control, lambda: self._on_answer(template, fork))
        return True

    def _end_idle(self, template: Template) -> None:
        is_idle = not template.current and not template.waiting
        if is_idle and not template.retired and template.pid and time.monotonic() >= template.used_s + IDLE_S:
            self._retire(template)

    def _on_answer(self, template: Template, fork: Fork) -> None:
        control = fork.control
        if control is None:
            return
        try:
            answer = control.recv(ANSWER_BYTES_MAX)
        except OSError:
            answer = b""
        self._host.unwatch(control)
        if not answer:  # the template has ended, or lost its way: its end decides
            self._kill(template)
            fork.control = None
            control.close()
            return
        fork.control = None
        template.current.remove(fork)
        fork.close()  # the process has the slot's lock
        word, _, rest = answer.decode(errors="replace").partition(" ")
        if word == "pid":
            fork.on_forked(int(rest), control)
        else:
            control.close()
            fork.on_failed(rest)
        self._next(template)

    def _drop_control(self, fork: Fork) -> None:
        if fork.control is not None:
            self._host.unwatch(fork.control)
            fork.control.close()
            fork.control = None
