"""What others have written, made fit for a terminal: a comment, a status or a last line may hold anything.

A control character could colour what follows, move the cursor over what was said before, or retitle the window. Those
of C0 and C1 are left out wherever text is shown, in a pipe too, but for the ends of lines and tabs. Two ways lead to
the screen: `shell.tell` and `shell.say`, and the console of `text.py`; both come by here. `grange logs` of one member
prints what was written, byte for byte, and JSON has every character, escaped.
"""

_LEFT_OUT = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")})


def plain(text: str) -> str:
    """The same text without control characters."""
    return text if text.isprintable() else text.translate(_LEFT_OUT)


def in_one_line(text: str) -> str:
    """The same in one line: an entry of a list must not look like two."""
    return plain(" ".join(text.split("\n")).replace("\t", " "))
