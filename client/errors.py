"""Errors of the client: those of `grange.core.errors`, as the controller raised them, and two of its own."""

from typing import ClassVar

from grange.core.errors import DeadlinePassed, Fault, GrangeError

from .values import Outcome


class CommandFailed(GrangeError):
    """A command was accepted and did not end as done: it failed, or was cancelled, superseded or interrupted.

    `outcome` has all that is known. The farm is where `outcome.state` says, and commandable.
    """

    fault: ClassVar[Fault] = Fault.FARM

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason or f"the command was {outcome.kind}")
        self.outcome = outcome


class ControllerHangs(DeadlinePassed):
    """The controller that a command was sent to is there, and says nothing, also when it is asked.

    It does not mean that the command was not accepted: send it again under the same `command_id`, to whoever takes the
    controller's place.
    """
