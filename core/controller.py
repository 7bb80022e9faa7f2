"""The controller: `step(now, event) -> effects`, the one door, the same at every level of the tree.

Theory of operation. A controller holds a *goal* and *observations* of its children, in `Memory`, and no state variable.
Every event changes an observation or the goal; afterwards `_plan` compares the two and orders the difference. So
commands, cancelling, recovery after a restart, a node that comes back and the next rank of a start are one path:
something became known, therefore plan again. Nothing waits in here: what has to happen later is a deadline in memory,
and `WakeAt` asks to be told when the first of them comes.

    events.py      what it is told                     effects.py     what it wishes
    judging.py     may a command be taken              commands.py    taking it
    waiting.py     what is not there yet               outcomes.py    how it ends
    membership.py  who is in, who was taken out        repairing.py   restarting and recovering members
    goals.py       what a goal says of a member
    observing.py   what reports of processes mean      faults.py      a member that is not well
    planner.py     orders for processes, by rank       links.py       child programs, goals for controllers below
    runkeeping.py  the run, at the root                run_end.py     when it ends by itself
    run_members.py who went out of a run, and when     revision.py    which configuration is in force
    lease.py       who may command
    memory.py      what is remembered                  deadlines.py   what time brings, and when it does next
    standing.py    where it is itself, and how well    view.py        what observers see
    causes.py      why members are not well            reporting.py   what the controller above is told
    apart.py       members in different states

Children are processes (reached through the agents of their nodes) or controllers, in any mixture. The root takes
commands from people; the others take their goal from their parent. Time, ids and chance come from outside: the same
events at the same times give the same effects, which is what the simulator and the replay of a recorded log rely on.
"""

from collections.abc import Callable
from dataclasses import replace

from . import (
    commands,
    deadlines,
    faults,
    lease,
    links,
    membership,
    observing,
    outcomes,
    repairing,
    reporting,
    revision,
    run_end,
    run_members,
    runkeeping,
    view,
)
from .effects import Effect, Persist, Say, WakeAt
from .events import (
    AgentsReported,
    AllotFailed,
    CancelGiven,
    ChildAttached,
    ChildLost,
    CommandGiven,
    ConfigurationSelected,
    ControllerReported,
    DatabaseReported,
    DocumentGiven,
    Event,
    GoalGiven,
    LaunchFailed,
    LeaseCommandGiven,
    LeaseRestored,
    MemberCommandGiven,
    NodeReported,
    ProcessesReported,
    ProgramKilled,
    Restored,
    RunNumberAllotted,
    Ticked,
)
from .goals import in_words, own_target
from .memory import Memory
from .names import Command, Kind, Membership, Severity
from .paths import join
from .planner import plan_processes
from .reports import ControllerReport, Goal, Row, RunTerms

PLANNING_ROUNDS = 4  # a failure is to be told, an end may free the next thing; it never takes more rounds than this


class Controller:
    """One controller of the tree. All access from outside goes through `step` and the reading methods."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.plans = 0  # made so far: an event without one has told nothing but what people look at
        self._wake: float | None = None
        self._handlers: dict[type, Callable[..., list[Effect]]] = {
            ChildAttached: self._attached,
            ChildLost: self._lost,
            ProcessesReported: self._processes,
            AgentsReported: self._agents,
            NodeReported: self._node,
            ControllerReported: self._controller,
            GoalGiven: self._goal,
            DocumentGiven: self._document,
            CommandGiven: self._command,
            MemberCommandGiven: self._member_command,
            CancelGiven: self._cancel,
            LeaseCommandGiven: self._lease_command,
            LeaseRestored: self._lease_restored,
            RunNumberAllotted: self._allotted,
            AllotFailed: self._allot_failed,
            LaunchFailed: self._launch_failed,
            ProgramKilled: self._program_killed,
            Restored: self._restored,
            ConfigurationSelected: self._selected,
            DatabaseReported: self._database,
            Ticked: self._ticked,
        }

    def step(self, now: float, event: Event) -> list[Effect]:
        """Takes one fact in at monotonic time `now` (seconds) and returns what has to be done about it, in order."""
        gist = observing.gist(self.memory, event)
        effects = self._handlers[type(event)](now, event)
        if gist is not None and not effects and gist == observing.gist(self.memory, event):
            return []
        self.plans += 1
        effects += self._plan(now)
        wake = deadlines.next_s(self.memory, now)
        if wake != self._wake:
            self._wake = wake
            effects.append(WakeAt(wake))
        return effects

    # ---- reading: never waits, changes nothing ---------------------------------------------------------------------

    def rows(self, now: float, path: str = "", depth: int = 9) -> list[Row]:
        """The member at `path` and what lies below it, `depth` levels down, parents before children."""
        return view.rows(self.memory, now, path, depth)

    def report(self, now: float) -> ControllerReport:
        """What the parent is told: always the whole."""
        return reporting.report(self.memory, now)

    # ---- planning ---------------------------------------------------------------------------------------------------

    def _plan(self, now: float) -> list[Effect]:
        memory = self.memory
        effects = [*lease.expire(memory, now), *deadlines.check(memory, now)]
        effects += links.plan_links(memory, now)
        repairing.attend(memory, now)
        effects += faults.review(memory, now)
        effects += run_members.note(memory, now)
        under_way = memory.goal is not None and memory.goal.active
        for _ in range(PLANNING_ROUNDS):
            before = len(effects), memory.goal and memory.goal.goal
            effects += self._stop_run(now)
            seen_again = runkeeping.see_again(memory)
            kept = runkeeping.keep_run(memory, now)
            if seen_again or any(isinstance(effect, Persist) for effect in kept):
                kept.append(outcomes.goal_record(memory))  # it says how the open run fares
            effects += kept
            effects += links.plan_children(memory, now)
            effects += plan_processes(memory, now)
            effects += faults.end_hung(memory, now)  # a stop that has just gone out may be one that waits for them
            effects += outcomes.finish(memory, now)
            effects += repairing.finish(memory, now)
            if (len(effects), memory.goal and memory.goal.goal) == before:
                break
        if under_way and memory.goal is not None and not memory.goal.active:
            effects += faults.review(memory, now)  # whoever is excluded and was commanded by name counts no more
        return effects + run_members.note(memory, now)

    def _stop_run(self, now: float) -> list[Effect]:
        """At the root: the run has to be stopped, and nobody has commanded it."""
        memory = self.memory
        run, held = memory.run, memory.goal
        wanted = runkeeping.why_stop(memory) if memory.root else ""
        complete = run_end.why_over(memory, now) if memory.root and not wanted else ""  # never during a command
        if run is None or not (wanted or complete):
            return []
        if held is not None and held.active and runkeeping.wants_run(held.goal):
            if not held.failing:  # the command that leads to data taking fails first, then the run is stopped
                faults.fail(memory, now, wanted)
            return []
        run.policy_asked = True
        command = CommandGiven(
            command_id=f"{runkeeping.POLICY_STOP}{run.number}",
            digest="",
            paths=(memory.path,),
            step=Command.STOP,
            target=None,
            person="grange",
            terms=RunTerms(comment=wanted or complete),
        )
        severity = Severity.INFO if complete else Severity.ERROR
        say: list[Effect] = [Say(severity, memory.path, f"the run is being stopped: {wanted or complete}")]
        return say + commands.give(memory, now, command)  # whoever holds the lease

    # ---- what each event changes ------------------------------------------------------------------------------------

    def _attached(self, now: float, event: ChildAttached) -> list[Effect]:
        memory = self.memory
        link = memory.links.get(event.link)
        if link is None:
            return [Say(Severity.WARNING, event.link, f"{event.link} dialled in, but is not in the configuration")]
        links.attach(link, now, event.incarnation)
        link.host, link.pid = event.host, event.pid
        link.version, link.boot_id = event.version, event.boot_id
        memory.tell(now, join(memory.path, link.name), f"enrolled: incarnation {event.incarnation}, pid {event.pid}")
        child = memory.children.get(event.link)
        if child is not None:
            child.goal_sent = None
            child.document_held = event.revision
            if child.membership is Membership.OUT_BY_FAULT:
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
            memory.tell(now, join(memory.path, link.name), "released")
            return []
        text = f"link lost{': ' if event.reason else ''}{event.reason}"
        memory.tell(now, join(memory.path, link.name), text)
        return [Say(Severity.WARNING, join(memory.path, link.name), text)]

    def _processes(self, now: float, event: ProcessesReported) -> list[Effect]:
        return observing.processes_reported(self.memory, now, event)

    def _agents(self, now: float, event: AgentsReported) -> list[Effect]:
        return [effect for reported in event.reports for effect in self._processes(now, reported)]

    def _node(self, now: float, event: NodeReported) -> list[Effect]:
        return observing.node_reported(self.memory, now, event)

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
        effects = run_members.taken_over(memory, now, child, event.report)
        child.report = event.report
        return effects

    def _goal(self, now: float, event: GoalGiven) -> list[Effect]:
        memory, goal, held = self.memory, event.goal, self.memory.goal
        memory.fence = event.fence
        if held is None and goal.set_up:
            for link in memory.links.values():
                link.vacant = False  # this program was started anew: what the one before it had is still there
        if held is None or held.goal.command_id != goal.command_id:
            commands.take(memory, now, goal, goal.limit_s)
            if goal.doing:
                memory.tell(now, memory.path, f"goal from above: {goal.doing} of {goal.person}")
        elif held.active and not held.failing and not _asks_for_anything(goal):
            faults.fail(memory, now, "given up from above", "cancelled")
        else:
            # More of the same command, such as its run number. What has failed here stays where it is.
            holding = held.failing or not held.ok
            held.goal = replace(goal, targets=held.goal.targets if holding else goal.targets)
        membership.apply(memory, now)
        repairing.take(memory, now)
        return []

    def _document(self, now: float, event: DocumentGiven) -> list[Effect]:
        revision.document(self.memory, event.revision, event.spec)
        self.memory.tell(now, self.memory.path, f"configuration {event.revision[:12]} received")
        membership.apply(self.memory, now)
        return []

    def _command(self, now: float, event: CommandGiven) -> list[Effect]:
        refusal = lease.refusal(self.memory, now, event)
        return [refusal] if refusal is not None else commands.give(self.memory, now, event)

    def _member_command(self, now: float, event: MemberCommandGiven) -> list[Effect]:
        refusal = lease.refusal(self.memory, now, event)
        return [refusal] if refusal is not None else membership.give(self.memory, now, event)

    def _cancel(self, now: float, event: CancelGiven) -> list[Effect]:
        if lease.why_not(self.memory, now, event.person):
            return []
        repairing.cancel(self.memory, event)
        return outcomes.cancel(self.memory, now, event)

    def _lease_command(self, now: float, event: LeaseCommandGiven) -> list[Effect]:
        return lease.give(self.memory, now, event)

    def _lease_restored(self, now: float, event: LeaseRestored) -> list[Effect]:
        lease.restored(self.memory, now, event)
        return []

    def _allotted(self, now: float, event: RunNumberAllotted) -> list[Effect]:
        effects = runkeeping.allotted(self.memory, now, event)
        return [*effects, outcomes.goal_record(self.memory)] if self.memory.goal is not None else effects

    def _allot_failed(self, now: float, event: AllotFailed) -> list[Effect]:
        runkeeping.refused_number(self.memory, now, event)
        return []

    def _launch_failed(self, now: float, event: LaunchFailed) -> list[Effect]:
        link = self.memory.links.get(event.link)
        if link is None or link.attached:
            return []
        path = join(self.memory.path, link.name)
        if event.ran:
            links.launch_again(self.memory, link, now)
        if link.trouble == event.reason:
            return []  # one more attempt, and nothing new
        link.trouble = event.reason
        text = f"its program has ended: {event.reason}" if event.ran else f"could not be launched: {event.reason}"
        self.memory.tell(now, path, text)
        return [Say(Severity.WARNING if event.ran else Severity.ERROR, path, text)]

    def _program_killed(self, now: float, event: ProgramKilled) -> list[Effect]:
        path = join(self.memory.path, event.link)
        self.memory.tell(now, path, event.reason)
        return [Say(Severity.WARNING, path, event.reason)]

    def _restored(self, now: float, event: Restored) -> list[Effect]:
        memory = self.memory
        memory.outcomes |= event.outcomes
        if event.spec is not None:
            revision.put(memory, event.spec)
        # Those below need time to dial in, however little the command had left when the farm controller went away.
        limit_s = max(event.remaining_s, memory.limits.enrol_wait_s) if event.under_way else 0.0
        runkeeping.restored(memory, now, event)
        held = commands.take(memory, now, runkeeping.with_run(event.goal, memory.run), limit_s)
        held.terms, held.earlier_s = event.terms, event.ages_s.get(event.goal.command_id, 0.0)
        if event.under_way:
            memory.outcomes.setdefault(event.goal.command_id, ("", None))
        if event.goal.set_up:
            for link in memory.links.values():
                link.vacant = False
                links.expect(link, now, memory.limits.relaunch_wait_s)
        membership.apply(memory, now)
        repairing.take(memory, now)
        for under_way in memory.repairs.values():
            under_way.earlier_s = event.ages_s.get(under_way.repair.id, 0.0)
            under_way.touched = True  # what the controller before this one has begun with is not known
        for repair in event.goal.repairs:
            memory.outcomes.setdefault(repair.id, ("", None))
        memory.tell(now, memory.path, f"taken back with {in_words(event.goal)}")
        return []

    def _selected(self, now: float, event: ConfigurationSelected) -> list[Effect]:
        self.memory.name, self.memory.selected = event.name, event.revision
        return []

    def _database(self, now: float, event: DatabaseReported) -> list[Effect]:
        memory = self.memory
        if event.trouble == memory.database_trouble:
            return []
        text = event.trouble or "the database has everything again"
        memory.database_trouble = event.trouble
        memory.tell(now, memory.path, text)
        return [Say(Severity.WARNING if event.trouble else Severity.INFO, memory.path, text)]

    def _ticked(self, now: float, event: Ticked) -> list[Effect]:
        self._wake = None  # that wish has been granted: whatever is still to come is asked for again
        return []


def _asks_for_anything(goal: Goal) -> bool:
    """Whether a goal still asks for anything in its scope."""
    target = own_target(goal)
    return target is not None and target.state is not None


def new_memory(path: str, name: str, kind: Kind, root: bool, fence: tuple[int, ...] = ()) -> Memory:
    """The memory of a controller that has heard nothing yet."""
    return Memory(path=path, name=name, kind=kind, root=root, fence=fence)
