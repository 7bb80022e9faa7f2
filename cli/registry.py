"""Carries out `grange runs …` and `grange config …`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from grange.client import RunRecord
from grange.client.values import Revision
from grange.client.values import as_json as to_json
from grange.core.durations import duration_words
from grange.core.errors import InvalidInput
from grange.core.problems import Problem

from .offline import open_store
from .shell import print_json, say
from .text import console, moment, revision, size


def list_runs(home: Path | None, most: int, *, as_json: bool) -> None:
    with open_store(home) as store:
        runs = store.runs(most)
    if as_json:
        print_json([to_json(run) for run in runs])
        return
    table = _table("run", "type", "started", "took data", "configuration", "by", "ended", "comment")
    for run in runs:
        flags = " (degraded)" * run.degraded + " (undrained)" * run.undrained
        table.add_row(
            str(run.number),
            "/".join(filter(None, [run.type, run.mode])),
            moment(run.start_asked_unix_s),
            _data_time(run),
            revision(run.revision),
            run.person,
            (run.end_reason or ("-" if run.stopped_unix_s else "not yet")) + flags,
            run.comment,
        )
    console().print(table if runs else "no runs yet")


def show_run(home: Path | None, number: int, *, as_json: bool) -> None:
    with open_store(home) as store:
        run = store.run(number)
    if as_json:
        print_json(to_json(run))
        return
    print_run(run)


def print_run(run: RunRecord) -> None:
    """A run with its books and its files, for people."""
    screen = console()
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("type", "/".join(filter(None, [run.type, run.mode]))),
        ("configuration", run.revision),
        ("by", run.person),
        ("comment", run.comment),
        ("start asked", moment(run.start_asked_unix_s)),
        ("running", moment(run.running_unix_s)),
        ("stop asked", moment(run.stop_asked_unix_s)),
        ("stopped", moment(run.stopped_unix_s)),
        ("took data", _data_time(run)),
        ("ended", run.end_reason),
        ("quality", ", ".join(filter(None, ["degraded" * run.degraded, "undrained" * run.undrained])) or "good"),
    ):
        if value:
            facts.add_row(f"  {name}", Text(value))
    screen.print(f"run {run.number}", style="bold")
    screen.print(facts)
    for sub_farm, roles in sorted(run.counters.items()):
        screen.print(f"\ncounted in {sub_farm}", style="bold")
        screen.print(_counters(roles))
    if run.files:
        screen.print("\nfiles", style="bold")
        files = _table("  file", "size", "sha256", "written by")
        for file in run.files:
            files.add_row(f"  {file.path}", size(file.size_bytes), file.sha256, file.member)
        screen.print(files)
    if run.mismatches:
        screen.print("\nthe books do not balance", style="bold red")
        for mismatch in run.mismatches:
            screen.print(f"  {mismatch}", style="red")


def _data_time(run: RunRecord) -> str:
    """From running to the stop's asking; a dash while it cannot be told."""
    ended = run.stop_asked_unix_s or run.stopped_unix_s
    return duration_words(ended - run.running_unix_s) if run.running_unix_s and ended else "-"


def _counters(roles: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for role, values in roles.items():
        table.add_row(f"  {role}", "  ".join(f"{name} {value}" for name, value in sorted(values.items())))
    return table


def import_configuration(home: Path | None, file: Path, message: str, *, use: bool, as_json: bool) -> None:
    with open_store(home, create=True) as store:
        imported = store.config_import(file, message=message, use=use)
    for warning in imported.warnings:
        say(f"warning: {warning}")
    if as_json:
        print_json(to_json(imported))
        return
    said = "nothing has changed" if imported.unchanged else "imported"
    selected = "; the next load takes it" if "current" in imported.revision.tags else ""
    typer.echo(f"{said}: revision {revision(imported.revision.hash)}{selected}")


def export_configuration(home: Path | None, name: str, output: Path | None, *, as_json: bool) -> None:
    with open_store(home) as store:
        exported = store.config_export(name)
    text = exported.text.rstrip("\n") + "\n"
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise InvalidInput([Problem(str(output), what)], "Name another file with -o") from None
    if as_json:
        where = {"file": str(output)} if output is not None else {"configuration": json.loads(exported.text)}
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
    screen.print(f"  farm {content['farm'].get('name', '')}")
    table = _table("  sub-farm", "nodes", "roles")
    for sub_farm, described in content["sub_farms"].items():
        table.add_row(f"  {sub_farm}", " ".join(described["nodes"]), " ".join(described["roles"]))
    screen.print(table)
    table = _table("  role", "what runs", "reads")
    for role, described in content["roles"].items():
        runs = described.get("actor") or " ".join(described.get("command") or ())
        table.add_row(f"  {role}", runs, " ".join(described.get("reads") or ()))
    screen.print(table)


def list_revisions(home: Path | None, most: int, *, as_json: bool) -> None:
    with open_store(home) as store:
        found = store.config_list(most)
    if as_json:
        print_json([to_json(entry) for entry in found])
        return
    for entry in found:
        typer.echo(f"{revision(entry.hash)}  {moment(entry.at_unix_s)}  {entry.author}{_tags(entry)}  {entry.message}")


def use_revision(home: Path | None, name: str, *, as_json: bool) -> None:
    with open_store(home) as store:
        found = store.config_use(name)
    if as_json:
        print_json(to_json(found))
        return
    typer.echo(f"the next load takes revision {revision(found.hash)}{_tags(found)}")


def _tags(entry: Revision) -> str:
    return f" ({', '.join(entry.tags)})" if entry.tags else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
