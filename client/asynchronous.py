"""The scripting client for programs that use asyncio.

    async with AsyncFarm() as farm:
        await farm.go("running", comment="first beam")

Every call has a deadline. A failure raises: `CommandFailed` when a command did not end as done, otherwise the error
that the controller raised (`grange.core.errors`). A command belongs to the controller: leaving a call early, by
cancelling its task for instance, does not cancel the command; `cancel` does. When the controller is restarted during a
command, the client attaches again under the command's id.

What every call may raise: `Unavailable` when no controller answers, `DeadlinePassed` when it does not in time
(`ControllerHangs` when it carries out a command and falls silent), and `InvalidInput` for a path that is none,
`NotAllowed` when it is not for this user. What else, each method says.
"""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from grange.core.access import NAME_LENGTH_MAX
from grange.core.durations import length_fault
from grange.core.errors import DeadlinePassed, InvalidInput, Unavailable
from grange.core.names import Command, MemberCommand
from grange.core.problems import Problem
from grange.proto import control_pb2, runs_pb2
from grange.proto.stub import Stubs
from grange.proto.words import to_wire

from . import reading
from .asking import asking
from .attending import attended
from .configurations import Configurations
from .errors import CommandFailed, ControllerHangs
from .gathering import Gathering
from .home import demand_farm, resolve_home
from .security import Security
from .selecting import DEPTH_MOST, restricted, selector_of
from .steps import Members, Steps
from .values import Outcome, OutcomeKind, Progress, RunRecord, Status, View

if TYPE_CHECKING:
    from .page import MemberPage

DEADLINE_S = 10.0  # for an answer that takes no work; the controller answers such calls at once
EXECUTE_DEADLINE_S = 3600.0  # for a command without a timeout of its own, whose limit the controller then sets
FOLLOW_DEADLINE_S = 24 * 3600.0  # for a stream that goes on; a watch is opened again by itself
_HOP_S = 5.0  # beyond a command's own limit, so that the controller's outcome, with the culprit's name, comes first
_REATTACH_S = 15.0  # how long a restarted controller is waited for during a command
_REATTACH_INTERVAL_S = 0.3

ProgressHandler = Callable[[Progress], None]


class AsyncFarm(Steps, Configurations, Security):
    """A farm, through its controller. `home` is its directory; `address` (`unix:/path`) reaches any controller.

    Who calls is the user that this program runs as; `label` is a name of its own beside that, for the audit trail.
    `stubs` answer in place of a controller.

    Nothing is dialled before the first call, and nobody need be there before it.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        address: str = "",
        label: str = "",
        deadline_s: float = DEADLINE_S,
        stubs: Stubs | None = None,
    ) -> None:
        if len(label) > NAME_LENGTH_MAX:
            what = f"{len(label)} characters; a caller's own name has at most {NAME_LENGTH_MAX}"
            raise InvalidInput([Problem("label", what)])
        self._home = None if address else resolve_home(home)
        self.address = address or resolve_home(home).farm_address
        self.label = label
        self.deadline_s = deadline_s
        self._opened = stubs

    @property
    def _stubs(self) -> Stubs:
        if self._opened is None:
            if self._home is not None:
                demand_farm(self._home)
            self._opened = Stubs(self.address, self.label)
        return self._opened

    async def close(self) -> None:
        """Ends the connection; commands under way go on."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- looking ------------------------------------------------------------------------------------------------

    async def status(self, path: str = "", depth: int = 3, *, story: bool = False) -> Status:
        """A member and what lies `depth` levels below it, as it is now; answered during commands too.

        `path` may be a selector (`sf*/hlt00?`, `sf01/@psa`): then it is all that is selected. Raises `UnknownMember`
        with the nearest names.
        """
        request = asking(control_pb2.InspectRequest, path=path, depth=depth, story=story)
        return reading.read_status(await self._stubs.control.inspect(request, self.deadline_s))

    async def story(self, path: str = "") -> Status:
        """What happened to a member and below it, with reasons, in `.story`. Raises `UnknownMember`."""
        return await self.status(path, 0, story=True)

    async def show(self, path: str = "", lines: int = 10) -> "MemberPage":
        """All about one member: why it is as it is, its configuration, and so many lines of its story and its log.

        What cannot be had at the moment is named in the page. Raises `UnknownMember`.
        """
        from .page_reading import read_page  # noqa: PLC0415  # with core's own values, which nobody else here needs

        request = asking(control_pb2.DescribeRequest, path=path, lines=lines)
        return read_page((await self._stubs.control.describe(request, self.deadline_s)).page)

    async def watch(self, path: str = "", depth: int = 3) -> AsyncGenerator[View, None]:
        """The present, then every change, for ever; a slow reader sees the newest, never a backlog.

        `path` may be a selector, as in `status`. Raises `UnknownMember`, `LimitReached` when too many watch already,
        and `Unavailable` when the controller goes away; watch again to go on.
        """
        gathering, selector = Gathering(), selector_of(path)
        whole = selector.is_path
        request = asking(control_pb2.WatchRequest, path=selector.base, depth=depth if whole else DEPTH_MOST)
        hearing = asyncio.create_task(self._hear(request, gathering))
        try:
            while True:
                view = await gathering.take()
                yield view if whole else restricted(view, selector, depth)
        finally:
            hearing.cancel()
            await asyncio.wait((hearing,))

    async def _hear(self, request: control_pb2.WatchRequest, gathering: Gathering) -> None:
        """Reads a watch's stream to its end, and opens it again when only its deadline ended it."""
        try:
            while True:
                with contextlib.suppress(DeadlinePassed):
                    async with aclosing(self._stubs.control.watch(request, FOLLOW_DEADLINE_S)) as updates:
                        async for update in updates:
                            gathering.add(update)
                    raise Unavailable(f"the controller at {self.address} ended the watch", "Look with: grange status")
        except Exception as error:
            gathering.end(error)

    async def output(self, path: str, lines: int = 50, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """The last lines of a process's output, as it wrote them, and with `follow` what comes.

        Raises `UnknownMember`, `InvalidInput` for what is no process, and `Refused` when it was never started.
        """
        request = asking(control_pb2.ReadOutputRequest, path=path, lines=lines, follow=follow)
        deadline_s = FOLLOW_DEADLINE_S if follow else self.deadline_s
        async with aclosing(self._stubs.control.read_output(request, deadline_s)) as updates:
            async for update in updates:
                yield update.data

    # ---- commanding ---------------------------------------------------------------------------------------------

    async def execute(
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
        """Carries out one step (`"boot"`) for members, and returns when it has ended.

        `members` are selectors, one or several: `sf01`, `sf01/hlt017/psa-2`, `sf*/hlt00?`, `sf01/@psa`; "" is the farm,
        and a list without a name, or with an empty one, raises `InvalidInput`.
        `timeout_s` 0 is the farm's own. The same `command_id` attaches to a command under way, or gives the outcome of
        one that ended in the last day. With `check` False the outcome is returned whatever it is; otherwise one that
        is not done raises `CommandFailed`. Raises `ValueError` for a word that is no command, `UnknownMember`,
        `Refused` when it is not possible now, and `SameIdOtherContent`.

        What is said of a run (`comment`, `run_type`, `run_mode`) goes with a command that starts one. With `run_events`
        it ends by itself soon after so many events, with `run_duration_s` so long after it is running. Raises
        `Refused` when a run is open to which something else applies: stop it first.
        """
        terms = _terms(comment, run_type, run_mode, run_events, run_duration_s)
        request = _request(members, command_id, timeout_s, step=to_wire(Command(command)), **terms)
        return await self._finish(request, on_progress, check)

    async def go(
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
        """Goes to `running`, `paused`, `configured`, `loaded`, `booted`, `initial` or `absent`, by whatever steps.

        The arguments are those of `execute`.
        """
        terms = _terms(comment, run_type, run_mode, run_events, run_duration_s)
        request = _request(members, command_id, timeout_s, go=target, **terms)
        return await self._finish(request, on_progress, check)

    async def exclude(
        self, members: Members, *, comment: str = "", gone: bool = False, command_id: str = ""
    ) -> Outcome:
        """Takes members out: commands pass them by and nothing counts them, until they are included again.

        With `gone` they are nodes or sub-farms whose machine will not come back: as long as they are silent nothing is
        waited for there, and nothing is unaccounted.

        Like the three that follow it waits for no command under way, and ends none. Raises `UnknownMember`, and
        `Refused` when they are out already.
        """
        return await self.command_members(
            MemberCommand.EXCLUDE, members, comment=comment, gone=gone, command_id=command_id
        )

    async def include(self, members: Members, *, timeout_s: float = 0.0, comment: str = "") -> Outcome:
        """Takes members in again, and returns when they are where the others are. Raises as `restart` does."""
        return await self.command_members(MemberCommand.INCLUDE, members, timeout_s=timeout_s, comment=comment)

    async def restart(self, members: Members, *, timeout_s: float = 0.0, comment: str = "") -> Outcome:
        """Ends the processes of members and brings new ones to where the others are; a run goes on meanwhile.

        Raises `CommandFailed` when one does not come back, `Refused` for one that is excluded or meant to be down.
        """
        return await self.command_members(MemberCommand.RESTART, members, timeout_s=timeout_s, comment=comment)

    async def recover(self, members: Members = "", *, timeout_s: float = 0.0, comment: str = "") -> Outcome:
        """Brings those back that are not well, and leaves the others alone. Raises as `restart` does."""
        return await self.command_members(MemberCommand.RECOVER, members, timeout_s=timeout_s, comment=comment)

    async def command_members(
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
        """`exclude`, `include`, `restart` or `recover`, with the arguments of `execute`."""
        what = to_wire(MemberCommand(command))
        request = _request(members, command_id, timeout_s, member_command=what, comment=comment, gone=gone)
        return await self._finish(request, on_progress, check)

    async def cancel(self, command_id: str = "") -> tuple[str, ...]:
        """Ends a command; every member stays where it is. Returns the ids of what ends by this.

        Without an id it is the command under way; when there is none, all that brings members back: restarts,
        inclusions and recoveries. Of a command that has ended already nothing ends. Raises `Refused` when no id is
        given and nothing is under way, and `UnknownCommand` for an id that the controller does not know.
        """
        request = asking(control_pb2.CancelRequest, command_id=command_id)
        return tuple((await self._stubs.control.cancel(request, self.deadline_s)).command_ids)

    async def down(self) -> None:
        """Ends the farm controller and leaves everything below it running; `go("absent")` first ends that too.

        Raises nothing but what every call does.
        """
        await self._stubs.control.down(control_pb2.DownRequest(), self.deadline_s)

    async def _finish(
        self, request: control_pb2.ExecuteRequest, on_progress: ProgressHandler | None, check: bool
    ) -> Outcome:
        outcome = await self._carry_out(request, on_progress or (lambda _progress: None))
        if check and outcome.kind is not OutcomeKind.DONE:
            raise CommandFailed(outcome)
        return outcome

    async def _carry_out(self, request: control_pb2.ExecuteRequest, tell: ProgressHandler) -> Outcome:
        """Sends the command, or attaches to it again, until its outcome or the deadline is there."""
        request.command_id = request.command_id or str(uuid.uuid4())
        clock = asyncio.get_running_loop().time
        deadline = clock() + (request.timeout_s + _HOP_S if request.timeout_s else EXECUTE_DEADLINE_S)
        accepted: Progress | None = None
        lost_at: float | None = None
        while True:
            try:
                remaining_s = max(0.1, deadline - clock())
                async with aclosing(attended(self._stubs.control, request, remaining_s, self.address)) as updates:
                    async for update in updates:
                        lost_at = None
                        match update.WhichOneof("body"):
                            case "accepted":
                                accepted = reading.read_accepted(update.accepted)
                                tell(accepted)
                            case "progress" if accepted is not None:
                                tell(reading.read_progress(update.progress, accepted))
                            case "outcome":
                                return reading.read_outcome(update.outcome)
                raise Unavailable(
                    f"the controller at {self.address} ended the call before the command had ended",
                    "Look with: grange status",
                )
            except ControllerHangs:
                raise
            except DeadlinePassed:
                raise DeadlinePassed(
                    f"no outcome of command {request.command_id} in time; it may still be under way",
                    f"Look with: grange status; end it with: grange cancel {request.command_id}",
                ) from None
            except Unavailable:
                lost_at = lost_at or clock()
                if accepted is None or clock() > min(deadline, lost_at + _REATTACH_S):
                    raise
                await asyncio.sleep(_REATTACH_INTERVAL_S)

    # ---- runs ---------------------------------------------------------------------------------------------------

    async def runs(self, most: int = 20) -> tuple[RunRecord, ...]:
        """The newest runs, newest first. Raises nothing but what every call does."""
        response = await self._stubs.runs.list_runs(asking(runs_pb2.ListRunsRequest, most=most), self.deadline_s)
        return tuple(reading.read_run(run, response.behind) for run in response.runs)

    async def run(self, number: int) -> RunRecord:
        """One run. Raises `UnknownRun` with the nearest numbers."""
        response = await self._stubs.runs.get_run(asking(runs_pb2.GetRunRequest, number=number), self.deadline_s)
        return reading.read_run(response.run, response.behind)


def _request(members: Members, command_id: str, timeout_s: float, **more: Any) -> control_pb2.ExecuteRequest:
    """A command. Raises `InvalidInput` for a list without a name, or with an empty one, and for what cannot be sent."""
    selectors = [members] if isinstance(members, str) else list(members)
    if not selectors:  # what a script has selected is nothing, which must not become everything
        raise InvalidInput([Problem("members", "an empty list")], 'The whole farm is: ""')
    if not isinstance(members, str) and not all(text.strip() for text in selectors):
        raise InvalidInput([Problem("members", "an empty name")], "Leave it out, or name the whole farm: /")
    if fault := length_fault(timeout_s):
        raise InvalidInput([Problem("timeout_s", fault)], "0 is the farm's own limit")
    path, *further = selectors
    return asking(
        control_pb2.ExecuteRequest, command_id=command_id, path=path, further=further, timeout_s=timeout_s, **more
    )


def _terms(comment: str, run_type: str, run_mode: str, run_events: int, run_duration_s: float) -> dict[str, Any]:
    """What is said of a run, and when it ends by itself; 0 is never. Raises `InvalidInput` for less."""
    if run_events < 0:
        raise InvalidInput([Problem("events", f"{run_events} is not a number of events, 1 or more")])
    return {
        "comment": comment,
        "run_type": run_type,
        "run_mode": run_mode,
        "run_events": run_events,
        "run_duration_s": run_duration_s,
    }
