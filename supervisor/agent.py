"""The agent: beside the keeper on a node, it watches over the processes and answers to the sub-farm controller.

    python -P -m grange.supervisor.agent NODE_DIRECTORY

The keeper starts it, with its incarnation in GRANGE_AGENT_INCARNATION and the listening ends of the actor link and the
notify socket in GRANGE_AGENT_SOCKETS. It is replaceable at any moment: all that it knows it gets again from the
keeper's list, from actors that connect again, and from orders that the parent repeats.

What follows from what is decided in `core/process.py`, one `Unit` for each process; here events are made and effects
carried out. An order goes from the parent (`parent_link.py`) to a unit; its effects to the keeper (`keeper_client.py`)
or the actor (`actor_server.py`); what comes back from those is told to the unit, and its report to the parent.
"""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from grange.core.effects import Order
from grange.core.names import Command, Kind
from grange.core.node import NodeSettings
from grange.core.process import Unit
from grange.core.process_events import (
    ActorGone,
    Effect,
    EndProbe,
    Event,
    Exited,
    Forget,
    KeeperHeard,
    KeeperSilent,
    LinkRefused,
    Notified,
    Ordered,
    Probe,
    Probed,
    Report,
    Sampled,
    SaveNote,
    SendToActor,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    Ticked,
)
from grange.core.process_handover import note, recovered
from grange.core.reports import Figures
from grange.proto import actor_pb2, tree_pb2
from grange.proto.log_lines import begin_log
from grange.proto.words import to_wire

from .actor_server import ActorServer
from .allegiance import Allegiance
from .keeper_client import KeeperClient, Replaced
from .log_reader import LogReader
from .node_directory import NodeDirectory
from .orphan import when_orphaned
from .output import last_lines
from .parent_link import ParentLink
from .probes import SUFFIX as PROBE_SUFFIX
from .probes import Probes
from .spawning import question, spawn_fields
from .upkeep import bound_logs, sample_processes
from .wire import (
    WireError,
    actor_order,
    event_from_actor,
    fill_home,
    ladder_from_wire,
    note_to_wire,
    order_from_wire,
    report_to_wire,
    spec_from_document,
    spec_from_wire,
    spec_to_document,
)

PROBES_END_LIMIT_S = 2.0  # for probes of processes that have ended, before the node is released
BEGINNING_WAITS_S = 0.1  # to tell that an order is being carried out: most are done before, and one message is enough
OUTCOME_WAITS_S = 0.005  # to tell the outcome of an order, while others on this node are about to have theirs
_SIGNALS = {"TERM": signal.SIGTERM, "KILL": signal.SIGKILL}

_log = logging.getLogger(__name__)


class Agent:
    """One node's agent; `run()` ends when the node is released or a newer agent was started."""

    def __init__(
        self, directory: NodeDirectory, settings: NodeSettings, incarnation: int, sockets: tuple[int, int]
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.incarnation = incarnation
        self.units: dict[str, Unit] = {}  # by path
        self.specs: dict[str, tree_pb2.ProcessSpec] = {}  # by path, the home filled in
        self.by_instance: dict[str, Unit] = {}
        self.started = 0
        self.recovered = asyncio.Event()  # what ran before is known
        self.alarm: asyncio.TimerHandle | None = None
        self.alarm_s = 0.0  # when it comes
        self.actors = ActorServer(
            socket.socket(fileno=os.dup(sockets[0])), self.on_actor, self.on_actor_lost, self.on_link_refused
        )
        self.keeper = KeeperClient(
            directory,
            incarnation,
            sockets,
            settings.python,
            self.on_keeper_list,
            self.on_keeper_event,
            self.on_keeper_silent,
            self.on_keeper_heard,
            lambda: self.parent.node_changed(),
        )
        self.allegiance = Allegiance(incarnation, self.keeper.request)
        self.parent = ParentLink(
            settings.parent,
            self.hello,
            self.report,
            lambda: sorted(self.units),
            lambda: tree_pb2.NodeReport(keeper_pid=self.keeper.pid, keeper_silent=self.keeper.silent_pid is not None),
            self.allegiance.welcomed,
            self.on_parent,
            lambda: self.logs.cancel_all(),
        )
        self.logs = LogReader(self.parent.send)
        self.probes = Probes(directory, incarnation, self.keeper.request, lambda: self.allegiance.fence, self.on_probed)
        self.one_ended = asyncio.Event()  # a process
        self.ended = asyncio.Event()  # the agent, which is released

    async def run(self) -> None:
        """Until the node is released; raises `Replaced` for an agent that has a successor."""
        tasks = [asyncio.create_task(self.keeper.run()), asyncio.create_task(self.keeper.watch())]
        try:
            await self._first(self.recovered.wait(), *tasks)
            self.actors.start()
            tasks += [
                asyncio.create_task(self.parent.run()),
                asyncio.create_task(bound_logs(self.directory, lambda: list(self.units.values()))),
                asyncio.create_task(sample_processes(lambda: list(self.units.values()), self.on_sampled)),
            ]
            if self.settings.orphan_timeout_s is not None:
                tasks.append(asyncio.create_task(self._end_as_orphan(self.settings.orphan_timeout_s)))
            await self._first(self.ended.wait(), *tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.logs.cancel_all()
            await self.actors.close()
            await self.keeper.close()

    async def _first(self, wanted: Any, *tasks: asyncio.Task[None]) -> None:
        """Wait for what is wanted, or for a task that ends or fails before it."""
        waiting = asyncio.ensure_future(wanted)
        await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in tasks:
            if task.done():
                task.result()

    # ---- units ----

    def tell(self, unit: Unit, event: Event) -> None:
        """Tell a unit a fact, carry out what it wishes, and wake it when it wants."""
        self._carry_out(unit, unit.step(time.monotonic(), event))
        alarm_s = unit.alarm_s
        if alarm_s is not None and (self.alarm is None or alarm_s < self.alarm_s):
            self._set_alarm()  # one that is later, or gone, is noticed when the present one has come

    def _tell_all(self, event: Event) -> None:
        for unit in list(self.units.values()):
            self.tell(unit, event)

    def _carry_out(self, unit: Unit, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Report():
                    self.parent.changed(unit.path, self._patience_s(unit))
                case SendToActor():
                    order = actor_order(effect, self.specs[unit.path])
                    self.actors.send(effect.instance, actor_pb2.ToActor(order=order))
                case SaveNote():
                    self.keeper.request("note", instance=effect.instance, note=self._note(unit))
                case Spawn():
                    self._spawn(unit, effect.instance)
                case Signal():
                    number = int(_SIGNALS[effect.name])
                    fence = self.allegiance.fence
                    self.keeper.request("signal", instance=effect.instance, signal=number, group=True, fence=fence)
                case Probe():
                    self._probe(unit, effect)
                case EndProbe():
                    self.probes.end(unit.slot)
                case Forget():
                    self.by_instance.pop(effect.instance, None)
                    self.keeper.request("forget", instance=effect.instance)

    def _patience_s(self, unit: Unit) -> float:
        """How long a report may wait for others: whoever gave an order waits for its outcome, not for its beginning."""
        if unit.orders.in_flight is not None:
            return BEGINNING_WAITS_S
        for other in self.units.values():
            if other.orders.in_flight is not None:
                return OUTCOME_WAITS_S
        return 0.0

    def _set_alarm(self) -> None:
        times = (unit.alarm_s for unit in self.units.values())
        next_s = min((alarm_s for alarm_s in times if alarm_s is not None), default=None)
        if self.alarm is not None:
            self.alarm.cancel()
        self.alarm = None
        if next_s is not None:
            self.alarm_s = next_s
            delay_s = max(0.0, next_s - time.monotonic())
            self.alarm = asyncio.get_running_loop().call_later(delay_s, self._on_alarm)

    def _on_alarm(self) -> None:
        now = time.monotonic()
        for unit in list(self.units.values()):
            if unit.alarm_s is not None and unit.alarm_s <= now:
                lines = last_lines(self.directory.log(unit.instance))
                self._carry_out(unit, unit.step(now, Ticked(lines, self.keeper.owing_pid)))
        self._set_alarm()

    def _note(self, unit: Unit) -> dict[str, Any]:
        return {"unit": note(unit), "spec": spec_to_document(self.specs[unit.path])}

    def _spawn(self, unit: Unit, instance: str) -> None:
        nonce = secrets.token_hex(16)
        self.by_instance[instance] = unit
        self._expect(unit, nonce)
        try:
            fields = spawn_fields(
                self.specs[unit.path], instance, nonce, self._note(unit), self.settings, self.directory
            )
        except OSError as error:
            asyncio.get_running_loop().call_soon(self.tell, unit, SpawnFailed(instance, str(error)))
            return
        answer = self.keeper.request("spawn", fence=self.allegiance.fence, **fields)
        answer.add_done_callback(lambda future: self._on_spawned(unit, instance, future))

    def _on_spawned(self, unit: Unit, instance: str, future: "asyncio.Future[dict[str, Any]]") -> None:
        if future.cancelled():
            return
        answer = future.result()
        if answer["ok"]:
            self.tell(unit, Spawned(instance, answer["pid"]))
        else:
            self.actors.forget(instance)
            self.tell(unit, SpawnFailed(instance, answer["error"]))
            self.one_ended.set()

    def _probe(self, unit: Unit, probe: Probe) -> None:
        try:
            asked = question(probe.argv, self.specs[unit.path], probe.instance, unit.pid, self.settings, self.directory)
        except OSError as error:
            failed = Probed(probe.instance, {"failed": str(error)})
            asyncio.get_running_loop().call_soon(self.tell, unit, failed)
            return
        self.probes.ask(unit.slot, asked)

    def on_probed(self, instance: str, exit_status: Mapping[str, Any], lines: tuple[str, ...]) -> None:
        if unit := self.by_instance.get(instance):
            self.tell(unit, Probed(instance, exit_status, lines))

    def on_sampled(self, instance: str, sampled: Figures) -> None:
        if unit := self.by_instance.get(instance):
            self.tell(unit, Sampled(instance, sampled))

    # ---- the keeper ----

    def on_keeper_list(self, hello: dict[str, Any]) -> None:
        """All that the keeper knows, at the beginning of each line to it."""
        self.allegiance.recall(hello["parents"])
        self.probes.listed(hello["processes"])
        for row in hello["processes"]:
            if row["slot"].endswith(PROBE_SUFFIX):
                continue
            unit = self.by_instance.get(row["instance"])
            if unit is None:
                if not self.recovered.is_set():
                    self._recover(row)
            elif row["exit"] is not None and "failed" not in row["exit"]:
                self._on_exited(unit, row["instance"], row["exit"])
        self.recovered.set()
        self._set_alarm()
        self.parent.node_changed()

    def on_keeper_silent(self, keeper_pid: int) -> None:
        self._tell_all(KeeperSilent(keeper_pid))
        self.parent.node_changed()

    def on_keeper_heard(self) -> None:
        self._tell_all(KeeperHeard())
        self.parent.node_changed()

    def _recover(self, row: dict[str, Any]) -> None:
        try:
            spec = spec_from_document(row["note"]["spec"])
            lines, noted = last_lines(self.directory.log(row["instance"])), row["note"]["unit"]
            unit = recovered(time.monotonic(), spec_from_wire(spec), ladder_from_wire(spec), noted, row, lines)
        except (KeyError, ValueError) as error:
            _log.error("slot %s: its manifest's note cannot be read (%s): left to a person", row["slot"], error)
            return
        self.units[spec.path], self.specs[spec.path] = unit, spec
        self.by_instance[unit.instance] = unit
        if unit.alive:
            self._expect(unit, row["nonce"])
        _log.info("recovered %s, instance %s: %s", spec.path, unit.instance, unit.state)

    def on_keeper_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "exited" and self.probes.exited(event):
            return
        unit = self.by_instance.get(event["instance"])
        if unit is None:
            return
        if event["event"] == "exited":
            if event["left"]:
                _log.error("%s has left processes that SIGKILL does not end: %s", unit.path, event["left"])
            self._on_exited(unit, event["instance"], event["exit"])
        elif event["event"] == "notify":
            fields = event["fields"]
            ready, watchdog = fields.get("READY") == "1", fields.get("WATCHDOG") == "1"
            self.tell(unit, Notified(event["instance"], ready, watchdog, fields.get("STATUS")))

    def _on_exited(self, unit: Unit, instance: str, exit_status: dict[str, Any]) -> None:
        self.actors.forget(instance)
        self.tell(unit, Exited(instance, exit_status, last_lines(self.directory.log(instance))))
        self.one_ended.set()

    # ---- actors ----

    def on_actor(self, instance: str, message: actor_pb2.FromActor) -> None:
        """What an actor says on its link."""
        unit = self.by_instance[instance]
        if message.WhichOneof("body") == "note":
            self.parent.note(note_to_wire(message.note, unit.path, time.time()))
        elif (event := event_from_actor(instance, message)) is not None:
            self.tell(unit, event)

    def _expect(self, unit: Unit, nonce: str) -> None:
        """A process that is no actor, by its declaration, is ready, well and done by other signs: they would differ."""
        reason = "" if unit.speaks else f'{unit.path}: this process is not declared as an actor: set ready = "actor"'
        self.actors.expect(nonce, unit.instance, reason)

    def on_link_refused(self, instance: str, reason: str) -> None:
        if unit := self.by_instance.get(instance):
            self.tell(unit, LinkRefused(instance, reason))

    def on_actor_lost(self, instance: str) -> None:
        if unit := self.by_instance.get(instance):
            self.tell(unit, ActorGone(instance))

    # ---- the parent ----

    def hello(self) -> tree_pb2.Hello:
        return tree_pb2.Hello(
            path=self.settings.path,
            kind=to_wire(Kind.NODE),
            incarnation=self.incarnation,
            version=version("grange"),
            host=socket.gethostname(),
            pid=os.getpid(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            fence=self.allegiance.seen,
        )

    def report(self, path: str) -> tree_pb2.ProcessReport:
        unit, now = self.units[path], time.monotonic()
        return report_to_wire(unit.report(), now - unit.figures_s, now)

    async def on_parent(self, message: tree_pb2.ToChild) -> None:
        match message.WhichOneof("body"):
            case "orders":
                fence = message.orders.fence
                if not await self._refused(fence, "orders"):
                    for order in message.orders.orders:
                        self._order(order)
            case "read_log":
                path = message.read_log.path
                own = path == self.settings.path
                slot = path.split("/")[-1]
                log = self.directory.agent_log if own else self.directory.newest_log(slot)
                self.logs.read(message.read_log, log)
            case "release":
                if not await self._refused(message.release.fence, "release"):
                    await self._release(message.release.reason)

    async def _refused(self, fence: tree_pb2.Fence, what: str) -> bool:
        accepted, fenced = await self.allegiance.judge(fence, what)
        if fenced is not None:
            await self.parent.send(tree_pb2.FromChild(fenced=fenced))
        return not accepted

    def _order(self, wire: tree_pb2.ProcessOrder) -> None:
        node, _, slot = wire.path.rpartition("/")
        if node != self.settings.path or not slot:
            _log.error("an order for %s came to %s: left out", wire.path, self.settings.path)
            return
        try:
            filled = fill_home(wire.spec, self.settings.home) if wire.HasField("spec") else None
            order = order_from_wire(wire, spec_from_wire(filled) if filled is not None else None)
        except WireError as error:
            _log.error("left out: %s", error)
            return
        if wire.path not in self.units:
            unit = self.units[wire.path] = Unit(wire.path)
            if (keeper_pid := self.keeper.silent_pid) is not None:
                self.tell(unit, KeeperSilent(keeper_pid))
        unit = self.units[wire.path]
        if filled is not None:
            self.specs[wire.path] = filled
        self.started += 1
        instance = f"{slot}.{self.incarnation}.{self.started}"
        self.tell(unit, Ordered(order, instance, ladder_from_wire(filled) if filled is not None else None))

    async def _release(self, reason: str) -> None:
        """No longer needed: agent and keeper end, if nothing of this node is alive."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBES_END_LIMIT_S):
                await self.probes.all_ended()
        answer = await self.keeper.request("end", fence=self.allegiance.fence)
        if answer["ok"]:
            _log.info("released (%s): ending", reason)
            self.keeper.ending = True
            self.ended.set()
        else:
            _log.error("not released: %s", answer["error"])

    async def _end_as_orphan(self, timeout_s: float) -> None:
        """The node's declared policy when nobody commands it any more: shut everything down and end."""
        await when_orphaned(lambda: self.parent.alone_since_s, timeout_s)
        _log.warning("no parent for %g s: shutting everything down", timeout_s)
        for path, unit in list(self.units.items()):
            order_id = f"orphan.{self.incarnation}.{path}"
            self.tell(unit, Ordered(Order(order_id, path, Command.SHUTDOWN, limit_s=0.0)))
        while any(unit.alive for unit in self.units.values()):
            self.one_ended.clear()
            await self.one_ended.wait()
        await self._release("orphaned")
        await self.ended.wait()


async def serve(agent: Agent) -> None:
    """Run the agent until it ends by itself or gets SIGTERM; processes and keeper live on."""
    task = asyncio.create_task(agent.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or "GRANGE_AGENT_INCARNATION" not in os.environ:
        sys.stderr.write("usage: the keeper starts the agent of a node; see grange.supervisor.keeper\n")
        return os.EX_USAGE
    begin_log(logging.StreamHandler(sys.stderr))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is for the command, not for the farm
    directory = NodeDirectory(Path(arguments[0]).resolve())
    actor, notify = map(int, os.environ["GRANGE_AGENT_SOCKETS"].split(","))
    settings = directory.settings()
    incarnation = int(os.environ["GRANGE_AGENT_INCARNATION"])

    for path in (settings.exchange_directory, settings.data_directory, settings.cache_directory):
        Path(path).mkdir(parents=True, exist_ok=True)

    gc.freeze()  # what was imported is there for good: no collection looks through it while an order waits

    async def run() -> None:
        await serve(Agent(directory, settings, incarnation, (actor, notify)))

    try:
        uvloop.run(run())
    except Replaced as error:
        _log.warning("%s", error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
