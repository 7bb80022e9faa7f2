"""The agent's side of the wire: the tree's messages as core's values, and back."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from grange.core.effects import Order
from grange.core.names import Command, State
from grange.core.plan import ProcessSpec
from grange.core.process_events import (
    ActorAnswered,
    ActorConnected,
    Event,
    HeartbeatHeard,
    Ladder,
    SendToActor,
)
from grange.core.reports import Failure, OutputFile, ProcessReport
from grange.proto import actor_pb2, processes, tree_pb2
from grange.proto.processes import FAILURE_KINDS, figures_to_wire
from grange.proto.words import command_from_wire, from_wire, to_wire


class WireError(ValueError):
    """A message says what this version does not know, or nothing where something is needed."""


def order_from_wire(order: tree_pb2.ProcessOrder, spec: ProcessSpec | None) -> Order:
    """Raises `WireError` for a command that means nothing here: what is not understood is not carried out."""
    command = command_from_wire(order.command)
    if command is None or not order.order_id:
        raise WireError(f"order {order.order_id!r} for {order.path}: command {order.command} means nothing here")
    return Order(
        order.order_id, order.path, command, order.limit_s, order.run_number, spec, order.restart, order.because
    )


def spec_from_wire(spec: tree_pb2.ProcessSpec) -> ProcessSpec:
    """Without its parameters, which are the actor's alone. Raises `WireError` for a way to be ready unknown here."""
    try:
        return processes.spec_from_wire(spec)
    except ValueError:
        raise WireError(f"{spec.path}: ready {spec.ready!r} means nothing to this version") from None


def ladder_from_wire(spec: tree_pb2.ProcessSpec) -> Ladder:
    """Times that are not given (0) have core's defaults."""
    default = Ladder()
    return Ladder(
        spec.terminate_timeout_s or default.terminate_timeout_s, spec.kill_timeout_s or default.kill_timeout_s
    )


def fill_home(spec: tree_pb2.ProcessSpec, home: str) -> tree_pb2.ProcessSpec:
    """The same specification with this node's home for `{home}` in the command, the environment and the parameters."""
    filled = tree_pb2.ProcessSpec()
    filled.CopyFrom(spec)
    for name in ("argv", "probe", "alive_probe"):
        getattr(filled, name)[:] = [_filled(word, home) for word in getattr(spec, name)]
    filled.working_directory = _filled(spec.working_directory, home)
    for name, value in spec.environment.items():
        filled.environment[name] = _filled(value, home)
    filled.parameters.Clear()
    filled.parameters.update(_filled(json_format.MessageToDict(spec.parameters), home))
    return filled


def _filled(value: Any, home: str) -> Any:
    if isinstance(value, str):
        return value.replace("{home}", home)
    if isinstance(value, dict):
        return {name: _filled(item, home) for name, item in value.items()}
    return [_filled(item, home) for item in value] if isinstance(value, list) else value


def spec_to_document(spec: tree_pb2.ProcessSpec) -> dict[str, Any]:
    """For a manifest's note: plain values that JSON can say."""
    return json_format.MessageToDict(spec, preserving_proto_field_name=True)


def spec_from_document(document: Mapping[str, Any]) -> tree_pb2.ProcessSpec:
    """Raises `WireError` for what `spec_to_document` did not write."""
    try:
        return json_format.ParseDict(dict(document), tree_pb2.ProcessSpec(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise WireError(f"the noted specification is damaged: {error}") from None


def actor_order(effect: SendToActor, spec: tree_pb2.ProcessSpec) -> actor_pb2.ActorOrder:
    """The order for an actor, with the part of its specification that the step needs."""
    order = actor_pb2.ActorOrder(
        command_id=effect.command_id, remaining_s=effect.remaining_s, run_number=effect.run_number
    )
    if effect.command is None:
        return order  # a question: an actor answers an id that it knows before it looks at anything else
    order.command = to_wire(effect.command)
    if effect.command in (Command.LOAD, Command.CONFIGURE):
        order.parameters.CopyFrom(spec.parameters)
    if effect.command is Command.CONFIGURE:
        for links, wanted in ((spec.inputs, order.inputs), (spec.outputs, order.outputs)):
            for link in links:
                wanted.add(role=link.role, peers=link.peers, feedback=link.feedback)
    return order


def report_to_wire(report: ProcessReport, figures_age_s: float, now_s: float) -> tree_pb2.ProcessReport:
    """Moments of this machine's monotonic clock, on which it is `now_s`, become ages."""
    wire = tree_pb2.ProcessReport(
        path=report.path,
        instance=report.instance,
        state=to_wire(report.state),
        health=to_wire(report.health),
        status=report.status,
        pid=report.pid,
        order_id=report.order_id,
        order_done=report.order_done,
        order_ok=report.order_ok,
        run_number=report.run_number,
        counted_run=report.counted_run,
    )
    if report.restarts:
        wire.restarts = report.restarts
        wire.restart_ages_s.extend(now_s - at_s for at_s in report.restarted_s)
    if report.counters:
        wire.counters.update(report.counters)
    if report.failure is not None:
        wire.failure.CopyFrom(_failure_to_wire(report.failure))
    if report.figures is not None:
        wire.figures.CopyFrom(figures_to_wire(report.figures))
        wire.figures.age_s = figures_age_s
    for file in report.files:
        wire.files.add(member=file.member, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
    return wire


def _failure_to_wire(failure: Failure) -> tree_pb2.Failure:
    return tree_pb2.Failure(kind=FAILURE_KINDS[failure.kind], reason=failure.reason, last_lines=failure.last_lines)


def files_from_wire(files: Any) -> tuple[OutputFile, ...]:
    return tuple([OutputFile(file.member, file.path, file.size_bytes, file.sha256) for file in files]) if files else ()


def event_from_actor(instance: str, message: actor_pb2.FromActor) -> Event | None:
    """What an actor says of itself; None for what is no news of its process."""
    match message.WhichOneof("body"):
        case "hello":
            hello = message.hello
            return ActorConnected(
                instance, from_wire(hello.state, State.UNKNOWN), hello.last_command_id, hello.run_number
            )
        case "answer":
            answer = message.answer
            return ActorAnswered(
                instance,
                answer.command_id,
                answer.ok,
                from_wire(answer.state, State.UNKNOWN),
                answer.reason,
                dict(answer.counters) if answer.counters else {},
                files_from_wire(answer.files),
            )
        case "heartbeat":
            beat = message.heartbeat
            return HeartbeatHeard(instance, from_wire(beat.state, State.UNKNOWN), beat.status, dict(beat.counters))
    return None


def note_to_wire(note: actor_pb2.ActorNote, member: str, at_unix_s: float) -> tree_pb2.Note:
    """What an actor has to say to people, as its member's."""
    return tree_pb2.Note(
        member=member,
        severity=note.severity,
        code=note.code,
        text=note.text,
        what_to_do=note.what_to_do,
        at_unix_s=at_unix_s,
    )
