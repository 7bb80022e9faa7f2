"""Waiting for data without a selector of one's own: the ends of an exchange bring theirs."""

import select
from collections.abc import Iterable
from typing import Protocol


class HasFileno(Protocol):
    """What can be waited for."""

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to do."""
        ...


def wait_readable(sources: Iterable[HasFileno], timeout_s: float) -> None:
    """Return when one of `sources` is readable, after `timeout_s` at the latest; any number of descriptors will do."""
    poll = select.poll()
    for source in sources:
        poll.register(source.fileno(), select.POLLIN)
    poll.poll(1000 * max(0.0, timeout_s))
