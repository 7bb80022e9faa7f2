"""What the keeper is asked to start: the command, the environment and the place of one process."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from grange.core.node import NodeSettings
from grange.proto import tree_pb2

from .node_directory import NodeDirectory
from .probes import Question

# Unbuffered, because the last line before a crash has to be in the log.
_PYTHON = {"PYTHONUNBUFFERED": "1"}
# A farm runs one worker process per core, so a library that starts a thread per core in each only gets in its way; and
# a template that has started threads cannot be forked.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_RUNNER = "grange.actors.run"


def command_line(spec: tree_pb2.ProcessSpec, settings: NodeSettings) -> list[str]:
    """The role's own command, or the interpreter that runs a Python actor."""
    if spec.actor:
        return [settings.python, "-P", "-m", _RUNNER, spec.actor]
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
    if spec.watchdog_timeout_s > 0:
        ours["WATCHDOG_USEC"] = str(int(spec.watchdog_timeout_s * 1e6))  # the keeper adds WATCHDOG_PID
    return _given_environment(spec) | ours


def _given_environment(spec: tree_pb2.ProcessSpec) -> dict[str, str]:
    return _PYTHON | (_ONE_THREAD if spec.actor else {}) | dict(spec.environment)


def working_directory(spec: tree_pb2.ProcessSpec, settings: NodeSettings) -> str:
    """The role's directory, which has to exist, or the process's own one below the home, which is made."""
    if spec.working_directory:
        return str(Path(settings.home) / spec.working_directory)
    own = Path(settings.home) / "work" / spec.path
    own.mkdir(parents=True, exist_ok=True)
    return str(own)


def options(spec: tree_pb2.ProcessSpec, settings: NodeSettings) -> dict[str, Any]:
    """How the keeper sets the process up, and from which template it forks it, if so."""
    chosen: dict[str, Any] = {"limits": dict(spec.limits), "cpus": list(spec.cpus), "nice": spec.nice}
    if spec.template and spec.actor:
        given = _given_environment(spec)
        # What a module does at its import depends on the environment, so each has a template of its own.
        digest = hashlib.sha256(json.dumps([spec.actor, sorted(given.items())]).encode()).hexdigest()
        chosen["template"] = {
            "key": f"{spec.actor.rpartition(':')[2][:40]}-{digest[:12]}",
            "argv": [settings.python, "-P", "-m", "grange.supervisor.template", _RUNNER, spec.actor],
            "environment": given,
        }
    return chosen


def question(
    argv: tuple[str, ...],
    spec: tree_pb2.ProcessSpec,
    instance: str,
    pid: int,
    settings: NodeSettings,
    directory: NodeDirectory,
) -> Question:
    """A probe of a process: in its place and with its environment, but for what the process alone may say."""
    given = environment(spec, settings, directory) | {"GRANGE_PID": str(pid)}
    for name in ("GRANGE_ACTOR_SOCKET", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        given.pop(name, None)
    return Question(instance, argv, given, working_directory(spec, settings))


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
        "options": options(spec, settings),
    }
