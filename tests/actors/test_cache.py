"""The cache of computed arrays: computed once, whole or not there, shared."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from grange.actors.cache import Arrays, CacheError, content_key, load_or_compute


@dataclass(frozen=True)
class Parameters:
    size: int = 3
    scale: float = 1.0


def counting(calls: list[int]) -> Callable[[], Arrays]:
    def compute() -> Arrays:
        calls.append(1)
        return {"values": np.arange(3.0), "flags": np.array([True, False])}

    return compute


def test_an_entry_is_computed_once_and_then_read(tmp_path: Path) -> None:
    calls: list[int] = []
    first = load_or_compute(tmp_path, "demo", Parameters(), counting(calls))
    second = load_or_compute(tmp_path, "demo", Parameters(), counting(calls))
    assert len(calls) == 1
    assert first["values"].tolist() == second["values"].tolist() == [0, 1, 2]
    assert second["flags"].tolist() == [True, False]


def test_other_parameters_and_other_kinds_are_other_entries(tmp_path: Path) -> None:
    calls: list[int] = []
    load_or_compute(tmp_path, "demo", Parameters(), counting(calls))
    load_or_compute(tmp_path, "demo", Parameters(scale=1.0000001), counting(calls))
    load_or_compute(tmp_path, "other", Parameters(), counting(calls))
    assert len(calls) == 3


def test_equal_parameters_have_equal_names() -> None:
    assert content_key("demo", Parameters(2, 0.5)) == content_key("demo", Parameters(scale=0.5, size=2))


def test_arrays_are_mapped_read_only(tmp_path: Path) -> None:
    arrays = load_or_compute(tmp_path, "demo", Parameters(), counting([]))
    with pytest.raises(ValueError, match="read-only"):
        arrays["values"][0] = 9


def test_an_entry_says_what_it_is(tmp_path: Path) -> None:
    load_or_compute(tmp_path, "demo", Parameters(7), counting([]))
    (text,) = tmp_path.glob("demo-*/parameters.json")
    assert json.loads(text.read_text()) == {"size": 7, "scale": 1.0}


def test_what_a_failed_or_killed_computation_left_is_no_entry(tmp_path: Path) -> None:
    def fail() -> Arrays:
        raise ArithmeticError("did not converge")

    with pytest.raises(ArithmeticError):
        load_or_compute(tmp_path, "demo", Parameters(), fail)
    left = tmp_path / (content_key("demo", Parameters()) + ".part")
    left.mkdir()
    (left / "values.npy").write_bytes(b"half an array")
    calls: list[int] = []
    assert load_or_compute(tmp_path, "demo", Parameters(), counting(calls))["values"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    assert not left.exists()


def test_a_damaged_entry_is_named_with_the_remedy(tmp_path: Path) -> None:
    load_or_compute(tmp_path, "demo", Parameters(), counting([]))
    (file,) = tmp_path.glob("demo-*/values.npy")
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(CacheError, match=r"cannot be read .* delete this folder"):
        load_or_compute(tmp_path, "demo", Parameters(), counting([]))


CONTENDER = """
import os, sys
from dataclasses import dataclass
import numpy as np
from grange.actors.cache import load_or_compute

@dataclass(frozen=True)
class Parameters:
    size: int = 3

def compute():
    descriptor = os.open(sys.argv[1] + "/computed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"x")
    os.close(descriptor)
    return {"values": np.arange(500_000)}

sys.stdin.readline()
print(load_or_compute(sys.argv[1], "demo", Parameters(), compute)["values"].sum())
"""


def test_of_several_processes_at_once_one_computes_and_all_get_the_same(tmp_path: Path) -> None:
    contenders = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", CONTENDER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for contender in contenders:  # all are started, or starting, before the first is let go
        assert contender.stdin is not None
        contender.stdin.write("go\n")
        contender.stdin.flush()
    outputs = [contender.communicate(timeout=60)[0] for contender in contenders]
    assert outputs == ["124999750000\n"] * 4
    assert (tmp_path / "computed").read_text() == "x"
