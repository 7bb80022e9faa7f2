"""What an agent does for its node from time to time: it bounds the logs, and samples what processes use."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from grange.core.process import Unit
from grange.core.reports import Figures

from .figures import SAMPLE_INTERVAL_S, Sampler
from .node_directory import NodeDirectory
from .output import AGENT_LOG_BYTES_MAX, LOG_BYTES_MAX, is_longer, rotate

ROTATE_INTERVAL_S = 1.0

_log = logging.getLogger(__name__)


async def bound_logs(directory: NodeDirectory, units: Callable[[], list[Unit]]) -> None:
    """For ever: rotates the agent's own log, and those of processes that are alive."""
    while True:
        await asyncio.sleep(ROTATE_INTERVAL_S)
        try:
            await _bound(directory.agent_log, AGENT_LOG_BYTES_MAX)
        except OSError as error:
            _log.error("the agent's log cannot be rotated: %s", error)
        for unit in units():
            if not unit.alive:
                continue
            try:
                if await _bound(directory.log(unit.instance), LOG_BYTES_MAX):
                    _log.info("rotated the log of %s", unit.path)
            except OSError as error:  # a full disk: the process goes on, and so does its log
                _log.error("the log of %s cannot be rotated: %s", unit.path, error)


async def _bound(log: Path, bytes_max: int) -> bool:
    """Rotates a log that is too long; whether it was. To look is quicker than to have a thread look."""
    return is_longer(log, bytes_max) and await asyncio.to_thread(rotate, log, bytes_max)


async def sample_processes(units: Callable[[], list[Unit]], tell: Callable[[str, Figures], None]) -> None:
    """For ever: tells what each process that is alive uses, by its instance."""
    sampler = Sampler()
    while True:
        await asyncio.sleep(SAMPLE_INTERVAL_S)
        pids = {unit.instance: unit.pid for unit in units() if unit.alive and unit.pid}
        figures = await asyncio.to_thread(sampler.sample, pids)
        for instance, sampled in figures.items():
            tell(instance, sampled)
