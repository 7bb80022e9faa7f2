"""From the wire's page of a member to the client's."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from google.protobuf import json_format

from grange.core.names import State
from grange.core.plan import ProcessSpec, Quorum, StepLimits
from grange.proto import control_pb2, tree_pb2
from grange.proto.processes import failure_from_wire, figures_from_wire, spec_from_wire
from grange.proto.words import command_from_wire, from_wire

from .page import AwaitedOrder, ControllerPage, GoalPage, LogTail, MemberPage, NodePage, ProcessPage, RolePage
from .reading import read_counters, read_file, read_member, read_members, read_story


def read_page(page: control_pb2.MemberPage) -> MemberPage:
    about = page.WhichOneof("about")
    return MemberPage(
        member=read_member(page.row),
        at_unix_s=page.at_unix_s,
        farm=page.farm,
        holder=page.holder,
        version=page.version,
        trouble=page.trouble,
        revision=page.revision,
        selected_revision=page.selected_revision,
        possible=tuple(page.possible),
        members=read_members(page.members),
        counters=read_counters(page.counters),
        story=read_story(page.story),
        log=LogTail(page.log.host, page.log.file, tuple(page.log.lines), page.log.problem),
        process=_process(page.process) if about == "process" else None,
        node=_node(page.node) if about == "node" else None,
        controller=_controller(page.controller) if about == "controller" else None,
        go_first=from_wire(page.go_first, State.UNKNOWN) if page.go_first else None,
    )


def _process(page: control_pb2.ProcessPage) -> ProcessPage:
    awaited = page.awaited
    return ProcessPage(
        fault=page.fault,
        membership=page.membership,
        unheard=page.unheard,
        failure=failure_from_wire(page.failure) if page.HasField("failure") else None,
        awaited=AwaitedOrder(command_from_wire(awaited.command), awaited.since_unix_s, awaited.remaining_s)
        if page.HasField("awaited")
        else None,
        figures=figures_from_wire(page.figures) if page.HasField("figures") else None,
        figures_unix_s=page.figures_unix_s,
        files=tuple(read_file(file) for file in page.files),
        configuration=_configuration(page.configuration),
        role=_role(page.role),
        restarts=page.restarts,
        restarted_unix_s=page.restarted_unix_s,
    )


def _configuration(spec: tree_pb2.ProcessSpec) -> ProcessSpec:
    """A way to be ready that a newer program knows is told as an actor's, the default."""
    try:
        read = spec_from_wire(spec)
    except ValueError:
        known = tree_pb2.ProcessSpec()
        known.CopyFrom(spec)
        known.ready = ""
        read = spec_from_wire(known)
    return replace(read, parameters=_whole(json_format.MessageToDict(spec.parameters)))


def _whole(value: Any) -> Any:
    """Numbers became doubles on the wire; whole ones are told as they were written."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _role(page: control_pb2.RolePage) -> RolePage:
    quorum = page.quorum
    return RolePage(
        name=page.name,
        rank=page.rank,
        policy=page.policy,
        quorum=Quorum(
            quorum.number if quorum.HasField("number") else None,
            quorum.fraction if quorum.HasField("fraction") else None,
        ),
        configured=page.configured,
        needed=page.needed,
        well=page.well if page.HasField("well") else None,
        limits_s=_in_order(page.limits_s),
        hung_timeout_s=page.hung_timeout_s,
    )


def _in_order(limits_s: Mapping[str, float]) -> dict[str, float]:
    """The steps in their order, which the wire does not keep; those of a newer program last."""
    known = [field.name.removesuffix("_timeout_s") for field in fields(StepLimits)]
    return {step: limits_s[step] for step in sorted(limits_s, key=lambda step: (*known, step).index(step))}


def _node(page: control_pb2.NodePage) -> NodePage:
    return NodePage(
        host=page.host,
        directory=page.directory,
        agent_pid=page.agent_pid,
        agent_incarnation=page.agent_incarnation,
        agent_version=page.agent_version,
        boot_id=page.boot_id,
        attached_unix_s=page.attached_unix_s,
        keeper_pid=page.keeper_pid,
        keeper_silent=page.keeper_silent,
        trouble=page.trouble,
    )


def _controller(page: control_pb2.ControllerPage) -> ControllerPage:
    goal = page.goal
    return ControllerPage(
        host=page.host,
        pid=page.pid,
        version=page.version,
        address=page.address,
        boot_id=page.boot_id,
        incarnations=tuple(page.incarnations),
        attached_unix_s=page.attached_unix_s,
        trouble=page.trouble,
        goal=GoalPage(goal.command_id, goal.doing, goal.person, goal.since_unix_s, goal.outcome, goal.reason)
        if page.HasField("goal")
        else None,
        roles=tuple(_role(role) for role in page.roles),
    )
