"""The reference chain with real processes on real ADF frames: the books balance, and the file says the same."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grange.actors.adf_file import summarise
from grange.actors.basis import BasisParameters, load_basis, load_fields
from grange.actors.emulator import Emulation, write_events
from grange.actors.fields import FieldParameters
from grange.core.books import balance
from grange.core.names import Command
from grange.core.plan import DataLink
from grange.proto import actor_pb2

NODE = "sf01/n1"
ORDER = ("producer", "trigger", "psa", "builder")
EVENTS = 600
GRID_MM, FIELD_GRID_MM = 6.0, 4.0
PSA = {"grid_mm": GRID_MM, "field_grid_mm": FIELD_GRID_MM}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a coarse basis in `cache` and a small file `events.adf`, a part of it late."""
    directory = tmp_path_factory.mktemp("chain")
    fields = FieldParameters(grid_mm=FIELD_GRID_MM)
    load_basis(directory / "cache", BasisParameters(fields=fields, grid_mm=GRID_MM))
    emulation = Emulation(late_fraction=0.02)
    write_events(directory / "events.adf", EVENTS, range(4), 1, load_fields(directory / "cache", fields), emulation)
    return directory


class Chain:
    """A producer, a trigger, PSA workers and a builder, commanded as a sub-farm does it."""

    def __init__(self, make: Callable[[str], Any], shared: Path, workers: int = 2) -> None:
        self.shared = shared
        members = {"producer": 1, "trigger": 1, "psa": workers, "builder": 1}
        self.agents = {
            role: [make(f"{NODE}/{role}-{index + 1}") for index in range(count)] for role, count in members.items()
        }
        for role, agents in self.agents.items():
            for agent in agents:
                if not (agent.directory / "cache").exists():
                    (agent.directory / "cache").symlink_to(shared / "cache")
                agent.spawn(f"grange.actors.{role}:{role.capitalize()}")

    def configure(self, **parameters: dict[str, Any]) -> None:
        given = {"producer": {"file": str(self.shared / "events.adf")}, "trigger": {}, "psa": PSA, "builder": {}}
        for role in ORDER:
            self.each(role, Command.LOAD, parameters={**given[role], **parameters.get(role, {})})
        for index, role in enumerate(ORDER):
            links = {"inputs": ORDER[max(0, index - 1) : index], "outputs": ORDER[index + 1 : index + 2]}
            self.each(
                role,
                Command.CONFIGURE,
                **{name: [DataLink(peer, self.members(peer)) for peer in peers] for name, peers in links.items()},
            )

    def start(self, run_number: int) -> None:
        for role in reversed(ORDER):
            self.each(role, Command.START, run_number=run_number)

    def stop(self, remaining_s: float = 20.0) -> dict[str, list[actor_pb2.ActorAnswer]]:
        return {role: self.each(role, Command.STOP, remaining_s=remaining_s) for role in ORDER}

    def each(self, role: str, command: Command, **fields: Any) -> list[actor_pb2.ActorAnswer]:
        """Order all living processes of a role, and wait for their answers."""
        agents = [agent for agent in self.agents[role] if agent.process.poll() is None]
        for agent in agents:
            agent.hellos()
        ids = [agent.order(command, **fields) for agent in agents]
        answers = [agent.answer(command_id) for agent, command_id in zip(agents, ids, strict=True)]
        assert all(answer.ok for answer in answers), answers
        return answers

    def members(self, role: str) -> tuple[str, ...]:
        return tuple(agent.member for agent in self.agents[role])

    def counters_of(self, role: str) -> Any:
        """The latest counters of a role's first process."""
        return self.agents[role][0].beats()[-1].counters

    def kill(self, role: str, index: int) -> None:
        """SIGKILL; its data socket stays behind, and is here removed by the test instead of by the node's agent."""
        agent = self.agents[role][index]
        agent.process.send_signal(signal.SIGKILL)
        agent.ended()
        (agent.directory / "x" / f"{agent.member.replace('/', '.')}.in").unlink()

    def wait_until_read(self, number: int) -> None:
        self.agents["producer"][0].next_beat(lambda beat: beat.counters["read"] >= number)


def totals(answers: dict[str, list[actor_pb2.ActorAnswer]]) -> dict[str, dict[str, int]]:
    """The counters by role, summed over its processes."""
    sums: dict[str, dict[str, int]] = {}
    for role, each in answers.items():
        sums[role] = {}
        for answer in each:
            for name, value in answer.counters.items():
                sums[role][name] = sums[role].get(name, 0) + value
    return sums


@pytest.fixture
def chain(agents: Callable[[str], Any], shared: Path) -> Chain:
    return Chain(agents, shared)


def test_the_books_balance_and_the_file_read_again_gives_the_same_counts(chain):
    chain.configure(trigger={"min_multiplicity": 2}, builder={"min_fold": 2})
    chain.start(123)
    chain.agents["producer"][0].next_beat(lambda beat: beat.status == "file finished")
    answers = chain.stop()
    sums = totals(answers)
    assert balance(sums, ORDER) == ()
    assert sums["producer"]["read"] == EVENTS
    assert 0 < sums["psa"]["analysed"] < EVENTS
    assert sums["trigger"]["late"] > 0
    assert [note.code for note in chain.agents["trigger"][0].notes()] == ["late-data"]
    assert all(counters["undrained"] == counters["lost"] == 0 for counters in sums.values())
    (file,) = answers["builder"][0].files
    assert Path(file.path).name == "run_000123_sf01_builder-1.adf"
    again = summarise(file.path)
    assert (again.bytes, again.sha256) == (file.size_bytes, file.sha256)
    assert again.frames["data:psa"] == sums["builder"]["written"]
    assert again.frames["event:data"] == sums["builder"]["events"] > 0


def test_every_worker_gets_a_share_and_the_file_does_not_depend_on_who_did_what(agents, chain, shared, tmp_path):
    chain.configure()
    sums = []
    for run_number in (1, 2):
        chain.start(run_number)
        chain.agents["producer"][0].next_beat(lambda beat: beat.status == "file finished")
        answers = chain.stop()
        assert all(answer.counters["analysed"] > 0 for answer in answers["psa"])
        sums.append(answers["builder"][0].files[0].sha256)
    assert sums[0] == sums[1]


def test_while_paused_nothing_is_read_and_a_paused_run_can_be_resumed_or_stopped(chain):
    chain.configure(producer={"loops": 0, "frames_per_block": 10, "rate_hz": 500})
    chain.start(1)
    chain.wait_until_read(50)
    for role in ORDER:
        chain.each(role, Command.PAUSE)
    paused = chain.agents["producer"][0].next_beat(lambda beat: True).counters["read"]
    assert chain.agents["producer"][0].next_beat(lambda beat: True).counters["read"] == paused
    for role in reversed(ORDER):
        chain.each(role, Command.RESUME)
    chain.wait_until_read(paused + 50)
    for role in ORDER:
        chain.each(role, Command.PAUSE)
    sums = totals(chain.stop())
    assert sums["producer"]["read"] > paused
    assert balance(sums, ORDER) == ()


def test_a_worker_that_is_killed_loses_no_block(chain):
    chain.configure(producer={"loops": 0, "rate_hz": 1500})
    chain.start(1)
    chain.wait_until_read(300)
    chain.kill("psa", 1)
    known = chain.counters_of("producer")["read"]
    chain.wait_until_read(known + 300)
    sums = totals(chain.stop())
    trigger, builder = sums["trigger"], sums["builder"]
    assert sums["producer"]["read"] == trigger["accepted"] + trigger["rejected"] + trigger["late"]
    assert builder["written"] == trigger["accepted"]
    assert trigger["lost"] == 0
    assert [note.code for note in chain.agents["builder"][0].notes()] == ["input-dead"]


def test_a_stop_gives_up_what_nobody_is_there_to_take_long_before_its_time(chain):
    chain.configure(producer={"loops": 0, "frames_per_block": 10})
    chain.start(1)
    chain.agents["trigger"][0].next_beat(lambda beat: beat.counters["accepted"] > 100)  # workers have more than they do
    chain.kill("psa", 0)
    chain.kill("psa", 1)
    chain.agents["trigger"][0].next_beat(lambda beat: beat.status.startswith("waiting for"))
    chain.each("producer", Command.STOP, remaining_s=1.0)
    (answer,) = chain.each("trigger", Command.STOP, remaining_s=1000.0)  # longer than any test may take
    assert answer.reason.startswith("undrained: data not taken by ")
    assert "psa-1 (not connected)" in answer.reason
    assert answer.counters["lost"] > 0
    chain.each("builder", Command.STOP, remaining_s=20.0)


def test_a_stop_with_no_worker_left_is_undrained_in_time_and_counts_what_is_lost(chain):
    chain.configure(producer={"loops": 0, "frames_per_block": 10})
    chain.start(1)
    chain.agents["trigger"][0].next_beat(lambda beat: beat.counters["accepted"] > 100)  # workers have more than they do
    chain.kill("psa", 0)
    chain.kill("psa", 1)
    chain.agents["trigger"][0].next_beat(lambda beat: beat.status.startswith("waiting for"))
    answers = chain.stop(remaining_s=1.0)
    assert answers["producer"][0].reason.startswith("undrained")
    assert answers["trigger"][0].reason.startswith("undrained")
    assert "undrained" in [note.code for note in chain.agents["trigger"][0].notes()]
    sums = totals(answers)
    assert sums["trigger"]["lost"] > 0
    assert sums["builder"]["written"] == sums["builder"]["built"]
