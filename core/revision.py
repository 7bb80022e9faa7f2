"""Which configuration is in force, and when another may take its place.

The selected revision is taken by `setup` (everything), by `boot` (as long as the same sub-farms and nodes are set up),
and by `load` (as long as the same processes are booted; their parameters may differ). Anything further needs a way
down first, and the refusal says which. A farm of which a part is further up keeps the revision that it has: one
revision for all members, and during a run none changes.
"""

from dataclasses import replace

from .memory import ChildMemory, LinkMemory, Memory, ProcessMemory, leaf_states
from .names import Command, Kind, State
from .paths import join
from .plan import FarmSpec, SubFarmSpec

# The first steps that take a revision while the farm is set up, and where all members must be for it.
_TAKES_FROM: dict[Command | None, frozenset[State]] = {
    Command.BOOT: frozenset({State.ABSENT, State.INITIAL}),
    Command.LOAD: frozenset({State.ABSENT, State.INITIAL, State.BOOTED}),
}


def known_paths(memory: Memory, selected: FarmSpec | None = None) -> set[str]:
    """The paths of all members: as configured, or as selected when nothing is in force yet."""
    return {memory.path, *(child.path for child in memory.children.values()), *_members(memory, selected)}


def members_and_roles(memory: Memory, selected: FarmSpec | None = None) -> tuple[tuple[str, str], ...]:
    """The path of every member but the farm's own, with its role (empty unless it is a process), for selectors."""
    farm = memory.farm or selected
    roles: dict[str, str] = {}
    for sub_farm in farm.sub_farms if farm is not None else ():
        _collect_roles(sub_farm, roles)
    if memory.spec is not None:
        _collect_roles(memory.spec, roles)
    return tuple((path, roles.get(path, "")) for path in _members(memory, selected))


def _collect_roles(sub_farm: SubFarmSpec, roles: dict[str, str]) -> None:
    roles |= {process.path: process.role for process in sub_farm.processes}
    for below in sub_farm.sub_farms:
        _collect_roles(below, roles)


def kind_of(memory: Memory, path: str, selected: FarmSpec | None = None) -> Kind:
    """What the member at a known path is."""
    return memory.kind if path == memory.path else _members(memory, selected).get(path, Kind.SUB_FARM)


def is_process(memory: Memory, path: str, selected: FarmSpec | None = None) -> bool:
    """Whether a known path is that of a process."""
    return _members(memory, selected).get(path) is Kind.PROCESS


def _members(memory: Memory, selected: FarmSpec | None) -> dict[str, Kind]:
    farm = memory.farm or selected
    found: dict[str, Kind] = {}
    for sub_farm in farm.sub_farms if farm is not None else ():
        _collect(join(memory.path, sub_farm.name), sub_farm, found)
    if memory.spec is not None:
        _collect(memory.path, memory.spec, found)
    return found


def _collect(path: str, sub_farm: SubFarmSpec, found: dict[str, Kind]) -> None:
    found[path] = Kind.SUB_FARM
    found |= {join(path, node): Kind.NODE for node in sub_farm.nodes}
    found |= {process.path: Kind.PROCESS for process in sub_farm.processes}
    for below in sub_farm.sub_farms:
        _collect(join(path, below.name), below, found)


def why_not(memory: Memory, selected: FarmSpec | None, first: Command | None) -> str:
    """Why a command whose first step is `first` cannot take the selected revision that it would have to take; or ""."""
    old = memory.farm
    if selected is None or old is None or not _would_take(memory, selected, first) or _nothing_is_up(memory):
        return ""
    if not _same_machines(old.sub_farms, selected.sub_farms):
        return (
            f"the selected configuration {selected.revision[:12]} has other sub-farms or nodes than the one in "
            f"force ({old.revision[:12]}); take the farm down first: grange go absent"
        )
    if first is Command.LOAD and not _same_processes(old.sub_farms, selected.sub_farms):
        return (
            f"the selected configuration {selected.revision[:12]} has other processes than the one booted "
            f"({old.revision[:12]}); shut down first: grange go initial"
        )
    return ""


def go_first(memory: Memory, selected: FarmSpec | None) -> State | None:
    """Where the farm has to go before a load can take the selected revision; None: the next load does take it."""
    old = memory.farm
    if selected is None or old is None or selected.revision == old.revision or _nothing_is_up(memory):
        return None
    if not _same_machines(old.sub_farms, selected.sub_farms):
        return State.ABSENT
    if _same_processes(old.sub_farms, selected.sub_farms):
        return None
    # other processes are taken by the boot before the load
    return None if leaf_states(memory, memory.path) <= _TAKES_FROM[Command.BOOT] else State.INITIAL


def untaken(memory: Memory, selected: FarmSpec | None, state: State) -> str:
    """That another revision is selected than the one in force, and how to take it from `state`; or ""."""
    old = memory.farm
    if selected is None or old is None or selected.revision == old.revision:
        return ""
    first = "absent"
    if _same_machines(old.sub_farms, selected.sub_farms):
        first = "booted" if _same_processes(old.sub_farms, selected.sub_farms) else "initial"
    before = "" if first == state else f"grange go {first}, then "
    return (
        f"configuration {selected.revision[:10]} is selected, {old.revision[:10]} is in force; "
        f"to take it: {before}grange go running"
    )


def adopt(memory: Memory, selected: FarmSpec | None, first: Command | None) -> bool:
    """Takes the selected revision if a command whose first step is `first` does so; says whether it was taken."""
    if selected is None or not _would_take(memory, selected, first):
        return False
    put(memory, selected)
    return True


def _would_take(memory: Memory, selected: FarmSpec, first: Command | None) -> bool:
    """Whether the revision changes; not when any member is further up than where the step begins."""
    if memory.farm is None or _nothing_is_up(memory):
        return memory.farm is None or memory.farm.revision != selected.revision
    if memory.farm.revision == selected.revision or first not in _TAKES_FROM:
        return False
    return leaf_states(memory, memory.path) <= _TAKES_FROM[first]


def _nothing_is_up(memory: Memory) -> bool:
    return not any(link.expected for link in memory.links.values())


def put(memory: Memory, farm: FarmSpec) -> None:
    """Makes `farm` the configuration in force at the root."""
    memory.farm = farm
    memory.revision = farm.revision
    memory.limits = replace(memory.limits, enrol_wait_s=farm.enrol_wait_s)
    _put_children(memory, farm.sub_farms)


def _put_children(memory: Memory, sub_farms: tuple[SubFarmSpec, ...]) -> None:
    """Makes a child of each of `sub_farms`; nodes stay as they are."""
    names = [sub_farm.name for sub_farm in sub_farms]
    memory.children = {name: memory.children.get(name) or ChildMemory(name, join(memory.path, name)) for name in names}
    nodes = {name: link for name, link in memory.links.items() if link.kind is Kind.NODE}
    memory.links = nodes | {name: memory.links.get(name) or LinkMemory(name, Kind.SUB_FARM) for name in names}


def document(memory: Memory, revision: str, spec: SubFarmSpec) -> None:
    """Makes `spec` the description of this sub-farm; what has been heard of members that stay is kept."""
    memory.spec = spec
    memory.revision = revision
    memory.limits = replace(memory.limits, enrol_wait_s=spec.enrol_wait_s)
    _put_children(memory, spec.sub_farms)
    children = {name: link for name, link in memory.links.items() if link.kind is not Kind.NODE}
    memory.links = {node: memory.links.get(node) or LinkMemory(node, Kind.NODE) for node in spec.nodes} | children
    processes: dict[str, ProcessMemory] = {}
    for process in spec.processes:
        known = memory.processes.get(process.path) or ProcessMemory(process, spec.role(process.role))
        known.spec, known.role = process, spec.role(process.role)
        processes[process.path] = known
    memory.processes = processes


def _same_machines(some: tuple[SubFarmSpec, ...], others: tuple[SubFarmSpec, ...]) -> bool:
    return [(one.name, one.nodes) for one in some] == [(other.name, other.nodes) for other in others] and all(
        _same_machines(one.sub_farms, other.sub_farms) for one, other in zip(some, others, strict=True)
    )


def _same_processes(some: tuple[SubFarmSpec, ...], others: tuple[SubFarmSpec, ...]) -> bool:
    def bare(sub_farms: tuple[SubFarmSpec, ...]) -> list[object]:
        return [
            ([replace(process, parameters={}) for process in one.processes], bare(one.sub_farms)) for one in sub_farms
        ]

    return bare(some) == bare(others)
