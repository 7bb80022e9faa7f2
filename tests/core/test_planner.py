"""Planning: which step a process gets next, and which ranks wait for which."""

import pytest

from grange.core.effects import SendOrders
from grange.core.memory import GoalMemory, Memory
from grange.core.names import Command, Kind, Membership, State
from grange.core.planner import plan_processes
from grange.core.reports import Goal, ProcessReport, Target
from grange.core.revision import document
from grange.harness.farms import uniform

ROLES = ("source", "trigger", "writer")  # rank 0, 1, 2


def memory_of(states: str, target: Target, run_number: int = 7, copies: int = 1) -> Memory:
    """A sub-farm of one node whose processes are in `states`, in the order of the chain, with a goal in force."""
    memory = Memory("sf01", "sf01", Kind.SUB_FARM, root=False, fence=(1, 2))
    document(memory, "r", uniform(1, 1, len(ROLES) * copies, ROLES).sub_farms[0])
    link = memory.links["n001"]
    link.expected = link.attached = link.enrolled = True
    for process, state in zip(memory.processes.values(), states.split(), strict=True):
        number = run_number if state in ("taking", "paused") else 0
        process.heard_s = 0.0
        process.report = ProcessReport(process.path, State(state), "i", order_id="o", run_number=number)
    goal = Goal("c1", ("",), (target,), "r", run_number, set_up=True)
    memory.goal = GoalMemory(goal, 0.0, 100.0)
    return memory


def plan(memory: Memory) -> str:
    """The orders that go out, as `role:command`."""
    found = []
    for effect in plan_processes(memory, 0.0):
        assert isinstance(effect, SendOrders)
        found += [f"{order.path.split('/')[-1].split('-')[0]}:{order.command}" for order in effect.orders]
    return " ".join(found)


def step(command: Command, state: State) -> Target:
    return Target("", state, command)


GONE = step(Command.SHUTDOWN, State.INITIAL)


@pytest.mark.parametrize(
    ("states", "target", "orders"),
    [
        # No order among ranks where data does not flow.
        ("initial initial initial", step(Command.BOOT, State.BOOTED), "source:boot trigger:boot writer:boot"),
        ("booted booted booted", step(Command.LOAD, State.LOADED), "source:load trigger:load writer:load"),
        # Start goes from the end of the chain to its source, a rank after the other.
        ("configured configured configured", step(Command.START, State.TAKING), "writer:start"),
        ("configured configured taking", step(Command.START, State.TAKING), "trigger:start"),
        ("configured configured starting", step(Command.START, State.TAKING), ""),
        ("configured taking taking", step(Command.START, State.TAKING), "source:start"),
        # Stop, and pause, from the source to the end.
        ("taking taking taking", step(Command.STOP, State.CONFIGURED), "source:stop"),
        ("configured taking taking", step(Command.STOP, State.CONFIGURED), "trigger:stop"),
        ("taking taking taking", step(Command.PAUSE, State.PAUSED), "source:pause"),
        ("paused paused paused", step(Command.RESUME, State.TAKING), "writer:resume"),
        ("paused paused taking", step(Command.RESUME, State.TAKING), "trigger:resume"),
        # A step is for members in its from-state alone.
        ("booted loaded configured", step(Command.CONFIGURE, State.CONFIGURED), "trigger:configure"),
        # A target is for all, each from where it is.
        ("booted loaded configured", Target("", State.CONFIGURED), "source:load trigger:configure"),
        ("booted initial taking", Target("", State.TAKING), "source:load trigger:boot"),
        # Nobody starts before all of the part are configured.
        ("loaded configured configured", Target("", State.TAKING), "source:configure"),
        # One that comes back joins those that take data.
        ("taking configured taking", Target("", State.TAKING), "trigger:start"),
        ("paused configured paused", Target("", State.PAUSED), "trigger:start"),
        # A shutdown is for everybody at once, whatever he is doing.
        ("booted loading taking", GONE, "source:shutdown trigger:shutdown writer:shutdown"),
        # Hold means hold.
        ("booted loaded taking", Target("", None), ""),
    ],
)  # fmt: skip
def test_each_process_gets_the_step_that_its_rank_allows(states: str, target: Target, orders: str) -> None:
    assert plan(memory_of(states, target)) == orders


def test_nothing_is_ordered_twice_while_it_is_under_way() -> None:
    memory = memory_of("initial initial initial", step(Command.BOOT, State.BOOTED))
    assert plan(memory) != ""
    assert plan(memory) == ""


def test_nothing_starts_without_a_run_number() -> None:
    assert plan(memory_of("configured configured configured", Target("", State.TAKING), run_number=0)) == ""


def test_others_do_not_wait_for_one_that_is_out() -> None:
    memory = memory_of("configured configured initial", Target("", State.TAKING))
    writer = memory.processes["sf01/n001/writer-1"]
    writer.membership, writer.fault = Membership.OUT_BY_FAULT, "it is dead"
    assert plan(memory) == "trigger:start"


def test_a_part_of_the_data_flow_that_is_not_connected_does_not_wait() -> None:
    memory = memory_of("loaded configured configured", Target("", State.TAKING))
    source = memory.processes["sf01/n001/source-1"]
    source.role = type(source.role)("source", 0, "apart")
    assert plan(memory) == "source:configure writer:start"


def test_only_members_in_the_commands_scope_are_moved_and_waited_for() -> None:
    memory = memory_of("initial configured configured", Target("sf01/n001/writer-1", State.TAKING, Command.START))
    assert memory.goal is not None
    memory.goal.goal = Goal("c1", ("sf01/n001/writer-1",), memory.goal.goal.targets, "r", 7, set_up=True)
    assert plan(memory) == "writer:start"


def test_a_process_of_a_node_that_cannot_be_heard_is_ordered_nothing() -> None:
    memory = memory_of("initial initial initial", step(Command.BOOT, State.BOOTED))
    memory.links["n001"].enrolled = False
    assert plan(memory) == ""


def test_one_whose_shutdown_was_missed_is_shut_down_before_anything_else() -> None:
    memory = memory_of("booted taking booted", Target("", State.BOOTED))
    memory.processes["sf01/n001/trigger-1"].owes_shutdown = True
    assert plan(memory) == "trigger:shutdown"


@pytest.mark.parametrize(
    ("dead", "orders"),
    [
        (("writer-1",), "source:stop trigger:stop"),  # nobody takes what they would pass on
        (("trigger-1",), "source:stop"),  # the writer waits: what it has been sent is on its way
        (("source-1",), "trigger:stop"),
        ((), "source:stop"),
    ],
)
def test_whoever_can_pass_on_nothing_waits_for_nobody_at_a_stop(dead: tuple[str, ...], orders: str) -> None:
    memory = memory_of("taking taking taking", step(Command.STOP, State.CONFIGURED))
    for name in dead:
        process = memory.processes[f"sf01/n001/{name}"]
        process.fault = "killed by SIGKILL"
        assert process.report is not None
        process.report = ProcessReport(process.path, State.INITIAL, "i", order_id="o")
    assert plan(memory) == orders


def test_a_role_of_which_somebody_is_left_takes_data_and_those_before_it_stop_in_order() -> None:
    memory = memory_of("taking taking taking taking taking taking", step(Command.STOP, State.CONFIGURED), copies=2)
    memory.processes["sf01/n001/writer-1"].fault = "killed by SIGKILL"
    assert plan(memory) == "source:stop source:stop"


def test_those_that_leave_a_former_run_stop_in_order_among_themselves() -> None:
    memory = memory_of("taking taking taking", Target("", State.TAKING), run_number=7)
    assert memory.goal is not None
    memory.goal.goal = Goal("c2", ("",), (Target("", State.TAKING),), "r", 8, set_up=True)
    assert plan(memory) == "source:stop"
