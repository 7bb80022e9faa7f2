"""What changed from one configuration to another: a list that people read, and the same as values.

Two configurations are compared key by key, each with its defaults, and what belongs together is told together: nodes
are expanded, so another way to write the same host list is no change, and folded again, so two hundred new nodes are
one line. A node that left one sub-farm for another has moved. Keys that end in a unit are told with it: `basis_mm` from
2 to 1 is "basis 2 mm → 1 mm".
"""

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from .configuration import Configuration, NodeSettings, Role, SubFarm
from .hostlist import compress, expand, natural_key
from .problems import join_place

VALUE_LENGTH_MAX = 60  # characters of a value in a line for people; the change itself has all of it

_UNITS: Mapping[str, str] = {
    **{word: word for word in ("s", "ms", "ns", "mm", "cm", "m", "bytes", "kb", "mb", "gb")},
    **{"us": "µs", "um": "µm", "ev": "eV", "kev": "keV", "mev": "MeV", "v": "V", "mv": "mV"},
    **{"hz": "Hz", "khz": "kHz", "mhz": "MHz", "percent": "%"},
}


class ChangeKind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"


class _Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""In place of a value where there is none: JSON's null is a value."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `before` and `after` are plain JSON values, or `ABSENT`."""

    place: str  # path of keys: roles.psa.parameters.basis_mm
    kind: ChangeKind
    about: str  # whom it concerns: role psa
    what: str  # basis 2 mm → 1 mm
    before: Any = ABSENT
    after: Any = ABSENT

    def __str__(self) -> str:
        return f"{self.about}: {self.what}" if self.about else self.what

    def as_document(self) -> dict[str, Any]:
        """The change as JSON values; `before` and `after` are left out where there is none."""
        described = {"place": self.place, "kind": self.kind.value, "text": str(self)}
        values = {"before": self.before, "after": self.after}
        return described | {key: value for key, value in values.items() if value is not ABSENT}


def changes(before: Configuration, after: Configuration) -> tuple[Change, ...]:
    """Everything that differs, in the order of the sections; empty for configurations of equal content."""
    return (
        *_settings("farm", "farm", before.farm.model_dump(mode="json"), after.farm.model_dump(mode="json")),
        *_sub_farm_changes(before.sub_farms, after.sub_farms),
        *_node_settings_changes(before.nodes, after.nodes),
        *_role_changes(before.roles, after.roles),
        *_parameter_set_changes(before, after),
    )


# ---- sub-farms and their nodes --------------------------------------------------------------------------------------


def _sub_farm_changes(before: Mapping[str, SubFarm], after: Mapping[str, SubFarm]) -> Iterator[Change]:
    names = sorted({*before, *after}, key=natural_key)
    for name in names:
        if name not in after:
            gone = before[name].model_dump(mode="json")
            yield Change(f"sub_farms.{name}", ChangeKind.REMOVED, "", f"sub-farm {name} removed", gone)
        elif name not in before:
            new = after[name]
            nodes = _nodes_word(_expanded(new.nodes))
            what = f"sub-farm {name} added, with {nodes} and {_list_word('role', new.roles)}"
            yield Change(f"sub_farms.{name}", ChangeKind.ADDED, "", what, after=new.model_dump(mode="json"))
    yield from _node_changes(before, after)
    for name in names:
        if name in before and name in after:
            yield from _within_sub_farm(name, before[name], after[name])


def _node_changes(before: Mapping[str, SubFarm], after: Mapping[str, SubFarm]) -> Iterator[Change]:
    """Nodes that came, went or moved; those of a sub-farm that is new or gone as a whole are told with it."""
    was, is_now = _places_of_nodes(before), _places_of_nodes(after)
    ways: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in {**was, **is_now}:
        way = was.get(node, ""), is_now.get(node, "")
        if way[0] != way[1]:
            ways[way].append(node)
    for (old, new), nodes in sorted(ways.items()):
        word, values = _nodes_word(nodes), sorted(nodes, key=natural_key)
        if old and new:
            place = f"sub_farms.{new}.nodes"
            yield Change(place, ChangeKind.MOVED, "", f"{word} moved from {old} to {new}", values, values)
        elif old and old in after:
            place = f"sub_farms.{old}.nodes"
            yield Change(place, ChangeKind.REMOVED, "", f"{word} removed from {old}", before=values)
        elif new and new in before:
            yield Change(f"sub_farms.{new}.nodes", ChangeKind.ADDED, "", f"{word} added to {new}", after=values)


def _within_sub_farm(name: str, before: SubFarm, after: SubFarm) -> Iterator[Change]:
    place, about = f"sub_farms.{name}", f"sub-farm {name}"
    old, new = _expanded(before.nodes), _expanded(after.nodes)
    if old != new and set(old) == set(new):
        what = "its nodes in another order"
        yield Change(f"{place}.nodes", ChangeKind.CHANGED, about, what, list(before.nodes), list(after.nodes))
    yield from _list_changes(f"{place}.roles", about, "role", before.roles, after.roles)
    rest = {"nodes", "roles"}
    old_rest, new_rest = (side.model_dump(mode="json", exclude=rest) for side in (before, after))
    yield from _settings(place, about, old_rest, new_rest)


def _list_changes(
    place: str, about: str, word: str, before: tuple[str, ...], after: tuple[str, ...]
) -> Iterator[Change]:
    gone = tuple(name for name in before if name not in after)
    new = tuple(name for name in after if name not in before)
    if gone:
        yield Change(place, ChangeKind.REMOVED, about, f"{_list_word(word, gone)} removed", before=list(gone))
    if new:
        yield Change(place, ChangeKind.ADDED, about, f"{_list_word(word, new)} added", after=list(new))
    if before != after and not gone and not new:
        yield Change(place, ChangeKind.CHANGED, about, f"its {word}s in another order", list(before), list(after))


def _places_of_nodes(sub_farms: Mapping[str, SubFarm]) -> dict[str, str]:
    return {node: name for name, sub_farm in sub_farms.items() for node in _expanded(sub_farm.nodes)}


def _expanded(expressions: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for expression in expressions for name in expand(expression))


def _nodes_word(nodes: Iterable[str]) -> str:
    return _list_word("node", tuple(nodes), compress)


def _list_word(word: str, names: tuple[str, ...], folded: Callable[[Iterable[str]], str] = ", ".join) -> str:
    return f"{word}{'' if len(names) == 1 else 's'} {folded(names)}"


# ---- what is special about nodes ------------------------------------------------------------------------------------


def _node_settings_changes(before: Mapping[str, NodeSettings], after: Mapping[str, NodeSettings]) -> Iterator[Change]:
    """Node by node, then folded: nodes with the same differences are one entry."""
    plain = NodeSettings()  # type: ignore[call-arg]
    was = {node: settings for key, settings in before.items() for node in expand(key)}
    is_now = {node: settings for key, settings in after.items() for node in expand(key)}
    alike: dict[Hashable, list[str]] = defaultdict(list)
    for node in sorted({*was, *is_now}, key=natural_key):
        pair = was.get(node, plain), is_now.get(node, plain)
        if pair[0] != pair[1]:
            alike[tuple(exactly(side.model_dump(mode="json")) for side in pair)].append(node)
    for nodes in alike.values():
        old, new = (side.get(nodes[0], plain).model_dump(mode="json") for side in (was, is_now))
        yield from _settings(f"nodes.{compress(nodes)}", _nodes_word(nodes), old, new)


# ---- roles and parameters -------------------------------------------------------------------------------------------


def _role_changes(before: Mapping[str, Role], after: Mapping[str, Role]) -> Iterator[Change]:
    for name in (*before, *(name for name in after if name not in before)):
        if name not in after:
            gone = _role_values(before[name], everything=False)
            yield Change(f"roles.{name}", ChangeKind.REMOVED, "", f"role {name} removed", before=gone)
        elif name not in before:
            new = _role_values(after[name], everything=False)
            yield Change(f"roles.{name}", ChangeKind.ADDED, "", f"role {name} added", after=new)
        else:
            yield from _settings(f"roles.{name}", f"role {name}", _role_values(before[name]), _role_values(after[name]))


def _role_values(role: Role, *, everything: bool = True) -> dict[str, Any]:
    return role.model_dump(mode="json", exclude_defaults=not everything)


def _parameter_set_changes(before: Configuration, after: Configuration) -> Iterator[Change]:
    for name in (*before.parameters, *(name for name in after.parameters if name not in before.parameters)):
        place, about = f"parameters.{name}", f"parameter set {name}"
        if name not in after.parameters:
            yield Change(place, ChangeKind.REMOVED, "", f"{about} removed", before=before.parameters[name])
        elif name not in before.parameters:
            yield Change(place, ChangeKind.ADDED, "", f"{about} added", after=after.parameters[name])
        else:
            yield from _settings(place, about, before.parameters[name], after.parameters[name])


# ---- keys and values ------------------------------------------------------------------------------------------------


def _settings(
    place: str, about: str, before: Mapping[str, Any], after: Mapping[str, Any], *within: str
) -> Iterator[Change]:
    """The differing leaves of two mappings; lists are leaves."""
    for key in (*before, *(key for key in after if key not in before)):
        old, new = before.get(key, ABSENT), after.get(key, ABSENT)
        if exactly(old) == exactly(new):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _settings(f"{place}.{key}", about, old, new, *within, key)
            continue
        what, kind = _difference((*within, key), old, new)
        yield Change(join_place(place, key), kind, about, what, old, new)


def _difference(keys: tuple[str, ...], old: Any, new: Any) -> tuple[str, ChangeKind]:
    """How one leaf differs, in words. Of a role's parameters the word itself is left out: they are what people mean."""
    if keys[0] == "parameters" and len(keys) > 1 and keys[1] not in Role.model_fields:
        keys = keys[1:]
    name, unit = _name_and_unit(".".join(keys), old, new)
    if old is ABSENT:
        return f"{name} {value_words(new, unit)} added", ChangeKind.ADDED
    if new is ABSENT:
        return f"{name} removed (it was {value_words(old, unit)})", ChangeKind.REMOVED
    words = value_words(old, unit), value_words(new, unit)
    if words[0] == words[1]:  # 1 and 1.0, or two long values that begin alike
        words = exactly(old), exactly(new)
    return f"{name} {words[0]} → {words[1]}", ChangeKind.CHANGED


def _name_and_unit(key: str, *values: Any) -> tuple[str, str]:
    """`basis_mm` with numbers is the basis in mm; what else it may be stays as it is written."""
    name, _, suffix = key.rpartition("_")
    numbers = [value for value in values if value is not ABSENT and value is not None]
    measured = numbers and all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers)
    return (name, _UNITS[suffix]) if name and measured and suffix in _UNITS else (key, "")


def value_words(value: Any, unit: str = "") -> str:
    """A JSON value in a line for people."""
    if value is None:
        return "(unset)"
    if isinstance(value, str) and value and value.isprintable() and " " not in value:
        words = value
    else:
        whole = isinstance(value, float) and value.is_integer()
        words = json.dumps(int(value) if whole else value, ensure_ascii=False)
    if len(words) > VALUE_LENGTH_MAX:
        words = words[: VALUE_LENGTH_MAX - 1] + "…"
    return f"{words} {unit}" if unit else words


def exactly(value: Any) -> str:
    """Equal only for values that JSON writes alike: 1, 1.0 and true differ."""
    return "" if value is ABSENT else json.dumps(value, sort_keys=True)
