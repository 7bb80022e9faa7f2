"""The closed sets of names on the wire and in the house, converted by name in both directions.

`STATE_SETTING_UP` is `State.SETTING_UP`, `MEMBER_COMMAND_RESTART` is `MemberCommand.RESTART`. A value that is
unspecified, or that a newer program has sent and this one does not know, is never guessed: it becomes the default that
the caller names, `unknown` for the state of a member.
"""

import re
from enum import StrEnum
from typing import Any, TypeVar

from grange.core.names import Command, Health, Kind, MemberCommand, Membership, Repairing, Severity, State

from . import common_pb2, tree_pb2

Word = TypeVar("Word", bound=StrEnum)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")

# the key has the class, for words of different classes are equal as strings: Health.ERROR == Severity.ERROR
_TO_WIRE: dict[tuple[type[StrEnum], str], int] = {
    (cls, word.value): enum.Value(f"{_CAPITAL.sub('_', cls.__name__).upper()}_{word.name}")
    for cls, enum in (
        (State, common_pb2.State),
        (Command, common_pb2.Command),
        (Health, common_pb2.Health),
        (Kind, common_pb2.Kind),
        (Membership, common_pb2.Membership),
        (Severity, common_pb2.Severity),
        (MemberCommand, common_pb2.MemberCommand),
        (Repairing, tree_pb2.Repairing),
    )
    for word in cls
}
_FROM_WIRE: dict[tuple[type[StrEnum], int], StrEnum] = {
    (cls, value): cls(word) for (cls, word), value in _TO_WIRE.items()
}


def to_wire(word: StrEnum) -> Any:
    """The wire's value of a word of the house; each generated enum has a type of its own, hence Any."""
    return _TO_WIRE[type(word), word._value_]  # `value` is two calls more, and this is on the way of every message


def from_wire(value: int, default: Word) -> Word:
    """The word of `default`'s enum that a value means; `default` itself when it means none."""
    word = _FROM_WIRE.get((type(default), value), default)
    assert isinstance(word, type(default))
    return word


def member_command_from_wire(value: int) -> MemberCommand | None:
    """What is to be done with members, or None when the value means nothing known."""
    word = _FROM_WIRE.get((MemberCommand, value))
    return word if isinstance(word, MemberCommand) else None


def command_from_wire(value: int) -> Command | None:
    """A command, or None when the value means none: what is not understood is not carried out."""
    word = _FROM_WIRE.get((Command, value))
    return word if isinstance(word, Command) else None
