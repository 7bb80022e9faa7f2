"""Farms of any size for the simulator and the benchmarks."""

from grange.core.names import Policy
from grange.core.plan import ALL, FarmSpec, ProcessSpec, Quorum, RoleSpec, SubFarmSpec


def uniform(
    sub_farms: int = 2,
    nodes: int = 2,
    processes: int = 2,
    roles: tuple[str, ...] = ("source", "worker"),
    quorums: dict[str, Quorum] | None = None,
    policies: dict[str, Policy] | None = None,
) -> FarmSpec:
    """A farm in which every node has `processes` processes, their roles taken in turn and chained in that order."""
    described = []
    for number in range(1, sub_farms + 1):
        name = f"sf{number:02}"
        names = tuple(f"n{node:03}" for node in range(1, nodes + 1))
        counters = dict.fromkeys(roles, 0)
        members = []
        for node in names:
            for index in range(processes):
                role = roles[index % len(roles)]
                counters[role] += 1
                members.append(ProcessSpec(f"{name}/{node}/{role}-{counters[role]}", role, ("true",)))
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
    return FarmSpec("farm", "0" * 64, tuple(described))
