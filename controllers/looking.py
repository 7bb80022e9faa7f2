"""The half of Control that looks: a member as it is now, changes as they come, and what processes have written.

Reading never waits for a command and never for a child longer than `CHILD_ANSWER_S`. What lies below a controller
further down is asked there, when somebody wants to see it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from grange.core import view
from grange.core.errors import GrangeError, InvalidInput, Refused, UnknownMember
from grange.core.paths import covers, nearest
from grange.core.paths import name as last_part
from grange.core.problems import Problem
from grange.core.revision import known_paths
from grange.proto import common_pb2, control_pb2
from grange.proto.conversions import counters_to_wire, row_to_wire
from grange.proto.server import Caller
from grange.proto.stub import Stubs, connect

from .authority import Authority, Identity, path_of
from .children import Children
from .picture import STREAM_S
from .runtime import Runtime
from .watching import Watching

_PROCESS_SLASHES = 2  # in the path of a process
CHILD_ANSWER_S = 3.0  # for a controller below, when somebody looks at what it has


class Looking:
    """The handlers of the RPCs that look, for one runtime."""

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
        self._watching = Watching(runtime, self.stub)

    async def close(self) -> None:
        for stubs in self._stubs.values():
            await stubs.close()

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
        path = path_of(request.path)
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
        response.counters.extend(counters_to_wire(view.counters(memory, path)))
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
        path = path_of(request.path)
        self._known(path)
        async with contextlib.aclosing(self._watching.updates(path, request.depth)) as updates:
            async for update in updates:
                yield update

    async def read_output(
        self, request: control_pb2.ReadOutputRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ReadOutputUpdate]:
        path = path_of(request.path)
        self._known(path)
        below = self._below(path)
        if below is not None:
            stubs = await self.stub(below)
            limit_s = STREAM_S if request.follow else min(caller.remaining_s, 60.0)
            async for update in stubs.control.read_output(request, limit_s):
                yield update
            return
        process = self._runtime().controller.memory.processes.get(path)
        if process is None and path.count("/") < _PROCESS_SLASHES:
            what = "only a process has output that a controller passes on, such as sf01/hlt017/psa-2"
            raise InvalidInput([Problem(path or "farm", what)], "The log of a program is shown by: grange logs")
        if process is None:
            raise Refused(f"no output of {path} can be asked for: its sub-farm is not set up", (), "Use: grange setup")
        lines = request.lines or 20
        async for data in self._children.read_output(process.spec.node, path, lines, request.follow):
            yield control_pb2.ReadOutputUpdate(data=data)
