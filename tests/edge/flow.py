"""The farm of the kill matrix: a data flow in each sub-farm, and whether its books say what really happened.

In each sub-farm one source and two workers of `flow_actors.py`. What the workers have written down is the truth; the
books must agree with it exactly when nobody died, and say who died when they cannot.
"""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from grange.client import AsyncFarm
from grange.client.values import RunRecord
from grange.core.errors import Unavailable
from grange.core.names import Health, State

SOURCE, VICTIM = "sf01/n1/source-1", "sf01/n1/worker-1"
SUB_FARMS = ("sf01", "sf02")
PROCESSES = (SOURCE, VICTIM, "sf01/n2/worker-2", "sf02/n3/source-1", "sf02/n3/worker-1", "sf02/n3/worker-2")
PROGRAMS = (
    "farm",
    "sf01",
    "sf02",
    *(f"{what} {node}" for what in ("agent", "keeper") for node in ("sf01/n1", "sf01/n2", "sf02/n3")),
)
_RESTARTED = {"policy": "restart", "restart_most": 100, "restart_delay_s": 0.05}


async def use(farm: AsyncFarm, live: Any, worker: str = "Worker") -> None:
    """Selects the flow, whose processes are restarted when they die."""
    common = {
        "command": None,
        "environment": {"PYTHONPATH": os.path.dirname(__file__)},
        "settle_time_s": 0.0,
        "terminate_timeout_s": 5.0,  # a moment to end is no hang
        **_RESTARTED,
    }
    await live.use(
        farm,
        source={"actor": "flow_actors:Source", **common},
        worker={"actor": f"flow_actors:{worker}", "count": 2, "reads": ["source"], **common},
    )


async def is_well(farm: AsyncFarm, state: State) -> bool:
    """Whether the farm and each process is in the state, and well."""
    members = (await farm.status()).members
    told = [member for member in members if member.role or not member.path]
    return len(told) == len(PROCESSES) + 1 and all(one.state is state and one.health is Health.OK for one in told)


async def heard_again(farm: AsyncFarm, live: Any) -> None:
    """Waits until a client that has lost its farm controller reaches it: it dials again every second or two."""

    async def answers() -> bool:
        with contextlib.suppress(Unavailable):
            return bool(await farm.status(depth=0))
        return False

    await live.eventually(answers, "the farm controller did not answer again")


def programs_once(live: Any) -> bool:
    """Whether every program of the farm runs once, and nothing else of it lives."""
    return {what: len(pids) for what, pids in live.found().items()} == dict.fromkeys(PROGRAMS, 1)


async def flows(farm: AsyncFarm, live: Any) -> None:
    """Waits until each sub-farm has handled events since now."""
    before = await _accepted(farm)

    async def more() -> bool:
        now = await _accepted(farm)
        return all(now[name] > before[name] for name in SUB_FARMS)

    await live.eventually(more, f"no data flow beyond {before}")


async def _accepted(farm: AsyncFarm) -> dict[str, int]:
    counted = {name: (await farm.status(name, depth=0)).counters for name in SUB_FARMS}
    return {name: counters.get("worker", {}).get("accepted", 0) for name, counters in counted.items()}


def wrong_with_books(home: Any, run: RunRecord, died: Collection[str] = (), nobody_knows: bool = False) -> list[str]:
    """Where the books of a run that has ended do not say what happened; `died` are the paths of who died in it.

    With `nobody_knows` all have died who had heard of what was counted: then the books must not be said to balance.
    """
    if nobody_knows:
        claimed = run.rules_asked and not run.mismatches and not run.inexact
        return [f"the books are said to balance: {run.counters}"] if claimed else []
    wrong = [f"the books do not balance: {text}" for text in run.mismatches]
    if run.rules_asked != len(SUB_FARMS):
        wrong.append(f"{run.rules_asked} rules were asked, and not one in each sub-farm")
    for name in SUB_FARMS:
        counted = run.counters.get(name, {})
        read, accepted = counted.get("source", {}).get("read", 0), counted.get("worker", {}).get("accepted", 0)
        lines = _ledger(home, run.number, name)
        told = f"{name}: {read} read and {accepted} accepted are told, {len(set(lines))} handled, {len(lines)} in all"
        roles = Counter(path.rpartition("/")[2].partition("-")[0] for path in died if path.startswith(f"{name}/"))
        who = [f"{number} instance{'s' * (number > 1)} of {role}" for role, number in roles.items()]
        said = [text for text in run.inexact if text.startswith(f"{name}: ")]
        if any(values.get("undrained", 1) for values in counted.values()) and not roles:
            wrong.append(f"{name} was not drained")
        if accepted > len(lines):
            wrong.append(f"more is counted than was done: {told}")
        if not roles["source"] and not read == len(set(lines)) > 0:
            wrong.append(f"events were lost: {told}")
        if not roles and not read == accepted == len(lines):
            wrong.append(f"nobody died, and the books are not exact: {told}")
        if bool(said) != (read != accepted):
            wrong.append(f"it is not told when books are inexact: {told}; {said}")
        if any(not roles or f"{' and '.join(who)} died in the run" not in text for text in said):
            wrong.append(f"it is not told rightly who died: {said}")
    return wrong


def _ledger(home: Any, run_number: int, sub_farm: str) -> list[str]:
    """What the workers of a sub-farm have written down in a run, in no order."""
    paths = Path(home.data).glob(f"ledger-{run_number}-{sub_farm}.*")
    return [line for path in paths for line in path.read_text().splitlines()]


async def shown(live: Any, run_number: int) -> dict[str, Any]:
    """What `grange runs show --json` says."""
    return json.loads(await asyncio.to_thread(live.grange, "runs", "show", str(run_number), "--json"))
