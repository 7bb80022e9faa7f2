"""One process of the bare tree: it answers each order on the socket that it was given, and does nothing else.

    python -P -m grange.harness.bench_process FILE_DESCRIPTOR      (started by a leaf of `bench_bare.py`)

It is a program of its own, as an actor is: a fork of its leaf would share the leaf's interpreter in the processor's
caches, which processes of a farm cannot do.
"""

import socket
import sys

from grange.proto import actor_pb2, common_pb2
from grange.proto.framing import Unframer, frame

_READ_BYTES = 1 << 16


def answer_orders(link: socket.socket) -> None:
    """Until the other end closes."""
    unframer = Unframer()
    while data := link.recv(_READ_BYTES):
        for body in unframer.feed(data):
            order = actor_pb2.ToActor.FromString(body).order
            answer = actor_pb2.ActorAnswer(command_id=order.command_id, ok=True, state=common_pb2.STATE_CONFIGURED)
            link.sendall(frame(actor_pb2.FromActor(sequence=1, answer=answer)))


if __name__ == "__main__":
    answer_orders(socket.socket(fileno=int(sys.argv[1])))
