"""Launching a program below: whatever goes wrong with it, whoever waits for that program is told so at once."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from grange.launch.launcher import LaunchError

log = logging.getLogger(__name__)


async def launched(launch: Coroutine[Any, Any, None], failed: Callable[[str], None]) -> None:
    """Carries out `launch`; `failed` hears why it could not be done."""
    try:
        await launch
    except LaunchError as error:
        failed(error.reason)
    except OSError as error:
        failed(f"{error.filename or 'the launch'}: {error.strerror}")
    except Exception as error:
        log.exception("a launch failed with a bug")
        failed(f"{type(error).__name__}: {error}; this is a bug: please report it, with this controller's log")
