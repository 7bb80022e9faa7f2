"""A controller's link to the one above: it dials, and dials again for ever, and brings goals down and reports up.

A report is told at once when something that the parent waits for has changed (the outcome, the need to stop the run,
the state unless a single step is under way), and otherwise with what else has changed, at most ten times a second.
That a command has begun is no news to whoever gave it, so a quick step costs one report: its outcome.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable

from grange.core import repairing, standing
from grange.core.events import DocumentGiven, GoalGiven
from grange.core.liveness import Backoff
from grange.core.memory import Memory
from grange.core.names import Kind
from grange.core.reports import ControllerReport
from grange.core.runkeeping import stop_wanted
from grange.proto import tree_pb2
from grange.proto.controllers import controller_report_to_wire, goal_from_wire
from grange.proto.link import ChildLink, LinkError
from grange.proto.words import to_wire

from .documents import Documents
from .runtime import Runtime

log = logging.getLogger(__name__)

DIAL_TIMEOUT_S = 5.0
# First and longest wait between attempts, in seconds. Where nobody is, an attempt costs 0.03 ms, and a farm controller
# that is started again waits for it; one that is there and refuses, or drops what it accepted, is not hurried.
REDIAL_ABSENT = (0.05, 0.1)
REDIAL_REFUSED = (0.1, 2.0)
STABLE_S = 5.0  # a link that lived so long was a good one: the next attempt follows at once
BEAT_S = 1.0
TELL_EVERY_S = 0.1  # what the parent does not wait for


class ParentLink:
    """The link of one sub-farm controller to its farm controller."""

    def __init__(
        self,
        runtime: Runtime,
        parent: str,
        address: str,
        version: str,
        boot: str,
        documents: Documents,
        released: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._parent, self._address = parent, address
        self._version, self._boot = version, boot
        self._documents = documents
        self._released = released
        self._told: ControllerReport | None = None
        self._changed = asyncio.Event()
        self._due = True
        self.farm = ""
        self.attached = False
        self._plans = 0  # as many as the controller had made after the last event
        self._known: tuple[object, ...] = ()  # what the parent waits for, as it was after the last of these
        self._timer: asyncio.TimerHandle | None = None

    def changed(self) -> None:
        """After every event: wakes the teller, at once when the parent waits for what has changed."""
        if self._is_awaited():
            self._tell_now()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell_now)

    def _is_awaited(self) -> bool:
        """Whether something has changed that the parent waits for: never where nothing had to be planned for."""
        controller = self._runtime.controller
        if controller.plans == self._plans:
            return False
        self._plans, memory, before = controller.plans, controller.memory, self._known
        self._known = known = _awaited(memory, self._runtime.now())
        begun = memory.goal is not None and memory.goal.active and known[:1] != before[:1]
        return known != before and not begun

    def _tell_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = True
        self._changed.set()

    async def run(self) -> None:
        """For ever: attaches, and attaches again when the link is lost."""
        absent, refused, said = Backoff(*REDIAL_ABSENT), Backoff(*REDIAL_REFUSED), ""
        while True:
            try:
                link, welcome = await ChildLink.connect(self._parent, self._hello(), DIAL_TIMEOUT_S)
            except LinkError as error:
                if error.reason != said:
                    said = error.reason
                    log.warning("not attached to the farm controller: %s; dialling on", said)
                await asyncio.sleep((refused if error.refused else absent).failed())
                continue
            said = ""
            absent.succeeded()
            self.farm, self.attached, self._told = welcome.farm, True, None
            log.info("attached to the farm controller: incarnation %s", [*welcome.fence, welcome.incarnation])
            since_s = self._runtime.now()
            try:
                await self._serve(link, (*welcome.fence, welcome.incarnation))
            except LinkError as error:
                log.warning("the link to the farm controller was lost: %s; dialling again", error.reason)
            finally:
                self.attached = False
                await link.close()
            if self._runtime.now() - since_s > STABLE_S:
                refused.succeeded()
            else:  # it is accepted and dropped at once, again and again: no reason to hurry
                await asyncio.sleep(refused.failed())

    def _hello(self) -> tree_pb2.Hello:
        memory = self._runtime.controller.memory
        return tree_pb2.Hello(
            path=memory.path,
            kind=to_wire(Kind.SUB_FARM),
            version=self._version,
            host=socket.gethostname(),
            pid=os.getpid(),
            boot_id=self._boot,
            address=self._address,
            fence=memory.fence[:-1],
            revision=memory.revision,
        )

    async def _serve(self, link: ChildLink, fence: tuple[int, ...]) -> None:
        telling = asyncio.create_task(self._tell(link))
        listening = asyncio.create_task(self._listen(link, fence))
        try:
            done, _ = await asyncio.wait((telling, listening), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            telling.cancel()
            listening.cancel()
            await asyncio.gather(telling, listening, return_exceptions=True)

    async def _tell(self, link: ChildLink) -> None:
        last_said_s = 0.0
        self._due = True
        while True:
            now = self._runtime.now()
            if self._due:
                self._due = False
                report = self._runtime.controller.report(now)
                if self._told is None or report != self._told:
                    self._told = report
                    message = controller_report_to_wire(report, self._runtime.wall(), now)
                    await link.send(tree_pb2.FromChild(controller=message))
                    last_said_s = now
            if now - last_said_s >= BEAT_S:
                await link.send(tree_pb2.FromChild(beat=tree_pb2.Beat()))
                last_said_s = now
            self._changed.clear()
            if self._due:
                continue
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _listen(self, link: ChildLink, fence: tuple[int, ...]) -> None:
        async for message in link:
            match message.WhichOneof("body"):
                case "document":
                    spec = self._documents.take(message.document)
                    self._runtime.post(DocumentGiven(message.document.revision, spec))
                case "goal":
                    self._runtime.post(GoalGiven(goal_from_wire(message.goal), fence))
                case "release":
                    log.info("released by the farm controller: %s", message.release.reason)
                    self._released()
                    await asyncio.Future()  # the link stays until this program has put everything away
                case _:
                    pass  # what a newer version says


def _awaited(memory: Memory, now: float) -> tuple[object, ...]:
    """What the parent waits for; the first is the command in force.

    While that is under way health can wait, and so can the state when it is a single step: only its end counts then.
    On the way to a target the parent may have something to give on the way, such as a run number.
    """
    goal = memory.goal
    if goal is None:
        return ("", standing.own_state(memory), standing.own_health(memory))
    steps_only = all(target.step is not None for target in goal.goal.targets)
    return (
        goal.goal.command_id,
        goal.goal.run_number,
        goal.active,
        goal.ok,
        stop_wanted(memory),
        None if goal.active and steps_only else standing.own_state(memory),
        None if goal.active else standing.own_health(memory),
        *(repair.done for repair in repairing.report(memory, now)),
    )
