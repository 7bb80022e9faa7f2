"""The generator of the wire's Python code: which files get what, and what `make check-proto` notices."""

import subprocess
import sys
from pathlib import Path

import pytest

from grange.proto import generate

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"configuration", "control", "runs", "security", "tree"}


def test_grpc_code_exists_for_the_files_with_a_service_and_no_others() -> None:
    assert {path.name.removesuffix("_pb2_grpc.py") for path in (ROOT / "proto").glob("*_pb2_grpc.py")} == SERVICES
    assert {path.stem for path in (ROOT / "proto").glob("*.proto") if generate.has_service(path)} == SERVICES


def test_fresh_code_is_not_called_stale() -> None:
    assert generate.stale({"a_pb2.py": b"1"}, {"a_pb2.py": b"1"}) == []


@pytest.mark.parametrize(
    ("fresh", "committed", "problem"),
    [
        ({"a_pb2.py": b"2"}, {"a_pb2.py": b"1"}, "proto/a_pb2.py: differs"),
        ({"a_pb2.py": b"1"}, {}, "proto/a_pb2.py: missing"),
        ({}, {"a_pb2_grpc.py": b"1"}, "proto/a_pb2_grpc.py: has no .proto file or service"),
    ],
)
def test_stale_code_is_named_with_the_reason(
    fresh: dict[str, bytes], committed: dict[str, bytes], problem: str
) -> None:
    assert generate.stale(fresh, committed) == [problem]


def test_the_committed_code_is_what_the_proto_files_say() -> None:
    done = subprocess.run(
        [sys.executable, "-P", ROOT / "proto" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
