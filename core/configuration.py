"""Configuration values: what a farm is made of, as people write it down.

A document has five sections: `farm` (settings), `sub_farms` (their nodes and roles), `nodes` (what is special about
some nodes), `roles` (from which processes are made) and `parameters` (named sets that roles hand to their processes).
An exported one has the key `revision` besides, which says what it was made from and is no part of its content.
The classes here say which keys there are, of which type, with which default; every key carries its own description,
from which the reference in docs/configuration.md is printed.

Values are frozen and compare by content. Each key is checked here by itself; what takes two keys or two sections to
judge is in `configuration_checks.py`, reading text and gathering every problem at once in `configuration_text.py`.

A stored document is complete: defaults are written out (`to_document`), so that what a run ran with stays what it was
when a later version of grange has other defaults.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    ValidationError,
)

from .addressing import Provenance
from .names import Policy, Ready
from .plan import ALL, HUNG_TIMEOUT_S, Quorum, StepLimits
from .problems import Problem, did_you_mean, join_place
from .restart import RestartSpec
from .spawning import LIMIT_NAMES, Probing, parse_cpus

NAME_LENGTH_MAX = 64  # names become file names and parts of socket paths
COUNT_MAX = 10_000  # processes of one role in one sub-farm, or on one node
DEPTH_MAX = 20  # nesting of parameter values

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ACTOR = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_ACTOR_FILE = re.compile(r"/.*\.py:[A-Za-z_]\w*", re.ASCII)
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?%")
_LIMITS = StepLimits()
_RESTART = RestartSpec()
_PROBING = Probing()


def name_fault(name: str) -> str:
    """Why this cannot name a farm, sub-farm, node, role or parameter set; empty when it can."""
    if not _NAME.fullmatch(name):
        return (
            f'"{name}" is not a name: names are letters, digits, "_", "." and "-", and begin with neither "." nor "-"'
        )
    return f'"{name[:20]}…" is longer than {NAME_LENGTH_MAX} characters' if len(name) > NAME_LENGTH_MAX else ""


def _check_name(name: str) -> str:
    if fault := name_fault(name):
        raise ValueError(fault)
    return name


def _check_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character can be passed neither to a process nor to a database")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half a surrogate pair is not a character")
    return text


def _check_value(value: Any, place: tuple[str | int, ...] = ()) -> None:
    """A parameter value must be what JSON can say: null, booleans, finite numbers, text, lists, mappings of text."""
    at = f"{join_place(*place)}: " if place else ""
    if len(place) > DEPTH_MAX:
        raise ValueError(f"{at}values nest deeper than {DEPTH_MAX} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{at}{value} is not a number that JSON can say")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check_value(item, (*place, position))
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{at}key {key!r} is not text")
            _check_text(key)
            _check_value(item, (*place, key))
    elif value is not None and not isinstance(value, bool | int):
        raise ValueError(f"{at}a {type(value).__name__} is not a value that JSON can say; write it as text")


def _check_values(values: Any) -> Any:
    if not isinstance(values, dict):
        raise ValueError("a mapping of keys to values is expected")
    _check_value(values)
    return values


def _check_parameters(value: Any) -> Any:
    if isinstance(value, str):
        return _check_text(value)
    if not isinstance(value, dict):
        raise ValueError("the name of a parameter set, or a mapping of keys to values, is expected")
    return _check_values(value)


def _check_actor(actor: str) -> str:
    if actor.rpartition(":")[0].endswith(".py"):
        if not _ACTOR_FILE.fullmatch(actor):
            raise ValueError(f'"{actor}" is not of the form "/path/file.py:Class"; the path has to be absolute')
    elif not _ACTOR.fullmatch(actor):
        raise ValueError(f'"{actor}" is not of the form "package.module:Class" or "/path/file.py:Class"')
    return _check_text(actor)


def _check_variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError(f'"{name}" cannot name an environment variable')
    return _check_text(name)


def _check_cpus(cpus: str) -> str:
    parse_cpus(cpus)
    return cpus


def _check_limit(name: str) -> str:
    if name not in LIMIT_NAMES:
        raise ValueError(f'there is no limit "{name}": there are {", ".join(LIMIT_NAMES)}')
    return name


def _read_quorum(value: Any) -> Any:
    if isinstance(value, Quorum):
        return value
    if value == "all":
        return ALL
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Quorum(number=value)
    if isinstance(value, str) and _PERCENT.fullmatch(value) and 0 < Decimal(value[:-1]) <= 100:
        return Quorum(fraction=float(Decimal(value[:-1]) / 100))
    if isinstance(value, float) and 0 < value < 1:
        return Quorum(fraction=value)
    raise ValueError('write "all", a number such as 3, or a fraction such as "50%" or 0.5')


def _write_quorum(quorum: Quorum) -> str | int:
    """As `_read_quorum` takes it; a fraction always with "%", for some programs write 1.0 as 1."""
    if quorum.number is not None:
        return quorum.number
    return "all" if quorum.fraction is None else f"{(Decimal(repr(quorum.fraction)) * 100).normalize():f}%"


Name = Annotated[str, AfterValidator(_check_name)]
Text = Annotated[str, AfterValidator(_check_text)]
Count = Annotated[int, Strict(), Field(ge=0, le=COUNT_MAX)]
Seconds = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
SecondsOrOff = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Values = Annotated[dict[str, Any], BeforeValidator(_check_values)]
Parameters = Annotated[str | dict[str, Any], BeforeValidator(_check_parameters)]
Actor = Annotated[str, AfterValidator(_check_actor)]
Variable = Annotated[str, AfterValidator(_check_variable)]
Cpus = Annotated[str, AfterValidator(_check_cpus)]
LimitName = Annotated[str, AfterValidator(_check_limit)]
Limit = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
QuorumValue = Annotated[Quorum, BeforeValidator(_read_quorum), PlainSerializer(_write_quorum)]


class Section(BaseModel):
    """What all sections share: unknown keys are mistakes, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class FarmSettings(Section):
    """Settings of the farm as a whole."""

    name: Name = Field(description="name of the farm")
    enrol_wait_s: Seconds = Field(
        10.0, description="a controller that has just started waits so long for its children before it commands any"
    )
    command_timeout_s: Seconds | None = Field(
        None, description="longest that a command to the farm may take; left out, the sum of its steps' own limits"
    )


class SubFarm(Section):
    """One sub-farm: the machines under one sub-farm controller, and what runs on them."""

    nodes: tuple[Text, ...] = Field(description='node names or host lists, such as "hlt[001-016]"')
    roles: tuple[Text, ...] = Field(description="names of the roles that run here")


class NodeSettings(Section):
    """What is special about some nodes; the key is a host list."""

    labels: tuple[Name, ...] = Field((), description="words by which nodes can be told apart")
    resources: dict[Name, Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]] = Field(
        {}, description='what the node has, such as {"cores": 32, "gpu": 1}'
    )


class Role(Section):
    """The description from which processes are made."""

    LIMIT_KEYS: ClassVar[tuple[str, ...]] = tuple(StepLimits.__dataclass_fields__)

    command: tuple[Text, ...] | None = Field(None, min_length=1, description="program and arguments; no shell")
    actor: Actor | None = Field(
        None, description='Python actor, as "package.module:Class" or "/path/file.py:Class"; instead of `command`'
    )
    count: Annotated[Count, Field(ge=1)] = Field(1, description="number of processes, in each sub-farm or on each node")
    per: Literal["sub-farm", "node"] = Field("sub-farm", description="what `count` counts in")
    on: Literal["all", "first"] = Field("all", description="nodes to use: all of the sub-farm, or its first")
    reads: tuple[Text, ...] = Field((), description="roles whose data it reads")
    feedback: tuple[Text, ...] = Field((), description="roles that it reads too, but against the data flow")
    parameters: Parameters = Field({}, description="name of a parameter set, or the parameters themselves")
    quorum: QuorumValue = Field(ALL, description='how many must be well: "all", a number, or a fraction such as "50%"')
    policy: Policy = Field(
        Policy.STOP_RUN, description="what the death of a process means; a hung one is as good as dead"
    )
    restart_most: Count = Field(
        _RESTART.most,
        description="with `policy: restart`, how often one process is restarted within the period; then it is given up",
    )
    restart_period_s: Seconds = Field(_RESTART.period_s, description="the period for `restart_most`")
    restart_delay_s: SecondsOrOff = Field(
        _RESTART.delay_s,
        description="before the second restart within the period, and twice as long before each further one",
    )
    ready: Ready | None = Field(
        None, description="how it says that it is booted; left out: `actor` for an actor, `settle` for a command"
    )
    settle_time_s: SecondsOrOff = Field(0.5, description="with `ready: settle`, how long it must stay up")
    probe: tuple[Text, ...] | None = Field(
        None, min_length=1, description="with `ready: probe`, a command that exits with 0 once the process is ready"
    )
    probe_interval_s: Seconds = Field(_PROBING.interval_s, description="from one such probe to the next")
    probe_timeout_s: Seconds = Field(
        _PROBING.timeout_s, description="a probe of either kind that takes longer is killed, and has failed"
    )
    heartbeat_timeout_s: SecondsOrOff | None = Field(
        None, description="silent for longer, it is hung; 0 switches it off; left out: 5 with `ready: actor`, else 0"
    )
    watchdog_timeout_s: SecondsOrOff = Field(
        0.0, description="a command that does not say WATCHDOG=1 for so long is hung; 0: it need not say it"
    )
    alive_probe: tuple[Text, ...] | None = Field(
        None, min_length=1, description="a command that exits with 0 as long as the process is well"
    )
    alive_interval_s: Seconds = Field(_PROBING.alive_interval_s, description="from one such probe to the next")
    alive_misses: Annotated[Count, Field(ge=1)] = Field(
        _PROBING.alive_misses, description="so many failed `alive_probe`s in a row, and the process is hung"
    )
    hung_timeout_s: SecondsOrOff = Field(
        HUNG_TIMEOUT_S,
        description="one that hangs while the others do without it, and is not heard again for so long, is ended; "
        "at once when a stop waits for it; 0: it is left as it is",
    )
    environment: dict[Variable, Text] = Field({}, description="variables added to its environment")
    working_directory: Text = Field("", description="empty: a directory of its own under the home")
    limits: dict[LimitName, Limit] = Field(
        {}, description="resource limits, as setrlimit: " + ", ".join(f"`{name}`" for name in LIMIT_NAMES)
    )
    cpus: Cpus = Field("", description='processors that it may use, such as "0-3,8"; empty: all')
    nice: Annotated[int, Strict(), Field(ge=-20, le=19)] = Field(
        0, description="its scheduling priority: the higher, the less; below 0 only for root"
    )
    template: bool = Field(
        False, description="an `actor` is forked from a process that has done the imports, which is faster"
    )
    boot_timeout_s: Seconds = Field(_LIMITS.boot_timeout_s, description="until it is ready")
    load_timeout_s: Seconds = Field(_LIMITS.load_timeout_s, description="longest `load`")
    configure_timeout_s: Seconds = Field(_LIMITS.configure_timeout_s, description="longest `configure`")
    start_timeout_s: Seconds = Field(_LIMITS.start_timeout_s, description="longest `start`")
    pause_timeout_s: Seconds = Field(_LIMITS.pause_timeout_s, description="longest `pause`")
    resume_timeout_s: Seconds = Field(_LIMITS.resume_timeout_s, description="longest `resume`")
    stop_timeout_s: Seconds = Field(_LIMITS.stop_timeout_s, description="longest `stop`, the drain included")
    unconfigure_timeout_s: Seconds = Field(_LIMITS.unconfigure_timeout_s, description="longest `unconfigure`")
    unload_timeout_s: Seconds = Field(_LIMITS.unload_timeout_s, description="longest `unload`")
    terminate_timeout_s: Seconds = Field(_LIMITS.terminate_timeout_s, description="from SIGTERM to SIGKILL")
    kill_timeout_s: Seconds = Field(_LIMITS.kill_timeout_s, description="from SIGKILL to giving up")

    @property
    def readiness(self) -> Ready:
        if self.ready is not None:
            return self.ready
        return Ready.ACTOR if self.actor is not None else Ready.SETTLE

    @property
    def heartbeat_s(self) -> float:
        """The heartbeat limit in seconds after defaults; 0 is off."""
        if self.heartbeat_timeout_s is not None:
            return self.heartbeat_timeout_s
        return 5.0 if self.readiness is Ready.ACTOR else 0.0

    @property
    def says_that_it_lives(self) -> bool:
        """Whether one that hangs is noticed by its silence."""
        return self.heartbeat_s > 0 or self.watchdog_timeout_s > 0

    @property
    def restart_spec(self) -> RestartSpec:
        return RestartSpec(self.restart_most, self.restart_period_s, self.restart_delay_s)

    @property
    def step_limits(self) -> StepLimits:
        return StepLimits(**{key: getattr(self, key) for key in self.LIMIT_KEYS})


class Configuration(Section):
    """A whole configuration that has passed every check."""

    farm: FarmSettings = Field(description="the farm as a whole")
    sub_farms: dict[str, SubFarm] = Field(description="sub-farms by name")
    nodes: dict[str, NodeSettings] = Field({}, description="what is special about some nodes, by host list")
    roles: dict[str, Role] = Field(description="roles by name")
    parameters: dict[str, Values] = Field({}, description="parameter sets by name")
    provenance: Provenance | None = Field(None, exclude=True, repr=False, description="the revision it was made from")
    warnings: tuple[Problem, ...] = Field((), exclude=True, repr=False, description="what is odd but allowed")


_S = TypeVar("_S", bound=Section)


class ParameterSet(Section):
    """A named set of parameters, wrapped so that it is read like the other sections."""

    values: Values


@dataclass(frozen=True, slots=True)
class Reading(Generic[_S]):
    """What became of one section: the section, and everything that is wrong with it.

    With problems, the section is only good for looking for more of them: the `dropped` keys have their defaults; it is
    None when it cannot do without them.
    """

    section: _S | None
    problems: tuple[Problem, ...] = ()
    dropped: frozenset[str] = frozenset()


def read(model: type[_S], content: Any, *place: str) -> Reading[_S]:
    """One section from plain values; `place` is where it stands in the document."""
    try:
        return Reading(model.model_validate(content))
    except ValidationError as error:
        faults = error.errors(include_url=False)
    # a list whose entries are all at fault is reported as too short besides: that is no second problem
    inside = {tuple(fault["loc"][:-1]) for fault in faults}
    faults = [fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in inside]
    problems = tuple(_as_problem(model, fault, place) for fault in faults)
    dropped = frozenset(str(fault["loc"][0]) for fault in faults if fault["loc"])
    if not isinstance(content, dict):
        return Reading(None, problems)
    try:
        rest = model.model_validate({key: value for key, value in content.items() if key not in dropped})
    except ValidationError:
        return Reading(None, problems, dropped)
    return Reading(rest, problems, dropped)


def _as_problem(model: type[Section], details: Mapping[str, Any], place: tuple[str | int, ...]) -> Problem:
    keys: tuple[str | int, ...] = tuple(details["loc"])
    if model is ParameterSet:
        keys = keys[1:]
    where = join_place(*place, *(key for key in keys if key != "[key]"))
    match details["type"]:
        case "extra_forbidden":
            return Problem(where, "unknown key", did_you_mean(str(keys[-1]), model.model_fields))
        case "missing":
            return Problem(where, "this key is missing")
        case "value_error":
            return Problem(where, str(details["ctx"]["error"]))
        case "model_type" | "dict_type":
            return Problem(where, "a mapping of keys to values is expected")
        case "tuple_type":
            return Problem(where, "a list is expected")
        case "too_short":
            return Problem(where, "at least one entry is needed")
    message = str(details["msg"])
    given = json.dumps(details["input"], default=str, ensure_ascii=True)
    return Problem(where, f"{message[0].lower()}{message[1:]}, not {given if len(given) <= 40 else given[:37] + '...'}")


def to_document(configuration: Configuration, defaults: bool = True) -> dict[str, Any]:
    """The configuration as plain JSON values; reading it gives an equal configuration.

    With `defaults`, every key is there (as stored); without, only what differs from its default (as people write it).
    """
    if defaults:
        return configuration.model_dump(mode="json")
    document = configuration.model_dump(mode="json", exclude_defaults=True)
    return {key: value for key, value in document.items() if value != {} or key in ("sub_farms", "roles")}
