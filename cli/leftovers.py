"""What of a farm is still there when nothing should be: processes, sockets, held locks and shared memory."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from grange.core.home import Home


def leftovers(home: Home) -> list[str]:
    """Processes that belong to the home, and sockets in it, one sentence each."""
    return [*_processes(home), *_sockets(home), *_shared_memory()]


def _processes(home: Home) -> Iterator[str]:
    """Programs of the farm have the home in their command line; its processes have it in their environment."""
    needle = home.root.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue
        except OSError:
            continue  # gone, or another user's
        ours = any(word.startswith((b"GRANGE_ACTOR_SOCKET=", b"GRANGE_NODE")) for word in environment.split(b"\0"))
        program = b"grange.controllers" in command or b"grange.supervisor" in command or b"keeper.py" in command
        if (program and needle in command) or (ours and needle in environment):
            words = command.replace(b"\0", b" ").decode(errors="replace").strip()
            yield f"process {entry.name}: {words}"


def _sockets(home: Home) -> Iterator[str]:
    for folder, _, names in os.walk(home.root):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    yield f"socket {path}"
            except OSError:
                continue


def _shared_memory() -> Iterator[str]:
    for entry in Path("/dev/shm").glob("grange-*"):
        yield f"shared memory {entry}"
