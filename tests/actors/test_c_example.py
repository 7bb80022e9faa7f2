"""The C example keeps the contract: built with all warnings and sanitizers, driven by the tests' own small agent."""

import os
import shutil
import signal
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from grange.core.names import Command, State
from grange.proto import actor_pb2, common_pb2
from grange.proto.words import to_wire

SOURCE = Path(str(resources.files("grange.actors.examples").joinpath("counter.c")))
BUILD = ["gcc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
LIMIT_S = 60.0
EMPTY = "int main(void) { return 0; }\n"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example, built; with sanitizers where this compiler has them."""
    if shutil.which("gcc") is None:
        assert os.environ.get("CI") != "true", "CI has to build the C example: install gcc"
        pytest.skip("no gcc here, so the C example is NOT tested: install gcc")
    folder = tmp_path_factory.mktemp("example")
    (folder / "empty.c").write_text(EMPTY)
    tried = subprocess.run([*BUILD, *SANITIZE, "-o", folder / "empty", folder / "empty.c"], capture_output=True)
    sanitize = SANITIZE if tried.returncode == 0 else []
    built = subprocess.run(
        [*BUILD, *sanitize, "-o", folder / "counter", SOURCE], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (built.returncode, built.stderr) == (0, "")
    return [str(folder / "counter")]


def test_the_example_is_short_enough_to_read():
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 200
    assert max(map(len, lines)) <= 120


def test_its_first_message_proves_it_and_names_its_state(agent, program):
    process = agent.spawn_program(program)
    (hello,) = agent.hellos()
    assert (hello.contract_version, hello.nonce, hello.pid) == (1, agent.nonce, process.pid)
    assert (hello.actor_class, hello.state) == ("counter.c", to_wire(State.BOOTED))
    assert (hello.last_command_id, hello.run_number) == ("", 0)


def test_every_order_leads_where_the_table_says_through_its_transitional_state(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    orders = [
        (Command.LOAD, State.LOADING, State.LOADED),
        (Command.CONFIGURE, State.CONFIGURING, State.CONFIGURED),
        (Command.START, State.STARTING, State.TAKING),
        (Command.PAUSE, State.PAUSING, State.PAUSED),
        (Command.RESUME, State.RESUMING, State.TAKING),
        (Command.PAUSE, State.PAUSING, State.PAUSED),
        (Command.STOP, State.STOPPING, State.CONFIGURED),
        (Command.START, State.STARTING, State.TAKING),
        (Command.STOP, State.STOPPING, State.CONFIGURED),
        (Command.UNCONFIGURE, State.UNCONFIGURING, State.LOADED),
        (Command.UNLOAD, State.UNLOADING, State.BOOTED),
    ]
    runs = iter([7, 8])
    for command, via, to in orders:
        known = len(agent.beats())
        answer = agent.do(command, run_number=next(runs) if command is Command.START else 0)
        assert (answer.ok, answer.reason, answer.state) == (True, "", to_wire(to))
        assert to_wire(via) in [beat.state for beat in agent.beats()[known:]]


def test_it_counts_while_taking_and_rests_while_paused(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    agent.bring_to(State.TAKING)
    agent.next_beat(lambda beat: beat.counters["turns"] > 0 and beat.state == to_wire(State.TAKING))
    paused = agent.do(Command.PAUSE)
    agent.next_beat(lambda beat: beat.state == to_wire(State.PAUSED))
    assert agent.next_beat(lambda beat: True).counters["turns"] == paused.counters["turns"]
    agent.do(Command.RESUME)
    agent.next_beat(lambda beat: beat.counters["turns"] > paused.counters["turns"])
    assert agent.do(Command.STOP).counters["turns"] > paused.counters["turns"]
    assert agent.do(Command.START, run_number=2).counters["turns"] == 0


def test_the_end_of_a_run_is_a_note_for_people(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    agent.bring_to(State.TAKING)
    agent.do(Command.STOP)
    (note,) = agent.notes()
    assert (note.severity, note.code) == (common_pb2.SEVERITY_INFO, "run-ended")
    assert "the run has ended" in note.text


def test_an_order_that_the_state_does_not_allow_is_refused_and_changes_nothing(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    answer = agent.do(Command.START, run_number=1)
    assert (answer.ok, answer.reason) == (False, "start is not possible in booted")
    assert answer.state == to_wire(State.BOOTED)
    assert agent.do(Command.LOAD).ok


@pytest.mark.parametrize("command", [Command.BOOT, Command.SETUP, Command.TEARDOWN, Command.SHUTDOWN])
def test_what_is_no_order_of_the_contract_is_refused(agent, program, command):
    agent.spawn_program(program)
    agent.hellos()
    answer = agent.do(command)
    assert (answer.ok, answer.state) == (False, to_wire(State.BOOTED))
    assert "not possible" in answer.reason


def test_parameters_that_it_does_not_know_are_refused_at_load(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    answer = agent.do(Command.LOAD, parameters={"threshold": 3})
    assert (answer.ok, answer.state) == (False, to_wire(State.BOOTED))
    assert "no parameters" in answer.reason


def test_a_start_of_no_run_or_a_stopped_run_and_a_stop_of_another_run_are_refused(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    agent.bring_to(State.CONFIGURED)
    assert not agent.do(Command.START).ok
    assert agent.do(Command.START, run_number=5).ok
    assert agent.do(Command.STOP, run_number=4).reason == "run 4 refused: the last was 5"
    assert agent.do(Command.STOP, run_number=5).ok
    assert not agent.do(Command.START, run_number=5).ok
    assert agent.do(Command.START, run_number=6).ok


def test_a_repeated_order_gets_the_remembered_answer_and_is_not_carried_out_twice(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    agent.bring_to(State.CONFIGURED)
    first = agent.answer(agent.order(Command.START, command_id="once", run_number=3))
    agent.do(Command.STOP)
    agent.order(Command.START, command_id="once", run_number=3)
    assert agent.answer("once", repetitions=2) == first
    assert agent.next_beat(lambda beat: True).state == to_wire(State.CONFIGURED)


def test_a_question_about_an_order_gets_its_answer(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    load = agent.order(Command.LOAD)
    first = agent.answer(load)
    agent.send(actor_pb2.ToActor(order=actor_pb2.ActorOrder(command_id=load, remaining_s=5.0)))
    assert agent.answer(load, repetitions=2) == first


def test_a_new_agent_finds_it_as_it_was_and_hears_what_was_not_acknowledged(agent, program):
    agent.acknowledges = False
    agent.spawn_program(program)
    agent.hellos()
    agent.bring_to(State.CONFIGURED)
    start = agent.order(Command.START, run_number=9)
    agent.answer(start)
    agent.go_away()
    agent.heard.clear()
    agent.acknowledges = True
    agent.listen()
    (hello,) = agent.hellos()
    assert (hello.state, hello.last_command_id, hello.run_number) == (to_wire(State.TAKING), start, 9)
    assert agent.answer(start).ok
    assert [message.sequence for message in agent.heard if message.sequence] == [1, 2, 3]
    assert agent.do(Command.STOP).ok


def test_what_was_acknowledged_is_not_sent_again(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    agent.do(Command.LOAD)
    agent.do(Command.CONFIGURE)  # so the acknowledgement of the first answer has come
    agent.go_away()
    agent.heard.clear()
    agent.listen()
    agent.hellos()
    agent.do(Command.UNCONFIGURE)
    assert 1 not in [message.sequence for message in agent.heard]


def test_bytes_that_make_no_sense_close_the_link_and_it_is_opened_anew(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    for number, nonsense in enumerate((b"\xff" * 12, b"\x02\x0f\x00", b"\x03\x0a\x7f\x00"), start=2):
        with agent._changed:
            agent._connection.sendall(nonsense)
        agent.hellos(number)
    assert agent.do(Command.LOAD).ok


def test_an_order_that_comes_byte_by_byte_or_with_unknown_fields_is_carried_out(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    order = actor_pb2.ActorOrder(command_id="slow", command=to_wire(Command.LOAD), remaining_s=5.0)
    body = order.SerializeToString() + b"\x7d\x01\x02\x03\x04" + b"\xf8\x01\x05"  # fields 15 and 31 of a later version
    message = b"\x0a" + bytes([len(body)]) + body
    for byte in bytes([len(message)]) + message:
        with agent._changed:
            agent._connection.sendall(bytes([byte]))
    assert agent.answer("slow").ok


def test_a_refused_actor_says_so_in_its_log_and_tries_again(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    agent.send(actor_pb2.ToActor(refusal=actor_pb2.ActorRefusal(reason="wrong nonce")))
    agent.go_away()
    agent.listen()
    agent.hellos(2)
    _, text = agent.terminate()
    assert "refused by the agent" in text


@pytest.mark.parametrize("state", [State.LOADED, State.TAKING])
def test_sigterm_ends_it_cleanly_and_sigint_does_not(agent, program, state):
    agent.spawn_program(program)
    agent.hellos()
    agent.bring_to(state)
    agent.process.send_signal(signal.SIGINT)
    agent.next_beat(lambda beat: True)
    code, text = agent.terminate()
    assert code == 0
    assert "ERROR" not in text  # of a sanitizer


def test_sigterm_ends_it_while_its_agent_is_away(agent, program):
    agent.spawn_program(program)
    agent.hellos()
    agent.go_away()
    assert agent.terminate()[0] == 0


def test_started_without_an_agent_it_names_what_is_missing(program):
    done = subprocess.run(program, env={}, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2
    assert "GRANGE_ACTOR_SOCKET" in done.stderr
