"""The actor contract as an agent sees it: real processes, real sockets, every order and what goes wrong with them."""

import hashlib
import signal
import subprocess
import sys

import pytest

from grange.core.names import Command, State
from grange.core.plan import DataLink
from grange.proto import actor_pb2, common_pb2
from grange.proto.words import to_wire

DIARY = "sample_actors:Diary"
PICKY = "sample_actors:Picky"
STUCK = "sample_actors:Stuck"


def test_the_first_message_proves_the_actor_and_names_its_state(agent):
    process = agent.spawn(DIARY)
    (hello,) = agent.hellos()
    assert hello.contract_version == 1
    assert hello.nonce == agent.nonce
    assert hello.pid == process.pid
    assert hello.actor_class == DIARY
    assert hello.state == to_wire(State.BOOTED)
    assert (hello.last_command_id, hello.run_number) == ("", 0)


def test_every_order_calls_its_methods_and_is_answered_with_the_state_it_leads_to(agent):
    agent.spawn(DIARY)
    agent.hellos()
    inputs, outputs = (DataLink("trigger", ("sf01/n1/trigger-1",)),), (DataLink("builder", ("sf01/n1/builder-1",)),)
    orders = [
        (Command.LOAD, State.LOADED, {"parameters": {"gain": 2.0, "name": "a", "list": [1, 2.5]}}),
        (Command.CONFIGURE, State.CONFIGURED, {"inputs": inputs, "outputs": outputs}),
        (Command.START, State.TAKING, {"run_number": 7}),
        (Command.PAUSE, State.PAUSED, {}),
        (Command.RESUME, State.TAKING, {}),
        (Command.STOP, State.CONFIGURED, {"run_number": 7}),
        (Command.UNCONFIGURE, State.LOADED, {}),
        (Command.UNLOAD, State.BOOTED, {}),
    ]
    for command, state, fields in orders:
        answer = agent.do(command, **fields)
        assert (answer.ok, answer.reason, answer.state) == (True, "", to_wire(state))
    agent.wait_for(lambda: any("process_unload" in note.text for note in agent.notes()), "last note")
    assert [note.text for note in agent.notes()] == [
        "process_config {'gain': 2, 'list': [1, 2.5], 'name': 'a'}",
        f"process_register {inputs!r} {outputs!r}",
        "process_initialise",
        "process_start 7",
        "process_pause",
        "process_resume",
        "process_stop",
        "process_reset",
        "process_unload",
    ]


def test_the_answer_to_stop_has_the_counters_and_the_files_with_size_and_checksum(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.TAKING, run_number=7)
    agent.next_beat(lambda beat: beat.counters["blocks"] > 0)
    answer = agent.do(Command.STOP, run_number=7)
    (file,) = answer.files
    assert (file.member, file.size_bytes) == (agent.member, 5)
    assert file.path == str(agent.directory / "data" / "run-7.txt")
    assert file.sha256 == hashlib.sha256(b"data\n").hexdigest()
    assert answer.counters["blocks"] > 0


def test_heartbeats_tell_state_status_and_counters(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.TAKING)
    beat = agent.next_beat(lambda beat: beat.counters["blocks"] > 0 and beat.state == to_wire(State.TAKING))
    assert beat.status.endswith(" blocks")


def test_a_source_is_not_asked_for_blocks_while_paused_and_is_again_after_resume(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.TAKING)
    paused = agent.do(Command.PAUSE)
    later = agent.next_beat(lambda beat: beat.state == to_wire(State.PAUSED))
    later = agent.next_beat(lambda beat: True)
    assert later.counters["blocks"] == paused.counters["blocks"]
    agent.do(Command.RESUME)
    agent.next_beat(lambda beat: beat.counters["blocks"] > paused.counters["blocks"])


def test_an_order_that_the_state_does_not_allow_is_refused_with_what_is_possible_and_changes_nothing(agent):
    agent.spawn(DIARY)
    agent.hellos()
    answer = agent.do(Command.START, run_number=1)
    assert not answer.ok
    assert "start is not possible in booted" in answer.reason
    assert "load" in answer.reason
    assert answer.state == to_wire(State.BOOTED)
    assert agent.do(Command.LOAD).ok


@pytest.mark.parametrize("command", [Command.BOOT, Command.SETUP, Command.TEARDOWN, Command.SHUTDOWN])
def test_what_is_no_order_of_the_contract_is_refused(agent, command):
    agent.spawn(DIARY)
    agent.hellos()
    answer = agent.do(command)
    assert not answer.ok
    assert "not an order of the actor contract" in answer.reason


def test_a_repeated_order_gets_the_remembered_answer_and_is_not_carried_out_twice(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.CONFIGURED)
    first = agent.answer(agent.order(Command.START, command_id="once", run_number=3))
    agent.order(Command.START, command_id="once", run_number=3)
    assert agent.answer("once", repetitions=2) == first
    agent.do(Command.STOP)
    agent.wait_for(lambda: any(note.text == "process_stop" for note in agent.notes()), "stop note")
    assert [note.text for note in agent.notes()].count("process_start 3") == 1


def test_a_refusal_too_is_remembered_by_its_id(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.answer(agent.order(Command.CONFIGURE, command_id="early"))
    assert agent.do(Command.LOAD).ok
    agent.order(Command.CONFIGURE, command_id="early")
    assert not agent.answer("early", repetitions=2).ok


def test_a_start_without_a_run_number_or_of_a_stopped_run_is_refused(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.CONFIGURED)
    assert "no run number" in agent.do(Command.START).reason
    assert agent.do(Command.START, run_number=5).ok
    assert "run under way is 5" in agent.do(Command.STOP, run_number=4).reason
    assert agent.do(Command.STOP, run_number=5).ok
    assert "run 5 has been stopped already" in agent.do(Command.START, run_number=5).reason
    assert agent.do(Command.START, run_number=6).ok


def test_parameters_are_checked_at_load_and_every_problem_is_named(agent):
    agent.spawn(PICKY)
    agent.hellos()
    answer = agent.do(Command.LOAD, parameters={"treshold_kev": 20.0, "count": "many"})
    assert not answer.ok
    assert "unknown parameter treshold_kev (did you mean threshold_kev?)" in answer.reason
    assert "file is required" in answer.reason
    assert "count is 'many', and must be a whole number" in answer.reason
    assert answer.state == to_wire(State.BOOTED)
    assert agent.do(Command.LOAD, parameters={"file": "x", "threshold_kev": 20}).ok


def test_what_user_code_raises_fails_the_order_with_the_reason_and_the_state_stays(agent):
    agent.spawn(PICKY)
    agent.hellos()
    assert agent.do(Command.LOAD, parameters={"file": "x", "fail": "configure"}).ok
    answer = agent.do(Command.CONFIGURE)
    assert not answer.ok
    assert answer.reason == "no such calibration 'may-2'. Fix the parameter set"
    assert answer.state == to_wire(State.LOADED)
    answer = agent.do(Command.CONFIGURE, parameters={"file": "x", "fail": "bug"})
    assert (answer.ok, answer.reason) == (False, "KeyError: 'gain'")
    assert agent.do(Command.CONFIGURE, parameters={"file": "x"}).ok


def test_an_error_may_name_the_state_that_the_actor_is_really_in(agent):
    agent.spawn(PICKY)
    agent.hellos()
    agent.do(Command.LOAD, parameters={"file": "x", "fail": "lost"})
    answer = agent.do(Command.CONFIGURE)
    assert (answer.ok, answer.state) == (False, to_wire(State.BOOTED))
    assert agent.do(Command.LOAD, parameters={"file": "x"}).ok


def test_a_stop_that_could_not_drain_succeeds_and_says_so(agent):
    agent.spawn(PICKY)
    agent.hellos()
    agent.bring_to(State.TAKING, parameters={"file": "x", "fail": "drain"})
    answer = agent.do(Command.STOP)
    assert answer.ok
    assert answer.reason == "undrained: psa-1 never sent its marker"
    assert answer.counters["undrained"] == 1
    assert agent.do(Command.UNCONFIGURE).reason == ""


def test_a_failing_data_path_ends_the_process_with_the_reason_as_a_note_and_as_its_last_line(agent):
    agent.spawn(PICKY)
    agent.hellos()
    agent.bring_to(State.TAKING, parameters={"file": "x", "fail": "block"})
    code, text = agent.ended()
    assert code == 1
    assert text.splitlines()[-1] == "sf01/n1/psa-1: process_block failed: the disk is full. Make room"
    (note,) = agent.notes()
    assert (note.severity, note.code) == (common_pb2.SEVERITY_ERROR, "block-failed")
    assert "the disk is full" in note.text


def test_a_new_agent_finds_the_actor_as_it_was_and_hears_what_was_not_acknowledged(agent):
    agent.acknowledges = False
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.CONFIGURED)
    start = agent.order(Command.START, run_number=9)
    agent.answer(start)
    agent.go_away()
    agent.heard.clear()
    agent.acknowledges = True
    agent.listen()
    (hello,) = agent.hellos()
    assert hello.state == to_wire(State.TAKING)
    assert (hello.last_command_id, hello.run_number, hello.nonce) == (start, 9, agent.nonce)
    assert agent.answer(start).ok
    sequences = [message.sequence for message in agent.heard if message.sequence]
    assert sequences == sorted(sequences)
    assert sequences[0] == 1
    assert agent.do(Command.STOP).ok


def test_what_was_acknowledged_is_not_sent_again(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.LOADED)
    agent.next_beat(lambda beat: beat.state == to_wire(State.LOADED))
    agent.go_away()
    agent.heard.clear()
    agent.listen()
    agent.hellos()
    agent.do(Command.CONFIGURE)
    assert all(message.answer.state != to_wire(State.LOADED) for message in agent.heard)


def test_an_order_under_way_when_the_agent_dies_is_answered_to_the_next_agent(agent):
    agent.spawn(STUCK)
    agent.hellos()
    agent.do(Command.LOAD, parameters={"hang": "configure"})
    configure = agent.order(Command.CONFIGURE)
    agent.next_beat(lambda beat: beat.state == to_wire(State.CONFIGURING))
    agent.go_away()
    agent.heard.clear()
    agent.listen()
    (hello,) = agent.hellos()
    assert (hello.state, hello.last_command_id) == (to_wire(State.CONFIGURING), configure)
    agent.order(Command.CONFIGURE, command_id=configure)
    (agent.directory / "data" / "go-on").touch()
    assert agent.answer(configure).ok


def test_an_actor_that_is_being_started_names_the_run_to_a_new_agent(agent):
    agent.spawn(STUCK)
    agent.hellos()
    agent.bring_to(State.CONFIGURED, parameters={"hang": "start"})
    start = agent.order(Command.START, run_number=9)
    agent.next_beat(lambda beat: beat.state == to_wire(State.STARTING))
    agent.go_away()
    agent.heard.clear()
    agent.listen()
    (hello,) = agent.hellos()
    assert (hello.state, hello.last_command_id, hello.run_number) == (to_wire(State.STARTING), start, 9)
    (agent.directory / "data" / "go-on").touch()
    assert agent.answer(start).ok


def test_a_second_order_while_one_is_under_way_is_refused_at_once(agent):
    agent.spawn(STUCK)
    agent.hellos()
    agent.do(Command.LOAD, parameters={"hang": "configure"})
    configure = agent.order(Command.CONFIGURE)
    answer = agent.do(Command.UNLOAD)
    assert not answer.ok
    assert "configure is under way" in answer.reason
    (agent.directory / "data" / "go-on").touch()
    assert agent.answer(configure).ok


def test_heartbeats_go_on_during_an_order_until_its_deadline(agent):
    agent.spawn(STUCK)
    agent.hellos()
    agent.do(Command.LOAD, parameters={"hang": "configure"})
    configure = agent.order(Command.CONFIGURE, remaining_s=20.0)
    for _ in range(10):  # beyond hang_after_s, which does not hold here
        agent.next_beat(lambda beat: beat.state == to_wire(State.CONFIGURING))
    (agent.directory / "data" / "go-on").touch()
    assert agent.answer(configure).ok


@pytest.mark.parametrize(("hang", "remaining_s"), [("block", 20.0), ("configure", 0.2)])
def test_code_that_hangs_silences_the_heartbeats_until_it_comes_round(agent, hang, remaining_s):
    agent.spawn(STUCK)
    agent.hellos()
    agent.do(Command.LOAD, parameters={"hang": hang})
    configure = agent.order(Command.CONFIGURE, remaining_s=remaining_s)
    if hang == "block":
        assert agent.answer(configure).ok
        agent.order(Command.START, run_number=1)
    known = -1
    while known != len(agent.beats()):  # four intervals without a beat
        known = len(agent.beats())
        assert agent.process is not None
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(0.4)
    (agent.directory / "data" / "go-on").touch()
    agent.next_beat(lambda beat: True)
    assert agent.answer(configure).ok


@pytest.mark.parametrize("state", [State.LOADED, State.TAKING])
def test_sigterm_ends_the_process_cleanly_in_any_state(agent, state):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(state)
    code, text = agent.terminate()
    assert code == 0
    assert "Traceback" not in text
    assert (agent.directory / "data" / "closed").exists()


def test_sigterm_breaks_off_an_order_under_way(agent):
    agent.spawn(STUCK)
    agent.hellos()
    agent.do(Command.LOAD, parameters={"hang": "configure"})
    agent.order(Command.CONFIGURE)
    agent.next_beat(lambda beat: beat.state == to_wire(State.CONFIGURING))
    assert agent.terminate()[0] == 0


def test_sigint_is_ignored_and_an_agent_that_is_away_ends_nothing(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.bring_to(State.TAKING)
    agent.process.send_signal(signal.SIGINT)
    agent.go_away()
    agent.heard.clear()
    agent.listen()
    (hello,) = agent.hellos()
    assert hello.state == to_wire(State.TAKING)


def test_a_refused_actor_says_why_in_its_log_and_tries_again(agent):
    agent.spawn(DIARY)
    agent.hellos()
    agent.send(actor_pb2.ToActor(refusal=actor_pb2.ActorRefusal(reason="wrong nonce")))
    agent.go_away()
    agent.listen()
    agent.hellos(2)
    _, text = agent.terminate()
    assert "refused this actor: wrong nonce" in text


def test_bytes_that_make_no_sense_close_the_link_and_it_is_opened_anew(agent):
    agent.spawn(DIARY)
    agent.hellos()
    with agent._changed:
        agent._connection.sendall(b"\xff" * 10)
    agent.hellos(2)
    assert agent.do(Command.LOAD).ok


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sample_actors", "package.module:Class"),
        ("no.such.module:Actor", "cannot import no.such.module"),
        ("sample_actors:Dairy", "it has: Counting, Diary, Picky, Stuck"),
    ],
)
def test_a_name_that_leads_to_no_actor_is_said_in_one_line(agent, name, says):
    agent.spawn(name)
    code, text = agent.ended()
    assert code == 2
    assert says in text
    assert len(text.splitlines()) == 1


def test_an_actor_started_without_an_agent_names_the_missing_variables():
    command = [sys.executable, "-P", "-m", "grange.actors.run", "grange.actors.producer:Producer"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "GRANGE_ACTOR_SOCKET" in done.stderr


def test_the_contract_loads_neither_grpc_nor_database_nor_pydantic_nor_numpy():
    code = (
        "import sys, grange.actors.run; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'grpc', 'sqlalchemy', 'pydantic', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
