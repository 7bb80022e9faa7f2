"""Requests: changes of the database that need an answer, carried out in one transaction each.

A request is a value with a `carry_out` method. It may be carried out twice, when the connection dies just as it
commits, and must then give the same answer. The writer thread carries them out for a running controller (`Writer.ask`);
`perform` does it on the spot, where no writer runs yet.
"""

from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine

from .database import writing

T_co = TypeVar("T_co", covariant=True)


class Request(Protocol[T_co]):
    """What the writer can be asked."""

    def carry_out(self, connection: Connection) -> T_co:
        """The answer; called inside a writing transaction. What it raises is the answer too, and rolls back."""
        ...


def perform(engine: Engine, request: Request[T_co]) -> T_co:
    """Carry out one request now. Raises `DatabaseAway` and what the request raises."""
    with writing(engine) as connection:
        return request.carry_out(connection)
