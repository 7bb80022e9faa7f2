"""Arguments and options that several commands share, described once."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from grange.core import paths, selectors
from grange.core.durations import LONGEST_S, parse_duration
from grange.core.errors import InvalidInput
from grange.core.problems import Problem

from .completing import complete_member


def examples(*lines: str) -> str:
    """The end of a command's help: what to type. A test takes each line apart as the shell and the command would."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


def _inherit(context: typer.Context, value: Path | None) -> Path | None:
    """`grange --home X status` and `grange status --home X` are the same."""
    return value or context.obj


HOME_HELP = "The farm's directory [default: $GRANGE_HOME, or grange/default in $XDG_STATE_HOME]"
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIRECTORY", help=HOME_HELP, show_default=False, callback=_inherit),
]
PathArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MEMBER",
        help="Such as sf01/hlt017/psa-2; without it the whole farm.",
        show_default=False,
        autocompletion=complete_member,
    ),
]
SelectorArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MEMBER",
        help="sf01/hlt017/psa-2, or what fits a pattern: sf*/hlt00?, sf01/@psa; without it the whole farm.",
        show_default=False,
        autocompletion=complete_member,
    ),
]
MembersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MEMBER]...",
        help="One or more: sf01/hlt017/psa-2, sf*/hlt00?, sf01/@psa; without any the whole farm.",
        show_default=False,
        autocompletion=complete_member,
    ),
]
_DIGITS_MAX = 18  # of a number; what is larger does not fit the wire, and was mistyped


def whole_number(option: str, of: str, such_as: str) -> Callable[[str | int], int]:
    """A parser of numbers from 1 on. It raises `InvalidInput`, which says what is wanted."""

    def parse(text: str | int) -> int:
        if isinstance(text, int):  # the default, for typer parses that too
            return text
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and int(text)):
            raise _not_understood(option, f"a whole number of {of}, 1 or more", such_as, text)
        return int(text)

    return parse


def length_of_time(option: str) -> Callable[[str | float], float]:
    """A parser of durations into seconds. It raises `InvalidInput`, which says what is wanted."""

    def parse(text: str | float) -> float:
        try:
            return parse_duration(text) if isinstance(text, str) else text
        except ValueError:
            raise _not_understood(option, "a length of time of up to a year", "90s, 10m or 1h30m", str(text)) from None

    return parse


def number_of_seconds(option: str) -> Callable[[str | float], float]:
    """A parser of seconds from 0 on. It raises `InvalidInput`, which says what is wanted."""

    def parse(text: str | float) -> float:
        with contextlib.suppress(ValueError):
            if 0 <= (seconds := float(text)) <= LONGEST_S:
                return seconds
        raise _not_understood(option, "a number of seconds", "30 or 7.5", str(text))

    return parse


def _not_understood(option: str, wanted: str, such_as: str, text: str) -> InvalidInput:
    return InvalidInput([Problem("", f"{option} must be {wanted}, such as {such_as}, not {text!r}")])


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of text.")]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        parser=number_of_seconds("--timeout"),
        show_default=False,
        help="The longest it may take; 0: the farm's limit.",
    ),
]
NoCancelOption = Annotated[
    bool, typer.Option("--no-cancel", help="On Ctrl-C leave the command running instead of cancelling it.")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Return as soon as the command is accepted, and print its id.")
]
CommentOption = Annotated[str, typer.Option("--comment", help="What this run is, for the registry.")]
WhyEndedOption = Annotated[
    str, typer.Option("--comment", help="Why the run ends, for the registry.", show_default=False)
]
RUN_TYPES = ("test", "production")
TypeOption = Annotated[
    str,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="test or production; test if not given.",
        autocompletion=lambda: list(RUN_TYPES),
    ),
]
ModeOption = Annotated[str, typer.Option("--mode", metavar="MODE", help="The run's mode, a word of your own.")]


EventsOption = Annotated[
    int,
    typer.Option(
        "--events",
        metavar="N",
        parser=whole_number("--events", "events", "100000"),
        show_default=False,
        help="End the run by itself soon after N events: what the last role that counts them has written, built, "
        "analysed, accepted or read.",
    ),
]
ForOption = Annotated[
    float,
    typer.Option(
        "--for",
        metavar="DURATION",
        parser=length_of_time("--for"),
        show_default=False,
        help="End the run by itself so long after it is running, pauses included: 90s, 10m, 1h30m.",
    ),
]


_SELECTORS = "Such as sf01, sf01/hlt017/psa-2, sf01/@psa or 'sf01/hlt*'; grange status lists the members"


def members(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Selectors as typed, none for the whole farm. Raises `InvalidInput`."""
    for text in texts or ():
        _refuse_empty(text)
        try:
            selectors.parse(text)
        except ValueError as error:
            raise InvalidInput([Problem("member", str(error))], _SELECTORS) from None
    return tuple(texts or ())


def selected(text: str | None) -> str:
    """One selector as typed, none for the whole farm. Raises `InvalidInput`."""
    return "".join(members(None if text is None else [text]))


def member(text: str | None) -> str:
    """The canonical path of one member as typed, none for the farm itself. Raises `InvalidInput`."""
    if text is None:
        return paths.FARM
    _refuse_empty(text)
    with contextlib.suppress(ValueError):
        if not selectors.parse(text).is_path:
            raise InvalidInput(
                [Problem("member", f"{text!r} is a pattern, and this is about one member")],
                f"Those that it selects are listed by: grange status '{text}'",
            )
    try:
        return paths.parse(text)
    except ValueError as error:
        raise InvalidInput(
            [Problem("member", str(error))], "Such as sf01/hlt017/psa-2, sf01/hlt017 or sf01; grange status lists them"
        ) from None


def _refuse_empty(text: str) -> None:
    """An empty word comes from a variable that is not set; taken for the whole farm it would end a run."""
    if not text.strip():
        raise InvalidInput([Problem("member", "an empty name")], "Leave it out, or name the whole farm: /")
