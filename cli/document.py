"""The reference of the command line, printed from the commands themselves: `docs/cli.md` is this text.

`make docs` renews it, and a test compares.
"""

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from .exits import MEANINGS
from .farm_commands import demo_program
from .main import PROGRAM, app

_WIDTH = 100  # columns of the help as it is printed here


def commands() -> str:
    """Every command with its help, as Markdown."""
    return "\n".join(
        f"## {context.command_path}\n\n```text\n{context.command.get_help(context)}\n```\n" for context in walk()
    )


def exit_codes() -> str:
    """The exit codes, as a Markdown table."""
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def walk() -> Iterator[Any]:
    """A context for every command, the program itself first and groups before what is in them."""
    root = get_command(app)
    return _walk(typer.Context(root, info_name=PROGRAM, terminal_width=_WIDTH, **root.context_settings))


def _walk(context: Any) -> Iterator[Any]:
    yield context
    if hasattr(context.command, "list_commands"):
        for name in context.command.list_commands(context):
            inner = get_command(demo_program()) if name == "demo" else context.command.get_command(context, name)
            yield from _walk(typer.Context(inner, parent=context, info_name=name, terminal_width=_WIDTH))
