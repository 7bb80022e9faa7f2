"""Writes the snapshot of a release into tests/released/VERSION: the database's schema and the wire's descriptors.

Later versions are tested against every one of them: their migrations must start from the schema, and no released field
may change its number or type. Run once, when a version is made: `python tools/released.py`.
"""

from importlib.metadata import version
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from grange.proto import actor_pb2, common_pb2, configuration_pb2, control_pb2, runs_pb2, security_pb2, tree_pb2
from grange.schema.snapshot import dump

ROOT = Path(__file__).resolve().parent.parent


def descriptors() -> bytes:
    """The .proto files as they are now, as one serialised FileDescriptorSet."""
    files = FileDescriptorSet()
    for module in (common_pb2, actor_pb2, tree_pb2, control_pb2, configuration_pb2, runs_pb2, security_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    return files.SerializeToString(deterministic=True)


def main() -> None:
    folder = ROOT / "tests" / "released" / version("grange")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.sql").write_text(dump(), encoding="utf-8")
    (folder / "descriptors.binpb").write_bytes(descriptors())


if __name__ == "__main__":
    main()
