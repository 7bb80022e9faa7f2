"""Length-delimited protobuf: each message after its length as a base-128 varint, least significant group first.

This is the whole of the actor link's framing, in both directions, so that it can be written again in any language.
"""

from collections.abc import Iterator

from google.protobuf.message import Message

MAX_MESSAGE_BYTES = 4 << 20
"""A longer message is a corrupt length or a mistake: orders with the paths of some thousand peers are well below."""

_VARINT_BYTES = 5


class FramingError(ValueError):
    """The bytes of a link cannot be what the contract says; the link is of no more use and must be closed."""


def frame(message: Message) -> bytes:
    """The message with its length in front; `FramingError` if it is longer than `MAX_MESSAGE_BYTES`."""
    body = message.SerializeToString()
    if len(body) > MAX_MESSAGE_BYTES:
        raise FramingError(f"a {message.DESCRIPTOR.name} of {len(body)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    head = bytearray()
    rest = len(body)
    while rest >= 0x80:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head) + body


class Unframer:
    """Cuts a stream of bytes into the bodies of messages; keeps what is not whole yet."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every message body that is whole once `data` has come; `FramingError` at a length that cannot be."""
        self._held += data
        while (span := self._span()) is not None:
            start, end = span
            body = bytes(self._held[start:end])
            del self._held[:end]
            yield body

    def _span(self) -> tuple[int, int] | None:
        """Where the first body lies, if all of it is here."""
        length = 0
        for index, byte in enumerate(self._held[:_VARINT_BYTES]):
            length |= (byte & 0x7F) << (7 * index)
            if length > MAX_MESSAGE_BYTES:
                break
            if byte < 0x80:
                start = index + 1
                return (start, start + length) if start + length <= len(self._held) else None
        else:
            if len(self._held) < _VARINT_BYTES:
                return None
        raise FramingError(f"a message length above {MAX_MESSAGE_BYTES} bytes: this is not the actor link")
