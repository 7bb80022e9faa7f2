"""Runs of the registry as the messages that tell of them: for the service, and for readers without a controller."""

from collections import defaultdict

from grange.proto import common_pb2, runs_pb2
from grange.proto.words import to_wire
from grange.schema.database import Database
from grange.schema.runs import Run, RunDetails, run_details, runs

_NS = 1e-9
_LISTED = 20  # when nobody says how many
_LISTED_MOST = 1000


def list_runs(database: Database, request: runs_pb2.ListRunsRequest) -> runs_pb2.ListRunsResponse:
    """The newest runs, as asked for."""
    found = runs(database, min(request.most or _LISTED, _LISTED_MOST))
    return runs_pb2.ListRunsResponse(runs=[run_message(run) for run in found])


def get_run(database: Database, request: runs_pb2.GetRunRequest) -> runs_pb2.GetRunResponse:
    """All that is known of one run."""
    return runs_pb2.GetRunResponse(run=details_message(run_details(database, request.number)))


def run_message(run: Run) -> runs_pb2.Run:
    """A run as a list of runs shows it."""
    return runs_pb2.Run(
        number=run.number,
        type=run.type,
        mode=run.mode,
        revision=run.revision,
        person=run.person,
        comment=run.comment,
        start_asked_unix_s=run.start_asked_at_ns * _NS,
        running_unix_s=(run.running_at_ns or 0) * _NS,
        stop_asked_unix_s=(run.stop_asked_at_ns or 0) * _NS,
        stopped_unix_s=(run.stopped_at_ns or 0) * _NS,
        end_reason=run.end_reason,
        degraded=run.degraded,
        degraded_reason=run.degraded_reason,
        undrained=run.undrained,
        ends_after_events=run.ends_after_events,
        ends_after_s=run.ends_after_ns * _NS,
        changes_left_out=run.changes_left_out,
        last_seen_unix_s=(run.last_seen_at_ns or 0) * _NS,
    )


def details_message(details: RunDetails) -> runs_pb2.Run:
    """All that is known of a run."""
    message = run_message(details.run)
    counters: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for counter in details.counters:
        counters[counter.sub_farm][counter.role][counter.counter] = counter.value
    for sub_farm, roles in counters.items():
        counted = message.counters.add(sub_farm=sub_farm)
        for role, values in roles.items():
            counted.roles.add(role=role, counters=values)
    for file in details.files:
        message.files.append(
            common_pb2.OutputFile(
                member=file.member or file.sub_farm,
                path=file.path,
                size_bytes=file.size_bytes,
                sha256=file.checksum.removeprefix("sha256:"),
            )
        )
    for member in details.members:
        message.members.add(
            path=member.path,
            membership=to_wire(member.membership),
            reason=member.reason,
            at_unix_s=member.at_ns * _NS,
        )
    message.rules_asked = details.books.rules_asked
    message.mismatches.extend(f"{sub_farm}: {mismatch}" for sub_farm, mismatch in details.books.mismatches)
    message.inexact.extend(f"{sub_farm}: {mismatch}" for sub_farm, mismatch in details.books.inexact)
    message.tags.extend(details.tags)
    return message
