"""The books of a run: what one role passed on, the next one must have received.

Counters are summed by role over its processes. Each rule is an equation between counters, whoever counts them; it is
asked only where both of its sides are counted, so that a farm without a trigger or a builder has fewer rules, not a
mismatch. The role that is named is the one that did not account for what it was given: that of the right-hand side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`given` must equal the sum of `accounted`."""

    given: str
    accounted: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.given} = {' + '.join(self.accounted)}"


RULES: tuple[Rule, ...] = (
    Rule("read", ("accepted", "rejected", "late")),
    Rule("accepted", ("analysed",)),
    Rule("analysed", ("built", "below_fold")),
    Rule("built", ("written",)),
)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A rule that does not hold: which role did not account for what it was given, and by how much."""

    role: str
    rule: Rule
    given: int
    accounted: int

    @property
    def missing(self) -> int:
        """How many are unaccounted for; negative: there are more than were given."""
        return self.given - self.accounted

    def __str__(self) -> str:
        what = f"{self.missing} missing" if self.missing > 0 else f"{-self.missing} too many"
        return f"{self.role}: {self.rule} does not hold: {self.given} against {self.accounted} ({what})"


def balance(
    counters: Mapping[str, Mapping[str, int]], order: Sequence[str], rules: Sequence[Rule] = RULES
) -> tuple[Mismatch, ...]:
    """The rules that do not hold, from the source of the data flow on; empty when the books balance.

    `counters` are by role; `order` lists the roles from source to end, so that of several which count the same thing
    the first is named. Roles not in `order` come last, by name.
    """
    rank = {role: index for index, role in enumerate(order)}
    roles = sorted(counters, key=lambda role: (rank.get(role, len(rank)), role))
    mismatches = []
    for rule in rules:
        givers = [role for role in roles if rule.given in counters[role]]
        takers = [role for role in roles if any(name in counters[role] for name in rule.accounted)]
        if not givers or not takers:
            continue
        given = sum(counters[role][rule.given] for role in givers)
        accounted = sum(counters[role].get(name, 0) for role in takers for name in rule.accounted)
        if given != accounted:
            mismatches.append(Mismatch(takers[0], rule, given, accounted))
    return tuple(mismatches)
