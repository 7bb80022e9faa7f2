"""Carries out `grange config …`."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from grange.client.values import Imported, Revision
from grange.client.values import as_json as to_json
from grange.core.configuration import Configuration
from grange.core.configuration_text import parse
from grange.core.errors import InvalidInput
from grange.core.expansion import expand_farm
from grange.core.names import State
from grange.core.problems import Problem

from .offline import go_first, open_store
from .plain import in_one_line
from .shell import print_json, say, tell
from .text import console, moment, revision


def import_configuration(
    home: Path | None, file: Path, message: str, *, use: bool, base: str, merge: bool, as_json: bool
) -> None:
    with open_store(home, create=True) as store:
        imported = store.config_import(file, message=message, use=use, base=base, merge=merge)
        first = go_first(store, home)
    say_imported(imported, first, as_json=as_json)


def say_imported(imported: Imported, first: State | None, *, as_json: bool) -> None:
    """What an import, or an edit, did."""
    for warning in imported.warnings:
        say(f"warning: {warning}")
    if as_json:
        print_json(to_json(imported))
        return
    merged = "merged with what is current, and imported" if imported.merged else "imported"
    said = "nothing has changed" if imported.unchanged else merged
    selected = f"; {_taken('it', first)}" if "current" in imported.revision.tags else ""
    tell(f"{said}: revision {revision(imported.revision.hash)}{selected}")


def export_configuration(home: Path | None, name: str, output: Path | None, format: str, *, as_json: bool) -> None:
    wanted = format or ("toml" if output is not None and output.suffix == ".toml" else "json")
    with open_store(home) as store:
        exported = store.config_export(name, "toml" if wanted == "toml" else "json")
    text = exported.text.rstrip("\n") + "\n"
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise InvalidInput([Problem(str(output), what)], "Name another file with -o") from None
    if as_json:
        content = exported.text if wanted == "toml" else json.loads(exported.text)
        where = {"file": str(output)} if output is not None else {"configuration": content}
        print_json({"revision": to_json(exported.revision), **where})
    elif output is None:
        typer.echo(text, nl=False)


def show_configuration(home: Path | None, name: str, *, as_json: bool) -> None:
    with open_store(home) as store:
        exported = store.config_export(name)
    content: dict[str, Any] = json.loads(exported.text)
    if as_json:
        print_json({"revision": to_json(exported.revision), "configuration": content})
        return
    found = exported.revision
    screen = console()
    screen.print(f"revision {found.hash}", style="bold")
    message = f": {found.message}" if found.message else ""
    screen.print(f"  {moment(found.at_unix_s)} by {found.author}{_tags(found)}{message}")
    screen.print(f"  farm {content['farm'].get('name', '')}: {counted(parse(exported.text, 'json'))}")
    table = _table("  sub-farm", "nodes", "roles")
    for sub_farm, described in content["sub_farms"].items():
        table.add_row(f"  {sub_farm}", " ".join(described["nodes"]), " ".join(described["roles"]))
    screen.print(table)
    table = _table("  role", "what runs", "reads")
    for role, described in content["roles"].items():
        runs = described.get("actor") or " ".join(described.get("command") or ())
        table.add_row(f"  {role}", runs, " ".join(described.get("reads") or ()))
    screen.print(table)


def list_revisions(home: Path | None, most: int, name: str, *, as_json: bool) -> None:
    with open_store(home) as store:
        found = store.config_list(most, name)
    if as_json:
        print_json([to_json(entry) for entry in found])
        return
    for entry in found:
        tell(described(entry))


def described(entry: Revision) -> str:
    """A revision in one line."""
    told = f"{revision(entry.hash)}  {moment(entry.at_unix_s)}  {entry.author}{_tags(entry)}  {entry.message}"
    return in_one_line(told)


def counted(configuration: Configuration) -> str:
    """How much a configuration describes."""
    farm = expand_farm(configuration, "")
    nodes = sum(len(sub_farm.nodes) for sub_farm in farm.sub_farms)
    processes = sum(len(sub_farm.processes) for sub_farm in farm.sub_farms)
    amounts = (("sub-farm", "s", len(farm.sub_farms)), ("node", "s", nodes), ("process", "es", processes))
    return ", ".join(f"{count} {word}{'' if count == 1 else ending}" for word, ending, count in amounts)


def use_revision(home: Path | None, name: str, *, as_json: bool) -> None:
    with open_store(home) as store:
        found = store.config_use(name)
        first = go_first(store, home)
    if as_json:
        print_json(to_json(found))
        return
    tell(_taken(f"revision {revision(found.hash)}{_tags(found)}", first))


def _taken(what: str, first: State | None) -> str:
    """When a selected revision comes into force, and what has to be done before."""
    if first is None:
        return f"the next load takes {what}"
    if first is State.UNKNOWN:
        return (
            f"{what} is selected; whether the next load can take it says, once the farm controller is up: grange status"
        )
    differs = "sub-farms or nodes" if first is State.ABSENT else "processes"
    return f"a load takes {what} after: grange go {first}, for it has other {differs} than the one in force"


def _tags(entry: Revision) -> str:
    return f" ({', '.join(entry.tags)})" if entry.tags else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
