"""A member's page: all that one controller can tell of one member, and why it is as it is.

A row (`view.py`) is small, because thousands of them travel; a page is asked for one at a time and may be long. What
lies on disks and in other programs (logs, addresses, process ids of controllers) is added at the edge. A member that is
configured and not in force yet has a page too: its configuration.
"""

from dataclasses import dataclass

from .durations import duration_words
from .goals import exclusion_of
from .memory import LinkMemory, Memory, ProcessMemory
from .names import Command, Membership, Policy
from .paths import covers, meet, parent
from .paths import name as last_part
from .plan import FarmSpec, ProcessSpec, RoleSpec, SubFarmSpec
from .quorum import is_well, shortfall
from .reports import Failure, Figures, OutputFile

LINES_SHOWN = 10  # of the story and of the log, unless a person asks for more
LINES_MAX = 1000


@dataclass(frozen=True, slots=True)
class RoleStanding:
    """A role in one sub-farm, and how it stands there."""

    role: RoleSpec
    configured: int  # processes
    needed: int  # well, by the quorum
    well: int | None  # None: nobody can tell


@dataclass(frozen=True, slots=True)
class AwaitedOrder:
    """An order that has been sent and not answered."""

    command: Command
    age_s: float
    remaining_s: float


@dataclass(frozen=True, slots=True)
class ProcessPage:
    """What is known of a process besides its row."""

    spec: ProcessSpec
    role: RoleStanding
    fault: str = ""  # why it is not well
    membership: str = ""  # why it counts, or does not, when that is not plain
    unheard: str = ""  # that its node cannot be heard, and since when: all the rest is what was heard before
    failure: Failure | None = None
    awaited: AwaitedOrder | None = None
    figures: Figures | None = None
    figures_age_s: float = 0.0
    files: tuple[OutputFile, ...] = ()
    restarts: int = 0  # how often its role's policy has restarted it since a command did
    restarted_age_s: float | None = None  # how long ago it did so last


def process_page(memory: Memory, now: float, path: str, selected: FarmSpec | None = None) -> ProcessPage | None:
    """The page of a process; None for what is no process. `selected` is what the next load takes, at the root."""
    process = memory.processes.get(path)
    if process is None:
        return configured_page(memory.farm or selected, path)
    report, flight = process.report, process.in_flight
    figures = report.figures if report is not None else None
    return ProcessPage(
        spec=process.spec,
        role=role_standing(memory, process.role),
        fault=process.fault,
        membership=membership_reason(memory, process),
        unheard=_unheard(memory, now, process),
        failure=report.failure if report is not None else None,
        awaited=AwaitedOrder(flight.order.command, now - flight.sent_s, max(0.0, flight.deadline_s - now))
        if flight is not None
        else None,
        figures=figures,
        figures_age_s=figures.age_s + now - process.heard_s if figures and process.heard_s is not None else 0.0,
        files=report.files if report is not None else (),
        restarts=report.restarts if report is not None else 0,
        restarted_age_s=now - report.restarted_s[-1] if report is not None and report.restarted_s else None,
    )


def membership_reason(memory: Memory, process: ProcessMemory) -> str:
    """Why a process that is not well counts, or does not; nothing for one that is well and in."""
    exclusion = exclusion_of(memory.goal.goal, process.path) if memory.goal is not None else None
    if exclusion is not None:
        return exclusion.why
    if process.renewing:
        return "is being ended, to be started again"
    if process.returning:
        return "well again, and being brought to where the others are"
    if process.withdrawn:
        with_node = process.cause or process.role.policy is Policy.EXCLUDE_NODE
        whom = parent(process.path) if with_node else process.path
        return f"ended, and out until somebody brings it back: grange recover {whom}"
    short = shortfall(memory, process.role)
    if process.membership is Membership.OUT_BY_FAULT:
        return "out until it is well again: " + (
            str(short) if short is not None else f"the quorum of role {process.role.name} holds without it"
        )
    return f"still in, for the others are too few ({short})" if process.fault and short is not None else ""


def _unheard(memory: Memory, now: float, process: ProcessMemory) -> str:
    link = memory.links[process.spec.node]
    if link.enrolled or not link.expected or process.heard_s is None:
        return ""
    return f"its node cannot be heard: all that follows was heard {duration_words(now - process.heard_s)} ago or before"


def role_standing(memory: Memory, role: RoleSpec) -> RoleStanding:
    """How a role stands among the processes here."""
    mine = [process for process in memory.processes.values() if process.role.name == role.name]
    out = sum(process.membership is Membership.OUT_BY_PERSON for process in mine)
    well = sum(is_well(memory, process) for process in mine)
    return RoleStanding(role, len(mine), role.quorum.needed(len(mine), out), well)


def role_standings(memory: Memory) -> list[RoleStanding]:
    """All roles whose processes are here, from the source of the data flow to its end."""
    roles = memory.spec.roles if memory.spec is not None else ()
    return [role_standing(memory, role) for role in sorted(roles, key=lambda role: (role.rank, role.name))]


def node_link(memory: Memory, path: str) -> LinkMemory | None:
    """The link to the agent of a node of this controller."""
    return memory.links.get(last_part(path)) if memory.spec is not None and covers(memory.path, path) else None


def story(memory: Memory, path: str, lines: int) -> list[tuple[float, str, str]]:
    """The last lines (when, who, what) about a member, those below it, and those above it, whose commands it obeys."""
    about = [line for line in memory.story if meet(line[1], path)]
    return about[-lines:]


def configured_page(farm: FarmSpec | None, path: str) -> ProcessPage | None:
    """The page of a process of which only the configuration is known."""
    for spec in farm.sub_farms if farm is not None else ():
        if (found := _configured_in(spec, path)) is not None:
            return found
    return None


def _configured_in(sub_farm: SubFarmSpec, path: str) -> ProcessPage | None:
    for process in sub_farm.processes:
        if process.path == path:
            role = sub_farm.role(process.role)
            count = sum(other.role == role.name for other in sub_farm.processes)
            return ProcessPage(process, RoleStanding(role, count, role.quorum.needed(count), None))
    for below in sub_farm.sub_farms:
        if (found := _configured_in(below, path)) is not None:
            return found
    return None
