"""Ordeals: whole farms go through their cycle while something fails at every step of it (harness/ordeal.py).

A broken one prints its seed; `make sim SEED=4711 RUNS=1` shows it again, with its log. One that was broken once stays
in `BROKEN_ONCE` for ever, with what it has found.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from grange.core.names import Policy, State
from grange.harness.aims import AIMED_SEEDS, CYCLE, STATES_AIMED_AT, cannot_be
from grange.harness.checkers import Broken, Checker
from grange.harness.farms import varied
from grange.harness.mischief import Mischief
from grange.harness.ordeal import FAULTS_LEAST, Ordeal, ordeal
from grange.harness.simulate import table, trials
from grange.harness.world import World

# What each of them found.
BROKEN_ONCE = {
    44: "of what a controller of the middle level could not hear, the farm said that 0 were unaccounted for",
    601: "a process that its policy had just started again was held against a command's answer (a fault of a checker)",
    1347: "a member that was recovered while everything was down was on its way for ever",
    1535: "a sub-farm whose teardown had failed was let go, and nobody knew any more of the processes left there",
    1553: "a start that was lost with its link was sent again although its run had ended meanwhile",
    2284: "the farm said taking though a dead member and an excluded one left a role below its quorum",
    2860: "the same after a node was withdrawn while a member on it was being restarted",
    6180: "a member that was restarted in a run which ended meanwhile was on its way back into it for ever",
    1519262808: "a process without heartbeats that hung while its agent was restarted was unknown for ever",
    772: "so was an order sent in the moment at which the command reached its limit (a fault of a checker)",
    700074: "a controller to which the end of a run was lost was held against it (a fault of a checker)",
}
FIXED_SEEDS = range(20_000, 20_000 + AIMED_SEEDS)
STATES = (*STATES_AIMED_AT, State.MIXED, State.UNKNOWN)  # nobody has to aim at the last two
FRESH_SEEDS = 10
HASHED_SEEDS = (1, 2)

_TRACE = """
import hashlib, sys
from grange.harness.ordeal import ordeal
text = "".join(repr(ordeal(int(seed)).log) for seed in sys.argv[1:])
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.mark.parametrize("seed", BROKEN_ONCE)
def test_an_ordeal_that_was_broken_once_holds(seed: int) -> None:
    ordeal(seed)


def _play(seeds: range, workers: int = 1) -> tuple[list[str], Counter[tuple[State, str]]]:
    broken, coverage = [], Counter[tuple[State, str]]()
    for result in trials(seeds, workers):
        broken += [result.broken] if result.broken else []
        coverage += result.coverage
    return broken, coverage


@pytest.mark.timeout(300)
def test_whatever_fails_in_whatever_state_the_farm_keeps_its_word_and_obeys_afterwards() -> None:
    broken, coverage = _play(FIXED_SEEDS, workers=os.cpu_count() or 1)
    assert broken == []
    print(*table(coverage), sep="\n")
    demanded = {
        (state, fault) for state in STATES for fault in Ordeal(0).mischief.faults if not cannot_be(state, fault)
    }
    assert sorted(demanded - coverage.keys()) == []


def test_a_farm_can_be_in_no_other_state() -> None:
    assert set(STATES) == set(State)


def test_little_is_left_out_and_each_with_its_reason() -> None:
    left_out = {(state, fault) for state in State for fault in Ordeal(0).mischief.faults if cannot_be(state, fault)}
    assert {state for state, _ in left_out} == {State.ABSENT, State.SETTING_UP, State.INITIAL, State.TEARING_DOWN}
    assert len(left_out) < len(State)


def test_so_it_is_with_seeds_that_nobody_has_tried() -> None:
    first = int.from_bytes(os.urandom(4)) + 10**6
    print(f"make sim SEED={first} RUNS={FRESH_SEEDS}")  # a broken one names its seed, and how to see it again
    broken, _ = _play(range(first, first + FRESH_SEEDS))
    assert broken == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", range(10))
def test_so_it_is_in_many_more(group: int) -> None:
    broken, _ = _play(range(30_000 + group * 100, 30_000 + (group + 1) * 100))
    assert broken == []


@pytest.fixture(scope="module")
def players() -> list[Ordeal]:
    played = [Ordeal(seed) for seed in range(20_100, 20_106)]
    for one in played:
        one.play()
    return played


def test_each_ordeal_has_ten_faults_and_more_also_where_few_could_come(monkeypatch: pytest.MonkeyPatch) -> None:
    calm = iter([True] * 15)
    any_fault = Mischief.any
    monkeypatch.setattr(Mischief, "any", lambda mischief: None if next(calm, False) else any_fault(mischief))
    one = Ordeal(20_100)
    one.play()
    assert one.mischief.coverage.total() == FAULTS_LEAST == 10


def test_an_ordeal_with_too_few_faults_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mischief, "happens", lambda mischief, name: False)
    (result,) = trials(range(20_100, 20_101), workers=1)
    assert "only 0 faults have come, and 10 are the least" in result.broken


def test_each_ordeal_gives_every_command_of_the_cycle(players: list[Ordeal]) -> None:
    for one in players:
        given = {text.split()[0] for _, who, text in one.world.log if who == "people"}
        assert given >= set(CYCLE)


def test_in_each_ordeal_every_policy_is_that_of_some_role(players: list[Ordeal]) -> None:
    for one in players:
        specs = [spec for sub_farm in one.world.farm.sub_farms for spec in (sub_farm, *sub_farm.sub_farms)]
        assert {role.policy for spec in specs for role in spec.roles} == set(Policy)
        assert sum(len(spec.processes) for spec in specs) == 18


def test_some_ordeals_have_three_levels_of_controllers(players: list[Ordeal]) -> None:
    deep = [one for one in players if any(sub_farm.sub_farms for sub_farm in one.world.farm.sub_farms)]
    assert 0 < len(deep) < len(players)


def test_the_same_seed_gives_the_same_ordeal_whatever_python_hashes_strings_to() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-P", "-c", _TRACE, *map(str, HASHED_SEEDS)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_broken_ordeal_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def disappointed(checker: Checker, thorough: bool = False) -> None:
        checker.demand(False, "nothing is ever well")

    monkeypatch.setattr(Checker, "heals", disappointed)
    (result,) = trials(range(4711, 4712), workers=1)
    assert "nothing is ever well" in result.broken
    assert result.broken.endswith("(again: make sim SEED=4711 RUNS=1)")
    assert "\n" not in result.broken


def test_what_somebody_knows_to_be_wrong_breaks_a_world() -> None:
    world = World(varied(Ordeal(1).random))
    Checker(world)
    world.violations.append("sf01/n001/worker-1 was started while it ran")
    with pytest.raises(Broken, match="sf01/n001/worker-1 was started while it ran"):
        world.carry_out("setup")
