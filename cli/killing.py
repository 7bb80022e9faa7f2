"""Carries out `grange down --kill`: ends all of a farm on this machine from the outside, where no farm controller can.

That is for a farm whose database is lost, so that no farm controller starts. The programs go first, and at once, for
they would bring each other and the processes back; then the processes, politely and together. The farm's lock is held
meanwhile, so that no farm controller comes in between.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from grange.client.home import demand_farm, resolve_home
from grange.core.errors import AddressInUse, GrangeError, Refused
from grange.core.home import Home
from grange.proto.sockets import SocketLock
from grange.supervisor.belongings import Belonging, Kind, belongings

from .shell import print_json, say, tell

TERMINATE_S = 10.0  # from SIGTERM to SIGKILL, for all processes together
KILL_S = 2.0  # for SIGKILL to take effect, before it is looked again
LIMIT_S = 60.0  # for everything: what SIGKILL does not end by then, waits for a disk or a device


def kill_everything(given: Path | None, *, as_json: bool = False) -> None:
    """Returns when nothing of the farm runs on this machine. Raises `GrangeError`."""
    home = resolve_home(given)
    demand_farm(home)
    try:
        lock = SocketLock(home.farm_socket)
    except AddressInUse as held:
        raise Refused(
            f"a farm controller has the farm (process {held.pid})",
            (),
            f"It ends everything in order: grange down --all. One that hangs is ended first: kill -9 {held.pid}",
        ) from None
    with lock:
        deadline_s = time.monotonic() + LIMIT_S
        programs = _end(home, _is_program, 0.0, deadline_s)
        processes = _end(home, _is_process, TERMINATE_S, deadline_s)
    if as_json:
        print_json({"home": home.root, "programs": programs, "processes": processes})
    elif programs or processes:
        tell(
            f"ended {programs} programs and {processes} processes of the farm on this machine; "
            "a run that was open is ended in the records by the next: grange up"
        )
    else:
        tell("nothing of the farm runs on this machine")


def _is_program(one: Belonging) -> bool:
    return one.kind not in (Kind.FARM, Kind.PROCESS)


def _is_process(one: Belonging) -> bool:
    return one.kind is Kind.PROCESS


def _end(home: Home, is_meant: Callable[[Belonging], bool], patience_s: float, deadline_s: float) -> int:
    """Ends what is meant until nothing of it is found; how many there were. With patience they are asked first."""
    met: set[psutil.Process] = set()
    names: set[str] = set()  # one that was just replaced is there twice
    while found := [one for one in belongings(home) if is_meant(one)]:
        if time.monotonic() > deadline_s:
            raise GrangeError(
                f"{len(found)} processes do not end, such as {found[0].what} (pid {found[0].pid})",
                "See what they wait for: grep State /proc/PID/status. Then once more: grange down --kill",
            )
        new = {one.process for one in found} - met
        if new and patience_s:
            say(f"asked {len(new)} processes to end; what is left after {patience_s:.0f} s is killed")
        for one in found:
            with suppress(psutil.NoSuchProcess):
                if one.process in new and patience_s:
                    one.process.terminate()
                    one.process.resume()  # one that is stopped could not hear
                else:
                    one.process.kill()
        met |= new
        names |= {one.what for one in found}
        psutil.wait_procs([one.process for one in found], timeout=patience_s if new and patience_s else KILL_S)
    return len(names)
