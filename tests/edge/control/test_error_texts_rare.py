"""Exact texts of what seldom happens: a controller that does not end, a home that is closed, chaos at the wrong moment.

Part of the catalogue of errors: tests/packaging/test_error_catalogue.py asks whether a text is missing.
"""

import asyncio
import itertools
import os
import pwd
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from grange.cli import demo, upping
from grange.cli.main import app
from grange.client import AsyncFarm, ControllerHangs, OutcomeKind
from grange.controllers.children import Children
from grange.controllers.database_errors import translated
from grange.controllers.farm import Farm as FarmProgram
from grange.controllers.store import Store
from grange.core.errors import DeadlinePassed, GrangeError, InvalidInput, NotAllowed, Refused, Unavailable
from grange.core.home import Home
from grange.core.names import State
from grange.harness.chaos import Chaos
from grange.proto import control_pb2, runs_pb2
from grange.proto.errors import transport_words
from grange.proto.sockets import SocketLock, login_path
from grange.schema.errors import DatabaseAway


def spoken(home: Home, words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["--home", home.root, *words.split()])
    return result.exit_code, result.stdout, result.stderr


# ---- the client -----------------------------------------------------------------------------------------------------


class Ending:
    """A controller whose streams end before anything was said, or do not end in time."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def watch(self, *_arguments: object) -> AsyncIterator[Any]:
        if self._error is not None:
            raise self._error
        for nothing in ():
            yield nothing

    execute = watch


@pytest.fixture
def client(home: Home, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a client whose controller is `Ending`."""

    def made(error: Exception | None = None) -> AsyncFarm:
        monkeypatch.setattr(AsyncFarm, "_stubs", SimpleNamespace(control=Ending(error)))
        return AsyncFarm(home.root)

    return made


async def test_a_watch_that_ends(client: Any) -> None:
    farm = client()
    with pytest.raises(Unavailable) as caught:
        await anext(farm.watch())
    assert str(caught.value) == f"the controller at {farm.address} ended the watch. Look with: grange status"


async def test_a_call_that_ends_before_its_command(client: Any) -> None:
    farm = client()
    with pytest.raises(Unavailable) as caught:
        await farm.execute("boot")
    assert str(caught.value) == (
        f"the controller at {farm.address} ended the call before the command had ended. Look with: grange status"
    )


async def test_a_command_without_an_outcome_in_time(client: Any) -> None:
    with pytest.raises(DeadlinePassed) as caught:
        await client(DeadlinePassed("too late")).execute("boot", command_id="c-1")
    assert str(caught.value) == (
        "no outcome of command c-1 in time; it may still be under way. "
        "Look with: grange status; end it with: grange cancel c-1"
    )


class Hanging(Ending):
    """A controller that takes a command and says nothing, or that much; asked for its state it is silent too."""

    def __init__(self, *updates: control_pb2.ExecuteUpdate, well: bool = False) -> None:
        super().__init__()
        self._updates, self._well = updates, well
        self.asked = 0
        self._again = asyncio.Event()

    async def execute(self, *_arguments: object) -> AsyncIterator[Any]:
        for update in self._updates:
            yield update
            await self._again.wait()
        await asyncio.Event().wait()

    async def inspect(self, *_arguments: object) -> None:
        self.asked += 1
        if not self._well:
            await asyncio.Event().wait()
        self._again.set()


ACCEPTED = control_pb2.ExecuteUpdate(accepted=control_pb2.Accepted(command_id="c-1", steps=["boot"]))
ENDED = control_pb2.ExecuteUpdate(outcome=control_pb2.Outcome(command_id="c-1", kind=control_pb2.OUTCOME_DONE))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grange.client.attending.SILENCE_S", 0.01)
    monkeypatch.setattr("grange.client.attending.ANSWER_LIMIT_S", 0.02)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("updates", [(), (ACCEPTED,)])
@pytest.mark.parametrize("pid", [0, 4711])
async def test_a_controller_that_hangs_during_a_command(
    updates: tuple[Any, ...], pid: int, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = client()
    monkeypatch.setattr(AsyncFarm, "_stubs", SimpleNamespace(control=Hanging(*updates)))
    monkeypatch.setattr("grange.client.attending.holder", lambda _path: pid)
    with pytest.raises(ControllerHangs) as caught:
        await farm.execute("boot", command_id="c-1")
    who, end = (" (process 4711)", "kill -9 4711") if pid else ("", "kill -9 and its process id")
    assert str(caught.value) == (
        f"the controller at {farm.address}{who} hangs: it has said nothing for 0.05 s, also when it was asked; "
        f"command c-1 may be under way. End it with: {end}; then: grange up. "
        "Nothing is lost: what it controls runs on, and so does a command that it had accepted"
    )


@pytest.mark.usefixtures("hurried")
async def test_a_command_without_news_is_waited_for_as_long_as_its_controller_answers(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm, quiet = client(), Hanging(ACCEPTED, ENDED, well=True)
    monkeypatch.setattr(AsyncFarm, "_stubs", SimpleNamespace(control=quiet))
    assert (await farm.execute("boot", command_id="c-1")).kind is OutcomeKind.DONE
    assert quiet.asked


async def test_a_list_of_members_that_names_none(client: Any) -> None:
    said = []
    for members in ([], ["sf01", " "]):
        with pytest.raises(InvalidInput) as caught:
            await client().shutdown(members)
        said.append(str(caught.value))
    assert said == [
        'members: an empty list. The whole farm is: ""',
        "members: an empty name. Leave it out, or name the whole farm: /",
    ]


async def test_a_home_that_is_closed_to_the_caller(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may enter every directory
    with pytest.raises(NotAllowed) as caught:
        await AsyncFarm(home.root).status()
    assert str(caught.value) == (
        f"the directory {home.root} is not open to you. Ask the farm's owner for its group (docs/security.md)"
    )


@pytest.mark.parametrize("words", ["doctor", "doctor --clear", "chaos"])
def test_a_home_of_another_user_to_whoever_would_look_at_its_processes(
    words: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(home.database).touch()
    owner = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert spoken(home, words) == (
        3,
        "",
        f"grange: the farm in {home.root} is {owner}'s: only {owner}, or root, can look at its processes and signal "
        f"them. Repeat the command as {owner}\n",
    )

    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert f" is uid {os.getuid()}'s: only uid {os.getuid()}, or root," in spoken(home, words)[2]


def test_what_a_link_says_of_its_end() -> None:
    assert [
        transport_words(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses"),
        transport_words(grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        transport_words(grpc.StatusCode.CANCELLED, ""),
    ] == ["nobody answers there", "the other end went away", "the other end ended the call"]


# ---- the controllers ------------------------------------------------------------------------------------------------


def test_a_database_that_has_fallen_too_far_behind() -> None:
    state = SimpleNamespace(lag=10_001, last_error="database is locked")
    program: Any = SimpleNamespace(_store=SimpleNamespace(trouble="", state=state))
    refused = FarmProgram.refusal(program, ends=False)
    assert str(refused) == (
        "10001 records wait for the database (database is locked); no commands until it is back. "
        "Bring it back; stop and shutdown are still possible"
    )
    assert FarmProgram.refusal(program, ends=True) is None


def test_a_database_that_does_not_take_what_was_left_in_the_outbox() -> None:
    state = SimpleNamespace(lag=3, last_error="database is locked", away_since_ns=1)
    store: Any = SimpleNamespace(_writer=SimpleNamespace(flush=lambda limit_s: False, state=state))
    with pytest.raises(DatabaseAway) as caught:
        Store._drain(store)
    assert str(caught.value) == "3 records of before wait for the database: database is locked"


def test_a_database_that_cannot_be_read_just_now() -> None:
    with pytest.raises(Unavailable) as caught, translated():
        raise DatabaseAway("database d cannot be used now: locked")
    assert str(caught.value) == (
        "database d cannot be used now: locked. Try again; whether records wait for the database says: grange status"
    )


async def test_the_output_of_a_process_whose_agent_is_not_attached() -> None:
    nobody: Any = SimpleNamespace(_children={})
    with pytest.raises(Unavailable) as caught:
        await anext(Children.read_output(nobody, "n1", "sf01/n1/psa-1", 5, False))
    assert str(caught.value) == "the agent of n1 is not attached. Look with: grange status"


# ---- the command line -----------------------------------------------------------------------------------------------


def test_a_controller_that_does_not_end(running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upping, "_DOWN_TIMEOUT_S", 0.0)
    assert spoken(running.home, "down") == (
        1,
        "",
        f"grange: the farm controller has not ended after 0 s. Its log: {running.home.farm_log}\n",
    )


def test_a_controller_that_stays_for_what_is_left(running) -> None:
    said = []
    for state, sentence in ((State.TAKING, "sf01 cannot be heard"), (State.INITIAL, "")):
        running.farm.state, running.farm.sentence = state, sentence
        with pytest.raises(GrangeError) as caught:
            asyncio.run(upping._ask_to_end(running.home, only_if_empty=True))
        said.append(str(caught.value))
    to_try = (
        "It ends what it hears again by itself; look with: grange status. Then once more: grange down --all. "
        "What is gone for good with its machine: grange exclude MEMBER --gone"
    )
    assert said == [
        "the farm controller has not been ended, for it has not ended everything: "
        f"4 processes may still run (sf01 cannot be heard). {to_try}",
        "the farm controller has not been ended, for it has not ended everything: the farm is initial. "
        "It ends what it hears again by itself; look with: grange status. Then once more: grange down --all. "
        "What is gone for good with its machine: grange exclude MEMBER --gone",
    ]
    assert not running.farm.ended.is_set()


def test_a_controller_that_does_not_answer_once_it_was_started(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(home.database).touch()
    monkeypatch.setattr(upping, "_UP_TIMEOUT_S", 0.0)
    monkeypatch.setattr("grange.launch.daemon.spawn_detached", lambda argv, log: os.getpid())
    assert spoken(home, "up --detach") == (
        4,
        "",
        f"grange: the farm controller (process {os.getpid()}) does not answer after 0 s. Its log: {home.farm_log}\n",
    )


def test_a_controller_that_waits_for_its_database_while_it_is_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upping, "_UP_TIMEOUT_S", 0.0)

    def spawn(argv: list[str], log: str) -> int:
        Path(log).write_text(
            "2026-11-22 06:20:48.513+00:00 WARNING grange.controllers.opening: waiting for it: locked\n"
        )
        return os.getpid()

    monkeypatch.setattr("grange.launch.daemon.spawn_detached", spawn)
    code, stdout, stderr = spoken(home, "up --detach")
    assert (code, stdout) == (4, "")
    assert stderr == (
        "the farm controller says: waiting for it: locked\n"
        f"grange: the farm controller (process {os.getpid()}) does not answer after 0 s; it goes on, and said last: "
        f"waiting for it: locked. Its log: {home.farm_log}\n"
    )


@pytest.mark.parametrize("words", ["up", "up --detach"])
def test_a_place_whose_holder_hangs(words: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(home.database).touch()
    monkeypatch.setattr(upping, "_ANSWER_LIMIT_S", 0.1)
    with SocketLock(home.farm_socket), socket.socket(socket.AF_UNIX) as login:
        login.bind(login_path(home.farm_socket))
        login.listen()
        said = spoken(home, words)
    os.unlink(login_path(home.farm_socket))
    assert said == (
        3,
        "",
        f"grange: {home.farm_socket} is held by process {os.getpid()}. "
        "It hangs: asked for the farm's status it said nothing for 0.1 s. "
        f"End it with: kill -9 {os.getpid()}; then once more: grange up. Nothing is lost: what it controls runs on\n",
    )


def test_a_controller_that_came_later_than_another_that_was_started_at_the_same_time(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(home.database).touch()
    later = subprocess.Popen(["/bin/sleep", "1000"])
    asked, taken = itertools.count(), []

    async def status(_farm: AsyncFarm, depth: int) -> None:
        if next(asked):
            later.kill()  # it finds the place taken, after the other one has answered already

    def spawn(argv: list[str], log: str) -> int:
        taken.append(SocketLock(home.farm_socket))
        return later.pid

    monkeypatch.setattr(AsyncFarm, "status", status)
    monkeypatch.setattr("grange.launch.daemon.spawn_detached", spawn)
    try:
        said = spoken(home, "up --detach")
    finally:
        later.kill()
        later.wait()
        taken[0].release()
    text = f"{home.farm_socket} is held by process {os.getpid()}. It is up already; look with: grange status"
    assert said == (3, "", f"grange: {text}\n")


def test_a_controller_that_ends_at_once(home: Home) -> None:
    Path(home.farm_socket).write_text("somebody's data")
    code, stdout, stderr = spoken(home, "up --detach")
    Path(home.farm_socket).unlink()
    lines = "".join(f"\n  {line}" for line in Path(home.farm_log).read_text().splitlines()[-5:])
    assert lines.endswith(
        f"grange: address: {home.farm_socket} cannot be made a socket. Look what is there, and whose directory it is"
    )
    assert (code, stdout) == (1, "")
    assert stderr == f"grange: the farm controller ended at once{lines}. Its log: {home.farm_log}\n"


def test_chaos_in_a_run_that_is_paused_or_for_production(running) -> None:
    running.farm.state = State.PAUSED
    text = "the run is paused, and chaos needs one that takes data. First: grange resume"
    Path(running.home.database).touch()
    assert spoken(running.home, "chaos") == (3, "", f"grange: {text}\n")
    running.farm.state = State.TAKING
    running.farm.runs.append(runs_pb2.Run(number=7, type="production"))
    running.farm.run_number = 7
    text = "run 7 is a production run. To break things during it all the same: --yes"
    assert spoken(running.home, "chaos") == (3, "", f"grange: {text}\n")


def test_chaos_whose_farm_is_not_well_when_it_begins_hits_and_starts_nothing(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("grange.harness.chaos.spawn_detached", lambda *given: started.append(given))
    running.farm.state = State.CONFIGURED  # it was well when the command looked
    with pytest.raises(Refused) as caught:
        asyncio.run(Chaos(running.home, 7, lambda _report: None).run(1.0, stop=False))
    assert str(caught.value) == "the farm does not take data, or is not well. Look: grange status"
    assert started == []


class Idle:
    """A farm whose run reads nothing."""

    def __init__(self, run_number: int) -> None:
        self._member = SimpleNamespace(path="", run_number=run_number, status="no data source")

    def status(self, *_arguments: object, **_options: object) -> Any:
        return SimpleNamespace(member=self._member, members=(self._member,), counters={})


def test_a_demonstration_whose_run_ends_or_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TAKING_LIMIT_S", -1.0)
    said = []
    for run_number in (0, 3):
        farm: Any = Idle(run_number)
        with pytest.raises(GrangeError) as caught:
            demo._take_data(farm, 100, 3, quiet=True)
        said.append(str(caught.value))
    assert said == [
        "run 3 ended before its data were read: no data source. "
        "To look into it: grange demo --keep, then grange status",
        "after -1 s only {} of 100 crystal events were read. To look into it: grange demo --keep, then grange status",
    ]
