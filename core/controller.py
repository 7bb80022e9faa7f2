"""The controller: `step(now, event) -> effects`, the one door, the same at every level of the tree.

Theory of operation. A controller holds a *goal* and *observations* of its children, in `Memory`, and no state variable.
Every event changes an observation or the goal; afterwards `_plan` compares the two and orders the difference. So
commands, cancelling, recovery after a restart, a node that comes back and the next rank of a start are one path:
something became known, therefore plan again. Nothing waits in here: what has to happen later is a deadline in memory,
and `WakeAt` asks to be told when the first of them comes.

    events.py      what it is told                     effects.py     what it wishes
    commands.py    judging, waiting, outcomes          faults.py      a member that is not well
    planner.py     orders for processes, by rank       links.py       child programs, goals for controllers below
    runkeeping.py  the run, at the root                view.py        what observers see
    revision.py    which configuration is in force     memory.py      what is remembered

Children are processes (reached through the agents of their nodes) or controllers, in any mixture. The root takes
commands from people; the others take their goal from their parent. Time, ids and chance come from outside: the same
events at the same times give the same effects, which is what the simulator and the replay of a recorded log rely on.
"""

from collections.abc import Callable

from . import commands, faults, links, revision, runkeeping, view
from .effects import Effect, Launch, Say, SendGoal, SendOrders, WakeAt
from .events import (
    AllotFailed,
    CancelGiven,
    ChildAttached,
    ChildLost,
    CommandGiven,
    ControllerReported,
    DocumentGiven,
    Event,
    GoalGiven,
    LaunchFailed,
    ProcessesReported,
    Restored,
    RunNumberAllotted,
    Ticked,
)
from .memory import Memory, ProcessMemory, RunMemory, process_state, target_of
from .names import Command, Health, Kind, Membership, Severity, State
from .paths import join
from .planner import plan_processes
from .reports import ControllerReport, Goal, ProcessReport, Row, Target


class Controller:
    """One controller of the tree. All access from outside goes through `step` and the reading methods."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._wake: float | None = None
        self._handlers: dict[type, Callable[..., list[Effect]]] = {
            ChildAttached: self._attached,
            ChildLost: self._lost,
            ProcessesReported: self._processes,
            ControllerReported: self._controller,
            GoalGiven: self._goal,
            DocumentGiven: self._document,
            CommandGiven: self._command,
            CancelGiven: self._cancel,
            RunNumberAllotted: self._allotted,
            AllotFailed: self._allot_failed,
            LaunchFailed: self._launch_failed,
            Restored: self._restored,
            Ticked: self._ticked,
        }

    def step(self, now: float, event: Event) -> list[Effect]:
        """Takes one fact in at monotonic time `now` (seconds) and returns what has to be done about it, in order."""
        effects = self._handlers[type(event)](now, event)
        effects += self._plan(now)
        wake = self._next_wake(now)
        if wake != self._wake:
            self._wake = wake
            effects.append(WakeAt(wake))
        return effects

    # ---- reading: never waits, changes nothing ---------------------------------------------------------------------

    def rows(self, now: float, path: str = "", depth: int = 9) -> list[Row]:
        return view.rows(self.memory, now, path, depth)

    def report(self, now: float) -> ControllerReport:
        return view.report(self.memory, now)

    # ---- planning ---------------------------------------------------------------------------------------------------

    def _plan(self, now: float) -> list[Effect]:
        memory = self.memory
        effects = self._check_time(now)
        effects += links.plan_links(memory, now)
        effects += self._stop_run(now)
        for _ in range(3):  # ending a command may free the next thing; it never takes more rounds than this
            before = len(effects)
            effects += runkeeping.keep_run(memory, now)
            effects += links.plan_children(memory, now)
            effects += plan_processes(memory, now)
            effects += commands.finish(memory, now)
            if len(effects) == before:
                break
        return effects

    def _check_time(self, now: float) -> list[Effect]:
        """Deadlines that have passed: orders without an answer, children that do not come."""
        memory, effects = self.memory, list[Effect]()
        for process in memory.processes.values():
            flight = process.in_flight
            if flight is None or now < flight.deadline_s:
                continue
            was = process_state(memory, process)
            process.in_flight = None
            reason = (
                f"{process.spec.slot} on {process.spec.node}: no answer to {flight.order.command} "
                f"within {now - flight.sent_s:.0f} s"
            )
            effects += faults.fault(memory, now, process, reason, was)
        for name in commands.watch_links(memory, now):
            effects += self._overdue(now, name)
        return effects

    def _overdue(self, now: float, name: str) -> list[Effect]:
        memory, effects = self.memory, list[Effect]()
        link = memory.links[name]
        trouble = f" ({link.trouble})" if link.trouble else ""
        since_s = now - (link.missing_since_s or now)
        child = memory.children.get(name)
        if child is not None:
            goal = memory.goal
            target = target_of(goal.goal, child.path) if goal is not None else None
            reason = f"sub-farm {name}: its controller has not enrolled for {since_s:.0f} s{trouble}"
            if target is not None and target.state in faults.DOWN and child.membership is Membership.IN:
                child.membership = Membership.OUT_BY_FAULT
                effects.append(Say(Severity.WARNING, child.path, reason))
            elif goal is not None and goal.active and not goal.failing:
                faults.fail(memory, now, reason)
            return effects
        mine = [process for process in memory.processes.values() if process.spec.node == name]
        for process in mine:
            if not process.lost:
                was = process_state(memory, process)
                process.in_flight = None
                reason = f"{process.spec.slot} on {name} is unaccounted for: the node's agent has not answered{trouble}"
                effects += faults.fault(memory, now, process, reason, was, lost=True)
        if not mine and not link.trouble:
            link.trouble = f"no agent within {since_s:.0f} s"
        return effects

    def _stop_run(self, now: float) -> list[Effect]:
        """At the root: a role that the run cannot do without is gone, and its policy is to stop the run."""
        memory = self.memory
        if not memory.root or memory.run is None or memory.run.stop_asked:
            return []
        wanted = view.report(memory, now).stop_run_wanted
        if not wanted:
            return []
        command = CommandGiven(
            command_id=f"stop-run-{memory.run.number}",
            digest="",
            path=memory.path,
            step=Command.STOP,
            target=None,
            person="grange",
            comment=wanted,
        )
        say: list[Effect] = [Say(Severity.ERROR, memory.path, f"the run is being stopped: {wanted}")]
        return say + self._command(now, command)

    def _next_wake(self, now: float) -> float | None:
        memory = self.memory
        moments = [process.in_flight.deadline_s for process in memory.processes.values() if process.in_flight]
        for link in memory.links.values():
            if link.launch_at_s is not None and not link.attached:
                moments.append(link.launch_at_s)
            if link.expected and link.missing_since_s is not None:
                overdue_s = link.missing_since_s + memory.limits.enrol_wait_s
                if overdue_s > now:
                    moments.append(overdue_s)
        goal = memory.goal
        if goal is not None and goal.active:
            if goal.failing:
                moments.append(goal.failing_s + memory.limits.settle_s)
            moments.append(goal.deadline_s)
        return min(moments, default=None)

    # ---- what each event changes ------------------------------------------------------------------------------------

    def _attached(self, now: float, event: ChildAttached) -> list[Effect]:
        memory = self.memory
        link = memory.links.get(event.link)
        if link is None:
            return [Say(Severity.WARNING, event.link, f"{event.link} dialled in, but is not in the configuration")]
        links.attach(link, now)
        link.incarnation, link.host, link.pid = event.incarnation, event.host, event.pid
        memory.tell(now, join(memory.path, link.name), f"enrolled: incarnation {event.incarnation}, pid {event.pid}")
        child = memory.children.get(event.link)
        if child is not None:
            child.goal_sent = None
            child.document_held = event.revision
            child.membership = Membership.IN
        return []

    def _lost(self, now: float, event: ChildLost) -> list[Effect]:
        memory = self.memory
        link = memory.links.get(event.link)
        if link is None or not link.attached:
            return []
        released = link.releasing
        links.lose(memory, link, now)
        if released:
            for process in memory.processes.values():
                if process.spec.node == link.name:
                    process.report, process.heard_s, process.in_flight = None, None, None
            child = memory.children.get(event.link)
            if child is not None:
                child.report, child.heard_s, child.goal_sent = None, None, None
            memory.tell(now, join(memory.path, link.name), "released")
            return []
        text = f"link lost{': ' if event.reason else ''}{event.reason}"
        memory.tell(now, join(memory.path, link.name), text)
        return [Say(Severity.WARNING, join(memory.path, link.name), text)]

    def _processes(self, now: float, event: ProcessesReported) -> list[Effect]:
        memory, effects = self.memory, list[Effect]()
        link = memory.links.get(event.link)
        if link is None or not link.attached:
            return []
        link.heard_s = now
        resend: list[ProcessMemory] = []
        if event.snapshot:
            link.enrolled = True
            known = {report.path for report in event.reports}
            for process in memory.processes.values():
                if process.spec.node == event.link and process.path not in known:
                    process.report = None
                    if process.in_flight is not None:
                        resend.append(process)
                    faults.heal(memory, now, process)
        elif not link.enrolled:
            return []
        for report in event.reports:
            process = memory.processes.get(report.path)  # type: ignore[assignment]
            if process is None:
                effects.append(Say(Severity.WARNING, report.path, "runs there, but is not in the configuration"))
                continue
            effects += self._observe(now, process, report)
            flight = process.in_flight
            if event.snapshot and flight is not None and flight.order.order_id != report.order_id:
                resend.append(process)
        if resend:
            memory.sequence += 1
            orders = tuple(process.in_flight.order for process in resend if process.in_flight is not None)
            effects.append(SendOrders(event.link, memory.fence, memory.sequence, orders))
        return effects

    def _observe(self, now: float, process: ProcessMemory, report: ProcessReport) -> list[Effect]:
        memory = self.memory
        was, before = process_state(memory, process), process.report
        process.report, process.heard_s = report, now
        flight = process.in_flight
        if flight is not None and report.order_id == flight.order.order_id and report.order_done:
            process.in_flight = None
            if not report.order_ok:
                reason = report.failure.reason if report.failure else f"{process.path} refused {flight.order.command}"
                return faults.fault(memory, now, process, reason, was)
        fresh = report.failure is not None and (before is None or before.failure != report.failure)
        if fresh and report.failure is not None and (process.in_flight is None or report.state is State.INITIAL):
            if process.in_flight is not None and process.in_flight.order.command is not Command.SHUTDOWN:
                return []  # the answer to the order, which names the same failure, follows or is in this report
            return faults.fault(memory, now, process, report.failure.reason, was)
        if before is None or before.state is not report.state:
            memory.tell(now, process.path, str(report.state))
        if report.health is not Health.ERROR or (process.fault and report.state in (State.INITIAL, State.ABSENT)):
            faults.heal(memory, now, process)
        return []

    def _controller(self, now: float, event: ControllerReported) -> list[Effect]:
        memory = self.memory
        child, link = memory.children.get(event.link), memory.links.get(event.link)
        if child is None or link is None or not link.attached:
            return []
        link.heard_s = child.heard_s = now
        link.enrolled = True
        before = child.report.row.state if child.report is not None else None
        if before is not event.report.row.state:
            memory.tell(now, child.path, str(event.report.row.state))
        child.report = event.report
        return []

    def _goal(self, now: float, event: GoalGiven) -> list[Effect]:
        memory, goal = self.memory, event.goal
        memory.fence = event.fence
        held = memory.goal
        if held is None or held.goal.command_id != goal.command_id:
            commands.take(memory, now, goal, goal.limit_s)
            if goal.doing:
                memory.tell(now, memory.path, f"goal from above: {goal.doing} of {goal.person}")
        elif held.goal.targets != goal.targets and held.active and not held.failing and not _moving(goal):
            faults.fail(memory, now, "held by the farm", "cancelled")
        elif held.goal.run_number != goal.run_number or held.active:
            targets = held.goal.targets if held.failing or not held.ok else goal.targets
            held.goal = Goal(
                **{name: getattr(goal, name) for name in Goal.__slots__ if name != "targets"}, targets=targets
            )
        for process in memory.processes.values():
            out = any(process.path == path for path in goal.out_by_person)
            if out and process.membership is not Membership.OUT_BY_PERSON:
                process.membership = Membership.OUT_BY_PERSON
            elif not out and process.membership is Membership.OUT_BY_PERSON:
                process.membership = Membership.IN
        return []

    def _document(self, now: float, event: DocumentGiven) -> list[Effect]:
        revision.document(self.memory, event.revision, event.spec)
        self.memory.tell(now, self.memory.path, f"configuration {event.revision[:12]} received")
        return []

    def _command(self, now: float, event: CommandGiven) -> list[Effect]:
        effects = commands.give(self.memory, now, event)
        accepted = self.memory.goal is not None and self.memory.goal.goal.command_id == event.command_id
        return effects + (runkeeping.stop_asked(self.memory, event) if accepted else [])

    def _cancel(self, now: float, event: CancelGiven) -> list[Effect]:
        return commands.cancel(self.memory, now, event)

    def _allotted(self, now: float, event: RunNumberAllotted) -> list[Effect]:
        effects = runkeeping.allotted(self.memory, now, event)
        return [*effects, commands.goal_record(self.memory)] if self.memory.goal is not None else effects

    def _allot_failed(self, now: float, event: AllotFailed) -> list[Effect]:
        runkeeping.refused_number(self.memory, now, event)
        return []

    def _launch_failed(self, now: float, event: LaunchFailed) -> list[Effect]:
        link = self.memory.links.get(event.link)
        if link is None or link.attached:
            return []
        link.trouble = event.reason
        path = join(self.memory.path, link.name)
        self.memory.tell(now, path, f"could not be launched: {event.reason}")
        return [Say(Severity.ERROR, path, f"could not be launched: {event.reason}")]

    def _restored(self, now: float, event: Restored) -> list[Effect]:
        memory = self.memory
        if event.spec is not None:
            revision.put(memory, event.spec)
        way = (Command.SETUP,) if event.goal.setting_up else ()
        commands.take(memory, now, event.goal, event.remaining_s if event.under_way else 0.0, way)
        if event.under_way:
            memory.outcomes[event.goal.command_id] = ("", None)
        if event.run_number:
            memory.run = RunMemory(event.run_number, running=True)
        if event.goal.set_up:
            for link in memory.links.values():
                links.expect(link, now, memory.limits.relaunch_wait_s)
        memory.tell(now, memory.path, f"taken back with goal {event.goal.doing or 'none'}")
        return []

    def _ticked(self, now: float, event: Ticked) -> list[Effect]:
        return []


def _moving(goal: Goal) -> bool:
    """Whether a goal still asks for anything in its scope."""
    return any(target.state is not None for target in goal.targets if target.path == goal.scope)


def new_memory(path: str, name: str, kind: Kind, root: bool, fence: tuple[int, ...] = ()) -> Memory:
    """The memory of a controller that has heard nothing yet."""
    return Memory(path=path, name=name, kind=kind, root=root, fence=fence)


__all__ = ["Controller", "Launch", "SendGoal", "Target", "new_memory"]
