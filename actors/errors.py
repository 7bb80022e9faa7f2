"""What an actor raises to say that an order cannot be carried out: the author's words reach the shifter unchanged."""

from grange.core.names import State


class ActorError(Exception):
    """An order failed, and it is known why: `reason` in one sentence, `what_to_try` for the person who reads it.

    The actor stays in the state it was in, unless `state` names the one that it is really in now.
    """

    def __init__(self, reason: str, what_to_try: str = "", *, state: State | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.what_to_try = what_to_try
        self.state = state

    def sentence(self) -> str:
        """Why, and what to try, as one text."""
        if not self.what_to_try:
            return self.reason
        return f"{self.reason.rstrip('.')}. {self.what_to_try}"
