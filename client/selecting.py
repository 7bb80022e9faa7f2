"""What a watcher with a pattern sees: the watch of all in which it lies, with the rest left out."""

from dataclasses import replace

from grange.core import selectors
from grange.core.causes import causes_of
from grange.core.errors import InvalidInput, UnknownMember
from grange.core.problems import Problem
from grange.core.selectors import Selector

from .values import View

DEPTH_MOST = 9  # levels of a tree: more than there are


def selector_of(text: str) -> Selector:
    """What a person or script has named. Raises `InvalidInput`."""
    try:
        return selectors.parse(text)
    except ValueError as error:
        raise InvalidInput([Problem("path", str(error))]) from None


def restricted(view: View, selector: Selector, depth: int) -> View:
    """A view with the members that are selected, and `depth` levels below them. Raises `UnknownMember` for none."""
    known = [(path, member.role) for path, member in view.members.items()]
    chosen = frozenset(selectors.select(selector, known))
    if not chosen:
        raise UnknownMember(selector.text, selectors.near(selector, known))
    kept = frozenset(selectors.restrict(chosen, view.members, depth))
    return replace(
        view,
        members={path: member for path, member in view.members.items() if path in kept},
        exceptions=tuple(member for member in view.exceptions if member.path in kept),
        causes=causes_of(member for path, member in view.members.items() if path in kept),
        changed=tuple(path for path in view.changed if path in kept),
    )
