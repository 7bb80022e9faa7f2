"""The words of the house: one enum for each closed set of names.

Values are what people read and what goes to databases and logs; they never change once released. The wire has enums of
its own (`proto/`), converted by name. See docs/architecture.md for what each word means.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a member is in the state machine; `core/state.py` owns the rules.

    `MIXED` and `UNKNOWN` are what observers see: a parent whose children differ, a member that has not answered.
    """

    ABSENT = "absent"
    SETTING_UP = "setting_up"
    TEARING_DOWN = "tearing_down"
    INITIAL = "initial"
    BOOTING = "booting"
    SHUTTING_DOWN = "shutting_down"
    BOOTED = "booted"
    LOADING = "loading"
    UNLOADING = "unloading"
    LOADED = "loaded"
    CONFIGURING = "configuring"
    UNCONFIGURING = "unconfiguring"
    CONFIGURED = "configured"
    STARTING = "starting"
    STOPPING = "stopping"
    TAKING = "taking"
    PAUSING = "pausing"
    RESUMING = "resuming"
    PAUSED = "paused"
    MIXED = "mixed"
    UNKNOWN = "unknown"


class Command(StrEnum):
    """A single step of the state machine, as a person or a parent orders it."""

    SETUP = "setup"
    TEARDOWN = "teardown"
    BOOT = "boot"
    LOAD = "load"
    UNLOAD = "unload"
    CONFIGURE = "configure"
    UNCONFIGURE = "unconfigure"
    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    SHUTDOWN = "shutdown"


class Health(StrEnum):
    """How well a member is, whatever its state."""

    OK = "ok"
    DEGRADED = "degraded"
    ERROR = "error"


class Kind(StrEnum):
    """What a member of the control tree is."""

    FARM = "farm"
    SUB_FARM = "sub-farm"
    NODE = "node"
    PROCESS = "process"


class Membership(StrEnum):
    """Whether a member counts: run-control commands and folding leave out-members alone, watching never does."""

    IN = "in"
    OUT_BY_PERSON = "out-by-person"
    OUT_BY_FAULT = "out-by-fault"


class MemberCommand(StrEnum):
    """What a person does with single members; it changes no goal of the others, and waits for no command."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    RESTART = "restart"
    RECOVER = "recover"


class LeaseAction(StrEnum):
    """What a person does with the lease."""

    TAKE = "take"
    RELEASE = "release"
    FORCE = "force"  # take it from whoever holds it


class Repairing(StrEnum):
    """How a member is brought to where the others are: ended first, or only what is not well."""

    RESTART = "restart"
    RECOVER = "recover"


class Policy(StrEnum):
    """What the death of a process of a role means; a hung one is as good as dead."""

    IGNORE = "ignore"  # it stays out until somebody brings it back
    RESTART = "restart"  # it is started again and caught up, unless it dies too often
    EXCLUDE_NODE = "exclude_node"  # all of its node goes out with it, until somebody brings that back
    STOP_RUN = "stop_run"  # without the role's quorum there is no run


class Ready(StrEnum):
    """How a process says that it is ready: booted, not only alive."""

    ACTOR = "actor"  # its first message on the actor link
    NOTIFY = "notify"  # sd_notify READY=1
    SETTLE = "settle"  # it stays up for settle_time_s
    PROBE = "probe"  # a command that asks it exits with 0


class Severity(StrEnum):
    """How bad a message is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
