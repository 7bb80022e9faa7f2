"""Processes that make it hard to end them: after a shutdown nothing of them is left."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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


BARE = "daemon() and (os.closerange(0, 100), os.execve('/bin/sleep', ['sleep', '1000'], {}))"
ON_SIGUSR1 = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); ready(); signal.sigwait([signal.SIGUSR1])\n"
FIRST, SECOND = "sf01/n1/plain-1", "sf01/n1/plain-2"


async def boot(node: AgentNode, path: str, code: str) -> Callable[[], list[int]]:
    """Start a plain process; the result tells the ids of all that it has started, itself first."""
    argv = (sys.executable, "-I", "-S", "-u", "-c", START + code + WAIT)
    spec = tree_pb2.ProcessSpec(path=path, role="plain", argv=argv, ready="notify", terminate_timeout_s=0.3)
    row = await node.parent.carry_out("b", path, "boot", spec=spec)
    log = node.directory / "logs" / f"{row.instance}.log"
    return lambda: [int(word) for word in log.read_text().split()]


async def replace_programs(node: AgentNode, replaced: str) -> None:
    """Kill keeper or agent or both, and wait until the node is complete again."""
    pids = {"keeper": node.keeper_pid(), "agent": node.agent_pid()}
    killed = {name: pid for name, pid in pids.items() if name in replaced}
    hellos = len(node.parent.hellos)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # so that neither starts the other again before it is killed itself
        for pid in killed.values():
            os.kill(pid, number)
    await asyncio.to_thread(eventually, "they are gone", lambda: not any(map(exists, killed.values())))
    if len(killed) == 2:
        await node.launch()
    if "agent" in killed:
        await node.again(hellos)
    if "keeper" in killed:
        await asyncio.to_thread(eventually, "another keeper", lambda: node.keeper_pid() not in (0, pids["keeper"]))


@pytest.mark.parametrize(
    ("replaced", "born"),
    [
        ("neither", "before"),
        ("agent", "before"),
        ("keeper", "before"),
        ("keeper", "after"),
        ("keeper and agent", "after"),
    ],
)
async def test_a_daemon_with_no_session_environment_or_descriptor_of_ours_is_ended_with_its_process(
    node: AgentNode, replaced: str, born: str
) -> None:
    """Whose child it is now does not matter, nor that another process of the node goes on."""
    parent = await node.start()
    code = BARE if born == "before" else ON_SIGUSR1 + BARE
    first, second = await boot(node, FIRST, code), await boot(node, SECOND, code)
    await replace_programs(node, replaced)
    if born == "after":
        for started in (first, second):
            os.kill(started()[0], signal.SIGUSR1)
    await asyncio.to_thread(eventually, "the daemons are there", lambda: len(first() + second()) == 4)
    await parent.carry_out("x", FIRST, "shutdown")
    assert [exists(pid) for pid in first() + second()] == [False, False, True, True]
    await parent.carry_out("x", SECOND, "shutdown")
    assert not any(map(exists, second()))


async def test_a_daemon_that_has_given_up_its_limits_too_is_ended_with_the_last_process_of_its_node(
    node: AgentNode,
) -> None:
    parent = await node.start()
    unlimited = "import resource; resource.setrlimit(resource.RLIMIT_RTTIME, (-1, -1))\n"
    first = await boot(node, FIRST, unlimited + BARE)
    second = await boot(node, SECOND, "")
    await asyncio.to_thread(eventually, "its daemon is there", lambda: len(first()) == 2)
    await parent.carry_out("x", FIRST, "shutdown")
    assert [exists(pid) for pid in first() + second()] == [False, True, True]
    await parent.carry_out("x", SECOND, "shutdown")
    assert not any(map(exists, first() + second()))


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
