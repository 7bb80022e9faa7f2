"""The outbox: a file in which records wait, durably and in order, until the database has them.

The file begins with a line that names its format. A record is a frame (length, CRC-32, sequence number, class) and a
JSON payload with its idempotency key and the incarnation of the controller that put it. Appending is one write,
followed by a flush to the disk when asked; a record that could not be written whole is taken off again and the caller
is told. A crash can leave half a record at the end: on opening, everything from the first record that does not check is
cut off, and `torn_bytes` says how much (it was never promised to anyone who asked for a flush).

The size is bounded. When the waiting records reach the limit, samples are dropped first, oldest first, then messages,
until a quarter is free again; essential records are never dropped, and may go over the limit by as much again before
`OutboxFull` is raised. Acknowledged records leave the file when it is rewritten, by an atomic rename, or emptied. After
a crash some may be handed out again: applying must be idempotent, hence the keys.

A full disk must not lose the end of a run: room for what comes next is taken from the disk beforehand, behind the end
of the file, where the file system can do that. When no more is to be had, the last half is for essential records.

One process at a time opens an outbox (a controller holds its home's lock); inside it any thread may call.
"""

import ctypes
import errno
import json
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from .errors import OutboxFailed, OutboxFull

LIMIT_BYTES = 64 * 2**20  # of waiting records by default: some hundred thousand messages
IDLE_BYTES = 256 * 2**10  # an outbox in which nothing waits is emptied when its file has grown beyond this

RESERVE_BYTES = 2**20  # on the disk behind the end of the file: some thousand records of commands

_HEADER = b"grange outbox 1\n"
_FRAME = struct.Struct("<IIQB")  # payload length, CRC-32 of what follows it, sequence number, class
_CHECKED_FROM = 8  # the CRC covers the frame from its sequence number on, and the payload


_BLOCK_BYTES = 512  # in which stat(2) counts
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of fallocate(2), which Python does not know
_libc = ctypes.CDLL(None, use_errno=True)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_PROTECTED = (errno.EPERM, errno.EACCES, errno.EROFS)


class RecordClass(IntEnum):
    """What goes first when the outbox is full; the numbers are written in files."""

    SAMPLE = 1
    MESSAGE = 2
    ESSENTIAL = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One waiting record."""

    seq: int
    key: str
    record_class: RecordClass
    payload: Mapping[str, Any]
    size_bytes: int  # in the file
    incarnation: int = 0  # of the controller that put it; 0: of none that had one


class Outbox:
    """An open outbox file."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open or create it. Raises `OutboxFailed` when the file is something else or the disk refuses."""
        self._path = path
        self._limit_bytes = limit_bytes
        self._lock = threading.RLock()
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._dropped = {RecordClass.SAMPLE: 0, RecordClass.MESSAGE: 0}
        self._reserved_to = 0  # so many bytes of the file have their room on the disk
        self._is_disk_full = False
        self.torn_bytes = 0  # cut off at opening
        try:
            path.with_name(f"{path.name}.new").unlink(missing_ok=True)  # a rewrite that a crash has ended
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutboxFailed(f"outbox {path} cannot be opened: {error.strerror}") from error
        try:
            self._read()
            self._reserve()
        except OSError as error:
            os.close(self._fd)
            raise OutboxFailed(f"outbox {path} cannot be read: {error.strerror}") from error
        except BaseException:
            os.close(self._fd)
            raise

    # -- opening -------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        with open(self._fd, "rb", closefd=False) as file:
            content = file.read()
        if not _HEADER.startswith(content[: len(_HEADER)]):
            raise OutboxFailed(f"{self._path} is not an outbox of this version; move it away if it may be lost")
        if len(content) < len(_HEADER):  # new, or a crash while it was new
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, _HEADER, 0)
            os.fsync(self._fd)
            _sync_folder(self._path)
            content = _HEADER
        offset, last_seq = len(_HEADER), 0
        while (entry := _entry_at(content, offset)) is not None and entry.seq > last_seq:
            self._waiting.append(entry)
            self._waiting_bytes += entry.size_bytes
            offset += entry.size_bytes
            last_seq = entry.seq
        self.torn_bytes = len(content) - offset
        if self.torn_bytes:
            os.ftruncate(self._fd, offset)
            os.fsync(self._fd)
        self._file_bytes = offset
        self._reserved_to = max(offset, os.fstat(self._fd).st_blocks * _BLOCK_BYTES)  # of its last life
        self._next_seq = last_seq + 1

    # -- use -----------------------------------------------------------------------------------------------------

    def append(
        self,
        payload: Mapping[str, Any],
        key: str,
        record_class: RecordClass,
        sync: bool = True,
        incarnation: int = 0,
    ) -> int:
        """Add a record and return its sequence number; with `sync` it is on the disk when this returns.

        0 for a sample or message for which there is no room. Raises `OutboxFull` for an essential record beyond twice
        the limit, and `OutboxFailed` when the disk refuses; in both cases the record is not in the outbox.
        """
        with self._lock:
            entry, frame = _framed(self._next_seq, key, record_class, payload, incarnation)
            if self._waiting_bytes + entry.size_bytes > self._limit_bytes and not self._make_room(entry):
                self._dropped[record_class] += 1
                return 0
            if not self._has_disk(entry):
                self._dropped[record_class] += 1
                return 0
            try:
                written = os.pwrite(self._fd, frame, self._file_bytes)
                if written != len(frame):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if sync:
                    os.fdatasync(self._fd)
            except OSError as error:
                with suppress(OSError):  # what stays behind does not check, and the next record is written over it
                    os.ftruncate(self._fd, self._file_bytes)
                    self._reserved_to = self._file_bytes  # the disk takes the rest back with that
                raise OutboxFailed(
                    f"outbox {self._path}: a record could not be made durable ({error.strerror}); {_remedy(error)}"
                ) from error
            self._next_seq += 1
            self._file_bytes += entry.size_bytes
            self._waiting.append(entry)
            self._waiting_bytes += entry.size_bytes
            return entry.seq

    def pending(self, limit: int | None = None) -> list[Entry]:
        """The waiting records in order, at most `limit`."""
        with self._lock:
            count = len(self._waiting) if limit is None else min(limit, len(self._waiting))
            return [self._waiting[position] for position in range(count)]

    def acknowledge(self, seq: int) -> None:
        """All records up to this sequence number are in the database; they need not wait any more."""
        with self._lock:
            while self._waiting and self._waiting[0].seq <= seq:
                self._waiting_bytes -= self._waiting.popleft().size_bytes
            done_bytes = self._file_bytes - len(_HEADER) - self._waiting_bytes
            if not self._waiting and done_bytes > IDLE_BYTES:
                self._empty()
            elif done_bytes > max(4 * IDLE_BYTES, self._waiting_bytes):
                self._rewrite()

    def set_aside(self, entry: Entry, why: str) -> None:
        """Keep a record that can never be applied in a file beside the outbox, one JSON object a line, for experts."""
        kept = {"why": why, "key": entry.key, "incarnation": entry.incarnation, "record": entry.payload}
        line = json.dumps(kept, ensure_ascii=False) + "\n"
        with self._lock, open(self.rejected_path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @property
    def rejected_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.rejected")

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    @property
    def dropped(self) -> dict[RecordClass, int]:
        """How many samples and messages were dropped since opening, for want of room."""
        return dict(self._dropped)

    def close(self) -> None:
        """Close the file; what waits stays in it."""
        with self._lock:
            if self._fd < 0:
                return
            if not self._waiting:
                os.ftruncate(self._fd, len(_HEADER))
            os.close(self._fd)
            self._fd = -1

    # -- room ----------------------------------------------------------------------------------------------------

    def _make_room(self, entry: Entry) -> bool:
        """Drop what may be dropped for `entry`; whether it may now be added."""
        target = self._limit_bytes * 3 // 4 - entry.size_bytes
        for victim in (RecordClass.SAMPLE, RecordClass.MESSAGE):
            if victim <= entry.record_class and self._waiting_bytes > target:
                self._drop(victim, target)
        if self._waiting_bytes + entry.size_bytes <= self._limit_bytes:
            return True
        if entry.record_class is not RecordClass.ESSENTIAL:
            return False
        if self._waiting_bytes + entry.size_bytes > 2 * self._limit_bytes:
            raise OutboxFull(
                f"outbox {self._path} holds {self._waiting_bytes} bytes of essential records, for the database has "
                "been away too long; bring the database back, then give the command again"
            )
        return True

    def _drop(self, victim: RecordClass, target_bytes: int) -> None:
        kept: deque[Entry] = deque()
        for entry in self._waiting:
            if entry.record_class is victim and self._waiting_bytes > target_bytes:
                self._waiting_bytes -= entry.size_bytes
                self._dropped[victim] += 1
            else:
                kept.append(entry)
        if len(kept) != len(self._waiting):
            self._waiting = kept
            self._rewrite()

    def _has_disk(self, entry: Entry) -> bool:
        """Whether the disk has room for `entry` beside what is kept for essential ones; has more kept in time."""
        end = self._file_bytes + entry.size_bytes
        if end > self._reserved_to - RESERVE_BYTES // 2:
            self._reserve()
        is_short = self._is_disk_full and end > self._reserved_to - RESERVE_BYTES // 2
        return entry.record_class is RecordClass.ESSENTIAL or not is_short

    def _reserve(self) -> None:
        """Takes room from the disk for what comes next, behind the end of the file, where nobody reads it.

        It asks for nothing that it has already: when it gets no more, tmpfs would take that back as well.
        """
        end = self._file_bytes + RESERVE_BYTES
        error = _allocate(self._fd, self._reserved_to, end - self._reserved_to) if end > self._reserved_to else 0
        self._is_disk_full = error in _NO_ROOM
        if not self._is_disk_full:  # a file system that cannot do that is not asked again for every record either
            self._reserved_to = max(self._reserved_to, end)

    def _empty(self) -> None:
        os.ftruncate(self._fd, len(_HEADER))
        self._file_bytes = self._reserved_to = len(_HEADER)
        self._reserve()

    def _rewrite(self) -> None:
        """Write the waiting records into a new file and put it in the old one's place, whole or not at all."""
        new_path = self._path.with_name(f"{self._path.name}.new")
        fd = os.open(new_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(_HEADER)
                file.writelines(_frames(self._waiting))
            os.fsync(fd)
            os.rename(new_path, self._path)
        except OSError as error:
            os.close(fd)
            new_path.unlink(missing_ok=True)
            raise OutboxFailed(f"outbox {self._path} cannot be rewritten: {error.strerror}") from error
        os.close(self._fd)
        self._fd = fd
        self._file_bytes = self._reserved_to = len(_HEADER) + self._waiting_bytes
        self._reserve()
        _sync_folder(self._path)


def _remedy(error: OSError) -> str:
    """What to try when the system does not let the file be written."""
    if error.errno in (*_NO_ROOM, errno.EFBIG):
        return "make room on the disk"
    if error.errno in _PROTECTED:
        return "see whether the file or its disk is read-only or immutable (ls -l, mount, lsattr)"
    return "see what ails the disk: dmesg"


def _framed(
    seq: int, key: str, record_class: RecordClass, payload: Mapping[str, Any], incarnation: int
) -> tuple[Entry, bytes]:
    kept = {"key": key, "by": incarnation, "record": payload}
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    content = text.encode()
    unchecked = _FRAME.pack(len(content), 0, seq, record_class)
    crc = zlib.crc32(content, zlib.crc32(unchecked[_CHECKED_FROM:]))
    frame = _FRAME.pack(len(content), crc, seq, record_class) + content
    return Entry(seq, key, record_class, payload, len(frame), incarnation), frame


def _frames(entries: Iterable[Entry]) -> Iterable[bytes]:
    return (_framed(one.seq, one.key, one.record_class, one.payload, one.incarnation)[1] for one in entries)


def _entry_at(content: bytes, offset: int) -> Entry | None:
    """The record that begins at `offset`, or None when there is no whole and sound one."""
    if offset + _FRAME.size > len(content):
        return None
    length, crc, seq, record_class = _FRAME.unpack_from(content, offset)
    end = offset + _FRAME.size + length
    if length == 0 or end > len(content) or zlib.crc32(content[offset + _CHECKED_FROM : end]) != crc:
        return None
    payload = json.loads(content[offset + _FRAME.size : end])
    kept_by = payload.get("by", 0)  # older versions did not say
    return Entry(seq, payload["key"], RecordClass(record_class), payload["record"], end - offset, kept_by)


def _allocate(fd: int, offset: int, size_bytes: int) -> int:
    """Has the disk keep room for a part of a file, whose size stays; the error's number, 0 for none."""
    arguments = ctypes.c_int(fd), ctypes.c_int(_KEEP_SIZE), ctypes.c_int64(offset), ctypes.c_int64(size_bytes)
    return ctypes.get_errno() if _libc.fallocate(*arguments) else 0


def _sync_folder(path: Path) -> None:
    """Make a new or renamed file's name durable."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
