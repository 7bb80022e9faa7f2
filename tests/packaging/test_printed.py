"""The parts of the documentation that the program prints: none is stale, and the tool notices one that is."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = """# Words

<!-- printed by grange.core.state:diagram as mermaid -->
{body}<!-- end of what is printed -->
The rest is written by hand.
"""


def printed(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", ROOT / "tools" / "printed.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "words.md"
    path.write_text(DOCUMENT.format(body="an old diagram\n"))
    return path


def test_the_documentation_of_this_tree_is_fresh() -> None:
    done = printed("--check")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_stale_part_is_named_and_left_as_it_is_when_only_checking(document: Path) -> None:
    done = printed("--check", document)
    assert (done.returncode, done.stdout) == (1, f"{document}: is stale. Run: make docs\n")
    assert "an old diagram" in document.read_text()


def test_a_stale_part_is_renewed_once_and_the_text_around_it_stays(document: Path) -> None:
    assert printed(document).stdout == f"{document}: renewed\n"
    fresh = document.read_text()
    assert "```mermaid\nstateDiagram-v2\n" in fresh
    assert fresh.startswith("# Words\n")
    assert fresh.endswith("The rest is written by hand.\n")
    assert printed(document).stdout == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<!-- printed by grange.core.state:diagram -->\n", ":1: this mark has no end"),
        (
            "\n<!-- printed by grange.core.state:poem -->\n<!-- end of what is printed -->\n",
            ":2: grange.core.state:poem",
        ),
    ],
)
def test_a_mark_that_cannot_be_followed_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "words.md"
    path.write_text(text)
    done = printed("--check", path)
    assert done.returncode == 1
    assert f"{path}{problem}" in done.stderr
