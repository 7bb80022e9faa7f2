"""A small farm controller for the tests of server shell, client and command line: it obeys, without any process.

It keeps the promises of proto/control.proto by the real table of states: commands run as tasks of its own, one at a
time, known by their ids; wrong ones are refused with what is possible. A test makes it slow (`stuck_at`) or failing
(`fails_at`). It runs in a thread with a loop of its own, as a controller runs in a program of its own.
"""

import asyncio
import dataclasses
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from grange.controllers import configuring
from grange.controllers.database_errors import translated
from grange.core.errors import (
    Refused,
    SameIdOtherContent,
    UnknownCommand,
    UnknownMember,
    UnknownRun,
)
from grange.core.home import Home
from grange.core.names import Command, Health, Kind, State
from grange.core.paths import nearest
from grange.core.state import ROWS, STEADY, Refusal, move
from grange.proto import common_pb2, configuration_pb2, control_pb2, runs_pb2
from grange.proto.gate import Caller
from grange.proto.server import Server, serve
from grange.proto.words import command_from_wire, member_command_from_wire, to_wire
from grange.schema.database import Database, open_database, sqlite_url

T = TypeVar("T")
LIMIT_S = 30.0
"""How long a test waits for what must come; never reached when all is well."""

SUB_FARMS = ("sf01", "sf02")
PROCESSES = ("sf01/n1/psa-1", "sf01/n1/psa-2", "sf02/n1/psa-1", "sf02/n1/psa-10")
MEMBERS = ("", *SUB_FARMS, "sf01/n1", "sf02/n1", *PROCESSES)
UPWARDS = (Command.SETUP, Command.BOOT, Command.LOAD, Command.CONFIGURE, Command.START)
OUTPUT = b"first line\nsecond line\nlast line\n"


@dataclasses.dataclass
class Carried:
    """A command that the fake has taken."""

    request: control_pb2.ExecuteRequest
    steps: list[Command]
    member_command: str = ""
    updates: list[control_pb2.ExecuteUpdate] = dataclasses.field(default_factory=list)
    changed: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        return bool(self.updates) and self.updates[-1].WhichOneof("body") == "outcome"

    def tell(self, update: control_pb2.ExecuteUpdate) -> None:
        self.updates.append(update)
        self.changed.set()
        self.changed = asyncio.Event()


class FakeFarm:
    """Handlers of Control, Configuration and Runs. Tests read and write its attributes."""

    def __init__(self, directory: str) -> None:
        self._directory = directory  # for the database of configurations, which is made when one is imported
        self._database: Database | None = None
        self.state = State.ABSENT
        self.stuck_at: Command | None = None
        self.fails_at: Command | None = None
        self.asked = threading.Event()  # for a command
        self.tells = threading.Event()  # that it has accepted it
        self.tells.set()
        self.sentence = ""  # of the farm
        self.run_number = 0  # in the farm's row
        self.long_status = False  # of the member that is not well: longer than any terminal is wide
        self.commands: dict[str, Carried] = {}
        self.persons: list[str] = []
        self.runs: list[runs_pb2.Run] = []
        self.ended = threading.Event()
        self.watched = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- control ----------------------------------------------------------------------------------------------------

    async def execute(
        self, request: control_pb2.ExecuteRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ExecuteUpdate]:
        self.persons.append(caller.person)
        known = self.commands.get(request.command_id)
        if known is None:
            known = self._accept(request)
            await asyncio.sleep(0)  # it has begun when the caller hears of it
            attached = False
        else:
            attached = True
            if (known.request.path, known.request.step, known.request.go) != (request.path, request.step, request.go):
                raise SameIdOtherContent(request.command_id)
        self.asked.set()
        if not self.tells.is_set():
            await asyncio.to_thread(self.tells.wait, LIMIT_S)
        steps = [str(step) for step in known.steps] or [known.member_command]
        accepted = control_pb2.Accepted(command_id=request.command_id, steps=steps, attached=attached)
        yield control_pb2.ExecuteUpdate(accepted=accepted)
        told = 0
        while True:
            changed = known.changed
            for update in known.updates[told:]:
                yield update
            told = len(known.updates)
            if known.ended:
                return
            await changed.wait()

    def _accept(self, request: control_pb2.ExecuteRequest) -> Carried:
        self._member(request.path)
        under_way = next((carried for carried in self.commands.values() if not carried.ended), None)
        if under_way is not None:
            raise Refused(f"{under_way.request.command_id} is under way", ["shutdown"])
        if request.WhichOneof("what") == "member_command":
            carried = Carried(request, [], str(member_command_from_wire(request.member_command)))
        else:
            carried = Carried(request, self._steps(request))
        self.commands[request.command_id] = carried
        task = asyncio.create_task(self._carry_out(carried))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return carried

    def _steps(self, request: control_pb2.ExecuteRequest) -> list[Command]:
        if request.WhichOneof("what") == "go":
            if request.go != "running":
                raise Refused("the fake goes to running only")
            return [step for step in UPWARDS if STEADY.index(ROWS[step].to) > STEADY.index(self.state)]
        step = command_from_wire(request.step)
        assert step is not None
        found = move(self.state, step)
        if isinstance(found, Refusal):
            raise Refused(found.reason, found.possible)
        return [step]

    async def _carry_out(self, carried: Carried) -> None:
        kind, reason = control_pb2.OUTCOME_DONE, ""
        if carried.member_command:
            self._tell(carried, 1)
        for step in carried.steps:
            before, self.state = self.state, ROWS[step].via
            self._tell(carried, 1)
            if step is self.stuck_at:
                await carried.cancelled.wait()
                kind, reason = control_pb2.OUTCOME_CANCELLED, "cancelled by a test"
            elif step is self.fails_at:
                kind, reason = control_pb2.OUTCOME_FAILED, "psa-2 on n1 exited with code 2. Try: grange shutdown"
            if kind != control_pb2.OUTCOME_DONE:
                self.state = before
                break
            self.state = ROWS[step].to
            self._tell(carried, 4)
        outcome = control_pb2.Outcome(
            command_id=carried.request.command_id,
            path=carried.request.path,
            kind=kind,
            reason=reason,
            state=to_wire(self.state),
            run_number=7 if self.state is State.TAKING else 0,
            duration_s=0.25,
            notes=["sf02 took no part: it is out"] if carried.request.path == "sf02" else [],
            steps=[control_pb2.StepTime(step=str(step), duration_s=0.125) for step in carried.steps],
        )
        carried.tell(control_pb2.ExecuteUpdate(outcome=outcome))
        self.change()

    def _tell(self, carried: Carried, done: int) -> None:
        progress = control_pb2.Progress(busy=self._busy(carried, done), state=to_wire(self.state))
        progress.rows.extend(self._row(path) for path in SUB_FARMS)
        carried.tell(control_pb2.ExecuteUpdate(progress=progress))
        self.change()

    def _busy(self, carried: Carried, done: int) -> common_pb2.Busy:
        slowest = PROCESSES[-1] if done < len(PROCESSES) else ""
        doing = (carried.request.go and f"go {carried.request.go}") or carried.member_command or str(carried.steps[0])
        return common_pb2.Busy(
            command_id=carried.request.command_id,
            doing=doing,
            person="ann",
            since_unix_s=1.7e9,
            remaining_s=20,
            done=done,
            total=len(PROCESSES),
            slowest=slowest,
        )

    async def cancel(self, request: control_pb2.CancelRequest, caller: Caller) -> control_pb2.CancelResponse:
        carried = self.commands.get(request.command_id)
        if not request.command_id:
            carried = next((carried for carried in self.commands.values() if not carried.ended), None)
            if carried is None:
                raise Refused("nothing is under way", ["setup", "shutdown"])
        if carried is None:
            raise UnknownCommand(request.command_id)
        ending = [] if carried.ended else [carried.request.command_id]
        carried.cancelled.set()
        return control_pb2.CancelResponse(command_ids=ending)

    async def watch(self, request: control_pb2.WatchRequest, caller: Caller) -> AsyncIterator[control_pb2.WatchUpdate]:
        self._member(request.path)
        self.watched += 1
        rows = self._rows(request.path, request.depth)
        sequence = 1
        try:
            half = len(rows) // 2
            yield control_pb2.WatchUpdate(incarnation=1, sequence=sequence, snapshot=True, more=True, rows=rows[:half])
            yield control_pb2.WatchUpdate(incarnation=1, sequence=sequence, rows=rows[half:])
            while True:
                await self._changed.wait()
                sequence += 1
                rows = [self._row(path) for path in (request.path, *SUB_FARMS)]
                yield control_pb2.WatchUpdate(incarnation=1, sequence=sequence, rows=rows)
        finally:
            self.watched -= 1

    def change(self) -> None:
        """Tells watchers."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def inspect(self, request: control_pb2.InspectRequest, caller: Caller) -> control_pb2.InspectResponse:
        self._member(request.path)
        found = move(self.state, Command.BOOT)
        response = control_pb2.InspectResponse(
            incarnation=1,
            sequence=1,
            rows=self._rows(request.path, request.depth),
            possible=found.possible if isinstance(found, Refusal) else ["boot"],
            farm="demo",
            version="0.1.0",
            selected_revision="f" * 64,
            holder="host pid 1",
        )
        response.causes.add(reason="psa-10: hung", members=1, example=PROCESSES[-1])
        if request.story:
            response.story.add(at_unix_s=1.7e9, member="sf01", text="boot asked by ann")
        return response

    async def describe(self, request: control_pb2.DescribeRequest, caller: Caller) -> control_pb2.DescribeResponse:
        self._member(request.path)
        page = control_pb2.MemberPage(row=self._row(request.path), farm="demo", holder="host pid 1", version="0.1.0")
        page.log.lines.extend(OUTPUT.decode().splitlines()[-request.lines :])
        return control_pb2.DescribeResponse(page=page)

    async def read_output(
        self, request: control_pb2.ReadOutputRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ReadOutputUpdate]:
        self._member(request.path)
        for line in OUTPUT.splitlines(keepends=True)[-request.lines :]:
            yield control_pb2.ReadOutputUpdate(data=line)
        if request.follow:
            await asyncio.Event().wait()

    async def down(self, request: control_pb2.DownRequest, caller: Caller) -> control_pb2.DownResponse:
        self.ended.set()
        return control_pb2.DownResponse()

    def _member(self, path: str) -> None:
        if path not in MEMBERS:
            raise UnknownMember(path, nearest(path, MEMBERS))

    def _rows(self, path: str, depth: int) -> list[common_pb2.MemberRow]:
        levels = path.count("/") + 1 if path else 0
        below = [member for member in MEMBERS if member == path or member.startswith(path + "/" if path else "")]
        return [self._row(member) for member in below if (member.count("/") + 1 if member else 0) - levels <= depth]

    def _row(self, path: str) -> common_pb2.MemberRow:
        kind = (Kind.FARM, Kind.SUB_FARM, Kind.NODE, Kind.PROCESS)[path.count("/") + 1 if path else 0]
        row = common_pb2.MemberRow(
            path=path,
            kind=to_wire(kind),
            name=path.rsplit("/", 1)[-1] or "demo",
            state=to_wire(self.state),
            health=to_wire(Health.DEGRADED if path == PROCESSES[-1] else Health.OK),
            status=self._sentence(path),
            membership=common_pb2.MEMBERSHIP_IN,
            revision="" if path else "e" * 64,
            run_number=0 if path else self.run_number,
        )
        if kind is Kind.PROCESS:
            row.role, row.pid, row.instance = "psa", 4711, "i-1"
        else:
            mine = sum(process.startswith(path) for process in PROCESSES)
            row.counts.add(role="psa", state=to_wire(self.state), health=to_wire(Health.OK), processes=mine)
        carried = next((carried for carried in self.commands.values() if not carried.ended), None)
        if carried is not None and kind in (Kind.FARM, Kind.SUB_FARM):
            row.busy.CopyFrom(self._busy(carried, 1))
        return row

    def _sentence(self, path: str) -> str:
        if path == PROCESSES[-1]:
            return "silent for 6 s" + ", and" * 99 * self.long_status
        return "" if path else self.sentence

    # ---- configuration and runs -------------------------------------------------------------------------------------

    async def import_(
        self, request: configuration_pb2.ImportRequest, caller: Caller
    ) -> configuration_pb2.ImportResponse:
        return self._asked(configuring.import_, request, caller.person, time.time_ns())[0]

    async def export(
        self, request: configuration_pb2.ExportRequest, caller: Caller
    ) -> configuration_pb2.ExportResponse:
        return self._asked(configuring.export, request)

    async def list_revisions(
        self, request: configuration_pb2.ListRevisionsRequest, caller: Caller
    ) -> configuration_pb2.ListRevisionsResponse:
        return self._asked(configuring.list_revisions, request)

    async def use(self, request: configuration_pb2.UseRequest, caller: Caller) -> configuration_pb2.UseResponse:
        return self._asked(configuring.use, request, caller.person, time.time_ns())[0]

    async def diff(self, request: configuration_pb2.DiffRequest, caller: Caller) -> configuration_pb2.DiffResponse:
        return self._asked(configuring.diff, request)

    async def set_tag(
        self, request: configuration_pb2.SetTagRequest, caller: Caller
    ) -> configuration_pb2.SetTagResponse:
        return self._asked(configuring.set_tag, request, caller.person, time.time_ns())

    async def list_tags(
        self, request: configuration_pb2.ListTagsRequest, caller: Caller
    ) -> configuration_pb2.ListTagsResponse:
        return self._asked(configuring.list_tags, request)

    def _asked(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """Configurations are the real ones: what a controller does with its database."""
        if self._database is None:
            self._database = open_database(sqlite_url(Path(self._directory) / "fake.db"))
        with translated():
            return question(self._database, *arguments)

    def close(self) -> None:
        if self._database is not None:
            self._database.dispose()

    async def list_runs(self, request: runs_pb2.ListRunsRequest, caller: Caller) -> runs_pb2.ListRunsResponse:
        return runs_pb2.ListRunsResponse(runs=self.runs[::-1][: request.most])

    async def get_run(self, request: runs_pb2.GetRunRequest, caller: Caller) -> runs_pb2.GetRunResponse:
        for run in self.runs:
            if run.number == request.number:
                return runs_pb2.GetRunResponse(run=run)
        raise UnknownRun(str(request.number), [str(run.number) for run in self.runs])


class Running:
    """A fake farm that is being served, and how a test reaches into its loop."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.farm: FakeFarm
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake farm")
        self._thread.start()
        self._server: Server | None = None
        self.farm = self.call(self._make())
        self.restart_server()

    async def _make(self) -> FakeFarm:
        return FakeFarm(self.home.root)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LIMIT_S)

    def restart_server(self) -> None:
        """A controller that is killed and started again, with all that it knows."""
        self.stop_server()
        farm = self.farm
        serving = serve(self.home.farm_address, control=farm, configuration=farm, runs=farm)
        self._server = self.call(serving)

    def stop_server(self) -> None:
        if self._server is not None:
            self.call(self._server.stop(0))
            self._server = None

    def close(self) -> None:
        self.stop_server()
        self.call(self._end_tasks())
        self.farm.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _end_tasks(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with a path short enough for sockets; it has to be left without a socket or a lock."""
    directory = tempfile.mkdtemp(prefix="grange-")
    yield Home(directory)
    left = {path.name for path in Path(directory).iterdir()} & {"farm.sock", "farm.sock.lock", "farm.sock.login"}
    shutil.rmtree(directory)
    assert left == set()


@pytest.fixture
def running(home: Home) -> Iterator[Running]:
    """A farm controller that serves this home."""
    started = Running(home)
    yield started
    started.close()
