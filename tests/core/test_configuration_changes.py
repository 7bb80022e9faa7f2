"""What changed between two configurations, as people and scripts read it; and what two people want at once."""

import copy
from typing import Any

import pytest

from grange.core.configuration import to_document
from grange.core.configuration_changes import ABSENT, ChangeKind, changes
from grange.core.configuration_text import from_document
from grange.core.merging import Conflict, merge

BASE: dict[str, Any] = {
    "farm": {"name": "demo"},
    "sub_farms": {
        "sf01": {"nodes": ["hlt[001-016]"], "roles": ["source", "psa"]},
        "sf02": {"nodes": ["hlt[017-020]"], "roles": ["source", "psa"]},
    },
    "nodes": {"hlt[001-004]": {"labels": ["near"], "resources": {"cores": 32}}},
    "roles": {
        "source": {"command": ["/bin/cat"]},
        "psa": {
            "command": ["/bin/psa", "--fast"],
            "reads": ["source"],
            "count": 48,
            "parameters": {"basis_mm": 2, "search": {"coarse_mm": 6, "fine": True}, "count": 3},
        },
        "builder": {"command": ["/bin/true"], "parameters": "cuts"},
    },
    "parameters": {"cuts": {"window_ns": 20}},
}


def _lines(edit: Any) -> list[str]:
    after = copy.deepcopy(BASE)
    edit(after)
    return [str(change) for change in changes(from_document(BASE), from_document(after))]


def _set(*keys: Any) -> Any:
    *path, last, value = keys

    def edit(document: dict[str, Any]) -> None:
        for key in path:
            document = document[key]
        document[last] = value

    return edit


def _delete(*keys: str) -> Any:
    *path, last = keys

    def edit(document: dict[str, Any]) -> None:
        for key in path:
            document = document[key]
        del document[last]

    return edit


def test_equal_configurations_have_no_changes_however_they_are_written() -> None:
    assert _lines(_set("sub_farms", "sf01", "nodes", ["hlt[001-008]", "hlt[009-016]"])) == []
    assert _lines(_set("roles", "psa", "nice", 0)) == []


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (_set("roles", "psa", "parameters", "basis_mm", 1), "role psa: basis 2 mm → 1 mm"),
        (_set("roles", "psa", "parameters", "search", "fine", False), "role psa: search.fine true → false"),
        (_set("roles", "psa", "parameters", "search", "step_mm", 0.5), "role psa: search.step 0.5 mm added"),
        (_delete("roles", "psa", "parameters", "search", "coarse_mm"), "role psa: search.coarse removed (it was 6 mm)"),
        (_set("roles", "psa", "parameters", "count", 4), "role psa: parameters.count 3 → 4"),
        (_set("roles", "psa", "count", 40), "role psa: count 48 → 40"),
        (_set("roles", "psa", "boot_timeout_s", 60.0), "role psa: boot_timeout 45 s → 60 s"),
        (_set("roles", "psa", "parameters", "basis_mm", 2.0), "role psa: basis 2 → 2.0"),
        (_set("roles", "psa", "quorum", "90%"), "role psa: quorum all → 90%"),
        (_set("roles", "psa", "command", ["/bin/psa"]), 'role psa: command ["/bin/psa", "--fast"] → ["/bin/psa"]'),
        (_set("roles", "psa", "environment", {"TZ": "UTC"}), "role psa: environment.TZ UTC added"),
        (_set("roles", "builder", "parameters", {}), "role builder: parameters cuts → {}"),
        (_set("roles", "extra", {"command": ["/bin/true"]}), "role extra added"),
        (_delete("roles", "builder"), "role builder removed"),
        (_set("parameters", "cuts", "window_ns", 25), "parameter set cuts: window 20 ns → 25 ns"),
        (_set("parameters", "cuts", "window_ns", "wide"), "parameter set cuts: window_ns 20 → wide"),
        (_set("parameters", "more", {}), "parameter set more added"),
        (_set("farm", "command_timeout_s", 5.0), "farm: command_timeout (unset) → 5 s"),
        (_set("sub_farms", "sf01", "nodes", ["hlt[001-015]"]), "node hlt016 removed from sf01"),
        (_set("sub_farms", "sf02", "nodes", ["hlt[017-230]"]), "nodes hlt[021-230] added to sf02"),
        (_set("sub_farms", "sf01", "nodes", ["hlt016,hlt[001-015]"]), "sub-farm sf01: its nodes in another order"),
        (_set("sub_farms", "sf01", "roles", ["source"]), "sub-farm sf01: role psa removed"),
        (
            _set("sub_farms", "sf03", {"nodes": ["hlt[031-032]"], "roles": ["source", "psa"]}),
            "sub-farm sf03 added, with nodes hlt[031-032] and roles source, psa",
        ),
        (_delete("sub_farms", "sf02"), "sub-farm sf02 removed"),
        (
            _set("nodes", "hlt[005-008]", {"labels": ["near"], "resources": {"cores": 64}}),
            'nodes hlt[005-008]: labels [] → ["near"]',
        ),
    ],
)
def test_a_change_is_one_line_for_people(edit: Any, line: str) -> None:
    assert line in _lines(edit)


def test_a_node_that_changes_its_sub_farm_has_moved_and_is_not_told_twice() -> None:
    def edit(document: dict[str, Any]) -> None:
        document["sub_farms"]["sf01"]["nodes"] = ["hlt[001-014]"]
        document["sub_farms"]["sf02"]["nodes"] = ["hlt[015-020]"]

    assert _lines(edit) == ["nodes hlt[015-016] moved from sf01 to sf02"]


def test_what_is_set_for_nodes_is_compared_node_by_node_and_told_folded() -> None:
    def edit(document: dict[str, Any]) -> None:
        document["nodes"] = {
            "hlt001": {"labels": ["near"], "resources": {"cores": 32}},
            "hlt[002-004]": {"labels": ["near"], "resources": {"cores": 32, "gpu": 1}},
        }

    assert _lines(edit) == ["nodes hlt[002-004]: resources.gpu 1 added"]


def test_a_change_as_a_document_has_its_values_and_says_null_only_where_it_is_null() -> None:
    after = copy.deepcopy(BASE)
    after["roles"]["psa"]["parameters"]["basis_mm"] = None
    after["parameters"]["more"] = {"a": 1}
    first, second = changes(from_document(BASE), from_document(after))
    assert first.as_document() == {
        "place": "roles.psa.parameters.basis_mm",
        "kind": "changed",
        "text": "role psa: basis 2 mm → (unset)",
        "before": 2,
        "after": None,
    }
    assert second.kind is ChangeKind.ADDED
    assert "before" not in second.as_document()


def test_a_long_value_is_cut_in_the_line_and_whole_in_the_values() -> None:
    after = copy.deepcopy(BASE)
    after["parameters"]["cuts"]["names"] = [f"n{number}" for number in range(100)]
    (change,) = changes(from_document(BASE), from_document(after))
    assert len(str(change)) < 100
    assert str(change).endswith("… added")
    assert len(change.after) == 100


# ---- two people at once ---------------------------------------------------------------------------------------------


def test_what_each_side_changed_alone_is_merged() -> None:
    base = {"a": 1, "b": {"x": 1, "y": 2}, "c": [1]}
    mine = {"a": 2, "b": {"x": 1, "y": 2, "z": 3}, "c": [1]}
    theirs = {"a": 1, "b": {"x": 5}, "c": [1, 2], "d": None}
    merged, conflicts = merge(base, mine, theirs)
    assert conflicts == ()
    assert merged == {"a": 2, "b": {"x": 5, "z": 3}, "c": [1, 2], "d": None}


def test_the_same_change_on_both_sides_is_no_conflict() -> None:
    assert merge({"a": 1}, {"a": 2}, {"a": 2}) == ({"a": 2}, ())
    assert merge({"a": 1}, {}, {}) == ({}, ())


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "conflict"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 3}}, Conflict("a.b", 1, 2, 3)),
        ({"a": 1}, {}, {"a": 2}, Conflict("a", 1, ABSENT, 2)),
        ({}, {"a": 1}, {"a": 1.0}, Conflict("a", ABSENT, 1, 1.0)),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [0, 1]}, Conflict("a", [1], [1, 2], [0, 1])),
        ({"a": {"b": 1}}, {"a": 7}, {"a": {"b": 2}}, Conflict("a", {"b": 1}, 7, {"b": 2})),
    ],
)
def test_different_changes_of_the_same_place_are_a_conflict(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any], conflict: Conflict
) -> None:
    merged, conflicts = merge(base, mine, theirs)
    assert conflicts == (conflict,)
    assert merged == base


def test_a_whole_configuration_merges_with_itself() -> None:
    document = to_document(from_document(BASE))
    assert merge(document, document, document) == (document, ())
