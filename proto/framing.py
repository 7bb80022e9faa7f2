"""The framing of the actor link: each message after its length as a base-128 varint, least significant group first."""

from google.protobuf.message import Message

MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # a longer one is a corrupt length: orders with thousands of peers are far below
_VARINT_BYTES_MAX = 5


class FramingError(ValueError):
    """These bytes are not the actor link's; the connection is of no more use and has to be closed."""


def frame(message: Message) -> bytes:
    """The message with its length in front."""
    body = message.SerializeToString()
    if len(body) < 0x80:
        return b"%c%b" % (len(body), body)
    head = bytearray()
    rest = len(body)
    while rest >= 0x80:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head) + body


class Unframer:
    """Cuts a stream of bytes into the bodies of messages, and keeps what is not whole yet."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are whole now, in order. Raises `FramingError` for a length that cannot be."""
        if not self._held and data and data[0] == len(data) - 1 < 0x80:
            return [data[1:]]  # one short message, and nothing else: what comes nearly always
        self._held += data
        bodies = []
        while (place := self._next()) is not None:
            start, end = place
            bodies.append(bytes(self._held[start:end]))
            del self._held[:end]
        return bodies

    def _next(self) -> tuple[int, int] | None:
        length = 0
        for position, byte in enumerate(self._held[:_VARINT_BYTES_MAX]):
            length |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                if length > MESSAGE_BYTES_MAX:
                    raise FramingError(f"a message of {length} bytes is announced, the limit is {MESSAGE_BYTES_MAX}")
                end = position + 1 + length
                return (position + 1, end) if end <= len(self._held) else None
        if len(self._held) >= _VARINT_BYTES_MAX:
            raise FramingError("a message's length does not end: this is not the actor link")
        return None
