"""Which configuration is in force, and when another may take its place.

The selected revision is taken by `setup` (everything), by `boot` (as long as the same sub-farms and nodes are set up),
and by `load` (as long as the same processes are booted; their parameters may differ). Anything further needs a way
down first, and the refusal says which.
"""

from dataclasses import replace

from .memory import ChildMemory, LinkMemory, Memory, ProcessMemory
from .names import Command, Kind
from .paths import join
from .plan import FarmSpec, SubFarmSpec


def known_paths(memory: Memory, selected: FarmSpec | None = None) -> set[str]:
    """The paths of all members: as configured, or as selected when nothing is in force yet."""
    farm = memory.farm or selected
    paths = {memory.path, *(child.path for child in memory.children.values())}
    sub_farms: tuple[SubFarmSpec, ...] = farm.sub_farms if farm is not None else ()
    if memory.spec is not None:
        sub_farms = (*sub_farms, memory.spec)
    for sub_farm in sub_farms:
        paths.add(sub_farm.name)
        paths |= {join(sub_farm.name, node) for node in sub_farm.nodes}
        paths |= {process.path for process in sub_farm.processes}
    return paths


def adopt(memory: Memory, selected: FarmSpec | None, first: Command | None, only_try: bool = False) -> str | bool:
    """Takes the selected revision if the command's first step may; says why not, or whether anything was taken."""
    old = memory.farm
    if selected is None or (old is not None and old.revision == selected.revision):
        return False
    nothing_up = not any(link.expected for link in memory.links.values())
    if old is not None and not nothing_up:
        if first not in (Command.BOOT, Command.LOAD):
            return False
        if not _same_machines(old, selected):
            return (
                f"the selected configuration {selected.revision[:12]} has other sub-farms or nodes than the one in "
                f"force ({old.revision[:12]}); take the farm down first: grange go absent"
            )
        if first is Command.LOAD and not _same_processes(old, selected):
            return (
                f"the selected configuration {selected.revision[:12]} has other processes than the one booted "
                f"({old.revision[:12]}); shut down first: grange go initial"
            )
    if only_try:
        return False
    put(memory, selected)
    return True


def put(memory: Memory, farm: FarmSpec) -> None:
    """Makes `farm` the configuration in force at the root."""
    memory.farm = farm
    memory.revision = farm.revision
    names = [sub_farm.name for sub_farm in farm.sub_farms]
    memory.children = {name: memory.children.get(name) or ChildMemory(name, join(memory.path, name)) for name in names}
    memory.links = {name: memory.links.get(name) or LinkMemory(name, Kind.SUB_FARM) for name in names}


def document(memory: Memory, revision: str, spec: SubFarmSpec) -> None:
    """Makes `spec` the description of this sub-farm; what has been heard of processes that stay is kept."""
    memory.spec = spec
    memory.revision = revision
    memory.links = {node: memory.links.get(node) or LinkMemory(node, Kind.NODE) for node in spec.nodes} | {
        name: link for name, link in memory.links.items() if link.kind is not Kind.NODE
    }
    processes: dict[str, ProcessMemory] = {}
    for process in spec.processes:
        known = memory.processes.get(process.path) or ProcessMemory(process, spec.role(process.role))
        known.spec, known.role = process, spec.role(process.role)
        processes[process.path] = known
    memory.processes = processes


def _same_machines(one: FarmSpec, other: FarmSpec) -> bool:
    return [(sub_farm.name, sub_farm.nodes) for sub_farm in one.sub_farms] == [
        (sub_farm.name, sub_farm.nodes) for sub_farm in other.sub_farms
    ]


def _same_processes(one: FarmSpec, other: FarmSpec) -> bool:
    def bare(farm: FarmSpec) -> list[object]:
        return [[replace(process, parameters={}) for process in sub_farm.processes] for sub_farm in farm.sub_farms]

    return bare(one) == bare(other)
