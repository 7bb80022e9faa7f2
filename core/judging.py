"""Judging a command when it comes: is it possible, which way will it take, and how long may that be.

Nothing here changes anything, so a refusal cannot either. The judge sees as far down as reports reach: for a member
deep in the tree it knows which states occur around it, and the controller that has the member gives the final word.
"""

from dataclasses import replace

from . import apart
from .aggregate import fold_state
from .durations import duration_words
from .effects import Refuse
from .events import CommandGiven
from .goals import DOWN
from .memory import (
    DATA_STATES,
    RUNNING_STATES,
    ChildMemory,
    Memory,
    all_states,
    child_counts,
    child_state,
    command_under_way,
    counts_nothing,
    farthest,
    included,
    is_excluded,
    leaf_states,
    process_state,
)
from .names import Command, Membership, State
from .paths import covers, join, lies_in, meet, nearest
from .plan import FarmSpec, ProcessSpec, RoleSpec, StepLimits, SubFarmSpec
from .revision import is_process, known_paths, why_not
from .state import ROWS, STEADY, TRANSITIONAL, Refusal, completed, move, sources, sources_in_words, steps, why_refused

_ORDERED = (Command.START, Command.STOP, Command.PAUSE, Command.RESUME)  # rank by rank, so their limits add up
_DOWN_STEPS = (Command.STOP, Command.UNCONFIGURE, Command.UNLOAD, Command.SHUTDOWN, Command.TEARDOWN)
_SUPERSEDING = (Command.STOP, Command.SHUTDOWN)
_STOPPED = (State.BOOTED, State.LOADED, State.CONFIGURED)  # targets below taking that keep the process
_INFRASTRUCTURE = (Command.SETUP, Command.TEARDOWN)
NAMED = 5  # members in a reason
GO = "go TARGET"  # among what is possible: a target instead of a step
RUN_TYPES = ("test", "production")  # the first is what a run is of that nobody says anything
_TERMS = {
    "type": "run_type",
    "mode": "run_mode",
    "comment": "comment",
    "number of events": "events",
    "duration": "duration_s",
}
_SPARE_S = 10.0  # for launching, links and answers, beyond the limits of the steps themselves


def judge(memory: Memory, now: float, event: CommandGiven) -> Refuse | None:
    """Why a command is refused; None when it is accepted."""
    goal = memory.goal
    active = goal is not None and goal.active
    if goal is not None and goal.active and event.target is None and event.step not in _SUPERSEDING:
        reason = (
            f"{goal.goal.doing} of {goal.goal.person} has been under way for {duration_words(goal.age_s(now))}; "
            f"wait for it, or cancel it: grange cancel"
        )
        return Refuse(event.command_id, "busy", reason, ("stop", "shutdown", "cancel", "go"))
    if memory.root and memory.farm is None and event.selected is None:
        reason = "there is no configuration yet; import one with: grange config import FILE"
        return Refuse(event.command_id, "revision", reason)
    unknown = judge_paths(memory, event.command_id, event.paths, event.selected)
    if unknown is not None:
        return unknown
    reasons = [_judge_state(memory, event, scope, active) for scope in event.paths]
    leaving = _judge_leaving(memory, event)
    reason = reasons[0] if all(reasons) else leaving or _judge_terms(memory, event) or _judge_records(memory, event)
    if reason:
        can = possible_now(memory, event.paths[0], event.selected)
        return Refuse(event.command_id, "state", f"{reason}; possible now: {', '.join(can) or 'nothing'}", can)
    trouble = why_not(memory, event.selected, first_step(way(memory, event)))
    return Refuse(event.command_id, "revision", trouble) if trouble else None


def judge_paths(
    memory: Memory, command_id: str, paths: tuple[str, ...], selected: FarmSpec | None = None
) -> Refuse | None:
    """The refusal of a command for members that do not exist; None when all do."""
    known = known_paths(memory, selected)
    for path in paths:
        if path not in known:
            return Refuse(command_id, "unknown-member", f"there is no member {path!r}", (), nearest(path, known))
    return None


def _judge_state(memory: Memory, event: CommandGiven, scope: str, active: bool) -> str:
    """The reason why no member in `scope` can take the step; empty when any can."""
    step = event.step
    if (step in _INFRASTRUCTURE or event.target is State.ABSENT) and is_process(memory, scope, event.selected):
        return f"{scope} is a process: setup, teardown and absent are for its node and those above"
    upward = step not in (None, *_DOWN_STEPS) or event.target not in (None, *DOWN)
    if upward and counts_nothing(memory, scope):
        where = scope or memory.name
        return f"all that lies in {where} is excluded; bring it back first: grange include {scope or 'MEMBER...'}"
    if step is None or step is Command.SHUTDOWN:
        return ""
    leaves = leaf_states(memory, scope) or {State.ABSENT}
    if step is Command.TEARDOWN and leaves - {State.INITIAL, State.ABSENT}:
        # one dead process does not make a farm that takes data ready to be torn down
        what = f"{step} is not possible while members are {', '.join(sorted(leaves - {State.INITIAL, State.ABSENT}))}"
        return f"{what}; shut them down first"
    if step is Command.START and (former := in_ended_runs(memory)):
        return f"start is not possible: {', '.join(former)} still take data of a run that has ended; stop them first"
    if leaves & sources(step):
        return ""
    open_run = memory.run is not None and covers(scope, memory.path)
    if step is Command.STOP and (open_run or (active and leaves & RUNNING_STATES)):
        return ""  # an open run can always be stopped, whatever is left of it
    if (child := _deep_child(memory, scope)) is not None and len(leaves) > 1:
        where = apart.in_words(child.report.row.counts if child.report is not None else ())
        return (
            f"{step} is not possible: {scope} would have to be {sources_in_words(step)}, "
            f"and nothing in {child.path} is: {where}"
        )
    state = scope_state(memory, scope)
    if isinstance(move(state, step), Refusal):
        return why_refused(state, step, scope or "the farm")
    return f"{step} is not possible: no member of {scope or memory.name} is in a state for it"


def _judge_leaving(memory: Memory, event: CommandGiven) -> str:
    """Why members may not leave a run that others go on with: no process starts in a run that it has stopped.

    A shutdown is no such trap: what is booted anew has stopped nothing.
    """
    leaves_run = event.step is Command.STOP or event.target in _STOPPED
    running = [path for path in event.paths if leaf_states(memory, path) & RUNNING_STATES]
    if not leaves_run or not running or not goes_on_without(memory, event.paths):
        return ""
    number = memory.run.number if memory.run is not None else 0
    who = running[0] if len(running) == 1 else f"{running[0]} (and {len(running) - 1} more)"
    one = running[0] if len(running) == 1 else "MEMBER..."
    out = all(is_excluded(memory, path) for path in running)
    ways = [f"end it for now: grange shutdown {one}" if out else f"take it out: grange exclude {one}"]
    ways += [] if out else [f"start it anew: grange restart {one}"]
    doing = event.step or f"go {event.target}"
    return (
        f"{doing} is not possible: run {number} goes on without {who}, and a process that has left a run cannot start "
        f"in it again; {'; '.join(ways)}; or end the run: grange stop"
    )


def goes_on_without(memory: Memory, paths: tuple[str, ...]) -> bool:
    """Whether members that count, others than those in `paths`, are in the open run too, or on their way into it.

    Of what lies deep below a child only numbers are known: others are in when more are than `paths` have.
    """
    held, run = memory.goal, memory.run
    if held is None or run is None or run.stop_asked or lies_in(memory.path, paths):
        return False
    starting = held.active and any(target.state in DATA_STATES for target in held.goal.targets)
    states = RUNNING_STATES | ({State.CONFIGURED} if starting else set())
    for process in memory.processes.values():
        counts = process.membership is Membership.IN and not lies_in(process.path, paths)
        if counts and process_state(memory, process) in states:
            return True
    below = {sub_farm.name: sub_farm for sub_farm in memory.farm.sub_farms} if memory.farm is not None else {}
    for child in memory.children.values():
        if child.report is None or not child_counts(memory, child) or lies_in(child.path, paths):
            continue
        known = _processes(below[child.name]) if child.name in below else ()
        meant = sum(lies_in(process.path, paths) and not is_excluded(memory, process.path) for process in known)
        if sum(count.processes for count in child.report.row.counts if count.state in states and not count.out) > meant:
            return True
    return False


def _processes(sub_farm: SubFarmSpec) -> tuple[ProcessSpec, ...]:
    return (*sub_farm.processes, *(process for below in sub_farm.sub_farms for process in _processes(below)))


def _judge_records(memory: Memory, event: CommandGiven) -> str:
    """Why no new run can be begun now: its number comes from the database. One that is open goes on without it."""
    needs_number = starts_run(event.step, event.target) and (memory.run is None or memory.run.stop_asked)
    if not memory.database_trouble or not needs_number:
        return ""
    return f"no run can be started, for it gets its number from the database: {memory.database_trouble}"


def _judge_terms(memory: Memory, event: CommandGiven) -> str:
    """Why what is said of a run has no run to be kept with; what leads out of a run is never held up by that."""
    said, run = event.terms, memory.run
    if not starts_run(event.step, event.target):
        ends = event.step in _SUPERSEDING or event.target in DOWN or (run is not None and event.step is None)
        if ends or not said.comment:
            return ""
        return "a comment is kept with a run, and this command neither starts nor ends one"
    if run is None or run.stop_asked:
        return ""
    kept = replace(run.terms, run_type=run.terms.run_type or RUN_TYPES[0])
    new = [word for word, name in _TERMS.items() if getattr(said, name) and getattr(said, name) != getattr(kept, name)]
    if not new:
        return ""
    own = [_own_words(word, getattr(kept, _TERMS[word])) for word in new]
    what = f"{', '.join(own[:-1])} and {own[-1]}" if own[1:] else own[0]
    return f"run {run.number} has been started already, with {what}; to set it anew end that one first: grange stop"


def _own_words(word: str, value: str | float) -> str:
    """What a run was started with, to be told from what is asked for now."""
    if not value:
        return f"no {word}"
    if word == "duration":
        return f"the duration {duration_words(float(value))}"
    if word == "number of events":
        return f"{value:,} as the number of events"
    return f"the {word} {value!r}" if word == "comment" else f"the {word} {value}"


def starts_run(step: Command | None, target: State | None) -> bool:
    """Whether a command leads to data taking."""
    return step is Command.START or target in DATA_STATES


def in_ended_runs(memory: Memory) -> list[str]:
    """At the root, the members that take data although no run is open: at most `NAMED`, with the number of others."""
    if not memory.root or memory.run is not None:
        return []
    found = [process.path for process in memory.processes.values() if process_state(memory, process) in DATA_STATES]
    for child in memory.children.values():
        counts = child.report.row.counts if child.report is not None and memory.links[child.name].enrolled else ()
        if taking := sum(count.processes for count in counts if count.state in DATA_STATES):
            found.append(f"{taking} of {child.path}")
    return [*found[:NAMED], *([f"{len(found) - NAMED} more"] if len(found) > NAMED else [])]


def scope_state(memory: Memory, scope: str) -> State:
    """The state of the member at `scope`, as far down as this controller sees."""
    if covers(scope, memory.path):
        states = included(memory) or all_states(memory)
        return fold_state(states, command_under_way(memory, states))
    for child in memory.children.values():
        if child.path == scope:
            return child_state(memory, child)
    leaves = leaf_states(memory, scope)
    if len(leaves) > 1 and _deep_child(memory, scope) is not None:
        return State.UNKNOWN  # deep below a child, of which only counts are told: which of them are meant is not known
    return fold_state(leaves)


def answer_state(memory: Memory, scope: str, reached: State | None) -> State:
    """The state of the member at `scope` for the answer to a command that led it to `reached`; None: it did not."""
    state = scope_state(memory, scope)
    deep = _deep_child(memory, scope) is not None
    return reached if state is State.UNKNOWN and reached is not None and deep else state


def _deep_child(memory: Memory, scope: str) -> ChildMemory | None:
    """The child that a member lies below, so that only the child has it; None when there is none."""
    children = memory.children.values()
    return next((child for child in children if covers(child.path, scope) and child.path != scope), None)


def way(memory: Memory, event: CommandGiven) -> tuple[Command, ...]:
    """The steps that will be taken, as far as can be told from here."""
    if event.step is not None:
        return (event.step,)
    target = target_state(memory, event)
    leaves = {
        completed(state) if state in TRANSITIONAL else state
        for path in event.paths
        for state in leaf_states(memory, path) or {State.ABSENT}
        if state in TRANSITIONAL or state in STEADY
    }
    return steps(farthest(leaves, target), target) if leaves else ()


def unheard(memory: Memory, event: CommandGiven) -> tuple[str, ...]:
    """The members of which nobody knows yet how far a command to a target has to bring them; at most `NAMED`.

    A step needs no such knowledge: it is what it says.
    """
    if event.step is not None:
        return ()

    found = [
        join(memory.path, process.spec.node)
        for process in memory.processes.values()
        if process.membership is Membership.IN
        and lies_in(process.path, event.paths)
        and process_state(memory, process) is State.UNKNOWN
    ]
    for child in memory.children.values():
        concerned = any(meet(child.path, scope) for scope in event.paths)
        if not concerned or not child_counts(memory, child):
            continue
        state = child_state(memory, child)
        counts = child.report.row.counts if state is State.MIXED and child.report is not None else ()
        if state is State.UNKNOWN or any(count.state is State.UNKNOWN and not count.out for count in counts):
            found.append(child.path)
    named = list(dict.fromkeys(found))
    return (*named[:NAMED], *([f"{len(named) - NAMED} more"] if len(named) > NAMED else []))


def longest_way(ahead: tuple[Command, ...], target: State) -> tuple[Command, ...]:
    """The steps that may have to be taken where some members are not heard: those may be as far off as can be."""
    return tuple(dict.fromkeys((*ahead, *steps(State.TAKING if target in DOWN else State.INITIAL, target))))


def first_step(steps_ahead: tuple[Command, ...]) -> Command | None:
    """What a way begins with; None for a way without steps."""
    return steps_ahead[0] if steps_ahead else None


def target_state(memory: Memory, event: CommandGiven) -> State:
    """Where a command leads. A shutdown that cuts a setup or a teardown short leads to absent."""
    if event.target is not None:
        return event.target
    assert event.step is not None  # a command is a step or has a target
    if event.step is not Command.SHUTDOWN:
        return ROWS[event.step].to
    states = [scope_state(memory, path) for path in event.paths]
    state = next((state for state in states if state not in DOWN), states[0])
    return state if state in DOWN else completed(State.SHUTTING_DOWN, state)


def default_limit_s(memory: Memory, now: float, ahead: tuple[Command, ...]) -> float:
    """The time that a command gets when nobody says: the sum of its steps' longest limits, rank by rank where ordered.

    One that supersedes another may have to wait for that one's orders first, so it gets what that one had left.
    """
    roles = _roles(memory.farm.sub_farms) if memory.farm is not None else ()
    total_s = _SPARE_S
    for step in ahead or (Command.SHUTDOWN,):
        if step in _INFRASTRUCTURE:
            total_s += memory.limits.enrol_wait_s + memory.limits.launch_wait_s
            continue
        limits = [limit_of(role.limits, step) for role in roles] or [limit_of(StepLimits(), step)]
        ranks = len({role.rank for role in roles}) if step in _ORDERED else 1
        total_s += max(limits) * max(1, ranks)
    if Command.SHUTDOWN in ahead or not ahead:
        total_s += memory.limits.enrol_wait_s  # who cannot be heard must be known as such before the command ends
    if memory.goal is not None and memory.goal.active:
        total_s += max(0.0, memory.goal.deadline_s - now)
    longest_s = memory.farm.command_timeout_s if memory.farm is not None else None
    return total_s if longest_s is None else min(total_s, longest_s)


def limit_of(limits: StepLimits, step: Command) -> float:
    """The longest that one process may take for a step, in seconds."""
    return float(getattr(limits, f"{step}_timeout_s"))


def _roles(sub_farms: tuple[SubFarmSpec, ...]) -> tuple[RoleSpec, ...]:
    return tuple(role for one in sub_farms for role in (*one.roles, *_roles(one.sub_farms)))


def possible_now(memory: Memory, path: str, selected: FarmSpec | None = None) -> tuple[str, ...]:
    """The commands that the member at `path` would take now, and that could succeed.

    A step is one when every included process is where it starts or ends, and one at least where it starts. Where they
    are in different states, or no step fits them all, a target does: `go` brings each on its own way.
    """
    leaves = leaf_states(memory, path) or {State.ABSENT}
    process = is_process(memory, path, selected)
    active = memory.goal is not None and memory.goal.active
    found = {Command.SHUTDOWN} if leaves - set(DOWN) else set()
    for step in Command:
        if step is Command.SHUTDOWN or active or (process and step in _INFRASTRUCTURE):
            continue
        fits = bool(leaves & sources(step)) and leaves <= sources(step) | {ROWS[step].to}
        if fits and not (step is Command.START and in_ended_runs(memory)):
            found.add(step)
    if (memory.run is not None and covers(path, memory.path)) or (active and leaves & RUNNING_STATES):
        found.add(Command.STOP)
    if _is_part_of_run(memory, path):
        found.discard(Command.STOP)
    mixed = active or not found - {Command.SHUTDOWN} or len(leaves) > 1
    names = tuple(command.value for command in ROWS if command in found)
    return (*([GO] if mixed else []), *names, *_member_commands(memory, path), *(["cancel"] if active else []))


def _is_part_of_run(memory: Memory, path: str) -> bool:
    """Whether others go on with the run that the member at `path` is in; below the root that is taken to be so."""
    if memory.root:
        return goes_on_without(memory, (path,))
    return path != memory.path and memory.goal is not None and memory.goal.goal.run_number > 0


def _member_commands(memory: Memory, path: str) -> list[str]:
    """What brings members at and below `path` back: those that are not well, and those that a person has taken out."""
    excluded = memory.goal.goal.excluded if memory.goal is not None else ()
    ill = [process.path for process in memory.processes.values() if process.membership is Membership.OUT_BY_FAULT]
    for child in memory.children.values():
        rows = child.report.exceptions if child.report is not None else ()
        ill += [row.path for row in rows if row.membership is Membership.OUT_BY_FAULT]
    up = bool(leaf_states(memory, memory.path) - set(DOWN))  # otherwise there is nowhere to bring it back to
    recovers = up and any(covers(path, one) for one in ill)
    includes = any(covers(path, out.path) for out in excluded)
    return [*(["recover"] if recovers else []), *(["include"] if includes else [])]
