"""The output of processes: the last lines for a sentence, a log as it grows, and a bound for the disk.

A process writes straight into its log, opened for appending, so nothing here is in its way. Rotation copies the end of
the log and then truncates it; what a process writes between the two is lost.

The bound: a start has its log and the copy, `LOG_BYTES_MAX` each, beside what it writes until the agent looks again
(about a second); a slot has the last `INSTANCE_LOGS_KEPT` starts and the present one. So 80 MB for each slot. The
agent's own log is bounded in the same way, to `AGENT_LOG_BYTES_MAX` and as much of the time before.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

LOG_BYTES_MAX = 10_000_000  # of one process's log before it is rotated; as much again is kept of the time before
AGENT_LOG_BYTES_MAX = 5_000_000
TAIL_BYTES_MAX = 64 * 1024  # looked at for the last lines
CHUNK_BYTES_MAX = 64 * 1024  # of a log that is being followed
FOLLOW_POLL_S = 0.25
LAST_LINES = 10  # kept with a failure


def tail(file: BinaryIO, lines: int) -> bytes:
    """The last so many lines, looked for in the last `TAIL_BYTES_MAX` bytes per 100 lines; leaves `file` at its end."""
    size = file.seek(0, os.SEEK_END)
    span = min(size, TAIL_BYTES_MAX * (1 + lines // 100))
    file.seek(size - span)
    kept = file.read(span).splitlines(keepends=True)
    return b"".join(kept[-lines:]) if lines else b""


def last_lines(path: Path) -> tuple[str, ...]:
    """The last lines that say something, for a failure; none when there is no log."""
    try:
        with open(path, "rb") as file:
            text = tail(file, 4 * LAST_LINES).decode(errors="replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-LAST_LINES:]


async def follow(path: Path, lines: int, *, on: bool) -> AsyncGenerator[bytes, None]:
    """The last `lines` lines, then, with `on`, all that is written from now on, for ever. Raises `OSError`.

    It goes on with the new file when the log is truncated, or renamed and begun again.
    """
    file = open(path, "rb")  # noqa: ASYNC230, SIM115 - a local file, closed below
    try:
        start = tail(file, lines)
        position = file.tell()
        for first in range(0, len(start), CHUNK_BYTES_MAX):
            yield start[first : first + CHUNK_BYTES_MAX]
        while on:
            if os.fstat(file.fileno()).st_size < position:
                position = file.seek(0)
            data = file.read(CHUNK_BYTES_MAX)
            position += len(data)
            if data:
                yield data
            elif not _is_at(file, path):
                file.close()
                file, position = open(path, "rb"), 0  # noqa: ASYNC230, SIM115 - as above
            else:
                await asyncio.sleep(FOLLOW_POLL_S)
    finally:
        file.close()


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is still the one at the path; also while there is none there."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return True


def is_longer(path: Path, bytes_max: int) -> bool:
    """Whether a log is to be rotated. Raises `OSError`."""
    try:
        return path.stat().st_size > bytes_max
    except FileNotFoundError:
        return False


def rotate(path: Path, bytes_max: int) -> bool:
    """Copy the last `bytes_max` bytes of a log that has more, and truncate it; whether it had. Raises `OSError`."""
    if not is_longer(path, bytes_max):
        return False
    size = path.stat().st_size
    with open(path, "rb") as log, open(path.with_name(path.name + ".1"), "wb") as copy:
        os.sendfile(copy.fileno(), log.fileno(), size - bytes_max, bytes_max)
    os.truncate(path, 0)
    return True
