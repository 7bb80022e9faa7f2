"""What is wrong with a configuration: every problem at once, each with its place and, where there is one, a way out.

A place is the path of keys in the document (`roles.psa.count`, `sub_farms.sf01.nodes[2]`); errors of spelling in the
file itself have a line and a column instead. Whoever wrote the configuration is at fault, never the program.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or for a warning, odd."""

    place: str  # path of keys, or "" for the file as a whole
    what: str  # what is wrong, in words that follow the place
    hint: str = ""  # what to try
    line: int = 0  # counted from 1; 0 when the place is a path of keys
    column: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}" if self.line else self.place
        return f"{f'{place}: ' if place else ''}{self.what}{f'; {self.hint}' if self.hint else ''}"


class ConfigurationError(ValueError):
    """A configuration that cannot be used; nothing of it was taken over."""

    def __init__(self, problems: Iterable[Problem], source: str = "configuration") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        lines = [f"{source}: {count} problem{'' if count == 1 else 's'}; nothing was taken over"]
        super().__init__("\n".join([*lines, *(f"  {problem}" for problem in self.problems)]))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the nearest valid spelling, or with what there is when nothing is near."""
    candidates = sorted(known)
    near = get_close_matches(name, candidates, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    shown = ", ".join(candidates[:10])
    if len(candidates) < 2:
        return f"there is only {shown}" if candidates else "there is none"
    return f"there are {shown}{', …' if len(candidates) > 10 else ''}"


def join_place(*parts: str | int) -> str:
    """Keys and list positions (counted from 1, as people do) as one place."""
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part + 1}]"
        else:
            place += f".{part}" if place else part
    return place
