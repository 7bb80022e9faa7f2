"""What a node is told when it is launched: the content of `node.json` in its directory.

The launcher writes it, the keeper and the agent read it; both sides may be of different versions, so keys that a reader
does not know are left out and missing ones have a default where there is a harmless one.
"""

import json
from dataclasses import asdict, dataclass, fields


class NodeSettingsError(ValueError):
    """The text is not a node's settings: damaged, or of another program."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node of a farm. Directories are absolute paths on the node itself."""

    path: str  # sf01/hlt001
    farm: str
    parent: str  # the sub-farm controller's address: unix:/…
    home: str  # of the farm; `{home}` in a role's strings stands for it
    python: str  # the interpreter for the agent and for Python actors
    exchange_directory: str  # data sockets, shared by the sub-farm's nodes on this machine
    data_directory: str  # files of the runs
    cache_directory: str  # what can be computed again
    orphan_timeout_s: float | None = None  # without a parent for so long, the node shuts down; None: never
    agent_command: tuple[str, ...] = ()  # instead of the agent's own program; the node directory is added

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "NodeSettings":
        """Raises `NodeSettingsError`, naming what is wrong."""
        try:
            document = json.loads(text)
            known = {field.name for field in fields(cls)}
            values = {name: value for name, value in document.items() if name in known}
            values["agent_command"] = tuple(values.get("agent_command") or ())
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise NodeSettingsError(f"not a node's settings ({error}): set the node up again") from None
