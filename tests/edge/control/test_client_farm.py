"""The scripting client: typed answers, commands and their outcomes, errors as the controller raised them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf, nan
from pathlib import Path

import pytest

from grange.client import AsyncFarm, CommandFailed, Farm, OutcomeKind, Progress
from grange.client.home import resolve_home
from grange.client.person import user_name
from grange.core.configuration_text import parse
from grange.core.errors import (
    DeadlinePassed,
    InvalidInput,
    Refused,
    SameIdOtherContent,
    Unavailable,
    UnknownCommand,
    UnknownMember,
    UnknownRun,
)
from grange.core.expansion import expand_farm
from grange.core.home import Home
from grange.core.names import Command, Health, Kind, Membership, State
from grange.proto import runs_pb2

CONFIGURATION = """{"farm": {"name": "demo"}, "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
 "roles": {"psa": {"command": ["sleep", "60"], "ready": "settle"}}}"""


@pytest.fixture
async def farm(running) -> AsyncIterator[AsyncFarm]:
    async with AsyncFarm(running.home.root, label="ann") as client:
        yield client


async def test_status_tells_the_whole_tree_with_parents_before_children(farm: AsyncFarm) -> None:
    status = await farm.status()
    assert (status.farm, status.selected_revision, status.possible) == ("demo", "f" * 64, ("setup", "shutdown"))
    assert status.member is status.members[0]
    worst = status.members[-1]
    assert (worst.path, worst.kind, worst.role, worst.pid) == ("sf02/n1/psa-10", Kind.PROCESS, "psa", 4711)
    assert (worst.state, worst.health, worst.membership) == (State.ABSENT, Health.DEGRADED, Membership.IN)
    assert (worst.status, worst.busy) == ("silent for 6 s", None)
    assert [cause.example for cause in status.causes] == ["sf02/n1/psa-10"]


async def test_status_goes_as_deep_as_it_is_asked_to(farm: AsyncFarm) -> None:
    assert [member.path for member in (await farm.status("sf01", 1)).members] == ["sf01", "sf01/n1"]


async def test_a_step_returns_its_outcome_and_tells_progress_on_the_way(farm: AsyncFarm) -> None:
    heard: list[Progress] = []
    outcome = await farm.execute("setup", on_progress=heard.append)
    assert (outcome.kind, outcome.state) == (OutcomeKind.DONE, State.INITIAL)
    assert [(step.step, step.duration_s) for step in outcome.steps] == [("setup", 0.125)]
    accepted, *rest = heard
    assert (accepted.steps, accepted.attached, accepted.command_id) == (("setup",), False, outcome.command_id)
    assert [progress.state for progress in rest] == [State.SETTING_UP, State.INITIAL]
    assert [(progress.busy.done, progress.busy.slowest) for progress in rest if progress.busy] == [
        (1, "sf02/n1/psa-10"),
        (4, ""),
    ]


async def test_go_takes_every_step_that_is_needed(farm: AsyncFarm) -> None:
    outcome = await farm.go("running")
    assert [step.step for step in outcome.steps] == ["setup", "boot", "load", "configure", "start"]
    assert (outcome.state, outcome.run_number) == (State.TAKING, 7)


async def test_the_controller_is_told_who_commands(running, farm: AsyncFarm) -> None:
    await farm.execute("setup")
    assert running.farm.persons == [user_name()]


async def test_a_command_that_fails_raises_with_its_outcome_unless_told_otherwise(running, farm: AsyncFarm) -> None:
    running.farm.fails_at = Command.SETUP
    with pytest.raises(CommandFailed, match="psa-2 on n1 exited with code 2") as caught:
        await farm.execute("setup")
    assert (caught.value.outcome.kind, caught.value.outcome.state) == (OutcomeKind.FAILED, State.ABSENT)
    assert (await farm.execute("setup", check=False)).kind is OutcomeKind.FAILED


async def test_a_step_that_is_not_possible_is_refused_with_what_is(farm: AsyncFarm) -> None:
    with pytest.raises(Refused, match="Possible now: setup") as caught:
        await farm.execute("stop")
    assert caught.value.possible == ("setup", "shutdown")


async def test_a_word_that_is_no_command_is_an_error_before_anything_is_sent(farm: AsyncFarm) -> None:
    with pytest.raises(ValueError, match="'jump' is not a valid Command"):
        await farm.execute("jump")


async def test_an_unknown_member_comes_back_with_the_nearest_names(farm: AsyncFarm) -> None:
    with pytest.raises(UnknownMember) as caught:
        await farm.status("sf01/n1/pas-1")
    assert (caught.value.name, caught.value.nearest[0]) == ("sf01/n1/pas-1", "sf01/n1/psa-1")


async def test_the_same_id_gives_the_same_outcome_and_is_carried_out_once(running, farm: AsyncFarm) -> None:
    heard: list[Progress] = []
    first = await farm.execute("setup", command_id="c-1")
    assert await farm.execute("setup", command_id="c-1", on_progress=heard.append) == first
    assert heard[0].attached
    assert list(running.farm.commands) == ["c-1"]
    with pytest.raises(SameIdOtherContent):
        await farm.execute("boot", command_id="c-1")


async def test_a_client_that_goes_away_does_not_cancel_its_command(running, farm: AsyncFarm) -> None:
    running.farm.stuck_at = Command.SETUP
    work, accepted = await under_way(farm, "c-1")
    work.cancel()
    await asyncio.wait([work])
    assert accepted.command_id == "c-1"
    assert (await farm.status(depth=0)).member.state is State.SETTING_UP
    assert await farm.cancel() == ("c-1",)
    assert (await farm.execute("setup", command_id="c-1", check=False)).kind is OutcomeKind.CANCELLED


async def under_way(farm: AsyncFarm, command_id: str) -> tuple["asyncio.Task[object]", Progress]:
    """A setup that has been accepted, as a task that waits for its outcome."""
    accepted: asyncio.Future[Progress] = asyncio.get_running_loop().create_future()

    def tell(progress: Progress) -> None:
        if not accepted.done():
            accepted.set_result(progress)

    work = asyncio.create_task(farm.execute("setup", command_id=command_id, on_progress=tell, check=False))
    return work, await accepted


async def test_a_list_without_a_name_is_refused_instead_of_being_the_whole_farm(running, farm: AsyncFarm) -> None:
    for members, what in (([], "an empty list"), ([""], "an empty name"), (["sf01", " "], "an empty name")):
        with pytest.raises(InvalidInput, match=what):
            await farm.shutdown(members)
    assert running.farm.commands == {}


async def test_a_number_of_events_below_nothing_is_refused_before_anything_is_sent(running, farm: AsyncFarm) -> None:
    with pytest.raises(InvalidInput, match=r"events: -1 is not a number of events, 1 or more"):
        await farm.start(run_events=-1)
    assert running.farm.commands == {}


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda farm: farm.run(10**30), f"number: {10**30} is less or more than can be asked for"),
        (lambda farm: farm.runs(-1), "most: -1 is less or more than can be asked for"),
        (lambda farm: farm.status(depth=-1), "depth: -1 is less or more than can be asked for"),
        (lambda farm: farm.status("sf\udcff"), r"path: 'sf\udcff' is not UTF-8 text"),
        (lambda farm: farm.go("initial", comment="\udcff"), r"comment: '\udcff' is not UTF-8 text"),
        (lambda farm: farm.config_use("\udcff"), r"revision: '\udcff' is not UTF-8 text"),
        (lambda farm: farm.audit(person="\udcff"), r"person: '\udcff' is not UTF-8 text"),
        (lambda farm: farm.start(run_events=10**30), f"run_events: {10**30} is less or more than can be asked for"),
        (lambda farm: farm.shutdown(timeout_s=inf), "timeout_s: inf s is not between nothing and a year"),
        (lambda farm: farm.shutdown(timeout_s=nan), "timeout_s: nan s is not between nothing and a year"),
        (lambda farm: farm.shutdown(timeout_s=-1), "timeout_s: -1 s is not between nothing and a year"),
    ],
)
async def test_what_no_request_can_carry_is_invalid_input_and_nothing_is_sent(
    running, farm: AsyncFarm, call: Callable[[AsyncFarm], Awaitable[object]], problem: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await call(farm)
    assert [str(one) for one in caught.value.problems] == [problem]
    assert running.farm.commands == {}


async def test_cancelling_when_nothing_is_under_way_is_refused(farm: AsyncFarm) -> None:
    with pytest.raises(Refused, match="nothing is under way"):
        await farm.cancel()
    with pytest.raises(UnknownCommand):
        await farm.cancel("c-9")


async def test_a_second_command_is_refused_while_one_is_under_way_and_looking_is_not(running, farm: AsyncFarm) -> None:
    running.farm.stuck_at = Command.SETUP
    work, _ = await under_way(farm, "c-1")
    with pytest.raises(Refused, match="c-1 is under way"):
        await farm.execute("boot")
    busy = (await farm.status(depth=0)).member.busy
    assert busy is not None
    assert (busy.command_id, busy.doing, busy.slowest) == ("c-1", "setup", "sf02/n1/psa-10")
    await farm.cancel("c-1")
    await work


async def test_a_command_survives_a_restart_of_its_controller(running, farm: AsyncFarm) -> None:
    running.farm.stuck_at = Command.SETUP
    work, _ = await under_way(farm, "c-1")
    await asyncio.to_thread(running.restart_server)
    await farm.cancel("c-1")
    outcome = await work
    assert (outcome.command_id, outcome.kind) == ("c-1", OutcomeKind.CANCELLED)
    assert list(running.farm.commands) == ["c-1"]


async def test_a_deadline_ends_the_waiting_and_says_how_to_end_the_command(running, monkeypatch) -> None:
    monkeypatch.setattr("grange.client.asynchronous._HOP_S", 0.0)
    running.farm.stuck_at = Command.SETUP
    async with AsyncFarm(running.home.root) as farm:
        with pytest.raises(DeadlinePassed, match="grange cancel c-1"):
            await farm.execute("setup", command_id="c-1", timeout_s=0.2)
        await farm.cancel("c-1")


@pytest.fixture
def database(home: Home) -> None:
    """What makes a directory a farm's home, also while nobody serves in it."""
    Path(home.database).touch()


@pytest.mark.usefixtures("database")
async def test_nobody_at_the_address_is_said_with_the_remedy(home: Home) -> None:
    async with AsyncFarm(home.root) as farm:
        with pytest.raises(Unavailable, match=rf"no controller answers at unix:{home.root}/farm.sock.*grange up"):
            await farm.status()


async def test_a_home_without_a_farm_is_said_to_be_one(home: Home) -> None:
    for root, why in ((home.root, ""), (f"{home.root}/nowhere", ": there is no such directory")):
        async with AsyncFarm(root) as farm:
            with pytest.raises(InvalidInput, match=rf"home: there is no farm in {root}{why}\. Name its directory"):
                await farm.status()


async def test_watch_begins_with_the_whole_tree_and_goes_on_with_changes(farm: AsyncFarm) -> None:
    async with contextlib.aclosing(farm.watch()) as views:
        first = await anext(views)
        assert len(first.members) == len(first.changed) == 9
        await farm.execute("setup")
        while (view := await anext(views)).members[""].state is not State.INITIAL:
            pass
        assert "sf01" in view.changed
        assert "sf01/n1" not in view.changed
        assert len(view.members) == 9


async def test_a_watch_that_is_left_is_ended_at_the_controller_too(running, farm: AsyncFarm) -> None:
    async with contextlib.aclosing(farm.watch()) as views:
        await anext(views)
        assert running.farm.watched == 1
    running.stop_server()
    assert running.farm.watched == 0


async def test_output_comes_as_it_was_written(farm: AsyncFarm) -> None:
    chunks = [chunk async for chunk in farm.output("sf01/n1/psa-1", 2)]
    assert b"".join(chunks) == b"second line\nlast line\n"


async def test_a_page_has_its_member_and_as_many_lines_as_asked_for(farm: AsyncFarm) -> None:
    page = await farm.show("sf01/n1/psa-1", lines=2)
    assert (page.member.path, page.log.lines) == ("sf01/n1/psa-1", ("second line", "last line"))
    with pytest.raises(UnknownMember):
        await farm.show("sf01/n1/psa-9")


async def test_a_story_tells_when_who_and_what(farm: AsyncFarm) -> None:
    line = (await farm.story("sf01")).story[0]
    assert (line.at_unix_s, line.member, line.text) == (1.7e9, "sf01", "boot asked by ann")


async def test_a_configuration_is_imported_listed_exported_and_selected(farm: AsyncFarm, tmp_path: Path) -> None:
    file = tmp_path / "farm.json"
    file.write_text(CONFIGURATION)
    imported = await farm.config_import(file, message="first")
    assert (imported.revision.author, imported.revision.message, imported.unchanged) == (user_name(), "first", False)
    texts = ((await farm.config_export()).text, CONFIGURATION)
    assert len({repr(expand_farm(parse(text, "json"), "")) for text in texts}) == 1
    assert await farm.config_list() == (imported.revision,)
    assert await farm.config_use(imported.revision.hash) == imported.revision


async def test_every_problem_of_a_configuration_comes_back_with_its_place(farm: AsyncFarm, tmp_path: Path) -> None:
    file = tmp_path / "farm.json"
    file.write_text(CONFIGURATION.replace('"nodes"', '"nodse"').replace('"farm"', '"fram"'))
    with pytest.raises(InvalidInput) as caught:
        await farm.config_import(file)
    problems = {problem.place: problem.hint for problem in caught.value.problems}
    assert problems["fram"] == 'did you mean "farm"?'
    assert 'did you mean "nodes"?' in problems["sub_farms.sf01.nodse"]


async def test_thousands_of_problems_do_not_break_the_answer(farm: AsyncFarm) -> None:
    roles = ",".join(f'"role{number}x": {{"command": 1}}' for number in range(3000))
    with pytest.raises(InvalidInput, match=r"the last \d+ not shown") as caught:
        await farm.import_configuration(f'{{"farm": {{"name": "demo"}}, "roles": {{{roles}}}}}', "json")
    assert len(caught.value.problems) > 100


async def test_runs_come_back_whole(running, farm: AsyncFarm) -> None:
    run = runs_pb2.Run(number=7, type="test", revision="e" * 64, person="ann", start_asked_unix_s=1.7e9)
    run.counters.add(sub_farm="sf01").roles.add(role="psa").counters["analysed"] = 12
    run.files.add(member="sf01/n1/psa-1", path="data/run_7.adf", size_bytes=5, sha256="ab")
    running.farm.runs.append(run)
    record = await farm.run(7)
    assert (record.number, record.counters) == (7, {"sf01": {"psa": {"analysed": 12}}})
    assert [(file.path, file.size_bytes) for file in record.files] == [("data/run_7.adf", 5)]
    assert await farm.runs() == (record,)
    with pytest.raises(UnknownRun, match="Nearest: 7"):
        await farm.run(8)


def test_the_synchronous_client_does_the_same_without_a_loop_of_the_callers(running) -> None:
    heard: list[State] = []
    with Farm(running.home.root) as farm:
        assert farm.setup().state is State.INITIAL
        assert farm.go("running", on_progress=lambda progress: heard.append(progress.state)).run_number == 7
        assert farm.status().member.state is State.TAKING
        assert b"".join(farm.output("sf01/n1/psa-1", 1)) == b"last line\n"
        for view in farm.watch(depth=0):
            assert view.members[""].state is State.TAKING
            break
        with pytest.raises(Refused):
            farm.boot()
        assert farm.stop().state is State.CONFIGURED
    assert State.TAKING in heard


def test_one_synchronous_client_serves_several_threads(running) -> None:
    found: list[str] = []
    with Farm(running.home.root) as farm:
        threads = [threading.Thread(target=lambda: found.append(farm.status().farm)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["demo"] * 8


async def test_a_synchronous_client_is_used_and_closed_beside_a_running_loop_as_in_a_notebook(running) -> None:
    with Farm(running.home.root) as farm:
        assert farm.status().farm == "demo"
        views = farm.watch()
        assert len(next(views).members) == 9  # and is left half-read


def test_a_closed_client_says_so_and_closing_twice_does_nothing(running) -> None:
    farm = Farm(running.home.root)
    farm.close()
    farm.close()
    with pytest.raises(RuntimeError, match="closed"):
        farm.status()


@pytest.mark.parametrize(
    ("given", "environment", "root"),
    [
        ("/f/one", {"GRANGE_HOME": "/f/two", "XDG_STATE_HOME": "/s"}, "/f/one"),
        (None, {"GRANGE_HOME": "/f/two", "XDG_STATE_HOME": "/s"}, "/f/two"),
        (None, {"XDG_STATE_HOME": "/s"}, "/s/grange/default"),
        (None, {"XDG_STATE_HOME": "relative"}, str(Path.home() / ".local/state/grange/default")),
        (None, {}, str(Path.home() / ".local/state/grange/default")),
        ("~/farm/../other", {}, str(Path.home() / "other")),
    ],
)
def test_the_home_is_what_is_given_then_the_environments_then_the_users_state_directory(
    given: str | None, environment: dict[str, str], root: str
) -> None:
    assert resolve_home(given, environment) == Home(root)


def test_a_home_whose_socket_path_would_be_too_long_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidInput, match=r"has 112 bytes, a Unix socket's has at most 107\. Choose a shorter"):
        AsyncFarm("/" + "h" * 101)


def test_a_label_that_is_too_long_is_refused_before_anybody_is_called(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        Farm(tmp_path, label="l" * 101)
    assert str(caught.value) == "label: 101 characters; a caller's own name has at most 100"
