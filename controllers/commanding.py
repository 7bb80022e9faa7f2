"""The half of Control that commands: each becomes one event for core, and what core answers goes to whoever waits.

A command belongs to the controller: a client that goes away cancels nothing.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

from grange.core import repairing, view
from grange.core.durations import length_fault
from grange.core.effects import Accept, Answer, Refuse
from grange.core.errors import (
    GrangeError,
    InvalidInput,
    Refused,
    SameIdOtherContent,
    UnknownCommand,
    UnknownMember,
)
from grange.core.events import CancelGiven, CommandGiven, MemberCommandGiven
from grange.core.goals import DOWN
from grange.core.judging import RUN_TYPES, starts_run
from grange.core.lease import LEASE_REFUSED
from grange.core.memory import Memory
from grange.core.names import Command, State
from grange.core.paths import FARM
from grange.core.problems import Problem, did_you_mean
from grange.core.reports import RunTerms
from grange.core.run_end import EVENTS_MOST
from grange.core.state import TARGETS
from grange.core.wording import WORD_LENGTH_MAX, demand_comment, word_problems
from grange.proto import control_pb2
from grange.proto.gate import Caller
from grange.proto.rows import busy_to_wire, row_to_wire
from grange.proto.words import command_from_wire, member_command_from_wire, to_wire

from .authority import Authority, selected_paths
from .leasing import FORCE, demand_lease
from .runtime import Runtime
from .trail import Trail, asked, members_asked

FIRST_PROGRESS_S = 0.1  # a command that is done before has nothing to tell on its way
COMMAND_ID_LENGTH_MAX = 200  # ids of orders derive from it, down to the actors
_UPDATES_MAX = 1000  # for one caller of Execute; far more than a command has

Asked = CommandGiven | MemberCommandGiven

OUTCOMES = {
    "done": control_pb2.OUTCOME_DONE,
    "failed": control_pb2.OUTCOME_FAILED,
    "cancelled": control_pb2.OUTCOME_CANCELLED,
    "superseded": control_pb2.OUTCOME_SUPERSEDED,
    "interrupted": control_pb2.OUTCOME_INTERRUPTED,
}


class Commanding:
    """The handlers of the RPCs that command, for one runtime."""

    def __init__(self, runtime: Callable[[], Runtime], authority: Authority, trail: Trail) -> None:
        self._runtime = runtime
        self._authority, self._trail = authority, trail
        self._waiters: dict[str, list[asyncio.Queue[Accept | Refuse | Answer]]] = {}
        self._told: tuple[str, int, control_pb2.Progress] = ("", -1, control_pb2.Progress())

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
        async with contextlib.aclosing(self._execute(request, caller)) as updates:
            try:
                async for update in updates:
                    yield update
            except GrangeError as error:  # it was not taken: what becomes of one that was is its outcome
                said = {"members": members_asked(request), "comment": request.comment}
                self._trail.refused(caller, asked(request), error, **said)
                raise

    async def _execute(
        self, request: control_pb2.ExecuteRequest, caller: Caller
    ) -> AsyncGenerator[control_pb2.ExecuteUpdate, None]:
        event = self._event(request, caller)
        runtime = self._runtime()
        if event.command_id not in runtime.controller.memory.outcomes:  # otherwise it attaches, whatever the times are
            recorded = self._authority.recorded(event.command_id, event.digest)
            if recorded is not None:
                accepted = control_pb2.Accepted(command_id=event.command_id, attached=True)
                yield control_pb2.ExecuteUpdate(accepted=accepted)
                yield control_pb2.ExecuteUpdate(outcome=recorded)
                return
            ends = isinstance(event, CommandGiven) and (
                event.step in (Command.STOP, Command.SHUTDOWN) or event.target in DOWN
            )
            if not ends:
                starts = isinstance(event, CommandGiven) and starts_run(event.step, event.target)
                await self._authority.try_again(starts_run=starts)
            if (refusal := self._authority.refusal(ends)) is not None:
                raise refusal
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
        self,
        event: CommandGiven | MemberCommandGiven,
        answers: "asyncio.Queue[Accept | Refuse | Answer]",
        changed: asyncio.Event,
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
                        yield control_pb2.ExecuteUpdate(outcome=outcome_to_wire(effect, scope_of(event.paths)))
                        return
                    steps = [step.value for step in effect.steps]
                    steps += [event.command.value] if isinstance(event, MemberCommandGiven) else []
                    accepted = control_pb2.Accepted(
                        command_id=event.command_id, steps=steps, attached=effect.attached, unheard=effect.unheard
                    )
                    yield control_pb2.ExecuteUpdate(accepted=accepted)
                    next_answer = asyncio.ensure_future(answers.get())
                elif next_change.done():
                    changed.clear()
                    next_change = asyncio.ensure_future(changed.wait())
                    yield control_pb2.ExecuteUpdate(progress=self._progress(event))
        finally:
            next_answer.cancel()
            next_change.cancel()

    def _progress(self, event: Asked) -> control_pb2.Progress:
        """How far a command has come, made once for all who wait for it."""
        runtime = self._runtime()
        command_id, sequence, told = self._told
        if (command_id, sequence) == (event.command_id, runtime.sequence):
            return told
        now, wall_s = runtime.now(), runtime.wall()
        memory = runtime.controller.memory
        own = view.own_row(memory, now)
        busy = repairing.busy(memory, now, event.command_id) if isinstance(event, MemberCommandGiven) else own.busy
        if len(event.paths) == 1:
            rows = [row for row in runtime.controller.rows(now, event.paths[0], 1) if row.path != event.paths[0]]
        else:
            rows = [row for path in event.paths for row in runtime.controller.rows(now, path, 0)]
        told = control_pb2.Progress(
            busy=busy_to_wire(busy, wall_s) if busy is not None else None,
            state=to_wire(own.state),
            rows=[row_to_wire(row, wall_s) for row in rows],
        )
        self._told = event.command_id, runtime.sequence, told
        return told

    def _event(self, request: control_pb2.ExecuteRequest, caller: Caller) -> Asked:
        """What core is told of a request. Raises `InvalidInput` and `UnknownMember`."""
        step = target = member_command = None
        match request.WhichOneof("what"):
            case "step":
                step = command_from_wire(request.step)
            case "go":
                target = TARGETS.get(request.go)
            case "member_command":
                member_command = member_command_from_wire(request.member_command)
        if step is None and target is None and member_command is None:
            known = [name for name in TARGETS if name != State.TAKING.value]  # which people call running
            what = f"there is no target {request.go!r}" if request.go else "neither a known step nor a target"
            hint = did_you_mean(request.go, known) if request.go else f"targets are {', '.join(known)}"
            raise InvalidInput([Problem("", what, hint)])
        if len(request.command_id) > COMMAND_ID_LENGTH_MAX:
            raise InvalidInput([Problem("command_id", f"longer than {COMMAND_ID_LENGTH_MAX} characters")])
        if not request.command_id:
            raise InvalidInput([Problem("command_id", "the client chooses one for each command; a UUID will do")])
        if fault := length_fault(request.timeout_s):
            raise InvalidInput([Problem("timeout_s", fault)], "0 is the farm's own limit")
        demand_comment("comment", request.comment)
        selected = self._authority.selected()
        memory = self._runtime().controller.memory
        if not all(text.strip() for text in request.further):
            raise InvalidInput([Problem("further", "an empty name")], "Leave it out, or name the whole farm: /")
        selectors = [request.path, *request.further] if request.path or not request.further else request.further
        paths = selected_paths(memory, selected, selectors)
        if member_command is not None:
            return MemberCommandGiven(
                command_id=request.command_id,
                digest=_digest(request),
                command=member_command,
                paths=paths,
                person=caller.person,
                timeout_s=request.timeout_s,
                comment=request.comment,
                gone=request.gone,
                selected=selected,
                origin=caller.origin,
            )
        return CommandGiven(
            command_id=request.command_id,
            digest=_digest(request),
            paths=paths,
            step=step,
            target=target,
            person=caller.person,
            timeout_s=request.timeout_s,
            terms=_terms(request, starts_run(step, target), caller.person),
            selected=selected,
            origin=caller.origin,
        )

    async def cancel(self, request: control_pb2.CancelRequest, caller: Caller) -> control_pb2.CancelResponse:
        runtime = self._runtime()
        memory = runtime.controller.memory
        ending = _cancelled_by(memory, request.command_id)
        with self._noted(caller, f"cancel {request.command_id or ' '.join(ending)}".rstrip()):
            if (refusal := self._authority.refusal(True)) is not None:
                raise refusal
            if request.command_id and request.command_id not in memory.outcomes:
                raise UnknownCommand(request.command_id)
            if not request.command_id and not ending:
                raise Refused("nothing is under way", view.possible_now(memory, memory.path))
            demand_lease(runtime, caller.person)
            runtime.post(CancelGiven(request.command_id, caller.person))
        return control_pb2.CancelResponse(command_ids=ending)

    @contextlib.contextmanager
    def _noted(self, caller: Caller, what: str) -> Iterator[None]:
        """Puts what is no command into the audit trail, with how it went."""
        try:
            yield
        except GrangeError as error:
            self._trail.refused(caller, what, error)
            raise
        self._trail.done(caller, what)

    async def down(self, request: control_pb2.DownRequest, caller: Caller) -> control_pb2.DownResponse:
        with self._noted(caller, "down"):
            demand_lease(self._runtime(), caller.person)
            self._authority.go_down()
        return control_pb2.DownResponse()


def _cancelled_by(memory: Memory, command_id: str) -> list[str]:
    """The ids of what a cancel with this id ends, as core takes it: an empty one means the command before repairs."""
    goal = memory.goal
    command = [goal.goal.command_id] if goal is not None and goal.active else []
    if not command_id:
        return command or list(memory.repairs)
    return [known for known in (*command, *memory.repairs) if known == command_id]


def scope_of(paths: Sequence[str]) -> str:
    """The member whose state an outcome tells: the one that was commanded, of several the farm."""
    return paths[0] if len(paths) == 1 else FARM


def outcome_to_wire(answer: Answer, path: str) -> control_pb2.Outcome:
    return control_pb2.Outcome(
        path=path,
        command_id=answer.command_id,
        kind=OUTCOMES[answer.kind],
        reason=answer.reason,
        state=to_wire(answer.state),
        run_number=answer.run_number,
        duration_s=answer.duration_s,
        notes=answer.notes,
        steps=[control_pb2.StepTime(step=step, duration_s=duration_s) for step, duration_s in answer.steps],
    )


def _as_error(effect: Refuse) -> GrangeError:
    if effect.kind == "unknown-member":
        return UnknownMember(effect.reason.split("'")[1] if "'" in effect.reason else effect.reason, effect.nearest)
    if effect.kind == "same-id":
        return SameIdOtherContent(effect.command_id)
    if effect.kind == LEASE_REFUSED:
        return Refused(effect.reason, what_to_try=FORCE)
    # what is possible is said once, and by the error
    return Refused(effect.reason.partition("; possible now: ")[0], effect.possible)


def _terms(request: control_pb2.ExecuteRequest, starts: bool, person: str) -> RunTerms:
    """What the caller says of the run. Raises `InvalidInput` where that makes no sense."""
    problems = word_problems("mode", request.run_mode)
    if request.run_type not in ("", *RUN_TYPES):
        problems.append(Problem("type", f"{request.run_type[:WORD_LENGTH_MAX]!r} is neither {' nor '.join(RUN_TYPES)}"))
    if request.run_events > EVENTS_MOST:
        problems.append(Problem("events", f"{request.run_events} are more than any run has"))
    if fault := length_fault(request.run_duration_s):
        problems.append(Problem("for", fault))
    given = {
        "type": request.run_type,
        "mode": request.run_mode,
        "events": request.run_events,
        "for": request.run_duration_s,
    }
    if not starts:
        what = "is said of a run, by the command that starts it: start, or go running"
        problems += [Problem(name, what) for name, value in given.items() if value]
    if problems:
        raise InvalidInput(problems)
    return RunTerms(
        request.run_type, request.run_mode, request.comment, request.run_events, request.run_duration_s, person
    )


def _digest(request: control_pb2.ExecuteRequest) -> str:
    """What makes two requests the same command: everything but who asks and how long they wait."""
    same = control_pb2.ExecuteRequest()
    same.CopyFrom(request)
    same.timeout_s = 0.0
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()
