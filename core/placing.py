"""Setting and removing what stands at one place of a configuration's document: `roles.psa.parameters.basis_mm=1`.

A place is the path of keys that problems name. A key with a dot or a bracket in it is found as it is when it is there
(`nodes.hlt[001-004].labels`), and may be quoted (`nodes."hlt[005-008]".labels`). A value is JSON where it can be read
as that, else text. Lists are set as a whole. What may stand where is judged when the document is read, not here.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .errors import InvalidInput
from .problems import Problem, did_you_mean, join_place


def with_value(document: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """A copy of the document with one value set, by `PLACE=VALUE`. Raises `InvalidInput` for what cannot be set."""
    place, equals, text = assignment.partition("=")
    if not equals or not place.strip():
        example = "roles.psa.parameters.basis_mm=1"
        raise InvalidInput([Problem("", f'"{assignment}" is not of the form PLACE=VALUE', f"such as {example}")])
    changed = deepcopy(dict(document))
    keys, last = _keys(changed, place.strip())
    _mapping_at(changed, keys, place.strip())[last] = _value(text)
    return changed


def without_value(document: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A copy of the document without what stands at a place. Raises `InvalidInput` when nothing does."""
    changed = deepcopy(dict(document))
    keys, last = _keys(changed, place.strip())
    above = _mapping_at(changed, keys, place)
    if last not in above:
        where = join_place(*keys) or "the configuration"
        what = f'nothing is set at "{last}" of {where}: it has its default, or does not exist'
        raise InvalidInput([Problem(place, what, did_you_mean(last, above))])
    del above[last]
    return changed


def _keys(document: Mapping[str, Any], place: str) -> tuple[list[str], str]:
    """The keys on the way, and the last one."""
    keys: list[str] = []
    rest, at = place, document
    while rest:
        key, rest = _next_key(at, rest, place)
        keys.append(key)
        found = at.get(key)
        at = found if isinstance(found, Mapping) else {}
    return keys[:-1], keys[-1]


def _next_key(at: Mapping[str, Any], rest: str, place: str) -> tuple[str, str]:
    """The first key of what is left, and the rest: a quoted one, the longest that is there, or up to the dot."""
    if rest.startswith('"'):
        key, closed, after = rest[1:].partition('"')
        if not closed or (after and not after.startswith(".")):
            raise InvalidInput([Problem(place, 'a quoted key ends in a quotation mark before the next "."')])
        return key, after[1:]
    known = [key for key in at if rest == key or rest.startswith(f"{key}.")]
    key = max(known, key=len) if known else rest.partition(".")[0]
    if not key:
        raise InvalidInput([Problem(place, "a key is missing between two dots, or at an end")])
    return key, rest[len(key) + 1 :]


def _mapping_at(document: dict[str, Any], keys: list[str], place: str) -> dict[str, Any]:
    at = document
    for position, key in enumerate(keys):
        below = at.setdefault(key, {})
        if not isinstance(below, dict):
            where = join_place(*keys[: position + 1])
            what = f"{where} is {json.dumps(below, ensure_ascii=False)}, which has nothing below it"
            raise InvalidInput([Problem(place, what, f"set it as a whole: {where}=VALUE")])
        at = below
    return at


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
