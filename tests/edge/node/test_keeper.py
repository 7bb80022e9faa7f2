"""A real keeper with real processes; the test is its agent."""

import json
import os
import signal
import subprocess
import sys

import pytest

from grange.core.keeping import manifest_line

from .node_helpers import KEEPER_PROGRAM, KeeperNode, book_on_disk, eventually, exists, processes_of

SLEEP = ("/bin/sleep", "1000")


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def grandchild(node: KeeperNode, instance: str) -> int:
    """The process id that a process has written as its only line of output."""
    text: str = eventually("the process tells its child", lambda: node.log(instance).strip())
    return int(text.splitlines()[0])


# ---- spawning --------------------------------------------------------------------------------------------------------


def test_a_process_has_a_session_and_a_log_of_its_own_and_no_secret_of_ours(
    keeper: KeeperNode,
) -> None:
    code = """
import os, signal, json
mask = [line.split()[1] for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn"))]
links = {n: f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")}
fds = {n: os.readlink(link) for n, link in links.items() if os.path.exists(link)}
print(json.dumps([os.getsid(0) == os.getpid(), os.getcwd(), dict(os.environ), mask, fds]))
"""
    answer = keeper.spawn(*python(code), environment={"ROLE": "psa"})
    assert keeper.client is not None
    assert keeper.client.event("exited")["exit"] == {"code": 0}
    leads, place, environment, mask, fds = json.loads(keeper.log(answer["instance"]))
    assert leads
    assert place == str(keeper.directory)
    assert environment["ROLE"] == "psa"
    assert environment["GRANGE_NONCE"].endswith(answer["instance"])
    assert not {name for name in environment if name.startswith("GRANGE_")} - {"GRANGE_NONCE"}
    assert not {name for name in environment if name.startswith(("PYTEST", "PYTHON"))}
    blocked, ignored = (int(word, 16) for word in mask)
    assert blocked == 0
    assert not ignored & (1 << (signal.SIGINT - 1) | 1 << (signal.SIGHUP - 1) | 1 << (signal.SIGTERM - 1))
    assert fds["0"] == "/dev/null"
    assert fds["1"] == fds["2"] == str(keeper.directory / "logs" / f"{answer['instance']}.log")
    assert [path for name, path in fds.items() if int(name) > 2] == [str(keeper.directory / "locks" / "x-1.lock")]


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(3)", {"code": 3}), ("import os; os.kill(os.getpid(), 11)", {"signal": 11})],
)
def test_an_exit_is_told_with_its_code_or_signal(keeper: KeeperNode, code: str, status: dict[str, int]) -> None:
    answer = keeper.spawn(*python(code))
    assert keeper.client is not None
    event = keeper.client.event("exited")
    assert (event["instance"], event["exit"], event["left"]) == (answer["instance"], status, [])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"argv": ["/no/such/program"]}, "/no/such/program: No such file or directory"),
        ({"argv": ["/etc"]}, "/etc: Permission denied"),
        ({"working_directory": "/no/such/place"}, "/no/such/place: No such file or directory"),
    ],
)
def test_a_program_that_cannot_be_executed_was_never_started(
    keeper: KeeperNode, fields: dict[str, object], why: str
) -> None:
    answer = keeper.spawn(*SLEEP, **fields)
    assert (answer["ok"], answer["failed"], answer["error"]) == (False, True, why)
    assert keeper.manifest("x-1")["exit"] == {"failed": why}


def test_one_instance_runs_once_however_often_it_is_asked_for(keeper: KeeperNode) -> None:
    first = keeper.spawn(*SLEEP, instance="x-1.1.9")
    second = keeper.spawn(*SLEEP, instance="x-1.1.9")
    assert first["pid"] == second["pid"]
    assert len([command for command in processes_of(keeper.home).values() if "sleep 1000" in command]) == 2  # + agent


def test_a_slot_that_is_taken_is_not_given_again(keeper: KeeperNode) -> None:
    keeper.spawn(*SLEEP)
    answer = keeper.spawn(*SLEEP)
    assert not answer["ok"]
    assert "slot x-1 is held by instance x-1.1.1" in answer["error"]


def test_the_manifest_names_the_process_before_it_runs(keeper: KeeperNode) -> None:
    """The program itself finds its own nonce in the book: its manifest was there before it was executed."""
    path = keeper.directory / "manifests.jsonl"
    code = f"import os; print(os.environ['GRANGE_NONCE'] in open({str(path)!r}).read())"
    answer = keeper.spawn(*python(code))
    assert keeper.client is not None
    keeper.client.event("exited")
    assert keeper.log(answer["instance"]) == "True\n"
    assert keeper.manifest("x-1")["pid"] == answer["pid"]


# ---- signals and ends ------------------------------------------------------------------------------------------------


def test_what_ignores_sigterm_ends_by_sigkill(keeper: KeeperNode) -> None:
    ignore = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    answer = keeper.spawn(*python(ignore))
    eventually("it ignores SIGTERM", lambda: keeper.log(answer["instance"]))
    assert keeper.signal(answer["instance"], signal.SIGTERM)["alive"]
    assert exists(answer["pid"])
    keeper.signal(answer["instance"], signal.SIGKILL)
    assert keeper.client is not None
    assert keeper.client.event("exited")["exit"] == {"signal": 9}
    assert not keeper.signal(answer["instance"], signal.SIGKILL)["alive"]


def test_a_signal_right_behind_the_spawn_is_not_lost(keeper: KeeperNode) -> None:
    assert keeper.client is not None
    fields = keeper.spawn_fields(*SLEEP)
    end = {"instance": fields["instance"], "signal": signal.SIGTERM, "group": True, "fence": fields["fence"]}
    keeper.client.send_at_once(("spawn", fields), ("signal", end))
    assert keeper.client.event("exited")["exit"] == {"signal": 15}


def test_the_rest_of_the_group_goes_with_its_leader(keeper: KeeperNode) -> None:
    answer = keeper.spawn("/bin/sh", "-c", "sleep 1000 & echo $!")
    assert keeper.client is not None
    assert keeper.client.event("exited")["exit"] == {"code": 0}
    assert not exists(grandchild(keeper, answer["instance"]))


@pytest.mark.parametrize("hidden", ["environment", "descriptors"])
@pytest.mark.parametrize("adopted", [False, True], ids=["own", "adopted"])
def test_a_descendant_in_a_session_of_its_own_is_found_by_lock_or_nonce(
    keeper: KeeperNode, hidden: str, adopted: bool
) -> None:
    environment = "{}" if hidden == "environment" else "dict(os.environ)"
    close = "os.closerange(3, 100)" if hidden == "descriptors" else "None"
    code = f"""
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    print(os.getpid(), flush=True)
    {close}
    os.execve("/bin/sleep", ["/bin/sleep", "1000"], {environment})
signal.pause()
"""
    # What keeps the lock has to inherit it; what keeps the nonce keeps the environment.
    answer = keeper.spawn(*python(code))
    child = grandchild(keeper, answer["instance"])
    eventually("it is asleep", lambda: os.readlink(f"/proc/{child}/exe").endswith(("sleep", "coreutils", "busybox")))
    if adopted:
        keeper.kill_keeper()
        keeper.start()
    keeper.signal(answer["instance"], signal.SIGTERM)
    assert keeper.client is not None
    assert keeper.client.event("exited")["left"] == []
    assert not exists(child)


def test_an_exit_is_kept_until_it_is_acknowledged(keeper: KeeperNode) -> None:
    assert keeper.client is not None
    keeper.client.close()
    keeper.client = keeper.connect()
    answer = keeper.spawn(*python("raise SystemExit(5)"))
    keeper.client.close()  # nobody is there to hear of it
    eventually("it has ended", lambda: keeper.manifest("x-1")["exit"])
    keeper.kill_keeper()
    client = keeper.start()
    [row] = client.request("list")["processes"]
    assert (row["instance"], row["exit"]) == (answer["instance"], {"code": 5})
    assert client.request("forget", instance=answer["instance"])["ok"]
    assert client.request("list")["processes"] == []


# ---- the keeper dies -------------------------------------------------------------------------------------------------


def test_a_new_keeper_adopts_what_runs_and_says_that_it_cannot_know_the_exit(keeper: KeeperNode) -> None:
    answer = keeper.spawn(*SLEEP)
    agent = keeper.state()["agent_pid"]
    keeper.kill_keeper()
    assert exists(answer["pid"])
    client = keeper.start()
    [row] = client.request("list")["processes"]
    assert (row["pid"], row["exit"]) == (answer["pid"], None)
    assert keeper.state()["agent_pid"] == agent
    assert exists(agent)
    os.kill(answer["pid"], signal.SIGKILL)
    assert "unknown" in client.event("exited")["exit"]


def test_what_ended_while_no_keeper_was_there_is_told_as_unknown(keeper: KeeperNode) -> None:
    answer = keeper.spawn(*SLEEP)
    keeper.kill_keeper()
    os.kill(answer["pid"], signal.SIGKILL)
    eventually("it has ended", lambda: not exists(answer["pid"]))
    client = keeper.start()
    [row] = client.request("list")["processes"]
    assert "no keeper was there" in row["exit"]["unknown"]


def test_two_hundred_adopted_processes_that_end_together_are_told(keeper: KeeperNode) -> None:
    """With a look for each the keeper was silent for so long that its agent took it for hung."""
    requests = [keeper.spawn_fields(*SLEEP, slot=f"x-{number}") for number in range(200)]
    assert keeper.client is not None
    keeper.client.send_at_once(*(("spawn", fields) for fields in requests))
    pids = [keeper.client.request("spawn", **fields)["pid"] for fields in requests]
    keeper.kill_keeper()
    client = keeper.start()
    end = {"signal": signal.SIGKILL, "group": True, "fence": keeper.fence()}
    client.send_at_once(*(("signal", {"instance": fields["instance"]} | end) for fields in requests))
    told = {client.event("exited")["pid"] for _ in requests}
    assert told == set(pids)
    assert not [pid for pid in pids if exists(pid)]


def test_another_process_with_the_same_number_is_neither_adopted_nor_hurt(keeper: KeeperNode) -> None:
    answer = keeper.spawn(*SLEEP)
    keeper.kill_keeper()
    os.kill(answer["pid"], signal.SIGKILL)
    stranger = subprocess.Popen(SLEEP)
    try:
        manifest = book_on_disk(keeper.directory)["x-1"]
        manifest.pid, manifest.start_ticks = stranger.pid, manifest.start_ticks - 1
        (keeper.directory / "manifests.jsonl").write_text(manifest_line(manifest) + "\n")
        client = keeper.start()
        [row] = client.request("list")["processes"]
        assert "unknown" in row["exit"]
        assert not client.request("signal", instance=row["instance"], signal=9, group=True, fence=keeper.fence())[
            "alive"
        ]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_still_holds_a_slot_is_ended_before_the_slot_is_given_again(keeper: KeeperNode) -> None:
    """The book is lost, but the lock is not: whoever has it is ours."""
    lost = keeper.spawn(*SLEEP)
    keeper.kill_keeper()
    (keeper.directory / "manifests.jsonl").unlink()
    keeper.start()
    answer = keeper.spawn(*SLEEP)
    assert answer["ok"]
    assert not exists(lost["pid"])
    assert exists(answer["pid"])


def test_a_torn_line_of_the_book_is_left_out_and_said(keeper: KeeperNode) -> None:
    keeper.spawn(*SLEEP)
    keeper.kill_keeper()
    with open(keeper.directory / "manifests.jsonl", "a") as book:
        book.write('{"manifest": {"slot": ')
    client = keeper.start()
    assert [row["slot"] for row in client.request("list")["processes"]] == ["x-1"]
    assert "manifests.jsonl, line 3 is left out" in (keeper.directory / "keeper.log").read_text()
    assert keeper.spawn(*SLEEP, slot="y-1")["ok"]
    assert book_on_disk(keeper.directory).keys() == {"x-1", "y-1"}


# ---- one keeper, one agent -------------------------------------------------------------------------------------------


def test_a_second_keeper_is_refused(keeper: KeeperNode) -> None:
    second = keeper.popen()
    assert second.wait(20) == 75
    assert "another keeper has" in (keeper.directory / "keeper.log").read_text()
    assert keeper.client is not None
    assert keeper.client.request("list")["ok"]


def test_an_agent_that_dies_is_started_again_with_the_next_incarnation(keeper: KeeperNode) -> None:
    answer = keeper.spawn(*SLEEP)
    before = keeper.state()
    os.kill(before["agent_pid"], signal.SIGKILL)
    eventually("the next agent", lambda: keeper.state()["agent"] == 2 and keeper.state()["agent_pid"])
    assert keeper.client is not None
    late = keeper.client.request("signal", instance=answer["instance"], signal=9, group=True, fence=[1])
    assert (late["ok"], late["fenced"]) == (False, True)
    assert exists(answer["pid"])


def test_lower_incarnations_are_refused_also_after_the_keeper_was_killed(keeper: KeeperNode) -> None:
    client = keeper.client
    assert client is not None
    agent = keeper.state()["agent"]
    assert client.request("fence", fence=[2, 1, agent])["parents"] == [2, 1]
    keeper.kill_keeper()
    client = keeper.start()
    assert client.request("hello", incarnation=agent)["parents"] == [2, 1]
    answer = keeper.spawn(*SLEEP, fence=[1, 9, agent])
    assert (answer["ok"], answer["fenced"]) == (False, True)
    assert client.request("list")["processes"] == []


# ---- notifications ---------------------------------------------------------------------------------------------------


def test_what_a_process_notifies_is_told_and_its_readiness_kept(keeper: KeeperNode) -> None:
    code = """
import os, signal, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
for n in range(200):
    s.send(b"STATUS=%d" % n)
s.send(b"READY=1\\nMAINPID=1")
signal.pause()
"""
    path = str(keeper.directory / "notify.sock")
    answer = keeper.spawn(*python(code), environment={"NOTIFY_SOCKET": path})
    client = keeper.client
    assert client is not None
    while "READY" not in (event := client.event("notify"))["fields"]:
        assert event["instance"] == answer["instance"]
    assert event["fields"] == {"READY": "1"}
    keeper.kill_keeper()
    [row] = keeper.start().request("list")["processes"]
    assert row["ready"]


# ---- logs ------------------------------------------------------------------------------------------------------------


def test_the_logs_of_a_keeper_and_of_an_agent_that_fails_for_ever_are_bounded(keeper: KeeperNode) -> None:
    logs = [keeper.directory / name for name in ("keeper.log", "agent.log")]
    for log in logs:
        with open(log, "a") as file:
            file.write("what was long ago\n" + "\n" * 1_000_000 + "what was lately\n")
    before = keeper.state()
    os.kill(before["agent_pid"], signal.SIGKILL)
    eventually("the next agent", lambda: keeper.state()["agent"] == 2 and keeper.state()["agent_pid"])
    for log in logs:
        assert log.stat().st_size < 1000, log
        kept = log.with_name(log.name + ".1").read_text()
        assert "what was lately" in kept
        assert "what was long ago" not in kept


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_sigterm_does_not_end_a_keeper_that_has_a_process_and_ends_one_that_has_none(keeper: KeeperNode) -> None:
    answer = keeper.spawn(*SLEEP)
    assert keeper.keeper is not None
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        keeper.keeper.send_signal(number)
    log = keeper.directory / "keeper.log"
    eventually("it says so", lambda: "SIGTERM is ignored: 1 of this node's processes are alive" in log.read_text())
    keeper.signal(answer["instance"], signal.SIGKILL)
    assert keeper.client is not None
    keeper.client.event("exited")
    keeper.keeper.send_signal(signal.SIGTERM)
    assert keeper.keeper.wait(20) == 0
    left = sorted(path.name for path in keeper.directory.iterdir())
    assert left == ["agent.log", "keeper.json", "keeper.log", "logs", "node.json"]


def test_the_end_is_refused_while_a_process_is_alive(keeper: KeeperNode) -> None:
    keeper.spawn(*SLEEP)
    assert keeper.client is not None
    answer = keeper.client.request("end", fence=keeper.fence())
    assert not answer["ok"]
    assert "x-1 (pid" in answer["error"]


def test_a_node_directory_with_a_long_path_is_refused_with_the_remedy(keeper: KeeperNode) -> None:
    deep = keeper.home / ("d" * 100)
    deep.mkdir()
    (deep / "node.json").write_text((keeper.directory / "node.json").read_text())
    command = [sys.executable, "-I", "-S", str(KEEPER_PROGRAM), str(deep)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert result.returncode == os.EX_CONFIG
    assert "at most 107: choose a shorter home" in result.stderr


def test_nonsense_on_the_socket_is_answered_and_does_no_harm(keeper: KeeperNode) -> None:
    client = keeper.client
    assert client is not None
    assert "possible are hello, spawn" in client.request("dance")["error"]
    assert not client.request("spawn", slot="../../etc")["ok"]
    assert client.request("list")["processes"] == []
