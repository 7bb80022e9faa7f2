"""What people say along with a command: as much as fits a table, a story and the audit trail, and no more.

What is longer is refused rather than cut: nobody should find out afterwards what was left out. A refusal itself keeps
the beginning, since what was refused may be of any length.
"""

from .errors import InvalidInput
from .problems import Problem

COMMENT_LENGTH_MAX = 500  # characters, of comments and messages
_CONTROL = frozenset(
    map(chr, (*range(0x20), *range(0x7F, 0xA0)))
)  # an end of line among them, which would make two rows
WORD_LENGTH_MAX = 50  # characters, of what stands in a narrow column: a run's mode


def comment_problems(name: str, text: str) -> list[Problem]:
    """What is wrong with a comment, by the name that it has in the request."""
    return _longer(name, text, COMMENT_LENGTH_MAX)


def word_problems(name: str, text: str) -> list[Problem]:
    """What is wrong with a word of a person's own."""
    if not _CONTROL.isdisjoint(text):
        return [Problem(name, f"{text[:WORD_LENGTH_MAX]!r} has a control character, which no word has")]
    return _longer(name, text, WORD_LENGTH_MAX)


def demand_comment(name: str, text: str) -> None:
    """Raises `InvalidInput` when there is something wrong with a comment."""
    if problems := comment_problems(name, text):
        raise InvalidInput(problems)


def beginning(text: str) -> str:
    """Of what may be too long, as much as is kept."""
    return text if len(text) <= COMMENT_LENGTH_MAX else f"{text[: COMMENT_LENGTH_MAX - 1]}…"


def _longer(name: str, text: str, most: int) -> list[Problem]:
    if len(text) <= most:
        return []
    return [Problem(name, f"{len(text)} characters, and it may have at most {most}")]
