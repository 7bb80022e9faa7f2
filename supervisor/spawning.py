"""What the keeper is asked to start: the command, the environment and the place of one process."""

import os
from pathlib import Path
from typing import Any

from grange.core.node import NodeSettings
from grange.proto import tree_pb2

from .node_directory import NodeDirectory


def command_line(spec: tree_pb2.ProcessSpec, settings: NodeSettings) -> list[str]:
    """The role's own command, or the interpreter that runs a Python actor."""
    if spec.actor:
        return [settings.python, "-P", "-m", "grange.actors.run", spec.actor]
    return list(spec.argv)


def environment(spec: tree_pb2.ProcessSpec, settings: NodeSettings, directory: NodeDirectory) -> dict[str, str]:
    """The role's variables, and over them ours, which say who the process is and where everything lies.

    The keeper adds the nonce, and below all a clean environment.
    """
    ours = {
        "GRANGE_ACTOR_SOCKET": str(directory.actor_socket),
        "GRANGE_MEMBER": spec.path,
        "GRANGE_FARM": settings.farm,
        "GRANGE_EXCHANGE_DIRECTORY": settings.exchange_directory,
        "GRANGE_DATA_DIRECTORY": settings.data_directory,
        "GRANGE_CACHE_DIRECTORY": settings.cache_directory,
        "NOTIFY_SOCKET": str(directory.notify_socket),
    }
    if spec.heartbeat_timeout_s > 0:
        ours["GRANGE_HEARTBEAT_TIMEOUT_S"] = f"{spec.heartbeat_timeout_s:g}"
    # Unbuffered, because the last line before a crash has to be in the log.
    return {"PYTHONUNBUFFERED": "1"} | dict(spec.environment) | ours


def working_directory(spec: tree_pb2.ProcessSpec, settings: NodeSettings) -> str:
    """The role's directory, which has to exist, or the process's own one below the home, which is made."""
    if spec.working_directory:
        return str(Path(settings.home) / spec.working_directory)
    own = Path(settings.home) / "work" / spec.path
    own.mkdir(parents=True, exist_ok=True)
    return str(own)


def spawn_fields(
    spec: tree_pb2.ProcessSpec,
    instance: str,
    nonce: str,
    note: dict[str, Any],
    settings: NodeSettings,
    directory: NodeDirectory,
) -> dict[str, Any]:
    """The fields of a `spawn` request. Raises `OSError` when the process's own directory cannot be made."""
    slot = spec.path.split("/")[-1]
    directory.prune_logs(slot)
    return {
        "instance": instance,
        "slot": slot,
        "nonce": nonce,
        "argv": command_line(spec, settings),
        "environment": environment(spec, settings, directory),
        "working_directory": working_directory(spec, settings),
        "log": os.fspath(directory.log(instance)),
        "note": note,
    }
