"""Generates the Python code of the .proto files beside this one; `make proto` runs it, `make check-proto` compares."""

import sys
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent


def main(output: Path) -> int:
    """Writes `output`/grange/proto/*_pb2*.py(i); the include path makes imports read `from grange.proto import …`."""
    include = Path(protoc.__file__).parent / "_proto"
    names = sorted(path.name for path in HERE.glob("*.proto"))
    arguments = ["protoc", f"-Igrange/proto={HERE}", f"-I{include}"]
    arguments += [f"--python_out={output}", f"--grpc_python_out={output}", f"--mypy_out={output}"]
    return int(protoc.main([*arguments, *(f"grange/proto/{name}" for name in names)]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
