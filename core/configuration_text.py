"""From text to a checked configuration, or to every problem at once.

Three stages. Spelling (`spelling.py`): JSON or TOML that cannot be read at all has one problem, with line and column.
Sections: every farm, sub-farm, node entry, role and parameter set is read by itself, so that one mistake hides no
other. Cross-checks: what takes several sections to judge. Nothing is returned unless all three found nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from .addressing import Provenance
from .configuration import (
    Configuration,
    FarmSettings,
    NodeSettings,
    ParameterSet,
    Reading,
    Role,
    Section,
    SubFarm,
    name_fault,
    read,
)
from .configuration_checks import Draft, find_problems, find_warnings
from .problems import ConfigurationError, Problem, did_you_mean
from .spelling import read_text

TEXT_LENGTH_MAX = 16 * 2**20  # characters; 100,000 processes need some hundred kB, for nodes are written as host lists

_SECTIONS = ("farm", "sub_farms", "nodes", "roles", "parameters")
_PROVENANCE = "revision"  # what an exported document was made from; no part of the content
_HASH = re.compile(r"[0-9a-f]{4,64}")
_S = TypeVar("_S", bound=Section)


def parse(text: str, format: Literal["json", "toml"], source: str = "configuration") -> Configuration:
    """The configuration that a text describes; `source` is what error messages call it, such as the file's name.

    Raises `ConfigurationError` with every problem that was found.
    """
    if len(text) > TEXT_LENGTH_MAX:
        what = f"{len(text)} characters are more than {TEXT_LENGTH_MAX}; write nodes as host lists"
        raise ConfigurationError([Problem("", what)], source)
    document, problems = read_text(text, format)
    if problems and document is None:
        raise ConfigurationError(problems, source)
    return _checked(document, source, problems)


def from_document(document: Any, source: str = "configuration") -> Configuration:
    """The configuration that a document of plain values describes, such as `to_document` gives.

    Raises `ConfigurationError` with every problem that was found.
    """
    return _checked(document, source, [])


def _checked(document: Any, source: str, found: list[Problem]) -> Configuration:
    """The same, with what has been `found` in its text."""
    if not isinstance(document, dict):
        raise ConfigurationError([*found, Problem("", "a mapping of keys to values is expected")], source)
    problems = found + [
        Problem(str(key), "unknown key", did_you_mean(str(key), _SECTIONS))
        for key in sorted(document.keys() - {*_SECTIONS, _PROVENANCE}, key=str)
    ]
    provenance, faults = _read_provenance(document)
    problems += faults
    problems += [Problem(key, "this key is missing") for key in ("farm", "sub_farms", "roles") if key not in document]
    problems += [Problem(key, "at least one is needed") for key in ("sub_farms", "roles") if document.get(key) == {}]
    farm: Reading[FarmSettings] = read(FarmSettings, document["farm"], "farm") if "farm" in document else Reading(None)
    problems += farm.problems
    roles = _read_each(Role, document, "roles", problems)
    wrapped = {name: {"values": values} for name, values in _mapping(document, "parameters").items()}
    sets = _read_each(ParameterSet, {**document, "parameters": wrapped}, "parameters", problems)
    draft = Draft(
        sub_farms=_sections(_read_each(SubFarm, document, "sub_farms", problems)),
        nodes=_sections(_read_each(NodeSettings, document, "nodes", problems)),
        roles=_sections(roles),
        parameters={name: values.values for name, values in _sections(sets).items()},
        role_names=frozenset(roles),
        parameter_names=frozenset(sets),
        dropped={name: reading.dropped for name, reading in roles.items()},
    )
    problems += find_problems(draft)
    if farm.section is None or problems:
        raise ConfigurationError(dict.fromkeys(problems), source)
    return Configuration(
        farm=farm.section,
        sub_farms=draft.sub_farms,
        nodes=draft.nodes,
        roles=draft.roles,
        parameters=draft.parameters,
        provenance=provenance,
        warnings=tuple(find_warnings(draft)),
    )


def _read_provenance(document: Mapping[str, Any]) -> tuple[Provenance | None, list[Problem]]:
    """What the document says that it was made from: a hash, or all that an export says."""
    if _PROVENANCE not in document:
        return None, []
    told = document[_PROVENANCE]
    fields: dict[str, Any] = {"hash": told} if isinstance(told, str) else told if isinstance(told, dict) else {}
    texts = {key: fields.get(key, "") for key in ("hash", "parent", "author", "message")}
    created_at_ns = fields.get("created_at_ns", 0)
    if not isinstance(texts["hash"], str) or not _HASH.fullmatch(texts["hash"]):
        what = "the hash of the revision that this was made from is expected, 4 to 64 of its digits"
        return None, [Problem(_PROVENANCE, what, "as an export writes it, or leave this key out")]
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(created_at_ns, int):
        what = "what an export says of its revision was changed"
        return None, [Problem(_PROVENANCE, what, "write its hash alone, or leave this key out")]
    return Provenance(**texts, created_at_ns=created_at_ns), []


def _mapping(document: Mapping[str, Any], key: str) -> dict[Any, Any]:
    content = document.get(key)
    return content if isinstance(content, dict) else {}


def _sections(readings: Mapping[str, Reading[_S]]) -> dict[str, _S]:
    return {name: reading.section for name, reading in readings.items() if reading.section is not None}


def _read_each(
    model: type[_S], document: Mapping[str, Any], key: str, problems: list[Problem]
) -> dict[str, Reading[_S]]:
    """Every entry of one section by name; what is wrong with them is added to `problems`."""
    if not isinstance(document.get(key, {}), dict):
        problems.append(Problem(key, "a mapping of names to entries is expected"))
    readings: dict[str, Reading[_S]] = {}
    for name, content in _mapping(document, key).items():
        if key != "nodes" and (fault := name_fault(str(name))):
            problems.append(Problem(f"{key}.{name}", fault))
        readings[str(name)] = read(model, content, key, str(name))
        problems += readings[str(name)].problems
    return readings
