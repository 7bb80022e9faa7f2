"""The transcripts in tests/spec: what a farm does, step by step, under faults too.

After a wanted change, GRANGE_REWRITE=1 writes the new output; the difference is then read like code.
"""

import os
from pathlib import Path

import pytest

from grange.harness.scenario import run_transcript

SPEC = Path(__file__).resolve().parents[1] / "spec"


@pytest.mark.parametrize("path", sorted(SPEC.glob("*.txt")), ids=lambda path: path.stem)
def test_a_farm_behaves_as_its_transcript_says(path: Path) -> None:
    expected = path.read_text(encoding="utf-8")
    found = run_transcript(expected)
    if os.environ.get("GRANGE_REWRITE") == "1":
        path.write_text(found, encoding="utf-8")
        return
    assert found == expected
