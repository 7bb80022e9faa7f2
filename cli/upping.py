"""Carries out `grange up` and `grange down`: the life of the farm controller itself."""

import asyncio
import gc
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

import typer

from grange.client import AsyncFarm, MemberStatus
from grange.client.home import resolve_home
from grange.core.errors import AddressInUse, DeadlinePassed, GrangeError, Unavailable
from grange.core.home import Home
from grange.core.names import State
from grange.proto.sockets import SocketLock, holder

from .carrying import Order, carry_out
from .shell import print_json, print_json_line, say, tell

_UP_TIMEOUT_S = 60.0  # until a new controller answers; a first one creates its database
_DOWN_TIMEOUT_S = 30.0  # until it has written what it has to write
_ASK_AGAIN_S = 0.1
_ANSWER_LIMIT_S = 3.0  # for its status, which a controller that is well tells at once
_LOG_LINES = 5  # of a controller that did not come up
_WARNING = " WARNING "  # in a line of its log


def foreground(given: Path | None, *, as_json: bool = False) -> None:
    """Runs the farm controller in this process until it ends."""
    gc.disable()  # until all is loaded (`settle_memory`): there is nothing to be collected, and looking takes a tenth
    from grange.controllers import farm  # it knows the whole of grange, which nobody else here needs
    from grange.launch.service_manager import ServiceManager

    home = resolve_home(given)
    manager = ServiceManager()

    def ready() -> None:
        manager.ready()
        if as_json:
            print_json_line(_told(home, os.getpid()))
        say(f"the farm controller of {home.root} is up; Ctrl-C ends it, and what it controls runs on")

    def ended(left: str) -> None:
        say(f"the farm controller has ended; {left}")

    try:
        code = farm.run(home, ready, ended)
    except AddressInUse as held:
        raise asyncio.run(_held(home, held)) from None
    if code:
        raise typer.Exit(code)


def detached(given: Path | None, *, quiet: bool = False, as_json: bool = False) -> None:
    """Starts the farm controller in the background, and returns when it answers or has ended."""
    from grange.launch.daemon import spawn_detached  # only launch starts programs

    home = resolve_home(given)
    _demand_free(home)
    log = Path(home.farm_log)
    written = log.stat().st_size if log.exists() else 0
    pid = spawn_detached([sys.executable, "-P", "-m", "grange.cli", "--home", home.root, "up"], home.farm_log)
    warnings = _Warnings(log, written)
    if not asyncio.run(_wait_until_up(home, pid, warnings)):
        _demand_free(home)  # another may have come first
        last = _lines(log, written)[-_LOG_LINES:]
        raise GrangeError(
            "the farm controller ended at once" + "".join(f"\n  {line}" for line in last), f"Its log: {home.farm_log}"
        )
    if as_json:
        print_json(_told(home, pid))
    elif not quiet:
        tell(f"the farm controller runs as process {pid}; its log is {home.farm_log}")


def _demand_free(home: Home) -> None:
    """Raises `AddressInUse` when a controller has the farm."""
    try:
        with SocketLock(home.farm_socket, what_to_try="It is up already; look with: grange status"):
            pass
    except AddressInUse as held:
        raise asyncio.run(_held(home, held)) from None


async def _held(home: Home, held: AddressInUse) -> AddressInUse:
    """What is to be said of a farm's place that is taken: who takes it may hang, and then answers nobody."""
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S), AsyncFarm(home.root) as farm:
            await farm.status(depth=0)
    except (TimeoutError, DeadlinePassed):
        end = f"kill -9 {held.pid}" if held.pid else "kill -9 and its process id"
        return AddressInUse(
            held.path,
            held.pid,
            f"It hangs: asked for the farm's status it said nothing for {_ANSWER_LIMIT_S:g} s. "
            f"End it with: {end}; then once more: grange up. Nothing is lost: what it controls runs on",
        )
    except GrangeError:
        pass  # it is just beginning or ending, or not for us
    return held


def _told(home: Home, pid: int) -> dict[str, Any]:
    """A controller that is up, for a program."""
    return {"home": home.root, "pid": pid, "log": home.farm_log}


def _lines(log: Path, from_byte: int) -> list[str]:
    """What was written into a log from there on."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(from_byte)
        return file.read().decode(errors="replace").splitlines()


class _Warnings:
    """What a controller that is coming up warns of in its log, such as a database that it has to wait for.

    On a full disk it cannot write even that: then it is said in its place.
    """

    def __init__(self, log: Path, from_byte: int) -> None:
        self._log, self._from_byte = log, from_byte
        self._told = 0
        self.goes_on = ""  # what is to be said of it when it is waited for no longer

    def say_new(self) -> None:
        """Tells the person who waits what has come since it was asked last."""
        found = (line.partition(_WARNING)[2].partition(": ")[2] for line in _lines(self._log, self._from_byte))
        for text in [text for text in found if text][self._told :]:
            self._told += 1
            self.goes_on = f"; it goes on, and said last: {text}"
            say(f"the farm controller says: {text}")
        if not self.goes_on and _is_full(self._log.parent):
            full = f"the disk of {self._log.parent} is full, so it waits for room and cannot write its log"
            self.goes_on = f"; {full}"
            say(f"the farm controller is not up yet: {full}. Make room, and it goes on by itself")


def _is_full(directory: Path) -> bool:
    """Whether nothing can be written there, not even one more line of a log."""
    disk = os.statvfs(directory)
    return disk.f_bfree == 0 if os.geteuid() == 0 else disk.f_bavail == 0


async def _wait_until_up(home: Home, pid: int, warnings: _Warnings) -> bool:
    """True when the controller answers, False when it has ended before; says meanwhile what it waits for.

    Another that was started at the same time may answer in its place: then it ends by itself, and is waited for.
    """
    descriptor = os.pidfd_open(pid)
    try:
        async with asyncio.timeout(_UP_TIMEOUT_S), AsyncFarm(home.root) as farm:
            while not select.select([descriptor], [], [], 0)[0]:
                try:
                    await farm.status(depth=0)
                except Unavailable:
                    warnings.say_new()
                else:
                    if holder(home.farm_socket) == pid:
                        return True
                await asyncio.sleep(_ASK_AGAIN_S)
        return False
    except TimeoutError:
        warnings.say_new()
        raise Unavailable(
            f"the farm controller (process {pid}) does not answer after {_UP_TIMEOUT_S:.0f} s{warnings.goes_on}",
            f"Its log: {home.farm_log}",
        ) from None
    finally:
        os.close(descriptor)


def take_down(
    given: Path | None, *, everything: bool, timeout_s: float, quiet: bool = False, as_json: bool = False
) -> None:
    """Ends the farm controller, on request after all that it controls; returns when it has gone."""
    home = resolve_home(given)
    if everything:
        _end_all_below(given, home, timeout_s, quiet=as_json)
    left = asyncio.run(_ask_to_end(home, only_if_empty=everything))
    deadline_s = time.monotonic() + _DOWN_TIMEOUT_S
    while not _is_free(home):  # a flock has no event to wait for
        if time.monotonic() > deadline_s:
            raise GrangeError(
                f"the farm controller has not ended after {_DOWN_TIMEOUT_S:.0f} s", f"Its log: {home.farm_log}"
            )
        time.sleep(_ASK_AGAIN_S)
    if as_json:
        print_json({"home": home.root, "state": left.state, "processes": _alive(left)})
    elif not quiet:
        runs_on = "what it controls runs on" if _is_anything(left) else "nothing of the farm is left"
        tell(f"the farm controller has ended; {runs_on}")


def _end_all_below(given: Path | None, home: Home, timeout_s: float, *, quiet: bool) -> None:
    try:
        carry_out(given, Order("absent", is_target=True, timeout_s=timeout_s), quiet=quiet)
    except Unavailable as error:
        if not _is_free(home):
            raise
        what_to_try = "Start one with: grange up --detach. Where none can be started: grange down --kill"
        raise Unavailable(error.reason, what_to_try) from None


async def _ask_to_end(home: Home, *, only_if_empty: bool) -> MemberStatus:
    """How the controller leaves the farm. Raises `GrangeError` when it is to stay for what is left."""
    async with AsyncFarm(home.root) as farm:
        member = (await farm.status(depth=0)).member
        if only_if_empty and _is_anything(member):
            left = f"{_alive(member)} processes may still run" if _alive(member) else f"the farm is {member.state}"
            why = f" ({member.status})" if member.status else ""
            raise GrangeError(
                f"the farm controller has not been ended, for it has not ended everything: {left}{why}",
                "It ends what it hears again by itself; look with: grange status. Then once more: grange down --all. "
                "What is gone for good with its machine: grange exclude MEMBER --gone",
            )
        await farm.down()
        return member


def _is_anything(member: MemberStatus) -> bool:
    """Whether there is something of the farm besides its controller."""
    return member.state is not State.ABSENT or _alive(member) > 0


def _alive(member: MemberStatus) -> int:
    """How many processes run, or may run for all that is known."""
    told = sum(count.processes for count in member.counts if count.state not in (State.ABSENT, State.INITIAL))
    return max(told, member.unaccounted)


def _is_free(home: Home) -> bool:
    try:
        SocketLock(home.farm_socket, shared=True).release()
    except AddressInUse:
        return False
    return True
