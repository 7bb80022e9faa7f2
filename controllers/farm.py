"""The farm controller: one for each home, started by `grange up`.

It holds the home's lock and the claim in the database, takes back what the database remembers and what its children
report, and drives the sub-farms. When it ends, its children run on; the next one finds them.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from grange.core import view
from grange.core.controller import Controller, new_memory
from grange.core.effects import (
    Accept,
    AllotRunNumber,
    Answer,
    Launch,
    Persist,
    Refuse,
)
from grange.core.errors import GrangeError, InvalidInput, Refused, SameIdOtherContent
from grange.core.events import (
    AllotFailed,
    ConfigurationSelected,
    DatabaseReported,
    LaunchFailed,
    ProgramKilled,
    Restored,
    RunNumberAllotted,
)
from grange.core.goals import DOWN
from grange.core.home import Home
from grange.core.names import Kind, State
from grange.core.plan import FarmSpec
from grange.core.problems import Problem
from grange.core.reports import NO_TERMS
from grange.launch.local import LocalLauncher
from grange.proto import control_pb2, tree_pb2
from grange.proto.gate import Gate
from grange.proto.server import serve
from grange.proto.sockets import SocketLock, socket_path
from grange.schema.errors import SchemaError

from .access_file import AccessFile, open_home
from .authority import Identity, identity
from .children import Children
from .commanding import OUTCOMES, scope_of
from .control_service import ControlService
from .documents import document_of
from .event_log import EventLog
from .hanging import end_if_it_hangs
from .launching import launched
from .leasing import demand_lease
from .opening import open_store
from .program import EXIT_FENCED, allow_many_files, end_within, log_to_stderr, settle_memory, version
from .registry_service import ConfigurationService, RunsService
from .runtime import Runtime
from .security import SecurityService
from .store import Store, commands_under_way
from .trail import Trail

log = logging.getLogger(__name__)

CLEAN_UP_LIMIT_S = 20.0  # the database gets its time to take what waits


class Farm:
    """The program: ports of its runtime, authority of its Control. The caller holds the home's lock."""

    def __init__(self, home: Home, store: Store, access: AccessFile) -> None:
        self._home, self._store, self._access = home, store, access
        self._trail = Trail(store.note)
        self._gate = Gate(access.rules, self._trail.not_let_in, group=access.rules().group)
        self._stop = asyncio.Event()
        self.exit_code = 0
        self._selected = store.selected()
        self._launcher = LocalLauncher(self._ended)
        self._incarnations: dict[str, int] = {}
        self.children = Children(lambda: self.runtime, self._welcome, self._document, self._fenced)
        memory = new_memory("", self._farm_name(), Kind.FARM, root=True, fence=(store.incarnation,))
        self._event_log = EventLog(Path(home.root) / "events")
        self._event_log.open_segment(memory)
        self.runtime = Runtime(Controller(memory), self.children, self, self._event_log)
        self.control = ControlService(lambda: self.runtime, self.children, self, self._identity, home, self._trail)

    async def run(self, lock: SocketLock, ready: Callable[[], None], ended: Callable[[str], None]) -> int:
        """Serves until it is told to end; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._take_back()
        server = await serve(
            self._home.farm_address,
            control=self.control,
            tree=self.children,
            configuration=ConfigurationService(
                self._store, self._select, lambda person: demand_lease(self.runtime, person), self._trail
            ),
            runs=RunsService(self._store),
            security=SecurityService(lambda: self.runtime, self._store, self._gate, self._trail, self.access_trouble),
            gate=self._gate,
            lock=lock,
        )
        log.info("farm %s serves at %s, incarnation %d", self._farm_name(), server.address, self._store.incarnation)
        self.runtime.spawn(self.children.watch_silence())
        self.runtime.spawn(self._store.keep_claim(self._fenced))
        self.runtime.spawn(self._store.watch(self._database))
        settle_memory()
        ready()
        await self._stop.wait()
        left = self._left()  # before the links are ended: afterwards nobody is heard any more
        end_within(CLEAN_UP_LIMIT_S, lambda: self.exit_code)
        await self.runtime.close()
        await self.control.close()
        await server.stop(0.5)
        await self._launcher.close()
        await asyncio.to_thread(self._store.close)
        log.info("farm controller ended; %s", left)
        ended(left)
        return self.exit_code

    def _left(self) -> str:
        """What becomes of the farm without its controller, and how to come back to it or end it."""
        row = view.own_row(self.runtime.controller.memory, self.runtime.now())
        alive = max(row.unaccounted, sum(count.processes for count in row.counts if count.state not in DOWN))
        if row.state is State.ABSENT and not alive:
            return "nothing of the farm is left. To begin anew: grange up"
        where = f"{row.state}, run {row.run_number}" if row.run_number else str(row.state)
        return (
            f"what it controls runs on ({where}; processes: {alive}). To come back: grange up. "
            "To end everything: grange up --detach, then grange down --all"
        )

    def _database(self, trouble: str) -> None:
        if trouble != self.runtime.controller.memory.database_trouble:
            self.runtime.post(DatabaseReported(trouble))

    def _take_back(self) -> None:
        if self._selected is not None:
            self._select(self._selected)
        if (lease := self._store.lease()) is not None:
            self.runtime.post(lease)
        remembered = self._store.remembered()
        if remembered is None:
            self._store.settle_the_rest((), 0)
            return
        under_way = commands_under_way(remembered.goal, remembered.under_way)
        run = remembered.run
        self._store.settle_the_rest(under_way, run.number if run is not None else 0)
        self.runtime.post(
            Restored(
                goal=remembered.goal,
                spec=remembered.spec,
                under_way=remembered.under_way,
                remaining_s=remembered.remaining_s,
                run_number=run.number if run is not None else 0,
                running=run is not None and run.running,
                stop_asked=run is not None and run.stop_asked,
                end_reason=run.end_reason if run is not None else "",
                degraded=run is not None and run.degraded,
                degraded_reason=run.degraded_reason if run is not None else "",
                running_for_s=remembered.running_for_s,
                last_seen_unix_s=run.last_seen_unix_s if run is not None else 0.0,
                run_terms=run.terms if run is not None else NO_TERMS,
                terms=remembered.terms,
                outcomes=remembered.outcomes,
                ages_s=remembered.ages_s,
            )
        )
        log.info(
            "taken back: %s, run %s", remembered.goal.doing or "no goal", run.number if run is not None else "none"
        )

    # ---- what it is -------------------------------------------------------------------------------------------------

    def _farm_name(self) -> str:
        return self._selected.name if self._selected is not None else "farm"

    def _identity(self) -> Identity:
        return identity(self._farm_name(), version())

    def _select(self, selected: FarmSpec) -> None:
        self._selected = selected
        self.runtime.post(ConfigurationSelected(selected.name, selected.revision))

    def _welcome(self, link: str, hello: tree_pb2.Hello) -> tree_pb2.Welcome:
        self._incarnations[link] = self._incarnations.get(link, 0) + 1
        fence = self.runtime.controller.memory.fence
        return tree_pb2.Welcome(fence=fence, incarnation=self._incarnations[link], farm=self._farm_name())

    def _document(self, link: str, revision: str) -> tree_pb2.Document | None:
        farm = self.runtime.controller.memory.farm
        if farm is None or farm.revision != revision:
            return None
        return next((document_of(revision, spec) for spec in farm.sub_farms if spec.name == link), None)

    def _fenced(self, reason: str) -> None:
        log.error("this controller was replaced and ends itself, touching nothing: %s", reason)
        self.exit_code = EXIT_FENCED
        self._stop.set()

    # ---- ports ------------------------------------------------------------------------------------------------------

    def launch(self, effect: Launch) -> None:
        failed = partial(self._launch_failed, effect.link)
        self.runtime.spawn(launched(self._launch(effect.link), failed))

    async def _launch(self, name: str) -> None:
        arguments = ["-P", "-m", "grange.controllers.subfarm", "--home", self._home.root, "--name", name]
        killed = await end_if_it_hangs(self._home.sub_farm_socket(name), arguments, lambda: self.control.stub(name))
        if killed:
            self.runtime.post(ProgramKilled(name, killed))
        await self._launcher.launch_controller(name, arguments, self._home.sub_farm_log(name))

    def _launch_failed(self, name: str, reason: str) -> None:
        self.runtime.post(LaunchFailed(name, reason))

    def _ended(self, name: str, reason: str) -> None:
        self.children.reaped(name, reason)

    def persist(self, effect: Persist) -> None:
        self._store.persist(effect)

    def allot_run_number(self, effect: AllotRunNumber) -> None:
        self.runtime.spawn(self._allot(effect))

    async def _allot(self, effect: AllotRunNumber) -> None:
        try:
            number = await self._store.allot_run_number(effect)
        except SchemaError as error:
            self.runtime.post(AllotFailed(effect.command_id, str(error)))
        else:
            self.runtime.post(RunNumberAllotted(effect.command_id, number))

    def answer(self, effect: Accept | Refuse | Answer) -> None:
        self.control.answer(effect)

    # ---- authority --------------------------------------------------------------------------------------------------

    async def try_again(self, *, starts_run: bool) -> None:
        if self.runtime.controller.memory.database_trouble or self._store.trouble:
            await self._store.try_again(wait=starts_run)
            self._database(self._store.why_records_wait())

    def refusal(self, ends: bool) -> Refused | None:
        if ends:
            return None  # whatever the records come to, a run can be stopped and a farm be shut down
        if self._store.trouble:
            return Refused(
                f"no command can be recorded: {self._store.trouble}",
                (),
                "It is tried again every second and with each command; stop and shutdown are still possible",
            )
        if (lag := self._store.state.lag) > 10_000:
            error = self._store.state.last_error
            return Refused(
                f"{lag} records wait for the database ({error}); no commands until it is back",
                what_to_try="Bring it back; stop and shutdown are still possible",
            )
        return None

    def selected(self) -> FarmSpec | None:
        return self._selected

    def access_trouble(self) -> str:
        return self._access.trouble()

    def recorded(self, command_id: str, digest: str) -> control_pb2.Outcome | None:
        if command_id in self.runtime.controller.memory.outcomes:
            return None
        row = self._store.command(command_id)
        if row is None or row.outcome is None:
            return None
        if row.digest and row.digest != digest:
            raise SameIdOtherContent(command_id)
        ended_ns = row.ended_at_ns or row.accepted_at_ns
        return control_pb2.Outcome(
            command_id=row.id,
            path=scope_of(row.path.split()),
            kind=OUTCOMES.get(row.outcome, control_pb2.OUTCOME_INTERRUPTED),
            reason=row.reason,
            duration_s=(ended_ns - row.accepted_at_ns) / 1e9,
        )

    def go_down(self) -> None:
        log.info("told to end")
        asyncio.get_running_loop().call_soon(self._stop.set)


async def _run(home: Home, ready: Callable[[], None], ended: Callable[[str], None]) -> int:
    try:
        os.makedirs(home.root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            [Problem("home", f"{home.root} cannot be made: {error.strerror}")], "Choose a --home of your own"
        ) from None
    lock = SocketLock(
        socket_path(home.farm_address),
        what_to_try="A farm controller holds this farm; look with: grange status, or end it with: grange down",
    )
    try:
        access = AccessFile(home)
        open_home(home, access.rules().group)
        store = await open_store(home)
    except SchemaError as error:
        lock.release()
        raise GrangeError(str(error), error.what_to_try) from error
    except GrangeError:
        lock.release()
        raise
    if store is None:
        lock.release()
        ended("it has not had its database yet, and what it controls runs on. To come back: grange up")
        return 0
    return await Farm(home, store, access).run(lock, ready, ended)


def run(home: Home, ready: Callable[[], None], ended: Callable[[str], None]) -> int:
    """Runs the farm controller of `home` in the foreground; returns the exit code. Raises `GrangeError`.

    `ready` is called once it serves, `ended` with what becomes of the farm when it has ended. SIGINT and SIGTERM end
    it; its children run on.
    """
    log_to_stderr(home.farm_log)
    allow_many_files()
    return uvloop.run(_run(home, ready, ended))
