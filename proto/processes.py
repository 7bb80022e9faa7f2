"""Processes on the wire: how they are described and ordered, and what their agents report of them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from grange.core.effects import Order
from grange.core.names import Health, Ready, State
from grange.core.plan import DataLink, ProcessSpec, StepLimits
from grange.core.reports import (
    Failure,
    Figures,
    OutputFile,
    ProcessReport,
)
from grange.core.spawning import Probing, SpawnOptions

from . import common_pb2, tree_pb2
from .words import from_wire, to_wire

FAILURE_KINDS = {
    "never started": tree_pb2.FAILURE_NEVER_STARTED,
    "died while starting": tree_pb2.FAILURE_DIED_STARTING,
    "too slow": tree_pb2.FAILURE_TOO_SLOW,
    "hung": tree_pb2.FAILURE_HUNG,
    "refused": tree_pb2.FAILURE_REFUSED,
    "died while running": tree_pb2.FAILURE_DIED_RUNNING,
}
_FAILURE_NAMES: dict[int, str] = {int(value): name for name, value in FAILURE_KINDS.items()}


def process_report_from_wire(message: tree_pb2.ProcessReport, now_s: float) -> ProcessReport:
    """Ages in the report become moments of the receiver's monotonic clock, on which it is `now_s`."""
    return ProcessReport(
        path=message.path,
        state=from_wire(message.state, State.UNKNOWN),
        instance=message.instance,
        health=from_wire(message.health, Health.ERROR),
        status=message.status,
        pid=message.pid,
        order_id=message.order_id,
        order_done=message.order_done,
        order_ok=message.order_ok,
        failure=failure_from_wire(message.failure) if message.HasField("failure") else None,
        counters=dict(message.counters),
        files=tuple(file_from_wire(file) for file in message.files),
        counted_run=message.counted_run,
        run_number=message.run_number,
        figures=figures_from_wire(message.figures) if message.HasField("figures") else None,
        restarts=message.restarts,
        restarted_s=tuple([now_s - age_s for age_s in message.restart_ages_s]) if message.restarts else (),
    )


def failure_from_wire(message: tree_pb2.Failure) -> Failure:
    return Failure(_FAILURE_NAMES.get(message.kind, "failed"), message.reason, tuple(message.last_lines))


def figures_from_wire(message: common_pb2.ProcessFigures) -> Figures:
    return Figures(
        message.cpu_percent,
        message.rss_bytes,
        message.threads,
        message.open_files,
        message.read_bytes,
        message.written_bytes,
        message.age_s,
    )


def figures_to_wire(figures: Figures) -> common_pb2.ProcessFigures:
    return common_pb2.ProcessFigures(
        cpu_percent=figures.cpu_percent,
        rss_bytes=figures.rss_bytes,
        threads=figures.threads,
        open_files=figures.open_files,
        read_bytes=figures.read_bytes,
        written_bytes=figures.written_bytes,
        age_s=figures.age_s,
    )


def order_to_wire(order: Order, limits: StepLimits) -> tree_pb2.ProcessOrder:
    return tree_pb2.ProcessOrder(
        order_id=order.order_id,
        path=order.path,
        command=to_wire(order.command),
        limit_s=order.limit_s,
        run_number=order.run_number,
        spec=spec_to_wire(order.spec, limits) if order.spec is not None else None,
        because=order.because,
        restart=order.restart,
    )


def spec_to_wire(spec: ProcessSpec, limits: StepLimits) -> tree_pb2.ProcessSpec:
    return tree_pb2.ProcessSpec(
        path=spec.path,
        role=spec.role,
        argv=spec.argv,
        actor=spec.actor,
        ready=spec.ready.value,
        settle_time_s=spec.settle_time_s,
        working_directory=spec.working_directory,
        environment=spec.environment,
        heartbeat_timeout_s=spec.heartbeat_timeout_s,
        parameters=struct(spec.parameters),
        inputs=[_link(link) for link in spec.inputs],
        outputs=[_link(link) for link in spec.outputs],
        terminate_timeout_s=limits.terminate_timeout_s,
        kill_timeout_s=limits.kill_timeout_s,
        limits=spec.options.limits,
        cpus=spec.options.cpus,
        nice=spec.options.nice,
        template=spec.options.template,
        probe=spec.probing.ready,
        probe_interval_s=spec.probing.interval_s,
        probe_timeout_s=spec.probing.timeout_s,
        alive_probe=spec.probing.alive,
        alive_interval_s=spec.probing.alive_interval_s,
        alive_misses=spec.probing.alive_misses,
        watchdog_timeout_s=spec.probing.watchdog_timeout_s,
    )


def spec_from_wire(spec: tree_pb2.ProcessSpec) -> ProcessSpec:
    """Without its parameters. Raises ValueError for a way to be ready that is unknown here."""
    return ProcessSpec(
        path=spec.path,
        role=spec.role,
        argv=tuple(spec.argv),
        actor=spec.actor,
        ready=Ready(spec.ready or Ready.ACTOR.value),
        settle_time_s=spec.settle_time_s,
        working_directory=spec.working_directory,
        environment=dict(spec.environment),
        heartbeat_timeout_s=spec.heartbeat_timeout_s,
        options=SpawnOptions(dict(spec.limits), tuple(spec.cpus), spec.nice, spec.template),
        probing=_probing_from_wire(spec),
        inputs=tuple(DataLink(link.role, tuple(link.peers), link.feedback) for link in spec.inputs),
        outputs=tuple(DataLink(link.role, tuple(link.peers), link.feedback) for link in spec.outputs),
    )


def _probing_from_wire(spec: tree_pb2.ProcessSpec) -> Probing:
    """Times and numbers that are not given (0) have core's defaults."""
    default = Probing()
    return Probing(
        ready=tuple(spec.probe),
        interval_s=spec.probe_interval_s or default.interval_s,
        timeout_s=spec.probe_timeout_s or default.timeout_s,
        alive=tuple(spec.alive_probe),
        alive_interval_s=spec.alive_interval_s or default.alive_interval_s,
        alive_misses=spec.alive_misses or default.alive_misses,
        watchdog_timeout_s=spec.watchdog_timeout_s,
    )


def _link(link: DataLink) -> tree_pb2.DataLink:
    return tree_pb2.DataLink(role=link.role, peers=link.peers, feedback=link.feedback)


def struct(values: Mapping[str, Any]) -> Struct:
    """Parameters as the wire's structure; numbers become doubles there."""
    message = Struct()
    message.update(values)
    return message


def file_from_wire(message: common_pb2.OutputFile) -> OutputFile:
    return OutputFile(message.member, message.path, message.size_bytes, message.sha256)


def file_to_wire(file: OutputFile) -> common_pb2.OutputFile:
    return common_pb2.OutputFile(member=file.member, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
