"""What is installed: lower bounds with a reason each in pyproject.toml, exact versions in constraints.txt."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads(TEXT)
DIRECT = [
    Requirement(line)
    for line in (*PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"]["dev"])
]
BOUNDS = {canonicalize_name(requirement.name): requirement for requirement in DIRECT}
LINES = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
EXACT = {canonicalize_name(line.split("==")[0]): Version(line.split("==")[1]) for line in LINES}


def lower_bound(name: str) -> Version:
    return next(Version(bound.version) for bound in BOUNDS[canonicalize_name(name)].specifier if bound.operator == ">=")


def all_needed() -> set[str]:
    """The names of all direct dependencies and of what they need in turn, in this environment."""
    needed: set[str] = set()
    waiting = list(DIRECT)
    while waiting:
        requirement = waiting.pop()
        if canonicalize_name(requirement.name) in needed:
            continue
        needed.add(canonicalize_name(requirement.name))
        for line in importlib.metadata.requires(requirement.name) or ():
            further = Requirement(line)
            extras = requirement.extras or {""}
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
    return needed


@pytest.mark.parametrize("line", LINES)
def test_a_constraint_is_a_name_and_an_exact_version_without_address_hash_or_option(line: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.+!]*", line)


def test_constraints_fix_every_dependency_direct_or_not() -> None:
    assert all_needed() - EXACT.keys() == set()


def test_every_direct_dependency_has_a_lower_bound_and_no_upper_one() -> None:
    assert {name: [bound.operator for bound in requirement.specifier] for name, requirement in BOUNDS.items()} == {
        name: [">="] for name in BOUNDS
    }


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_an_exact_version_lies_within_its_bound(name: str) -> None:
    assert EXACT[canonicalize_name(name)] in BOUNDS[canonicalize_name(name)].specifier


def test_every_group_of_dependencies_has_a_comment_above_it_that_says_what_for() -> None:
    lists = re.findall(r"^(?:dependencies|dev) = \[\n(.*?)^\]", TEXT, re.MULTILINE | re.DOTALL)
    assert [block.lstrip()[0] for block in lists] == ["#", "#"]


def test_bounds_admit_no_runtime_that_refuses_the_committed_generated_code() -> None:
    for path in (ROOT / "proto").glob("*_pb2.py"):
        call = re.search(r"\(\s*_runtime_version\.Domain\.PUBLIC,\s*(\d+),\s*(\d+),\s*(\d+)", path.read_text())
        assert call, f"{path.name} does not say which runtime it needs"
        assert lower_bound("protobuf") >= Version(".".join(call.groups())), path.name
    for path in (ROOT / "proto").glob("*_pb2_grpc.py"):
        wanted = re.search(r"^GRPC_GENERATED_VERSION = '([^']+)'", path.read_text(), re.MULTILINE)
        assert wanted, f"{path.name} does not say which grpc it needs"
        assert lower_bound("grpcio") >= Version(wanted[1]), path.name
