"""Quorum: how many processes of a role must be well, and which roles fall short.

Two measures are in use. Decisions about a fault ask who is *not faulty*: a process whose node is just dialling in again
counts until its time has passed, or every short break of a link would stop a run. What a command has achieved is
measured by who is where it should be, and what observers are told by who is *well*.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .memory import Memory, ProcessMemory, process_state
from .names import Membership, State
from .paths import covers
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


def is_sound(memory: Memory, process: ProcessMemory) -> bool:
    """Whether nothing is known to be wrong with a process that is in."""
    return process.membership is Membership.IN and not process.fault


def is_well(memory: Memory, process: ProcessMemory) -> bool:
    """Whether a process is sound and heard."""
    return is_sound(memory, process) and process_state(memory, process) is not State.UNKNOWN


def shortfall(
    memory: Memory,
    role: RoleSpec,
    well: Callable[[Memory, ProcessMemory], bool] = is_sound,
    scope: str = "",
) -> Shortfall | None:
    """Whether `role` falls short of its quorum among the processes in `scope`, by the measure of `well`."""
    members = [
        process
        for process in memory.processes.values()
        if process.role.name == role.name and covers(scope, process.path)
    ]
    out_by_person = sum(process.membership is Membership.OUT_BY_PERSON for process in members)
    needed = role.quorum.needed(len(members), out_by_person)
    good = sum(process.membership is Membership.IN and well(memory, process) for process in members)
    if good >= needed:
        return None
    missing = tuple(
        process
        for process in members
        if process.membership is not Membership.OUT_BY_PERSON
        and not (process.membership is Membership.IN and well(memory, process))
    )
    return Shortfall(role.name, good, needed, missing)


def shortfalls(
    memory: Memory, well: Callable[[Memory, ProcessMemory], bool] = is_sound, scope: str = ""
) -> tuple[Shortfall, ...]:
    """Every role that falls short in `scope`, in the order of the configuration."""
    roles = memory.spec.roles if memory.spec is not None else ()
    return tuple(found for role in roles if (found := shortfall(memory, role, well, scope)) is not None)
