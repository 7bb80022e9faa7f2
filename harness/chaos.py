"""Chaos: a farm that takes data is hit again and again at random, and everything that it promises is looked after.

Programs and processes are killed, stopped for a while, made to hang and cut off from each other, one fault at a time
or two, and after each the farm has to be right again within `RIGHT_LIMIT_S`: the same run, the same processes but for
those that were hit, none twice, every program there, every member well and heard. What is a person's to do is done:
`grange up` after the farm controller was killed, `grange recover` for a process whose role's policy does not bring it
back. At the end the run is stopped and its books are read.

Only what belongs to the farm's home is touched, found without asking the farm and by its start time.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

from grange.client import AsyncFarm
from grange.client.values import Status
from grange.core.configuration import Configuration
from grange.core.configuration_text import parse
from grange.core.errors import GrangeError, Refused
from grange.core.home import Home
from grange.core.names import Membership, Policy
from grange.launch.daemon import spawn_detached
from grange.supervisor.belongings import Kind, belongings, serving

from .chaos_faults import Does, Fault, Hand, Targets, can_cut, choose
from .chaos_judging import Bookkeeping, Picture, audit, not_yet, shortened, spare, taking, violations

RIGHT_LIMIT_S = 45.0  # for a farm to be right again: a few starts of interpreters on a busy machine
LOOK_EVERY_S = 0.05
LOOK_LIMIT_S = 5.0  # for one answer of the farm controller
UP_LIMIT_S = 60.0
STOP_LIMIT_S = 120.0
QUIET_MOST_S = 1.0  # between two faults
TWO_AT_ONCE = 0.25  # how often a second fault comes before the farm has got over the first


@dataclass(slots=True)
class Struck:
    """A fault that was carried out, and what became of it."""

    fault: Fault
    at_s: float  # since the beginning
    over_s: float  # monotonic: when the farm could begin to get over it: at a stop's end, at `grange up`
    recovered_s: float | None = None  # from then on until the farm was right; None: it was not

    def as_json(self) -> dict[str, Any]:
        return {"fault": str(self.fault), "kind": self.fault.kind, "at_s": self.at_s, "recovered_s": self.recovered_s}


@dataclass(slots=True)
class Report:
    """What was done to a farm, and how it took it."""

    seed: int
    run_number: int
    struck: list[Struck] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: int | None = None  # events; None: the books cannot tell, or were not read
    books_read: bool = False
    now: str = ""  # what is being done

    def kinds(self) -> dict[str, list[Struck]]:
        found: dict[str, list[Struck]] = {}
        for one in self.struck:
            found.setdefault(one.fault.kind, []).append(one)
        return dict(sorted(found.items()))

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "run_number": self.run_number,
            "faults": [one.as_json() for one in self.struck],
            "kinds": {name: summary(struck) for name, struck in self.kinds().items()},
            "books_read": self.books_read,
            "events_lost": self.lost,
            "notes": self.notes,
            "violations": self.violations,
        }


def summary(struck: list[Struck]) -> dict[str, float | int | None]:
    """How many faults, how many of them the farm has got over, and how long that took."""
    times = [one.recovered_s for one in struck if one.recovered_s is not None]
    return {
        "injected": len(struck),
        "recovered": len(times),
        "median_s": round(median(times), 3) if times else None,
        "worst_s": round(max(times), 3) if times else None,
    }


class Chaos:
    """One bout of it on one farm, which takes data and is well."""

    def __init__(self, home: Home, seed: int, tell: Callable[[Report], None]) -> None:
        self._home = home
        self._random = Random(seed)
        self._tell = tell
        self._hand = Hand(home)
        self._began_s = time.monotonic()
        self._touched: dict[str, list[float]] = {}  # when each process was killed or made to hang
        self._recovering: asyncio.Task[object] | None = None
        self.report = Report(seed, 0)

    async def run(self, minutes: float, *, stop: bool) -> Report:
        """Hit the farm for so long; with `stop` the run is stopped afterwards, and its books are read."""
        async with AsyncFarm(self._home.root, label="chaos") as self._client:
            before = await self._look()
            if before.status is None or not taking(before.status):  # nothing is hit, and nothing to be put right
                raise Refused(before.why or "the farm does not take data, or is not well", (), "Look: grange status")
            try:
                await self._hit(before, before.status, 60 * minutes, stop=stop)
            finally:
                await self._leave()
        self._say("")
        return self.report

    async def _hit(self, before: Picture, status: Status, limit_s: float, *, stop: bool) -> None:
        self.report.run_number = status.member.run_number
        exported = await self._client.config_export(status.member.revision)
        configuration = parse(exported.text, "json")
        ends_s = self._began_s + limit_s
        while time.monotonic() < ends_s and not self.report.violations:
            before = await self._round(before, configuration)
            await asyncio.sleep(self._random.uniform(0, QUIET_MOST_S))
        if stop:
            await self._close(configuration)

    async def _leave(self) -> None:
        """Whatever happens, nothing stays stopped, and there is a farm controller."""
        self._hand.free()
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.gather(self._recovering, return_exceptions=True)
        await self._up()

    # ---- one round --------------------------------------------------------------------------------------------------

    async def _round(self, before: Picture, configuration: Configuration) -> Picture:
        """A fault, or two, until the farm is right again; returns what it looks like then."""
        struck = [self._strike(before, configuration, ())]
        if self._random.random() < TWO_AT_ONCE:
            struck.append(self._strike(before, configuration, struck[0].fault.targets))
        for one in sorted(struck, key=lambda one: one.fault.for_s):
            if one.fault.does is Does.STOP:
                await asyncio.sleep(max(0.0, one.over_s + one.fault.for_s - time.monotonic()))
                self._hand.release(one.fault)
                one.over_s = time.monotonic()
        since_unix_s = time.time()  # before the farm controller is there again, which may hear of the others at once
        for one in struck:
            if Kind.FARM in one.fault.kinds and one.fault.does is Does.KILL:
                one.over_s = time.monotonic()  # nobody comes back from that alone
                await self._up()
        return await self._recover(before, configuration, struck, since_unix_s)

    def _strike(self, before: Picture, configuration: Configuration, taken: tuple[str, ...]) -> Struck:
        """One more fault, besides those that have hit `taken` and are not got over yet."""
        for _ in range(100):
            fault = choose(self._random, self._targets(before, configuration, taken))
            if not {*fault.targets} & {*taken}:
                break
        self._say(str(fault))
        if fault.does in (Does.KILL, Does.HANG):
            for target in fault.targets:
                self._touched.setdefault(target, []).append(time.monotonic())
        hit = [one for one in before.main() if one.what in fault.targets]
        self._hand.strike(fault, hit)
        now_s = time.monotonic()
        struck = Struck(fault, round(now_s - self._began_s, 2), now_s)
        self.report.struck.append(struck)
        return struck

    def _targets(self, before: Picture, configuration: Configuration, taken: tuple[str, ...]) -> Targets:
        assert before.status is not None
        names = before.serving.values()
        now_s = time.monotonic()
        periods_s = {name: role.restart_period_s for name, role in configuration.roles.items()}
        roles = {member.path: member.role for member in before.status.members}
        struck = {
            path: sum(now_s - at_s < periods_s.get(roles.get(path, ""), 0.0) for at_s in times)
            for path, times in self._touched.items()
        }
        spared = spare(before.status, configuration, struck, taken)
        return Targets(
            sub_farms=tuple(sorted(one.name for one in names if one.kind is Kind.SUB_FARM)),
            nodes=tuple(sorted(one.name for one in names if one.kind is Kind.AGENT)),
            processes=tuple(sorted(before.leaders())),
            spare=spared,
            watched=tuple(path for path in spared if configuration.roles[roles[path]].says_that_it_lives),
            cuts=any(can_cut(one.pid) for one in names if one.kind is Kind.KEEPER),
        )

    async def _recover(
        self, before: Picture, configuration: Configuration, struck: list[Struck], since_unix_s: float
    ) -> Picture:
        since_s = time.monotonic()
        hit = {name for one in struck if one.fault.does in (Does.KILL, Does.HANG) for name in one.fault.targets}
        replaced = {one.what: one.pid for one in before.main() if one.what in hit}
        while True:
            now = await self._look()
            if wrong := violations(before, now, hit):
                return self._broken(now, struck, wrong)
            missing = not_yet(before, now, since_unix_s, replaced)
            if not missing:
                for one in struck:
                    one.recovered_s = round(time.monotonic() - one.over_s, 3)
                self._say("")
                return now
            if time.monotonic() > since_s + RIGHT_LIMIT_S:
                late = f"{RIGHT_LIMIT_S:.0f} s after it the farm is not right: {shortened(missing)}"
                return self._broken(now, struck, [late])
            self._as_a_person_would(now, configuration, hit)
            await asyncio.sleep(LOOK_EVERY_S)

    def _broken(self, now: Picture, struck: list[Struck], wrong: list[str]) -> Picture:
        faults = " and ".join(str(one.fault) for one in struck)
        self.report.violations += [f"{faults}: {sentence}" for sentence in wrong]
        self._say("")
        return now

    def _as_a_person_would(self, now: Picture, configuration: Configuration, hit: set[str]) -> None:
        """Bring back who was hit and is out by its fault, and whose role leaves that to a person."""
        if now.status is None or (self._recovering is not None and not self._recovering.done()):
            return
        out = [
            member.path
            for member in now.status.members
            if member.path in hit
            and member.membership is Membership.OUT_BY_FAULT
            and not member.returning
            and configuration.roles[member.role].policy is not Policy.RESTART
        ]
        if out:
            self._recovering = asyncio.create_task(self._bring_back(out))

    async def _bring_back(self, paths: list[str]) -> None:
        with contextlib.suppress(GrangeError):  # it is tried again as long as they are out
            await self._client.recover(paths, timeout_s=RIGHT_LIMIT_S, comment="chaos")

    # ---- looking, and the farm controller ---------------------------------------------------------------------------

    async def _look(self) -> Picture:
        found = tuple(await asyncio.to_thread(belongings, self._home))
        serves = serving(self._home, list(found))
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                return Picture(await self._client.status(depth=3), found, serves)
        except (GrangeError, TimeoutError) as error:
            return Picture(None, found, serves, str(error) or "the farm controller does not answer")

    async def _up(self) -> None:
        """A farm controller that answers, started when nobody holds the farm."""
        deadline_s = time.monotonic() + UP_LIMIT_S
        argv = [sys.executable, "-P", "-m", "grange.cli", "--home", self._home.root, "up"]
        if not any(one.kind is Kind.FARM for one in serving(self._home, belongings(self._home)).values()):
            spawn_detached(argv, self._home.farm_log)
        while time.monotonic() < deadline_s:
            if (await self._look()).status is not None:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _say(self, doing: str) -> None:
        self.report.now = doing
        self._tell(self.report)

    # ---- the end ----------------------------------------------------------------------------------------------------

    async def _close(self, configuration: Configuration) -> None:
        """Stop the run, and read its books."""
        report = self.report
        self._say("stopping the run")
        try:
            await self._client.execute("stop", timeout_s=STOP_LIMIT_S, comment=f"after chaos, seed {report.seed}")
            run = await self._client.run(report.run_number)
        except GrangeError as error:
            report.violations.append(f"the run could not be stopped: {error}")
            return
        touched = {path for path in self._touched if path.count("/") == 2}
        judged: Bookkeeping = audit(run.counters, configuration, touched)
        report.books_read, report.lost = run.rules_asked > 0, judged.lost if run.rules_asked else None
        report.notes += judged.notes
        report.violations += judged.violations
