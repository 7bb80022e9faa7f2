"""The book on disk: one file to which each change is appended as a line, and which is written anew now and then.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and `core/keeping.py` alone,
where the lines and their reading are decided.

A flush of the disk costs as much as starting a process, so the manifests of all processes that are asked for in one
turn are appended together and flushed once (`commit`), before any of them is started. What comes later (process ids,
notes, ready, exits) has a meaning only as long as the machine runs, and so long the file system remembers it unflushed;
an exit is flushed all the same, after it was told.
"""

import contextlib
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grange.core import keeping

    from . import keeper_kernel as kernel
    from .keeper_loop import Loop
else:
    import keeper_kernel as kernel
    import keeping

COMPACT_BYTES = 4 * 1024 * 1024  # a shorter file is read in no time, and never written anew while the keeper runs …
COMPACT_FACTOR = 4  # … and a longer one when it has grown so many times since it was
FOLDER_0_1 = "manifests"  # where grange 0.1.0 had a file for each manifest


class Journal:
    """Puts on disk what the book says, and reads it."""

    def __init__(self, loop: "Loop", book: "keeping.Book") -> None:
        self._loop = loop
        self._book = book
        self._path = loop.path("manifests.jsonl")
        self._descriptor = -1  # opened when it is first needed
        self._bytes = 0
        self._compacted_bytes = 0
        self._torn = False  # the end of the file is a part of a line
        self._unwritten: set[str] = set()  # slots of which the file does not say what is so
        self._flush_asked = False

    def read(self) -> None:
        """Fill the book, and begin a new file with what is in it."""
        text = ""
        with contextlib.suppress(FileNotFoundError), open(self._path, errors="replace") as file:
            text = file.read()
        manifests, problems = keeping.replay(text)
        for problem in problems:
            kernel.say(f"{self._path}, {problem}")
        former = self._read_former()
        self._book.manifests = former | manifests
        try:
            self._compact()
        except OSError as error:
            self._loop.complaints.met("the book cannot be written anew, and is added to as it is", error)
            self._unwritten |= former.keys()
        else:
            self._remove_former()

    def _read_former(self) -> "dict[str, keeping.Manifest]":
        """What a keeper of grange 0.1.0 has left: its processes live on when grange is replaced by a newer one."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._loop.path(FOLDER_0_1))):
                if not name.endswith(".json"):
                    continue
                try:
                    with open(self._loop.path(FOLDER_0_1, name)) as file:
                        manifest = keeping.Manifest.from_json(file.read())
                except keeping.RequestError as error:
                    kernel.say(f"{FOLDER_0_1}/{name} is left out: {error}")
                else:
                    found[manifest.slot] = manifest
        return found

    def _remove_former(self) -> None:
        folder = self._loop.path(FOLDER_0_1)
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)

    # -- writing --

    def commit(self, manifests: "list[keeping.Manifest]") -> None:
        """On disk when this returns. Raises `OSError`, and then none of them is."""
        self._append([keeping.manifest_line(manifest) for manifest in manifests], flush=True)
        self._unwritten.difference_update(manifest.slot for manifest in manifests)

    def note(self, manifest: "keeping.Manifest", *names: str) -> None:
        """Fields that have changed; written later when that is impossible now."""
        self._write(manifest.slot, keeping.change_line(manifest, names))

    def forget(self, slot: str) -> None:
        """The slot is not in the book any more."""
        self._write(slot, keeping.forgotten_line(slot))

    def flush_soon(self) -> None:
        """At the end of this turn of the loop."""
        if not self._flush_asked:
            self._flush_asked = True
            self._loop.soon(self._flush)

    def remove(self) -> None:
        """Nothing is in the book, and nobody needs the file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _flush(self) -> None:
        self._flush_asked = False
        if self._descriptor >= 0:
            os.fdatasync(self._descriptor)

    def _write(self, slot: str, line: str) -> None:
        if not self._unwritten:
            with contextlib.suppress(OSError):
                self._append([line])
                with contextlib.suppress(OSError):  # what is written is written
                    self._compact_if_long()
                return
        self._unwritten.add(slot)
        self._loop.owed.do(self._path, self._write_unwritten)

    def _write_unwritten(self) -> None:
        book = self._book.manifests
        slots = sorted(self._unwritten)
        lines = [keeping.manifest_line(book[slot]) if slot in book else keeping.forgotten_line(slot) for slot in slots]
        self._append(lines)
        self._unwritten.clear()
        self.flush_soon()

    def _append(self, lines: list[str], *, flush: bool = False) -> None:
        """All of them; raises `OSError`, and then none is in the file."""
        if self._descriptor < 0:
            self._open()
        data = "".join(f"{line}\n" for line in lines).encode()
        if self._torn:
            data = b"\n" + data
        try:
            if os.write(self._descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if flush:
                os.fdatasync(self._descriptor)
        except OSError:
            try:
                os.ftruncate(self._descriptor, self._bytes)
            except OSError:
                self._torn = True
            raise
        self._torn = False
        self._bytes += len(data)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._bytes = os.fstat(self._descriptor).st_size
        if not self._bytes:
            kernel.sync_folder(self._path)
        self._torn = self._bytes > 0 and os.pread(self._descriptor, 1, self._bytes - 1) != b"\n"

    def _compact_if_long(self) -> None:
        if self._bytes > max(COMPACT_BYTES, COMPACT_FACTOR * self._compacted_bytes):
            self._compacted_bytes = self._bytes  # when it fails, the next attempt is as far away again
            self._compact()

    def _compact(self) -> None:
        lines = [keeping.manifest_line(manifest) for manifest in self._book.manifests.values()]
        kernel.save(self._path, "".join(f"{line}\n" for line in lines))
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._open()
        self._compacted_bytes = self._bytes
        self._unwritten.clear()
