"""Exact texts of what is wrong with configurations, access rules, names and paths, where no other test states them.

Part of the catalogue of errors: tests/packaging/test_error_catalogue.py asks whether a text is missing.
"""

from typing import Any

import pytest

from grange.core import paths
from grange.core.access import access_rules
from grange.core.configuration_text import TEXT_LENGTH_MAX, from_document, parse
from grange.core.durations import parse_duration
from grange.core.errors import InvalidInput, SameIdOtherContent
from grange.core.home import check_socket_path
from grange.core.problems import ConfigurationError

ROLE = {"command": ["psa"], "ready": "settle"}


def configuration(**sections: Any) -> dict[str, Any]:
    """A small valid one, with other sections in place of its own."""
    return {
        "farm": {"name": "small"},
        "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
        "roles": {"psa": ROLE},
    } | sections


def deep(levels: int) -> Any:
    """A value that nests so deeply."""
    return 1 if levels == 0 else {"a": deep(levels - 1)}


def problems_of(content: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        from_document(content)
    return [str(problem) for problem in caught.value.problems]


LONG = "x" * 65


@pytest.mark.parametrize(
    ("sections", "problems"),
    [
        ({"sub_farms": {}}, ["sub_farms: at least one is needed"]),
        ({"nodes": [1]}, ["nodes: a mapping of names to entries is expected"]),
        (
            {"sub_farms": {"sf01": {"nodes": [], "roles": ["psa"]}}},
            ["sub_farms.sf01.nodes: a sub-farm needs at least one node"],
        ),
        (
            {"sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa", "psa"]}}},
            ['sub_farms.sf01.roles[2]: role "psa" is named twice'],
        ),
        (
            {"sub_farms": {"sf01": {"nodes": [LONG], "roles": ["psa"]}}},
            ['sub_farms.sf01.nodes[1]: "xxxxxxxxxxxxxxxxxxxx…" is longer than 64 characters'],
        ),
        (
            {"roles": {"psa": ROLE, LONG: ROLE}},
            [f'roles.{LONG}: "xxxxxxxxxxxxxxxxxxxx…" is longer than 64 characters'],
        ),
        (
            {"farm": {"name": LONG}},
            ['farm.name: "xxxxxxxxxxxxxxxxxxxx…" is longer than 64 characters'],
        ),
        ({"roles": {"psa": {**ROLE, "reads": ["psa", "psa"]}}}, ['roles.psa.reads[2]: role "psa" is named twice']),
        (
            {"roles": {"psa": {**ROLE, "command": ["a\0b"]}}},
            ["roles.psa.command[1]: a NUL character can be passed neither to a process nor to a database"],
        ),
        (
            {"roles": {"psa": {**ROLE, "parameters": 3}}},
            ["roles.psa.parameters: the name of a parameter set, or a mapping of keys to values, is expected"],
        ),
        (
            {"roles": {"psa": {**ROLE, "parameters": {3: 1}}}},
            ["roles.psa.parameters: key 3 is not text"],
        ),
        (
            {"roles": {"psa": {"actor": "psa.py:Psa"}}},
            ['roles.psa.actor: "psa.py:Psa" is not of the form "/path/file.py:Class"; the path has to be absolute'],
        ),
    ],
)
def test_what_is_wrong_with_a_configuration(sections: dict[str, Any], problems: list[str]) -> None:
    assert problems_of(configuration(**sections))[: len(problems)] == problems


def test_values_that_nest_too_deeply_are_told_with_their_place() -> None:
    (problem,) = problems_of(configuration(roles={"psa": {**ROLE, "parameters": deep(21)}}))
    assert problem.endswith(".a: values nest deeper than 20 levels")


def test_more_processes_than_a_farm_may_have_are_counted() -> None:
    sub_farms = {f"sf{number:02}": {"nodes": [f"n{number:02}"], "roles": ["psa"]} for number in range(1, 22)}
    found = problems_of(configuration(sub_farms=sub_farms, roles={"psa": {**ROLE, "count": 10_000}}))
    assert found == ["sub_farms: 210000 processes in all are more than 200000"]


def test_a_text_that_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(" " * (TEXT_LENGTH_MAX + 1), "json")
    (problem,) = caught.value.problems
    assert str(problem) == "16777217 characters are more than 16777216; write nodes as host lists"


def test_a_toml_value_that_python_cannot_hold_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("a = " + "1" * 5000, "toml")
    (problem,) = caught.value.problems
    assert str(problem).startswith("a value cannot be read: Exceeds the limit (4300 digits)")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"expert": ["ana"]}, "expert: there is no key 'expert' in access.toml; did you mean \"experts\"?"),
        ({"group": "@shift"}, "group: is the name of one group, as text"),
        ({"shifters": "ana"}, 'shifters: is a list of users and @groups, such as ["ana", "@shift"]'),
    ],
)
def test_what_is_wrong_with_access_rules(document: dict[str, Any], problem: str) -> None:
    _, problems = access_rules(document)
    assert [str(one) for one in problems] == [problem]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("10", "'10' is no length of time; write it as 90s, 10m or 1h30m"),
        ("0s", "'0s' is not longer than nothing and at most a year; write it as 90s, 10m or 1h30m"),
    ],
)
def test_what_is_wrong_with_a_length_of_time(text: str, what: str) -> None:
    with pytest.raises(ValueError, match="is") as caught:
        parse_duration(text)
    assert str(caught.value) == what


def test_a_path_with_something_else_than_names_is_told() -> None:
    with pytest.raises(ValueError, match="name") as caught:
        paths.parse("sf01/n 1")
    assert str(caught.value) == "'sf01/n 1': 'n 1' is no name of a member (letters, digits, '_', '.', '-')"


def test_a_home_too_long_for_a_socket_is_told_with_the_remedy() -> None:
    path = f"/{'h' * 120}/farm.sock"
    with pytest.raises(InvalidInput) as caught:
        check_socket_path(path)
    assert str(caught.value) == (
        f"home: the socket path {path} has 131 bytes, a Unix socket's has at most 107. "
        "Choose a shorter --home (or GRANGE_HOME), for instance under /var/tmp"
    )


def test_an_id_that_was_used_for_something_else_is_told() -> None:
    assert str(SameIdOtherContent("c-1")) == (
        "command id c-1 was used before, with other content. Choose a new id for each command"
    )
