"""A farm controller's way to its database at the start: one that is away is waited for.

Without it the controller knows neither what the farm was told nor what its last life had still to record, so it serves
nobody before. What it controls runs on meanwhile; nothing is lost by waiting, and whoever reads the log is told what is
waited for and what to do about it.
"""

import asyncio
import logging
import os
import signal
import time

from grange.core.home import Home
from grange.proto.log_lines import local_stamp
from grange.schema.errors import DatabaseAway

from .store import Store

TRY_EVERY_S = 1.0
SAY_AGAIN_EVERY_S = 60.0  # that it is still waited for; a new reason is said at once

log = logging.getLogger(__name__)


async def open_store(home: Home) -> Store | None:
    """The farm's database, its claim taken, once it can be had; None when SIGINT or SIGTERM came before.

    Raises `SchemaError` for a database that waiting does not help.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    said, say_again_s, since = "", 0.0, local_stamp(time.time(), milliseconds=False)
    while not stop.is_set():
        try:
            store = await asyncio.to_thread(_opened, home)
        except DatabaseAway as error:
            if str(error) != said or time.monotonic() >= say_again_s:
                said, say_again_s = str(error), time.monotonic() + SAY_AGAIN_EVERY_S
                log.warning(
                    "waiting for the database since %s, trying again every second; what runs, runs on: %s. %s",
                    since,
                    error,
                    error.what_to_try,
                )
            try:
                await asyncio.wait_for(stop.wait(), TRY_EVERY_S)
            except TimeoutError:
                continue
        else:
            if not stop.is_set():
                return store
            await asyncio.to_thread(store.close)
    return None


def _opened(home: Home) -> Store:
    mask = os.umask(0o077)
    try:
        return Store(home)
    finally:
        os.umask(mask)
