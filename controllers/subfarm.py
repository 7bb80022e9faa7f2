"""The sub-farm controller: `python -P -m grange.controllers.subfarm --home HOME --name sf01`.

It is launched by the farm controller at setup and remembers nothing but a cache: what to reach comes from the farm,
what is there from its agents. Killed and started again, it asks both, and no process notices.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # until all is loaded (`settle_memory`): there is nothing to be collected, and looking takes a tenth

import uvloop

from grange.core.controller import Controller, new_memory
from grange.core.effects import (
    Accept,
    AllotRunNumber,
    Answer,
    Launch,
    Persist,
    Refuse,
)
from grange.core.errors import AddressInUse, GrangeError, Refused
from grange.core.events import DocumentGiven, LaunchFailed, ProgramKilled
from grange.core.home import Home
from grange.core.names import Kind
from grange.core.node import NodeSettings
from grange.core.plan import FarmSpec
from grange.launch.local import LocalLauncher
from grange.proto import control_pb2, tree_pb2
from grange.proto.gate import Gate
from grange.proto.server import serve
from grange.proto.sockets import SocketLock, socket_path

from .authority import Identity, identity
from .children import Children
from .control_service import ControlService
from .documents import Documents
from .event_log import EventLog
from .hanging import end_keeper_if_it_hangs
from .launching import launched
from .parent import ParentLink
from .program import (
    EXIT_FENCED,
    EXIT_TAKEN,
    allow_many_files,
    boot_id,
    end_within,
    log_to_stderr,
    settle_memory,
    version,
)
from .runtime import Runtime
from .trail import Trail

log = logging.getLogger(__name__)

CLEAN_UP_LIMIT_S = 8.0
RELEASED = "released"  # a mark for whoever waits for the lock: what is set up again begins with a launch of its own

LOCK_WAIT_S = 3.0  # for a predecessor that was released, or told to end, to be gone
LOCK_LOOK_S = 0.05


class SubFarm:
    """The program: ports of its runtime, authority of its Control."""

    def __init__(self, home: Home, name: str) -> None:
        self._home, self._name = home, name
        directory = Path(home.sub_farm_directory(name))
        self._documents = Documents(directory / "documents")
        self._stop = asyncio.Event()
        self.exit_code = 0
        self._launcher = LocalLauncher(self._ended)
        trail = Trail()
        self._gate = Gate(refused=trail.not_let_in)
        self.children = Children(lambda: self.runtime, self._welcome, lambda link, revision: None, self._fenced)
        controller = Controller(new_memory(name, name, Kind.SUB_FARM, root=False))
        self._event_log = EventLog(directory / "events")
        self._event_log.open_segment(controller.memory)
        self.runtime = Runtime(controller, self.children, self, self._event_log)
        self.control = ControlService(lambda: self.runtime, self.children, self, self._identity, home, trail)
        self.parent = ParentLink(
            self.runtime,
            home.farm_address,
            home.sub_farm_address(name),
            version(),
            boot_id(),
            self._documents,
            self._released,
        )
        self.runtime.after_event = self.parent.changed

    async def run(self, lock: SocketLock) -> int:
        """Serves until it is released or told to end; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if (known := self._documents.current()) is not None:
            self.runtime.post(DocumentGiven(*known))
        address = self._home.sub_farm_address(self._name)
        server = await serve(address, control=self.control, tree=self.children, gate=self._gate, lock=lock)
        log.info("sub-farm %s serves at %s", self._name, server.address)
        self.runtime.spawn(self.children.watch_silence())
        self.runtime.spawn(self.parent.run())
        settle_memory()
        await self._stop.wait()
        end_within(CLEAN_UP_LIMIT_S, lambda: self.exit_code)
        await self.control.close()
        await server.stop(0.5)
        await self._launcher.close()
        await self.runtime.close()  # and with it the link to the farm, last: it says that nothing is left here
        return self.exit_code

    def _identity(self) -> Identity:
        return identity(self.parent.farm, version())

    def _welcome(self, link: str, hello: tree_pb2.Hello) -> tree_pb2.Welcome:
        return tree_pb2.Welcome(fence=self.runtime.controller.memory.fence, farm=self.parent.farm)

    def _released(self) -> None:
        """Nothing of the sub-farm is alive: what killed processes left in the exchange directory goes with it."""
        for left in Path(self._home.exchange(self._name)).glob("*"):
            if left.is_socket():
                left.unlink(missing_ok=True)
        (Path(self._home.sub_farm_directory(self._name)) / RELEASED).touch()
        self._stop.set()

    def _fenced(self, reason: str) -> None:
        log.error("this controller was replaced and ends itself: %s", reason)
        self.exit_code = EXIT_FENCED
        self._stop.set()

    # ---- ports ------------------------------------------------------------------------------------------------------

    def launch(self, effect: Launch) -> None:
        failed = partial(self._launch_failed, effect.link)
        self.runtime.spawn(launched(self._launch(effect.link), failed))

    async def _launch(self, node: str) -> None:
        settings = NodeSettings(
            path=f"{self._name}/{node}",
            farm=self.parent.farm,
            parent=self._home.sub_farm_address(self._name),
            home=self._home.root,
            python=sys.executable,
            exchange_directory=self._home.exchange(self._name),
            data_directory=self._home.data,
            cache_directory=self._home.cache,
        )
        for directory in (settings.exchange_directory, settings.data_directory, settings.cache_directory):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        directory = self._home.node_directory(self._name, node)
        if killed := await end_keeper_if_it_hangs(directory):
            self.runtime.post(ProgramKilled(node, killed))
        await self._launcher.launch_keeper(settings.path, directory, settings)

    def _launch_failed(self, node: str, reason: str) -> None:
        self.runtime.post(LaunchFailed(node, reason))

    def _ended(self, node_path: str, reason: str) -> None:
        self.children.reaped(node_path.rsplit("/", 1)[-1], reason)

    def persist(self, effect: Persist) -> None:
        raise AssertionError("only the farm controller keeps records")

    def allot_run_number(self, effect: AllotRunNumber) -> None:
        raise AssertionError("only the farm controller allots run numbers")

    def answer(self, effect: Accept | Refuse | Answer) -> None:
        self.control.answer(effect)

    # ---- authority --------------------------------------------------------------------------------------------------

    async def try_again(self, *, starts_run: bool) -> None:
        """There are no records here."""

    def refusal(self, ends: bool) -> Refused | None:
        return Refused(
            f"sub-farm {self._name} takes its commands through its farm controller at {self._home.farm_address}",
            what_to_try=f"Command the farm with the path {self._name}",
        )

    def selected(self) -> FarmSpec | None:
        return None

    def access_trouble(self) -> str:
        return ""

    def recorded(self, command_id: str, digest: str) -> control_pb2.Outcome | None:
        return None

    def go_down(self) -> None:
        raise Refused(f"sub-farm {self._name} is ended by its farm controller", what_to_try="Use: grange go absent")


async def _take_lock(path: str) -> SocketLock:
    """The right to serve at `path`; a predecessor that is just ending is waited for. Raises `AddressInUse`."""
    deadline_s = asyncio.get_running_loop().time() + LOCK_WAIT_S
    while True:
        try:
            return SocketLock(path)
        except AddressInUse:  # a flock has no event to wait for
            if asyncio.get_running_loop().time() > deadline_s:
                raise
        await asyncio.sleep(LOCK_LOOK_S)


async def run(home: Home, name: str) -> int:
    """Runs the sub-farm controller until it is released; returns the exit code."""
    os.makedirs(home.sub_farm_directory(name), mode=0o700, exist_ok=True)
    released = Path(home.sub_farm_directory(name)) / RELEASED
    started_s = time.time()
    try:
        lock = await _take_lock(socket_path(home.sub_farm_address(name)))
        if released.exists() and released.stat().st_mtime >= started_s:
            # This one was launched because the former was slow, and the former has been released meanwhile.
            log.info("the one before was released while this one waited for it: nothing is left to do")
            lock.release()
            return EXIT_TAKEN
        released.unlink(missing_ok=True)
        return await SubFarm(home, name).run(lock)
    except AddressInUse as error:
        log.info("%s", error)
        return EXIT_TAKEN
    except GrangeError as error:
        log.error("%s", error)
        return 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="grange.controllers.subfarm", description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    log_to_stderr(Home(arguments.home).sub_farm_log(arguments.name))
    allow_many_files()
    sys.exit(uvloop.run(run(Home(arguments.home), arguments.name)))


if __name__ == "__main__":
    main()
