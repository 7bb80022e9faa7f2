"""The reference of the command line, printed from the commands themselves: `docs/cli.md` is this text.

`make docs` renews it, and a test compares.
"""

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from .exits import MEANINGS
from .farm_commands import demo_program
from .main import app

_WIDTH = 100  # columns of the help as it is printed here


def commands() -> str:
    """Every command with its help, as Markdown."""
    root = get_command(app)
    context = typer.Context(root, info_name="grange", terminal_width=_WIDTH, **root.context_settings)
    return "\n".join(_pages(root, context))


def exit_codes() -> str:
    """The exit codes, as a Markdown table."""
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def _pages(command: Any, context: Any) -> Iterator[str]:
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            inner = get_command(demo_program()) if name == "demo" else command.get_command(context, name)
            yield from _pages(inner, typer.Context(inner, parent=context, info_name=name, terminal_width=_WIDTH))
