"""Setting one value of a configuration by its place."""

from typing import Any

import pytest

from grange.core.errors import InvalidInput
from grange.core.placing import with_value, without_value

DOCUMENT: dict[str, Any] = {
    "farm": {"name": "demo"},
    "nodes": {"hlt[001-004]": {"labels": ["near"]}},
    "roles": {
        "psa": {"count": 3, "parameters": {"basis_mm": 2}},
        "psa.fine": {"count": 1},
        "cut": {"parameters": "cuts"},
    },
}


@pytest.mark.parametrize(
    ("assignment", "keys", "value"),
    [
        ("roles.psa.parameters.basis_mm=1", ("roles", "psa", "parameters", "basis_mm"), 1),
        ("roles.psa.parameters.name=a=b", ("roles", "psa", "parameters", "name"), "a=b"),
        ("roles.psa.parameters.new.deep=true", ("roles", "psa", "parameters", "new", "deep"), True),
        ("roles.psa.fine.count=2", ("roles", "psa.fine", "count"), 2),
        ('roles.psa.command=["/bin/psa", "-v"]', ("roles", "psa", "command"), ["/bin/psa", "-v"]),
        ("nodes.hlt[001-004].resources.gpu=1", ("nodes", "hlt[001-004]", "resources", "gpu"), 1),
        ('nodes."hlt[005-006]".labels=["far"]', ("nodes", "hlt[005-006]", "labels"), ["far"]),
        ("farm.name=", ("farm", "name"), ""),
    ],
)
def test_a_value_is_set_where_its_place_says(assignment: str, keys: tuple[str, ...], value: Any) -> None:
    found: Any = with_value(DOCUMENT, assignment)
    for key in keys:
        found = found[key]
    assert found == value
    assert DOCUMENT["roles"]["psa"]["parameters"] == {"basis_mm": 2}


def test_what_is_removed_is_gone_and_nothing_else() -> None:
    assert without_value(DOCUMENT, "roles.psa.parameters.basis_mm")["roles"]["psa"] == {"count": 3, "parameters": {}}


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        (
            "roles.psa.count",
            '"roles.psa.count" is not of the form PLACE=VALUE; such as roles.psa.parameters.basis_mm=1',
        ),
        ("=1", '"=1" is not of the form PLACE=VALUE; such as roles.psa.parameters.basis_mm=1'),
        ("roles..count=1", "roles..count: a key is missing between two dots, or at an end"),
        ('roles."psa=1', 'roles."psa: a quoted key ends in a quotation mark before the next "."'),
        (
            "roles.cut.parameters.window=1",
            'roles.cut.parameters.window: roles.cut.parameters is "cuts", which has nothing below it; '
            "set it as a whole: roles.cut.parameters=VALUE",
        ),
    ],
)
def test_what_cannot_be_set_is_told_with_its_place(assignment: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        with_value(DOCUMENT, assignment)
    assert str(caught.value.problems[0]) == told


def test_what_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(InvalidInput) as caught:
        without_value(DOCUMENT, "roles.psa.coumt")
    assert str(caught.value.problems[0]) == (
        'roles.psa.coumt: nothing is set at "coumt" of roles.psa: it has its default, or does not exist; '
        'did you mean "count"?'
    )
