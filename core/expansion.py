"""From a configuration to the plan of its farm: every process with its name, its node, its command and its peers.

The same configuration always gives the same plan. Processes of a role are dealt to the nodes of their sub-farm in turn
and then numbered from node to node, so a process name is unique in its sub-farm: of three on two nodes, `psa-1` and
`psa-2` are on the first and `psa-3` on the second. Data links are filled in here: a process knows the paths of all
processes of the roles it reads, and of those that read it, within its own sub-farm; `feedback` links are marked,
because no end of run comes in on them. Ranks are computed on the roles of the sub-farm; since whatever a role reads
runs in the same sub-farm, they equal the ranks of the whole graph.

Placeholders (`{farm}`, `{sub_farm}`, `{node}`, `{role}`, `{index}`) are filled in here; `{home}` stays as it is, for
only the agent knows where the home is on its node.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .configuration import Configuration, Role
from .configuration_checks import PLACEHOLDER
from .dataflow import rank_roles
from .hostlist import expand, natural_key
from .plan import DataLink, FarmSpec, ProcessSpec, RoleSpec, SubFarmSpec
from .spawning import Probing, SpawnOptions, parse_cpus


def expand_farm(configuration: Configuration, revision: str) -> FarmSpec:
    """The plan of a checked configuration; `revision` is its content hash. Sub-farms come in natural order."""
    names = sorted(configuration.sub_farms, key=natural_key)
    sub_farms = tuple(_expand_sub_farm(configuration, name) for name in names)
    settings = configuration.farm
    return FarmSpec(settings.name, revision, sub_farms, settings.enrol_wait_s, settings.command_timeout_s)


def roles_in_order(configuration: Configuration, sub_farm: str) -> tuple[str, ...]:
    """The roles of a sub-farm from the source of the data flow to its end."""
    names = configuration.sub_farms[sub_farm].roles
    places = rank_roles({name: configuration.roles[name].reads for name in names})
    return tuple(sorted(names, key=lambda name: (places[name].rank, name)))


def _expand_sub_farm(configuration: Configuration, name: str) -> SubFarmSpec:
    sub_farm = configuration.sub_farms[name]
    roles = {role: configuration.roles[role] for role in sub_farm.roles}
    nodes = tuple(node for expression in sub_farm.nodes for node in expand(expression))
    places = rank_roles({role_name: role.reads for role_name, role in roles.items()})
    paths = {role_name: _paths(name, nodes, role_name, role) for role_name, role in roles.items()}
    specs = tuple(
        RoleSpec(
            role_name,
            places[role_name].rank,
            places[role_name].component,
            role.quorum,
            role.policy,
            role.restart_spec,
            role.step_limits,
            role.hung_timeout_s,
        )
        for role_name, role in roles.items()
    )
    processes: list[ProcessSpec] = []
    for role_name, role in roles.items():
        inputs, outputs = _links(role_name, roles, paths)
        options = SpawnOptions(dict(role.limits), parse_cpus(role.cpus), role.nice, role.template)
        parameters = role.parameters
        if isinstance(parameters, str):
            parameters = configuration.parameters[parameters]
        for index, path in enumerate(paths[role_name], start=1):
            words = {
                "farm": configuration.farm.name,
                "sub_farm": name,
                "node": path.split("/")[1],
                "role": role_name,
                "index": str(index),
            }
            processes.append(
                ProcessSpec(
                    path=path,
                    role=role_name,
                    argv=tuple(fill(text, words) for text in role.command or ()),
                    actor=role.actor or "",
                    ready=role.readiness,
                    settle_time_s=role.settle_time_s,
                    working_directory=fill(role.working_directory, words),
                    environment={key: fill(text, words) for key, text in role.environment.items()},
                    heartbeat_timeout_s=role.heartbeat_s,
                    options=options,
                    probing=_probing(role, words),
                    parameters=_fill_value(parameters, words),
                    inputs=inputs,
                    outputs=outputs,
                )
            )
    return SubFarmSpec(name, nodes, specs, tuple(processes), enrol_wait_s=configuration.farm.enrol_wait_s)


def _probing(role: Role, words: Mapping[str, str]) -> Probing:
    return Probing(
        ready=tuple(fill(text, words) for text in role.probe or ()),
        interval_s=role.probe_interval_s,
        timeout_s=role.probe_timeout_s,
        alive=tuple(fill(text, words) for text in role.alive_probe or ()),
        alive_interval_s=role.alive_interval_s,
        alive_misses=role.alive_misses,
        watchdog_timeout_s=role.watchdog_timeout_s,
    )


def _paths(sub_farm: str, nodes: Sequence[str], role_name: str, role: Role) -> tuple[str, ...]:
    """The paths of a role's processes in the order of their numbers."""
    used = nodes[:1] if role.on == "first" else nodes
    if role.per == "node":
        shares = [role.count] * len(used)
    else:
        whole, rest = divmod(role.count, len(used))
        shares = [whole + (position < rest) for position in range(len(used))]
    paths: list[str] = []
    for node, share in zip(used, shares, strict=True):
        first = len(paths) + 1
        paths.extend(f"{sub_farm}/{node}/{role_name}-{number}" for number in range(first, first + share))
    return tuple(paths)


def _links(
    role_name: str, roles: Mapping[str, Role], paths: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[DataLink, ...], tuple[DataLink, ...]]:
    """What a role reads, in the order written, and who reads it, in the order of the sub-farm's roles."""
    role = roles[role_name]
    inputs = [DataLink(source, paths[source]) for source in role.reads]
    inputs += [DataLink(source, paths[source], feedback=True) for source in role.feedback]
    outputs: list[DataLink] = []
    for reader_name, reader in roles.items():
        if role_name in reader.reads:
            outputs.append(DataLink(reader_name, paths[reader_name]))
        elif role_name in reader.feedback:
            outputs.append(DataLink(reader_name, paths[reader_name], feedback=True))
    return tuple(inputs), tuple(outputs)


def fill(text: str, words: Mapping[str, str]) -> str:
    """The text with its placeholders filled in; those not among `words` stay as they are."""
    return PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)


def _fill_value(value: Any, words: Mapping[str, str]) -> Any:
    """A deep copy of a parameter value, with the placeholders in its texts filled in."""
    if isinstance(value, str):
        return fill(value, words)
    if isinstance(value, list):
        return [_fill_value(item, words) for item in value]
    if isinstance(value, dict):
        return {key: _fill_value(item, words) for key, item in value.items()}
    return value
