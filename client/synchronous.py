"""The scripting client for ordinary programs: `AsyncFarm` behind plain calls.

    with Farm() as farm:
        farm.boot()
        farm.go("running", comment="first beam")

One thread of its own runs the event loop, so a Farm can be used from any thread and beside any other loop. Ctrl-C in a
call ends the waiting, not the command. `on_progress` is called in that thread. Deadlines and errors are those of
`AsyncFarm`, where each method is described.
"""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from grange.core.names import Command, MemberCommand
from grange.proto.login import Login
from grange.proto.stub import Stubs

from .asynchronous import DEADLINE_S, AsyncFarm, ProgressHandler
from .steps import Members
from .values import (
    AuditEntry,
    Difference,
    Exported,
    Imported,
    Lease,
    Outcome,
    Revision,
    RunRecord,
    Status,
    Tag,
    Taken,
    View,
    Who,
)

if TYPE_CHECKING:
    from .page import MemberPage

T = TypeVar("T")

_CLOSE_TIMEOUT_S = 5.0
_LOOK_S = 0.5  # between two looks for an interrupt that was missed
_CLEAN_UP_S = 5.0  # for a call that was cancelled to end its streams
_LAST_WORD_S = 0.05  # for gRPC to tell the end of calls that were cancelled
_OWN_END_S = 1.0  # for what goes on in the background of calls that have ended


def _run_loop(made: "concurrent.futures.Future[asyncio.AbstractEventLoop]") -> None:
    """The life of a client's thread. It makes its loop itself, for here no Ctrl-C leaves one that is made by half."""
    loop = asyncio.new_event_loop()
    made.set_result(loop)
    loop.run_forever()


class Farm:
    """A farm, through its controller; a context manager, or close it."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        address: str = "",
        label: str = "",
        deadline_s: float = DEADLINE_S,
        stubs: Stubs | None = None,
    ) -> None:
        self._farm = AsyncFarm(home, address=address, label=label, deadline_s=deadline_s, stubs=stubs)
        self.is_offline = stubs is not None  # nobody controls the farm: only what is recorded can be asked
        self._interrupted = False
        made: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=_run_loop, args=(made,), name="grange client", daemon=True)
        self._thread.start()
        self._loop = made.result()

    def close(self) -> None:
        """Ends the connection and the thread; commands under way go on. A second call does nothing."""
        if self._loop.is_closed():
            return
        try:
            self._await(self._farm.close())
            self._await(self._loop.shutdown_asyncgens())
            # gRPC tells a cancelled call's end to the loop that called, and fails in another when that one is closed
            self._await(_others_ended(_LAST_WORD_S if self._interrupted else 0.0))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSE_TIMEOUT_S)
            if not self._thread.is_alive():
                self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def status(self, path: str = "", depth: int = 3, *, story: bool = False) -> Status:
        return self._await(self._farm.status(path, depth, story=story))

    def story(self, path: str = "") -> Status:
        return self._await(self._farm.story(path))

    def show(self, path: str = "", lines: int = 10) -> "MemberPage":
        return self._await(self._farm.show(path, lines))

    def watch(self, path: str = "", depth: int = 3) -> Iterator[View]:
        return self._iterate(self._farm.watch(path, depth))

    def output(self, path: str, lines: int = 50, *, follow: bool = False) -> Iterator[bytes]:
        return self._iterate(self._farm.output(path, lines, follow=follow))

    def execute(
        self,
        command: Command | str,
        members: Members = "",
        *,
        timeout_s: float = 0.0,
        command_id: str = "",
        comment: str = "",
        run_type: str = "",
        run_mode: str = "",
        run_events: int = 0,
        run_duration_s: float = 0.0,
        on_progress: ProgressHandler | None = None,
        check: bool = True,
    ) -> Outcome:
        return self._await(
            self._farm.execute(
                command,
                members,
                timeout_s=timeout_s,
                command_id=command_id,
                comment=comment,
                run_type=run_type,
                run_mode=run_mode,
                run_events=run_events,
                run_duration_s=run_duration_s,
                on_progress=on_progress,
                check=check,
            )
        )

    def go(
        self,
        target: str,
        members: Members = "",
        *,
        timeout_s: float = 0.0,
        command_id: str = "",
        comment: str = "",
        run_type: str = "",
        run_mode: str = "",
        run_events: int = 0,
        run_duration_s: float = 0.0,
        on_progress: ProgressHandler | None = None,
        check: bool = True,
    ) -> Outcome:
        return self._await(
            self._farm.go(
                target,
                members,
                timeout_s=timeout_s,
                command_id=command_id,
                comment=comment,
                run_type=run_type,
                run_mode=run_mode,
                run_events=run_events,
                run_duration_s=run_duration_s,
                on_progress=on_progress,
                check=check,
            )
        )

    def setup(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.setup(members, timeout_s=timeout_s))

    def teardown(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.teardown(members, timeout_s=timeout_s))

    def boot(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.boot(members, timeout_s=timeout_s))

    def load(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.load(members, timeout_s=timeout_s))

    def unload(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.unload(members, timeout_s=timeout_s))

    def configure(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.configure(members, timeout_s=timeout_s))

    def unconfigure(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.unconfigure(members, timeout_s=timeout_s))

    def start(
        self,
        members: Members = "",
        *,
        timeout_s: float = 0.0,
        comment: str = "",
        run_type: str = "",
        run_mode: str = "",
        run_events: int = 0,
        run_duration_s: float = 0.0,
    ) -> Outcome:
        return self._await(
            self._farm.start(
                members,
                timeout_s=timeout_s,
                comment=comment,
                run_type=run_type,
                run_mode=run_mode,
                run_events=run_events,
                run_duration_s=run_duration_s,
            )
        )

    def stop(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.stop(members, timeout_s=timeout_s))

    def pause(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.pause(members, timeout_s=timeout_s))

    def resume(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.resume(members, timeout_s=timeout_s))

    def shutdown(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        return self._await(self._farm.shutdown(members, timeout_s=timeout_s))

    def exclude(self, members: Members, *, comment: str = "", gone: bool = False, command_id: str = "") -> Outcome:
        return self._await(self._farm.exclude(members, comment=comment, gone=gone, command_id=command_id))

    def include(self, members: Members, *, timeout_s: float = 0.0, comment: str = "") -> Outcome:
        return self._await(self._farm.include(members, timeout_s=timeout_s, comment=comment))

    def restart(self, members: Members, *, timeout_s: float = 0.0, comment: str = "") -> Outcome:
        return self._await(self._farm.restart(members, timeout_s=timeout_s, comment=comment))

    def recover(self, members: Members = "", *, timeout_s: float = 0.0, comment: str = "") -> Outcome:
        return self._await(self._farm.recover(members, timeout_s=timeout_s, comment=comment))

    def command_members(
        self,
        command: MemberCommand | str,
        members: Members,
        *,
        timeout_s: float = 0.0,
        command_id: str = "",
        comment: str = "",
        gone: bool = False,
        on_progress: ProgressHandler | None = None,
        check: bool = True,
    ) -> Outcome:
        """`on_progress` is called in the client's own thread."""
        return self._await(
            self._farm.command_members(
                command,
                members,
                timeout_s=timeout_s,
                command_id=command_id,
                comment=comment,
                gone=gone,
                on_progress=on_progress,
                check=check,
            )
        )

    def cancel(self, command_id: str = "") -> tuple[str, ...]:
        return self._await(self._farm.cancel(command_id))

    def take_lease(self, duration_s: float = 0.0, *, comment: str = "", force: bool = False) -> Taken:
        return self._await(self._farm.take_lease(duration_s, comment=comment, force=force))

    def release_lease(self) -> None:
        self._await(self._farm.release_lease())

    def lease(self) -> Lease | None:
        return self._await(self._farm.lease())

    def who(self) -> Who:
        return self._await(self._farm.who())

    def audit(self, most: int = 50, *, since_unix_s: float = 0.0, person: str = "") -> tuple[AuditEntry, ...]:
        return self._await(self._farm.audit(most, since_unix_s=since_unix_s, person=person))

    def login(self) -> Login:
        return self._await(self._farm.login())

    def down(self) -> None:
        self._await(self._farm.down())

    def import_configuration(
        self,
        text: str,
        format: str,
        *,
        source: str = "",
        message: str = "",
        use: bool = True,
        base: str = "",
        merge: bool = False,
    ) -> Imported:
        return self._await(
            self._farm.import_configuration(
                text, format, source=source, message=message, use=use, base=base, merge=merge
            )
        )

    def config_import(
        self,
        file: str | os.PathLike[str],
        *,
        message: str = "",
        use: bool = True,
        base: str = "",
        merge: bool = False,
    ) -> Imported:
        return self._await(self._farm.config_import(file, message=message, use=use, base=base, merge=merge))

    def config_export(self, revision: str = "", format: Literal["json", "toml"] = "json") -> Exported:
        return self._await(self._farm.config_export(revision, format))

    def config_list(self, most: int = 50, revision: str = "") -> tuple[Revision, ...]:
        return self._await(self._farm.config_list(most, revision))

    def config_use(self, revision: str) -> Revision:
        return self._await(self._farm.config_use(revision))

    def config_diff(self, before: str, after: str = "") -> Difference:
        return self._await(self._farm.config_diff(before, after))

    def config_tag(self, name: str, revision: str = "") -> Revision:
        return self._await(self._farm.config_tag(name, revision))

    def config_tags(self, name: str = "", *, history: bool = False) -> tuple[Tag, ...]:
        return self._await(self._farm.config_tags(name, history=history))

    def runs(self, most: int = 20) -> tuple[RunRecord, ...]:
        return self._await(self._farm.runs(most))

    def run(self, number: int) -> RunRecord:
        return self._await(self._farm.run(number))

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Waits in the caller's thread; an interrupt there ends the call in the loop's, before it goes on."""
        if self._loop.is_closed():
            coroutine.close()
            raise RuntimeError("this Farm is closed")
        call = _Call(coroutine, self._loop)
        try:
            call.begin()
            return call.wait()
        except BaseException:
            self._interrupted = call.end() or self._interrupted
            raise

    def _iterate(self, stream: AsyncGenerator[T, None]) -> Iterator[T]:
        reading = asyncio.Lock()  # a generator that is being read cannot be closed

        async def following() -> tuple[T, ...]:
            async with reading:
                async for item in stream:
                    return (item,)
                return ()

        async def close() -> None:
            async with reading:
                await stream.aclose()

        with self._closing(close):
            while item := self._await(following()):
                yield item[0]

    @contextmanager
    def _closing(self, close: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
        """A loop that is left early ends the stream at once, not when the garbage collector comes round."""
        try:
            yield
        finally:
            if not self._loop.is_closed():
                self._await(close())


class _Call(Generic[T]):
    """A coroutine that is carried out in the loop's thread, for one who waits in another."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine, self._loop = coroutine, loop
        self._task: asyncio.Task[T] | None = None
        self._answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def begin(self) -> None:
        self._loop.call_soon_threadsafe(self._begin)

    def wait(self) -> T:
        """What comes of it, which may be an error."""
        # In turns: a signal that comes just before a lock is waited for is seen only when that wait ends.
        while not concurrent.futures.wait([self._answer], _LOOK_S).done:
            pass
        return self._answer.result()  # the coroutine has a deadline of its own

    def end(self) -> bool:
        """Cancels it, and returns when it has cleaned up; false when it had ended by itself.

        Before, nothing else may be done with its stream or its loop.
        """
        if self._answer.done():
            return False
        self._loop.call_soon_threadsafe(self._cancel)
        concurrent.futures.wait([self._answer], _CLEAN_UP_S)
        return True

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._ended)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # interrupted before it had begun
            self._coroutine.close()
            self._nothing_comes()

    def _ended(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self._nothing_comes()
        elif (error := task.exception()) is not None:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(task.result())

    def _nothing_comes(self) -> None:
        self._answer.cancel()
        self._answer.set_running_or_notify_cancel()  # without it `futures.wait` waits on


async def _others_ended(last_word_s: float) -> None:
    """Returns when no other task is left in this loop: what takes too long to end by itself is cancelled.

    `last_word_s` is given to gRPC's last events, which nobody can wait for.
    """
    await asyncio.sleep(last_word_s)
    for limit_s in (_OWN_END_S, _CLEAN_UP_S):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            return
        _, late = await asyncio.wait(others, timeout=limit_s)
        for task in late:
            task.cancel()


for _name, _method in vars(Farm).items():  # so that `help` tells of both clients what the one says
    if not _name.startswith("_") and not _method.__doc__ and hasattr(AsyncFarm, _name):
        _method.__doc__ = getattr(AsyncFarm, _name).__doc__
