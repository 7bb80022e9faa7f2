"""Processes that make it hard to end them: after a shutdown nothing of them is left."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from grange.proto import tree_pb2
from grange.supervisor.output import LOG_BYTES_MAX

from .node_helpers import AgentNode, eventually, exists, state_of

PATH = "sf01/n1/writer-1"

START = """
import os, signal, sys, time
def tell(pid):  # one write for one line, whoever writes
    os.write(1, b"%d\\n" % pid)
def ready():
    import socket
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
def daemon():
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    tell(os.getpid())
    return True
tell(os.getpid())
"""
WAIT = """
ready()
while True:
    signal.pause()
"""

CHILDREN = {
    "ignores SIGTERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN)" + WAIT,
    "blocks every signal that can be blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"
    + WAIT,
    "is stopped": "ready(); os.kill(os.getpid(), signal.SIGSTOP)",
    "forks": "any(os.fork() == 0 and (tell(os.getpid()), signal.pause()) for _ in range(20))" + WAIT,
    "forks into groups of their own": (
        "any(os.fork() == 0 and (os.setpgid(0, 0), tell(os.getpid()), signal.pause()) for _ in range(5))" + WAIT
    ),
    "forks twice into a session of its own": "daemon() and signal.pause()" + WAIT,
    "leaves a daemon without descriptors of ours": "daemon() and (os.closerange(3, 100), signal.pause())" + WAIT,
    "leaves a daemon without our environment": ("daemon() and os.execve('/bin/sleep', ['sleep', '1000'], {})" + WAIT),
    "leaves a daemon that ignores SIGTERM": (
        "daemon() and (signal.signal(signal.SIGTERM, signal.SIG_IGN), [signal.pause() for _ in range(9)])" + WAIT
    ),
    "goes on in a child of another session": "daemon() and (ready(), signal.pause())\nsignal.pause()",
    "becomes another program": "ready(); os.execv('/bin/sleep', ['sleep', '1000'])",
    "becomes another program without our environment": "ready(); os.execve('/bin/sleep', ['sleep', '1000'], {})",
    "forks again whenever a child ends": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ready()
while True:
    pid = os.fork()
    if pid == 0:
        tell(os.getpid())
        signal.pause()
        os._exit(0)
    os.waitpid(pid, 0)
""",
}


async def test_nothing_is_left_of_processes_that_make_it_hard_to_end_them(node: AgentNode) -> None:
    parent = await node.start()
    paths = {f"sf01/n1/plain-{number}": what for number, what in enumerate(CHILDREN, start=1)}
    for path, what in paths.items():
        spec = tree_pb2.ProcessSpec(
            path=path,
            role="plain",
            argv=(sys.executable, "-I", "-S", "-u", "-c", START + CHILDREN[what]),
            ready="notify",
            terminate_timeout_s=0.3,
        )
        await parent.order("b", path, "boot", spec=spec)
    logs = {}
    for path, what in paths.items():
        row = await parent.done("b", path)
        assert (what, state_of(row), row.failure.reason) == (what, "booted", "")
        logs[what] = node.directory / "logs" / f"{row.instance}.log"
    for path in paths:
        await parent.order("x", path, "shutdown")
    for path, what in paths.items():
        row = await parent.done("x", path)
        assert (what, state_of(row), row.failure.reason) == (what, "initial", "")
        pids = [int(word) for word in logs[what].read_text().split()]
        assert pids, what
        assert not [pid for pid in pids if exists(pid)], what


async def test_a_daemon_with_nothing_of_ours_is_ended_with_the_last_process_of_its_node(node: AgentNode) -> None:
    parent = await node.start()
    bare = "daemon() and (os.closerange(0, 100), os.execve('/bin/sleep', ['sleep', '1000'], {}))"
    paths = {"sf01/n1/plain-1": START + bare + WAIT, "sf01/n1/plain-2": START + WAIT}
    logs = {}
    for path, code in paths.items():
        argv = (sys.executable, "-I", "-S", "-u", "-c", code)
        spec = tree_pb2.ProcessSpec(path=path, role="plain", argv=argv, ready="notify", terminate_timeout_s=0.3)
        row = await parent.carry_out("b", path, "boot", spec=spec)
        logs[path] = node.directory / "logs" / f"{row.instance}.log"
    started = [int(word) for log in logs.values() for word in log.read_text().split()]
    assert len(started) == 3
    for path in paths:
        await parent.carry_out("x", path, "shutdown")
    assert not [pid for pid in started if exists(pid)]


async def test_a_process_that_fills_its_log_neither_fills_the_disk_nor_is_held_up(node: AgentNode) -> None:
    parent = await node.start()
    code = f"""
import os, signal, sys
for n in range({3 * LOG_BYTES_MAX // 100}):
    os.write(1, b"%99d\\n" % n)
    if n % {LOG_BYTES_MAX // 80} == 0 and n:
        signal.sigwait([signal.SIGUSR1])
os.write(1, b"the last line\\n")
signal.pause()
"""
    code = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])" + code
    spec = tree_pb2.ProcessSpec(
        path=PATH,
        role="plain",
        argv=(sys.executable, "-I", "-S", "-u", "-c", code),
        ready="settle",
        settle_time_s=0.02,
    )
    row = await parent.carry_out("b", PATH, "boot", spec=spec)
    log = node.directory / "logs" / f"{row.instance}.log"
    copy = Path(f"{log}.1")

    def rotated() -> bool:
        """The process waits with more than the bound in its log, until the copy is there."""
        if not copy.exists() or log.stat().st_size:
            return False
        assert copy.stat().st_size == LOG_BYTES_MAX
        copy.unlink()
        return True

    for _ in range(2):
        await asyncio.to_thread(eventually, "a full log is rotated", rotated)
        os.kill(row.pid, signal.SIGUSR1)
    await asyncio.to_thread(eventually, "the last line", lambda: log.read_bytes()[-14:] == b"the last line\n")
