"""The checkers can fail: each planted bug of harness/mutations.py breaks an ordeal that holds without it.

One world for each: that of the first seed that has found it. After a change of the ordeals another may be the first:
`python -P -m grange.harness.mutations` tells, among 1000.
"""

import pytest

from grange.harness.mutations import MUTATIONS, SEEDS, Mutation
from grange.harness.ordeal import ordeal

PLANTED_LEAST = 20


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_a_planted_bug_is_found(mutation: Mutation) -> None:
    assert mutation.found_by < SEEDS
    assert mutation.finding(mutation.found_by) != ""


@pytest.mark.parametrize("seed", sorted({mutation.found_by for mutation in MUTATIONS}))
def test_what_finds_a_bug_finds_none_where_there_is_none(seed: int) -> None:
    ordeal(seed)


def test_twenty_bugs_and_more_are_planted() -> None:
    assert len({mutation.what for mutation in MUTATIONS}) >= PLANTED_LEAST


def test_a_planted_bug_is_gone_afterwards() -> None:
    mutation = MUTATIONS[0]
    right = getattr(mutation.owner, mutation.name)
    with mutation.planted():
        assert getattr(mutation.owner, mutation.name) is not right
    assert getattr(mutation.owner, mutation.name) is right
