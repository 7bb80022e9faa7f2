"""Ready, alive and well, with a real agent and real processes: probes, the watchdog, figures."""

import asyncio
import os
import signal
import sys

import pytest

from grange.proto import tree_pb2

from .node_helpers import AgentNode, eventually, exists, kind_of, processes_of, state_of

PATH = "sf01/n1/plain-1"


def python(code: str, **more: object) -> tree_pb2.ProcessSpec:
    argv = (sys.executable, "-I", "-S", "-u", "-c", code)
    fields: dict[str, object] = {"ready": "settle", "settle_time_s": 0.02, "terminate_timeout_s": 5.0, "argv": argv}
    return tree_pb2.ProcessSpec(path=PATH, role="plain", **(fields | more))  # type: ignore[arg-type]


WAIT = "import signal; signal.pause()"
NOTIFY = """
import os, signal, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
s.send(b"READY=1")
while True:
    signal.sigwait([signal.SIGUSR1])
    s.send(b"WATCHDOG=1")
"""


def shell(code: str) -> list[str]:
    return ["/bin/sh", "-c", code]


async def test_a_process_is_booted_when_its_probe_succeeds_and_not_before(node: AgentNode) -> None:
    parent = await node.start()
    # The probe runs beside the process: in its directory, with its environment and its process id.
    code = 'test "$ROLE" = psa && kill -0 $GRANGE_PID && echo . >>asked && test -e ready'
    spec = python(WAIT, ready="probe", probe=shell(code), probe_interval_s=0.05, environment={"ROLE": "psa"})
    await parent.order("b", PATH, "boot", spec=spec)
    place = node.home / "work" / PATH
    asked = place / "asked"
    await asyncio.to_thread(eventually, "asked thrice", lambda: asked.exists() and asked.stat().st_size >= 6)
    assert state_of(parent.rows[PATH]) == "booting"
    (place / "ready").touch()
    row = await parent.done("b", PATH)
    assert (state_of(row), row.order_ok) == ("booted", True)
    assert [path.name for path in (node.directory / "logs").iterdir()] == [f"{row.instance}.log"], "no probe's output"


async def test_a_probe_that_takes_too_long_is_killed_and_there_is_never_a_second_one(node: AgentNode) -> None:
    parent = await node.start()
    spec = python(WAIT, ready="probe", probe=shell("echo $$ >>asked; exec sleep 999"), probe_timeout_s=0.3)
    await parent.order("b", PATH, "boot", spec=spec, limit_s=3.0)
    sleeping = lambda: [pid for pid, name in processes_of(node.home).items() if "sleep 999" in name]  # noqa: E731
    while PATH not in parent.rows or not parent.rows[PATH].order_done:
        assert len(await asyncio.to_thread(sleeping)) <= 1
    row = await parent.done("b", PATH)
    assert kind_of(row) == "too_slow"
    reason = row.failure.reason
    assert reason == "plain-1 on n1 was too slow: boot was not done within 3 s; its probe took longer than 0.3 s"
    pids = (node.home / "work" / PATH / "asked").read_text().split()
    assert len(pids) > 1
    row = await parent.carry_out("x", PATH, "shutdown")
    assert state_of(row) == "initial"
    await asyncio.to_thread(eventually, "no probe", lambda: not any(exists(int(pid)) for pid in pids))


async def test_a_probe_that_cannot_be_started_is_named_when_the_boot_fails(node: AgentNode) -> None:
    parent = await node.start()
    spec = python(WAIT, ready="probe", probe=["/no/such/probe"])
    row = await parent.carry_out("b", PATH, "boot", spec=spec, limit_s=1.0)
    assert row.failure.reason == (
        "plain-1 on n1 was too slow: boot was not done within 1 s; its probe was never started: "
        "/no/such/probe: No such file or directory"
    )


async def test_a_process_whose_probe_fails_is_hung_and_recovers(node: AgentNode) -> None:
    parent = await node.start()
    code = "test ! -e ill || { echo no answer; exit 3; }"
    spec = python(WAIT, alive_probe=shell(code), alive_interval_s=0.05, alive_misses=2)
    await parent.carry_out("b", PATH, "boot", spec=spec)
    ill = node.home / "work" / PATH / "ill"
    ill.touch()
    row = await parent.row(PATH, lambda row: row.health == 3)
    assert (state_of(row), kind_of(row), row.order_ok) == ("unknown", "hung", True)
    assert row.failure.reason == (
        'plain-1 on n1 hangs: its probe failed 2 times in a row, at last it exited with code 3 (last line: "no answer")'
    )
    ill.unlink()
    row = await parent.row(PATH, lambda row: row.health == 1)
    assert (state_of(row), row.HasField("failure")) == ("booted", False)


async def test_a_new_agent_ends_the_probe_of_the_one_before_and_asks_again(node: AgentNode) -> None:
    parent = await node.start()
    code = "test -e well || { echo $$ >>asked; exec sleep 999; }"
    spec = python(WAIT, alive_probe=shell(code), alive_interval_s=0.1, probe_timeout_s=1000.0)
    row = await parent.carry_out("b", PATH, "boot", spec=spec)
    place = node.home / "work" / PATH
    await asyncio.to_thread(eventually, "asked", lambda: (place / "asked").exists() and (place / "asked").read_text())
    os.kill(node.agent_pid(), signal.SIGKILL)
    await node.again(hellos=1)
    first = int((place / "asked").read_text().split()[0])
    await asyncio.to_thread(eventually, "the old probe is gone", lambda: not exists(first))
    await asyncio.to_thread(eventually, "asked again", lambda: len((place / "asked").read_text().split()) > 1)
    assert parent.rows[PATH].pid == row.pid
    (place / "well").touch()


async def test_a_watchdog_that_is_silent_is_hung_and_well_again_when_it_is_heard(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PATH, "boot", spec=python(NOTIFY, ready="notify", watchdog_timeout_s=0.5))
    assert (state_of(row), row.health) == ("booted", 1)
    row = await parent.row(PATH, lambda row: row.health == 3)
    assert (state_of(row), kind_of(row)) == ("unknown", "hung")
    assert row.failure.reason.startswith("plain-1 on n1 has been silent for more than 0.5 s")
    os.kill(row.pid, signal.SIGUSR1)
    row = await parent.row(PATH, lambda row: row.health == 1)
    assert state_of(row) == "booted"


async def test_the_figures_of_a_process_are_told_with_it(node: AgentNode) -> None:
    parent = await node.start()
    code = "import threading; threading.Thread(target=threading.Event().wait).start()\nblock = bytearray(40 << 20)"
    code += "\nwhile True: pass"
    await parent.carry_out("b", PATH, "boot", spec=python(code))
    row = await parent.row(PATH, lambda row: row.HasField("figures") and row.figures.threads == 2)
    figures = row.figures
    assert figures.cpu_percent > 0
    assert 40 << 20 < figures.rss_bytes < 400 << 20
    assert figures.open_files == len(os.listdir(f"/proc/{row.pid}/fd"))
    row = await parent.carry_out("x", PATH, "shutdown")
    assert not row.HasField("figures")


@pytest.mark.parametrize("ready", ["notify", "probe"])
async def test_a_process_that_ends_while_it_is_awaited_has_died_while_starting(node: AgentNode, ready: str) -> None:
    parent = await node.start()
    code = "print('no licence'); raise SystemExit(4)"
    row = await parent.carry_out("b", PATH, "boot", spec=python(code, ready=ready, probe=["/bin/false"]))
    assert (state_of(row), kind_of(row)) == ("initial", "died_starting")
    said = 'exited with code 4 before it was ready (last line: "no licence")'
    assert row.failure.reason == f"plain-1 on n1 {said}"
