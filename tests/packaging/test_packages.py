"""The mapping of the namespace on the top-level folders: one line in pyproject.toml, and the rules that go with it.

A package that is missing in the list works in the editable install and is missing in the wheel; a bare `proto` or
`schema` would overwrite another project's files; an `__init__.py` at the root would end the namespace.
"""

import importlib.metadata
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["setuptools"]["packages"]

# Top-level folders that hold programs for the repository, not the product.
NOT_PRODUCT = {"build", "dist", "docs", "tests", "tools"}


def product_folders() -> set[str]:
    """Every folder with a .py file, as a dotted path from the root."""
    folders = set()
    for top in ROOT.iterdir():
        if top.is_dir() and top.name not in NOT_PRODUCT and not top.name.startswith(".") and "egg-info" not in top.name:
            folders |= {path.parent.relative_to(ROOT) for path in top.rglob("*.py")}
    return {".".join(folder.parts) for folder in folders}


def folder_of(package: str) -> Path:
    return ROOT.joinpath(*package.split(".")[1:])


def test_every_folder_with_python_files_is_a_listed_package() -> None:
    assert {f"grange.{folder}" for folder in product_folders()} == set(PACKAGES)


def test_no_package_is_listed_twice() -> None:
    assert [package for package, count in Counter(PACKAGES).items() if count > 1] == []


def test_every_package_bears_the_namespace_so_that_no_bare_supervisor_proto_or_schema_is_installed() -> None:
    assert PYPROJECT["tool"]["setuptools"]["package-dir"] == {"grange": "."}
    assert [package for package in PACKAGES if not package.startswith("grange.")] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_an_init_that_says_what_it_is_for(package: str) -> None:
    init = folder_of(package) / "__init__.py"
    assert init.read_text(encoding="utf-8").startswith('"""'), f"{init.relative_to(ROOT)} opens without a docstring"


@pytest.mark.parametrize("package", [package for package in PACKAGES if package.count(".") == 1])
def test_every_top_level_package_is_marked_as_typed(package: str) -> None:
    assert (folder_of(package) / "py.typed").is_file()


@pytest.mark.parametrize("name", ["__init__.py", "conftest.py", "grange", "tests/__init__.py"])
def test_nothing_makes_the_root_or_the_tests_importable(name: str) -> None:
    assert not (ROOT / name).exists()


def test_test_files_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_installed_distribution_tells_the_version_of_this_tree() -> None:
    assert importlib.metadata.version("grange") == PYPROJECT["project"]["version"]


def test_the_changelog_opens_with_the_version_of_this_tree() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "]
    released = [heading for heading in headings if heading != "## Unreleased"]  # which stands first while there is any
    assert headings[-len(released) :] == released
    assert released[0].split()[1] == PYPROJECT["project"]["version"]
