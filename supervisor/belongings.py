"""What of a farm runs on this machine, found without asking any of its programs: they may hang, or be gone.

Programs are told by their command lines, which name the home; a role's processes by their environment, or, when that
says nothing (one that was forked from a template, one that has cleaned its environment), by their label, which an
instance in a node's book has, or by the lock of their slot, which they hold open as long as they or a child of theirs
live. So what a controller has forgotten is found as well.

Only what may be looked at is found: processes of one's own user, or everybody's for root.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from grange.core.home import Home
from grange.core.keeping import parse_label, replay


class Kind(StrEnum):
    """What a belonging of a farm is."""

    FARM = "farm controller"
    SUB_FARM = "sub-farm controller"
    KEEPER = "keeper"
    AGENT = "agent"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Belonging:
    """One process of the machine that belongs to the farm."""

    kind: Kind
    name: str  # "farm"; "sf01"; "sf01/n1" of a keeper and an agent; "sf01/n1/psa-1"
    pid: int
    process: psutil.Process  # its start time is known: a signal never meets another process with the same number
    leads: bool  # whether it leads a session; a process that does not is a child of one that does, or was
    nonce: str = ""  # of a process: what tells one start of it from another; empty when it hides its environment

    @property
    def what(self) -> str:
        """It in one word or two: "farm", "sf01", "keeper sf01/n1", "agent sf01/n1", "sf01/n1/psa-1"."""
        return f"{self.kind} {self.name}" if self.kind in (Kind.KEEPER, Kind.AGENT) else self.name


def belongings(home: Home) -> list[Belonging]:
    """Everything that runs now, zombies left out, in the order of process ids."""
    labels = dict(_labels(home))
    return [found for process in psutil.process_iter() if (found := _belonging(home, labels, process)) is not None]


def _labels(home: Home) -> Iterator[tuple[int, str]]:
    """The label of each instance in a node's book, with its path."""
    for book in Path(home.nodes).glob("*/*/manifests.jsonl"):
        with suppress(OSError):  # its keeper has ended
            manifests, _ = replay(book.read_text(errors="replace"))
            for manifest in manifests.values():
                yield manifest.label, f"{book.parent.parent.name}/{book.parent.name}/{manifest.slot}"


def _belonging(home: Home, labels: Mapping[int, str], process: psutil.Process) -> Belonging | None:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        leads = os.getsid(process.pid) == process.pid
        if (told := _program(home, process.cmdline())) is not None:
            return Belonging(*told, process.pid, process, leads)
        environment = process.environ()
        label = parse_label(Path(f"/proc/{process.pid}/limits").read_text())
        name = _member(home, environment) or labels.get(label) or next(_slots_held(home, process.pid), "")
        nonce = environment.get("GRANGE_NONCE", "")
        return Belonging(Kind.PROCESS, name, process.pid, process, leads, nonce) if name else None
    except (psutil.Error, OSError):
        return None  # gone meanwhile, or another user's


def _program(home: Home, argv: list[str]) -> tuple[Kind, str] | None:
    if not argv:
        return None
    nodes = f"{home.root}/nodes/"
    if "grange.controllers.subfarm" in argv and home.root in argv:
        return Kind.SUB_FARM, argv[-1]
    if argv[-1] == "up" and home.root in argv and ("grange.cli" in argv or any(w.endswith("/grange") for w in argv)):
        return Kind.FARM, "farm"
    if argv[-1].startswith(nodes) and "grange.supervisor.agent" in argv:
        return Kind.AGENT, argv[-1].removeprefix(nodes)
    if argv[-1].startswith(nodes) and any(word.endswith("keeper.py") for word in argv):
        return Kind.KEEPER, argv[-1].removeprefix(nodes)
    return None


def _member(home: Home, environment: Mapping[str, str]) -> str:
    if environment.get("GRANGE_DATA_DIRECTORY") != home.data or "GRANGE_TEMPLATE_SOCKET" in environment:
        return ""
    return environment.get("GRANGE_MEMBER", "")


def _slots_held(home: Home, pid: int) -> Iterator[str]:
    """The paths of the processes whose slot's lock this one has open."""
    nodes, folder = f"{home.root}/nodes/", f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        with suppress(OSError):
            path = os.readlink(f"{folder}/{number}")
            node, locks, slot = path.removeprefix(nodes).partition("/locks/")
            if path.startswith(nodes) and locks and slot.endswith(".lock"):
                yield f"{node}/{slot.removesuffix('.lock')}"


def serving(home: Home, found: list[Belonging]) -> dict[str, Belonging]:
    """The one program of each that has its lock, by `what`; others of its kind are just coming or going.

    A program that is being started is a copy of its launcher for a moment, by its command line too.
    """
    return {one.what: one for one in found if one.kind is not Kind.PROCESS and one.pid == _holder(home, one)}


def _holder(home: Home, one: Belonging) -> int:
    sub_farm, _, node = one.name.partition("/")
    if one.kind is Kind.AGENT:
        return one.pid if one.leads else 0  # the keeper's lock is its own; a copy of the keeper does not lead
    files = {
        Kind.FARM: f"{home.farm_socket}.lock",
        Kind.SUB_FARM: f"{home.sub_farm_socket(one.name)}.lock",
        Kind.KEEPER: f"{home.node_directory(sub_farm, node)}/keeper.lock",
    }
    with suppress(OSError, ValueError):
        return int(Path(files[one.kind]).read_text())
    return 0
