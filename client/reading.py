"""From the wire's messages to the client's values: the one place that knows both."""

import json
from collections.abc import Iterable
from typing import Any

from grange.core.names import Health, Kind, Membership, State
from grange.core.problems import Problem
from grange.proto import common_pb2, configuration_pb2, control_pb2, runs_pb2
from grange.proto.words import from_wire

from .values import (
    Busy,
    Cause,
    Change,
    Count,
    Difference,
    Exported,
    Imported,
    Lease,
    MemberStatus,
    Outcome,
    OutcomeKind,
    OutputFile,
    Progress,
    Revision,
    RunMember,
    RunRecord,
    Status,
    StepTime,
    StoryLine,
    Tag,
    TagChange,
)

_OUTCOMES = {
    control_pb2.OUTCOME_DONE: OutcomeKind.DONE,
    control_pb2.OUTCOME_FAILED: OutcomeKind.FAILED,
    control_pb2.OUTCOME_CANCELLED: OutcomeKind.CANCELLED,
    control_pb2.OUTCOME_SUPERSEDED: OutcomeKind.SUPERSEDED,
    control_pb2.OUTCOME_INTERRUPTED: OutcomeKind.INTERRUPTED,
}


def read_busy(message: common_pb2.Busy) -> Busy:
    return Busy(
        message.command_id,
        message.doing,
        message.person,
        message.since_unix_s,
        message.remaining_s,
        message.done,
        message.total,
        message.slowest,
    )


def read_member(row: common_pb2.MemberRow) -> MemberStatus:
    """Health that is not told is an error: never claim that a member is well when it did not say so."""
    return MemberStatus(
        path=row.path,
        kind=from_wire(row.kind, Kind.PROCESS),
        name=row.name,
        state=from_wire(row.state, State.UNKNOWN),
        health=from_wire(row.health, Health.ERROR),
        status=row.status,
        membership=from_wire(row.membership, Membership.IN),
        busy=read_busy(row.busy) if row.HasField("busy") else None,
        counts=tuple(
            Count(
                count.role,
                from_wire(count.state, State.UNKNOWN),
                from_wire(count.health, Health.ERROR),
                count.processes,
                count.out,
            )
            for count in row.counts
        ),
        heard_unix_s=row.heard_unix_s,
        role=row.role,
        pid=row.pid,
        instance=row.instance,
        run_number=row.run_number,
        revision=row.revision,
        returning=row.returning,
        unaccounted=row.unaccounted,
    )


def read_members(rows: Iterable[common_pb2.MemberRow]) -> tuple[MemberStatus, ...]:
    return tuple(read_member(row) for row in rows)


def read_status(response: control_pb2.InspectResponse) -> Status:
    return Status(
        farm=response.farm,
        version=response.version,
        holder=response.holder,
        selected_revision=response.selected_revision,
        possible=tuple(response.possible),
        members=read_members(response.rows),
        causes=read_causes(response.causes),
        counters=read_counters(response.counters),
        story=read_story(response.story),
        lease=read_lease(response.lease) if response.HasField("lease") else None,
        go_first=from_wire(response.go_first, State.UNKNOWN) if response.go_first else None,
        access_trouble=response.access_trouble,
    )


def read_lease(lease: common_pb2.Lease) -> Lease:
    return Lease(lease.holder, lease.since_unix_s, lease.until_unix_s, lease.comment)


def read_story(story: Iterable[control_pb2.StoryLine]) -> tuple[StoryLine, ...]:
    return tuple(StoryLine(line.at_unix_s, line.member, line.text) for line in story)


def read_causes(causes: Iterable[common_pb2.Cause]) -> tuple[Cause, ...]:
    return tuple(Cause(cause.reason, cause.members, cause.example) for cause in causes)


def read_counters(roles: Iterable[common_pb2.RoleCounters]) -> dict[str, dict[str, int]]:
    return {role.role: dict(role.counters) for role in roles}


def read_accepted(accepted: control_pb2.Accepted) -> Progress:
    return Progress(accepted.command_id, tuple(accepted.steps), accepted.attached, unheard=tuple(accepted.unheard))


def read_progress(progress: control_pb2.Progress, accepted: Progress) -> Progress:
    return Progress(
        accepted.command_id,
        accepted.steps,
        accepted.attached,
        read_busy(progress.busy) if progress.HasField("busy") else None,
        from_wire(progress.state, State.UNKNOWN),
        read_members(progress.rows),
        accepted.unheard,
    )


def read_outcome(outcome: control_pb2.Outcome) -> Outcome:
    return Outcome(
        command_id=outcome.command_id,
        kind=_OUTCOMES.get(outcome.kind, OutcomeKind.UNKNOWN),
        reason=outcome.reason,
        state=from_wire(outcome.state, State.UNKNOWN),
        run_number=outcome.run_number,
        duration_s=outcome.duration_s,
        notes=tuple(outcome.notes),
        steps=tuple(StepTime(step.step, step.duration_s) for step in outcome.steps),
        path=outcome.path,
    )


def read_file(file: common_pb2.OutputFile) -> OutputFile:
    return OutputFile(file.member, file.path, file.size_bytes, file.sha256)


def read_run(run: runs_pb2.Run, behind: str = "") -> RunRecord:
    return RunRecord(
        number=run.number,
        type=run.type,
        mode=run.mode,
        revision=run.revision,
        person=run.person,
        comment=run.comment,
        start_asked_unix_s=run.start_asked_unix_s,
        running_unix_s=run.running_unix_s,
        stop_asked_unix_s=run.stop_asked_unix_s,
        stopped_unix_s=run.stopped_unix_s,
        end_reason=run.end_reason,
        degraded=run.degraded,
        undrained=run.undrained,
        counters={sub_farm.sub_farm: read_counters(sub_farm.roles) for sub_farm in run.counters},
        files=tuple(read_file(file) for file in run.files),
        mismatches=tuple(run.mismatches),
        inexact=tuple(run.inexact),
        behind=behind,
        rules_asked=run.rules_asked,
        members=tuple(
            RunMember(member.path, from_wire(member.membership, Membership.IN), member.reason, member.at_unix_s)
            for member in run.members
        ),
        changes_left_out=run.changes_left_out,
        last_seen_unix_s=run.last_seen_unix_s,
        degraded_reason=run.degraded_reason,
        ends_after_events=run.ends_after_events,
        ends_after_s=run.ends_after_s,
        tags=tuple(run.tags),
    )


def read_revision(revision: configuration_pb2.Revision) -> Revision:
    return Revision(
        revision.hash,
        revision.parent,
        revision.author,
        revision.message,
        revision.at_unix_s,
        tuple(revision.tags),
        revision.content,
    )


def read_imported(response: configuration_pb2.ImportResponse) -> Imported:
    warnings = tuple(Problem(problem.place, problem.what, problem.nearest) for problem in response.warnings)
    return Imported(read_revision(response.revision), response.unchanged, warnings, response.merged)


def read_exported(response: configuration_pb2.ExportResponse) -> Exported:
    return Exported(read_revision(response.revision), response.text)


def read_difference(response: configuration_pb2.DiffResponse) -> Difference:
    found = tuple(
        Change(change.place, change.kind, change.text, _value(change.before_json), _value(change.after_json))
        for change in response.changes
    )
    return Difference(read_revision(response.before), read_revision(response.after), found)


def _value(text: str) -> Any:
    return json.loads(text) if text else None


def read_tag(tag: configuration_pb2.Tag) -> Tag:
    history = tuple(TagChange(change.revision, change.person, change.at_unix_s) for change in tag.history)
    return Tag(tag.name, read_revision(tag.revision), history)
