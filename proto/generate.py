"""Generates the Python code of the .proto files beside this one; `make proto` runs it, `make check-proto` compares.

A `grpc` module is written only for a file that has a service: the messages of the actor link and the words shared by
all services must load without grpc. Told to check, it generates into a directory of its own and names every file that
differs, is missing, or is there without a .proto file.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
# the plugins installed beside this interpreter, whatever PATH says
PLUGINS = [
    f"--plugin={name}={Path(sys.executable).with_name(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
]
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


class GenerationError(Exception):
    """protoc refused a .proto file; it has said why on standard error."""


def has_service(proto: Path) -> bool:
    """Whether a .proto file declares a service; services stand at the beginning of a line in this house."""
    return any(line.startswith("service ") for line in proto.read_text(encoding="utf-8").splitlines())


def compile_protos(output: Path) -> None:
    """Writes `output`/grange/proto/*_pb2*.py(i); the include path makes imports read `from grange.proto import …`."""
    include = Path(protoc.__file__).parent / "_proto"
    protos = sorted(HERE.glob("*.proto"))
    common = ["protoc", *PLUGINS, f"-Igrange/proto={HERE}", f"-I{include}"]
    messages = [f"grange/proto/{proto.name}" for proto in protos]
    services = [f"grange/proto/{proto.name}" for proto in protos if has_service(proto)]
    if protoc.main([*common, f"--python_out={output}", f"--mypy_out=quiet:{output}", *messages]):
        raise GenerationError("the messages could not be generated")
    if protoc.main([*common, f"--grpc_python_out={output}", f"--mypy_grpc_out=quiet:{output}", *services]):
        raise GenerationError("the services could not be generated")


def contents(directory: Path) -> dict[str, bytes]:
    """The generated files of a directory, by name."""
    return {path.name: path.read_bytes() for pattern in GENERATED for path in sorted(directory.glob(pattern))}


def stale(fresh: dict[str, bytes], committed: dict[str, bytes]) -> list[str]:
    """The names of generated files that are not what the .proto files say, each with the reason."""
    reasons = dict.fromkeys(fresh.keys() - committed.keys(), "missing")
    reasons |= dict.fromkeys(committed.keys() - fresh.keys(), "has no .proto file or service")
    reasons |= {name: "differs" for name in fresh.keys() & committed.keys() if fresh[name] != committed[name]}
    return [f"proto/{name}: {reason}" for name, reason in sorted(reasons.items())]


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate the Python code of the .proto files.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the generated code is stale")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        compile_protos(Path(scratch))
        fresh = contents(Path(scratch, "grange", "proto"))
    committed = contents(HERE)
    if arguments.check:
        problems = stale(fresh, committed)
        for problem in problems:
            print(f"{problem}. Run: make proto", file=sys.stderr)
        return 1 if problems else 0
    for name in committed.keys() - fresh.keys():
        (HERE / name).unlink()
    for name, content in fresh.items():
        if committed.get(name) != content:
            (HERE / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
