"""Which logs of a farm lie on this machine, and where: found in its home alone, for when nobody answers.

The directories of the nodes say who has run here, whatever the configuration says now; a process is called by its role
and a number, so a role can be selected too.
"""

from pathlib import Path

from grange.core.errors import InvalidInput
from grange.core.home import Home
from grange.core.hostlist import natural_key
from grange.core.problems import Problem
from grange.core.selectors import Selector, select
from grange.supervisor.node_directory import NodeDirectory

NODE_PARTS = 2  # of a node's path: sub-farm and node


def program_log(home: Home, parts: list[str], *, keeper: bool = False) -> Path:
    """The log of the program that stands behind a member."""
    if not parts:
        return Path(home.farm_log)
    if len(parts) < NODE_PARTS:
        return Path(home.sub_farm_log(parts[0]))
    directory = NodeDirectory(Path(home.node_directory(*parts)))
    return directory.keeper_log if keeper else directory.agent_log


def existing_program_log(home: Home, parts: list[str], *, keeper: bool = False) -> Path:
    """The same. Raises `InvalidInput` when there is none."""
    log = program_log(home, parts, keeper=keeper)
    if log.exists():
        return log
    what = "no program of this name was ever started in this home"
    if not parts:
        what = "its controller was never started in the background"
    raise InvalidInput(
        [Problem("/".join(parts) or "farm", f"{what}: {log} does not exist")], "Look with: grange status"
    )


def process_log(home: Home, path: str) -> Path | None:
    """Where a process writes, or has written last; None when it never has on this host."""
    sub_farm, node, slot = path.split("/")[-3:]
    return NodeDirectory(Path(home.node_directory(sub_farm, node))).newest_log(slot)


def logged_processes(home: Home, selector: Selector) -> list[str]:
    """The paths of those selected processes that have a log on this host, in order."""
    found = [
        (f"{node.parent.name}/{node.name}/{slot}", slot.rpartition("-")[0])
        for node in Path(home.nodes).glob("*/*")
        for slot in NodeDirectory(node).logged_slots()
    ]
    return sorted(select(selector, found), key=lambda path: [natural_key(part) for part in path.split("/")])
