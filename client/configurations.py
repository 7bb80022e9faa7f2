"""The calls of `AsyncFarm` about configurations: revisions, what changed between them, and their tags."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

from grange.core.errors import InvalidInput
from grange.core.problems import Problem
from grange.proto import configuration_pb2
from grange.proto.stub import Stubs

from . import reading
from .asking import asking
from .values import Difference, Exported, Imported, Revision, Tag

_NAME_A_FILE = "Name a configuration in JSON, or in TOML when its name ends in .toml"


class Configurations(ABC):
    """A part of `AsyncFarm`. A revision is named by hash, a unique beginning of it, or a tag; "" is the selected."""

    deadline_s: float

    @property
    @abstractmethod
    def _stubs(self) -> Stubs:
        """The farm's own."""

    async def import_configuration(
        self,
        text: str,
        format: str,
        *,
        source: str = "",
        message: str = "",
        use: bool = True,
        base: str = "",
        merge: bool = False,
    ) -> Imported:
        """Checks and stores a configuration (`format` json or toml), and with `use` selects it for the next load.

        `base` is the revision that it was made from, by default the one that an exported text names; `merge` puts
        together what both sides have changed since. Raises `InvalidInput` with every problem, and `Conflict` with both
        sides when somebody else has changed the same since; nothing is stored then.
        """
        request = asking(
            configuration_pb2.ImportRequest,
            text=text,
            format=format,
            source=source,
            message=message,
            use=use,
            base=base,
            merge=merge,
        )
        return reading.read_imported(await self._stubs.configuration.import_(request, self.deadline_s))

    async def config_import(
        self,
        file: str | os.PathLike[str],
        *,
        message: str = "",
        use: bool = True,
        base: str = "",
        merge: bool = False,
    ) -> Imported:
        """Like `import_configuration`, from a file whose name ends in .json or .toml."""
        text, format = read_configuration(file)
        source = os.fspath(file)
        return await self.import_configuration(
            text, format, source=source, message=message, use=use, base=base, merge=merge
        )

    async def config_export(self, revision: str = "", format: Literal["json", "toml"] = "json") -> Exported:
        """A revision as text. Raises `InvalidInput` for one that TOML cannot say."""
        request = asking(configuration_pb2.ExportRequest, revision=revision, format=format)
        return reading.read_exported(await self._stubs.configuration.export(request, self.deadline_s))

    async def config_list(self, most: int = 50, revision: str = "") -> tuple[Revision, ...]:
        """The newest revisions, newest first; or one and its ancestors. Raises `UnknownRevision`."""
        request = asking(configuration_pb2.ListRevisionsRequest, most=most, revision=revision)
        response = await self._stubs.configuration.list_revisions(request, self.deadline_s)
        return tuple(reading.read_revision(one) for one in response.revisions)

    async def config_use(self, revision: str) -> Revision:
        """Selects what the next load takes. Raises `UnknownRevision`."""
        request = asking(configuration_pb2.UseRequest, revision=revision)
        return reading.read_revision((await self._stubs.configuration.use(request, self.deadline_s)).revision)

    async def config_diff(self, before: str, after: str = "") -> Difference:
        """What changed from one revision to another. Raises `UnknownRevision`."""
        request = asking(configuration_pb2.DiffRequest, before=before, after=after)
        return reading.read_difference(await self._stubs.configuration.diff(request, self.deadline_s))

    async def config_tag(self, name: str, revision: str = "") -> Revision:
        """Points a tag at a revision. Raises `InvalidInput` for what cannot be a tag."""
        request = asking(configuration_pb2.SetTagRequest, name=name, revision=revision)
        return reading.read_revision((await self._stubs.configuration.set_tag(request, self.deadline_s)).revision)

    async def config_tags(self, name: str = "", *, history: bool = False) -> tuple[Tag, ...]:
        """All tags, or one; with `history`, where they have pointed. Raises `UnknownRevision`."""
        request = asking(configuration_pb2.ListTagsRequest, name=name, history=history)
        response = await self._stubs.configuration.list_tags(request, self.deadline_s)
        return tuple(reading.read_tag(tag) for tag in response.tags)


def read_configuration(file: str | os.PathLike[str]) -> tuple[str, Literal["json", "toml"]]:
    """A configuration file's text and format, which its name tells. Raises `InvalidInput` when it cannot be read."""
    path = Path(file)
    try:
        return path.read_text(encoding="utf-8"), "toml" if path.suffix == ".toml" else "json"
    except OSError as error:
        raise InvalidInput([Problem(str(path), f"cannot be read: {error.strerror}")], _NAME_A_FILE) from None
    except UnicodeDecodeError as error:
        raise InvalidInput([Problem(str(path), f"is not UTF-8 text (byte {error.start})")], _NAME_A_FILE) from None
