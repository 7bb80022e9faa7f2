"""How the programs of a farm get to their machines: what holds for every launcher.

A launch is idempotent: each keeper and controller admits one of its kind by a lock of its own and a second one exits
with code 75, which is no error. What is launched outlives its launcher.
"""

from grange.core.errors import Fault, GrangeError


class LaunchError(GrangeError):
    """A program could not be started, or ended at once. It does not mean that none of its kind runs."""

    fault = Fault.FARM
