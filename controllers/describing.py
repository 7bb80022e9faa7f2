"""Describe: all about one member, from the controller that knows it best.

A controller tells what it remembers itself and what its own log says; for a process it asks the agent for the end of
the output. What belongs to a controller below is asked there, and its answer is completed with what only this one
knows. Whatever does not answer in time is named in the page, and the rest of the page is there all the same.
"""

import asyncio
from collections import deque

from grange.core import page as pages
from grange.core import view
from grange.core.errors import GrangeError
from grange.core.home import Home
from grange.core.memory import ChildMemory
from grange.core.names import Kind
from grange.core.paths import covers, parent
from grange.core.paths import name as last_part
from grange.core.revision import go_first, kind_of
from grange.proto import control_pb2
from grange.proto.gate import Caller
from grange.proto.pages import goal_page_to_wire, link_to_wire, node_page_to_wire, process_page_to_wire, role_to_wire
from grange.proto.rows import counters_to_wire, row_to_wire
from grange.proto.words import to_wire

from .authority import path_of
from .looking import CHILD_ANSWER_S, Looking

LOG_ANSWER_S = 1.5  # for the end of a log from an agent; less than the controller above waits for the whole page
LINE_CHARACTERS_MAX = 2000  # of a log; with `LINES_MAX` lines a page stays below what a message may hold


class Describing:
    """The handler of Describe, for one runtime."""

    def __init__(self, looking: Looking, home: Home) -> None:
        self._looking = looking
        self._runtime, self._children = looking.runtime, looking.children
        self._authority, self._who = looking.authority, looking.who
        self._home = home

    async def describe(self, request: control_pb2.DescribeRequest, caller: Caller) -> control_pb2.DescribeResponse:
        path = path_of(request.path)
        self._looking.check_known(path)
        lines = min(request.lines or pages.LINES_SHOWN, pages.LINES_MAX)
        page = self._page(path, lines)
        child = self._controller_of(path)
        if child is not None:
            page = await self._from_below(child, path, lines, page)
        else:
            page.log.CopyFrom(await self._log(path, page.row.instance, lines))
        return control_pb2.DescribeResponse(page=page)

    def _controller_of(self, path: str) -> ChildMemory | None:
        """The controller below that `path` names, or that has what it names."""
        children = self._runtime().controller.memory.children.values()
        return next((child for child in children if covers(child.path, path)), None)

    # ---- what is known here -----------------------------------------------------------------------------------------

    def _page(self, path: str, lines: int) -> control_pb2.MemberPage:
        runtime, who, selected = self._runtime(), self._who(), self._authority.selected()
        memory, now, wall_s = runtime.controller.memory, runtime.now(), runtime.wall()
        rows = [row_to_wire(row, wall_s) for row in view.rows(memory, now, path, 1)]
        page = control_pb2.MemberPage(
            row=rows[0] if rows else self._looking.unseen(path),
            at_unix_s=wall_s,
            farm=who.farm,
            holder=who.holder,
            version=who.version,
            revision=memory.revision,
            selected_revision=selected.revision if selected is not None else "",
            possible=view.possible_now(memory, path),
            members=rows[1:],
            counters=counters_to_wire(view.counters(memory, path)),
        )
        if (first := go_first(memory, selected)) is not None:
            page.go_first = to_wire(first)
        for at_s, member, text in pages.story(memory, path, lines):
            page.story.add(at_unix_s=at_s + wall_s - now, member=member, text=text)
        match kind_of(memory, path, selected):
            case Kind.PROCESS:
                found = pages.process_page(memory, now, path, selected)
                if found is not None:
                    page.process.CopyFrom(process_page_to_wire(found, wall_s))
            case Kind.NODE:
                link = pages.node_link(memory, path)
                directory = self._home.node_directory(last_part(parent(path)), last_part(path))
                page.node.directory = directory
                if link is not None:
                    page.node.CopyFrom(node_page_to_wire(link, directory, wall_s - now))
            case _:
                page.controller.CopyFrom(self._controller_page(path))
        return page

    def _controller_page(self, path: str) -> control_pb2.ControllerPage:
        runtime = self._runtime()
        memory, offset_s = runtime.controller.memory, runtime.wall() - runtime.now()
        if path != memory.path:
            link, address = memory.links.get(last_part(path)), self._home.sub_farm_address(last_part(path))
            if link is None:
                return control_pb2.ControllerPage(address=address)
            return link_to_wire(link, address, offset_s)
        who = self._who()
        page = control_pb2.ControllerPage(
            host=who.host,
            pid=who.pid,
            version=who.version,
            address=self._home.farm_address if memory.root else self._home.sub_farm_address(memory.name),
            boot_id=who.boot_id,
            incarnations=memory.fence,
            roles=[role_to_wire(standing) for standing in pages.role_standings(memory)],
        )
        if memory.goal is not None and memory.goal.goal.doing:
            page.goal.CopyFrom(goal_page_to_wire(memory.goal, offset_s))
        return page

    # ---- from a controller below ------------------------------------------------------------------------------------

    async def _from_below(
        self, child: ChildMemory, path: str, lines: int, mine: control_pb2.MemberPage
    ) -> control_pb2.MemberPage:
        """Its page, completed with what this controller knows; without an answer, this one's own."""
        own = path == child.path
        try:
            stubs = await self._looking.stub(child.name)
            request = control_pb2.DescribeRequest(path=path, lines=lines)
            page = (await stubs.control.describe(request, CHILD_ANSWER_S)).page
        except GrangeError as error:
            mine.trouble = f"the controller of sub-farm {child.name} does not answer: {error.reason}"
            if own:
                mine.log.CopyFrom(await self._own_log(self._home.sub_farm_log(child.name), lines))
            else:
                mine.row.CopyFrom(self._looking.unheard(child, path, error.reason))
                mine.row.status = ""  # it is what `trouble` says
            return mine
        page.farm, page.selected_revision, page.go_first = mine.farm, mine.selected_revision, mine.go_first
        if own:
            page.row.CopyFrom(mine.row)
            page.controller.attached_unix_s = mine.controller.attached_unix_s
        story = sorted([*mine.story, *page.story], key=lambda line: line.at_unix_s)[-lines:]
        del page.story[:]
        page.story.extend(story)
        return page

    # ---- logs -------------------------------------------------------------------------------------------------------

    async def _log(self, path: str, instance: str, lines: int) -> control_pb2.LogTail:
        memory = self._runtime().controller.memory
        if path == memory.path:
            file = self._home.farm_log if memory.root else self._home.sub_farm_log(memory.name)
            return await self._own_log(file, lines)
        if kind_of(memory, path, self._authority.selected()) is Kind.SUB_FARM:  # configured, and not set up yet
            return await self._own_log(self._home.sub_farm_log(last_part(path)), lines)
        process, node = memory.processes.get(path), path
        if process is not None:
            node = parent(path)
        sub_farm, name = last_part(parent(node)), last_part(node)
        link = memory.links.get(name)
        file = self._home.agent_log(sub_farm, name)
        if process is not None:
            file = self._home.process_log(sub_farm, name, instance or f"{process.spec.slot}.*")
        tail = control_pb2.LogTail(host=link.host if link is not None else "", file=file)
        if link is None or not link.expected:
            tail.problem = "nothing was started yet" if process is None else "its node is not set up"
            return tail
        data = bytearray()
        try:
            async with asyncio.timeout(LOG_ANSWER_S):
                async for chunk in self._children.read_output(name, path, lines, follow=False):
                    data += chunk
        except TimeoutError:
            tail.problem = f"the agent of {name} has not answered within {LOG_ANSWER_S:g} s"
        except GrangeError as error:
            tail.problem = error.reason
        tail.lines.extend(_cut(line) for line in data.decode(errors="replace").splitlines()[-lines:])
        return tail

    async def _own_log(self, file: str, lines: int) -> control_pb2.LogTail:
        """The end of a controller's log, which is on this host and bounded (`program.LOG_BYTES`)."""
        tail = control_pb2.LogTail(host=self._who().host, file=file)
        try:
            tail.lines.extend(await asyncio.to_thread(_last_lines, file, lines))
        except OSError as error:
            tail.problem = f"{file} cannot be read: {error.strerror}"
        return tail


def _last_lines(file: str, lines: int) -> list[str]:
    with open(file, encoding="utf-8", errors="replace") as log:
        return [_cut(line.rstrip("\n")) for line in deque(log, maxlen=lines)]


def _cut(line: str) -> str:
    return line if len(line) <= LINE_CHARACTERS_MAX else line[:LINE_CHARACTERS_MAX] + "…"
