"""The lease: the right to command, held by one person at a time, so that two do not command against each other.

While nobody holds it, every shifter commands, so a script or a farm of one's own needs no ceremony. While somebody
does, the others are refused whatever changes the farm, and told by whom, since when and until when; looking is always
free, and so are the farm's own decisions (a policy that stops a run). A lease ends when it is released, when its time
is over, or when another takes it by force; taken again by its holder, its time begins anew.

Nothing is exempt, `stop` and `shutdown` neither: a stop typed into the wrong terminal is what the lease is for. The way
out is never far: any shifter may take it by force, and the records say who did.
"""

from .durations import duration_words
from .effects import Effect, Persist, Refuse, Say
from .events import CommandGiven, LeaseCommandGiven, LeaseRestored, MemberCommandGiven
from .memory import LeaseMemory, Memory
from .names import LeaseAction, Severity

LEASE_LIFE_S = 12 * 3600.0  # unless a time is given: longer than a shift
LEASE_LONGEST_S = 7 * 86_400.0  # what is longer was mistyped
LEASE_REFUSED = "lease"  # the kind of refusal


def held(memory: Memory, now: float) -> LeaseMemory | None:
    """The lease, while somebody holds it."""
    return memory.lease if memory.lease is not None and now < memory.lease.until_s else None


def why_not(memory: Memory, now: float, person: str) -> str:
    """Why a person may not command at the moment; empty when he may."""
    lease = held(memory, now)
    if lease is None or lease.holder == person:
        return ""
    since, left = duration_words(now - lease.since_s), duration_words(lease.until_s - now)
    comment = f" ({lease.comment})" if lease.comment else ""
    return f"{lease.holder} holds the lease{comment}: taken {since} ago, for {left} more"


def refusal(memory: Memory, now: float, event: CommandGiven | MemberCommandGiven) -> Refuse | None:
    """The refusal of a command because of somebody else's lease; who repeats a known command's id only attaches."""
    if event.command_id in memory.outcomes:
        return None
    reason = why_not(memory, now, event.person)
    return Refuse(event.command_id, LEASE_REFUSED, reason) if reason else None


def judge(memory: Memory, now: float, event: LeaseCommandGiven) -> str:
    """Why the lease is not taken or released so; empty when it is."""
    lease = held(memory, now)
    if event.action is LeaseAction.RELEASE:
        return "nobody holds the lease" if lease is None else why_not(memory, now, event.person)
    return "" if event.action is LeaseAction.FORCE else why_not(memory, now, event.person)


def give(memory: Memory, now: float, event: LeaseCommandGiven) -> list[Effect]:
    """Takes or releases it. What is not possible changes nothing: `judge` has told why."""
    if judge(memory, now, event):
        return []
    before = held(memory, now)
    if event.action is LeaseAction.RELEASE:
        memory.lease = None
        return [_record(memory, now), *_tell(memory, now, f"lease released by {event.person}")]
    since_s = before.since_s if before is not None and before.holder == event.person else now
    memory.lease = LeaseMemory(event.person, since_s, now + event.life_s, event.comment)
    comment = f": {event.comment}" if event.comment else ""
    text = f"lease taken by {event.person} for {duration_words(event.life_s)}{comment}"
    if before is None or before.holder == event.person:
        return [_record(memory, now), *_tell(memory, now, text)]
    forced = f"{text}; by force from {before.holder}, who had held it for {duration_words(now - before.since_s)}"
    return [_record(memory, now), *_tell(memory, now, forced, Severity.WARNING)]


def restored(memory: Memory, now: float, event: LeaseRestored) -> None:
    """The lease as the records have it, after the controller was started again."""
    memory.lease = LeaseMemory(event.holder, now - event.held_for_s, now + event.remaining_s, event.comment)


def expire(memory: Memory, now: float) -> list[Effect]:
    """Ends a lease whose time is over."""
    lease = memory.lease
    if lease is None or now < lease.until_s:
        return []
    memory.lease = None
    return [_record(memory, now), *_tell(memory, now, f"the lease of {lease.holder} has ended: its time is over")]


def _record(memory: Memory, now: float) -> Persist:
    lease = memory.lease
    if lease is None:
        return Persist("lease_set", "", {"holder": "", "held_for_s": 0.0, "remaining_s": 0.0, "comment": ""})
    data = {
        "holder": lease.holder,
        "held_for_s": now - lease.since_s,
        "remaining_s": lease.until_s - now,
        "comment": lease.comment,
    }
    return Persist("lease_set", "", data)


def _tell(memory: Memory, now: float, text: str, severity: Severity = Severity.INFO) -> list[Effect]:
    memory.tell(now, memory.path, text)
    return [Say(severity, memory.path, text)]
