"""What a farm controller and one below it answer differently when they are commanded or looked at, and who they are."""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from grange.core import selectors
from grange.core.errors import InvalidInput, Refused, UnknownMember
from grange.core.memory import Memory
from grange.core.paths import covers, parse
from grange.core.plan import FarmSpec
from grange.core.problems import Problem
from grange.core.revision import members_and_roles
from grange.proto import control_pb2

from .program import boot_id


class Authority(Protocol):
    """What differs between a farm controller and one below it."""

    async def try_again(self, *, starts_run: bool) -> None:
        """Before a command is judged: has what stood in its way tried again, for there may be room by now."""
        ...

    def refusal(self, ends: bool) -> Refused | None:
        """Why a command is not taken here; None when it is. `ends`: it is one that stops or shuts down."""
        ...

    def selected(self) -> FarmSpec | None:
        """The configuration that the next load takes."""
        ...

    def access_trouble(self) -> str:
        """Why the rules of who may do what are not followed as they are written; empty when they are."""
        ...

    def recorded(self, command_id: str, digest: str) -> control_pb2.Outcome | None:
        """The outcome of a command that only the records remember. Raises `SameIdOtherContent`."""
        ...

    def go_down(self) -> None:
        """Ends this program; its children run on."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    farm: str
    version: str
    host: str
    pid: int
    boot_id: str  # of the host

    @property
    def holder(self) -> str:
        return f"{self.host} pid {self.pid}"


def identity(farm: str, version: str) -> Identity:
    return Identity(farm, version, socket.gethostname(), os.getpid(), boot_id())


def selected_paths(memory: Memory, selected: FarmSpec | None, texts: Iterable[str]) -> tuple[str, ...]:
    """The members that selectors name, without those that lie in others; a plain path may name one that is unknown.

    Raises `InvalidInput` and, for a pattern that selects nothing, `UnknownMember`.
    """
    found: list[str] = []
    for text in texts:
        selector = selector_of(text)
        if selector.is_path:
            found.append(selector.path)
            continue
        known = members_and_roles(memory, selected)
        chosen = selectors.select(selector, known)
        if not chosen:
            raise UnknownMember(text, selectors.near(selector, known))
        found += chosen
    unique = dict.fromkeys(found)
    return tuple(path for path in unique if not any(other != path and covers(other, path) for other in unique))


def selector_of(text: str) -> selectors.Selector:
    """The members that a request names. Raises `InvalidInput`."""
    try:
        return selectors.parse(text)
    except ValueError as error:
        raise InvalidInput([Problem("path", str(error))]) from None


def path_of(text: str) -> str:
    """The member that a request names. Raises `InvalidInput`."""
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput([Problem("path", str(error))]) from None
