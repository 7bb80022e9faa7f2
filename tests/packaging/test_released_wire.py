"""What was released stays readable: no message, field or enum value of a released wire may change its meaning."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorSet

from grange.proto import actor_pb2, common_pb2, configuration_pb2, control_pb2, runs_pb2, security_pb2, tree_pb2

ROOT = Path(__file__).parents[2]
RELEASED = sorted((ROOT / "tests" / "released").glob("*/descriptors.binpb"))
MODULES = (common_pb2, actor_pb2, tree_pb2, control_pb2, configuration_pb2, runs_pb2, security_pb2)


def _present() -> FileDescriptorSet:
    files = FileDescriptorSet()
    for module in MODULES:
        module.DESCRIPTOR.CopyToProto(files.file.add())
    return files


def _fields(prefix: str, messages: list[DescriptorProto]) -> Iterator[tuple[str, str]]:
    """Each field as (message and number, what it means on the wire)."""
    for message in messages:
        name = f"{prefix}{message.name}"
        for field in message.field:
            yield f"{name} field {field.number}", f"{field.name}: {field.type} {field.label} {field.type_name}"
        yield from _fields(f"{name}.", list(message.nested_type))


def _values(enums: list[EnumDescriptorProto]) -> Iterator[tuple[str, str]]:
    for enum in enums:
        for value in enum.value:
            yield f"{enum.name} value {value.number}", value.name


def _meaning(files: FileDescriptorSet) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files.file:
        found |= dict(_fields("", list(file.message_type)))
        found |= dict(_values(list(file.enum_type)))
        for service in file.service:
            for method in service.method:
                kind = f"{method.input_type} {method.output_type} {method.client_streaming} {method.server_streaming}"
                found[f"{service.name}.{method.name}"] = kind
    return found


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.parent.name)
def test_a_released_wire_is_still_understood(path: Path) -> None:
    released = _meaning(FileDescriptorSet.FromString(path.read_bytes()))
    present = _meaning(_present())
    changed = {name: (meaning, present.get(name)) for name, meaning in released.items() if present.get(name) != meaning}
    assert released
    assert not changed


def test_the_version_that_is_being_made_has_its_snapshot() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    there = {path.name for path in (ROOT / "tests" / "released" / version).glob("*")}
    assert there == {"descriptors.binpb", "schema.sql"}, "run: python tools/released.py"
