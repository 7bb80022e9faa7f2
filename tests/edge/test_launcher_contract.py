"""One contract for starting the programs of a farm, kept by the launcher of this machine and by the simulated world.

The seam is in core's own words: `Launch` asks for the program at the other end of a link, and what comes of it is
`ChildAttached`, when that dials in, or `LaunchFailed`. Core may rely on this:

- **A launch is harmless** while one of its kind runs: that one stays, and there is no second, even when several are
  asked for at once.
- **A program that cannot be started is told with its name and why**; once the reason is gone, the next launch
  starts it.
- **One that was up and ends badly is told as well**, with how it ended and behind the loss of its stream; where nobody
  else has started the next one, it is launched again and is another program.
- **What was launched outlives whoever launched it**, and the next controller finds it there.
- **There is no order to terminate**: a program ends when its parent releases it (`Release`), which is no failure and
  leaves nothing behind. It can be launched again afterwards.

Real are the ports of farm and sub-farm (`controllers/farm.py`, `controllers/subfarm.py`) with `launch/local.py`, and
the programs themselves: a sub-farm controller, a keeper with its agent. Simulated is what `World` makes of `Launch`.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from grange.core.effects import Launch, Release
from grange.core.events import ChildAttached, ChildLost, LaunchFailed
from grange.core.home import Home
from grange.harness.farms import uniform
from grange.harness.world import World

from .scripted import FENCE, FENCE_BELOW, Parent, RealParent, SimulatedParent, eventually, parent_of

SUB_FARM, NODE = "sf01", "sf01/n001"  # as harness/farms.py calls them


class Site(Protocol):
    """Where one program is to run, and the controller that launches it."""

    child: str  # the path of what it serves
    parent: Parent

    def programs(self) -> list[int]:
        """Those of its kind that run, each with a number that no other ever has."""

    def spoil(self) -> str:
        """From now on it cannot be started; what the reason has to name."""

    def repair(self) -> None: ...

    def kill(self) -> None:
        """It is killed, with what would start it again by itself."""

    async def new_parent(self) -> None:
        """The controller that has launched it is killed, and another one started."""


class RealSite:
    """A home on this machine."""

    def __init__(self, child: str, home: Home) -> None:
        self.child, self._home = child, home
        sub_farm, _, node = child.partition("/")
        place = home.node_directory(sub_farm, node) if node else home.sub_farm_directory(sub_farm)
        self._place = Path(place)
        self._kind = "supervisor/keeper.py" if node else "grange.controllers.subfarm"
        self.parent = RealParent(home, parent_of(child))

    def _found(self, *kinds: str) -> list[int]:
        """Processes of this home, by what stands in their command lines."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                command = Path("/proc", entry, "cmdline").read_text().replace("\0", " ") if entry.isdigit() else ""
            except OSError:
                continue
            if self._home.root in command and any(kind in command for kind in kinds):
                found.append(int(entry))
        return found

    def programs(self) -> list[int]:
        return self._found(self._kind)

    def spoil(self) -> str:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._place.write_text("a file where its directory should be")
        return str(self._place)

    def repair(self) -> None:
        self._place.unlink()

    def kill(self) -> None:
        for pid in [*self.programs(), *self._found("grange.supervisor.agent")]:
            os.kill(pid, signal.SIGKILL)

    async def new_parent(self) -> None:
        await self.parent.kill()
        self.parent = RealParent(self._home, parent_of(self.child))
        await self.parent.start()

    async def close(self) -> None:
        """Ends what a test has left running, and looks whether anything remains."""
        await self.parent.launched()
        self.kill()
        await self.parent.kill()
        await eventually(lambda: not self._found("grange"), "all programs have ended")


class SimulatedSite:
    """A place in the simulated world."""

    def __init__(self, child: str) -> None:
        self.child = child
        self.world = World(uniform(1, 1, 1))
        self.parent = SimulatedParent(self.world, parent_of(child))

    def programs(self) -> list[int]:
        if "/" in self.child:
            node = self.world.node(self.child)
            return [node.keepers] if node.up and node.keeper_up else []
        found = self.world.controllers.get(self.child)
        return [id(found)] if found is not None and found.alive else []

    def spoil(self) -> str:
        self.world.launch_troubles[self.child] = f"{self.child} could not be started: no space left on device"
        return "no space left on device"

    def repair(self) -> None:
        del self.world.launch_troubles[self.child]

    def kill(self) -> None:
        if "/" in self.child:
            self.world.node(self.child).kill_keeper()
            self.world.kill_agent(self.child)
        else:
            self.world.kill_controller(self.child)

    async def new_parent(self) -> None:
        await self.parent.kill()
        self.parent = SimulatedParent(self.world, parent_of(self.child))


@pytest_asyncio.fixture(params=["real keeper", "simulated keeper", "real controller", "simulated controller"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    which, _, kind = request.param.partition(" ")
    child = NODE if kind == "keeper" else SUB_FARM
    if which == "simulated":
        yield SimulatedSite(child)
        return
    home = Home(tempfile.mkdtemp(prefix="glaunch-"))
    real = RealSite(child, home)
    await real.parent.start()
    try:
        yield real
    finally:
        await real.close()
        await asyncio.to_thread(shutil.rmtree, home.root)


def link(site: Site) -> str:
    return site.child.rpartition("/")[2]


def launch(site: Site) -> None:
    site.parent.wish(Launch(link(site)))


def failures(site: Site) -> list[LaunchFailed]:
    return [event for event in site.parent.core.told if isinstance(event, LaunchFailed)]


def streams(site: Site) -> list[str]:
    """Attached and lost, in the order in which the controller was told."""
    kinds = {ChildAttached: "attached", ChildLost: "lost"}
    return [kinds[type(event)] for event in site.parent.core.told if type(event) in kinds]


async def attached(site: Site) -> int:
    """Waits until it has dialled in once more than it was lost; the number of the only one that runs."""
    await site.parent.until(lambda: streams(site)[-1:] == ["attached"], f"{site.child} has not dialled in")
    await site.parent.until(lambda: len(site.programs()) == 1, f"there is not one program for {site.child}")
    return site.programs()[0]


async def test_a_program_that_is_launched_dials_in(site: Site) -> None:
    launch(site)
    await attached(site)
    assert streams(site) == ["attached"]
    assert failures(site) == []


async def test_a_program_that_runs_stays_the_only_one_however_often_it_is_launched(site: Site) -> None:
    launch(site)
    launch(site)
    program = await attached(site)
    launch(site)
    launch(site)
    await site.parent.launched()
    await site.parent.until(lambda: site.programs() == [program], "the others have not ended")
    assert streams(site) == ["attached"]
    assert failures(site) == []


async def test_a_program_that_cannot_be_started_is_told_with_its_name_and_why(site: Site) -> None:
    named = site.spoil()
    launch(site)
    await site.parent.until(lambda: failures(site), "nothing was told")
    (failed,) = failures(site)
    assert (failed.link, failed.ran) == (link(site), False)
    assert site.child in failed.reason
    assert named in failed.reason
    assert streams(site) == []
    assert site.programs() == []


async def test_once_the_reason_is_gone_the_next_launch_starts_it(site: Site) -> None:
    site.spoil()
    launch(site)
    await site.parent.until(lambda: failures(site), "nothing was told")
    site.repair()
    launch(site)
    await attached(site)
    assert len(failures(site)) == 1


async def test_a_program_that_is_killed_is_told_with_how_it_ended_and_launched_again_is_another(site: Site) -> None:
    launch(site)
    program = await attached(site)
    await site.parent.launched()  # before, its death would be a failed launch
    site.kill()
    await site.parent.until(lambda: failures(site), "its end was not told")
    (ended,) = failures(site)
    assert (ended.link, ended.ran) == (link(site), True)
    assert link(site) in ended.reason
    assert "was killed by SIGKILL" in ended.reason
    assert site.parent.core.told.index(ended) > [type(event) for event in site.parent.core.told].index(ChildLost)
    launch(site)
    assert await attached(site) != program


async def test_a_program_outlives_whoever_launched_it_and_the_next_one_finds_it(site: Site) -> None:
    launch(site)
    program = await attached(site)
    await site.new_parent()
    assert await attached(site) == program
    launch(site)
    await site.parent.launched()
    await site.parent.until(lambda: site.programs() == [program], "the others have not ended")
    assert streams(site) == ["attached"]


async def test_a_program_that_is_released_ends_without_a_complaint_and_can_be_launched_again(site: Site) -> None:
    launch(site)
    program = await attached(site)
    fence = FENCE_BELOW if "/" in site.child else FENCE
    site.parent.wish(Release(link(site), fence, 1, "teardown"))
    await site.parent.until(lambda: streams(site) == ["attached", "lost"], "it was not released")
    await site.parent.until(lambda: not site.programs(), "it has not ended")
    assert failures(site) == []
    launch(site)
    assert await attached(site) != program
    assert streams(site) == ["attached", "lost", "attached"]
