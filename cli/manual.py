"""The manual page grange(1), printed from the commands themselves in the format of man(7): `docs/grange.1` is this.

`make docs` renews it, and a test compares. click-man would be the package for it, but it knows the commands of click,
and typer has its own.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

from .document import walk
from .exits import MEANINGS
from .surroundings import ENVIRONMENT, FILES


def page() -> str:
    """The whole page."""
    program, *commands = walk()
    lines = [
        f'.TH GRANGE 1 "" "grange {metadata.version("grange")}" "User Commands"',
        ".SH NAME",
        _text(f"grange - {program.command.help[0].lower()}{program.command.help[1:].rstrip('.')}"),
        ".SH SYNOPSIS",
        ".B grange",
        _text("[OPTIONS] COMMAND [ARGUMENTS]"),
        ".SH DESCRIPTION",
        _text(_DESCRIPTION),
        ".SH OPTIONS",
        *_tagged(_parameters(program)),
        ".SH COMMANDS",
    ]
    for context in commands:
        if hasattr(context.command, "list_commands") and not context.command.invoke_without_command:
            continue  # a group that does nothing by itself
        lines += _command(context)
    lines += [".SH EXIT STATUS", *_tagged((str(code.value), meaning) for code, meaning in MEANINGS.items())]
    lines += [".SH ENVIRONMENT", *_tagged(_sorted(ENVIRONMENT)), ".SH FILES"]
    lines += [_text("HOME is the farm's directory."), *_tagged(FILES.items())]
    lines += [".SH EXAMPLES", *_examples(program.command)]
    return "\n".join(lines) + "\n"


_DESCRIPTION = (
    "A farm lives in one directory; --home or GRANGE_HOME says which. What is meant for a program goes to standard "
    "output, and is JSON with --json; progress, warnings and errors go to standard error. A command belongs to the "
    "controller: Ctrl-C cancels it there and waits for the outcome, a terminal that is closed does not. The options "
    "--color and --debug may stand anywhere."
)


def _command(context: Any) -> Iterator[str]:
    command = context.command
    yield f'.SS "{_text(" ".join([context.command_path, *command.collect_usage_pieces(context)]))}"'
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield ".PP"
        yield _text(" ".join(paragraph.split()))
    yield from _tagged(_parameters(context))
    yield from _examples(command)


def _parameters(context: Any) -> Iterator[tuple[str, str]]:
    """Arguments and options with their help, as `--help` shows them; that every command has help is said once."""
    top = context.parent is None
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and (top or parameter.name not in ("help", "home")):
            yield record


def _examples(command: Any) -> Iterator[str]:
    yield ".PP"
    yield ".EX"
    for line in example_lines(command):
        yield _text(f"  {line}")
    yield ".EE"


def example_lines(command: Any) -> list[str]:
    """What a command's help tells to type."""
    _, _, shown = (command.epilog or "").partition("\b\n")
    return [line.strip() for line in shown.splitlines()[1:]]


def _tagged(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in pairs:
        yield ".TP"
        yield f".B {_text(term)}"
        yield _text(meaning)


def _sorted(words: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return sorted(words.items())


def _text(text: str) -> str:
    """Plain text for roff: its own characters escaped, and no line that it would take for a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace('"', "\\(dq")
    escaped = escaped.replace("~", "\\(ti").replace("^", "\\(ha").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
