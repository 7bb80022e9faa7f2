"""ADF files: written whole or not at all, read in blocks, and read again to say what is in them.

A finished file ends with one meta:eof frame, so a file that was cut at the end of a frame is found out too. Writer and
`summarise` count and hash with the same code: if their summaries of one file differ, it is not what was written.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from .adf import KEY_BYTES, AdfError, Buffer, FrameType, Key, checked_key, cut_short, frames, pack_eof, type_name

READ_BYTES = 4 << 20
"""How much of a file is read at a time."""


@dataclass(frozen=True, slots=True)
class AdfSummary:
    """What a file holds, found by reading every byte of it.

    `frames` counts all frames by the name of their type, those inside composites and the meta:eof too; `events` counts
    top-level data and event frames (a composite once, whatever is in it).
    """

    frames: dict[str, int] = field(default_factory=dict)
    events: int = 0
    bytes: int = 0
    sha256: str = ""


class _Tally:
    """The running summary of frames that pass by; reader and writer share it, so their summaries can be compared."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._counts: Counter[int] = Counter()
        self._events = 0
        self.bytes = 0

    def add(self, block: Buffer, path: str) -> None:
        """Count a block of whole frames; if it is not one, `AdfError`, and nothing is counted."""
        counts: Counter[int] = Counter()
        events = sum(key.is_event for key, _ in frames(block, self.bytes, path))
        _count_types(block, self.bytes, path, counts)
        self._counts += counts
        self._events += events
        self._digest.update(block)
        self.bytes += len(memoryview(block))

    def summary(self) -> AdfSummary:
        counts = {type_name(frame_type): count for frame_type, count in sorted(self._counts.items())}
        return AdfSummary(counts, self._events, self.bytes, self._digest.hexdigest())


def _count_types(block: Buffer, base: int, path: str, counts: Counter[int]) -> None:
    """Add all frames of `block` to `counts`, also those inside composites."""
    for key, payload in frames(block, base, path):
        counts[key.type] += 1
        if key.is_composite:
            _count_types(payload, base + KEY_BYTES, path, counts)
        base += key.length


class FrameWriter:
    """Writes an ADF file that exists under its name only when it is whole.

    Frames go to `<path>.part`; `close` adds meta:eof, makes all durable and renames. What goes wrong before leaves the
    `.part` for people to look at. A file that exists is not overwritten unless asked (FileExistsError). As a context
    manager it closes on success and abandons on an exception.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        if self.path.exists() and not overwrite:
            raise FileExistsError(f"{self.path} exists already; remove it, choose another name, or say overwrite=True")
        self._file: BinaryIO = self.part.open("wb")
        self._tally = _Tally()

    def write(self, block: Buffer) -> None:
        """Append a block of whole frames; `AdfError` if it is not one, and then nothing of it is written."""
        if self._file.closed:
            raise ValueError(f"{self.path} is closed")
        self._tally.add(block, str(self.path))
        self._file.write(block)

    def close(self) -> AdfSummary:
        """Finish the file and say what is in it; calling it again says the same."""
        if not self._file.closed:
            self.write(pack_eof())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self.part.replace(self.path)
        return self._tally.summary()

    def abandon(self) -> None:
        """Close without finishing: the `.part` stays."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def read_blocks(
    path: str | os.PathLike[str], frames_per_block: int = 256, *, require_eof: bool = True
) -> Iterator[memoryview]:
    """The file's frames in order, in blocks of at most `frames_per_block` frames of one type; meta:eof is not given.

    `AdfError` where the file stops being ADF, goes on after meta:eof, or ends without one (unless `require_eof` is
    false, for files of other programs); the frames before it are given first.
    """
    if frames_per_block < 1:
        raise ValueError(f"frames_per_block is {frames_per_block}, and must be at least 1")
    block = bytearray()
    block_type, held = 0, 0
    try:
        for key, frame in _file_frames(os.fspath(path), require_eof):
            if held and (key.type != block_type or held == frames_per_block):
                yield memoryview(bytes(block))
                block.clear()
                held = 0
            if key.type != FrameType.META_EOF:
                block += frame
                block_type = key.type
                held += 1
    except AdfError:
        if held:
            yield memoryview(bytes(block))
        raise
    if held:
        yield memoryview(bytes(block))


def summarise(path: str | os.PathLike[str]) -> AdfSummary:
    """Read the whole file again and say what it holds; `AdfError` if it is not a finished ADF file."""
    tally = _Tally()
    name = os.fspath(path)
    for _, frame in _file_frames(name, require_eof=True):
        tally.add(frame, name)
    return tally.summary()


def _file_frames(name: str, require_eof: bool) -> Iterator[tuple[Key, bytes]]:
    """Every whole frame of a file, the meta:eof at its end included."""
    offset, last_type = 0, 0
    with open(name, "rb", buffering=READ_BYTES) as file:
        while head := file.read(KEY_BYTES):
            key = checked_key(memoryview(head), 0, offset, name)
            if last_type == FrameType.META_EOF:
                raise AdfError(offset, f"a {type_name(key.type)} frame after meta:eof", name)
            frame = head + file.read(key.length - KEY_BYTES)
            if len(frame) < key.length:
                raise AdfError(offset, cut_short(key, len(frame)), name)
            yield key, frame
            offset += key.length
            last_type = key.type
    if require_eof and last_type != FrameType.META_EOF:
        raise AdfError(
            offset, "the file ends without meta:eof: its writer did not finish, or the copy is cut short", name
        )
