"""A node without a parent: by default it goes on for ever, with `orphan_timeout_s` it shuts itself down in the end."""

import asyncio
import time
from collections.abc import Callable


async def when_orphaned(alone_since: Callable[[], float | None], timeout_s: float) -> None:
    """Return once there has been no parent for `timeout_s`; `alone_since` is in monotonic seconds, None with one."""
    while True:
        since_s = alone_since()
        left_s = timeout_s if since_s is None else since_s + timeout_s - time.monotonic()
        if left_s <= 0:
            return
        await asyncio.sleep(left_s)
