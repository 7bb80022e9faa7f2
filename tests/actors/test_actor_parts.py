"""The parts of an actor process that need no process: parameters, environment, and the class by itself."""

import queue
import socket
import threading
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from grange.actors.actor import Actor
from grange.actors.errors import ActorError
from grange.actors.link import NOTES_KEPT, Link
from grange.actors.orders import ORDERS
from grange.actors.parameters import REQUIRED, from_struct, settle
from grange.actors.surroundings import Surroundings, SurroundingsError
from grange.core.names import Severity
from grange.core.state import ROWS, STEADY
from grange.core.state import sources as sources_of
from grange.proto import actor_pb2
from grange.proto.framing import FramingError, Unframer, frame

LIMIT_S = 30.0


def hello(text: str) -> actor_pb2.FromActor:
    return actor_pb2.FromActor(hello=actor_pb2.ActorHello(nonce=text))


def test_a_message_is_preceded_by_its_length_as_a_varint():
    message = hello("x" * 300)
    size = message.ByteSize()
    assert frame(message) == bytes([size & 0x7F | 0x80, size >> 7]) + message.SerializeToString()
    assert frame(actor_pb2.ToActor()) == b"\0"


@given(st.lists(st.text(max_size=300), max_size=5), st.integers(1, 50))
def test_messages_come_out_whole_however_the_stream_is_cut(texts, step):
    stream = b"".join(frame(hello(text)) for text in texts)
    unframer = Unframer()
    bodies = [body for first in range(0, len(stream), step) for body in unframer.feed(stream[first : first + step])]
    assert [actor_pb2.FromActor.FromString(body).hello.nonce for body in bodies] == texts


@pytest.mark.parametrize("head", [b"\xff" * 5, b"\xff\xff\xff\x7f", b"\x80" * 6])
def test_a_length_that_cannot_be_is_an_error(head):
    with pytest.raises(FramingError):
        Unframer().feed(head)


def test_the_table_of_orders_in_the_documentation_is_the_state_machines():
    text = (Path(__file__).parents[2] / "docs" / "actor-contract.md").read_text()
    for command in ORDERS:
        sources = ", ".join(state for state in STEADY if state in sources_of(command))
        row = ROWS[command]
        assert f"| {command} | {sources} | {row.via} | {row.to} |" in text


def test_numbers_without_a_fraction_become_whole_numbers_at_every_depth():
    struct = Struct()
    struct.update({"b": {"c": [1.0, 2.5, None, True]}, "a": 3})
    assert from_struct(struct) == {"a": 3, "b": {"c": [1, 2.5, None, True]}}
    assert isinstance(from_struct(struct)["a"], int)


def test_given_parameters_replace_defaults_and_keep_their_type():
    settled = settle({"file": REQUIRED, "rate_hz": 0.0, "loops": 1, "free": None}, {"file": "x", "rate_hz": 5})
    assert settled == {"file": "x", "rate_hz": 5.0, "loops": 1, "free": None}
    assert isinstance(settled["rate_hz"], float)


@pytest.mark.parametrize(
    ("given_parameters", "says"),
    [
        ({"file": "x", "lops": 2}, "unknown parameter lops (did you mean loops?)"),
        ({"file": "x", "zzz": 2}, "unknown parameter zzz (known are: file, keep, loops)"),
        ({}, "file is required"),
        ({"file": "x", "loops": 1.5}, "loops is 1.5, and must be a whole number"),
        ({"file": "x", "loops": True}, "loops is True, and must be a whole number"),
        ({"file": "x", "keep": 1}, "keep is 1, and must be true or false"),
    ],
)
def test_what_is_wrong_with_parameters_is_said(given_parameters, says):
    with pytest.raises(ActorError) as caught:
        settle({"file": REQUIRED, "loops": 1, "keep": True}, given_parameters)
    assert says in caught.value.reason


def test_missing_variables_are_all_named():
    with pytest.raises(SurroundingsError, match=r"GRANGE_NONCE, GRANGE_EXCHANGE_DIRECTORY, GRANGE_DATA_DIRECTORY"):
        Surroundings.from_environment(
            {"GRANGE_MEMBER": "a/b/c-1", "GRANGE_FARM": "f", "GRANGE_ACTOR_SOCKET": "s", "GRANGE_CACHE_DIRECTORY": "c"}
        )


@pytest.mark.parametrize(("timeout_s", "interval_s"), [("", 1.0), ("5", 1.0), ("60", 1.0), ("0.5", 0.1)])
def test_heartbeats_come_five_times_within_the_agents_patience_and_at_least_every_second(timeout_s, interval_s):
    names = ("MEMBER", "FARM", "ACTOR_SOCKET", "NONCE", "EXCHANGE_DIRECTORY", "DATA_DIRECTORY", "CACHE_DIRECTORY")
    environment = {f"GRANGE_{name}": "x" for name in names} | {"GRANGE_HEARTBEAT_TIMEOUT_S": timeout_s}
    assert Surroundings.from_environment(environment).heartbeat_interval_s == interval_s


def test_an_actor_can_be_tried_out_without_agent_or_process(tmp_path):
    actor = Actor()
    notes = []
    actor.post_note = notes.append
    actor.take_parameters({"anything": 1})
    actor.count("read", 2)
    actor.count("read")
    actor.note(Severity.WARNING, "late-data", "too late", "Raise disorder")
    (tmp_path / "out").write_bytes(b"abc")
    file = actor.add_file(tmp_path / "out")
    assert actor.parameters == {"anything": 1}
    assert actor.counters == {"read": 3}
    assert (notes[0].code, notes[0].what_to_do) == ("late-data", "Raise disorder")
    assert (file.size_bytes, file.sha256[:8]) == (3, "ba7816bf")
    assert actor.remaining_s() == 0.0


def test_the_sentence_of_an_error_is_the_reason_and_what_to_try():
    assert ActorError("it broke.", "Mend it").sentence() == "it broke. Mend it"
    assert ActorError("it broke").sentence() == "it broke"


def test_for_an_agent_that_is_away_all_answers_are_kept_and_the_newest_notes(agent):
    agent.go_away()
    link = Link(
        str(agent.socket_path),
        hello=actor_pb2.ActorHello,
        heartbeat=lambda: None,
        on_order=lambda order: None,
        heartbeat_interval_s=1.0,
    )
    link.start()
    link.answer(actor_pb2.ActorAnswer(command_id="first"))
    for number in range(NOTES_KEPT + 5):
        link.note(actor_pb2.ActorNote(text=str(number)))
    link.answer(actor_pb2.ActorAnswer(command_id="last"))
    agent.listen()
    agent.answer("last")
    link.close(1.0)
    assert agent.answer("first").command_id == "first"
    assert [note.text for note in agent.notes()] == [str(number) for number in range(5, NOTES_KEPT + 5)]
    sequences = [message.sequence for message in agent.heard if message.sequence]
    assert sequences == sorted(set(sequences))


def test_a_main_thread_that_waits_judges_orders_itself_and_gives_the_link_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # so that the path is short
    judged = queue.SimpleQueue()

    class Quiet:
        """Is looked at when the main thread has the link and is about to wait: the order comes just then."""

        def fileno(self):
            agent.sendall(frame(actor_pb2.ToActor(order=actor_pb2.ActorOrder(command_id="waiting"))))
            return listener.fileno()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("link")
        listener.listen()
        listener.settimeout(LIMIT_S)
        link = Link(
            "link",
            hello=actor_pb2.ActorHello,
            heartbeat=lambda: None,
            on_order=lambda order: judged.put((order.command_id, threading.current_thread().name)),
            heartbeat_interval_s=LIMIT_S,
        )
        link.start()
        agent, _ = listener.accept()
        with agent:
            agent.settimeout(LIMIT_S)
            assert agent.recv(1)  # its hello: it reads from now on
            agent.sendall(frame(actor_pb2.ToActor(order=actor_pb2.ActorOrder(command_id="busy"))))
            assert judged.get(timeout=LIMIT_S) == ("busy", "actor-link")
            link.wait([Quiet()], LIMIT_S)
            assert judged.get_nowait() == ("waiting", threading.main_thread().name)
            agent.sendall(frame(actor_pb2.ToActor(order=actor_pb2.ActorOrder(command_id="busy again"))))
            assert judged.get(timeout=LIMIT_S) == ("busy again", "actor-link")
        again, _ = listener.accept()  # the link ended, and is opened anew
        again.close()
        link.close(LIMIT_S)
