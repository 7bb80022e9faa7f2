"""The sub-farm's descriptions on disk: what the configuration says of it, by revision, so that a restart needs nobody.

Processes never open the database; this cache is what a distributed configuration database comes down to.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

from grange.core.plan import SubFarmSpec
from grange.core.plan_document import PlanDocumentError, sub_farm_document, sub_farm_from_document
from grange.proto import tree_pb2

log = logging.getLogger(__name__)

KEPT = 8  # descriptions of former revisions


def encode(spec: SubFarmSpec) -> bytes:
    """The description as canonical JSON."""
    return json.dumps(sub_farm_document(spec), sort_keys=True, separators=(",", ":")).encode()


def document_of(revision: str, spec: SubFarmSpec) -> tree_pb2.Document:
    """What a farm controller sends to a sub-farm controller."""
    content = encode(spec)
    return tree_pb2.Document(revision=revision, sha256=hashlib.sha256(content).hexdigest(), content=content)


class Documents:
    """The cache in one directory: a file for each revision, and `current` naming the one in force."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def take(self, document: tree_pb2.Document) -> SubFarmSpec:
        """Keeps a description that arrived and returns it. Raises `PlanDocumentError` when it is damaged."""
        if hashlib.sha256(document.content).hexdigest() != document.sha256:
            raise PlanDocumentError(f"the description of revision {document.revision[:12]} was damaged on its way")
        spec = sub_farm_from_document(json.loads(document.content))
        self._write(f"{document.revision}.json", document.content)
        self._write("current", document.revision.encode())
        for old in sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
        return spec

    def current(self) -> tuple[str, SubFarmSpec] | None:
        """What was in force last, if it can be read."""
        try:
            revision = (self._directory / "current").read_text(encoding="utf-8")
            content = (self._directory / f"{revision}.json").read_bytes()
            return revision, sub_farm_from_document(json.loads(content))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("the cached description cannot be read, it comes from the farm again: %s", error)
            return None

    def _write(self, name: str, content: bytes) -> None:
        temporary = self._directory / f"{name}.new"
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._directory / name)
