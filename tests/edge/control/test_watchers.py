"""What a watcher is told and when: the present in chunks, the newest of what changed, and not too often.

Under a clock that jumps: a loop without anything to do is at the time of its next timer at once.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from grange.controllers.watching import Watching
from grange.core.controller import Controller, new_memory
from grange.core.errors import Unavailable
from grange.core.memory import ChildMemory, LinkMemory
from grange.core.names import Health, Kind, Membership, State
from grange.core.reports import Row
from grange.proto import common_pb2, control_pb2

LIMIT_BYTES = 256 * 1024


class JumpingLoop(asyncio.SelectorEventLoop):
    """Where others wait for a timer, this one moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 1000.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def jump(timeout_s: float | None) -> Any:
            self._now_s += timeout_s or 0.0
            return select(0)

        selector.select = jump

    def time(self) -> float:
        return self._now_s

    def call_at(self, when: float, *more: Any, **named: Any) -> Any:
        """As in uvloop: what is due is no timer any more."""
        return super().call_at(when, *more, **named) if when > self._now_s else self.call_soon(*more, **named)


def on_a_jumping_clock(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(work())


class Tree:
    """A runtime whose controller has the rows that a test gives it."""

    def __init__(self, *paths: str) -> None:
        self.controller = SimpleNamespace(
            memory=new_memory("", "demo", Kind.FARM, root=True, fence=(3,)), rows=lambda now, path, depth: self.rows
        )
        self.rows = [row(path) for path in paths]
        self.sequence = 0
        self.lookers: list[Callable[[], None]] = []

    now = staticmethod(lambda: asyncio.get_running_loop().time())
    wall = staticmethod(lambda: 1.7e9)

    def look(self, looker: Callable[[], None]) -> Callable[[], None]:
        self.lookers.append(looker)
        return lambda: self.lookers.remove(looker)

    def set(self, path: str, status: str) -> None:
        self.rows = [row(one.path, status) if one.path == path else one for one in self.rows]
        self.changed()

    @staticmethod
    def spawn(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return asyncio.get_running_loop().create_task(work)

    def changed(self) -> None:
        self.sequence += 1
        for looker in self.lookers:
            looker()


def row(path: str, status: str = "") -> Row:
    kind = Kind.PROCESS if path else Kind.FARM
    return Row(path, kind, path or "demo", State.BOOTED, Health.OK, status, Membership.IN)


def watching(tree: Tree) -> Watching:
    async def nobody(child: str) -> Any:
        raise AssertionError(f"there is no child {child}")

    return Watching(lambda: tree, nobody)  # type: ignore[arg-type, return-value]


def watch(of: Watching, depth: int = 3) -> "contextlib.aclosing[AsyncGenerator[control_pb2.WatchUpdate, None]]":
    return contextlib.aclosing(of.updates("", depth))


def told(update: control_pb2.WatchUpdate) -> dict[str, str]:
    return {one.path: one.status for one in update.rows}


def test_the_present_comes_in_chunks_that_fit_a_message_and_only_the_last_says_that_there_are_no_more() -> None:
    tree = Tree("", *(f"sf{number:05}/" + "x" * 60 for number in range(20_000)))

    async def look() -> None:
        async with watch(watching(tree)) as updates:
            chunks = [await anext(updates)]
            while chunks[-1].more:
                chunks.append(await anext(updates))
        assert len(chunks) > 5
        assert max(chunk.ByteSize() for chunk in chunks) <= LIMIT_BYTES
        assert [chunk.snapshot for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
        paths = [one.path for chunk in chunks for one in chunk.rows]
        assert paths == [one.path for one in tree.rows]
        assert {(chunk.incarnation, chunk.sequence) for chunk in chunks} == {(3, 0)}

    on_a_jumping_clock(look)


def test_a_row_that_changes_between_two_chunks_is_told_once_as_it_is_then() -> None:
    tree = Tree("", *(f"sf{number:05}/" + "x" * 60 for number in range(20_000)))
    last = tree.rows[-1].path

    async def look() -> None:
        async with watch(watching(tree)) as updates:
            chunks = [await anext(updates)]
            tree.set(last, "hung")
            await asyncio.sleep(1.0)
            while chunks[-1].more:
                chunks.append(await anext(updates))
        assert [told(chunk)[last] for chunk in chunks if last in told(chunk)] == ["hung"]
        assert sum(len(chunk.rows) for chunk in chunks) == len(tree.rows)

    on_a_jumping_clock(look)


def test_a_present_in_chunks_comes_to_its_end_after_very_many_members_went_away() -> None:
    tree = Tree("", *(f"sf{number:05}/" + "x" * 60 for number in range(10_000)))

    async def look() -> None:
        of = watching(tree)
        async with watch(of) as first, watch(of) as late:
            await anext(first)
            tree.rows = tree.rows[:-2_000]
            tree.changed()
            await asyncio.sleep(1.0)
            chunks = [await anext(late)]
            while chunks[-1].more:
                chunks.append(await anext(late))
        assert [chunk.snapshot for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
        assert [one.path for chunk in chunks for one in chunk.rows if not one.removed] == [
            one.path for one in tree.rows
        ]

    on_a_jumping_clock(look)


def test_the_first_change_is_told_at_once_and_then_at_most_ten_a_second() -> None:
    tree = Tree("", "sf01")

    async def look() -> None:
        loop = asyncio.get_running_loop()
        async with watch(watching(tree)) as updates:
            await anext(updates)
            await asyncio.sleep(5.0)
            tree.set("sf01", "first")
            began_s = loop.time()
            assert told(await anext(updates)) == {"sf01": "first"}
            assert loop.time() == began_s
            times_s = []

            async def read() -> None:
                async for _ in updates:
                    times_s.append(loop.time() - began_s)

            reading = asyncio.create_task(read())
            for number in range(1000):
                tree.set("sf01", str(number))
                await asyncio.sleep(0.002)
            reading.cancel()
            await asyncio.wait((reading,))
        assert 18 <= len(times_s) <= 20
        assert min(later - earlier for earlier, later in itertools.pairwise(times_s)) > 0.099

    on_a_jumping_clock(look)


def test_who_comes_late_is_told_the_newest_of_each_row_once_and_what_is_gone() -> None:
    tree = Tree("", "sf01", "sf02", "sf03")

    async def look() -> None:
        async with watch(watching(tree)) as updates:
            await anext(updates)
            for number in range(200):
                tree.set("sf01", f"at {number}")
                await asyncio.sleep(0.2)
            tree.rows = [one for one in tree.rows if one.path != "sf02"]
            tree.changed()
            await asyncio.sleep(0.2)
            update = await anext(updates)
            assert [(one.path, one.status, one.removed) for one in update.rows] == [
                ("sf01", "at 199", False),
                ("sf02", "", True),
            ]
            assert not update.snapshot

    on_a_jumping_clock(look)


def test_an_age_that_grows_is_told_once_a_second_although_nothing_happens() -> None:
    tree = Tree("", "sf01")

    async def look() -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        tree.controller.rows = lambda now, path, depth: [row(""), row("sf01", f"silent for {now - began_s:.0f} s")]
        async with watch(watching(tree)) as updates:
            seen = [told(await anext(updates))["sf01"] for _ in range(4)]
        assert seen == ["silent for 0 s", "silent for 1 s", "silent for 2 s", "silent for 3 s"]

    on_a_jumping_clock(look)


def test_a_new_incarnation_begins_with_a_snapshot() -> None:
    tree = Tree("", "sf01")

    async def look() -> None:
        async with watch(watching(tree)) as updates:
            await anext(updates)
            tree.controller.memory.fence = (4,)
            tree.set("sf01", "taken over")
            update = await anext(updates)
        assert (update.snapshot, update.incarnation, told(update)) == (True, 4, {"": "", "sf01": "taken over"})

    on_a_jumping_clock(look)


def test_many_watchers_take_turns_and_all_come_to_the_present() -> None:
    tree = Tree("", "sf01")

    async def look() -> None:
        loop, of = asyncio.get_running_loop(), watching(tree)
        statuses, times_s = dict[int, str](), list[float]()

        async def read(number: int) -> None:
            async with watch(of) as updates:
                async for update in updates:
                    statuses[number] = told(update).get("sf01", statuses.get(number, ""))
                    times_s.append(loop.time())

        readers = [asyncio.create_task(read(number)) for number in range(1000)]
        await asyncio.sleep(1.0)
        assert len(times_s) == 1000  # the present, whoever asks for it
        times_s.clear()
        began_s = loop.time()
        tree.set("sf01", "told")
        await asyncio.sleep(3.0)
        assert set(statuses.values()) == {"told"}
        assert len(times_s) == 1000
        assert sum(time_s - began_s <= 1.0 for time_s in times_s) <= 530
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        assert tree.lookers == []

    on_a_jumping_clock(look)


def test_watchers_of_one_path_and_depth_share_one_picture() -> None:
    tree = Tree("", "sf01")

    async def look() -> None:
        of = watching(tree)
        async with watch(of) as one, watch(of) as two, watch(of, depth=1) as three:
            for updates in (one, two, three):
                await anext(updates)
            assert len(tree.lookers) == 2
        assert tree.lookers == []

    on_a_jumping_clock(look)


def test_the_rows_of_a_real_controller_without_children_are_told() -> None:
    controller = Controller(new_memory("", "demo", Kind.FARM, root=True, fence=(1,)))
    tree = Tree()
    tree.controller = controller  # type: ignore[assignment]

    async def look() -> None:
        async with watch(watching(tree)) as updates:
            assert [one.path for one in (await anext(updates)).rows] == [""]

    on_a_jumping_clock(look)


def test_a_child_whose_stream_breaks_for_whatever_reason_is_followed_again(caplog: pytest.LogCaptureFixture) -> None:
    tree = Tree("", "sf01")
    memory = tree.controller.memory
    memory.children["sf01"] = ChildMemory("sf01", "sf01")
    memory.links["sf01"] = LinkMemory("sf01", Kind.SUB_FARM, enrolled=True)
    heard = [KeyError("an update that makes no sense"), Unavailable("it does not answer", ""), "taking"]

    async def stream(request: control_pb2.WatchRequest, deadline_s: float) -> AsyncGenerator[Any, None]:
        status = heard.pop(0)
        if isinstance(status, Exception):
            raise status
        for path in ("sf01/n1/psa-1", "sf01/n1/psa-2"):  # in one turn of the loop
            yield control_pb2.WatchUpdate(rows=[common_pb2.MemberRow(path=path, status=status)])
        await asyncio.Event().wait()

    async def dial(child: str) -> Any:
        return SimpleNamespace(control=SimpleNamespace(watch=stream))

    async def look() -> None:
        async with watch(Watching(lambda: tree, dial)) as updates:  # type: ignore[arg-type, return-value]
            async for update in updates:
                if told(update).get("sf01/n1/psa-2") == "taking":
                    break
        assert heard == []
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    on_a_jumping_clock(look)
