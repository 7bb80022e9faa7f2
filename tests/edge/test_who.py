"""Who may do what, who commands, who did it: a farm of several people, with a second user of this machine."""

import grp
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from grange.client import AsyncFarm, Farm
from grange.core.errors import Refused
from grange.core.home import Home

LIMIT_S = 60.0
NOBODY = 65534  # by every distribution's custom a user without rights, and a group
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: only root can become a second user")

# Becomes the second user after everything is loaded, which that user may not be able to read; then calls.
AS_NOBODY = """
import json, os, sys
import grange.cli.offline
from grange.client import Farm
from grange.core.errors import GrangeError
user, home, calls = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
os.setgroups([])
os.setgid(user)
os.setuid(user)
with Farm(home, label="the night") as farm:
    for name, arguments in calls:
        try:
            getattr(farm, name)(**arguments)
            print(json.dumps(["", "done"]))
        except GrangeError as error:
            print(json.dumps([type(error).__name__, error.reason]))
"""


class SharedFarm:
    """A farm that a group may reach; `live` is how tests drive it."""

    def __init__(self, live: Any) -> None:
        self.live, self.home = live, live.home

    def allow(self, **rules: Any) -> None:
        """Writes access.toml, which holds for whoever logs in from now on."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"group": group(), **rules}.items()]
        new = Path(f"{self.home.access}.new")
        new.write_text("\n".join(lines))
        new.replace(self.home.access)

    def as_nobody(self, *calls: tuple[str, dict[str, Any]]) -> list[list[str]]:
        """What the second user is told: the error's class, empty for none, and its reason."""
        argv = [sys.executable, "-P", "-c", AS_NOBODY, str(NOBODY), self.home.root, json.dumps(calls)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def modes(self) -> dict[str, int]:
        """What lies in the home, with its mode."""
        return {path.name: path.stat().st_mode for path in Path(self.home.root).iterdir()}


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def group() -> str:
    try:
        return grp.getgrgid(NOBODY).gr_name
    except KeyError:
        pytest.skip(f"NOT TESTED: this machine has no group {NOBODY}")


def nobody() -> str:
    try:
        return pwd.getpwuid(NOBODY).pw_name
    except KeyError:
        pytest.skip(f"NOT TESTED: this machine has no user {NOBODY}")


@pytest.fixture(scope="module")
def started(new_farm: Any) -> Iterator[SharedFarm]:
    root = tempfile.mkdtemp(prefix="gr")
    live = new_farm(Home(root))
    farm = SharedFarm(live)
    try:
        farm.allow()
        live.up()
        with Farm(root) as client:
            client.import_configuration(live.configuration({"worker": live.worker}), "json")
        yield farm
        live.down()
    finally:
        live.kill_all()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def shared(started: SharedFarm) -> Iterator[SharedFarm]:
    """A farm that nobody holds the lease of; the second user is an observer."""
    started.allow()
    yield started
    if started.live.controller is None:
        started.live.up()
    with Farm(started.home.root) as client:
        client.take_lease(force=True)
        client.release_lease()


def test_the_group_reaches_the_farms_sockets_and_nothing_else(shared: SharedFarm) -> None:
    home = os.stat(shared.home.root)
    assert (stat.S_IMODE(home.st_mode), home.st_gid) == (0o750, NOBODY)
    modes = shared.modes()
    modes.pop("access.toml")  # which the test itself has written
    assert {name for name, found in modes.items() if found & 0o077} == {"farm.sock", "farm.sock.login"}


async def test_an_observer_looks_and_is_told_why_he_may_no_more(shared: SharedFarm) -> None:
    told = shared.as_nobody(
        ("status", {}),
        ("runs", {}),
        ("go", {"target": "booted"}),
        ("config_use", {"revision": "current"}),
        ("take_lease", {}),
        ("down", {}),
    )
    why = f"{nobody()} is an observer of this farm, and"
    assert told == [
        ["", "done"],
        ["", "done"],
        ["NotAllowed", f"{why} commanding is for shifters"],
        ["NotAllowed", f"{why} config use is for experts"],
        ["NotAllowed", f"{why} lease take is for shifters"],
        ["NotAllowed", f"{why} down is for experts"],
    ]


async def test_a_shifter_commands_and_a_change_of_the_file_needs_no_restart(shared: SharedFarm) -> None:
    shared.allow(shifters=[f"@{group()}"])
    assert shared.as_nobody(("go", {"target": "initial"}), ("config_use", {"revision": "current"})) == [
        ["", "done"],
        ["NotAllowed", f"{nobody()} is a shifter of this farm, and config use is for experts"],
    ]


async def test_a_file_with_a_mistake_changes_nothing(shared: SharedFarm) -> None:
    shared.allow(shifters=[nobody()])
    assert shared.as_nobody(("go", {"target": "initial"})) == [["", "done"]]
    shared.allow(shifters=7, expert=[])
    assert shared.as_nobody(("go", {"target": "initial"})) == [["", "done"]]
    async with AsyncFarm(shared.home.root) as farm:
        told = {(await farm.status()).access_trouble, (await farm.who()).access_trouble}
        assert told == {
            f"{shared.home.access} is not followed, what held before holds on: "
            "line 3, expert: there is no key 'expert' in access.toml; did you mean \"experts\"?; "
            'line 2, shifters: is a list of users and @groups, such as ["ana", "@shift"]'
        }
        shared.allow(shifters=[nobody()])
        assert (await farm.status()).access_trouble == ""


async def test_while_one_holds_the_lease_the_other_is_refused_by_name_whoever_he_is(shared: SharedFarm) -> None:
    shared.allow(shifters=[nobody()])
    assert shared.as_nobody(("take_lease", {"comment": "night"})) == [["", "done"]]
    async with AsyncFarm(shared.home.root) as farm:
        status = await farm.status(depth=0)
        assert status.lease is not None
        assert (status.lease.holder, status.lease.comment) == (nobody(), "night")
        for refused in (farm.go("initial"), farm.exclude("sf01"), farm.config_use("current"), farm.down()):
            with pytest.raises(Refused, match=f"{nobody()} holds the lease \\(night\\): taken .* ago") as caught:
                await refused
            assert caught.value.what_to_try == "Ask for it to be released, or take it: grange lease force"
        taken = await farm.take_lease(60.0, force=True, comment="he has left")
        assert (taken.before is not None, taken.lease.holder) == (True, "root")
    [[name, reason]] = shared.as_nobody(("go", {"target": "initial"}))
    assert (name, reason.partition(":")[0]) == ("Refused", "root holds the lease (he has left)")


async def test_watchers_see_the_lease_change_hands(shared: SharedFarm) -> None:
    async with AsyncFarm(shared.home.root) as farm:
        views = farm.watch(depth=0)
        assert (await anext(views)).lease is None
        await farm.take_lease(60.0)
        async for view in views:
            if view.lease is not None:
                assert view.lease.holder == "root"
                break
        await views.aclose()


async def test_the_lease_survives_the_farm_controllers_death(shared: SharedFarm) -> None:
    async with AsyncFarm(shared.home.root) as farm:
        before = (await farm.take_lease(3600.0, comment="night")).lease
    await shared.live.kill("farm", signal.SIGKILL)
    shared.live.up()
    async with AsyncFarm(shared.home.root) as farm:
        after = await farm.lease()
    assert after is not None
    assert (after.holder, after.comment) == (before.holder, before.comment)
    assert after.until_unix_s == pytest.approx(before.until_unix_s, abs=1.0)


async def test_every_command_and_refusal_is_in_the_trail_with_its_person(shared: SharedFarm) -> None:
    shared.as_nobody(("exclude", {"members": "sf01/n1", "comment": "bad disk"}))
    async with AsyncFarm(shared.home.root, label="scan") as farm:
        await farm.go("initial", comment="to begin with")
        with pytest.raises(Refused):
            await farm.execute("start")
        newest = await farm.audit(3)
        assert (await farm.audit(1, person=nobody()))[0] == newest[2]
    told = [(entry.person, entry.what, entry.members, entry.comment, entry.outcome) for entry in newest]
    assert told == [
        ("root", "start", "", "", "refused"),
        ("root", "go initial", "", "to begin with", "done"),
        (nobody(), "exclude", "sf01/n1", "bad disk", "refused"),
    ]
    assert [(entry.origin.uid, entry.origin.label) for entry in newest] == [
        (0, "scan"),
        (0, "scan"),
        (NOBODY, "the night"),
    ]
    assert newest[1].origin.pid == os.getpid()
    assert newest[2].reason == f"{nobody()} is an observer of this farm, and commanding is for shifters"


async def test_who_tells_who_is_about_and_who_commanded_last(shared: SharedFarm) -> None:
    async with AsyncFarm(shared.home.root, label="scan") as farm:
        await farm.go("initial")
        shared.as_nobody(("status", {}))
        found = await farm.who()
    assert (found.you, found.access, found.lease) == ("root", "owner", None)
    assert found.last is not None
    assert (found.last.person, found.last.what) == ("root", "go initial")
    about = {(visitor.person, visitor.access, visitor.origin.label) for visitor in found.visitors}
    assert about >= {("root", "owner", "scan"), (nobody(), "observer", "the night")}


async def test_the_database_refuses_to_change_the_trail(shared: SharedFarm) -> None:
    engine = create_engine(f"sqlite:///{shared.home.database}")
    try:
        for change in ("UPDATE audit SET person = 'somebody else'", "DELETE FROM audit"):
            with pytest.raises(DatabaseError, match="only ever added to"), engine.begin() as connection:
                connection.execute(text(change))
    finally:
        engine.dispose()


async def test_a_sub_farm_controller_lets_nobody_in_but_the_owner(shared: SharedFarm) -> None:
    async with AsyncFarm(shared.home.root) as farm:
        await farm.go("initial")
        async with AsyncFarm(address=shared.home.sub_farm_address("sf01")) as sub_farm:
            assert (await sub_farm.status("sf01", depth=0)).members
            with pytest.raises(Refused, match="through its farm controller"):
                await sub_farm.cancel("some-command")
    socket = shared.home.sub_farm_socket("sf01")
    assert [mode(socket), mode(f"{socket}.login")] == [0o600, 0o600]


def test_the_command_line_takes_tells_and_gives_back_the_lease(shared: SharedFarm) -> None:
    assert shared.live.grange("lease", "take", "--for", "1h", "--comment", "night").startswith("lease: root, since ")
    assert "lease: root, since " in shared.live.grange("status")
    assert "you are root, owner" in shared.live.grange("who")
    assert json.loads(shared.live.grange("lease", "--json"))["comment"] == "night"
    assert shared.live.grange("lease", "release") == "lease: nobody's; every shifter may command\n"
    lines = shared.live.grange("audit", "-n", "2", "--since", "1h").splitlines()
    assert [line.split("  ")[1:4] for line in lines] == [
        ["root", "lease take (night)", "done"],
        ["root", "lease release", "done"],
    ]
    assert len(shared.live.grange("token").split(".")) == 2
