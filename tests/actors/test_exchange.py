"""The data exchange: what `exchange.py` promises, kept by the Unix sockets; both ends live in the test's own thread."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from grange.actors import unix_writer
from grange.actors.exchange import Block, Exchange, ExchangeError, Reader, Received, Writer, name_some
from grange.actors.unix_exchange import UnixExchange
from grange.actors.unix_wire import MAX_SOCKET_PATH_BYTES, socket_path

RUN = 12
PRODUCER, TRIGGER = "sf01/n1/producer-1", "sf01/n1/trigger-1"
PSA = ("sf01/n1/psa-1", "sf01/n1/psa-2", "sf01/n1/psa-3")
BIG = 1 << 20


class World:
    """Opens ends, moves data between them until nothing moves, and closes them all."""

    def __init__(self, directory: Path) -> None:
        self.exchange: Exchange = UnixExchange(directory)
        self.ends: list[Reader | Writer] = []

    def reader(self, member: str, writers: tuple[str, ...], window: int = 2, run_number: int = RUN) -> Reader:
        reader = self.exchange.reader(member, writers, run_number, window)
        self.ends.append(reader)
        return reader

    def writer(self, member: str, readers: tuple[str, ...], run_number: int = RUN) -> Writer:
        writer = self.exchange.writer(member, readers, run_number)
        self.ends.append(writer)
        return writer

    def move(self) -> None:
        """A socket of this machine has what was sent at once, so a few rounds settle all."""
        for _ in range(4):
            for end in self.ends:
                end.poll()

    def kill(self, end: Reader | Writer) -> None:
        """The process of this end dies: its sockets close, and nothing more is said."""
        self.ends.remove(end)
        end.close()
        self.move()


@pytest.fixture
def world(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(unix_writer, "RETRY_S", 0.0)
    world = World(short_directory)
    yield world
    for end in world.ends:
        end.close()


def block(number: int, data: bytes = b"data") -> Block:
    return Block(origin=7, number=number, frames=1, data=data)


def take(reader: Reader) -> list[Received]:
    """All blocks that are here, unconfirmed."""
    found = []
    while (received := reader.receive()) is not None:
        found.append(received)
    return found


def numbers(received: list[Received]) -> list[int]:
    return [each.block.number for each in received]


def test_a_block_arrives_as_it_was_sent_with_the_name_of_its_writer(world):
    reader, writer = world.reader(TRIGGER, (PRODUCER,)), world.writer(PRODUCER, (TRIGGER,))
    world.move()
    sent = Block(origin=99, number=5, frames=3, data=bytes(range(256)))
    writer.send(sent)
    world.move()
    (received,) = take(reader)
    assert received.writer == PRODUCER
    assert received.block == sent


def test_a_block_larger_than_any_socket_buffer_arrives_whole(world):
    reader, writer = world.reader(TRIGGER, (PRODUCER,)), world.writer(PRODUCER, (TRIGGER,))
    world.move()
    data = bytes(range(256)) * (10 * BIG // 256)
    writer.send(block(1, data))
    for _ in range(200):
        world.move()
    (received,) = take(reader)
    assert received.block.data == data


def test_without_confirmation_there_is_room_for_the_window_and_no_more(world):
    reader, writer = world.reader(TRIGGER, (PRODUCER,), window=2), world.writer(PRODUCER, (TRIGGER,))
    assert not writer.room()
    world.move()
    for number in (1, 2):
        assert writer.room()
        writer.send(block(number))
    assert not writer.room()
    assert writer.waiting_for() == f"{TRIGGER} (busy)"
    with pytest.raises(ExchangeError, match="no room"):
        writer.send(block(3))
    world.move()
    first, _ = take(reader)
    reader.done(first)
    world.move()
    assert writer.room()
    assert [confirmed.number for confirmed in writer.confirmed()] == [1]
    assert writer.confirmed() == []
    assert writer.unconfirmed == 1


def test_one_writer_serves_its_readers_as_a_work_queue(world):
    readers = [world.reader(member, (TRIGGER,), window=2) for member in PSA]
    writer = world.writer(TRIGGER, PSA)
    world.move()
    for number in range(1, 7):
        writer.send(block(number))
    world.move()
    assert [numbers(take(reader)) for reader in readers] == [[1, 4], [2, 5], [3, 6]]


def test_a_block_goes_to_the_reader_with_most_free_credit(world):
    slow, quick = world.reader(PSA[0], (TRIGGER,), window=2), world.reader(PSA[1], (TRIGGER,), window=2)
    writer = world.writer(TRIGGER, PSA[:2])
    world.move()
    for number in range(1, 5):
        writer.send(block(number))
    world.move()
    for received in take(quick):
        quick.done(received)
    world.move()
    for number in (5, 6):
        writer.send(block(number))
    world.move()
    assert numbers(take(slow)) == [1, 3]
    assert numbers(take(quick)) == [5, 6]


def test_several_writers_serve_one_reader(world):
    reader = world.reader("sf01/n1/builder-1", PSA)
    writers = [world.writer(member, ("sf01/n1/builder-1",)) for member in PSA]
    world.move()
    for number, writer in enumerate(writers, 1):
        writer.send(block(number))
    world.move()
    assert {received.writer: received.block.number for received in take(reader)} == dict(
        zip(PSA, (1, 2, 3), strict=True)
    )


def test_the_marker_comes_only_after_everything_is_confirmed(world):
    reader, writer = world.reader(TRIGGER, (PRODUCER,)), world.writer(PRODUCER, (TRIGGER,))
    world.move()
    writer.send(block(1))
    writer.end()
    world.move()
    assert not reader.drained
    (received,) = take(reader)
    world.move()
    assert not reader.drained
    assert not writer.finished
    assert reader.waiting_for() == PRODUCER
    reader.done(received)
    world.move()
    assert reader.drained
    assert writer.finished
    assert reader.waiting_for() == ""
    assert reader.dead == ()


def test_a_reader_is_drained_when_every_input_has_ended(world):
    reader = world.reader("sf01/n1/builder-1", PSA)
    first, second = (world.writer(member, ("sf01/n1/builder-1",)) for member in PSA[:2])
    world.move()
    first.end()
    world.move()
    assert not reader.drained
    second.end()
    world.move()
    assert reader.drained  # the third never came


def test_an_input_that_dies_counts_as_ended_and_is_named(world):
    reader, writer = world.reader(TRIGGER, (PRODUCER,)), world.writer(PRODUCER, (TRIGGER,))
    world.move()
    writer.send(block(1))
    world.kill(writer)
    assert reader.dead == (PRODUCER,)
    assert not reader.drained  # its last block is here and has not been given out
    (received,) = take(reader)
    reader.done(received)  # to nobody, and nothing breaks
    assert reader.drained


def test_an_input_that_comes_back_is_no_longer_dead(world):
    reader, writer = world.reader(TRIGGER, (PRODUCER,)), world.writer(PRODUCER, (TRIGGER,))
    world.move()
    world.kill(writer)
    world.writer(PRODUCER, (TRIGGER,))
    world.move()
    assert reader.dead == ()
    assert not reader.drained


def test_blocks_that_a_dead_reader_had_not_confirmed_are_sent_to_another(world):
    victim, other = world.reader(PSA[0], (TRIGGER,), window=3), world.reader(PSA[1], (TRIGGER,), window=3)
    writer = world.writer(TRIGGER, PSA[:2])
    world.move()
    for number in range(1, 5):
        writer.send(block(number))
    world.move()
    done, _ = take(victim)
    victim.done(done)
    world.move()
    world.kill(victim)
    assert sorted(numbers(take(other))) == [2, 3, 4]
    assert writer.resent == 1
    assert writer.unconfirmed == 3


def test_blocks_to_be_sent_again_wait_for_a_reader_that_comes_back(world):
    victim, writer = world.reader(PSA[0], (TRIGGER,)), world.writer(TRIGGER, PSA[:1])
    world.move()
    writer.send(block(1))
    world.kill(victim)
    assert not writer.room()
    assert writer.waiting_for() == f"{PSA[0]} (not connected)"
    assert [lost.number for lost in writer.give_up()] == [1]
    again = world.reader(PSA[0], (TRIGGER,))
    world.move()
    assert numbers(take(again)) == [1]


def test_a_writer_that_gives_up_still_marks_the_end_for_readers_that_took_all(world):
    stuck, well = world.reader(PSA[0], (TRIGGER,)), world.reader(PSA[1], (TRIGGER,))
    writer = world.writer(TRIGGER, PSA[:2])
    world.move()
    for number in (1, 2):
        writer.send(block(number))
    world.move()
    well.done(take(well)[0])
    world.move()
    writer.end()
    assert [lost.number for lost in writer.give_up()] == [1]
    assert not writer.finished
    world.kill(writer)
    assert (well.dead, stuck.dead) == ((), (TRIGGER,))


def test_a_block_sent_twice_costs_no_credit_once_both_are_confirmed(world):
    reader, writer = world.reader(PSA[0], (TRIGGER,)), world.writer(TRIGGER, PSA[:1])
    world.move()
    for _ in range(2):
        writer.send(block(1))
    world.move()
    for received in take(reader):
        reader.done(received)
    world.move()
    assert writer.unconfirmed == 0
    for number in (2, 3):
        assert writer.room()
        writer.send(block(number))


def test_a_confirmation_sent_just_before_a_reader_died_still_counts(world):
    reader, writer = world.reader(PSA[0], (TRIGGER,)), world.writer(TRIGGER, PSA[:1])
    world.move()
    writer.send(block(1))
    reader.poll()
    (received,) = take(reader)
    reader.done(received)
    world.kill(reader)
    assert writer.unconfirmed == 0
    assert writer.resent == 0


def test_a_writer_of_another_run_or_an_unknown_one_gets_nothing_in(world):
    reader = world.reader(TRIGGER, (PRODUCER,))
    stale = world.writer(PRODUCER, (TRIGGER,), run_number=RUN - 1)
    stranger = world.writer("sf01/n1/nobody-1", (TRIGGER,))
    world.move()
    assert not stale.room()
    assert not stranger.room()
    assert reader.receive() is None


def test_bytes_that_make_no_sense_cost_their_connection_and_nothing_else(world, short_directory):
    reader, writer = world.reader(TRIGGER, (PRODUCER,)), world.writer(PRODUCER, (TRIGGER,))
    world.move()
    with socket.socket(socket.AF_UNIX) as nonsense:
        nonsense.connect(socket_path(short_directory, TRIGGER))
        nonsense.sendall(b"\xff" * 64)
        world.move()
        with pytest.raises(ConnectionResetError):
            nonsense.recv(1)
    writer.send(block(1))
    world.move()
    assert numbers(take(reader)) == [1]


def test_a_socket_left_by_a_dead_process_is_replaced_and_that_of_a_living_one_is_not(world, short_directory):
    path = socket_path(short_directory, TRIGGER)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    world.reader(TRIGGER, (PRODUCER,))
    with pytest.raises(ExchangeError, match="another process listens"):
        world.reader(TRIGGER, (PRODUCER,))


def test_a_long_name_is_replaced_by_a_hash_and_a_long_directory_is_refused_with_the_remedy():
    member = "sf01/" + "n" * 200 + "/psa-1"
    path = socket_path(Path("/short"), member)
    assert len(path) <= MAX_SOCKET_PATH_BYTES
    assert path != socket_path(Path("/short"), member + "1")
    assert socket_path(Path("/short"), "sf01/n1/psa-1") == "/short/sf01.n1.psa-1.in"
    with pytest.raises(ExchangeError, match="Choose a shorter exchange directory"):
        socket_path(Path("/" + "d" * 100), member)


def test_a_directory_that_is_not_there_is_said(world):
    with pytest.raises(ExchangeError, match="Does the exchange directory exist"):
        UnixExchange(Path("/nonexistent")).reader(TRIGGER, (PRODUCER,), RUN, 2)


def test_many_names_are_cut_for_a_sentence():
    assert name_some(("a", "b")) == "a, b"
    assert name_some(("a", "b", "c", "d", "e")) == "a, b, c and 2 more"
