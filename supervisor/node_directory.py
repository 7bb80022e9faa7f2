"""A node's directory: where its sockets and logs lie. `keeper.py` describes the files that it owns itself."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grange.core.node import NodeSettings

INSTANCE_LOGS_KEPT = 3  # of each slot; older ones are removed when a process is started
_LOG = re.compile(r"(?P<slot>.+)\.(?P<incarnation>\d+)\.(?P<number>\d+)\.log")


@dataclass(frozen=True, slots=True)
class NodeDirectory:
    """The paths below `root`, which is absolute."""

    root: Path

    @property
    def keeper_socket(self) -> Path:
        return self.root / "keeper.sock"

    @property
    def actor_socket(self) -> Path:
        return self.root / "actor.sock"

    @property
    def notify_socket(self) -> Path:
        return self.root / "notify.sock"

    @property
    def keeper_log(self) -> Path:
        return self.root / "keeper.log"

    @property
    def agent_log(self) -> Path:
        return self.root / "agent.log"

    def log(self, instance: str) -> Path:
        """Where a process writes, one file for each start."""
        return self.root / "logs" / f"{instance}.log"

    def settings(self) -> NodeSettings:
        """Raises `NodeSettingsError`, or `OSError` when the directory was never set up."""
        return NodeSettings.from_json((self.root / "node.json").read_text())

    def logged_slots(self) -> set[str]:
        """The slots whose processes have left a log here; none where no node ever was."""
        return {match["slot"] for _, match in self._all_logs()}

    def newest_log(self, slot: str) -> Path | None:
        """Where the slot's process writes, or has written last."""
        logs = self._logs(slot)
        return logs[-1] if logs else None

    def _logs(self, slot: str) -> list[Path]:
        """A slot's logs, the oldest first: an instance is `slot.incarnation.number`."""
        found = [
            (int(match["incarnation"]), int(match["number"]), path)
            for path, match in self._all_logs()
            if match["slot"] == slot
        ]
        return [path for _, _, path in sorted(found)]

    def _all_logs(self) -> Iterator[tuple[Path, re.Match[str]]]:
        logs = self.root / "logs"
        for path in logs.iterdir() if logs.is_dir() else ():
            if match := _LOG.fullmatch(path.name):
                yield path, match

    def prune_logs(self, slot: str) -> None:
        """Remove the oldest logs of a slot, and what rotation made of them."""
        for path in self._logs(slot)[:-INSTANCE_LOGS_KEPT]:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".1").unlink(missing_ok=True)
