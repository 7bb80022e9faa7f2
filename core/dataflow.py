"""The order of the data flow: which roles come before which, and which hang together.

`reads` says for each role whose data it takes. Links marked `feedback` (trigger decisions on their way back) are left
out by the caller, so what is ranked must be free of cycles. A role's rank is the length of the longest chain of reads
that leads to a source: sources have rank 0, and whoever reads has a higher rank than everyone it reads. Start goes from
the highest rank down, stop from 0 up; ranks are compared only within a component, a set of roles that data connects.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a role stands in the data flow: its rank, and its component, named after its alphabetically first role."""

    rank: int
    component: str


class DataFlowCycle(ValueError):
    """The configuration's fault: roles that read each other in a circle, given from one role back to the same."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        self.cycle = cycle
        way = " reads ".join(cycle)
        super().__init__(f"the data flow goes in a circle: {way}; name one of these links under feedback instead")


def rank_roles(reads: Mapping[str, Collection[str]]) -> dict[str, Place]:
    """The place of each role in `reads`, which maps every role to the roles that it reads.

    The order of the mapping does not matter. Raises `DataFlowCycle` for a circle and `KeyError` for a role that is read
    but not a key.
    """
    ranks = _ranks(reads)
    components = _components(reads)
    return {role: Place(ranks[role], components[role]) for role in reads}


def _ranks(reads: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Longest chain to a source, depth first with a stack of our own: a chain may be longer than Python's recursion."""
    ranks: dict[str, int] = {}
    for root in sorted(reads):
        path: dict[str, None] = {}  # the chain being followed, in order
        stack = [] if root in ranks else [root]
        while stack:
            role = stack[-1]
            path[role] = None
            open_reads = [source for source in sorted(reads[role]) if source not in ranks]
            if not open_reads:
                ranks[role] = max((ranks[source] + 1 for source in reads[role]), default=0)
                path.pop(role)
                stack.pop()
                continue
            source = open_reads[0]
            if source in path:
                chain = list(path)
                raise DataFlowCycle((*chain[chain.index(source) :], source))
            stack.append(source)
    return ranks


def _components(reads: Mapping[str, Collection[str]]) -> dict[str, str]:
    neighbours: dict[str, set[str]] = {role: set(sources) for role, sources in reads.items()}
    for role, sources in reads.items():
        for source in sources:
            neighbours[source].add(role)
    components: dict[str, str] = {}
    for first in sorted(reads):
        reached = [first]
        while reached:
            role = reached.pop()
            if role not in components:
                components[role] = first
                reached.extend(neighbours[role])
    return components
