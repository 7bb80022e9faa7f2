"""How a process is set up and watched, as a role says it: values, and the reading of processor lists.

The values go unchanged from a role through the plan to the node; the keeper sets what it is told to and knows no role.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CPUS_MAX = 4096  # processors that one node may have
# What `limits` may bound, for people; the keeper knows the kernel's names for them (core/keeping.py).
LIMIT_NAMES: Mapping[str, str] = {
    "open_files": "descriptors open at a time",
    "core_bytes": "size of a core dump",
    "address_space_bytes": "size of the address space",
    "cpu_s": "processor time",
    "processes": "processes and threads of the user",
    "file_bytes": "size of a file that it writes",
    "locked_memory_bytes": "memory locked into RAM",
    "stack_bytes": "size of the stack",
}
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


class CpuListError(ValueError):
    """The writer's fault: the text is no list of processors."""


def parse_cpus(text: str) -> tuple[int, ...]:
    """Processor numbers from `0-3,8`, sorted, each once; none for an empty text. Raises `CpuListError`."""
    numbers: set[int] = set()
    for part in text.split(",") if text else ():
        found = _RANGE.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last or last >= CPUS_MAX:
            raise CpuListError(
                f'"{part.strip()[:40]}" is no processor or ascending range of them below {CPUS_MAX}; '
                'write for instance "0-3,8"'
            )
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


@dataclass(frozen=True, slots=True)
class SpawnOptions:
    """What the keeper sets before a process runs its program; a thing that cannot be set keeps it from running."""

    limits: Mapping[str, int] = field(default_factory=dict)  # by LIMIT_NAMES; others are as the keeper's own
    cpus: tuple[int, ...] = ()  # none: all that the keeper may use
    nice: int = 0
    template: bool = False  # forked from a process that has done the imports; Python actors only


@dataclass(frozen=True, slots=True)
class Probing:
    """The commands that ask whether a process is ready and alive, and how often; and its own watchdog."""

    ready: tuple[str, ...] = ()  # exits with 0 once the process is ready
    interval_s: float = 1.0  # from the start of one readiness probe to the next
    timeout_s: float = 5.0  # a probe of either kind that takes longer is killed, and has failed
    alive: tuple[str, ...] = ()  # exits with 0 while the process is well
    alive_interval_s: float = 10.0
    alive_misses: int = 3  # so many in a row, and it is hung
    watchdog_timeout_s: float = 0.0  # from one WATCHDOG=1 to the next; 0: none is expected
