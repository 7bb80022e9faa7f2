"""The event log: bounded, readable after a crash, and a replay of it in another program gives the same effects."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grange.client import AsyncFarm
from grange.controllers.event_log import EventLog
from grange.controllers.event_replay import replay
from grange.core.controller import Controller, new_memory
from grange.core.events import CancelGiven, CommandGiven, Ticked
from grange.core.memory import Memory
from grange.core.names import Command, Kind
from grange.harness.farms import uniform

REPLAY = """
import sys, pathlib
from grange.controllers.event_replay import replay
for directory in sys.argv[1:]:
    print(*replay(pathlib.Path(directory)))
"""


def nobodys() -> Memory:
    return new_memory("", "live", Kind.FARM, root=True, fence=(1,))


def sizes(directory: Path) -> dict[str, int]:
    """The segments and their bytes."""
    return {path.name: path.stat().st_size for path in directory.iterdir()}


def record(log: EventLog, events: int) -> Memory:
    """Feeds a controller and notes it all; returns its memory."""
    controller = Controller(nobodys())
    log.open_segment(controller.memory)
    for number in range(events):
        event = CommandGiven(f"c{number}", "d", ("",), Command.BOOT, None, "ann")
        log.note(float(number), event, controller.step(float(number), event), controller.memory)
    log.close()
    return controller.memory


async def test_what_was_noted_is_replayed_with_the_same_effects(tmp_path: Path) -> None:
    record(EventLog(tmp_path), events=5)
    assert replay(tmp_path) == (5, [])


async def test_a_segment_has_a_configuration_once_however_many_commands_come_with_it(tmp_path: Path) -> None:
    log, controller = EventLog(tmp_path), Controller(nobodys())
    log.open_segment(controller.memory)
    first, second = uniform(1, 4, 2), uniform(1, 4, 3, revision="1" * 64)
    for number, selected in enumerate((first, first, first, second, second, first)):
        event = CommandGiven(f"c{number}", "d", ("",), Command.SETUP, None, "ann", selected=selected)
        log.note(float(number), event, controller.step(float(number), event), controller.memory)
    log.close()
    lines = (tmp_path / "events-000001.jsonl").read_text().splitlines()[1:]
    assert ["worker" in line for line in lines] == [True, False, False, True, False, True]
    assert replay(tmp_path) == (6, [])


async def test_effects_that_differ_are_told_with_their_place(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.open_segment(nobodys())
    log.note(1.0, Ticked(), [], nobodys())
    log.note(2.0, CancelGiven("c1", "ann"), [Ticked()], nobodys())  # type: ignore[list-item]
    log.close()
    events, differences = replay(tmp_path)
    assert events == 2
    assert [(one.segment, one.line, one.event) for one in differences] == [("events-000001.jsonl", 3, "CancelGiven")]


async def test_the_oldest_segments_are_dropped(tmp_path: Path) -> None:
    log = EventLog(tmp_path, segment_bytes=1_000, kept=3)
    controller = Controller(nobodys())
    log.open_segment(controller.memory)
    for number in range(200):
        log.note(float(number), Ticked(), controller.step(float(number), Ticked()), controller.memory)
        log.flush()
    log.close()
    kept = sizes(tmp_path)
    assert len(kept) == 3
    assert min(kept) > "events-000001.jsonl"
    assert max(kept.values()) < 2_000
    assert replay(tmp_path)[1] == []


async def test_a_line_that_a_crash_tore_ends_its_segment_and_nothing_else(tmp_path: Path) -> None:
    record(EventLog(tmp_path), events=5)
    segment = tmp_path / "events-000001.jsonl"
    os.truncate(segment, segment.stat().st_size - 20)
    record(EventLog(tmp_path), events=2)
    assert replay(tmp_path) == (4 + 2, [])


async def test_a_disk_that_refuses_ends_nothing_and_a_new_segment_begins_when_there_is_room(tmp_path: Path) -> None:
    directory, away = tmp_path / "events", tmp_path / "away"
    log, controller = EventLog(directory, segment_bytes=1), Controller(nobodys())
    log.open_segment(controller.memory)

    def happens(at_s: float) -> None:
        log.note(at_s, Ticked(), controller.step(at_s, Ticked()), controller.memory)

    directory.rename(away)
    happens(1.0)  # the segment is full, and the next cannot be opened
    happens(2.0)
    away.rename(directory)
    happens(3.0)  # too early for another attempt
    assert len(sizes(directory)) == 1
    happens(30.0)
    assert len(sizes(directory)) == 2
    log.close()
    assert replay(directory)[1] == []


async def test_a_log_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "events-000001.jsonl").write_text('{"format":99}\n')
    with pytest.raises(ValueError, match="format") as caught:
        replay(tmp_path)
    assert str(caught.value) == f"{tmp_path}/events-000001.jsonl: format 99, this program reads 3"


async def test_every_controller_of_a_farm_that_had_a_fault_is_replayed_by_another_program(
    farm: AsyncFarm, live: Any
) -> None:
    await live.use(farm, worker={"count": 3, "quorum": 2, "policy": "ignore"})
    await farm.go("running")
    await live.kill("sf01/n1/worker-1")
    await live.kill("sf02")
    await farm.execute("stop")
    await farm.go("initial")
    home = Path(live.home.root)
    directories = [home / "events", *sorted(home.glob("sf/*/events"))]  # noqa: ASYNC240
    argv = [sys.executable, "-P", "-c", REPLAY, *map(str, directories)]
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    ran = await asyncio.to_thread(subprocess.run, argv, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = [line.split(" ", 1) for line in ran.stdout.splitlines()]
    assert [differences for _, differences in told] == ["[]"] * 3
    assert all(int(events) > 10 for events, _ in told)
