"""The books of a run of the real chain in which a process of the pulse-shape analysis was killed or hangs.

Producer, trigger, analysis and builder are those of the demonstration, on the shared farm. What a dead instance had in
hand is done again by another, and the builder drops what comes twice, so the events are exact. What the dead one had
counted is kept up to its last heartbeat; the rules beyond that are inexact, and say who died.
"""

import asyncio
import json
import os
import signal
from typing import Any

from grange.cli.demo_input import compute_basis, template, write_input
from grange.client import AsyncFarm
from grange.core.names import Membership, State
from grange.core.tally import INSTANCES_DIED

VICTIM = "sf01/n2/psa-3"
EVENTS = 200  # in the input, which is read again and again


def configuration(**psa: Any) -> str:
    """The roles of the demonstration in the sub-farms of the shared farm; what dies of the analysis is restarted."""
    document = template()
    document["farm"]["name"] = "live"
    roles = list(document["roles"])
    document["sub_farms"] = {"sf01": {"nodes": ["n[1-2]"], "roles": roles}, "sf02": {"nodes": ["n3"], "roles": roles}}
    document["roles"]["psa"] |= {"policy": "restart", "quorum": 1, **psa}
    document["parameters"]["source"] |= {"loops": 0, "rate_hz": 300.0}
    return json.dumps(document)


async def analysed(farm: AsyncFarm, more_than: int) -> bool:
    counters = (await farm.status("sf01", 0)).counters
    return counters.get("psa", {}).get("analysed", 0) > more_than


async def test_the_counts_of_a_killed_analysis_are_kept_and_the_books_are_exact_but_for_what_it_counted_last(
    farm: AsyncFarm, live: Any
) -> None:
    await asyncio.to_thread(compute_basis, live.home)
    await asyncio.to_thread(write_input, live.home, EVENTS)
    await farm.import_configuration(configuration(), "json")
    number = (await farm.go("running")).run_number

    await live.eventually(lambda: analysed(farm, 50), "nothing is analysed")
    dead = await live.kill(VICTIM)

    async def back() -> bool:
        member = (await farm.status(VICTIM, 0)).member
        return (member.state, member.membership) == (State.TAKING, Membership.IN) and member.pid not in (0, dead)

    await live.eventually(back, "the analysis was not restarted into the run")
    before = (await farm.status("sf01", 0)).counters["psa"]
    assert before[INSTANCES_DIED] == 1
    await live.kill("sf01")  # the counts are the node's: no controller is needed to keep them
    await live.eventually(lambda: analysed(farm, before["analysed"]), "the restarted analysis does nothing")
    await farm.execute("stop")
    run = await farm.run(number)
    roles = run.counters["sf01"]
    assert roles["psa"]["analysed"] >= before["analysed"]
    assert roles["psa"][INSTANCES_DIED] == 1
    assert run.mismatches == ()
    assert all("1 instance of psa died in the run" in text for text in run.inexact)
    assert (
        roles["producer"]["read"]
        == roles["trigger"]["accepted"] + roles["trigger"]["rejected"] + roles["trigger"]["late"]
    )
    assert roles["trigger"]["accepted"] == roles["builder"]["built"] + roles["builder"]["below_fold"]  # none is lost
    assert roles["builder"]["built"] == roles["builder"]["written"]
    assert INSTANCES_DIED not in run.counters["sf02"]["psa"]
    assert run.degraded_reason == f"{VICTIM}: restarting: psa-3 on n2 was killed by SIGKILL while it was taking"

    again = (await farm.go("running")).run_number
    await live.eventually(lambda: analysed(farm, 0), "nothing is analysed in the next run")
    await farm.execute("stop")
    run = await farm.run(again)
    assert (run.mismatches, run.inexact, run.degraded) == ((), (), False)


async def test_a_stop_ends_a_hung_analysis_at_once_and_nobody_else_runs_into_its_limit(
    farm: AsyncFarm, live: Any
) -> None:
    await asyncio.to_thread(compute_basis, live.home)
    await asyncio.to_thread(write_input, live.home, EVENTS)
    await farm.import_configuration(configuration(heartbeat_timeout_s=1.0, policy="ignore"), "json")
    number = (await farm.go("running")).run_number
    await live.eventually(lambda: analysed(farm, 50), "nothing is analysed")
    os.kill(live.pid(VICTIM), signal.SIGSTOP)

    async def out() -> bool:
        return (await farm.status(VICTIM, 0)).member.membership is Membership.OUT_BY_FAULT

    await live.eventually(out, "it is not noticed that the analysis hangs")
    outcome = await farm.execute("stop")
    (note,) = outcome.notes
    assert note.startswith(f"{VICTIM} took no part: it is initial (psa-3 on n2 has been silent for ")
    assert note.endswith("; ended, for the stop of the others was waiting for it)")
    roles = (await farm.run(number)).counters["sf01"]
    assert {role: roles[role]["undrained"] for role in roles} == dict.fromkeys(roles, 0)
    assert roles["trigger"]["accepted"] == roles["builder"]["built"] + roles["builder"]["below_fold"]  # none is lost
