"""What a keeper decides: its book of processes, and the rules by which it spawns, signals, fences and adopts.

A keeper loads this file by its path, so it imports the standard library alone, and nothing of ours. It does no I/O:
`supervisor/keeper.py` and its parts tell it what the kernel says and carry out what it answers.

The book has one *manifest* for each slot (a role and a number: `psa-2`). A manifest is on disk before its process
exists, and gets the process's identity when the program is executed. A keeper that dies in between has left a process
that holds the slot's lock and shows the manifest's nonce: so whatever runs is in the book, and is found by it, whenever
the keeper dies. A slot's manifest stays after the process's end, with its exit status, until the agent has
acknowledged it (`forget`).

An *identity* is a process id with its start time and the boot id of the machine: the same number with another start
time, or after a reboot, is another process. An exit is one of `{"code": 3}`, `{"signal": 9}`, `{"failed": "why"}` (the
program never ran) and `{"unknown": "why"}` (the process ended while nobody who could learn its status was alive).

A *label* is a number of one instance alone that its process, and whatever descends from it, shows as a limit that is
never reached. Limits go through every fork and every execution, and nobody gives them up who does not mean to. So it is
known whose a daemon is, also when it has given up session, environment and descriptors, and when it is not the keeper's
child because a keeper was replaced. Docs, decision 15, say why.

Who commands is a list of incarnation numbers from the root of the control tree down, the agent's last. A lower list
than the highest seen is refused, so a program that was replaced, but does not know it, can start and hurt nothing.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

SOCKET_PATH_BYTES_MAX = 107  # sun_path of Linux has 108, the last for the terminating zero
SLOT_LENGTH_MAX = 100
LINE_BYTES_MAX = 4 * 1024 * 1024  # one request or event on the keeper's socket
AGENT_DELAY_FIRST_S = 0.1  # before the agent is started again: doubled from here …
AGENT_DELAY_MAX_S = 5.0  # … up to here
AGENT_SILENT_S = 10.0  # an agent pings every second: one that has not for so long hangs
AGENT_DIAL_S = 20.0  # for one that was there before its keeper to be heard
AGENT_LOOK_S = 2.0  # between two looks whether it does
AGENT_WELL_AFTER_S = 10.0  # an agent that lived as long has started well: the delay begins anew
SLOT_TERMINATE_S = 3.0  # what still holds a slot that is wanted: from TERM to KILL …
SLOT_KILL_S = 2.0  # … and from KILL to giving up
CLEAR_LIMIT_S = 2.0  # to kill what an ended process has left behind

# What a process gets of the keeper's own environment: enough to run a program, and no secret of ours.
ENVIRONMENT_KEPT = frozenset(
    ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "HOSTNAME")
)

# The requests on the keeper's socket: the fields that each must have, and their types.
REQUESTS: dict[str, dict[str, type]] = {
    "hello": {"incarnation": int},
    "spawn": {
        "instance": str,
        "slot": str,
        "nonce": str,
        "argv": list,
        "environment": dict,
        "working_directory": str,
        "log": str,
        "note": dict,
        "fence": list,
    },
    "signal": {"instance": str, "signal": int, "group": bool, "fence": list},
    "note": {"instance": str, "note": dict},
    "forget": {"instance": str},
    "fence": {"fence": list},
    "list": {},
    "ping": {},
    "end": {"fence": list},
}

# What `options` of a spawn may hold, all of it optional; see SpawnOptions in core/spawning.py.
OPTIONS: dict[str, type] = {"limits": dict, "cpus": list, "nice": int, "template": dict}
TEMPLATE: dict[str, type] = {"key": str, "argv": list, "environment": dict}
# The limits that may be set, by the names that roles use, with the kernel's own (RLIMIT_…).
RLIMITS = {
    "open_files": "NOFILE",
    "core_bytes": "CORE",
    "address_space_bytes": "AS",
    "cpu_s": "CPU",
    "processes": "NPROC",
    "file_bytes": "FSIZE",
    "locked_memory_bytes": "MEMLOCK",
    "stack_bytes": "STACK",
}

# Labels are values of RLIMIT_RTTIME, how long a real-time thread may compute without a pause. It is unlimited unless an
# administrator says otherwise, and 146,000 years are as good: so the values from there up are free to say something.
LABEL_LEAST_US = 1 << 62
LABEL_PRIME = (1 << 61) - 1  # labels are so many
LABEL_BASE = 1_746_860_020_068_409  # any large number

_SLOT = re.compile(r"[A-Za-z0-9_.-]+")


class RequestError(ValueError):
    """A request that cannot be carried out: the sentence says which, what is wrong and what would be right."""


class Fenced(RequestError):
    """A request of somebody who was replaced: lower incarnations than the highest seen."""


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process as `/proc/<pid>/stat` tells it; `start_ticks` are clock ticks since boot."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int

    @property
    def is_zombie(self) -> bool:
        return self.state in ("Z", "X")


def parse_stat(text: str) -> ProcessStat:
    """Read one `/proc/<pid>/stat`. The name may hold spaces and parentheses, so the last one closes it."""
    head, _, tail = text.rpartition(")")
    number, _, name = head.partition("(")
    fields = tail.split()
    return ProcessStat(
        int(number), name, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), start_ticks=int(fields[19])
    )


def descendants(table: Iterable[ProcessStat], roots: Iterable[int]) -> set[int]:
    """The process ids in `table` that descend from `roots`, the roots included when they are in it."""
    children: dict[int, list[int]] = {}
    present = set()
    for stat in table:
        present.add(stat.pid)
        children.setdefault(stat.parent, []).append(stat.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in present]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def check_slot(slot: str) -> str:
    """The slot itself; raises `RequestError` when it could not be the name of a file."""
    if not _SLOT.fullmatch(slot) or slot in (".", "..") or len(slot) > SLOT_LENGTH_MAX:
        raise RequestError(
            f"slot {slot[:120]!r} is no name of a slot: letters, digits, '_', '.' and '-', at most {SLOT_LENGTH_MAX}"
        )
    return slot


def check_socket_path(path: str) -> str:
    """The path itself; raises `RequestError` with the remedy when it is too long for a Unix socket."""
    length = len(path.encode())
    if length > SOCKET_PATH_BYTES_MAX:
        raise RequestError(
            f"the socket path {path} has {length} bytes, a Unix socket's has at most {SOCKET_PATH_BYTES_MAX}: "
            "choose a shorter home (--home or GRANGE_HOME), for instance under /var/tmp"
        )
    return path


def clean_environment(own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """A process's environment: the harmless part of the keeper's `own`, and over it what the role and agent `given`."""
    kept = {name: value for name, value in own.items() if name in ENVIRONMENT_KEPT or name.startswith("LC_")}
    return kept | dict(given)


def parse_line(line: bytes) -> dict[str, Any]:
    """One line as an object; nothing in it is checked yet. Raises `RequestError`."""
    try:
        document = json.loads(line)
    except ValueError as error:
        raise RequestError(f"a request is one line of JSON: {error}") from None
    if not isinstance(document, dict):
        raise RequestError(f"a request is one object of JSON, not {document!r}"[:300])
    return document


def check_request(request: dict[str, Any]) -> dict[str, Any]:
    """The request itself, when its operation exists and has its fields. Raises `RequestError` naming what is wrong."""
    if request.get("op") not in REQUESTS:
        raise RequestError(f"unknown request {str(request)[:80]!r}: possible are {', '.join(REQUESTS)}")
    for name, kind in REQUESTS[request["op"]].items():
        if not isinstance(request.get(name), kind):
            raise RequestError(f"{request['op']}: {name!r} must be {kind.__name__}, not {request.get(name)!r}"[:300])
    for number in request.get("fence", ()):
        if not isinstance(number, int):
            raise RequestError(f"{request['op']}: a fence is a list of whole numbers, not {request['fence']!r}")
    if request["op"] == "spawn":
        check_options(request.get("options", {}))
    return request


def check_options(options: Any) -> None:
    """Raises `RequestError` for spawn options that could not be carried out, whatever the kernel thinks of them."""
    _check_fields("options", options, OPTIONS)
    for name, value in options.get("limits", {}).items():
        if name not in RLIMITS or not isinstance(value, int):
            raise RequestError(f"spawn: {name!r} = {value!r} is no limit: there are {', '.join(RLIMITS)}"[:300])
    if not all(isinstance(number, int) for number in options.get("cpus", [])):
        raise RequestError(f"spawn: cpus are whole numbers, not {options['cpus']!r}"[:300])
    if "template" in options:
        template = options["template"]
        _check_fields("template", template, TEMPLATE)
        if template.keys() != TEMPLATE.keys() or not _SLOT.fullmatch(template["key"]):
            raise RequestError(f"spawn: a template has {', '.join(TEMPLATE)}, not {template!r}"[:300])


def _check_fields(what: str, given: Any, known: Mapping[str, type]) -> None:
    if not isinstance(given, dict):
        raise RequestError(f"spawn: {what} must be dict, not {given!r}"[:300])
    for name, value in given.items():
        if name not in known:
            raise RequestError(f"spawn: {what} has no {name!r}: there are {', '.join(known)}"[:300])
        if not isinstance(value, known[name]):
            raise RequestError(f"spawn: {name!r} must be {known[name].__name__}, not {value!r}"[:300])


def parse_notification(datagram: bytes) -> dict[str, str]:
    """The assignments of one sd_notify datagram; lines that are none are left out."""
    lines = datagram.decode(errors="replace").split("\n")
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def parse_label(limits: str) -> int:
    """The label in one `/proc/<pid>/limits`; 0 when there is none."""
    soft = limits.partition("Max realtime timeout")[2].split(maxsplit=1)[:1]
    value_us = int(soft[0]) if soft and soft[0].isdigit() else 0
    return value_us if value_us >= LABEL_LEAST_US else 0


@dataclass(slots=True)
class Manifest:
    """One slot: what was started in it last, who that is, and how it ended."""

    slot: str
    instance: str
    nonce: str
    argv: list[str]
    log: str
    note: dict[str, Any] = field(default_factory=dict)  # the agent's own; nothing to the keeper
    pid: int = 0  # 0: nothing was forked yet
    start_ticks: int = 0
    boot_id: str = ""
    ready: bool = False  # READY=1 was received
    status: str = ""  # the last STATUS= received
    exit: dict[str, Any] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process exists, or is about to."""
        return self.exit is None

    @property
    def label(self) -> int:
        """See the module. Made of what is in the book and on one machine never the same, and is no secret."""
        number = 0
        for byte in f"{self.log}\n{self.instance}".encode():
            number = (number * LABEL_BASE + byte) % LABEL_PRIME
        return LABEL_LEAST_US + number

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Raises `RequestError` for what is no manifest: a torn or foreign file."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise RequestError(f"not a manifest: {error}") from None

    def row(self) -> dict[str, Any]:
        """What the agent is told of it, to be written down at once: its parts are shared."""
        return {name: getattr(self, name) for name in _MANIFEST_FIELDS}


_MANIFEST_FIELDS = tuple(each.name for each in fields(Manifest))


# ---- the book on disk: one line of JSON for each change --------------------------------------------------------------


def manifest_line(manifest: Manifest) -> str:
    """The slot as a whole, whatever was said of it before."""
    return json.dumps({"manifest": manifest.row()})


def change_line(manifest: Manifest, names: Iterable[str]) -> str:
    """Some fields of a slot's manifest, as they are now."""
    return json.dumps({"slot": manifest.slot, "changed": {name: getattr(manifest, name) for name in names}})


def forgotten_line(slot: str) -> str:
    return json.dumps({"slot": slot, "forgotten": True})


def replay(text: str) -> tuple[dict[str, Manifest], list[str]]:
    """The manifests, by slot, that the lines come down to, and what is wrong with lines that had to be left out.

    The end of the text may be a part of a line: whoever wrote it was killed at it, and nothing was done on its account.
    """
    manifests: dict[str, Manifest] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _replay_line(manifests, json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if line:
                problems.append(f"line {number} is left out: {error!r}")
    return manifests, problems


def _replay_line(manifests: dict[str, Manifest], change: dict[str, Any]) -> None:
    if "manifest" in change:
        manifest = Manifest(**change["manifest"])
        manifests[manifest.slot] = manifest
    elif change.get("forgotten"):
        manifests.pop(change["slot"], None)
    else:
        manifest = manifests[change["slot"]]
        for name, value in change["changed"].items():
            setattr(manifest, name, value)


def claimant(manifest: Manifest, holders: Iterable[tuple[ProcessStat, str]]) -> ProcessStat | None:
    """The process of a manifest that has no process id, among those that hold its slot's lock, each with its nonce.

    A keeper that is killed, or whoever starts processes for it, may have executed the program before the process id
    was told. That one leads a session and shows its nonce as soon as it is executed; its descendants came later.
    """
    leaders = [stat for stat, nonce in holders if nonce == manifest.nonce and stat.session == stat.pid]
    return min(leaders, key=lambda stat: (stat.start_ticks, stat.pid), default=None)


def adopted(manifest: Manifest, boot_id: str, start_ticks: int | None) -> dict[str, Any] | None:
    """How the process of a manifest has ended while no keeper was there; None when it is alive and can be adopted.

    The manifest has a process id: without one it is looked for first, see `claimant`. `boot_id` is the machine's now;
    `start_ticks` is the start time of the process that has the manifest's process id
    now, read after its pidfd was opened, or None when there is none.
    """
    if manifest.boot_id != boot_id:
        return {"unknown": "the machine was restarted"}
    if start_ticks is None or start_ticks != manifest.start_ticks:
        return {"unknown": "no keeper was there to see it"}
    return None


class Taking(Enum):
    """What to do with a slot that is wanted for a new process."""

    START = "start it"
    DROP = "it was signalled before it could be started"
    END_HOLDERS = "end what holds the slot, and look again"
    GIVE_UP = "what holds the slot does not end"


@dataclass(slots=True)
class WantedSlot:
    """A slot that a new process is to have. What still holds its lock is ours: terminated, then killed, then given up.

    Times are monotonic seconds; `wanted_s` is when the process was asked for.
    """

    wanted_s: float
    told: set[int] = field(default_factory=set)  # the holders that SIGTERM was sent to

    def look(self, now: float, is_free: bool, is_unwanted: bool) -> Taking:
        """What to do now that the lock has been tried; `is_unwanted` when the process was told to end meanwhile."""
        if is_free:
            return Taking.START
        if is_unwanted:
            return Taking.DROP
        given_up_s = self.wanted_s + SLOT_TERMINATE_S + SLOT_KILL_S
        return Taking.GIVE_UP if now >= given_up_s else Taking.END_HOLDERS

    def signal_for(self, now: float, pid: int) -> str:
        """What a holder is to get now: TERM once, KILL when it has had its time; empty: nothing yet."""
        if now >= self.wanted_s + SLOT_TERMINATE_S:
            return "KILL"
        if pid in self.told:
            return ""
        self.told.add(pid)
        return "TERM"


def may_tell_exit(now: float, ended_s: float, is_left: bool) -> bool:
    """Whether the exit of a process that ended at `ended_s` is told: nothing is left of it, or will not go.

    `is_left` says that something was still there, or that nobody could look; whoever is there has been sent SIGKILL.
    """
    return not is_left or now >= ended_s + CLEAR_LIMIT_S


@dataclass(slots=True)
class Book:
    """All manifests of a node, and the highest incarnations seen."""

    manifests: dict[str, Manifest] = field(default_factory=dict)  # by slot
    parents: tuple[int, ...] = ()  # the highest incarnations seen above the agent
    agent: int = 0  # the incarnation allotted to the present agent

    def allot_agent(self) -> int:
        """The next agent's incarnation; to be on disk before that agent starts."""
        self.agent += 1
        return self.agent

    def check_agent(self, incarnation: int) -> None:
        """Raises `Fenced` for an agent that is not the one started last."""
        if incarnation < self.agent:
            raise Fenced(f"agent {incarnation} was replaced by agent {self.agent}: it ends itself")
        if incarnation > self.agent:
            raise RequestError(f"agent {incarnation} was never started: the last is {self.agent}")

    def check_fence(self, fence: Iterable[int]) -> bool:
        """Compare the incarnations of a request with the highest seen; True when they have risen.

        The book is not changed: risen ones are put on disk first, then into `parents`, then acted upon. Raises `Fenced`
        when they are lower. `fence` ends with the agent's own incarnation.
        """
        *parents, agent = fence or (0,)
        self.check_agent(agent)
        given = tuple(parents)
        if given < self.parents:
            raise Fenced(
                f"incarnations {list(given)} are lower than {list(self.parents)}: a newer controller has taken over"
            )
        return given > self.parents

    def by_instance(self, instance: str) -> Manifest:
        """Raises `RequestError` when the instance is not in the book (any more)."""
        for manifest in self.manifests.values():
            if manifest.instance == instance:
                return manifest
        raise RequestError(f"no instance {instance!r} is known here: it was never started, or is forgotten")

    def alive(self) -> list[Manifest]:
        return [manifest for manifest in self.manifests.values() if manifest.alive]

    def plan_spawn(self, request: Mapping[str, Any]) -> Manifest | None:
        """The manifest to write and start; None when this instance is in the book already: nothing runs twice.

        Raises `RequestError` when another instance has the slot, alive or with an exit that is not acknowledged yet.
        """
        slot = check_slot(request["slot"])
        present = self.manifests.get(slot)
        if present is not None and present.instance == request["instance"]:
            return None
        if present is not None and present.alive:
            raise RequestError(f"slot {slot} is held by instance {present.instance} (pid {present.pid}): end it first")
        if present is not None:
            raise RequestError(
                f"the exit of instance {present.instance} of slot {slot} is not acknowledged: forget it first"
            )
        if not request["argv"] or not all(isinstance(word, str) for word in request["argv"]):
            raise RequestError(
                f"slot {slot}: argv must be a list of words with at least the program, not {request['argv']!r}"
            )
        manifest = Manifest(
            slot, request["instance"], request["nonce"], list(request["argv"]), request["log"], dict(request["note"])
        )
        self.manifests[slot] = manifest
        return manifest

    def forget(self, instance: str) -> Manifest:
        """Take an ended instance out of the book. Raises `RequestError` while it is alive."""
        manifest = self.by_instance(instance)
        if manifest.alive:
            raise RequestError(f"instance {instance} (pid {manifest.pid}) is alive: end it before it is forgotten")
        return self.manifests.pop(manifest.slot)

    def check_end(self) -> None:
        """Raises `RequestError`, with names, while a process is alive."""
        if alive := self.alive():
            names = ", ".join(f"{manifest.slot} (pid {manifest.pid})" for manifest in alive[:10])
            raise RequestError(f"{len(alive)} of this node's processes are alive: {names}; end them first")


@dataclass(slots=True)
class AgentRestarts:
    """When an agent that ended is started again: at once as good as, then later and later, never never."""

    delay_s: float = AGENT_DELAY_FIRST_S

    def ended(self, lived_s: float) -> float:
        """The seconds to wait now that an agent has ended after `lived_s`."""
        if lived_s >= AGENT_WELL_AFTER_S:
            self.delay_s = AGENT_DELAY_FIRST_S
        delay_s = self.delay_s
        self.delay_s = min(2 * delay_s, AGENT_DELAY_MAX_S)
        return delay_s


@dataclass(slots=True)
class AgentSilence:
    """Whether the agent hangs: it has pinged once, or was adopted, and not for long. Times are monotonic seconds."""

    pinged_s: float | None = None  # None: not since it was started
    looked_s: float = 0.0

    def started(self) -> None:
        self.pinged_s = None

    def adopted(self, now: float) -> None:
        """It was there before this keeper: it has `AGENT_DIAL_S` to be heard, as it may only just have started."""
        self.pinged_s = now + AGENT_DIAL_S - AGENT_SILENT_S

    def pinged(self, now: float) -> None:
        self.pinged_s = now

    def hangs(self, now: float) -> bool:
        """Asked every `AGENT_LOOK_S`. A keeper that was itself stopped meanwhile gives the agent its time anew."""
        late, self.looked_s = now - self.looked_s > 2 * AGENT_LOOK_S, now
        if self.pinged_s is None:
            return False
        if late:
            self.pinged_s = now
        return now - self.pinged_s > AGENT_SILENT_S
