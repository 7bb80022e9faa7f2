"""Farms of any size for the simulator and the benchmarks."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grange.core.names import Policy
from grange.core.paths import join
from grange.core.plan import ALL, FarmSpec, ProcessSpec, Quorum, RoleSpec, SubFarmSpec


def uniform(
    sub_farms: int = 2,
    nodes: int = 2,
    processes: int = 2,
    roles: tuple[str, ...] = ("source", "worker"),
    quorums: dict[str, Quorum] | None = None,
    policies: dict[str, Policy] | None = None,
    revision: str = "0" * 64,
    parameters: Mapping[str, Any] | None = None,
    heartbeat_timeout_s: float = 0.0,
    above: str = "",
) -> FarmSpec:
    """A farm in which every node has `processes` processes, their roles taken in turn and chained in that order.

    `above` is the path of the controller that has the sub-farms, for a part of a deeper tree (`deep`).
    """
    described = []
    for number in range(1, sub_farms + 1):
        name = f"sf{number:02}"
        path = join(above, name)
        names = tuple(f"n{node:03}" for node in range(1, nodes + 1))
        counters = dict.fromkeys(roles, 0)
        members = []
        for node in names:
            for index in range(processes):
                role = roles[index % len(roles)]
                counters[role] += 1
                spec = ProcessSpec(
                    f"{path}/{node}/{role}-{counters[role]}",
                    role,
                    ("true",),
                    parameters=parameters or {},
                    heartbeat_timeout_s=heartbeat_timeout_s,
                )
                members.append(spec)
        described.append(
            SubFarmSpec(
                name,
                names,
                tuple(
                    RoleSpec(
                        role,
                        rank,
                        "chain",
                        (quorums or {}).get(role, ALL),
                        (policies or {}).get(role, Policy.STOP_RUN),
                    )
                    for rank, role in enumerate(roles)
                ),
                tuple(members),
            )
        )
    return FarmSpec("farm", revision, tuple(described))


def deep(groups: int = 2, sub_farms: int = 2, nodes: int = 1, processes: int = 2) -> FarmSpec:
    """A farm of three levels of controllers: groups of sub-farms have one of their own."""
    described = []
    for number in range(1, groups + 1):
        name = f"group{number}"
        below = uniform(sub_farms, nodes, processes, above=name).sub_farms
        described.append(SubFarmSpec(name, (), (), (), below))
    return FarmSpec("farm", "0" * 64, tuple(described))


def varied(choose: random.Random) -> FarmSpec:
    """A farm of two sub-farms, each with three nodes of three processes, in which each policy is that of some role."""
    shape = uniform(2, 3, 3, ("source", "worker", "sink"), heartbeat_timeout_s=choose.choice((0.0, 5.0)))
    policies = [*Policy, *choose.choices(tuple(Policy), k=2)]
    choose.shuffle(policies)
    described = []
    for sub_farm in shape.sub_farms:
        roles = tuple(
            replace(role, policy=policies.pop(), quorum=choose.choice((ALL, Quorum(number=1), Quorum(fraction=0.5))))
            for role in sub_farm.roles
        )
        described.append(replace(sub_farm, roles=roles))
    if choose.random() < 0.8:
        return replace(shape, sub_farms=tuple(described))
    return replace(shape, sub_farms=tuple(_grouped(f"group{n}", one) for n, one in enumerate(described, start=1)))


def _grouped(name: str, below: SubFarmSpec) -> SubFarmSpec:
    """The sub-farm, one level deeper: below a controller of its own."""
    processes = tuple(replace(process, path=join(name, process.path)) for process in below.processes)
    return SubFarmSpec(name, (), (), (), (replace(below, processes=processes),))
