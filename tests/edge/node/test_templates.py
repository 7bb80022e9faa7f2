"""Actors that are forked from a template, with real keepers, templates and processes."""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from grange.core.keeping import parse_label
from grange.proto import tree_pb2

from .node_helpers import AgentNode, KeeperNode, book_on_disk, eventually, exists, kind_of, processes_of, state_of

RUNNER = """
import json, os, signal, sys, time
import {imports}

def main(arguments):
    limits = __import__("resource").getrlimit(__import__("resource").RLIMIT_NOFILE)[0]
    print(json.dumps({{
        "arguments": arguments,
        "parent": os.getppid(),
        "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
        "place": os.getcwd(),
        "environment": dict(os.environ),
        "nice": os.nice(0),
        "open_files": limits,
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{{n}}") for n in os.listdir("/proc/self/fd")
                              if os.path.exists(f"/proc/self/fd/{{n}}")),
    }}), flush=True)
    code = os.environ.get("CODE", "")
    if code:
        return int(code)
    signal.pause()
"""


class Templates:
    """A keeper with a runner of the test's own, whose actors are forked from a template."""

    def __init__(self, keeper: KeeperNode) -> None:
        self.keeper = keeper
        self.place = keeper.home / "code"
        self.place.mkdir()
        self.write("time")

    def write(self, imports: str, more: str = "") -> None:
        (self.place / "runner.py").write_text(RUNNER.format(imports=imports) + more)

    def spawn(self, slot: str = "x-1", **more: Any) -> dict[str, Any]:
        return self.keeper.spawn("actor", **self.fields(slot, **more))

    def fields(self, slot: str, **more: Any) -> dict[str, Any]:
        """What a spawn request says besides the program."""
        environment = {"PYTHONPATH": str(self.place)}
        argv = [sys.executable, "-P", "-m", "grange.supervisor.template", "runner", "thing:Thing"]
        template = {"key": "Thing-1", "argv": argv, "environment": environment}
        return {
            "slot": slot,
            "options": {"template": template} | more.pop("options", {}),
            "environment": environment | more.pop("environment", {}) | {"GRANGE_MEMBER": f"sf01/n1/{slot}"},
            **more,
        }

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """What the forked process says of itself."""
        log = self.keeper.log
        text = eventually("it tells", lambda: log(answer["instance"]).endswith("\n") and log(answer["instance"]))
        document: dict[str, Any] = json.loads(text)
        return document

    def pids(self) -> list[int]:
        commands = processes_of(self.keeper.home)
        return [pid for pid, command in commands.items() if parent_of(pid) == self.keeper_pid() and "runner" in command]

    def keeper_pid(self) -> int:
        assert self.keeper.keeper is not None
        return self.keeper.keeper.pid

    def template(self, forks: set[int]) -> int:
        """The template's own process id."""
        (pid,) = set(self.pids()) - forks
        return pid


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def templates(keeper: KeeperNode) -> Templates:
    return Templates(keeper)


def exit_of(keeper: KeeperNode) -> dict[str, Any]:
    assert keeper.client is not None
    status: dict[str, Any] = keeper.client.event("exited")["exit"]
    return status


def label_of(pid: int) -> int:
    return parse_label(Path(f"/proc/{pid}/limits").read_text())


def test_every_process_has_the_label_of_its_instance_however_it_is_started(templates: Templates) -> None:
    keeper = templates.keeper
    answers = {
        "executed-1": keeper.spawn("/bin/sleep", "1000", slot="executed-1"),
        "executed-2": keeper.spawn("/bin/sleep", "1000", slot="executed-2"),
        "set-up-1": keeper.spawn("/bin/sleep", "1000", slot="set-up-1", options={"nice": 3}),
        "forked-1": templates.spawn("forked-1"),
    }
    book = book_on_disk(keeper.directory)
    labels = {slot: label_of(answer["pid"]) for slot, answer in answers.items()}
    assert labels == {slot: book[slot].label for slot in answers}
    assert len(set(labels.values())) == len(answers)


def test_where_the_limit_that_bears_the_label_is_lower_there_is_none_and_all_else_is_as_ever(
    keeper: KeeperNode,
) -> None:
    assert keeper.keeper is not None
    resource.prlimit(keeper.keeper.pid, resource.RLIMIT_RTTIME, (1_000_000, 1_000_000))
    answer = keeper.spawn("/bin/sleep", "1000")
    assert answer["ok"]
    assert label_of(answer["pid"]) == 0
    keeper.signal(answer["instance"], signal.SIGTERM)
    assert exit_of(keeper) == {"signal": signal.SIGTERM}


def test_a_forked_actor_is_set_up_as_an_executed_one(templates: Templates) -> None:
    keeper = templates.keeper
    answer = templates.spawn(environment={"ROLE": "psa"}, options={"limits": {"open_files": 32}, "nice": 3})
    assert answer["ok"], answer
    told = templates.told(answer)
    assert told["arguments"] == ["thing:Thing"]
    assert told["parent"] == templates.keeper_pid(), "so its exit is told to the keeper"
    assert told["leads"]
    assert told["place"] == str(keeper.directory)
    assert (told["nice"], told["open_files"]) == (3, 32)
    assert told["environment"]["ROLE"] == "psa"
    assert told["environment"]["GRANGE_NONCE"].endswith(answer["instance"])
    assert "GRANGE_TEMPLATE_SOCKET" not in told["environment"]
    log = str(keeper.directory / "logs" / f"{answer['instance']}.log")
    assert told["descriptors"] == sorted(["/dev/null", log, log, str(keeper.directory / "locks" / "x-1.lock")])
    environ = Path(f"/proc/{answer['pid']}/environ").read_bytes().split(b"\0")
    assert f"GRANGE_NONCE={told['environment']['GRANGE_NONCE']}".encode() in environ, "others see whose it is"
    assert Path(f"/proc/{answer['pid']}/comm").read_text() == "x-1\n"


def test_many_actors_are_forked_from_one_template(templates: Templates) -> None:
    answers = [templates.spawn(f"x-{number}") for number in range(8)]
    assert all(answer["ok"] for answer in answers)
    forks = {answer["pid"] for answer in answers}
    assert len(forks) == 8
    template = templates.template(forks)
    assert {parent_of(pid) for pid in forks | {template}} == {templates.keeper_pid()}


@pytest.mark.parametrize(
    ("code", "number", "status"), [("7", 0, {"code": 7}), ("", signal.SIGTERM, {"signal": 15}), ("", 9, {"signal": 9})]
)
def test_the_exit_of_a_forked_actor_is_told(
    templates: Templates, code: str, number: int, status: dict[str, int]
) -> None:
    answer = templates.spawn(environment={"CODE": code})
    if number:
        templates.told(answer)
        templates.keeper.signal(answer["instance"], number)
    assert exit_of(templates.keeper) == status


def test_a_template_that_dies_is_started_anew_and_takes_no_actor_along(templates: Templates) -> None:
    first = templates.spawn()
    template = templates.template({first["pid"]})
    os.kill(template, signal.SIGKILL)
    second = templates.spawn("x-2")
    assert second["ok"], second
    assert exists(first["pid"])
    assert templates.template({first["pid"], second["pid"]}) != template


def test_a_template_that_cannot_live_is_tried_twice_and_then_named(templates: Templates) -> None:
    templates.write("time", "os._exit(3)")
    answer = templates.spawn()
    log = templates.keeper.directory / "logs" / "template-Thing-1.log"
    assert answer["failed"]
    assert answer["error"] == f"its template exited with code 3 before it could be forked; see {log}"
    templates.write("time")
    assert templates.spawn("x-2")["ok"], "the next one is another"


def test_a_template_whose_imports_have_started_threads_is_not_forked(templates: Templates) -> None:
    templates.write("threading", "threading.Thread(target=threading.Event().wait, daemon=True).start()")
    answer = templates.spawn()
    assert answer["failed"]
    assert answer["error"] == (
        "the imports of its template have started 1 threads, so it cannot be forked: set template = false"
    )


def test_a_changed_source_is_read_again(templates: Templates) -> None:
    first = templates.spawn()
    template = templates.template({first["pid"]})
    source = templates.place / "runner.py"
    os.utime(source, (1, 1))

    def renewed() -> bool:
        """A template looks at its sources once a second."""
        answer = templates.spawn(f"x-{templates.keeper._spawned + 2}")
        assert answer["ok"], answer
        return not exists(template)

    eventually("another template", renewed)


def test_a_signal_ends_the_wait_for_a_template_that_hangs(templates: Templates) -> None:
    keeper = templates.keeper
    templates.write("time", "time.sleep(1000)")
    assert keeper.client is not None
    keeper.client.send_at_once(("spawn", keeper.spawn_fields("actor", **templates.fields("x-1"))))
    eventually("the template is there", templates.pids)
    assert keeper.signal("x-1.1.1", signal.SIGTERM)["alive"]
    assert keeper.manifest("x-1")["exit"] == {"failed": "it was signalled before it could be started"}
    eventually("the template is gone", lambda: not templates.pids())
    assert keeper.client.request("forget", instance="x-1.1.1")["ok"]


def test_a_new_keeper_adopts_forked_actors_and_starts_a_template_of_its_own(templates: Templates) -> None:
    keeper = templates.keeper
    first = templates.spawn()
    template = templates.template({first["pid"]})
    keeper.kill_keeper()
    client = keeper.start()
    [row] = client.request("list")["processes"]
    assert (row["pid"], row["exit"]) == (first["pid"], None)
    eventually("the old template ends", lambda: not exists(template))
    second = templates.spawn("x-2")
    assert second["ok"], second
    assert parent_of(second["pid"]) == templates.keeper_pid()
    keeper.signal(first["instance"], signal.SIGTERM)
    assert "unknown" in exit_of(keeper)


def test_what_a_forked_actor_leaves_behind_is_found_by_the_nonce(templates: Templates) -> None:
    """A descendant with a session of its own and no descriptor of ours, that never executed another program."""
    code = """
if os.environ.get("DAEMON"):
    if os.fork() == 0:
        os.setsid()
        os.closerange(3, 100)
        if os.fork():
            os._exit(0)
        signal.pause()
"""
    templates.write("time", "")
    text = (templates.place / "runner.py").read_text()
    indented = "".join(f"    {line}\n" for line in code.strip().splitlines())
    (templates.place / "runner.py").write_text(text.replace("    code = os", f"{indented}    code = os"))
    answer = templates.spawn(environment={"DAEMON": "1"})
    keeper = templates.keeper
    mine = answer["instance"].encode()

    def daemons() -> list[int]:
        environs = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in processes_of(keeper.home)}
        return [pid for pid, text in environs.items() if mine in text and pid != answer["pid"]]

    eventually("the daemon", lambda: [pid for pid in daemons() if os.getsid(pid) != answer["pid"]])
    left = daemons()
    keeper.signal(answer["instance"], signal.SIGKILL)
    assert exit_of(keeper) == {"signal": 9}
    assert not any(exists(pid) for pid in left)


async def test_a_python_actor_of_a_role_with_a_template_goes_through_its_steps(node: AgentNode) -> None:
    parent = await node.start()
    paths = ("sf01/n1/psa-1", "sf01/n1/psa-2")
    for path in paths:
        spec = tree_pb2.ProcessSpec(
            path=path, role="psa", actor="grange.actors.actor:Actor", heartbeat_timeout_s=5.0, template=True
        )
        row = await parent.carry_out(f"b-{path}", path, "boot", spec=spec)
        assert (state_of(row), row.failure.reason) == ("booted", "")
        assert parent_of(row.pid) == node.keeper_pid()
    for command, state in (
        ("load", "loaded"),
        ("configure", "configured"),
        ("start", "taking"),
        ("stop", "configured"),
    ):
        row = await parent.carry_out(command, paths[0], command, run_number=7)
        assert (state_of(row), row.failure.reason) == (state, "")


async def test_an_actor_that_cannot_be_imported_says_so_itself(node: AgentNode) -> None:
    parent = await node.start()
    spec = tree_pb2.ProcessSpec(path="sf01/n1/psa-1", role="psa", actor="no.such:Thing", template=True)
    row = await parent.carry_out("b", "sf01/n1/psa-1", "boot", spec=spec)
    assert (state_of(row), kind_of(row)) == ("initial", "died_starting")
    assert row.failure.reason.startswith(
        'psa-1 on n1 exited with code 2 before it was ready (last line: "no.such:Thing: '
    )
