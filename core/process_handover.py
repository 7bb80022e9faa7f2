"""What one agent leaves to the next about a process, and what the next one makes of it.

An agent is replaced at any moment, and then two things are left: the keeper's manifest of the process, which says what
runs or how it ended, and in it the newest note that the unit wished to have saved (`SaveNote`). What is not in them is
the process's own to say: an actor is `unknown` until its hello; then it is asked, by the id, what became of its last
order, and it repeats its answer. One that does not say hello hangs: where it is asked for heartbeats as soon as they
are missed, otherwise after `RECONNECT_LIMIT_S`, or the whole limit of an order that it may be busy with. A boot goes on
where it was, with its whole limit.

A note is read by agents of newer versions: what an older one did not write has a meaning.
"""

from collections.abc import Mapping
from typing import Any

from .effects import Order
from .failures import death
from .names import Command, Ready, State
from .plan import ProcessSpec
from .process import Unit
from .process_events import Ladder
from .state import STEADY

# For an actor that is asked for no heartbeats, whose retries are 2 s apart at most (docs/actor-contract.md): those that
# do everything in one loop look for their agent only between two pieces of work.
RECONNECT_LIMIT_S = 30.0


def note(unit: Unit) -> dict[str, Any]:
    """What the agent after this one has to know besides the specification and what the actor itself will say."""
    orders = unit.orders
    return {
        "order_id": orders.last_id,
        "command": orders.command.value if orders.command else "",  # in flight
        "limit_s": orders.in_flight.limit_s if orders.in_flight else 0.0,
        "ok": orders.ok,
        "state": (unit.known if unit.alive else unit.died_in).value,
        "run_number": unit.run_number,
        "tally": unit.tally.note(),
        "restarts": unit.restarts,
        "restarted_s": list(unit.restarted_s),
    }


def recovered(
    now: float,
    spec: ProcessSpec,
    ladder: Ladder,
    noted: Mapping[str, Any],
    manifest: Mapping[str, Any],
    last_lines: tuple[str, ...] = (),
) -> Unit:
    """The unit of a process that a former agent has left: `noted` is that one's note, `last_lines` are the output's."""
    unit = Unit(spec.path)
    unit.spec, unit.ladder = spec, ladder
    unit.watch.expect(spec)
    unit.instance, unit.status = manifest["instance"], manifest["status"]
    unit.orders.recover(noted["order_id"], noted["ok"])
    unit.known, unit.unsettled = State(noted["state"]), noted["command"] != ""
    unit.run_number = noted["run_number"]
    if "tally" in noted:
        unit.tally.recover(noted["tally"])
    unit.restarts = noted.get("restarts", 0)
    unit.restarted_s = tuple(at_s for at_s in noted.get("restarted_s", ()) if at_s <= now)  # not of another boot
    booting = noted["command"] == Command.BOOT
    if manifest["exit"] is not None:
        unit.trouble = death(unit.path, manifest["exit"], unit.known, None, last_lines)
        if booting:
            unit.orders.ok, unit.orders.failure = False, unit.trouble
        unit.known = State.INITIAL
        unit.tally.ended()
        return unit
    unit.alive, unit.pid = True, manifest["pid"]
    if booting:
        _go_on_booting(unit, now, spec, noted["limit_s"], said_ready=manifest["ready"])
    elif unit.speaks:
        unit.state, unit.recovering = State.UNKNOWN, True
        unit.watch.await_again(now, max(RECONNECT_LIMIT_S, noted["limit_s"]))
    else:
        unit.state = unit.known if unit.known in STEADY else State.UNKNOWN
    unit.begin_watch(now)
    return unit


def _go_on_booting(unit: Unit, now: float, spec: ProcessSpec, limit_s: float, *, said_ready: bool) -> None:
    boot = Order(unit.orders.last_id, unit.path, Command.BOOT, limit_s, spec=spec)
    unit.orders.resume(boot, now + limit_s)
    unit.state = State.BOOTING
    unit.watch.wait(now)
    if spec.ready is Ready.SETTLE:
        unit.watch.settled_s = now + spec.settle_time_s
    elif spec.ready is Ready.NOTIFY and said_ready:
        unit.watch.settled_s = now
