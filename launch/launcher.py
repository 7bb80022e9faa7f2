"""How the programs of a farm get to their machines: the interface that every launcher fulfils.

A launch is idempotent: each keeper and controller admits one of its kind by a lock of its own and a second one exits
with code 75, which is no error. What is launched outlives its launcher.
"""

from collections.abc import Sequence
from typing import Protocol

from grange.core.errors import Fault, GrangeError
from grange.core.node import NodeSettings


class LaunchError(GrangeError):
    """A program could not be started, or ended at once. It does not mean that none of its kind runs."""

    fault = Fault.FARM


class Launcher(Protocol):
    """Starts keepers and controllers; one instance serves one event loop."""

    async def launch_keeper(self, node_path: str, node_directory: str, settings: NodeSettings) -> None:
        """Write the node's settings into its directory and see to it that a keeper runs there. Raises `LaunchError`."""

    async def launch_controller(self, name: str, arguments: Sequence[str], log_path: str) -> None:
        """See to it that a controller program runs; `arguments` are the words after `python`. Raises `LaunchError`."""
