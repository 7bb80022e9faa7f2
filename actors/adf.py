"""ADF, the AGATA data format: the bytes of a frame, written and read here and nowhere else; files are in `adf_file.py`.

A *frame* is a 20-byte key and a payload; everything is little-endian and packed, nothing is aligned:

    key      uint32 length (bytes, the key included), uint32 type, uint32 event number, uint64 time stamp (10 ns)

The top byte of the type tells primary frames (0xFA) from composite ones (0xCA), whose payload is frames again. Key,
type numbers and data:psa version 4.0 follow the public converters of AGATA data; no public source gives the payload of
data:crystal, so grange defines one (version 1, below). A *block* is a buffer of whole frames, the unit in which
pulse-shape analysis is made parallel.

data:crystal, version 1, 7,640 bytes after the key, of fixed size so that a block is one numpy array:

    uint16 version (1), crystal, status, channels (38), samples (100), pre-trigger samples, sample period (ns), reserved
    uint64 channel mask (bit k: channel k is usable)
    float32 core energy (keV) by the high and by the low gain; float32 keV per count of the high and of the low gain
    int16 traces[38][100]: channels 0-35 the segments (6 x sector + slice), 36 the core at high gain, 37 at low gain;
    segments have the high gain's scale; net charges are positive, the base line is zero

data:psa, version 4.0:

    uint16 id, status; float32 e0, e1 (keV), t0, t1 (ns); uint16 psa status, hits; then 42 bytes per hit:
    uint16 status; int16 segment, crystal; float32 X, Y, Z (mm), E (keV), T (ns), tCCe, tCCh, tSGe, tSGh

Whatever is not so raises `AdfError` with the byte's offset and what was found there.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

Buffer: TypeAlias = bytes | bytearray | memoryview
Records: TypeAlias = npt.NDArray[np.void]
"""A numpy structured array."""

SEGMENTS = 36
CORE_HIGH_GAIN = 36
CORE_LOW_GAIN = 37
CHANNELS = 38
SAMPLES = 100
SAMPLE_NS = 10
TIMESTAMP_UNIT_NS = 10
TIMESTAMP_BITS = 48
ALL_CHANNELS = (1 << CHANNELS) - 1
CRYSTAL_VERSION = 1

MAX_FRAME_BYTES = 16 << 20
"""No honest frame is larger (2,000 crystals in one event): a larger length is a corrupt key, not a wish for memory."""


class FrameType(IntEnum):
    """The frame types that grange reads or writes; files may hold others, which are passed over by their length."""

    META_EOF = 0xFA001100
    META_SYNC = 0xFA011101
    DATA_CRYSTAL = 0xFA010101
    DATA_PSA = 0xFA010102
    DATA_EVENT_BUILDER = 0xFA010103
    DATA_MERGER = 0xFA010104
    DATA_TRACKED = 0xFA010105
    EVENT_DATA = 0xCA000100
    EVENT_DATA_CRYSTAL = 0xCA010101
    EVENT_DATA_PSA = 0xCA010102


_NAMES = {
    FrameType.META_EOF: "meta:eof",
    FrameType.META_SYNC: "meta:sync",
    FrameType.DATA_CRYSTAL: "data:crystal",
    FrameType.DATA_PSA: "data:psa",
    FrameType.DATA_EVENT_BUILDER: "data:eb",
    FrameType.DATA_MERGER: "data:merger",
    FrameType.DATA_TRACKED: "data:tracked",
    FrameType.EVENT_DATA: "event:data",
    FrameType.EVENT_DATA_CRYSTAL: "event:data:crystal",
    FrameType.EVENT_DATA_PSA: "event:data:psa",
}
_PRIMARY, _COMPOSITE = 0xFA, 0xCA


def type_name(frame_type: int) -> str:
    """The name of a frame type, `data:psa`; its number in hexadecimal when it has none."""
    known = frame_type in _NAMES
    return _NAMES[FrameType(frame_type)] if known else f"0x{frame_type:08X}"


class AdfError(ValueError):
    """Bytes that are not ADF: where (`path`, `offset` in bytes), and what was found there instead of what."""

    def __init__(self, offset: int, problem: str, path: str = "") -> None:
        self.offset = offset
        self.problem = problem
        self.path = path
        super().__init__(f"{path or 'ADF buffer'}, byte {offset}: {problem}")


_KEY = struct.Struct("<IIIQ")
KEY_BYTES = _KEY.size


class Key(NamedTuple):
    """What every frame begins with; `length` in bytes, the key's 20 included, `timestamp` in units of 10 ns."""

    length: int
    type: int
    event_number: int
    timestamp: int

    def pack(self) -> bytes:
        return _KEY.pack(*self)

    @classmethod
    def unpack(cls, buffer: Buffer, offset: int = 0) -> Self:
        """The key at `offset`, as it stands: `frames` is what checks it."""
        return cls(*_KEY.unpack_from(buffer, offset))

    @property
    def is_composite(self) -> bool:
        return self.type >> 24 == _COMPOSITE

    @property
    def is_event(self) -> bool:
        """True of composite and data:… frames (0xFA0101xx), false of conf and meta frames."""
        return self.is_composite or self.type >> 8 == FrameType.DATA_CRYSTAL >> 8


_KEY_FIELDS: list[Any] = [("length", "<u4"), ("type", "<u4"), ("event_number", "<u4"), ("timestamp", "<u8")]

CRYSTAL_FRAME = np.dtype(
    [
        *_KEY_FIELDS,
        ("version", "<u2"),
        ("crystal", "<u2"),
        ("status", "<u2"),
        ("channels", "<u2"),
        ("samples", "<u2"),
        ("pre_trigger", "<u2"),
        ("sample_ns", "<u2"),
        ("reserved", "<u2"),
        ("channel_mask", "<u8"),
        ("core_energy_kev", "<f4", (2,)),
        ("kev_per_count", "<f4", (2,)),
        ("traces", "<i2", (CHANNELS, SAMPLES)),
    ]
)
"""A whole data:crystal frame, key and payload."""

PSA_HEAD = np.dtype(
    [
        *_KEY_FIELDS,
        ("id", "<u2"),
        ("status", "<u2"),
        ("e0", "<f4"),
        ("e1", "<f4"),
        ("t0", "<f4"),
        ("t1", "<f4"),
        ("psa_status", "<u2"),
        ("hits", "<u2"),
    ]
)
"""A data:psa frame up to its hits: the key, and the 24 bytes that begin the payload."""

PSA_HIT = np.dtype(
    [
        ("status", "<u2"),
        ("segment", "<i2"),
        ("crystal", "<i2"),
        *((name, "<f4") for name in ("x", "y", "z", "energy", "time", "t_cce", "t_cch", "t_sge", "t_sgh")),
    ]
)
"""One hit of a data:psa frame, 42 bytes."""

_SCALE_KEV: tuple[float, float] = (0.25, 1.0)


def frames(buffer: Buffer, base: int = 0, path: str = "") -> Iterator[tuple[Key, memoryview]]:
    """Walk the whole frames of `buffer`: each one's key and a view of its payload, nothing copied.

    `base` is the offset of the buffer in the file `path`; both serve the `AdfError` that a frame raises whose type or
    length cannot be, or that reaches beyond the end. A composite's payload is walked by calling this again.
    """
    view = memoryview(buffer)
    offset = 0
    while offset < len(view):
        key = checked_key(view, offset, base, path)
        if offset + key.length > len(view):
            raise AdfError(base + offset, cut_short(key, len(view) - offset), path)
        yield key, view[offset + KEY_BYTES : offset + key.length]
        offset += key.length


def cut_short(key: Key, there: int) -> str:
    """What is wrong with a frame of which only `there` bytes are there."""
    return f"a {type_name(key.type)} frame of {key.length} bytes, of which only {there} are there"


def checked_key(view: memoryview, offset: int, base: int = 0, path: str = "") -> Key:
    """The key at `offset`, if it can be one; `AdfError` otherwise."""
    if len(view) - offset < KEY_BYTES:
        raise AdfError(base + offset, f"{len(view) - offset} bytes are left, and a key alone has {KEY_BYTES}", path)
    key = Key.unpack(view, offset)
    if key.type >> 24 not in (_PRIMARY, _COMPOSITE):
        raise AdfError(base + offset, f"frame type 0x{key.type:08X}, which begins with neither 0xFA nor 0xCA", path)
    if not KEY_BYTES <= key.length <= MAX_FRAME_BYTES:
        raise AdfError(base + offset, f"frame length {key.length}, not within {KEY_BYTES} … {MAX_FRAME_BYTES}", path)
    return key


def pack_crystal_frames(
    *,
    event_number: npt.ArrayLike,
    timestamp: npt.ArrayLike,
    crystal: npt.ArrayLike,
    core_energy_kev: npt.ArrayLike,
    traces: npt.ArrayLike,
    pre_trigger: int = 0,
    status: npt.ArrayLike = 0,
    channel_mask: npt.ArrayLike = ALL_CHANNELS,
    kev_per_count: tuple[float, float] = _SCALE_KEV,
) -> bytes:
    """n data:crystal frames one after another, n × 7,660 bytes.

    `traces` are int16 counts [n, 38, 100]; `core_energy_kev` is [n, 2]; the other arrays are [n] or one value for all.
    """
    counts = np.asarray(traces)
    if counts.ndim != 3 or counts.shape[1:] != (CHANNELS, SAMPLES) or counts.dtype != np.int16:
        raise ValueError(f"traces are {counts.dtype}{list(counts.shape)}, and must be int16[n, {CHANNELS}, {SAMPLES}]")
    block = np.zeros(len(counts), CRYSTAL_FRAME)
    block["length"] = CRYSTAL_FRAME.itemsize
    block["type"] = FrameType.DATA_CRYSTAL
    block["version"] = CRYSTAL_VERSION
    block["channels"] = CHANNELS
    block["samples"] = SAMPLES
    block["sample_ns"] = SAMPLE_NS
    block["event_number"] = event_number
    block["timestamp"] = timestamp
    block["crystal"] = crystal
    block["status"] = status
    block["pre_trigger"] = pre_trigger
    block["channel_mask"] = channel_mask
    block["core_energy_kev"] = core_energy_kev
    block["kev_per_count"] = kev_per_count
    block["traces"] = counts
    return block.tobytes()


def unpack_crystal_frames(buffer: Buffer, base: int = 0, path: str = "") -> Records:
    """A block of data:crystal frames as one read-only array of `CRYSTAL_FRAME`, nothing copied; else `AdfError`."""
    size = CRYSTAL_FRAME.itemsize
    whole = len(memoryview(buffer)) // size
    block = np.frombuffer(buffer, CRYSTAL_FRAME, whole)
    for name, wanted in (
        ("type", FrameType.DATA_CRYSTAL),
        ("length", size),
        ("version", CRYSTAL_VERSION),
        ("channels", CHANNELS),
        ("samples", SAMPLES),
        ("sample_ns", SAMPLE_NS),
    ):
        wrong = np.flatnonzero(block[name] != wanted)
        if len(wrong):
            first = int(wrong[0])
            found = int(block[name][first])
            raise AdfError(
                base + first * size, f"a data:crystal frame with {name} {found:#x}, not {int(wanted):#x}", path
            )
    left = len(memoryview(buffer)) - whole * size
    if left:
        raise AdfError(base + whole * size, f"{left} bytes are left, and a data:crystal frame has {size}", path)
    return block


def pack_psa_frames(heads: Records, hits: Records) -> bytes:
    """data:psa frames one after another: `heads` [n] of `PSA_HEAD`, `hits` [m] of `PSA_HIT` in the order of the heads.

    Each head's `hits` says how many are its own; `length` and `type` are filled in here.
    """
    counts = heads["hits"].astype(np.int64)
    if counts.sum() != len(hits):
        raise ValueError(f"the heads announce {counts.sum()} hits, and {len(hits)} are given")
    keyed = heads.astype(PSA_HEAD, copy=True)
    lengths = PSA_HEAD.itemsize + PSA_HIT.itemsize * counts
    keyed["length"] = lengths
    keyed["type"] = FrameType.DATA_PSA
    starts = np.cumsum(lengths) - lengths
    out = np.empty(int(lengths.sum()), np.uint8)
    out[_spans(starts, PSA_HEAD)] = keyed.view(np.uint8).reshape(-1, PSA_HEAD.itemsize)
    within = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
    hit_starts = np.repeat(starts + PSA_HEAD.itemsize, counts) + within * PSA_HIT.itemsize
    out[_spans(hit_starts, PSA_HIT)] = np.ascontiguousarray(hits, PSA_HIT).view(np.uint8).reshape(-1, PSA_HIT.itemsize)
    return out.tobytes()


def pack_psa_frame(head: np.void, hits: Records) -> bytes:
    """One data:psa frame; see `pack_psa_frames`. The head's `hits` is filled in."""
    heads = np.array([head], PSA_HEAD)
    heads["hits"] = len(hits)
    return pack_psa_frames(heads, hits)


def unpack_psa(payload: Buffer, offset: int = 0, path: str = "") -> tuple[np.void, Records]:
    """A data:psa payload as its head (the key's fields are zero) and its hits [m] of `PSA_HIT`."""
    head_bytes = PSA_HEAD.itemsize - KEY_BYTES
    size = len(memoryview(payload))
    announced = struct.unpack_from("<H", payload, head_bytes - 2)[0] if size >= head_bytes else 0
    wanted = head_bytes + announced * PSA_HIT.itemsize
    if size != wanted:
        raise AdfError(offset, f"a data:psa payload of {size} bytes, and {announced} hits make {wanted}", path)
    head = np.frombuffer(bytes(KEY_BYTES) + bytes(memoryview(payload)[:head_bytes]), PSA_HEAD)[0]
    return head, np.frombuffer(payload, PSA_HIT, announced, head_bytes)


def unpack_psa_frames(buffer: Buffer, base: int = 0, path: str = "") -> tuple[Records, Records]:
    """A block of data:psa frames as (heads [n], hits [m]), the inverse of `pack_psa_frames`; else `AdfError`."""
    starts = []
    offset = 0
    for key, payload in frames(buffer, base, path):
        if key.type != FrameType.DATA_PSA:
            raise AdfError(base + offset, f"a {type_name(key.type)} frame in a block of data:psa frames", path)
        unpack_psa(payload, base + offset, path)
        starts.append(offset)
        offset += key.length
    raw = np.frombuffer(buffer, np.uint8)
    at = np.array(starts, np.int64)
    heads = np.ascontiguousarray(raw[_spans(at, PSA_HEAD)]).view(PSA_HEAD).reshape(-1)
    counts = heads["hits"].astype(np.int64)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    hit_starts = np.repeat(at + PSA_HEAD.itemsize, counts) + within * PSA_HIT.itemsize
    return heads, np.ascontiguousarray(raw[_spans(hit_starts, PSA_HIT)]).view(PSA_HIT).reshape(-1)


def _spans(starts: npt.NDArray[np.int64], record: np.dtype[Any]) -> npt.NDArray[np.int64]:
    """The byte offsets [n, size] of records that begin at `starts`."""
    return starts[:, None] + np.arange(record.itemsize)


def pack_composite(frame_type: int, event_number: int, timestamp: int, members: Iterable[Buffer]) -> bytes:
    """A composite frame (0xCA…) of whole frames; the time stamp is, by custom, its earliest member's."""
    if frame_type >> 24 != _COMPOSITE:
        raise ValueError(f"{type_name(frame_type)} is not a composite type (0xCA……)")
    payload = b"".join(members)
    return Key(KEY_BYTES + len(payload), frame_type, event_number, timestamp).pack() + payload


def pack_eof(event_number: int = 0, timestamp: int = 0) -> bytes:
    """The meta:eof frame with which a file ends."""
    return Key(KEY_BYTES, FrameType.META_EOF, event_number, timestamp).pack()
