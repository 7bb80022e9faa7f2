"""What surrounds every command: errors become one clear sentence and an exit code, never a traceback.

`--debug` or `GRANGE_DEBUG=1` shows tracebacks after all. A reader that goes away (`grange status | head`) ends the
command in silence.
"""

import itertools
import json
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import typer
from typer.core import TyperGroup

from grange.core.errors import Conflict, Fault, GrangeError, InvalidInput
from grange.core.problems import Problem

from .exits import Exit, exit_of
from .interrupts import heard
from .plain import plain

_ANYWHERE = {"--debug": 0, "--color": 1}  # options that every command takes, and how many words follow each


_WORDS = "grange.words"  # in the context: all that was typed


class Shell(TyperGroup):
    """The group of all commands, with the one place where errors are caught."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: Any) -> Any:
        debug = bool(ctx.params.get("debug"))
        try:
            with heard():
                _demand_sense(ctx.meta[_WORDS])
                result = super().invoke(ctx)
                sys.stdout.flush()  # so that a reader that went away is noticed here
            return result
        except GrangeError as error:
            if debug:
                traceback.print_exc()
            say_error(error)
            raise typer.Exit(exit_of(error)) from None
        except BrokenPipeError:
            # whatever is still buffered has nowhere to go; Python would complain about it at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.DONE) from None
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
        except OSError as error:
            if debug:
                traceback.print_exc()
            say(f"grange: {_of_system(error)}. Mend that and repeat the command; --debug shows where it came up")
            raise typer.Exit(Exit.FAILED) from None
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):
                raise  # the command line parser's own, which it reports itself
            if debug:
                traceback.print_exc()
            say(f"grange: {type(error).__name__}: {str(error) or 'no reason given'}. {SEE_MORE}")
            raise typer.Exit(Exit.BUG) from None


SEE_MORE = "This is a bug: to see where, repeat it with --debug, and please report that"


class _Told(Protocol):
    @property
    def behind(self) -> str: ...


def say_behind(told: Sequence[_Told]) -> None:
    """Warns of what the database told while records waited for it."""
    if told and told[0].behind:
        say(told[0].behind)


def _demand_sense(words: Sequence[str]) -> None:
    """Raises `InvalidInput` for what no command can be meant by, whichever it is."""
    for word, following in itertools.pairwise((*words, None)):
        shown = os.fsencode(word or "").decode(errors="replace")
        if shown != word:  # Python has such bytes as half surrogates, which cannot be sent, stored or printed
            what = f'"{shown}" is not UTF-8 text'
            raise InvalidInput([Problem("", what)], "Is the encoding of the terminal, or of the script, another one?")
        if word == "--home=" or (word == "--home" and following == ""):  # a path, and then the current directory
            raise InvalidInput([Problem("--home", "an empty name")], "Leave it out, or name a directory, such as .")


def _of_system(error: OSError) -> str:
    """What the operating system refused, with the file that it names."""
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The same words, with the options that may stand anywhere brought to the front; `--` ends them."""
    front: list[str] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            return [*front, *rest, word, *words]
        name, equals, _ = word.partition("=")
        if name not in _ANYWHERE:
            rest.append(word)
            continue
        following = 0 if equals else _ANYWHERE[name]
        front += [word, *words[:following]]
        del words[:following]
    return [*front, *rest]


def own_path() -> str:
    """How this very `grange` is called: by its name when the shell finds it, else by its path."""
    own, found = Path(sys.prefix) / "bin" / "grange", shutil.which("grange")
    return "grange" if (found and Path(found).resolve() == own.resolve()) or not own.exists() else str(own)


def tell(text: str = "") -> None:
    """What a command has found, on standard output."""
    typer.echo(plain(text))


def say(sentence: str) -> None:
    """A sentence for people, on standard error."""
    typer.echo(plain(sentence), err=True)


def say_error(error: GrangeError) -> None:
    """An error with all it knows: each problem with its place, and what to try."""
    say(f"grange: {GrangeError.__str__(error)}")
    if isinstance(error, InvalidInput) and (len(error.problems) > 1 or str(error.problems[0]) not in error.reason):
        for problem in error.problems:
            say(f"  {problem}")
    if isinstance(error, Conflict):
        for who, lines in ((error.author, error.theirs), ("you", error.mine)):
            for line in lines:
                say(f"  {who}: {line}")
    if error.fault is Fault.PROGRAM and not error.what_to_try:
        say("  This is a bug in the program that answered; its log has the traceback: grange logs")


def print_json(value: Any) -> None:
    """One value for a program, on standard output."""
    typer.echo(json.dumps(value, indent=2))


def print_json_line(value: Any) -> None:
    """One value of many, a line each, as soon as it is there."""
    typer.echo(json.dumps(value))
    sys.stdout.flush()
