"""What processes use of their machine, as psutil tells it."""

from collections.abc import Mapping

import psutil

from grange.core.reports import Figures

SAMPLE_INTERVAL_S = 2.0  # a process's figures change its report no more often than this


class Sampler:
    """The processes that are looked at, with what was seen of each the time before."""

    def __init__(self) -> None:
        self._processes: dict[str, psutil.Process] = {}  # by instance

    def sample(self, pids: Mapping[str, int]) -> dict[str, Figures]:
        """The figures of the living ones of these processes, by instance; not of those that are seen the first time.

        Processor time is told for the time since the call before. Takes about 0.3 ms for each process.
        """
        self._processes = {instance: process for instance, process in self._processes.items() if instance in pids}
        figures = {}
        for instance, pid in pids.items():
            try:
                process = self._processes.get(instance)
                if process is None:
                    process = psutil.Process(pid)
                    process.cpu_percent(None)
                    self._processes[instance] = process
                else:
                    figures[instance] = _read(process)
            except psutil.Error:  # it has ended; its keeper tells how
                self._processes.pop(instance, None)
        return figures


def _read(process: psutil.Process) -> Figures:
    with process.oneshot():
        try:
            counters = process.io_counters()
            read_bytes, written_bytes = counters.read_bytes, counters.write_bytes
        except (psutil.AccessDenied, NotImplementedError):  # a kernel without I/O accounting
            read_bytes = written_bytes = 0
        return Figures(
            cpu_percent=process.cpu_percent(None),
            rss_bytes=process.memory_info().rss,
            threads=process.num_threads(),
            open_files=process.num_fds(),
            read_bytes=read_bytes,
            written_bytes=written_bytes,
        )
