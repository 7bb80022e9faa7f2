"""The books of a run: which equations are asked, and who is named when one does not hold."""

from hypothesis import given
from hypothesis import strategies as st

from grange.core.books import Mismatch, Rule, audit, balance
from grange.core.tally import INSTANCES_DIED

ORDER = ("producer", "trigger", "psa", "builder")


def books(**changes: dict[str, int]) -> dict[str, dict[str, int]]:
    """Books that balance, with some counters changed."""
    balanced = {
        "producer": {"read": 100},
        "trigger": {"accepted": 60, "rejected": 35, "late": 5},
        "psa": {"analysed": 60},
        "builder": {"built": 58, "below_fold": 2, "written": 58},
    }
    return {role: {**counters, **changes.get(role, {})} for role, counters in balanced.items()}


def test_books_that_balance_have_no_mismatch():
    assert balance(books(), ORDER) == ()


def test_the_role_that_did_not_account_for_what_it_was_given_is_named():
    assert [m.role for m in balance(books(trigger={"rejected": 34}), ORDER)] == ["trigger"]
    assert [m.role for m in balance(books(psa={"analysed": 59}), ORDER)] == ["psa", "builder"]
    assert [m.role for m in balance(books(builder={"written": 57}), ORDER)] == ["builder"]


def test_a_mismatch_says_the_rule_the_numbers_and_the_difference():
    (mismatch,) = balance(books(producer={"read": 103}), ORDER)
    assert mismatch == Mismatch("trigger", Rule("read", ("accepted", "rejected", "late")), 103, 100)
    assert str(mismatch) == ("trigger: read = accepted + rejected + late does not hold: 103 against 100 (3 missing)")
    (mismatch,) = balance(books(builder={"written": 60}), ORDER)
    assert str(mismatch).endswith("(2 too many)")


def test_a_rule_is_asked_only_where_both_sides_are_counted():
    assert balance({"producer": {"read": 100}}, ORDER) == ()
    assert balance({"producer": {"read": 100}, "psa": {"analysed": 7}}, ORDER) == ()
    assert balance({"psa": {}, "trigger": {}}, ORDER) == ()


def test_a_role_that_counts_nothing_of_what_it_was_given_is_still_named():
    assert [m.role for m in balance(books(psa={"analysed": 0}), ORDER)] == ["psa", "builder"]


def test_counters_of_several_roles_add_up_and_the_first_in_the_data_flow_is_named():
    shared = {**books(), "psa": {"analysed": 20}, "psa-gpu": {"analysed": 40}}
    order = ("producer", "trigger", "psa-gpu", "psa", "builder")
    assert balance(shared, order) == ()
    shared["psa"]["analysed"] = 10
    assert balance(shared, order)[0].role == "psa-gpu"


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_any_split_of_what_was_read_balances(accepted, rejected, late):
    counters = {
        "producer": {"read": accepted + rejected + late},
        "trigger": {"accepted": accepted, "rejected": rejected, "late": late},
    }
    assert balance(counters, ORDER) == ()


def test_a_rule_that_does_not_hold_is_inexact_and_no_mismatch_when_an_instance_on_one_of_its_sides_died():
    roles = books(psa={"analysed": 59, INSTANCES_DIED: 1})
    found = audit({"sf01": roles}, {"sf01": ORDER})
    assert (found.mismatches, [mismatch.role for _, mismatch in found.inexact]) == ((), ["psa", "builder"])
    assert str(found.inexact[0][1]) == (
        "psa: accepted = analysed does not hold: 60 against 59 (1 missing); 1 instance of psa died in the run, and "
        "what was counted after the last heartbeat is not known"
    )


def test_a_death_is_no_excuse_for_other_roles_or_another_sub_farm():
    roles = books(psa={INSTANCES_DIED: 1}, builder={"written": 57})
    found = audit({"sf01": roles, "sf02": books(trigger={"rejected": 34})}, {"sf01": ORDER, "sf02": ORDER})
    assert [(sub_farm, mismatch.role) for sub_farm, mismatch in found.mismatches] == [
        ("sf01", "builder"),
        ("sf02", "trigger"),
    ]
    assert found.inexact == ()
