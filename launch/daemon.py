"""A program that outlives the command that starts it: `grange up --detach`."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .launcher import LaunchError


def spawn_detached(argv: Sequence[str], log_path: str, env: Mapping[str, str] | None = None) -> int:
    """Start a program in a session of its own, its output appended to a log; returns its process id.

    Whoever called is its parent until it ends itself, and does not wait for it. Raises `LaunchError`.
    """
    Path(log_path).parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "ab") as log:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(os.environ if env is None else env),
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            raise LaunchError(f"{argv[0]} could not be started: {error.strerror}") from None
    process.returncode = 0  # left to itself on purpose: no warning, no waiting
    return process.pid
