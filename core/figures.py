"""Which change of a process's figures is worth telling: a farm at rest is to be quiet."""

from .reports import Figures

CPU_NOTABLE_PERCENT = 1.0
BYTES_NOTABLE = 1 << 20  # of memory, and of what was read or written
TOLD_AGAIN_S = (
    10.0  # figures that have not changed notably are told after so long, so that people see that they are fresh
)


def is_notable(before: Figures | None, after: Figures) -> bool:
    """Whether people would want to hear of the difference; the first figures are always news."""
    if before is None:
        return True
    sizes = (
        (before.rss_bytes, after.rss_bytes),
        (before.read_bytes, after.read_bytes),
        (before.written_bytes, after.written_bytes),
    )
    return (
        abs(after.cpu_percent - before.cpu_percent) >= CPU_NOTABLE_PERCENT
        or (after.threads, after.open_files) != (before.threads, before.open_files)
        or any(abs(later - earlier) >= BYTES_NOTABLE for earlier, later in sizes)
    )
