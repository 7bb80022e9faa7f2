"""What each call of Configuration does with a database, as messages.

The farm controller's service does this in a thread, the command line by itself while no controller holds the farm: so
both answer alike.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal

from grange.core.configuration import Configuration
from grange.core.configuration_changes import ABSENT, Change
from grange.core.configuration_text import parse
from grange.core.configuration_writing import Format, to_text
from grange.core.errors import InvalidInput
from grange.core.problems import Problem
from grange.core.wording import demand_comment
from grange.proto import configuration_pb2 as messages
from grange.schema import revisions
from grange.schema.database import Database

_NS = 1e-9
_LISTED_MOST = 1000
_LISTED = 50  # when nobody says how many
_FORMATS: Mapping[str, Format] = {"json": "json", "toml": "toml"}


def checked(request: messages.ImportRequest) -> Configuration:
    """What a request is to store. Raises `ConfigurationError` with all that is wrong with it, and `InvalidInput`."""
    demand_comment("message", request.message)
    return parse(request.text, _format(request.format), request.source or "configuration")


def import_(
    database: Database, request: messages.ImportRequest, person: str, now_ns: int
) -> tuple[messages.ImportResponse, Configuration]:
    """Besides the answer the configuration that is stored, which after a merge is not the one that was sent."""
    configuration = checked(request)
    imported = revisions.import_configuration(
        database, configuration, person, request.message, now_ns, request.use, request.base, request.merge
    )
    told = (*configuration.warnings, *imported.warnings)
    response = messages.ImportResponse(
        revision=revision_message(imported.revision, _tags(database)),
        unchanged=not imported.changed,
        merged=imported.merged is not None,
        warnings=[messages.Problem(place=one.place, what=one.what, nearest=one.hint) for one in told],
    )
    return response, imported.merged or configuration


def export(database: Database, request: messages.ExportRequest) -> messages.ExportResponse:
    format = _format(request.format or "json")
    found, configuration = revisions.load_configuration(database, request.revision or revisions.CURRENT)
    text = to_text(configuration, format, found.provenance)
    return messages.ExportResponse(revision=revision_message(found, _tags(database)), text=text)


def list_revisions(database: Database, request: messages.ListRevisionsRequest) -> messages.ListRevisionsResponse:
    most = min(request.most or _LISTED, _LISTED_MOST)
    found = revisions.log(database, request.revision, most)
    tags = _tags(database)
    return messages.ListRevisionsResponse(revisions=[revision_message(one, tags) for one in found])


def use(
    database: Database, request: messages.UseRequest, person: str, now_ns: int
) -> tuple[messages.UseResponse, Configuration]:
    """Besides the answer the configuration that is selected."""
    _, configuration = revisions.load_configuration(database, request.revision)
    found = revisions.set_tag(database, revisions.CURRENT, request.revision, person, now_ns)
    return messages.UseResponse(revision=revision_message(found, _tags(database))), configuration


def diff(database: Database, request: messages.DiffRequest) -> messages.DiffResponse:
    names = (request.before or revisions.CURRENT, request.after or revisions.CURRENT)
    before, after, found = revisions.compare(database, *names)
    tags = _tags(database)
    return messages.DiffResponse(
        before=revision_message(before, tags),
        after=revision_message(after, tags),
        changes=[_change_message(change) for change in found],
    )


def set_tag(database: Database, request: messages.SetTagRequest, person: str, now_ns: int) -> messages.SetTagResponse:
    if request.name == revisions.CURRENT:
        what = f'"{revisions.CURRENT}" is what the next load takes'
        raise InvalidInput([Problem("name", what)], f"Select it: grange use {request.revision or 'REVISION'}")
    found = revisions.set_tag(database, request.name, request.revision or revisions.CURRENT, person, now_ns)
    return messages.SetTagResponse(revision=revision_message(found, _tags(database)))


def list_tags(database: Database, request: messages.ListTagsRequest) -> messages.ListTagsResponse:
    known = revisions.tags(database)
    if request.name:
        known = {request.name: revisions.tagged(database, request.name)}
    tags = _tags(database)
    return messages.ListTagsResponse(
        tags=[
            messages.Tag(
                name=name,
                revision=revision_message(revisions.find_revision(database, hash), tags),
                history=[
                    messages.TagChange(revision=change.revision, person=change.person, at_unix_s=change.at_ns * _NS)
                    for change in (revisions.tag_history(database, name) if request.history else ())
                ],
            )
            for name, hash in known.items()
        ]
    )


def revision_message(revision: revisions.Revision, tags: Mapping[str, list[str]]) -> messages.Revision:
    """`tags` by the hash of the revision that they point at."""
    return messages.Revision(
        hash=revision.hash,
        parent=revision.parent,
        author=revision.author,
        message=revision.message,
        at_unix_s=revision.created_at_ns * _NS,
        tags=tags.get(revision.hash, ()),
        content=revision.root,
    )


def _tags(database: Database) -> Mapping[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for name, hash in revisions.tags(database).items():
        names[hash].append(name)
    return names


def _change_message(change: Change) -> messages.Change:
    def told(value: Any) -> str:
        return "" if value is ABSENT else json.dumps(value, ensure_ascii=False)

    return messages.Change(
        place=change.place,
        kind=change.kind.value,
        text=str(change),
        before_json=told(change.before),
        after_json=told(change.after),
    )


def _format(name: str) -> Literal["json", "toml"]:
    if name not in _FORMATS:
        raise InvalidInput([Problem("format", f"json or toml, not {name!r}")])
    return _FORMATS[name]
