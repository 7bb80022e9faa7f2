"""Chaos: how faults are chosen and judged, by values; and a short bout of it on a real farm."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from grange.client import AsyncFarm
from grange.client.values import MemberStatus, Status
from grange.core.configuration import Configuration
from grange.core.configuration_text import parse
from grange.core.home import Home
from grange.core.names import Health, Membership, State
from grange.core.names import Kind as Level
from grange.harness.chaos import TWO_AT_ONCE, Chaos, Struck
from grange.harness.chaos_faults import Does, Fault, Hand, Targets, can_cut, choose, cut
from grange.harness.chaos_judging import Picture, audit, not_yet, spare, violations
from grange.supervisor.belongings import Belonging, Kind

TARGETS = Targets(("sf01", "sf02"), ("sf01/n1", "sf02/n2"), ("sf01/n1/psa-1", "sf01/n1/writer-1"))
KILLED_AT_UNIX_S = 1000.0


def program(kind: Kind, name: str, pid: int, nonce: str = "") -> Belonging:
    return Belonging(kind, name, pid, psutil.Process(), True, nonce)


def member(path: str, kind: Level, pid: int = 0, role: str = "") -> MemberStatus:
    return MemberStatus(
        path=path,
        kind=kind,
        name=path.rsplit("/", 1)[-1],
        state=State.TAKING,
        health=Health.OK,
        status="",
        membership=Membership.IN,
        busy=None,
        counts=(),
        heard_unix_s=KILLED_AT_UNIX_S + 1,
        role=role,
        pid=pid,
        instance="",
        run_number=7,
        revision="",
    )


PSA = ("sf01/n1/psa-1", "sf01/n1/psa-2", "sf01/n1/psa-3")
ROWS = (
    member("", Level.FARM),
    member("sf01", Level.SUB_FARM),
    member("sf01/n1", Level.NODE),
    *(member(path, Level.PROCESS, 20 + number, "psa") for number, path in enumerate(PSA)),
)
FOUND = (
    program(Kind.FARM, "farm", 10),
    program(Kind.KEEPER, "sf01/n1", 11),
    *(program(Kind.PROCESS, path, 20 + number, f"nonce {number}") for number, path in enumerate(PSA)),
)


def picture(found: tuple[Belonging, ...] = FOUND, rows: tuple[MemberStatus, ...] = ROWS) -> Picture:
    status = Status("f", "", "", "", (), rows, (), {}, ())
    return Picture(status, found, {one.what: one for one in found if one.kind is not Kind.PROCESS})


def configuration(**roles: Mapping[str, Any]) -> Configuration:
    whole = {name: {"command": ["sleep", "9"], **role} for name, role in roles.items()}
    sub_farms = {"sf01": {"nodes": ["n1"], "roles": list(roles)}}
    return parse(json.dumps({"farm": {"name": "f"}, "sub_farms": sub_farms, "roles": whole}), "json")


# ---- choosing -------------------------------------------------------------------------------------------------------


def test_a_seed_chooses_the_same_faults_again() -> None:
    one, other = random.Random(5), random.Random(5)
    assert [choose(one, TARGETS) for _ in range(50)] == [choose(other, TARGETS) for _ in range(50)]


@pytest.mark.parametrize("seed", range(20))
def test_no_process_is_killed_or_hung_that_the_run_cannot_do_without(seed: int) -> None:
    generator = random.Random(seed)
    targets = replace(TARGETS, spare=("sf01/n1/psa-1",), watched=("sf01/n1/psa-1",))
    hit = [choose(generator, targets) for _ in range(100)]
    for_good = {one.targets for one in hit if one.kinds == (Kind.PROCESS,) and one.does in (Does.KILL, Does.HANG)}
    assert for_good == {("sf01/n1/psa-1",)}


def test_nobody_is_made_to_hang_whose_silence_nobody_would_notice() -> None:
    generator = random.Random(1)
    targets = replace(TARGETS, spare=("sf01/n1/psa-1",))
    assert Does.HANG not in {choose(generator, targets).does for _ in range(200)}


def test_nothing_is_cut_where_the_system_does_not_let_us() -> None:
    generator = random.Random(1)
    assert Does.CUT not in {choose(generator, replace(TARGETS, cuts=False)).does for _ in range(200)}


@pytest.mark.parametrize(
    ("role", "struck", "found"),
    [
        ({"count": 3}, {}, ()),
        ({"count": 3, "quorum": 2}, {}, PSA),
        ({"count": 3, "quorum": 3, "policy": "ignore"}, {}, ()),
        ({"count": 3, "policy": "restart"}, {}, PSA),
        ({"count": 3, "policy": "restart", "restart_most": 2}, {PSA[0]: 2}, PSA[1:]),
        ({"count": 3, "quorum": 1, "policy": "exclude_node"}, {}, ()),
    ],
)
def test_a_run_can_do_without_whom_quorum_and_policy_leave(
    role: Mapping[str, Any], struck: Mapping[str, int], found: tuple[str, ...]
) -> None:
    status = picture().status
    assert status is not None
    assert spare(status, configuration(psa=role), struck) == found


@pytest.mark.parametrize("role", [{"count": 3, "quorum": 2}, {"count": 3, "policy": "restart"}])
def test_a_run_cannot_do_without_a_second_one_at_the_same_time(role: Mapping[str, Any]) -> None:
    status = picture().status
    assert status is not None
    assert spare(status, configuration(psa=role), {}, hit=PSA[:1]) == ()


class OneRound(Chaos):
    """A round whose faults are given, on processes of the test's own; what it ends with is kept."""

    def __init__(self, faults: Mapping[Fault, int]) -> None:
        super().__init__(Home("/nowhere"), 1, lambda _: None)
        self.faults = iter(faults.items())
        self.struck: list[Struck] = []

    def _strike(self, before: Picture, configuration: Configuration, taken: tuple[str, ...]) -> Struck:
        fault, pid = next(self.faults)
        if fault.does is Does.STOP:
            self._hand.strike(fault, [Belonging(Kind.PROCESS, "x", pid, psutil.Process(pid), True, "")])
        return Struck(fault, 0.0, time.monotonic())

    async def _recover(
        self, before: Picture, configuration: Configuration, struck: list[Struck], since_unix_s: float
    ) -> Picture:
        self.struck = struck
        return before


def test_a_fault_counts_from_its_own_strike_and_a_stop_from_its_end() -> None:
    kill = Fault(Does.KILL, ("agent sf01/n1",), (Kind.AGENT,))
    stop = Fault(Does.STOP, ("sf01",), (Kind.SUB_FARM,), 0.05)
    with subprocess.Popen(["sleep", "60"]) as child:
        bout = OneRound({kill: 0, stop: child.pid})
        bout._random = random.Random(next(seed for seed in range(99) if random.Random(seed).random() < TWO_AT_ONCE))
        began_s = time.monotonic()
        asyncio.run(bout._round(picture(), configuration(psa={})))
        status = psutil.Process(child.pid).status()
        child.kill()
    assert status != psutil.STATUS_STOPPED
    killed, stopped = bout.struck
    assert stopped.over_s - began_s >= stop.for_s > 0
    assert stopped.over_s - killed.over_s >= stop.for_s


def test_what_one_fault_has_stopped_goes_on_without_what_another_has() -> None:
    faults = [Fault(Does.STOP, (f"sf0{number}",), (Kind.SUB_FARM,), float(number)) for number in (1, 2)]
    hand = Hand(Home("/nowhere"))
    children = [subprocess.Popen(["sleep", "60"]) for _ in faults]
    try:
        found = [psutil.Process(child.pid) for child in children]
        for fault, process in zip(faults, found, strict=True):
            hand.strike(fault, [Belonging(Kind.SUB_FARM, fault.targets[0], process.pid, process, True, "")])
        for child in children:
            os.waitpid(child.pid, os.WUNTRACED)
        hand.release(faults[0])
        os.waitpid(children[0].pid, os.WCONTINUED)
        assert found[1].status() == psutil.STATUS_STOPPED
        hand.free()
        os.waitpid(children[1].pid, os.WCONTINUED)
    finally:
        for child in children:
            child.kill()
            child.wait()


# ---- judging --------------------------------------------------------------------------------------------------------


def test_a_farm_that_is_as_before_is_right() -> None:
    assert violations(picture(), picture(), ()) == []
    assert not_yet(picture(), picture(), KILLED_AT_UNIX_S, {}) == []


def test_another_run_number_is_a_violation() -> None:
    rows = (replace(ROWS[0], run_number=0, status="it was stopped"), *ROWS[1:])
    assert violations(picture(), picture(rows=rows), ()) == ["run 7 has become none: it was stopped"]


def test_a_process_that_ends_is_a_violation_unless_it_was_hit() -> None:
    left = tuple(one for one in FOUND if one.name != PSA[1])
    assert violations(picture(), picture(left), {PSA[1]}) == []
    assert violations(picture(), picture(left), {"farm"}) == [f"{PSA[1]} (pid 21) has ended although nobody touched it"]


def test_two_copies_of_a_process_are_a_violation_and_its_own_children_are_none() -> None:
    child = replace(FOUND[2], pid=30)
    assert violations(picture(), picture((*FOUND, child)), ()) == []
    copy = replace(FOUND[2], pid=30, nonce="another")
    assert violations(picture(), picture((*FOUND, copy)), ()) == [f"{PSA[0]} runs 2 times"]


@pytest.mark.parametrize(
    ("found", "rows", "replaced", "missing"),
    [
        (FOUND[1:], ROWS, {}, "there is no farm"),
        (FOUND, ROWS, {"farm": 10}, "farm (pid 10) has not ended"),
        (FOUND, ROWS, {PSA[0]: 20}, f"{PSA[0]} (pid 20) has not been replaced"),
        (FOUND[:2], ROWS, {}, f"{PSA[0]} is said to be process 20, and is 0"),
        (
            FOUND,
            (*ROWS[:2], replace(ROWS[2], heard_unix_s=0.0), *ROWS[3:]),
            {"agent sf01/n1": 9},
            "sf01/n1 was not heard again",
        ),
        (FOUND, (replace(ROWS[0], health=Health.DEGRADED), *ROWS[1:]), {}, "the farm is taking, degraded: "),
        (FOUND, ROWS[:-1], {}, f"nobody knows of {PSA[2]} (pid 22)"),
    ],
)
def test_what_is_missing_is_said(
    found: tuple[Belonging, ...], rows: tuple[MemberStatus, ...], replaced: Mapping[str, int], missing: str
) -> None:
    assert not_yet(picture(), picture(found, rows), KILLED_AT_UNIX_S, replaced)[0] == missing


CHAIN = configuration(
    producer={}, trigger={"reads": ["producer"]}, psa={"reads": ["trigger"]}, builder={"reads": ["psa"]}
)


def books(analysed: int, built: int) -> dict[str, dict[str, dict[str, int]]]:
    psa, builder = {"analysed": analysed}, {"built": built, "below_fold": 0, "written": built}
    return {"sf01": {"trigger": {"accepted": 100}, "psa": psa, "builder": builder}}


def test_what_a_killed_process_in_the_middle_had_counted_cancels_out() -> None:
    judged = audit(books(60, 100), CHAIN, {PSA[0]})
    assert (judged.lost, len(judged.notes), judged.violations) == (0, 2, ())


def test_what_was_lost_on_the_way_is_a_violation() -> None:
    judged = audit(books(60, 95), CHAIN, {PSA[0]})
    assert (judged.lost, judged.violations[0].split(":")[0]) == (5, "5 events were lost")


def test_books_that_nobody_has_disturbed_have_to_balance() -> None:
    judged = audit(books(90, 90), CHAIN, ())
    assert judged.violations == ("sf01: psa: accepted = analysed does not hold: 100 against 90 (10 missing)",)


def test_what_an_end_of_the_flow_had_counted_cannot_be_known() -> None:
    assert audit(books(100, 70), CHAIN, {"sf01/n1/builder-1"}).lost is None


# ---- doing ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_cut(os.getpid()), reason="this system does not lend the sockets of other processes")
def test_a_cut_ends_accepted_connections_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as dialler:
        listener.bind(path)
        listener.listen()
        dialler.connect(path)
        accepted, _ = listener.accept()
        with accepted, socket.socket(socket.AF_UNIX) as later:
            assert cut(os.getpid(), path) == 1
            assert dialler.recv(1) == b""
            later.connect(path)
            listener.accept()[0].close()


async def chaos(live: Any, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-m", "grange.cli", "--home", live.home.root, "chaos", *arguments]
    return await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=110)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
async def test_a_bout_of_chaos_finds_nothing(farm: AsyncFarm, live: Any, seed: int) -> None:
    await live.use(farm, worker={"count": 3, "quorum": 2, "policy": "restart", "restart_most": 100})
    try:
        said = await chaos(live, "--minutes", "0.1", "--seed", str(seed), "--json")
    finally:  # the farm controller may be one that chaos has started: the tests want a child of their own
        await live.kill("farm")
        if live.controller is not None:
            live.ended()
        await asyncio.to_thread(live.up)
    assert said.stdout, said.stderr
    report = json.loads(said.stdout)
    assert (report["violations"], said.returncode) == ([], 0)
    assert report["faults"]
    assert all(fault["recovered_s"] is not None for fault in report["faults"])


async def test_a_production_run_is_left_alone_unless_it_is_said_twice(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={})
    await farm.go("running", run_type="production")
    before = live.found()
    said = await chaos(live, "--minutes", "0.1")
    assert (said.returncode, "--yes" in said.stderr, live.found()) == (3, True, before)
