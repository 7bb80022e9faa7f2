"""Quorum: how many processes of a role must be well, and which roles fall short.

Two measures are in use. Decisions about a fault ask who is *not faulty*: a process whose node is just dialling in again
counts until its time has passed, or every short break of a link would stop a run. What a command has achieved is
measured by who is where it should be, and what observers are told by who is *well*.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .goals import exclusion_of, is_addressed
from .memory import Memory, ProcessMemory, process_state
from .names import Membership, State
from .paths import FARM, covers, lies_in
from .plan import RoleSpec, SubFarmSpec
from .reports import Goal


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A role with fewer well processes than it needs."""

    role: str
    well: int
    needed: int
    missing: tuple[ProcessMemory, ...]

    def __str__(self) -> str:
        return f"role {self.role}: {self.well} well, {self.needed} needed"

    @property
    def by_exclusion(self) -> str:
        """Why, where nobody is missing but those whom a person has taken out."""
        return f"{self}: the others are excluded; bring them back with: grange include"


def counts(memory: Memory, process: ProcessMemory) -> bool:
    """Whether a process is in, or was taken out by a person and is nevertheless what the command under way is about."""
    if process.membership is not Membership.OUT_BY_PERSON or memory.goal is None:
        return process.membership is Membership.IN
    return memory.goal.active and is_addressed(memory.goal.goal, process.path)


def _is_faulty(process: ProcessMemory) -> bool:
    return process.membership is Membership.OUT_BY_FAULT


def is_sound(memory: Memory, process: ProcessMemory) -> bool:
    """Whether nothing is known to be wrong with a process that counts."""
    return not process.fault and counts(memory, process)


def is_well(memory: Memory, process: ProcessMemory) -> bool:
    """Whether a process is sound and heard."""
    return is_sound(memory, process) and process_state(memory, process) is not State.UNKNOWN


def shortfall(
    memory: Memory,
    role: RoleSpec,
    well: Callable[[Memory, ProcessMemory], bool] = is_sound,
    scopes: tuple[str, ...] = (FARM,),
) -> Shortfall | None:
    """Whether `role` falls short of its quorum among the processes in `scopes`, by the measure of `well`.

    In a sub-farm of which a person has taken out everything no role does, unless that is what the command is about.
    """
    if not any(counts(memory, process) or _is_faulty(process) for process in memory.processes.values()):
        return None
    total = out_by_person = good = 0
    missing: list[ProcessMemory] = []
    for process in memory.processes.values():
        if process.role.name != role.name or not lies_in(process.path, scopes):
            continue
        total += 1
        if not counts(memory, process):
            out = process.membership is Membership.OUT_BY_PERSON
            out_by_person += out
            missing += [] if out else [process]
        elif well(memory, process):
            good += 1
        else:
            missing.append(process)
    needed = role.quorum.needed(total, out_by_person)
    return None if good >= needed else Shortfall(role.name, good, needed, tuple(missing))


def shortfalls(
    memory: Memory, well: Callable[[Memory, ProcessMemory], bool] = is_sound, scopes: tuple[str, ...] = (FARM,)
) -> tuple[Shortfall, ...]:
    """Every role that falls short in `scopes`, in the order of the configuration."""
    roles = memory.spec.roles if memory.spec is not None else ()
    return tuple(found for role in roles if (found := shortfall(memory, role, well, scopes)) is not None)


def short_by_exclusion(goal: Goal, specs: Iterable[SubFarmSpec], paths: tuple[str, ...]) -> Iterator[str]:
    """Which roles of members at `paths` fall short by what the goal excludes, however well all the others are.

    A sentence for each. A sub-farm of which everything is out falls short of nothing, for it takes no part.
    """
    for spec in specs:
        yield from short_by_exclusion(goal, spec.sub_farms, paths)
        left = [process for process in spec.processes if exclusion_of(goal, process.path) is None]
        for role in spec.roles if left else ():
            mine = [process for process in spec.processes if process.role == role.name]
            if not any(covers(path, process.path) for process in mine for path in paths):
                continue
            well = sum(process.role == role.name for process in left)
            needed = role.quorum.needed(len(mine), len(mine) - well)
            if well < needed:
                where = mine[0].sub_farm
                yield f"role {role.name} of {where} falls short: {well} of {needed} needed; go running will fail"
