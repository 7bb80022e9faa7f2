"""Ranks of roles: sources first, readers above what they read, circles named."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grange.core.dataflow import DataFlowCycle, Place, rank_roles

CHAIN = {"producer": [], "trigger": ["producer"], "psa": ["producer", "trigger"], "builder": ["psa"]}


def test_a_role_ranks_above_everything_it_reads() -> None:
    places = rank_roles(CHAIN)
    assert {role: place.rank for role, place in places.items()} == {"producer": 0, "trigger": 1, "psa": 2, "builder": 3}


def test_roles_that_no_data_connects_form_components_of_their_own() -> None:
    places = rank_roles({**CHAIN, "monitor": [], "logger": ["monitor"]})
    assert places["builder"].component == places["producer"].component == "builder"
    assert places["logger"] == Place(1, "logger")
    assert places["monitor"] == Place(0, "logger")


def test_a_circle_is_refused_and_named_from_a_role_back_to_itself() -> None:
    with pytest.raises(DataFlowCycle, match="builder reads psa reads producer reads builder") as caught:
        rank_roles({**CHAIN, "producer": ["builder"], "psa": ["producer"]})
    assert caught.value.cycle == ("builder", "psa", "producer", "builder")


def test_a_role_that_reads_itself_is_a_circle() -> None:
    with pytest.raises(DataFlowCycle, match="psa reads psa"):
        rank_roles({"psa": ["psa"]})


def test_a_chain_may_be_longer_than_the_recursion_limit() -> None:
    length = 5000
    places = rank_roles({f"r{number}": [f"r{number - 1}"] if number else [] for number in range(length)})
    assert places[f"r{length - 1}"] == Place(length - 1, "r0")


names = st.sampled_from("abcdefgh")
graphs = st.dictionaries(names, st.sets(names), min_size=1).map(
    lambda reads: {role: sources & reads.keys() for role, sources in reads.items()}
)


def place_or_circle(reads: dict[str, set[str]]) -> dict[str, Place] | tuple[str, ...]:
    try:
        return rank_roles(reads)
    except DataFlowCycle as refusal:
        return refusal.cycle


@given(graphs)
def test_any_graph_is_either_ranked_or_shown_to_have_a_circle(reads: dict[str, set[str]]) -> None:
    answer = place_or_circle(reads)
    if isinstance(answer, tuple):
        assert answer[0] == answer[-1]
        assert all(source in reads[role] for role, source in pairwise(answer))
        return
    for role, sources in reads.items():
        highest = max((answer[source].rank for source in sources), default=-1)
        assert answer[role].rank == highest + 1
        assert all(answer[source].component == answer[role].component for source in sources)


@given(graphs, st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_the_roles(reads: dict[str, set[str]], random: Random) -> None:
    acyclic = {role: {source for source in sources if source < role} for role, sources in reads.items()}
    shuffled = sorted(acyclic)
    random.shuffle(shuffled)
    assert rank_roles({role: acyclic[role] for role in shuffled}) == rank_roles(acyclic)
