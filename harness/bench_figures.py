"""Figures of a benchmark: samples of durations, what they come down to, and tables for people."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles


@dataclass(slots=True)
class Samples:
    """Durations of one thing done again and again, in seconds."""

    name: str
    values_s: list[float] = field(default_factory=list)

    def add(self, value_s: float) -> None:
        self.values_s.append(value_s)

    @property
    def median_s(self) -> float:
        return median(self.values_s)

    @property
    def p90_s(self) -> float:
        """The value that nine in ten stay below; of a single value, that value."""
        return quantiles(self.values_s, n=10, method="inclusive")[-1] if len(self.values_s) > 1 else self.values_s[0]

    def as_json(self) -> dict[str, float]:
        """For programs; seconds."""
        return {
            "rounds": len(self.values_s),
            "median_s": self.median_s,
            "p90_s": self.p90_s,
            "least_s": min(self.values_s),
        }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, legible as it is: the first column to the left, the others, being figures, to the right."""
    widths = [max(3, *(len(row[column]) for row in (head, *rows))) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (head, rule, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
