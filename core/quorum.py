"""Quorum: how many processes of a role must be well, and which roles fall short."""

from collections.abc import Callable
from dataclasses import dataclass

from .memory import Memory, ProcessMemory, process_state
from .names import Health, Membership, State
from .plan import RoleSpec


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A role with fewer well processes than it needs."""

    role: str
    well: int
    needed: int
    missing: tuple[ProcessMemory, ...]

    def __str__(self) -> str:
        return f"role {self.role}: {self.well} well, {self.needed} needed"


def is_well(memory: Memory, process: ProcessMemory) -> bool:
    """Whether a process counts towards its role's quorum: in, heard, and nothing wrong with it."""
    if process.membership is not Membership.IN or process.fault:
        return False
    state = process_state(memory, process)
    if state is State.UNKNOWN:
        return False
    # What a dead process failed of is history once it is to be initial anyway.
    return state is State.INITIAL or process.report is None or process.report.health is not Health.ERROR


def shortfall(
    memory: Memory, role: RoleSpec, well: Callable[[Memory, ProcessMemory], bool] = is_well
) -> Shortfall | None:
    """Whether `role` falls short of its quorum, by the measure of `well`."""
    members = [process for process in memory.processes.values() if process.role.name == role.name]
    out_by_person = sum(process.membership is Membership.OUT_BY_PERSON for process in members)
    needed = role.quorum.needed(len(members), out_by_person)
    good = [process for process in members if process.membership is Membership.IN and well(memory, process)]
    if len(good) >= needed:
        return None
    missing = tuple(
        process for process in members if process not in good and process.membership is not Membership.OUT_BY_PERSON
    )
    return Shortfall(role.name, len(good), needed, missing)


def shortfalls(memory: Memory, well: Callable[[Memory, ProcessMemory], bool] = is_well) -> tuple[Shortfall, ...]:
    """Every role that falls short, in the order of the configuration."""
    roles = memory.spec.roles if memory.spec is not None else ()
    return tuple(found for role in roles if (found := shortfall(memory, role, well)) is not None)
