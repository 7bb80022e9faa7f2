"""Carries out `grange config diff`, `tag` and `tags`."""

from pathlib import Path

from rich.text import Text

from grange.client.values import Change, Difference
from grange.client.values import as_json as to_json

from .offline import open_store
from .plain import in_one_line
from .registry import described
from .shell import print_json, tell
from .text import console, moment, revision

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow"), "moved": (">", "cyan")}


def show_difference(home: Path | None, before: str, after: str, *, as_json: bool) -> None:
    with open_store(home) as store:
        if not before:
            newer = store.config_list(1, after or "current")[0]
            before, after = newer.parent or newer.hash, newer.hash
        found = store.config_diff(before, after)
    if as_json:
        print_json(to_json(found))
        return
    tell(f"from  {described(found.before)}")
    tell(f"to    {described(found.after)}")
    if not found.changes:
        tell("nothing has changed")
    print_changes(found)


def print_changes(found: Difference) -> None:
    """A line for each change, its sign first."""
    screen = console()
    for change in found.changes:
        screen.print(_line(change), soft_wrap=True)


def _line(change: Change) -> Text:
    sign, style = _SIGNS.get(change.kind, ("~", "yellow"))
    return Text.assemble((f"{sign} ", style), in_one_line(change.text))


def tag_revision(home: Path | None, name: str, wanted: str, *, as_json: bool) -> None:
    with open_store(home) as store:
        found = store.config_tag(name, wanted)
    if as_json:
        print_json(to_json(found))
        return
    tell(f"{name} is revision {revision(found.hash)}")


def list_tags(home: Path | None, name: str, *, history: bool, as_json: bool) -> None:
    with open_store(home) as store:
        found = store.config_tags(name, history=history)
    if as_json:
        print_json([to_json(tag) for tag in found])
        return
    width = max((len(tag.name) for tag in found), default=0)
    for tag in found:
        tell(f"{tag.name:{width}}  {described(tag.revision)}")
        for change in tag.history:
            tell(f"{'':{width}}    {moment(change.at_unix_s)}  {revision(change.revision)}  by {change.person}")
