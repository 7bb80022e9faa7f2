"""Selectors name the members that a person means, and say what is wrong when they cannot."""

import pytest

from grange.core.selectors import near, parse, restrict, select

MEMBERS = [
    ("", ""),
    ("sf01", ""),
    ("sf01/hlt001", ""),
    ("sf01/hlt001/psa-1", "psa"),
    ("sf01/hlt001/trigger-1", "trigger"),
    ("sf01/hlt002", ""),
    ("sf01/hlt002/psa-2", "psa"),
    ("sf02", ""),
    ("sf02/hlt003", ""),
    ("sf02/hlt003/psa-1", "psa"),
]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", ("",)),
        ("/", ("",)),
        (".", ("",)),
        ("sf01", ("sf01",)),
        ("sf01/hlt001/psa-1", ("sf01/hlt001/psa-1",)),
        ("sf*", ("sf01", "sf02")),
        ("sf*/hlt00?", ("sf01/hlt001", "sf01/hlt002", "sf02/hlt003")),
        ("sf01/*/psa-[12]", ("sf01/hlt001/psa-1", "sf01/hlt002/psa-2")),
        ("@psa", ("sf01/hlt001/psa-1", "sf01/hlt002/psa-2", "sf02/hlt003/psa-1")),
        ("sf01/@psa", ("sf01/hlt001/psa-1", "sf01/hlt002/psa-2")),
        ("sf01/hlt001/@*", ("sf01/hlt001/psa-1", "sf01/hlt001/trigger-1")),
        ("sf03", ()),
        ("@builder", ()),
    ],
)
def test_a_selector_selects(text: str, meant: tuple[str, ...]) -> None:
    assert select(parse(text), MEMBERS) == meant


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sf01/@", "a role is missing after '@'"),
        ("sf 01", "'sf 01' is neither a name nor a pattern"),
        ("sf01\n", r"'sf01\\n' is neither a name nor a pattern"),
        ("a/b/c/d", "at most three parts"),
        ("a/b/c/@d", "at most three parts"),
        ("sf01//psa", "'' is neither a name nor a pattern"),
        ("@psa/x", "'@psa' is neither a name nor a pattern"),
    ],
)
def test_what_is_no_selector_is_said_to_be_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("'", "'")):
        parse(text)


def test_a_plain_path_is_told_from_a_pattern() -> None:
    assert parse("sf01/hlt001").is_path
    assert not parse("sf0?").is_path
    assert not parse("@psa").is_path


def test_what_was_nearly_meant_is_told() -> None:
    assert near(parse("@pas"), MEMBERS) == ("@psa",)
    assert near(parse("sf01/hlt001/psa-3"), MEMBERS)[0] == "sf01/hlt001/psa-1"


def test_the_base_of_a_pattern_is_the_member_in_which_all_lies_that_is_meant() -> None:
    bases = {
        "sf01/@psa": "sf01",
        "sf*/hlt00?": "",
        "sf01/hlt*/psa-1": "sf01",
        "@psa": "",
        "sf01/n1/psa-2": "sf01/n1/psa-2",
    }
    assert {text: parse(text).base for text in bases} == bases


def test_what_is_chosen_is_shown_with_so_many_levels_below_it() -> None:
    paths = ("", "sf01", "sf01/n1", "sf01/n1/psa-1", "sf01/n2", "sf02")
    assert restrict({"sf01/n1"}, paths, 0) == ("sf01/n1",)
    assert restrict({"sf01"}, paths, 1) == ("sf01", "sf01/n1", "sf01/n2")
    assert restrict({""}, paths, 9) == paths
