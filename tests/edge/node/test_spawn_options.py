"""What a role may say about the setting-up of its processes, with a real keeper and real processes."""

import json
import os
import resource
import signal
import sys

import pytest

from .node_helpers import KeeperNode, eventually

SLEEP = ("/bin/sleep", "1000")


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def finished(keeper: KeeperNode, *argv: str, **fields: object) -> str:
    """What a process has written, after it has ended well."""
    answer = keeper.spawn(*argv, **fields)
    assert answer["ok"], answer
    assert keeper.client is not None
    assert keeper.client.event("exited")["exit"] == {"code": 0}
    return keeper.log(answer["instance"])


def test_limits_are_set_before_the_program_runs(keeper: KeeperNode) -> None:
    wanted = {
        "open_files": ("NOFILE", 32),
        "core_bytes": ("CORE", 0),
        "address_space_bytes": ("AS", 1 << 32),
        "cpu_s": ("CPU", 100),
        "processes": ("NPROC", 5000),
        "file_bytes": ("FSIZE", 1 << 20),
        "locked_memory_bytes": ("MEMLOCK", 0),
        "stack_bytes": ("STACK", 1 << 22),
    }
    code = "import resource, json; print(json.dumps({n: resource.getrlimit(getattr(resource, n))[0] for n in {names}}))"
    names = [f"RLIMIT_{kernel}" for kernel, _ in wanted.values()]
    limits = {name: value for name, (_, value) in wanted.items()}
    text = finished(keeper, *python(code.replace("{names}", repr(names))), options={"limits": limits})
    assert json.loads(text) == {f"RLIMIT_{kernel}": value for kernel, value in wanted.values()}


def test_a_process_that_takes_more_processor_time_than_its_limit_is_ended_by_the_kernel(keeper: KeeperNode) -> None:
    keeper.spawn(*python("while True: pass"), options={"limits": {"cpu_s": 1}})
    assert keeper.client is not None
    assert keeper.client.event("exited")["exit"]["signal"] in (signal.SIGXCPU, signal.SIGKILL)


def test_a_limit_on_open_files_may_be_less_than_the_keeper_has_open_itself(keeper: KeeperNode) -> None:
    for number in range(12):
        keeper.spawn(*SLEEP, slot=f"s-{number}")
    assert finished(keeper, "/bin/echo", "here", options={"limits": {"open_files": 6}}) == "here\n"


def test_a_process_runs_on_its_processors_alone(keeper: KeeperNode) -> None:
    first = min(os.sched_getaffinity(0))
    code = "import os; print(sorted(os.sched_getaffinity(0)))"
    assert finished(keeper, *python(code), options={"cpus": [first]}) == f"[{first}]\n"


def test_a_process_may_be_nice(keeper: KeeperNode) -> None:
    assert finished(keeper, *python("import os; print(os.nice(0))"), options={"nice": 7}) == "7\n"


def test_a_watchdog_is_told_to_the_process_that_has_it(keeper: KeeperNode) -> None:
    code = "import os; print(os.environ['WATCHDOG_USEC'], int(os.environ['WATCHDOG_PID']) == os.getpid())"
    assert finished(keeper, *python(code), environment={"WATCHDOG_USEC": "3000000"}) == "3000000 True\n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"limits": {"open_files": 1 << 40}},
            f"the limit open_files = {1 << 40} cannot be set: Operation not permitted (the hard limit here is "
            f"{resource.getrlimit(resource.RLIMIT_NOFILE)[1]})",
        ),
        (
            {"cpus": [4000]},
            "processors 4000 cannot be used: there are "
            f"{', '.join(str(number) for number in sorted(os.sched_getaffinity(0)))} here",
        ),
    ],
    ids=["limit", "cpus"],
)
def test_what_cannot_be_set_keeps_the_process_from_running_and_is_said(
    keeper: KeeperNode, options: dict[str, object], why: str
) -> None:
    answer = keeper.spawn("/bin/echo", "here", options=options)
    assert (answer["ok"], answer["failed"], answer["error"]) == (False, True, why)
    assert keeper.log(answer["instance"]) == ""
    assert keeper.manifest("x-1")["exit"] == {"failed": why}
    assert keeper.client is not None
    assert keeper.client.request("forget", instance=answer["instance"])["ok"]
    assert keeper.spawn(*SLEEP)["ok"], "the slot is free again"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"limits": {"files": 3}}, "spawn: 'files' = 3 is no limit: there are open_files,"),
        ({"umask": 3}, "spawn: options has no 'umask': there are limits, cpus, nice, template"),
        ({"nice": "high"}, "spawn: 'nice' must be int, not 'high'"),
    ],
)
def test_options_that_nobody_knows_are_refused(keeper: KeeperNode, options: dict[str, object], why: str) -> None:
    answer = keeper.spawn(*SLEEP, options=options)
    assert not answer["ok"]
    assert answer["error"].startswith(why)
    assert keeper.client is not None
    assert keeper.client.request("list")["processes"] == []


def test_a_signal_reaches_a_process_that_was_set_up(keeper: KeeperNode) -> None:
    answer = keeper.spawn(*SLEEP, options={"nice": 1, "limits": {"core_bytes": 0}})
    assert eventually("it is nice", lambda: os.getpriority(os.PRIO_PROCESS, answer["pid"])) == 1
    keeper.signal(answer["instance"], signal.SIGTERM)
    assert keeper.client is not None
    assert keeper.client.event("exited")["exit"] == {"signal": 15}
