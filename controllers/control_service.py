"""Control, as every controller serves it: commands in, progress and outcomes out, and the view of the tree.

Reading never waits for a command and never for a child longer than `CHILD_ANSWER_S`. A command belongs to the
controller: a client that goes away cancels nothing.
"""

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from grange.core import view
from grange.core.effects import Accept, Answer, Refuse
from grange.core.errors import (
    GrangeError,
    InvalidInput,
    Refused,
    SameIdOtherContent,
    UnknownCommand,
    UnknownMember,
)
from grange.core.events import CancelGiven, CommandGiven
from grange.core.memory import DOWN, Memory, run_counters
from grange.core.names import Command, State
from grange.core.paths import covers, nearest, parse
from grange.core.paths import name as last_part
from grange.core.plan import FarmSpec
from grange.core.problems import Problem, did_you_mean
from grange.core.revision import known_paths
from grange.core.state import TARGETS
from grange.proto import common_pb2, control_pb2
from grange.proto.conversions import busy_to_wire, counters_to_wire, row_to_wire
from grange.proto.server import Caller
from grange.proto.stub import Stubs, connect
from grange.proto.words import command_from_wire, to_wire

from .children import Children
from .runtime import Runtime
from .watching import Watcher

CHILD_ANSWER_S = 3.0  # for a controller below, when somebody looks at what it has
WATCH_S = 7 * 86_400.0  # the longest stream to a controller below; it is opened again
FIRST_PROGRESS_S = 0.1  # a command that is done before has nothing to tell on its way
RUN_TYPES = ("test", "production")
COMMAND_ID_LENGTH_MAX = 200  # ids of orders derive from it, down to the actors
_UPDATES_MAX = 1000  # for one caller of Execute; far more than a command has

OUTCOMES = {
    "done": control_pb2.OUTCOME_DONE,
    "failed": control_pb2.OUTCOME_FAILED,
    "cancelled": control_pb2.OUTCOME_CANCELLED,
    "superseded": control_pb2.OUTCOME_SUPERSEDED,
    "interrupted": control_pb2.OUTCOME_INTERRUPTED,
}


class Authority(Protocol):
    """What differs between a farm controller and one below it."""

    def refusal(self, ends: bool) -> Refused | None:
        """Why a command is not taken here; None when it is. `ends`: it is one that stops or shuts down."""
        ...

    def selected(self) -> FarmSpec | None:
        """The configuration that the next load takes."""
        ...

    def recorded(self, command_id: str, digest: str) -> control_pb2.Outcome | None:
        """The outcome of a command that only the records remember. Raises `SameIdOtherContent`."""
        ...

    def go_down(self) -> None:
        """Ends this program; its children run on."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    farm: str
    version: str
    holder: str


def identity(farm: str, version: str) -> Identity:
    return Identity(farm, version, f"{socket.gethostname()} pid {os.getpid()}")


class ControlService:
    """The handlers of Control, for one runtime."""

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        children: Children,
        authority: Authority,
        who: Callable[[], Identity],
        child_address: Callable[[str], str],
    ) -> None:
        self._runtime = runtime
        self._children = children
        self._authority = authority
        self._who = who
        self._child_address = child_address
        self._stubs: dict[str, Stubs] = {}
        self._waiters: dict[str, list[asyncio.Queue[Accept | Refuse | Answer]]] = {}

    async def close(self) -> None:
        for stubs in self._stubs.values():
            await stubs.close()

    # ---- commands ---------------------------------------------------------------------------------------------------

    def answer(self, effect: Accept | Refuse | Answer) -> None:
        """From core: what became of a command, for whoever waits.

        The outcome is for all who wait; that it was accepted or refused is for the one that has just asked, since
        another may have sent the same id with other content.
        """
        waiters = self._waiters.get(effect.command_id, [])
        for waiter in waiters if isinstance(effect, Answer) else waiters[-1:]:
            waiter.put_nowait(effect)

    async def execute(
        self, request: control_pb2.ExecuteRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ExecuteUpdate]:
        event = self._command(request, caller)
        ends = event.step in (Command.STOP, Command.SHUTDOWN) or event.target in DOWN
        if (refusal := self._authority.refusal(ends)) is not None:
            raise refusal
        recorded = self._authority.recorded(event.command_id, event.digest)
        if recorded is not None:
            accepted = control_pb2.Accepted(command_id=event.command_id, attached=True)
            yield control_pb2.ExecuteUpdate(accepted=accepted)
            yield control_pb2.ExecuteUpdate(outcome=recorded)
            return
        runtime = self._runtime()
        answers: asyncio.Queue[Accept | Refuse | Answer] = asyncio.Queue(_UPDATES_MAX)
        changed = asyncio.Event()
        self._waiters.setdefault(event.command_id, []).append(answers)
        unlook: list[Callable[[], None]] = []

        def look() -> None:
            unlook.append(runtime.look(changed.set))
            changed.set()

        first_look = asyncio.get_running_loop().call_later(FIRST_PROGRESS_S, look)
        try:
            runtime.post(event)
            async for update in self._updates(event, answers, changed):
                yield update
        finally:
            first_look.cancel()
            for end in unlook:
                end()
            self._waiters[event.command_id].remove(answers)
            if not self._waiters[event.command_id]:
                del self._waiters[event.command_id]

    async def _updates(
        self, event: CommandGiven, answers: "asyncio.Queue[Accept | Refuse | Answer]", changed: asyncio.Event
    ) -> AsyncIterator[control_pb2.ExecuteUpdate]:
        next_answer = asyncio.ensure_future(answers.get())
        next_change = asyncio.ensure_future(changed.wait())
        try:
            while True:
                await asyncio.wait((next_answer, next_change), return_when=asyncio.FIRST_COMPLETED)
                if next_answer.done():
                    effect = next_answer.result()
                    if isinstance(effect, Refuse):
                        raise _as_error(effect)
                    if isinstance(effect, Answer):
                        yield control_pb2.ExecuteUpdate(outcome=outcome_to_wire(effect))
                        return
                    steps = [step.value for step in effect.steps]
                    accepted = control_pb2.Accepted(command_id=event.command_id, steps=steps, attached=effect.attached)
                    yield control_pb2.ExecuteUpdate(accepted=accepted)
                    next_answer = asyncio.ensure_future(answers.get())
                elif next_change.done():
                    changed.clear()
                    next_change = asyncio.ensure_future(changed.wait())
                    yield control_pb2.ExecuteUpdate(progress=self._progress(event))
        finally:
            next_answer.cancel()
            next_change.cancel()

    def _progress(self, event: CommandGiven) -> control_pb2.Progress:
        runtime = self._runtime()
        now, wall_s = runtime.now(), runtime.wall()
        memory = runtime.controller.memory
        own = view.own_row(memory, now)
        rows = runtime.controller.rows(now, event.path, 1)
        return control_pb2.Progress(
            busy=busy_to_wire(own.busy, wall_s) if own.busy is not None else None,
            state=to_wire(own.state),
            rows=[row_to_wire(row, wall_s) for row in rows if row.path != event.path],
        )

    def _command(self, request: control_pb2.ExecuteRequest, caller: Caller) -> CommandGiven:
        path = _path(request.path)
        step = target = None
        if request.WhichOneof("what") == "step":
            step = command_from_wire(request.step)
        elif request.WhichOneof("what") == "go":
            target = TARGETS.get(request.go)
        if step is None and target is None:
            known = [name for name in TARGETS if name != State.TAKING.value]  # which people call running
            what = f"there is no target {request.go!r}" if request.go else "neither a known step nor a target"
            hint = did_you_mean(request.go, known) if request.go else f"targets are {', '.join(known)}"
            raise InvalidInput([Problem("", what, hint)])
        if request.run_type not in ("", *RUN_TYPES):
            raise InvalidInput([Problem("type", f"{request.run_type!r} is neither {' nor '.join(RUN_TYPES)}")])
        if len(request.command_id) > COMMAND_ID_LENGTH_MAX:
            raise InvalidInput([Problem("command_id", f"longer than {COMMAND_ID_LENGTH_MAX} characters")])
        if not request.command_id:
            raise InvalidInput([Problem("command_id", "the client chooses one for each command; a UUID will do")])
        return CommandGiven(
            command_id=request.command_id,
            digest=_digest(request),
            path=path,
            step=step,
            target=target,
            person=caller.person or "somebody",
            timeout_s=max(0.0, request.timeout_s),
            comment=request.comment,
            run_type=request.run_type or "test",
            run_mode=request.run_mode,
            selected=self._authority.selected(),
        )

    async def cancel(self, request: control_pb2.CancelRequest, caller: Caller) -> control_pb2.CancelResponse:
        runtime = self._runtime()
        known = runtime.controller.memory.outcomes
        if request.command_id and request.command_id not in known:
            raise UnknownCommand(request.command_id)
        runtime.post(CancelGiven(request.command_id, caller.person or "somebody"))
        return control_pb2.CancelResponse()

    async def down(self, request: control_pb2.DownRequest, caller: Caller) -> control_pb2.DownResponse:
        self._authority.go_down()
        return control_pb2.DownResponse()

    # ---- looking ----------------------------------------------------------------------------------------------------

    def _known(self, path: str) -> None:
        memory = self._runtime().controller.memory
        paths = known_paths(memory, self._authority.selected())
        if path not in paths:
            raise UnknownMember(path, nearest(path, paths))

    def _below(self, path: str) -> str | None:
        """The child controller that has what `path` names, when it is not this one."""
        memory = self._runtime().controller.memory
        for child in memory.children.values():
            if path != child.path and covers(child.path, path):
                return child.name
        return None

    async def stub(self, child: str) -> Stubs:
        if child not in self._stubs:
            self._stubs[child] = await connect(self._child_address(child))
        return self._stubs[child]

    async def inspect(self, request: control_pb2.InspectRequest, caller: Caller) -> control_pb2.InspectResponse:
        path = _path(request.path)
        self._known(path)
        runtime = self._runtime()
        memory, now, wall_s = runtime.controller.memory, runtime.now(), runtime.wall()
        below = self._below(path)
        who = self._who()
        response = control_pb2.InspectResponse(
            incarnation=memory.fence[-1] if memory.fence else 0,
            sequence=runtime.sequence,
            farm=who.farm,
            version=who.version,
            holder=who.holder,
            possible=view.possible_now(memory, path),
        )
        if (selected := self._authority.selected()) is not None:
            response.selected_revision = selected.revision
        if below is not None:
            await self._inspect_below(below, request, path, response)
            return response
        response.rows.extend(row_to_wire(row, wall_s) for row in runtime.controller.rows(now, path, request.depth))
        for reason, members, example in view.causes(memory, now):
            response.causes.add(reason=reason, members=members, example=example)
        response.counters.extend(counters_to_wire(_counters(memory, path)))
        if request.story:
            self._tell_story(response, path)
        await self._add_below(request, path, response)
        if not response.rows:  # configured, but not in force yet
            absent, ok = common_pb2.STATE_ABSENT, common_pb2.HEALTH_OK
            response.rows.append(common_pb2.MemberRow(path=path, name=last_part(path), state=absent, health=ok))
        return response

    def _tell_story(self, response: control_pb2.InspectResponse, path: str) -> None:
        runtime = self._runtime()
        offset_s = runtime.wall() - runtime.now()
        for at_s, member, text in runtime.controller.memory.story:
            if covers(path, member) or covers(member, path):
                response.story.add(at_unix_s=at_s + offset_s, member=member, text=text)

    async def _inspect_below(
        self, child: str, request: control_pb2.InspectRequest, path: str, response: control_pb2.InspectResponse
    ) -> None:
        """What a controller below says of `path`; without an answer, that it did not give one."""
        try:
            stubs = await self.stub(child)
            found = await stubs.control.inspect(request, CHILD_ANSWER_S)
        except GrangeError as error:
            state = common_pb2.STATE_UNKNOWN if self._children.get(child) else common_pb2.STATE_ABSENT
            row = common_pb2.MemberRow(path=path, name=last_part(path), state=state, health=common_pb2.HEALTH_DEGRADED)
            row.status = f"sub-farm {child} does not answer: {error.reason}" if self._children.get(child) else ""
            response.rows.append(row)
            return
        response.rows.extend(found.rows)
        response.causes.extend(found.causes)
        response.counters.extend(found.counters)
        response.story.extend(found.story)
        del response.possible[:]
        response.possible.extend(found.possible)

    async def _add_below(
        self, request: control_pb2.InspectRequest, path: str, response: control_pb2.InspectResponse
    ) -> None:
        """Rows, and stories, from the controllers below, when they are asked for."""
        depth_of_children = 1 if path == self._runtime().controller.memory.path else 0
        if request.depth <= depth_of_children and not request.story:
            return
        children = [
            child
            for child in self._runtime().controller.memory.children.values()
            if covers(path, child.path) and self._children.get(child.name) is not None
        ]
        asked = [
            control_pb2.InspectRequest(
                path=child.path, depth=max(0, request.depth - depth_of_children), story=request.story
            )
            for child in children
        ]
        answers = await asyncio.gather(
            *(self._ask_child(child.name, ask) for child, ask in zip(children, asked, strict=True))
        )
        merged: dict[str, common_pb2.MemberRow] = {row.path: row for row in response.rows}
        for answer in answers:
            if answer is None:
                continue
            for row in answer.rows:
                merged.setdefault(row.path, row)
            response.story.extend(answer.story)
        if request.depth > depth_of_children:
            ordered = sorted(merged.values(), key=lambda row: row.path.split("/"))
            del response.rows[:]
            response.rows.extend(ordered)
        if request.story:
            story = sorted(response.story, key=lambda line: line.at_unix_s)
            del response.story[:]
            response.story.extend(story)

    async def _ask_child(self, name: str, ask: control_pb2.InspectRequest) -> control_pb2.InspectResponse | None:
        try:
            stubs = await self.stub(name)
            return await stubs.control.inspect(ask, CHILD_ANSWER_S)
        except GrangeError:
            return None  # its own row says that it does not answer

    async def watch(self, request: control_pb2.WatchRequest, caller: Caller) -> AsyncIterator[control_pb2.WatchUpdate]:
        path = _path(request.path)
        self._known(path)
        watcher = Watcher(self._runtime(), path, request.depth)
        memory = self._runtime().controller.memory
        followed = []
        for child in memory.children.values():
            depth = self._depth_below(child.path, path, request.depth)
            if depth is not None:
                if self._children.get(child.name) is not None:
                    watcher.expect(child.name)
                followed.append(asyncio.create_task(self._follow(watcher, child.name, depth[0], depth[1])))
        try:
            async for update in watcher.updates():
                yield update
        finally:
            watcher.close()
            for task in followed:
                task.cancel()
            await asyncio.gather(*followed, return_exceptions=True)

    @staticmethod
    def _depth_below(child: str, path: str, depth: int) -> tuple[str, int] | None:
        """What to ask the child controller at `child` for, when a watcher looks at `path` so deep."""
        if covers(child, path):
            return (path, depth) if path != child or depth > 0 else None
        above = child.count("/") + 1 - (path.count("/") + 1 if path else 0)
        return (child, depth - above) if covers(path, child) and depth > above else None

    async def _follow(self, watcher: Watcher, child: str, path: str, depth: int) -> None:
        """For ever: rows from a controller below into a watcher here; it may come and go."""
        while True:
            with contextlib.suppress(GrangeError):
                stubs = await self.stub(child)
                request = control_pb2.WatchRequest(path=path, depth=depth)
                async for update in stubs.control.watch(request, WATCH_S):
                    watcher.merge(child, update)
            watcher.forget(child)
            await asyncio.sleep(1.0)

    async def read_output(
        self, request: control_pb2.ReadOutputRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ReadOutputUpdate]:
        path = _path(request.path)
        self._known(path)
        below = self._below(path)
        if below is not None:
            stubs = await self.stub(below)
            limit_s = WATCH_S if request.follow else min(caller.remaining_s, 60.0)
            async for update in stubs.control.read_output(request, limit_s):
                yield update
            return
        process = self._runtime().controller.memory.processes.get(path)
        if process is None:
            raise InvalidInput([Problem(path or "path", "only processes have output: sub-farm/node/process")])
        lines = request.lines or 20
        async for data in self._children.read_output(process.spec.node, path, lines, request.follow):
            yield control_pb2.ReadOutputUpdate(data=data)


def outcome_to_wire(answer: Answer) -> control_pb2.Outcome:
    return control_pb2.Outcome(
        command_id=answer.command_id,
        kind=OUTCOMES[answer.kind],
        reason=answer.reason,
        state=to_wire(answer.state),
        run_number=answer.run_number,
        duration_s=answer.duration_s,
        notes=answer.notes,
        steps=[control_pb2.StepTime(step=step, duration_s=duration_s) for step, duration_s in answer.steps],
    )


def _counters(memory: Memory, path: str) -> Mapping[str, Mapping[str, int]]:
    """What the processes at and below `path` have counted, by role."""
    if path == memory.path:
        return run_counters(memory)
    for child in memory.children.values():
        if child.path == path:
            return child.report.counters if child.report is not None else {}
    totals: dict[str, dict[str, int]] = {}
    for process in memory.processes.values():
        if process.report is not None and covers(path, process.path):
            sums = totals.setdefault(process.role.name, {})
            for counter, value in process.report.counters.items():
                sums[counter] = sums.get(counter, 0) + value
    return totals


def _as_error(effect: Refuse) -> GrangeError:
    if effect.kind == "unknown-member":
        return UnknownMember(effect.reason.split("'")[1] if "'" in effect.reason else effect.reason, effect.nearest)
    if effect.kind == "same-id":
        return SameIdOtherContent(effect.command_id)
    # what is possible is said once, and by the error
    return Refused(effect.reason.partition("; possible now: ")[0], effect.possible)


def _path(text: str) -> str:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput([Problem("path", str(error))]) from None


def _digest(request: control_pb2.ExecuteRequest) -> str:
    """What makes two requests the same command: everything but who asks and how long they wait."""
    same = control_pb2.ExecuteRequest()
    same.CopyFrom(request)
    same.timeout_s = 0.0
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()
