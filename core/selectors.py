"""Selectors: how people name several members at once.

A selector is a path whose parts may be globs (`sf*/hlt00?`), with a role in the last place where a process would stand:
`@psa` is every psa process of the farm, `sf01/@psa` those of one sub-farm, `sf01/hlt001/@psa` those of one node. The
same words are understood by the command line, the API and the console. A plain path is a selector that names itself.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .paths import FARM, nearest, parent

_PART = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+")
_GLOB = re.compile(r"[*?\[]")
LEVELS_MOST = 3  # sub-farm, node, process


@dataclass(frozen=True, slots=True)
class Selector:
    """What was asked for: the parts of the path, and the role in the last place (empty: none)."""

    text: str
    parts: tuple[str, ...]
    role: str = ""

    @property
    def is_path(self) -> bool:
        """Whether it names one member, which may or may not exist."""
        return not self.role and not any(_GLOB.search(part) for part in self.parts)

    @property
    def path(self) -> str:
        return "/".join(self.parts)

    @property
    def base(self) -> str:
        """The member in which all lies that is meant: the parts before the first pattern."""
        plain = itertools.takewhile(lambda part: not _GLOB.search(part), self.parts)
        return "/".join(plain)


def parse(text: str) -> Selector:
    """The selector that a person typed; `/` and `.` are the farm. Raises ValueError with what is wrong, and where."""
    words = text.strip(" ").strip("/")
    if words in ("", "."):
        return Selector(text, ())
    *above, last = words.split("/")
    role = last[1:] if last.startswith("@") else ""
    parts = tuple(above) if role else (*above, last)
    if last == "@":
        raise ValueError(f"{text!r}: a role is missing after '@', as in sf01/@psa")
    for part in (*parts, *((role,) if role else ())):
        if not _PART.fullmatch(part):
            raise ValueError(f"{text!r}: {part!r} is neither a name nor a pattern (letters, digits, '_.-*?[]')")
    if len(parts) + bool(role) > LEVELS_MOST:
        raise ValueError(f"{text!r}: at most three parts: sub-farm/node/process, or sub-farm/node/@role")
    return Selector(text, parts, role)


def select(selector: Selector, members: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The members that are meant, in the order given; `members` are (path, role), the role empty unless a process."""
    if not selector.parts and not selector.role:
        return (FARM,)
    return tuple(path for path, role in members if _matches(selector, path, role))


def _matches(selector: Selector, path: str, role: str) -> bool:
    parts = path.split("/") if path else []
    if selector.role:
        if not role or not fnmatchcase(role, selector.role):
            return False
        return all(fnmatchcase(part, glob) for part, glob in zip(parts, selector.parts, strict=False))
    return len(parts) == len(selector.parts) and all(
        fnmatchcase(part, glob) for part, glob in zip(parts, selector.parts, strict=True)
    )


def restrict(chosen: Set[str], paths: Iterable[str], depth: int) -> tuple[str, ...]:
    """Those of `paths` that are chosen, or lie at most `depth` levels below one that is, in the order given."""
    return tuple(
        path for path in paths if any(above in chosen for above in itertools.islice(_upwards(path), depth + 1))
    )


def _upwards(path: str) -> Iterator[str]:
    yield path
    while path:
        path = parent(path)
        yield path


def near(selector: Selector, members: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What may have been meant by a selector that selects nothing."""
    if selector.role:
        roles = {f"@{role}" for _, role in members if role}
        return nearest(f"@{selector.role}", roles) or tuple(sorted(roles))[:5]
    return nearest(selector.path, (path for path, _ in members if path))
