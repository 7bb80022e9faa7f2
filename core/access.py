"""Access: what a person may do with a farm, and who is what.

    observer   looks: status, watch, show, story, logs, runs, configurations, who, audit
    shifter    commands: steps, go, members, cancel, and the lease
    expert     also selects and imports configurations, and ends the farm controller
    owner      also dials in as a part of the farm: the user that the farm belongs to, and root

A person is a user of the machine, as the kernel names it. Who is what stands in a file of the home, `access.toml`:

    group = "agata"                  # who may reach the farm's socket at all, beside its owner
    experts = ["jan"]                # users, and @groups
    shifters = ["ana", "@shift"]

Everybody else who can reach the socket is an observer; without the file that is the owner and root alone, who are
never less than owners. What is not listed in `NEEDS` is the owner's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from .problems import Problem, did_you_mean

ROOT_UID = 0


class Access(IntEnum):
    """What a person may do; each may what those before it may."""

    OBSERVER = 1
    SHIFTER = 2
    EXPERT = 3
    OWNER = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Need:
    """What a call takes, and what it is called when it is refused."""

    access: Access
    what: str


NEEDS: Mapping[str, Need] = {
    "Control/Execute": Need(Access.SHIFTER, "commanding"),
    "Control/Cancel": Need(Access.SHIFTER, "cancel"),
    "Control/Watch": Need(Access.OBSERVER, "watch"),
    "Control/Inspect": Need(Access.OBSERVER, "status"),
    "Control/Describe": Need(Access.OBSERVER, "show"),
    "Control/ReadOutput": Need(Access.OBSERVER, "logs"),
    "Control/Down": Need(Access.EXPERT, "down"),
    "Configuration/Import": Need(Access.EXPERT, "config import"),
    "Configuration/Export": Need(Access.OBSERVER, "config export"),
    "Configuration/ListRevisions": Need(Access.OBSERVER, "config log"),
    "Configuration/Use": Need(Access.EXPERT, "config use"),
    "Configuration/Diff": Need(Access.OBSERVER, "config diff"),
    "Configuration/SetTag": Need(Access.EXPERT, "config tag"),
    "Configuration/ListTags": Need(Access.OBSERVER, "config tags"),
    "Runs/ListRuns": Need(Access.OBSERVER, "runs"),
    "Runs/GetRun": Need(Access.OBSERVER, "runs show"),
    "Security/TakeLease": Need(Access.SHIFTER, "lease take"),
    "Security/ReleaseLease": Need(Access.SHIFTER, "lease release"),
    "Security/Who": Need(Access.OBSERVER, "who"),
    "Security/ListAudit": Need(Access.OBSERVER, "audit"),
    "Tree/Attach": Need(Access.OWNER, "attaching as a part of the farm"),
}


def need_of(method: str) -> Need:
    """What it takes to call `Service/Method`."""
    return NEEDS.get(method, Need(Access.OWNER, method))


@dataclass(frozen=True, slots=True)
class Origin:
    """From where somebody calls. The kernel vouches for `uid` and `pid`; `program` and `label` are what he says."""

    uid: int = -1  # unknown, as the rest: records of before it was kept
    host: str = ""
    pid: int = 0
    program: str = ""
    label: str = ""


NOWHERE = Origin()
NAME_LENGTH_MAX = 100  # characters of what a caller says of himself: his program, his label


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who is what, beside the owner and root: names of users, and of groups with an @ before them."""

    group: str = ""
    experts: tuple[str, ...] = ()
    shifters: tuple[str, ...] = ()

    def access_of(self, person: str, groups: Collection[str], uid: int, owner_uid: int) -> Access:
        """What a user may do who is in these groups."""
        if uid in (ROOT_UID, owner_uid):
            return Access.OWNER
        mine = {person, *(f"@{group}" for group in groups)}
        if mine & set(self.experts):
            return Access.EXPERT
        return Access.SHIFTER if mine & set(self.shifters) else Access.OBSERVER


NO_RULES = AccessRules()
_KEYS = ("group", "experts", "shifters")


def access_rules(document: Mapping[str, Any]) -> tuple[AccessRules, tuple[Problem, ...]]:
    """The rules in the content of `access.toml`, and every problem of it."""
    problems = [
        Problem(key, f"there is no key {key!r} in access.toml", did_you_mean(key, _KEYS))
        for key in document
        if key not in _KEYS
    ]
    group = document.get("group", "")
    if not isinstance(group, str) or group.startswith("@"):
        problems.append(Problem("group", "is the name of one group, as text"))
        group = ""
    lists = {}
    for key in ("experts", "shifters"):
        names = document.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) and name.strip("@ ") for name in names):
            problems.append(Problem(key, 'is a list of users and @groups, such as ["ana", "@shift"]'))
            names = []
        lists[key] = tuple(names)
    return AccessRules(group, lists["experts"], lists["shifters"]), tuple(problems)
