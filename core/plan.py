"""The farm as it is to be: a revision of the configuration, expanded into sub-farms, nodes and processes.

These are values: immutable, comparable, free of any database or wire type. `core/expansion.py` makes them from a
configuration; controllers, the simulator and the keepers' manifests are made from them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .names import Policy, Ready
from .restart import RestartSpec
from .spawning import Probing, SpawnOptions


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many processes of a role must be well: all (both fields None), a number, or a fraction of the count."""

    number: int | None = None
    fraction: float | None = None

    def needed(self, count: int, out_by_person: int = 0) -> int:
        """How many of `count` configured processes must be well; a fraction counts against the revision, rounded up."""
        if self.number is not None:
            return min(self.number, count)
        if self.fraction is not None:
            return math.ceil(self.fraction * count)
        return count - out_by_person

    def __str__(self) -> str:
        if self.number is not None:
            return str(self.number)
        return "all" if self.fraction is None else f"{self.fraction:.0%}"


ALL = Quorum()


@dataclass(frozen=True, slots=True)
class StepLimits:
    """The longest that one process of a role may take for a step, in seconds."""

    boot_timeout_s: float = 45.0
    load_timeout_s: float = 90.0
    configure_timeout_s: float = 90.0
    start_timeout_s: float = 60.0
    pause_timeout_s: float = 10.0
    resume_timeout_s: float = 10.0
    stop_timeout_s: float = 30.0
    unconfigure_timeout_s: float = 30.0
    unload_timeout_s: float = 30.0
    # shutdown is the termination ladder: the state machine is left, then TERM, then KILL
    terminate_timeout_s: float = 3.0
    kill_timeout_s: float = 2.0

    @property
    def shutdown_timeout_s(self) -> float:
        """The whole ladder, with a second for the reaping."""
        return self.terminate_timeout_s + self.kill_timeout_s + 1.0


_RESTART = RestartSpec()
HUNG_TIMEOUT_S = 30.0  # longer than storage or a network that stalls: what hangs in those comes back by itself


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """What all processes of a role in one sub-farm share."""

    name: str
    rank: int = 0  # 0 is the source of the data flow; start goes from the highest rank down, stop from 0 up
    component: str = ""  # barriers between ranks hold only within a connected part of the data flow
    quorum: Quorum = ALL
    policy: Policy = Policy.STOP_RUN
    restart: RestartSpec = _RESTART
    limits: StepLimits = StepLimits()
    hung_timeout_s: float = HUNG_TIMEOUT_S  # one that is out and hangs is ended after so long; 0: it is left as it is


@cache
def _node_of(path: str) -> str:
    """The node in the path of a process; asked at every turn, so it is worked out once."""
    return path.rsplit("/", 2)[1]


@dataclass(frozen=True, slots=True)
class DataLink:
    """One direction of the data flow as a process sees it: the peer role and the paths of the peer processes."""

    role: str
    peers: tuple[str, ...]
    feedback: bool = False  # against the direction of the data flow: no end of run comes in on it


_OPTIONS = SpawnOptions()
_PROBING = Probing()


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """All that is needed to spawn and command one process."""

    path: str  # sf01/hlt017/psa-2
    role: str
    argv: tuple[str, ...]
    actor: str = ""  # "package.module:Class" or "/path/file.py:Class"; empty for a plain process or a foreign actor
    ready: Ready = Ready.ACTOR
    settle_time_s: float = 0.5
    working_directory: str = ""  # empty: the process's own directory under the home
    environment: Mapping[str, str] = field(default_factory=dict)
    heartbeat_timeout_s: float = 5.0  # an actor silent for longer is hung; 0 switches it off
    options: SpawnOptions = _OPTIONS
    probing: Probing = _PROBING
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[DataLink, ...] = ()
    outputs: tuple[DataLink, ...] = ()

    @property
    def sub_farm(self) -> str:
        """The path of the sub-farm, however deep in the tree."""
        return self.path.rsplit("/", 2)[0]

    @property
    def node(self) -> str:
        return _node_of(self.path)

    @property
    def slot(self) -> str:
        """The process's place on its node: role and index."""
        return self.path.rsplit("/", 1)[1]


@dataclass(frozen=True, slots=True)
class SubFarmSpec:
    """One sub-farm of a revision: what its controller needs to know, and nothing of the others."""

    name: str
    nodes: tuple[str, ...]
    roles: tuple[RoleSpec, ...]
    processes: tuple[ProcessSpec, ...]
    sub_farms: tuple["SubFarmSpec", ...] = ()  # of a deeper tree: their controllers are children of this one's
    enrol_wait_s: float = 10.0  # for a child that should be there, before it counts as lost

    def role(self, name: str) -> RoleSpec:
        for role in self.roles:
            if role.name == name:
                return role
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class FarmSpec:
    """The whole farm of one revision."""

    name: str
    revision: str  # the content hash, in hexadecimal
    sub_farms: tuple[SubFarmSpec, ...]
    enrol_wait_s: float = 10.0
    command_timeout_s: float | None = None  # longest that a command may take; None: the sum of its steps' own limits
