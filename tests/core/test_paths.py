"""Paths of members: read from what people type, compared, and guessed where nobody is meant."""

import pytest

from grange.core.paths import FARM, covers, join, name, nearest, parent, parse


@pytest.mark.parametrize(
    ("text", "path"),
    [("", FARM), ("/", FARM), (".", FARM), ("sf01", "sf01"), (" sf01/hlt017/ ", "sf01/hlt017"), ("a/b/c-2", "a/b/c-2")],
)
def test_what_a_person_types_becomes_one_canonical_path(text: str, path: str) -> None:
    assert parse(text) == path


@pytest.mark.parametrize(
    ("text", "place"), [("sf01//x", "''"), ("sf01/a b", "'a b'"), ("sf*", "'sf*'"), ("sf01\n", r"'sf01\n'")]
)
def test_what_is_no_name_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ValueError, match="is no name of a member") as refused:
        parse(text)
    assert place in str(refused.value)


def test_a_path_covers_itself_and_what_lies_below_and_nothing_that_only_begins_alike() -> None:
    assert covers("sf01", "sf01")
    assert covers("sf01", "sf01/n001/psa-1")
    assert not covers("sf01", "sf010")
    assert not covers("sf01/n001", "sf01")
    assert covers(FARM, "sf01")


@pytest.mark.parametrize("path", ["sf01", "sf01/n001", "group1/sf01/n001/psa-1"])
def test_a_path_is_its_parent_and_its_name_however_deep(path: str) -> None:
    assert join(parent(path), name(path)) == path


def test_the_nearest_names_come_best_first() -> None:
    known = ["sf01/n001/psa-1", "sf01/n001/psa-2", "sf01/n002/trigger-1", "sf02"]
    assert set(nearest("sf01/n001/psa-3", known)[:2]) == {"sf01/n001/psa-1", "sf01/n001/psa-2"}
    assert nearest("sf01/n002/triger-1", known)[0] == "sf01/n002/trigger-1"
    assert nearest("xyzzy", known) == ()
