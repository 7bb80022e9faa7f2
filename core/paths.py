"""Paths of members: `sf01/hlt017/psa-2`, and `""` for the farm itself. One parser for CLI, API and configuration."""

import difflib
import re
from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
FARM = ""


def parse(text: str) -> str:
    """The canonical path of what a person typed; `/` and `.` are the farm. Raises ValueError with the place."""
    path = text.strip(" ").strip("/")
    if path in ("", "."):
        return FARM
    parts = path.split("/")
    for part in parts:
        if not _NAME.fullmatch(part):
            raise ValueError(f"{text!r}: {part!r} is no name of a member (letters, digits, '_', '.', '-')")
    if len(parts) > 3:
        raise ValueError(f"{text!r}: a path has at most three parts: sub-farm/node/process")
    return path


def covers(path: str, member: str) -> bool:
    """Whether `member` is `path` or lies below it."""
    return path == FARM or member == path or member.startswith(path + "/")


def lies_in(member: str, paths: Iterable[str]) -> bool:
    """Whether `member` is one of `paths`, or lies below one."""
    for path in paths:  # noqa: SIM110 (asked for every process after every event: a generator costs more than the answer)
        if covers(path, member):
            return True
    return False


def meet(one: str, other: str) -> bool:
    """Whether one of two members is the other, or lies below it."""
    return covers(one, other) or covers(other, one)


def name(path: str) -> str:
    """The last part of a path."""
    return path.rsplit("/", 1)[-1]


def parent(path: str) -> str:
    """The path above; the farm is above a sub-farm."""
    return path.rsplit("/", 1)[0] if "/" in path else FARM


def join(path: str, name: str) -> str:
    """The path of the member `name` of `path`."""
    return f"{path}/{name}" if path else name


def nearest(path: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The known paths that look most like `path`, best first."""
    return tuple(difflib.get_close_matches(path, list(known), n=most, cutoff=0.5))
