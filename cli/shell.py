"""What surrounds every command: errors become one clear sentence and an exit code, never a traceback.

`GRANGE_DEBUG=1` shows tracebacks after all. A reader that goes away (`grange status | head`) ends the command in
silence.
"""

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from grange.core.errors import GrangeError, InvalidInput

from .exits import Exit, exit_of


class Shell(TyperGroup):
    """The group of all commands, with the one place where errors are caught."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # so that a reader that went away is noticed here
            return result
        except GrangeError as error:
            _debug()
            say_error(error)
            raise typer.Exit(exit_of(error)) from None
        except BrokenPipeError:
            # whatever is still buffered has nowhere to go; Python would complain about it at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.DONE) from None
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):
                raise  # the command line parser's own, which it reports itself
            _debug()
            say(
                f"grange: {type(error).__name__}: {error}. This is a bug: please report it with GRANGE_DEBUG=1's output"
            )
            raise typer.Exit(Exit.FAILED) from None


def say(sentence: str) -> None:
    """A sentence for people, on standard error."""
    typer.echo(sentence, err=True)


def say_error(error: GrangeError) -> None:
    """An error with all it knows: each problem with its place, and what to try."""
    say(f"grange: {GrangeError.__str__(error)}")
    if isinstance(error, InvalidInput) and (len(error.problems) > 1 or str(error.problems[0]) not in error.reason):
        for problem in error.problems:
            say(f"  {problem}")


def _debug() -> None:
    if os.environ.get("GRANGE_DEBUG") == "1":
        traceback.print_exc()
