"""The event builder and writer of the reference chain: psa frames of one time become events, and events a file.

Blocks come from all PSA workers; `reorder.py` puts them back into the trigger's order, and the time window does the
rest. Groups of at least `min_fold` crystals become event:data composites, smaller ones stay plain data:psa frames. The
file appears under its name only when the run is stopped and it is whole; until then, or for ever if the process dies,
it is called `….part`.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .adf import FrameType, Records, pack_composite, unpack_psa_frames
from .adf_file import FrameWriter
from .coincidence import Integers, group_of, group_starts, multiplicities
from .errors import ActorError
from .exchange import Block, Received
from .parameters import require_at_least
from .reorder import MAX_HELD_BLOCKS, Reorder
from .stage import Stage

_LIGHT = np.dtype([("timestamp", "<i8"), ("crystal", "<i4"), ("place", "<i8")])


class Builder(Stage):
    """Parameters:

    - `window` (20): psa frames within this time (units of 10 ns) of the first one belong to one event
    - `min_fold` (2): how many different crystals make an event
    - `keep_singles` (true): write smaller groups as plain frames; false: drop them, and count them `below_fold`
    - `reorder_blocks` (64): how many blocks may wait for a missing one
    - `max_held` (20000): psa frames that may wait for their event to close
    - `window_blocks` (4): blocks under way on each input

    Counts `built` (psa frames put in events or kept as singles), `written` (psa frames in the file), `events`
    (composites), `below_fold`, and `duplicates` (blocks that came twice because a worker died).
    """

    declared: ClassVar[dict[str, Any]] = {
        **Stage.declared,
        "window": 20,
        "min_fold": 2,
        "keep_singles": True,
        "reorder_blocks": MAX_HELD_BLOCKS,
        "max_held": 20_000,
    }
    counter_names = ("built", "written", "events", "below_fold", "duplicates")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._writer: FrameWriter | None = None

    def process_config(self) -> None:
        require_at_least(self.parameters, {"window": 0, "min_fold": 1, "reorder_blocks": 0, "max_held": 1})

    def process_initialise(self) -> None:
        directory = self.surroundings.data_directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ActorError(
                f"cannot make the data directory {directory}: {error.strerror}", "Choose one that is writable"
            ) from error

    def begin(self) -> None:
        self._reorder = Reorder(self.parameters["reorder_blocks"])
        self._latest: dict[int, int] = {}  # time stamp, by origin
        self._light = np.empty(0, _LIGHT)
        self._frames: dict[int, bytes] = {}
        self._last_place = 0
        try:
            self._writer = FrameWriter(self._free_path())
        except OSError as error:
            raise ActorError(
                f"cannot write to {self.surroundings.data_directory}: {error.strerror}",
                "Make room; if the directory was moved away, put it back",
            ) from error

    def handle(self, received: Received) -> None:
        for block in self._reorder.push(received.block):
            self._take(block)
        self.counters["duplicates"] = self._reorder.duplicates
        self._build(min(self._latest.values(), default=0))

    def flush(self) -> None:
        for block in self._reorder.flush():
            self._take(block)
        self._build(None)

    def finish(self) -> None:
        if self._writer is None:
            return
        summary = self._writer.close()
        self.add_file(self._writer.path, summary.sha256)
        self._writer = None

    def close(self) -> None:
        super().close()
        if self._writer is not None:
            self._writer.abandon()

    def describe(self) -> str:
        return f"{self.counters['events']:,} events, {self.counters['written']:,} psa frames written"

    def _free_path(self) -> Path:
        """The run's file, or the next free name beside it: a dead instance's `.part` is not overwritten."""
        sub_farm, *_, slot = self.member.split("/")
        stem = f"run_{self.run_number:06}_{sub_farm}_{slot}"
        attempt = 1
        while True:
            suffix = f"_{attempt}" if attempt > 1 else ""
            path = self.surroundings.data_directory / f"{stem}{suffix}.adf"
            if not path.exists() and not path.with_name(path.name + ".part").exists():
                return path
            attempt += 1

    def _take(self, block: Block) -> None:
        """Hold a block's frames until their event is complete."""
        heads, _ = unpack_psa_frames(block.data)
        light = np.empty(len(heads), _LIGHT)
        light["timestamp"] = heads["timestamp"]
        light["crystal"] = heads["id"]
        light["place"] = self._last_place + 1 + np.arange(len(heads))
        ends = np.cumsum(heads["length"].astype(np.int64)).tolist()
        data = bytes(block.data)
        for place, start, end in zip(light["place"].tolist(), [0, *ends], ends, strict=False):
            self._frames[place] = data[start:end]
        self._last_place += len(heads)
        self._light = np.concatenate((self._light, light))
        self._latest[block.origin] = max(self._latest.get(block.origin, 0), int(light["timestamp"].max(initial=0)))

    def _build(self, watermark: int | None) -> None:
        """Build every event that nothing later than the watermark can belong to; all without one."""
        self._light = self._light[np.argsort(self._light["timestamp"], kind="stable")]
        times = self._light["timestamp"]
        starts = group_starts(times, self.parameters["window"])
        closed, end = len(starts), len(times)
        if watermark is not None:
            if len(times) > self.parameters["max_held"]:
                watermark = max(watermark, int(times[len(times) // 2]))
            closed = int(np.sum(times[starts] + self.parameters["window"] < watermark))
            end = int(starts[closed]) if closed < len(starts) else len(times)
        if not closed:
            return
        done, self._light = self._light[:end], self._light[end:]
        self._write(done, starts[:closed])

    def _write(self, done: Records, starts: Integers) -> None:
        """Write the groups of sorted light records `done` that begin at `starts`."""
        folds = multiplicities(group_of(starts, len(done)), done["crystal"], len(starts)).tolist()
        times = done["timestamp"][starts].tolist()
        ends = [*starts[1:].tolist(), len(done)]
        places = done["place"].tolist()
        out: list[bytes] = []
        frames_out = 0
        for first, end, fold, time in zip(starts.tolist(), ends, folds, times, strict=True):
            members = [self._frames.pop(place) for place in places[first:end]]
            if fold >= self.parameters["min_fold"]:
                self.count("events")
                out.append(pack_composite(FrameType.EVENT_DATA, self.counters["events"] % (1 << 32), time, members))
            elif self.parameters["keep_singles"]:
                out += members
            else:
                self.count("below_fold", len(members))
                continue
            frames_out += len(members)
        self.count("built", frames_out)
        if out and self._writer is not None:
            self._writer.write(b"".join(out))
            self.count("written", frames_out)
