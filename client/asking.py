"""Requests, made of what a script has given. What a request cannot carry is the script's mistake, and told as one."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from grange.core.errors import InvalidInput
from grange.core.problems import Problem

M = TypeVar("M", bound=Message)


def asking(kind: type[M], **given: Any) -> M:
    """A request of this kind. Raises `InvalidInput` with each value that it cannot carry."""
    try:
        return kind(**given)
    except ValueError:
        raise InvalidInput(list(_problems(kind, given))) from None


def _problems(kind: type[Message], given: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in given.items():
        try:
            kind(**{name: value})
        except UnicodeEncodeError:
            yield Problem(name, f"{value!r} is not UTF-8 text")
        except ValueError:
            yield Problem(name, f"{value!r} is less or more than can be asked for")
