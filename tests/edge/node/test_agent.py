"""A real keeper and agent with real processes, driven over the tree's link as a sub-farm controller drives them."""

import asyncio
import os
import signal
import sys

import pytest

from grange.proto import tree_pb2

from .node_helpers import AgentNode, FakeActor, Parent, eventually, exists, kind_of, processes_of, state_of

PLAIN = "sf01/n1/plain-1"
ACTOR = "sf01/n1/psa-1"
STEPS = ("load", "configure", "start", "pause", "resume", "stop", "unconfigure", "unload")
STATES = ("loaded", "configured", "taking", "paused", "taking", "configured", "loaded", "booted")


def plain(*argv: str, path: str = PLAIN, **more: object) -> tree_pb2.ProcessSpec:
    """A process that is ready by staying up."""
    fields: dict[str, object] = {"ready": "settle", "settle_time_s": 0.02, "terminate_timeout_s": 5.0}
    return tree_pb2.ProcessSpec(path=path, role="plain", argv=argv or ("/bin/sleep", "1000"), **(fields | more))  # type: ignore[arg-type]


def python(code: str, **more: object) -> tree_pb2.ProcessSpec:
    return plain(sys.executable, "-I", "-S", "-u", "-c", code, **more)


def actor(**more: object) -> tree_pb2.ProcessSpec:
    """A process that sleeps, for which the test speaks as an actor."""
    fields: dict[str, object] = {"ready": "actor", "heartbeat_timeout_s": 0.0}
    return plain(path=ACTOR, **(fields | more))


async def boot_actor(node: AgentNode, **more: object) -> FakeActor:
    """An actor of which the test is the speaking part, booted by the order "b"."""
    await node.parent.order("b", ACTOR, "boot", spec=actor(**more))
    await node.parent.row(ACTOR, lambda row: bool(row.pid))
    speaker = FakeActor(node, "psa-1")
    speaker.hello()
    await node.parent.done("b", ACTOR)
    return speaker


# ---- steps -----------------------------------------------------------------------------------------------------------


async def test_a_plain_process_goes_through_all_its_steps(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    assert (state_of(row), row.order_ok) == ("booted", True)
    assert exists(row.pid)
    for command, state in zip(STEPS, STATES, strict=True):
        row = await parent.carry_out(command, PLAIN, command)
        assert (state_of(row), row.order_ok) == (state, True)
    row = await parent.carry_out("x", PLAIN, "shutdown")
    assert (state_of(row), row.order_ok, row.pid, row.instance) == ("initial", True, 0, "")


async def test_a_python_actor_goes_through_all_its_steps(node: AgentNode) -> None:
    parent = await node.start()
    spec = tree_pb2.ProcessSpec(path=ACTOR, role="psa", actor="grange.actors.actor:Actor", heartbeat_timeout_s=5.0)
    row = await parent.carry_out("b", ACTOR, "boot", spec=spec)
    assert (state_of(row), row.failure.reason) == ("booted", "")
    for command, state in zip(STEPS, STATES, strict=True):
        row = await parent.carry_out(command, ACTOR, command, run_number=7)
        assert (state_of(row), row.failure.reason) == (state, "")
    assert row.run_number == 7


async def test_a_plain_process_that_speaks_as_an_actor_is_told_to_be_declared_as_one(node: AgentNode) -> None:
    parent = await node.start()
    await parent.carry_out("b", PLAIN, "boot", spec=plain())
    for command in ("load", "configure"):
        await parent.carry_out(command, PLAIN, command)
    speaker = FakeActor(node, "plain-1")
    speaker.hello("booted")
    reason = 'sf01/n1/plain-1: this process is not declared as an actor: set ready = "actor"'
    assert (await speaker.hear("refusal")).reason == reason
    await speaker.until_closed()
    row = await parent.row(PLAIN, lambda row: row.status == reason)
    assert state_of(row) == "configured"
    speaker.close()


async def test_the_home_is_filled_in_where_a_role_names_it(node: AgentNode) -> None:
    parent = await node.start()
    spec = plain("/bin/sh", "-c", "echo {home} $WHERE; exec sleep 1000", environment={"WHERE": "{home}/there"})
    row = await parent.carry_out("b", PLAIN, "boot", spec=spec)
    log = node.directory / "logs" / f"{row.instance}.log"
    text = await asyncio.to_thread(eventually, "it tells", log.read_text)
    assert text == f"{node.home} {node.home}/there\n"
    assert os.readlink(f"/proc/{row.pid}/cwd") == f"{node.home}/work/{PLAIN}"


@pytest.mark.parametrize("named", ["calibrations", "{home}/calibrations"])
async def test_a_role_may_name_its_working_directory_which_is_below_the_home_unless_it_is_absolute(
    node: AgentNode, named: str
) -> None:
    (node.home / "calibrations").mkdir()
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain(working_directory=named))
    assert os.readlink(f"/proc/{row.pid}/cwd") == f"{node.home}/calibrations"
    assert not (node.home / "work").exists()


async def test_a_step_reaches_an_actor_with_its_part_of_the_description(node: AgentNode) -> None:
    parent = await node.start()
    speaker = await boot_actor(node)
    spec = actor(inputs=[tree_pb2.DataLink(role="trigger", peers=["sf01/n1/trigger-1"])])
    spec.parameters.update({"basis": "{home}/basis", "threshold": 2})
    await parent.order("l", ACTOR, "load", spec=spec, limit_s=30.0)
    order = await speaker.hear("order")
    assert (order.command_id, dict(order.parameters)) == ("l", {"basis": f"{node.home}/basis", "threshold": 2.0})
    assert 0 < order.remaining_s <= 30.0
    speaker.answer(1, "l", "loaded")
    assert state_of(await parent.done("l", ACTOR)) == "loaded"
    assert (await speaker.hear("acknowledge")).sequence == 1
    await parent.order("c", ACTOR, "configure")
    order = await speaker.hear("order")
    assert [(link.role, list(link.peers)) for link in order.inputs] == [("trigger", ["sf01/n1/trigger-1"])]
    speaker.answer(2, "c", "configured")
    await parent.done("c", ACTOR)
    speaker.close()


async def test_a_repeated_order_is_answered_and_not_carried_out_again(node: AgentNode) -> None:
    parent = await node.start()
    first = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    parent.rows.clear()
    again = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    assert again == first


async def test_an_order_that_means_nothing_or_is_for_another_node_is_left_out(node: AgentNode) -> None:
    parent = await node.start()
    await parent.order("u", PLAIN, "unspecified")
    await parent.order("n", "sf01/n2/plain-1", "boot", spec=plain())
    await parent.carry_out("b", PLAIN, "boot", spec=plain())
    assert set(parent.rows) == {PLAIN}


# ---- the six failures ------------------------------------------------------------------------------------------------


async def test_never_started(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain("/no/such/program"))
    assert (state_of(row), row.order_ok, kind_of(row)) == ("initial", False, "never_started")
    assert row.failure.reason == "plain-1 on n1 was never started: /no/such/program: No such file or directory"
    row = await parent.carry_out("b2", PLAIN, "boot", spec=plain())
    assert (state_of(row), row.order_ok, row.HasField("failure")) == ("booted", True, False)


async def test_died_while_starting(node: AgentNode) -> None:
    parent = await node.start()
    code = "print('reading'); print('no such calibration'); raise SystemExit(2)"
    row = await parent.carry_out("b", PLAIN, "boot", spec=python(code, settle_time_s=10.0))
    assert (state_of(row), row.order_ok, kind_of(row)) == ("initial", False, "died_starting")
    assert row.failure.reason == (
        'plain-1 on n1 exited with code 2 before it was ready (last line: "no such calibration")'
    )
    assert list(row.failure.last_lines) == ["reading", "no such calibration"]


async def test_died_while_running(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    os.kill(row.pid, signal.SIGSEGV)
    row = await parent.row(PLAIN, lambda row: not row.pid)
    assert (state_of(row), row.order_ok, kind_of(row)) == ("initial", True, "died_running")
    assert row.failure.reason == "plain-1 on n1 was killed by SIGSEGV while it was booted"
    assert row.health == 3
    row = await parent.carry_out("b2", PLAIN, "boot", spec=plain())
    assert (state_of(row), row.health) == ("booted", 1)


async def test_too_slow(node: AgentNode) -> None:
    parent = await node.start()
    speaker = await boot_actor(node)
    await parent.order("l", ACTOR, "load", limit_s=1.0)
    await speaker.hear("order")
    speaker.beat("loading")  # it is alive and at it
    row = await parent.done("l", ACTOR)
    assert (row.order_ok, kind_of(row)) == (False, "too_slow")
    assert row.failure.reason == "psa-1 on n1 was too slow: load was not done within 1 s"
    speaker.answer(1, "l", "loaded")  # late: now the state is known
    row = await parent.row(ACTOR, lambda row: state_of(row) == "loaded")
    assert not row.order_ok
    speaker.close()


async def test_hung_and_well_again(node: AgentNode) -> None:
    parent = await node.start()
    speaker = await boot_actor(node, heartbeat_timeout_s=0.3)
    row = await parent.row(ACTOR, lambda row: row.HasField("failure"))
    assert (state_of(row), row.health, kind_of(row)) == ("unknown", 3, "hung")
    assert "psa-1 on n1 has been silent for more than 0.3 s" in row.failure.reason
    speaker.beat("booted", "here I am")
    row = await parent.row(ACTOR, lambda row: row.status == "here I am")
    assert (state_of(row), row.health, row.HasField("failure")) == ("booted", 1, False)
    speaker.close()


async def test_one_that_falls_silent_in_its_stop_hangs_and_the_stop_has_failed_before_its_limit(
    node: AgentNode,
) -> None:
    parent = await node.start()
    await parent.order("b", ACTOR, "boot", spec=actor(heartbeat_timeout_s=0.3))
    await parent.order("s", ACTOR, "stop")  # waits for the boot, so that there is no time to be silent in between
    await parent.row(ACTOR, lambda row: bool(row.pid))
    speaker = FakeActor(node, "psa-1")
    speaker.hello("taking")
    assert (await speaker.hear("order")).command_id == "s"
    row = await parent.done("s", ACTOR)
    assert (state_of(row), row.order_ok, kind_of(row)) == ("unknown", False, "hung")
    assert ", in the middle of stop" in row.failure.reason
    speaker.close()


async def test_refused(node: AgentNode) -> None:
    parent = await node.start()
    speaker = await boot_actor(node)
    await parent.order("l", ACTOR, "load")
    await speaker.hear("order")
    speaker.answer(1, "l", "booted", ok=False, reason="no such calibration 'may-2'")
    row = await parent.done("l", ACTOR)
    assert (state_of(row), row.order_ok, kind_of(row)) == ("booted", False, "refused")
    assert row.failure.reason == "psa-1 on n1: no such calibration 'may-2'"
    row = await parent.carry_out("s", ACTOR, "start")
    assert "start is not possible in booted" in row.failure.reason
    speaker.close()


# ---- the termination ladder ------------------------------------------------------------------------------------------


async def test_what_ignores_sigterm_is_killed(node: AgentNode) -> None:
    parent = await node.start()
    code = """
import os, signal, socket
signal.signal(signal.SIGTERM, signal.SIG_IGN)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    signal.pause()
"""
    spec = python(code, ready="notify", terminate_timeout_s=0.1)
    row = await parent.carry_out("b", PLAIN, "boot", spec=spec)
    pid = row.pid
    row = await parent.carry_out("x", PLAIN, "shutdown")
    assert (state_of(row), row.order_ok) == ("initial", True)
    assert not exists(pid)


async def test_a_shutdown_supersedes_a_boot_that_does_not_come_to_its_end(node: AgentNode) -> None:
    parent = await node.start()
    await parent.order("b", PLAIN, "boot", spec=plain(settle_time_s=1000.0))
    await parent.row(PLAIN, lambda row: bool(row.pid))
    row = await parent.carry_out("x", PLAIN, "shutdown")
    assert (state_of(row), row.order_ok, row.HasField("failure")) == ("initial", True, False)


async def test_a_daemon_left_behind_is_gone_after_the_shutdown(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain("/bin/sh", "-c", "setsid sleep 999 & exec sleep 1000"))
    daemons = await asyncio.to_thread(
        eventually, "the daemon", lambda: [pid for pid, name in processes_of(node.home).items() if "sleep 999" in name]
    )
    row = await parent.carry_out("x", PLAIN, "shutdown")
    assert state_of(row) == "initial"
    assert not any(exists(pid) for pid in daemons)


# ---- nobody's death loses anything -----------------------------------------------------------------------------------


async def test_the_keeper_is_killed_and_the_agent_starts_another(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    keeper = node.keeper_pid()
    os.kill(keeper, signal.SIGKILL)
    again = await parent.carry_out("l", PLAIN, "load")
    assert (state_of(again), again.pid) == ("loaded", row.pid)
    await asyncio.to_thread(eventually, "a new keeper", lambda: node.keeper_pid() not in (0, keeper))
    assert len(parent.hellos) == 1
    assert exists(row.pid)
    row = await parent.carry_out("x", PLAIN, "shutdown")
    assert (state_of(row), row.order_ok) == ("initial", True)
    row = await parent.carry_out("b2", PLAIN, "boot", spec=plain())
    assert state_of(row) == "booted"


async def test_the_agent_is_killed_and_the_next_one_knows_everything(node: AgentNode) -> None:
    parent = await node.start()
    before = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    before = await parent.carry_out("l", PLAIN, "load")
    speaker = await boot_actor(node)
    await parent.order("al", ACTOR, "load")
    await speaker.hear("order")
    os.kill(node.agent_pid(), signal.SIGKILL)
    await speaker.until_closed()
    speaker.close()
    await node.again(hellos=1)
    assert [hello.incarnation for hello in parent.hellos] == [1, 2]
    assert list(parent.hellos[1].fence) == [1, 1]
    assert parent.rows[PLAIN] == before
    assert state_of(parent.rows[ACTOR]) == "unknown"
    speaker = FakeActor(node, "psa-1")
    speaker.hello("loading", "al")
    question = await speaker.hear("order")
    assert (question.command_id, question.command) == ("al", 0)
    speaker.answer(1, "al", "loaded")
    row = await parent.done("al", ACTOR)
    assert (state_of(row), row.order_ok) == ("loaded", True)
    speaker.close()


async def test_keeper_and_agent_are_killed_and_a_launch_adopts_everything(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    # Stopped first, so that neither starts the other again before it is killed itself.
    pids = (node.keeper_pid(), node.agent_pid())
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    await asyncio.to_thread(eventually, "both are gone", lambda: not any(map(exists, pids)))
    assert exists(row.pid)
    await node.launch()
    await node.again(hellos=1)
    again = await parent.carry_out("l", PLAIN, "load")
    assert (again.pid, state_of(again)) == (row.pid, "loaded")


async def test_a_process_that_dies_while_the_agent_is_away_is_told_afterwards(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    agent = node.agent_pid()
    os.kill(agent, signal.SIGSTOP)
    os.kill(row.pid, signal.SIGABRT)
    await asyncio.to_thread(eventually, "the exit is kept", lambda: node.manifest("plain-1")["exit"])
    os.kill(agent, signal.SIGKILL)
    await node.again(hellos=1)
    row = parent.rows[PLAIN]
    assert (state_of(row), row.failure.reason) == (
        "initial",
        "plain-1 on n1 was killed by SIGABRT while it was booted",
    )


async def test_a_parent_that_comes_back_is_told_the_whole(node: AgentNode) -> None:
    parent = await node.start()
    row = await parent.carry_out("b", PLAIN, "boot", spec=plain())
    await node.stop_serving()
    await node.serve(Parent((1, 2)))
    await node.parent.until(lambda: node.parent.snapshots)
    assert node.parent.rows[PLAIN] == row
    assert list(node.parent.hellos[0].fence) == [1, 1]


# ---- fencing ---------------------------------------------------------------------------------------------------------


async def test_a_controller_that_was_replaced_is_fenced(node: AgentNode) -> None:
    parent = await node.start()
    parent.fence = (2, 1)
    await parent.carry_out("b", PLAIN, "boot", spec=plain())
    parent.fence = (1, 9)
    await parent.order("x", PLAIN, "shutdown")
    await parent.until(lambda: parent.fenced)
    assert list(parent.fenced[0].seen) == [2, 1]
    parent.fence = (2, 1)
    row = await parent.carry_out("l", PLAIN, "load")
    assert state_of(row) == "loaded"


async def test_a_rise_is_remembered_over_the_death_of_keeper_and_agent(node: AgentNode) -> None:
    parent = await node.start()
    parent.fence = (2, 1)
    await parent.carry_out("b", PLAIN, "boot", spec=plain())
    for pid in (node.keeper_pid(), node.agent_pid()):
        os.kill(pid, signal.SIGKILL)
    await node.launch()
    await parent.until(lambda: len(parent.hellos) > 1)
    assert list(parent.hellos[-1].fence) == [2, 1]
    await node.serve(Parent((1, 1)))
    await node.parent.until(lambda: node.parent.fenced)
    assert node.parent.snapshots == 0
    await node.serve(Parent((2, 1)))
    await node.parent.until(lambda: node.parent.snapshots)


# ---- who may be an actor ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nonce", "contract_version", "why"),
    [("guessed", 1, "the nonce is of no instance"), (None, 2, "contract version 2")],
)
async def test_a_stranger_on_the_actor_link_is_told_why_and_cut_off(
    node: AgentNode, nonce: str | None, contract_version: int, why: str
) -> None:
    parent = await node.start()
    await parent.order("b", ACTOR, "boot", spec=actor())
    await parent.row(ACTOR, lambda row: bool(row.pid))
    speaker = FakeActor(node, "psa-1", nonce)
    speaker.hello(contract_version=contract_version)
    assert why in (await speaker.hear("refusal")).reason
    await speaker.until_closed()
    speaker.close()
    assert not parent.rows[ACTOR].order_done


async def test_notes_are_handed_on_once_and_acknowledged(node: AgentNode) -> None:
    parent = await node.start()
    speaker = await boot_actor(node)
    for sequence in (1, 1, 2):
        speaker.say(sequence, note={"severity": 2, "code": "late-data", "text": f"frame {sequence}"})
    assert (await speaker.hear("acknowledge")).sequence == 2  # up to here: one for all
    await parent.until(lambda: len(parent.notes) == 2)
    assert [(note.member, note.code, note.text) for note in parent.notes] == [
        (ACTOR, "late-data", "frame 1"),
        (ACTOR, "late-data", "frame 2"),
    ]
    speaker.close()


# ---- logs ------------------------------------------------------------------------------------------------------------


async def test_a_log_is_read_and_followed_until_cancelled(node: AgentNode) -> None:
    parent = await node.start()
    code = (
        "for n in range(50): print(n)\nimport signal; signal.sigwait([signal.SIGUSR1]); print('more'); signal.pause()"
    )
    row = await parent.carry_out(
        "b", PLAIN, "boot", spec=python(f"import signal\nsignal.pthread_sigmask(0, [10])\n{code}")
    )
    log = node.directory / "logs" / f"{row.instance}.log"
    await asyncio.to_thread(eventually, "50 lines", lambda: log.read_text().endswith("49\n"))
    await parent.send(tree_pb2.ToChild(read_log=tree_pb2.ReadLog(request_id=1, path=PLAIN, lines=2)))
    await parent.until(lambda: any(chunk.end for chunk in parent.chunks))
    assert b"".join(chunk.data for chunk in parent.chunks) == b"48\n49\n"

    await parent.send(tree_pb2.ToChild(read_log=tree_pb2.ReadLog(request_id=2, path=PLAIN, lines=1, follow=True)))
    followed = lambda: b"".join(chunk.data for chunk in parent.chunks if chunk.request_id == 2)  # noqa: E731
    await parent.until(lambda: followed() == b"49\n")
    os.kill(row.pid, signal.SIGUSR1)
    await parent.until(lambda: followed() == b"49\nmore\n")
    await parent.send(tree_pb2.ToChild(read_log=tree_pb2.ReadLog(request_id=2, cancel=True)))
    await parent.send(tree_pb2.ToChild(read_log=tree_pb2.ReadLog(request_id=3, path="sf01/n1/nobody-1", lines=1)))
    await parent.until(lambda: any(chunk.error for chunk in parent.chunks))
    assert parent.chunks[-1].error == "nothing was ever started as sf01/n1/nobody-1 on this node"


# ---- the end ---------------------------------------------------------------------------------------------------------


async def test_a_release_is_refused_while_a_process_is_alive_and_then_leaves_nothing(node: AgentNode) -> None:
    parent = await node.start()
    await parent.carry_out("b", PLAIN, "boot", spec=plain())
    release = tree_pb2.ToChild(release=tree_pb2.Release(fence=parent.present_fence(), reason="teardown"))
    await parent.send(release)
    row = await parent.carry_out("x", PLAIN, "shutdown")
    assert state_of(row) == "initial"
    assert "not released: 1 of this node's processes are alive: plain-1" in node.what_was_said()
    release.release.fence.CopyFrom(parent.present_fence())
    await parent.send(release)
    await asyncio.to_thread(eventually, "the node ends", lambda: not processes_of(node.home))
    left = sorted(path.name for path in node.directory.iterdir())
    assert left == ["agent.log", "keeper.json", "keeper.log", "logs", "node.json"]


async def test_a_node_that_is_alone_for_too_long_shuts_itself_down_if_it_was_told_so(node: AgentNode) -> None:
    node.orphan_timeout_s = 0.3
    parent = await node.start()
    await parent.carry_out("b", PLAIN, "boot", spec=plain())
    await node.stop_serving()
    await asyncio.to_thread(eventually, "the node ends", lambda: not processes_of(node.home))
    assert "no parent for 0.3 s: shutting everything down" in node.what_was_said()
