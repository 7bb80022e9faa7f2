"""The half of Control that looks: a member as it is now, changes as they come, and what processes have written.

Reading never waits for a command and never for a child longer than `CHILD_ANSWER_S`. What lies below a controller
further down is asked there, when somebody wants to see it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from grange.core import reporting, selectors, view
from grange.core.causes import causes_of
from grange.core.errors import GrangeError, InvalidInput, Refused, UnknownMember
from grange.core.memory import ChildMemory
from grange.core.names import Kind
from grange.core.paths import covers, nearest
from grange.core.paths import name as last_part
from grange.core.problems import Problem
from grange.core.revision import go_first, kind_of, known_paths
from grange.proto import common_pb2, control_pb2
from grange.proto.gate import Caller
from grange.proto.rows import causes_to_wire, counters_to_wire, row_from_wire, row_to_wire
from grange.proto.stub import Stubs, connect
from grange.proto.words import to_wire

from .authority import Authority, Identity, path_of, selected_paths, selector_of
from .children import Children
from .leasing import lease_message
from .picture import STREAM_S
from .runtime import Runtime
from .watching import Watching

DEPTH_MOST = 9  # levels of a tree: more than there are
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
        self.runtime = runtime
        self.children = children
        self.authority = authority
        self.who = who
        self._child_address = child_address
        self._stubs: dict[str, Stubs] = {}
        self._watching = Watching(runtime, self.stub)

    async def close(self) -> None:
        for stubs in self._stubs.values():
            await stubs.close()

    def check_known(self, path: str) -> None:
        """Raises `UnknownMember`, with the nearest names."""
        memory = self.runtime().controller.memory
        paths = known_paths(memory, self.authority.selected())
        if path not in paths:
            raise UnknownMember(path, nearest(path, paths))

    def _below(self, path: str) -> ChildMemory | None:
        """The child controller that has what `path` names, when it is not this one."""
        memory = self.runtime().controller.memory
        for child in memory.children.values():
            if path != child.path and covers(child.path, path):
                return child
        return None

    def unseen(self, path: str) -> common_pb2.MemberRow:
        """The row of a member that is configured and not in force here, or not here: absent."""
        kind = kind_of(self.runtime().controller.memory, path, self.authority.selected())
        absent, ok = common_pb2.STATE_ABSENT, common_pb2.HEALTH_OK
        return common_pb2.MemberRow(path=path, kind=to_wire(kind), name=last_part(path), state=absent, health=ok)

    def unheard(self, child: ChildMemory, path: str, reason: str) -> common_pb2.MemberRow:
        """The row of a member of a controller below that does not answer: unknown, unless nothing can be there."""
        row = self.unseen(path)
        if self.runtime().controller.memory.links[child.name].expected:
            row.state, row.health = common_pb2.STATE_UNKNOWN, common_pb2.HEALTH_DEGRADED
            row.status = f"sub-farm {child.name} does not answer: {reason}"
        return row

    async def stub(self, child: str) -> Stubs:
        if child not in self._stubs:
            self._stubs[child] = await connect(self._child_address(child))
        return self._stubs[child]

    async def inspect(self, request: control_pb2.InspectRequest, caller: Caller) -> control_pb2.InspectResponse:
        selector = selector_of(request.path)
        if selector.is_path:
            return await self._inspect(request, selector.path)
        memory, configured = self.runtime().controller.memory, self.authority.selected()
        paths = frozenset(selected_paths(memory, configured, [request.path]))
        ask = control_pb2.InspectRequest(path=selector.base, depth=DEPTH_MOST, story=request.story)
        found = await self._inspect(ask, selector.base)
        rows = {row.path: row for row in found.rows}
        chosen = selectors.restrict(paths, rows, request.depth)
        story = [line for line in found.story if selectors.restrict(paths, [line.member], DEPTH_MOST)]
        for field in ("rows", "story", "causes", "possible", "counters"):
            found.ClearField(field)
        found.rows.extend(rows[path] for path in chosen)
        found.story.extend(story)
        wall_s = self.runtime().wall()
        chosen_rows = (row_from_wire(rows[path], wall_s) for path in chosen)
        found.causes.extend(causes_to_wire(causes_of(chosen_rows)))
        return found

    async def _inspect(self, request: control_pb2.InspectRequest, path: str) -> control_pb2.InspectResponse:
        """What is known of one member, and `depth` levels below it."""
        self.check_known(path)
        runtime = self.runtime()
        memory, now, wall_s = runtime.controller.memory, runtime.now(), runtime.wall()
        below = self._below(path)
        who = self.who()
        response = control_pb2.InspectResponse(
            incarnation=memory.fence[-1] if memory.fence else 0,
            sequence=runtime.sequence,
            farm=who.farm,
            version=who.version,
            holder=who.holder,
            possible=view.possible_now(memory, path),
            lease=lease_message(runtime),
            access_trouble=self.authority.access_trouble(),
        )
        if (selected := self.authority.selected()) is not None:
            response.selected_revision = selected.revision
            if (first := go_first(memory, selected)) is not None:
                response.go_first = to_wire(first)
        if below is not None:
            await self._inspect_below(below, request, path, response)
            return response
        response.rows.extend(row_to_wire(row, wall_s) for row in runtime.controller.rows(now, path, request.depth))
        response.causes.extend(causes_to_wire(reporting.causes(memory, now)))
        response.counters.extend(counters_to_wire(view.counters(memory, path)))
        if request.story:
            self._tell_story(response, path)
        await self._add_below(request, path, response)
        if not response.rows:  # configured, but not in force yet
            response.rows.append(self.unseen(path))
        return response

    def _tell_story(self, response: control_pb2.InspectResponse, path: str) -> None:
        runtime = self.runtime()
        offset_s = runtime.wall() - runtime.now()
        for at_s, member, text in runtime.controller.memory.story:
            if covers(path, member) or covers(member, path):
                response.story.add(at_unix_s=at_s + offset_s, member=member, text=text)

    async def _inspect_below(
        self, child: ChildMemory, request: control_pb2.InspectRequest, path: str, response: control_pb2.InspectResponse
    ) -> None:
        """What a controller below says of `path`; without an answer, that it did not give one."""
        try:
            stubs = await self.stub(child.name)
            found = await stubs.control.inspect(request, CHILD_ANSWER_S)
        except GrangeError as error:
            response.rows.append(self.unheard(child, path, error.reason))
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
        depth_of_children = 1 if path == self.runtime().controller.memory.path else 0
        if request.depth <= depth_of_children and not request.story:
            return
        children = [
            child
            for child in self.runtime().controller.memory.children.values()
            if covers(path, child.path) and self.children.get(child.name) is not None
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
        self.check_known(path)
        async with contextlib.aclosing(self._watching.updates(path, request.depth)) as updates:
            async for update in updates:
                yield update

    async def read_output(
        self, request: control_pb2.ReadOutputRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ReadOutputUpdate]:
        path = path_of(request.path)
        self.check_known(path)
        below = self._below(path)
        if below is not None:
            stubs = await self.stub(below.name)
            limit_s = STREAM_S if request.follow else min(caller.remaining_s, 60.0)
            async for update in stubs.control.read_output(request, limit_s):
                yield update
            return
        process = self.runtime().controller.memory.processes.get(path)
        kind = kind_of(self.runtime().controller.memory, path, self.authority.selected())
        if kind not in (Kind.PROCESS, Kind.NODE):
            what = "only a process, or the agent of a node, has output that a controller passes on"
            raise InvalidInput([Problem(path or "farm", what)], "The log of a program is shown by: grange logs")
        if process is None and kind is Kind.PROCESS:
            raise Refused(f"no output of {path} can be asked for: its sub-farm is not set up", (), "Use: grange setup")
        node = process.spec.node if process is not None else last_part(path)
        lines = request.lines or 20
        async for data in self.children.read_output(node, path, lines, request.follow):
            yield control_pb2.ReadOutputUpdate(data=data)
