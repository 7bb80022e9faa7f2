"""What actors and those who write them are told when something cannot be: exact texts, each provoked."""

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grange.actors import adf
from grange.actors.adf import FrameType, Key
from grange.actors.analysis import analyse
from grange.actors.basis import BasisParameters, load_basis
from grange.actors.cache import CacheError, content_key, load_or_compute
from grange.actors.crystal import Crystal
from grange.actors.emulator import Emulation, write_events
from grange.actors.errors import ActorError
from grange.actors.exchange import Block, Received
from grange.actors.fields import FieldParameters
from grange.actors.gridsearch import GridSearch
from grange.actors.producer import Producer
from grange.actors.psa import Psa
from grange.actors.run import find
from grange.actors.surroundings import Surroundings
from grange.actors.unix_exchange import UnixExchange
from grange.actors.unix_wire import MAX_BLOCK_BYTES, Connection, Message, socket_path

COARSE = BasisParameters(FieldParameters(grid_mm=5.0), grid_mm=14.0, samples=40)
PEER = "sf01/n1/trigger-1"


def said(provoked: Callable[[], object]) -> str:
    with pytest.raises(Exception, match=r".") as caught:
        provoked()
    return caught.value.sentence() if isinstance(caught.value, ActorError) else str(caught.value)


def psa_frames(hits: int = 1) -> bytes:
    return adf.pack_psa_frame(np.zeros((), adf.PSA_HEAD), np.zeros(hits, adf.PSA_HIT))


def crystal_frames(count: int = 1) -> bytes:
    traces = np.zeros((count, adf.CHANNELS, adf.SAMPLES), np.int16)
    return adf.pack_crystal_frames(event_number=0, timestamp=0, crystal=0, core_energy_kev=0, traces=traces)


@pytest.mark.parametrize(
    ("provoked", "text"),
    [
        (
            lambda: list(adf.frames(b"1234", path="a.adf")),
            "a.adf, byte 0: 4 bytes are left, and a key alone has 20",
        ),
        (
            lambda: list(adf.frames(Key(19, FrameType.DATA_PSA, 0, 0).pack())),
            "ADF buffer, byte 0: frame length 19, not within 20 … 16777216",
        ),
        (
            lambda: list(adf.frames(psa_frames()[:-5])),
            "ADF buffer, byte 0: a data:psa frame of 86 bytes, of which only 81 are there",
        ),
        (
            lambda: adf.unpack_crystal_frames(crystal_frames().replace(b"\x26\x00", b"\x25\x00", 1)),
            "ADF buffer, byte 0: a data:crystal frame with channels 0x25, not 0x26",
        ),
        (
            lambda: adf.unpack_crystal_frames(crystal_frames(2)[:-1]),
            "ADF buffer, byte 7660: 7659 bytes are left, and a data:crystal frame has 7660",
        ),
        (
            lambda: adf.unpack_psa(psa_frames(2)[adf.KEY_BYTES : -1]),
            "ADF buffer, byte 0: a data:psa payload of 107 bytes, and 2 hits make 108",
        ),
        (
            lambda: adf.unpack_psa_frames(psa_frames() + adf.pack_eof()),
            "ADF buffer, byte 86: a meta:eof frame in a block of data:psa frames",
        ),
        (
            lambda: adf.pack_psa_frames(np.zeros(1, adf.PSA_HEAD), np.zeros(2, adf.PSA_HIT)),
            "the heads announce 0 hits, and 2 are given",
        ),
        (
            lambda: adf.pack_composite(FrameType.DATA_PSA, 0, 0, []),
            "data:psa is not a composite type (0xCA……)",
        ),
        (
            lambda: adf.pack_crystal_frames(
                event_number=0, timestamp=0, crystal=0, core_energy_kev=0, traces=np.zeros((2, 38, 100), np.int32)
            ),
            "traces are int32[2, 38, 100], and must be int16[n, 38, 100]",
        ),
    ],
)
def test_what_is_no_adf_is_told_with_its_place(provoked: Callable[[], object], text: str) -> None:
    assert said(provoked) == text


def test_what_a_search_cannot_be_given_is_told_with_what_it_needs(tmp_path: Path) -> None:
    search = GridSearch(load_basis(tmp_path, COARSE))
    traces, energies = np.zeros((2, 37, 50), np.float32), np.zeros((2, 36), np.float32)
    assert said(lambda: search.search(traces, energies)) == (
        "traces (2, 37, 50) and energies (2, 36): this basis needs (2, 37, 40) and (2, 36)"
    )
    frames = adf.unpack_crystal_frames(crystal_frames()).copy()
    frames["pre_trigger"] = 31
    assert said(lambda: analyse(search, frames)) == (
        "pre-trigger of 31 … 31 samples: between 3 and 30 are needed before a search window of 40"
    )


def test_a_block_that_is_none_is_told_with_its_writer(tmp_path: Path) -> None:
    psa = Psa(Surroundings(cache_directory=tmp_path))
    psa.take_parameters({"grid_mm": COARSE.grid_mm, "field_grid_mm": COARSE.fields.grid_mm})
    psa.process_initialise()
    assert said(lambda: psa.handle(Received(Block(7, 3, 1, b"1234"), PEER))) == (
        "block 3 from sf01/n1/trigger-1 cannot be analysed: "
        "ADF buffer, byte 0: 4 bytes are left, and a data:crystal frame has 7660. "
        "Check what the input file was written by"
    )


def test_a_grid_or_a_crystal_that_cannot_be_is_told(tmp_path: Path) -> None:
    coarser = dataclasses.replace(COARSE, grid_mm=15.0)
    assert said(lambda: load_basis(tmp_path, coarser)) == (
        "a grid of 15.0 mm leaves segments [1, 19] without a point; choose a finer one"
    )
    assert said(lambda: Crystal(slices_mm=(90.0,))) == (
        "slices of (90.0,) mm: there must be 6, and they must add up to 90.0 mm"
    )


def test_a_damaged_entry_of_the_cache_is_told_with_the_remedy(tmp_path: Path) -> None:
    load_or_compute(tmp_path, "demo", COARSE, lambda: {"values": np.zeros(3)})
    entry = tmp_path / content_key("demo", COARSE)
    (entry / "values.npy").write_bytes(b"half an array")
    with pytest.raises(CacheError) as caught:
        load_or_compute(tmp_path, "demo", COARSE, dict)
    by_numpy = caught.value.__cause__
    assert str(caught.value) == (
        f"cache entry {entry} cannot be read ({by_numpy}); delete this folder, and it is made again"
    )


def test_what_cannot_be_emulated_is_told(tmp_path: Path) -> None:
    nobody: Any = None
    assert said(lambda: write_events(tmp_path / "a", 10, [1, 1], 1, nobody)) == (
        "10 events in crystals [1, 1]: a number and different crystals are needed"
    )
    assert said(lambda: write_events(tmp_path / "a", 10, [0], 1, nobody, Emulation(rate_hz=1e-8))) == (
        "10 events at 1e-08 Hz do not fit 48 bits of time stamp"
    )


def test_an_input_file_that_is_no_name_is_told() -> None:
    producer = Producer()
    producer.take_parameters({"file": 5})
    assert said(producer.process_config) == (
        "file is 5, and must be a text, such as 'crystals.adf'. Correct the role's parameters in the configuration"
    )


def test_an_actor_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    assert said(lambda: find("no_such_package:Mine")) == (
        "cannot import no_such_package: No module named 'no_such_package'. Is it installed, or on PYTHONPATH?"
    )
    assert said(lambda: find(f"{tmp_path}/mine.py:Mine")) == (
        f"there is no file {tmp_path}/mine.py on this node. Copy it here, or correct the role's `actor`"
    )
    assert said(lambda: find("grange.actors.producer:Consumer")) == (
        "grange.actors.producer has no actor class Consumer (it has: Producer, Stage)"
    )


def test_an_actor_without_its_agent_is_told_what_is_missing() -> None:
    names = ("MEMBER", "FARM", "ACTOR_SOCKET", "NONCE", "EXCHANGE_DIRECTORY", "DATA_DIRECTORY", "CACHE_DIRECTORY")
    given = {f"GRANGE_{name}": "x" for name in names}
    del given["GRANGE_FARM"], given["GRANGE_NONCE"]
    assert said(lambda: Surroundings.from_environment(given)) == (
        "not in the environment: GRANGE_FARM, GRANGE_NONCE. An actor is started by its agent, which sets them"
    )
    given |= {f"GRANGE_{name}": "x" for name in names} | {"GRANGE_HEARTBEAT_TIMEOUT_S": "soon"}
    assert said(lambda: Surroundings.from_environment(given)) == (
        "GRANGE_HEARTBEAT_TIMEOUT_S is no number of seconds: could not convert string to float: 'soon'"
    )


def test_an_exchange_that_cannot_be_opened_is_told_with_the_remedy(short_directory: Path) -> None:
    path = socket_path(short_directory, PEER)
    gone = UnixExchange(short_directory / "gone")
    assert said(lambda: gone.reader(PEER, (), 1, 2)) == (
        f"cannot listen at {short_directory}/gone/sf01.n1.trigger-1.in: No such file or directory. "
        "Does the exchange directory exist?"
    )
    with socket.socket(socket.AF_UNIX) as somebody:
        somebody.bind(path)
        somebody.listen()
        assert said(lambda: UnixExchange(short_directory).reader(PEER, (), 1, 2)) == (
            f"another process listens at {path} already. Terminate it first"
        )
    Path(path).unlink()
    long = Path("/" + "d" * 120)
    hashed = Path(socket_path(short_directory, "n" * 200)).name
    assert said(lambda: socket_path(long, "n" * 200)) == (
        f"{long}/{hashed} is {len(str(long / hashed))} bytes long, and a Unix socket's path has at most 107. "
        "Choose a shorter exchange directory"
    )


def test_a_block_that_cannot_be_sent_is_told_with_the_remedy(short_directory: Path) -> None:
    writer = UnixExchange(short_directory).writer(PEER, ("sf01/n1/psa-1",), 1)
    assert said(lambda: writer.send(Block(7, 1, 1, b"data"))) == (
        f"no room for a block: waiting for {writer.waiting_for()}. Ask room() first"
    )
    writer.close()
    ours, theirs = socket.socketpair()
    with theirs, ours:
        body = memoryview(bytes(MAX_BLOCK_BYTES + 1))
        assert said(lambda: Connection(ours).push(Message(1, run_number=1, body=body))) == (
            f"a block of {MAX_BLOCK_BYTES + 1} bytes; the limit is {MAX_BLOCK_BYTES}. Send smaller blocks"
        )
