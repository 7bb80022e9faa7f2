"""Carries out `grange config validate`, `set` and `edit`.

Whoever edits says what he began with, so nobody's change is overwritten; and no edited text is ever lost.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import click
import typer

from grange.client import Farm
from grange.client.configurations import read_configuration
from grange.client.values import Exported, Imported
from grange.core.configuration_text import parse
from grange.core.errors import Conflict, GrangeError, InvalidInput
from grange.core.placing import with_value, without_value
from grange.core.problems import ConfigurationError, Problem

from .comparing import print_changes
from .exits import Exit
from .offline import go_first, open_store
from .registry import counted, say_imported
from .shell import print_json, say, say_error, tell


def validate_configuration(file: Path, *, as_json: bool) -> None:
    text, format = read_configuration(file)
    try:
        configuration = parse(text, format, str(file))
    except ConfigurationError as error:
        if as_json:
            print_json({"valid": False, "problems": [_as_json(one) for one in error.problems], "warnings": []})
            raise typer.Exit(Exit.USAGE) from None
        count = len(error.problems)
        raise InvalidInput(error.problems, reason=f"{file}: {count} problem{'' if count == 1 else 's'}") from None
    if as_json:
        warnings = [_as_json(one) for one in configuration.warnings]
        print_json({"valid": True, "problems": [], "warnings": warnings})
        return
    for warning in configuration.warnings:
        say(f"warning: {warning}")
    tell(f"{file} is valid: {counted(configuration)}")


def _as_json(problem: Problem) -> dict[str, Any]:
    told = {"place": problem.place, "what": problem.what, "hint": problem.hint}
    return {**told, "line": problem.line, "column": problem.column} if problem.line else told


def set_values(
    home: Path | None,
    assignments: list[str],
    unset: list[str],
    message: str,
    *,
    use: bool,
    merge: bool,
    as_json: bool,
) -> None:
    if not assignments and not unset:
        what = "nothing to change is named"
        raise InvalidInput([Problem("", what)], "Such as: grange config set roles.psa.count=24")
    with open_store(home) as store:
        exported = store.config_export()
        document = json.loads(exported.text)
        for assignment in assignments:
            document = with_value(document, assignment)
        for place in unset:
            document = without_value(document, place)
        told = message or "; ".join([*assignments, *(f"unset {place}" for place in unset)])
        imported = store.import_configuration(
            json.dumps(document), "json", source="the changed configuration", message=told, use=use, merge=merge
        )
        _say_changed(store, home, exported, imported, as_json=as_json)


def _say_changed(store: Farm, home: Path | None, before: Exported, imported: Imported, *, as_json: bool) -> None:
    if not as_json and not imported.unchanged:
        print_changes(store.config_diff(before.revision.hash, imported.revision.hash))
    say_imported(imported, go_first(store, home), as_json=as_json)


def edit_configuration(
    home: Path | None, message: str, format: Literal["json", "toml"], *, use: bool, as_json: bool
) -> None:
    with open_store(home) as store:
        exported = store.config_export("", format)
        text: str | None = exported.text
        while True:
            text = _edited(text or "", format)
            if text is None or text == exported.text:
                tell("nothing has changed")
                return
            try:
                imported = store.import_configuration(
                    text, format, source="the edited configuration", message=message, use=use
                )
            except GrangeError as error:
                if isinstance(error, InvalidInput) and sys.stdin.isatty():
                    say_error(error)
                    if click.confirm("Edit it again?", default=True, err=True):
                        continue
                error.what_to_try = _kept(text, format, error)
                raise
            _say_changed(store, home, exported, imported, as_json=as_json)
            return


def _edited(text: str, format: str) -> str | None:
    """What a person makes of it; None when it was not saved."""
    try:
        return click.edit(text, extension=f".{format}")
    except click.ClickException as error:
        what = f"the editor did not end well: {error.message}"
        raise InvalidInput([Problem("", what)], "Set $VISUAL or $EDITOR to one that does") from None


def _kept(text: str, format: str, error: GrangeError) -> str:
    """Keeps an edited text that could not be stored in a file; what to try with it."""
    descriptor, name = tempfile.mkstemp(prefix="grange-edited-", suffix=f".{format}", dir=os.getcwd())
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    merge = " --merge" if isinstance(error, Conflict) and not error.places else ""
    first = "" if merge or not isinstance(error, Conflict | InvalidInput) else "mend it, then "
    return f"What you wrote is kept in {name}: {first}grange config import {name}{merge}"
