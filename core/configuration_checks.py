"""What takes more than one section to judge: names that point at nothing, nodes in two places, circles, quorums.

The checks work on a `Draft`: what could be read of each section, and the names of all that were written. So a role with
a mistake in it is not reported as unknown on top, and everything else about it is still checked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .configuration import COUNT_MAX, NodeSettings, Role, SubFarm, name_fault
from .dataflow import DataFlowCycle, rank_roles
from .hostlist import HostListError, expand
from .names import Ready
from .problems import Problem, did_you_mean, join_place

PROCESSES_MAX = 200_000  # processes of a whole farm; three times the largest that was ever simulated
PLACEHOLDERS = ("farm", "sub_farm", "node", "role", "index", "home")  # index counts from 1 within the sub-farm

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ENDS_LIKE_A_SLOT = re.compile(r".*-[0-9]+")


@dataclass
class Draft:
    """A configuration while it is being judged: what could be read, by name, and all names that were written."""

    sub_farms: dict[str, SubFarm] = field(default_factory=dict)
    nodes: dict[str, NodeSettings] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    role_names: frozenset[str] = frozenset()
    parameter_names: frozenset[str] = frozenset()
    dropped: dict[str, frozenset[str]] = field(default_factory=dict)  # keys of a role that could not be read


def find_problems(draft: Draft) -> list[Problem]:
    """Everything that makes the configuration unusable, in the order of the sections."""
    return [
        *_sub_farm_problems(draft),
        *_node_problems(draft),
        *_role_problems(draft),
        *_cycle_problems(draft),
        *_parameter_problems(draft),
    ]


def find_warnings(draft: Draft) -> list[Problem]:
    """What is allowed but odd; to be called on a draft without problems."""
    used_roles = {role for sub_farm in draft.sub_farms.values() for role in sub_farm.roles}
    used_sets = {role.parameters for role in draft.roles.values() if isinstance(role.parameters, str)}
    here = {name for names in _nodes_of(draft).values() for name in names}
    warnings = [
        Problem(f"roles.{name}", "no sub-farm runs this role") for name in draft.roles if name not in used_roles
    ]
    warnings += [
        Problem(f"parameters.{name}", "no role uses this parameter set")
        for name in draft.parameters
        if name not in used_sets
    ]
    for expression in draft.nodes:
        idle = [name for name in expand(expression) if name not in here]
        if idle:
            warnings.append(
                Problem(f"nodes.{expression}", f"{len(idle)} of these nodes are in no sub-farm, such as {idle[0]}")
            )
    return warnings


def _nodes_of(draft: Draft) -> dict[str, list[str]]:
    """Node names by sub-farm; expressions that cannot be expanded are left out (they are reported elsewhere)."""
    nodes: dict[str, list[str]] = {}
    for name, sub_farm in draft.sub_farms.items():
        nodes[name] = []
        for expression in sub_farm.nodes:
            try:
                nodes[name].extend(expand(expression))
            except HostListError:
                continue
    return nodes


def _expression_problem(place: str, expression: str) -> Iterator[Problem]:
    try:
        names = expand(expression)
    except HostListError as error:
        yield Problem(place, str(error))
        return
    for name in names:
        if fault := name_fault(name):
            yield Problem(place, fault)
            return


def _sub_farm_problems(draft: Draft) -> Iterator[Problem]:
    seen: dict[str, str] = {}  # node -> the sub-farm that has it
    processes = 0
    nodes = _nodes_of(draft)
    for name, sub_farm in draft.sub_farms.items():
        place = f"sub_farms.{name}"
        if not sub_farm.nodes:
            yield Problem(f"{place}.nodes", "a sub-farm needs at least one node")
        if not sub_farm.roles:
            yield Problem(f"{place}.roles", "a sub-farm needs at least one role")
        for position, expression in enumerate(sub_farm.nodes):
            yield from _expression_problem(f"{place}.nodes[{position + 1}]", expression)
        for node in nodes[name]:
            if node in seen:
                where = "listed twice" if seen[node] == name else f"in sub-farm {seen[node]} too"
                yield Problem(f"{place}.nodes", f"node {node} is {where}; a node belongs to one sub-farm, once")
            seen.setdefault(node, name)
        yield from _role_list_problems(draft, name, sub_farm)
        for role_name in sub_farm.roles:
            role = draft.roles.get(role_name)
            uncounted = draft.dropped.get(role_name, frozenset()) & {"count", "per", "on", "quorum"}
            if role is not None and nodes[name] and not uncounted:
                count = processes_of(role, len(nodes[name]))
                processes += count
                yield from _quorum_problems(role_name, role, name, count)
    if processes > PROCESSES_MAX:
        yield Problem("sub_farms", f"{processes} processes in all are more than {PROCESSES_MAX}")


def _role_list_problems(draft: Draft, name: str, sub_farm: SubFarm) -> Iterator[Problem]:
    here = set(sub_farm.roles)
    for position, role_name in enumerate(sub_farm.roles):
        place = f"sub_farms.{name}.roles[{position + 1}]"
        if role_name not in draft.role_names:
            yield Problem(place, f'there is no role "{role_name}"', did_you_mean(role_name, draft.role_names))
        elif role_name in sub_farm.roles[:position]:
            yield Problem(place, f'role "{role_name}" is named twice')
        elif role_name in draft.roles:
            role = draft.roles[role_name]
            for source in (*role.reads, *role.feedback):
                if source in draft.role_names and source not in here:
                    what = f'role "{role_name}" reads "{source}", which does not run in this sub-farm'
                    yield Problem(place, what, f'add "{source}" to sub_farms.{name}.roles')


def processes_of(role: Role, nodes: int) -> int:
    """How many processes of a role run in a sub-farm with so many nodes."""
    return role.count * (nodes if role.per == "node" and role.on == "all" else 1)


def _quorum_problems(role_name: str, role: Role, sub_farm: str, count: int) -> Iterator[Problem]:
    if role.quorum.number is not None and role.quorum.number > count:
        what = f"{role.quorum.number} can never be well: sub-farm {sub_farm} has {count}"
        yield Problem(f"roles.{role_name}.quorum", what, f'write "all" or at most {count}')
    if count > COUNT_MAX:
        yield Problem(f"roles.{role_name}.count", f"{count} processes in sub-farm {sub_farm} are more than {COUNT_MAX}")


def _node_problems(draft: Draft) -> Iterator[Problem]:
    here = {name for names in _nodes_of(draft).values() for name in names}
    seen: dict[str, str] = {}
    for expression in draft.nodes:
        place = f"nodes.{expression}"
        faults = list(_expression_problem(place, expression))
        yield from faults
        if faults:
            continue
        names = expand(expression)
        if here.isdisjoint(names):
            yield Problem(place, "none of these nodes is in a sub-farm", did_you_mean(names[0], here))
        for name in names:
            if name in seen:
                yield Problem(place, f"node {name} is described by nodes.{seen[name]} too")
                break
            seen[name] = expression


def _role_problems(draft: Draft) -> Iterator[Problem]:
    for name in sorted(draft.role_names):
        if _ENDS_LIKE_A_SLOT.fullmatch(name):
            what = 'a role may not end in "-" and digits: process names such as psa-2 are made that way'
            yield Problem(f"roles.{name}", what, f'write "{name.replace("-", "_")}"')
    for name, role in draft.roles.items():
        if not draft.dropped.get(name):
            yield from _kind_problems(f"roles.{name}", role)
        for key, sources in (("reads", role.reads), ("feedback", role.feedback)):
            for position, source in enumerate(sources):
                place = f"roles.{name}.{key}[{position + 1}]"
                if source not in draft.role_names:
                    yield Problem(place, f'there is no role "{source}"', did_you_mean(source, draft.role_names))
                elif source in sources[:position] or (key == "feedback" and source in role.reads):
                    yield Problem(place, f'role "{source}" is named twice')
        if isinstance(role.parameters, str) and role.parameters not in draft.parameter_names:
            what = f'there is no parameter set "{role.parameters}"'
            yield Problem(f"roles.{name}.parameters", what, did_you_mean(role.parameters, draft.parameter_names))
        texts = {
            "command": list(role.command or ()),
            "probe": list(role.probe or ()),
            "alive_probe": list(role.alive_probe or ()),
            "environment": role.environment,
            "working_directory": role.working_directory,
            "parameters": role.parameters if isinstance(role.parameters, dict) else {},
        }
        for key, value in texts.items():
            yield from _placeholder_problems(value, ("roles", name, key))


def _kind_problems(place: str, role: Role) -> Iterator[Problem]:
    """What a command, an actor and the ways of being ready have to do with each other."""
    if role.command is None and role.actor is None:
        yield Problem(place, "what to run is missing", "give `command` or `actor`")
    if role.command is not None and role.actor is not None:
        yield Problem(place, "`command` and `actor` exclude each other", "leave one out")
    if role.actor is not None and role.ready not in (None, Ready.ACTOR):
        yield Problem(f"{place}.ready", "an actor is ready by its first message", "leave this key out")
    if role.readiness is Ready.SETTLE and role.heartbeat_timeout_s:
        what = "a process that only settles sends no heartbeat"
        yield Problem(f"{place}.heartbeat_timeout_s", what, "leave this key out, or use `ready: notify`")
    yield from _probe_problems(place, role)
    if role.template and role.actor is None:
        yield Problem(f"{place}.template", "only a Python actor is forked from a template", "give `actor`")


def _probe_problems(place: str, role: Role) -> Iterator[Problem]:
    """A process is watched in one way, and asked only for what it is to answer."""
    if role.readiness is Ready.PROBE and role.probe is None:
        yield Problem(f"{place}.probe", "`ready: probe` needs the command that asks", "give `probe`")
    if role.readiness is not Ready.PROBE and role.probe is not None:
        yield Problem(f"{place}.probe", "nobody asks for it", "write `ready: probe`, or leave this key out")
    watches = {
        "heartbeat_timeout_s": role.heartbeat_s > 0,
        "watchdog_timeout_s": role.watchdog_timeout_s > 0,
        "alive_probe": role.alive_probe is not None,
    }
    used = [key for key, on in watches.items() if on]
    if len(used) > 1:
        what = f"a process is watched in one way, and this one has `{used[0]}`"
        yield Problem(f"{place}.{used[1]}", what, "leave one of them out, or switch it off with 0")


def _cycle_problems(draft: Draft) -> Iterator[Problem]:
    known = draft.roles.keys()
    try:
        rank_roles({name: [source for source in role.reads if source in known] for name, role in draft.roles.items()})
    except DataFlowCycle as error:
        yield Problem(f"roles.{error.cycle[0]}.reads", str(error))


def _parameter_problems(draft: Draft) -> Iterator[Problem]:
    for name, values in draft.parameters.items():
        yield from _placeholder_problems(values, ("parameters", name))


def _placeholder_problems(value: Any, place: tuple[str | int, ...]) -> Iterator[Problem]:
    if isinstance(value, str):
        for word in PLACEHOLDER.findall(value):
            if word not in PLACEHOLDERS:
                hint = did_you_mean(word, PLACEHOLDERS) + ' (for the text itself, put a space after "{")'
                yield Problem(join_place(*place), f"there is no placeholder {{{word}}}", hint)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _placeholder_problems(item, (*place, position))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _placeholder_problems(item, (*place, key))
