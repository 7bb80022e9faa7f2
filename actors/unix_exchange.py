"""The data exchange over Unix sockets, for processes of one machine: see `exchange.py` for what may be relied upon.

The reader listens in the exchange directory, under a name made from its path, from start to the end of stop; writers
connect to it, and connect again when it comes back. Credit is a window of blocks for each connection; a confirmation
gives one block of it back. Everything is non-blocking and happens on the caller's thread.
"""

from collections.abc import Sequence
from pathlib import Path

from .unix_reader import UnixReader
from .unix_wire import socket_path
from .unix_writer import UnixWriter


class UnixExchange:
    """Opens readers and writers in one directory, which all processes that exchange data share."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def reader(self, member: str, writers: Sequence[str], run_number: int, window_blocks: int) -> UnixReader:
        """The reading end of `member`; `ExchangeError` if its socket cannot be made, or a living process has it."""
        return UnixReader(socket_path(self._directory, member), writers, run_number, window_blocks)

    def writer(self, member: str, readers: Sequence[str], run_number: int) -> UnixWriter:
        """A writing end of `member`; `ExchangeError` if a reader's socket path would be too long."""
        return UnixWriter(member, {reader: socket_path(self._directory, reader) for reader in readers}, run_number)
