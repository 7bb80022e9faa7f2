"""Whether a farm is right after something went wrong: two pictures of it are compared, and nothing is touched.

A picture is what the farm controller says and what the machine shows, taken together. What may never be, however short,
is a *violation*: another run number, a process that ended although nobody touched it, two copies of one. All else takes
its time, and is told as what the farm is *not yet*.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from grange.client import MemberStatus, Status
from grange.core import books
from grange.core.configuration import Configuration
from grange.core.names import Health, Kind, Membership, Policy, State
from grange.supervisor.belongings import Belonging
from grange.supervisor.belongings import Kind as Belongs

_TOLD_MOST = 4  # of what is missing; the first ones say what to look at


@dataclass(frozen=True, slots=True)
class Picture:
    """A farm at one moment; `status` is None when its controller does not answer, and `why` says why."""

    status: Status | None
    found: tuple[Belonging, ...]
    serving: Mapping[str, Belonging] = field(default_factory=dict)
    why: str = ""

    def leaders(self) -> dict[str, int]:
        """The process id of each process of a role, by its path."""
        return {one.name: one.pid for one in self.found if one.kind is Belongs.PROCESS and one.leads}

    def main(self) -> list[Belonging]:
        """Of each program the one that serves, of each process its leader."""
        return [*self.serving.values(), *(one for one in self.found if one.kind is Belongs.PROCESS and one.leads)]


def violations(before: Picture, now: Picture, touched: Collection[str]) -> list[str]:
    """What may never be, given that the processes `touched` were killed or made to hang."""
    wrong = []
    if before.status and now.status and now.status.member.run_number != before.status.member.run_number:
        old, new = before.status.member.run_number, now.status.member.run_number
        wrong.append(f"run {old} has become {f'run {new}' if new else 'none'}: {now.status.member.status}")
    alive = {one.pid for one in now.found}
    for path, pid in before.leaders().items():
        if path not in touched and pid not in alive:
            wrong.append(f"{path} (pid {pid}) has ended although nobody touched it")
    copies: dict[str, set[str]] = {}
    for one in now.found:
        if one.kind is Belongs.PROCESS and one.nonce:
            copies.setdefault(one.name, set()).add(one.nonce)
    return wrong + [f"{path} runs {len(nonces)} times" for path, nonces in sorted(copies.items()) if len(nonces) > 1]


def not_yet(before: Picture, now: Picture, since_unix_s: float, replaced: Mapping[str, int]) -> list[str]:
    """What is missing until the farm is right again, and knows it.

    `replaced` are the process ids, by name, that must have been followed by others, of whom the farm has heard after
    `since_unix_s`: until then what it says is what was.
    """
    if now.status is None:
        return [now.why or "the farm controller does not answer"]
    assert before.status is not None
    missing = []
    for what in sorted(before.serving):
        new = now.serving.get(what)
        if new is None:
            missing.append(f"there is no {what}")
        elif replaced.get(what) == new.pid:
            missing.append(f"{what} (pid {new.pid}) has not ended")
    leaders, expected = now.leaders(), {member.path: member for member in before.status.members}
    for member in now.status.members:
        if member.path not in expected:
            continue
        was = expected[member.path]
        name = member.path or "the farm"
        if (member.state, member.health) != (was.state, was.health):
            missing.append(f"{name} is {member.state}, {member.health}: {member.status}")
        elif member.membership is not was.membership:
            missing.append(f"{name} is {member.membership}")
        elif member.kind is Kind.PROCESS and member.pid != leaders.get(member.path, 0):
            missing.append(f"{name} is said to be process {member.pid}, and is {leaders.get(member.path, 0)}")
        elif member.kind is Kind.PROCESS and replaced.get(member.path) == member.pid:
            missing.append(f"{name} (pid {member.pid}) has not been replaced")
        elif {member.path, f"{Belongs.AGENT} {member.path}"} & replaced.keys() and member.heard_unix_s < since_unix_s:
            missing.append(f"{name} was not heard again")
    known = {member.path for member in now.status.members}
    missing += [f"nobody knows of {path} (pid {pid})" for path, pid in sorted(leaders.items()) if path not in known]
    return missing


def shortened(sentences: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(sentences) - _TOLD_MOST
    return "; ".join(sentences[:_TOLD_MOST]) + (f"; and {more} more" if more > 0 else "")


def spare(
    status: Status, configuration: Configuration, struck: Mapping[str, int], hit: Collection[str] = ()
) -> tuple[str, ...]:
    """The processes without which the run goes on, one at a time: by its role's quorum, or because it is restarted.

    `struck` is how often each has been hit within its role's period: one that would be given up is left alone. So are
    roles that take their node out with them. Those in `hit` were well in `status`, and are not any more.
    """
    found: list[str] = []
    rows = [member for member in status.members if member.kind is Kind.PROCESS]
    for member in rows:
        role = configuration.roles.get(member.role)
        if role is None or role.policy is Policy.EXCLUDE_NODE or not _is_well(member, hit):
            continue
        sub_farm = member.path.split("/")[0]
        peers = [one for one in rows if one.role == member.role and one.path.startswith(f"{sub_farm}/")]
        well = sum(_is_well(one, hit) for one in peers)
        if role.policy is Policy.RESTART:
            restarts = struck.get(member.path, 0) < role.restart_most
            can = restarts and well > _least(role.quorum.needed(len(peers)), len(peers))
        else:
            can = well > role.quorum.needed(len(peers))
        if can:
            found.append(member.path)
    return tuple(sorted(found))


def _least(needed: int, count: int) -> int:
    """How many must be well besides one that is being restarted: a role that needs all waits for it."""
    return needed - 1 if needed == count else needed


def _is_well(member: MemberStatus, hit: Collection[str]) -> bool:
    return member.membership is Membership.IN and member.health is Health.OK and member.path not in hit


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """What the books say of a run in which processes were killed."""

    lost: int | None  # events that went in and never came out; None when the counts of an end of the flow are gone
    notes: tuple[str, ...] = ()  # mismatches that a killed process explains
    violations: tuple[str, ...] = ()


def audit(
    counters: Mapping[str, Mapping[str, Mapping[str, int]]], configuration: Configuration, touched: Collection[str]
) -> Bookkeeping:
    """Judge the books, given that the processes `touched` were killed, and with them what they had last counted.

    The rules form a chain from what was read to what was written, so that what one role in the middle has forgotten
    cancels out, and the sum is what was lost on the way.
    """
    reading = {name for role in configuration.roles.values() for name in role.reads}
    roles = {path.rsplit("/", 1)[1].rsplit("-", 1)[0] for path in touched}
    ends = [name for name in roles if name not in reading or not configuration.roles[name].reads]
    lost = 0
    notes: list[str] = []
    wrong: list[str] = []
    found = books.audit(counters, {})
    for sub_farm, mismatch in (*found.mismatches, *found.inexact):
        lost += mismatch.missing
        (notes if roles else wrong).append(f"{sub_farm}: {mismatch}")
    if ends:
        return Bookkeeping(None, tuple(notes), tuple(wrong))
    if lost and not wrong:
        wrong.append(f"{lost} events were lost: {shortened(notes)}")
    return Bookkeeping(lost, tuple(notes), tuple(wrong))


def taking(status: Status | None) -> bool:
    """Whether a farm takes data and is well: then it may be hit."""
    return status is not None and status.member.state is State.TAKING and status.member.health is Health.OK
