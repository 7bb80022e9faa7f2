"""What the agent tells a process through its environment: who it is, where its link is and where its files go."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HEARTBEAT_INTERVAL_S = 1.0
"""At least so often, whatever the agent's patience."""
BEATS_PER_TIMEOUT = 5
"""So many heartbeats fit into the silence after which the agent (GRANGE_HEARTBEAT_TIMEOUT_S) calls an actor hung."""


class SurroundingsError(Exception):
    """The environment is not what an agent gives to an actor: which variables are missing or wrong."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment of one actor process; the defaults serve an actor that is tried out by hand, without an agent."""

    member: str = "none/none/actor-1"  # sub-farm/node/slot
    farm: str = ""
    socket: str = ""  # the agent's Unix socket
    nonce: str = ""  # what this instance proves itself with
    exchange_directory: Path = Path()  # data sockets, shared by the processes of a sub-farm on one machine; short
    data_directory: Path = Path()  # output files
    cache_directory: Path = Path()  # what may be computed again
    heartbeat_interval_s: float = HEARTBEAT_INTERVAL_S

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the GRANGE_* variables; `SurroundingsError` names every one that is missing, or what is wrong."""
        given = os.environ if environment is None else environment
        names = ("MEMBER", "FARM", "ACTOR_SOCKET", "NONCE", "EXCHANGE_DIRECTORY", "DATA_DIRECTORY", "CACHE_DIRECTORY")
        missing = [f"GRANGE_{name}" for name in names if not given.get(f"GRANGE_{name}")]
        if missing:
            raise SurroundingsError(
                f"not in the environment: {', '.join(missing)}. An actor is started by its agent, which sets them"
            )
        member, farm, socket, nonce, exchange, data, cache = (given[f"GRANGE_{name}"] for name in names)
        try:
            timeout_s = float(given.get("GRANGE_HEARTBEAT_TIMEOUT_S") or HEARTBEAT_INTERVAL_S * BEATS_PER_TIMEOUT)
        except ValueError as error:
            raise SurroundingsError(f"GRANGE_HEARTBEAT_TIMEOUT_S is no number of seconds: {error}") from error
        interval_s = min(HEARTBEAT_INTERVAL_S, timeout_s / BEATS_PER_TIMEOUT)
        return cls(member, farm, socket, nonce, Path(exchange), Path(data), Path(cache), interval_s)
