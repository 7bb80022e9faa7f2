"""`grange help` and `grange man`: the help of a command, and the manual page."""

from typing import Annotated, Any

import typer

from .options import examples


def register(app: typer.Typer) -> None:
    app.command("help", epilog=examples("grange help", "grange help go", "grange help config import"))(help_)
    app.command("man", epilog=examples("grange man | man -l -", "grange man > ~/.local/share/man/man1/grange.1"))(man)


def help_(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Such as go, or config import.", show_default=False)
    ] = None,
) -> None:
    """Show what a command does, as its --help."""
    found: Any = context.find_root()
    for word in words or ():
        command = found.command.get_command(found, word) if hasattr(found.command, "get_command") else None
        if command is None:
            found.fail(f"No such command '{word}'.")
        if word == "demo":
            from typer.main import get_command

            from .farm_commands import demo_program

            command = get_command(demo_program())
        found = type(found)(command, parent=found, info_name=word)
    typer.echo(found.command.get_help(found))


def man() -> None:
    """Print the manual page, in the format of man(7)."""
    from .manual import page

    typer.echo(page(), nl=False)
