"""Host lists: what an expression stands for, what is refused and where, and that writing and reading agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grange.core.hostlist import NAMES_MAX, HostListError, compress, expand, natural_key


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("hlt001", ("hlt001",)),
        ("hlt[001-004,007]", ("hlt001", "hlt002", "hlt003", "hlt004", "hlt007")),
        ("n[9-11]", ("n9", "n10", "n11")),
        ("r[1-2]n[01-02]-ib", ("r1n01-ib", "r1n02-ib", "r2n01-ib", "r2n02-ib")),
        ("b,a[2,1].lan", ("b", "a2.lan", "a1.lan")),
        ("n[0-1]", ("n0", "n1")),
    ],
)
def test_an_expression_stands_for_its_names_in_the_order_written(expression: str, names: tuple[str, ...]) -> None:
    assert expand(expression) == names


@pytest.mark.parametrize(
    ("expression", "position", "what"),
    [
        ("", 1, "a node name is missing"),
        ("a,,b", 3, "a node name is missing"),
        ("a,", 3, "a node name is missing"),
        ("hlt[001-004", 4, "is not closed"),
        ("hlt[]", 5, "a number or a range"),
        ("hlt[a-b]", 5, "a number or a range"),
        ("hlt[1-2;3]", 8, '"," or "]" expected'),
        ("hlt[5-2]", 5, "goes down; write 2-5"),
        ("hlt[01-100]", 5, "differ in width; write 001-100"),
        ("hlt[1-010]", 5, "differ in width; write 001-010"),
        ("hlt 1", 4, "cannot stand in a node name"),
        ("hlt]1", 4, "cannot stand in a node name"),
        ("a1,a[1-2]", 4, '"a1" is named twice'),
        ("n[1-9999999999]", 3, "at most 9 digits"),
    ],
)
def test_a_mistake_is_refused_with_its_place(expression: str, position: int, what: str) -> None:
    with pytest.raises(HostListError, match="host list") as caught:
        expand(expression)
    assert what in str(caught.value)
    assert caught.value.position == position


@pytest.mark.parametrize("expression", ["n[1-999999999]", "a[1-1000]b[1-1000]", f"x,n[1-{NAMES_MAX}]"])
def test_more_names_than_the_limit_are_refused_before_any_is_made(expression: str) -> None:
    with pytest.raises(HostListError, match="more than 100000 names"):
        expand(expression)


def test_as_many_names_as_the_limit_are_accepted() -> None:
    assert len(expand(f"n[1-{NAMES_MAX}]")) == NAMES_MAX


@pytest.mark.parametrize(
    ("names", "expression"),
    [
        ([], ""),
        (["hlt001"], "hlt001"),
        (["hlt007", "hlt001", "hlt003", "hlt002"], "hlt[001-003,007]"),
        (["n9", "n10", "n11"], "n[9-11]"),
        (["n08", "n09", "n10", "n7"], "n[7,08-10]"),
        (["login", "hlt2-ib", "hlt1-ib"], "hlt[1-2]-ib,login"),
    ],
)
def test_names_are_written_as_the_shortest_usual_expression(names: list[str], expression: str) -> None:
    assert compress(names) == expression


def test_what_is_not_a_node_name_cannot_be_compressed() -> None:
    with pytest.raises(HostListError, match="not a node name"):
        compress(["a,b"])


node_names = st.from_regex(r"[a-z]{0,2}[0-9]{0,3}(-[a-z])?[0-9]{0,2}", fullmatch=True).filter(bool)


@given(st.lists(node_names, unique=True, min_size=1))
def test_expanding_a_compressed_set_gives_the_set_back(names: list[str]) -> None:
    assert set(expand(compress(names))) == set(names)


@given(st.lists(node_names, unique=True))
def test_compressing_does_not_depend_on_the_order(names: list[str]) -> None:
    assert compress(names) == compress(reversed(names))


@given(st.text(alphabet="ab01,[]-", max_size=12))
def test_any_text_either_expands_to_distinct_names_or_is_refused(text: str) -> None:
    try:
        names = expand(text)
    except HostListError:
        return
    assert len(set(names)) == len(names) > 0
    assert set(expand(compress(names))) == set(names)


def test_natural_order_counts() -> None:
    assert sorted(["n10", "n9", "m", "n09"], key=natural_key) == ["m", "n09", "n9", "n10"]
