"""Who may do what: the rules of access.toml, and what each call takes."""

import pytest

from grange.core.access import NEEDS, NO_RULES, Access, AccessRules, access_rules, need_of
from grange.proto import configuration_pb2, control_pb2, runs_pb2, security_pb2, tree_pb2

RULES = AccessRules(group="agata", experts=("jan",), shifters=("ana", "@shift"))
FARM_UID = 1000


@pytest.mark.parametrize(
    ("person", "groups", "uid", "access"),
    [
        ("farm", (), FARM_UID, Access.OWNER),
        ("root", (), 0, Access.OWNER),
        ("jan", (), 1001, Access.EXPERT),
        ("ana", (), 1002, Access.SHIFTER),
        ("eva", ("shift",), 1003, Access.SHIFTER),
        ("jan", ("shift",), 1001, Access.EXPERT),
        ("eve", ("agata",), 1004, Access.OBSERVER),
        ("shift", (), 1005, Access.OBSERVER),  # a user called as the group is
    ],
)
def test_a_person_may_what_the_best_rule_says(person: str, groups: tuple[str, ...], uid: int, access: Access) -> None:
    assert RULES.access_of(person, groups, uid, FARM_UID) is access


def test_without_rules_the_owner_and_root_are_owners_and_everybody_else_looks() -> None:
    found = [NO_RULES.access_of("ana", ("shift",), uid, FARM_UID) for uid in (FARM_UID, 0, 1002)]
    assert found == [Access.OWNER, Access.OWNER, Access.OBSERVER]


def test_the_rules_are_read_from_a_document() -> None:
    document = {"group": "agata", "experts": ["jan"], "shifters": ["ana", "@shift"]}
    assert access_rules(document) == (RULES, ())


def test_every_mistake_in_a_document_is_told_at_once() -> None:
    _, problems = access_rules({"group": 7, "experts": "jan", "shifter": ["ana"]})
    assert [problem.place for problem in problems] == ["shifter", "group", "experts"]
    assert 'did you mean "shifters"?' in str(problems[0])


def test_every_call_of_every_service_says_what_it_takes() -> None:
    modules = (control_pb2, configuration_pb2, runs_pb2, security_pb2, tree_pb2)
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    assert {f"{service.name}/{method.name}" for service in services for method in service.methods} == set(NEEDS)


def test_a_call_that_is_not_listed_is_the_owners() -> None:
    assert need_of("Control/Explode").access is Access.OWNER
