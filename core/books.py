"""The books of a run: what one role passed on, the next one must have received.

Counters are summed by role over its processes. Each rule is an equation between counters, whoever counts them; it is
asked only where both of its sides are counted, so that a farm without a trigger or a builder has fewer rules, not a
mismatch. The role that is named is the one that did not account for what it was given: that of the right-hand side.

What a process counted between its last word and a sudden end nobody knows (`core/tally.py`), and what it had taken in
hand is done again by another. So a rule that does not hold is no mismatch when an instance of a role on one of its
sides died in the run: it is *inexact*, and says so with the numbers, for people to judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .tally import INSTANCES_DIED


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
    died: tuple[tuple[str, int], ...] = ()  # of the roles on both sides: how many instances died in the run

    @property
    def missing(self) -> int:
        """How many are unaccounted for; negative: there are more than were given."""
        return self.given - self.accounted

    def __str__(self) -> str:
        what = f"{self.missing} missing" if self.missing > 0 else f"{-self.missing} too many"
        text = f"{self.role}: {self.rule} does not hold: {self.given} against {self.accounted} ({what})"
        if not self.died:
            return text
        who = " and ".join(f"{number} instance{'s' * (number > 1)} of {role}" for role, number in self.died)
        return f"{text}; {who} died in the run, and what was counted after the last heartbeat is not known"


@dataclass(frozen=True, slots=True)
class Books:
    """What came of the books of a run: how many rules were asked, and which do not hold in which sub-farm."""

    rules_asked: int = 0
    mismatches: tuple[tuple[str, Mismatch], ...] = ()
    inexact: tuple[tuple[str, Mismatch], ...] = ()  # do not hold either, but an instance died that may be the reason


def audit(counters: Mapping[str, Mapping[str, Mapping[str, int]]], orders: Mapping[str, Sequence[str]]) -> Books:
    """The books of all sub-farms, one by one, for data does not cross from one to another.

    `counters` are by sub-farm and role; `orders` lists the roles of each sub-farm from source to end, where known.
    """
    found = [
        (sub_farm, mismatch)
        for sub_farm, roles in counters.items()
        for mismatch in balance(roles, orders.get(sub_farm, ()))
    ]
    return Books(
        sum(len(asked(roles)) for roles in counters.values()),
        tuple(one for one in found if not one[1].died),
        tuple(one for one in found if one[1].died),
    )


def asked(counters: Mapping[str, Mapping[str, int]], rules: Sequence[Rule] = RULES) -> tuple[Rule, ...]:
    """The rules of which both sides are counted."""
    names = {name for values in counters.values() for name in values}
    return tuple(rule for rule in rules if rule.given in names and not names.isdisjoint(rule.accounted))


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
    for rule in asked(counters, rules):
        givers = [role for role in roles if rule.given in counters[role]]
        takers = [role for role in roles if any(name in counters[role] for name in rule.accounted)]
        given = sum(counters[role][rule.given] for role in givers)
        accounted = sum(counters[role].get(name, 0) for role in takers for name in rule.accounted)
        if given != accounted:
            sides = dict.fromkeys((*givers, *takers))
            died = tuple((role, number) for role in sides if (number := counters[role].get(INSTANCES_DIED, 0)))
            mismatches.append(Mismatch(takers[0], rule, given, accounted, died))
    return tuple(mismatches)
