"""From core's page of a member to the wire's."""

from dataclasses import asdict

from grange.core.memory import GoalMemory, LinkMemory
from grange.core.page import ProcessPage, RoleStanding
from grange.core.plan import StepLimits

from . import control_pb2, tree_pb2
from .processes import FAILURE_KINDS, figures_to_wire, file_to_wire, spec_to_wire
from .words import to_wire


def process_page_to_wire(page: ProcessPage, wall_s: float) -> control_pb2.ProcessPage:
    wire = control_pb2.ProcessPage(
        fault=page.fault,
        membership=page.membership,
        unheard=page.unheard,
        files=[file_to_wire(file) for file in page.files],
        configuration=spec_to_wire(page.spec, page.role.role.limits),
        role=role_to_wire(page.role),
        restarts=page.restarts,
        restarted_unix_s=wall_s - page.restarted_age_s if page.restarted_age_s is not None else 0.0,
    )
    if (failure := page.failure) is not None:
        kind = FAILURE_KINDS.get(failure.kind, tree_pb2.FAILURE_UNSPECIFIED)
        wire.failure.CopyFrom(tree_pb2.Failure(kind=kind, reason=failure.reason, last_lines=failure.last_lines))
    if (awaited := page.awaited) is not None:
        wire.awaited.command = to_wire(awaited.command)
        wire.awaited.since_unix_s = wall_s - awaited.age_s
        wire.awaited.remaining_s = awaited.remaining_s
    if page.figures is not None:
        wire.figures.CopyFrom(figures_to_wire(page.figures))
        wire.figures_unix_s = wall_s - page.figures_age_s
    return wire


def role_to_wire(standing: RoleStanding) -> control_pb2.RolePage:
    role = standing.role
    return control_pb2.RolePage(
        name=role.name,
        rank=role.rank,
        policy=role.policy.value,
        quorum=control_pb2.Quorum(number=role.quorum.number, fraction=role.quorum.fraction),
        configured=standing.configured,
        needed=standing.needed,
        well=standing.well,
        limits_s=_limits(role.limits),
        hung_timeout_s=role.hung_timeout_s,
    )


def _limits(limits: StepLimits) -> dict[str, float]:
    """By the step's name: `boot_timeout_s` is boot."""
    return {name.removesuffix("_timeout_s"): seconds for name, seconds in asdict(limits).items()}


def node_page_to_wire(link: LinkMemory, directory: str, offset_s: float) -> control_pb2.NodePage:
    """`offset_s` turns core's moments into seconds since 1970."""
    return control_pb2.NodePage(
        host=link.host,
        directory=directory,
        agent_pid=link.pid if link.attached else 0,
        agent_incarnation=link.incarnation,
        agent_version=link.version,
        boot_id=link.boot_id,
        attached_unix_s=_attached(link, offset_s),
        keeper_pid=link.keeper_pid,
        keeper_silent=link.keeper_silent,
        trouble=link.trouble,
    )


def link_to_wire(link: LinkMemory, address: str, offset_s: float) -> control_pb2.ControllerPage:
    """A controller below, as far as the one above it knows it."""
    return control_pb2.ControllerPage(
        host=link.host,
        pid=link.pid if link.attached else 0,
        version=link.version,
        address=address,
        boot_id=link.boot_id,
        attached_unix_s=_attached(link, offset_s),
        trouble=link.trouble,
    )


def _attached(link: LinkMemory, offset_s: float) -> float:
    return link.attached_s + offset_s if link.attached and link.attached_s is not None else 0.0


def goal_page_to_wire(held: GoalMemory, offset_s: float) -> control_pb2.GoalPage:
    return control_pb2.GoalPage(
        command_id=held.goal.command_id,
        doing=held.goal.doing,
        person=held.goal.person,
        since_unix_s=held.since_s + offset_s,
        outcome=held.outcome,
        reason=held.reason,
    )
