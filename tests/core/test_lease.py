"""The lease: one person at a time may command, and the farm's own decisions are nobody's to hold up."""

from typing import Any

from grange.core import lease
from grange.core.controller import Controller, new_memory
from grange.core.effects import Effect, Persist, Refuse, Say, WakeAt
from grange.core.events import (
    CancelGiven,
    CommandGiven,
    Event,
    LeaseCommandGiven,
    LeaseRestored,
    MemberCommandGiven,
    Ticked,
)
from grange.core.memory import LeaseMemory
from grange.core.names import Command, Kind, LeaseAction, MemberCommand, Severity

HOUR_S = 3600.0


def controller(*events: Event, now: float = 0.0) -> Controller:
    """A farm controller that was told these things."""
    made = Controller(new_memory("", "farm", Kind.FARM, root=True, fence=(1,)))
    for event in events:
        made.step(now, event)
    return made


def take(person: str, comment: str = "", action: LeaseAction = LeaseAction.TAKE) -> LeaseCommandGiven:
    return LeaseCommandGiven(action, person, 8 * HOUR_S, comment)


def stop(person: str, command_id: str = "c-1") -> CommandGiven:
    return CommandGiven(command_id, "", ("",), Command.STOP, None, person)


def refusals(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(effect.kind, effect.reason) for effect in effects if isinstance(effect, Refuse)]


def recorded(effects: list[Effect]) -> list[dict[str, Any]]:
    return [dict(effect.data) for effect in effects if isinstance(effect, Persist) and effect.kind == "lease_set"]


def test_taking_the_lease_records_it_tells_it_and_asks_to_be_woken_at_its_end() -> None:
    text = "lease taken by ana for 8 h: night"
    data = {"holder": "ana", "held_for_s": 0.0, "remaining_s": 8 * HOUR_S, "comment": "night"}
    assert controller().step(5.0, take("ana", "night")) == [
        Persist("lease_set", "", data),
        Say(Severity.INFO, "", text),
        WakeAt(5.0 + 8 * HOUR_S),
    ]


def test_without_a_holder_anybody_commands() -> None:
    found = refusals(controller().step(0.0, stop("bob")))
    assert [kind for kind, _ in found] == ["revision"]  # there is no configuration: that is all that is wrong


def test_others_are_refused_and_told_by_whom_since_when_and_until_when() -> None:
    farm = controller(take("ana", "night"))
    told = "ana holds the lease (night): taken 1 h ago, for 7 h more"
    assert refusals(farm.step(HOUR_S, stop("bob"))) == [("lease", told)]
    out = MemberCommandGiven("c-2", "", MemberCommand.EXCLUDE, ("sf01",), "bob")
    assert refusals(farm.step(HOUR_S, out)) == [("lease", told)]


def test_the_holder_commands() -> None:
    found = refusals(controller(take("ana")).step(1.0, stop("ana")))
    assert [kind for kind, _ in found] == ["revision"]


def test_a_refused_command_and_a_refused_cancel_change_nothing() -> None:
    farm = controller(take("ana"))
    before = lease.held(farm.memory, 1.0)
    farm.step(1.0, stop("bob"))
    assert farm.step(1.0, CancelGiven("", "bob")) == []
    assert (farm.memory.goal, farm.memory.outcomes, lease.held(farm.memory, 1.0)) == (None, {}, before)


def test_who_repeats_a_known_id_attaches_whoever_holds_the_lease() -> None:
    farm = controller()
    farm.memory.outcomes["c-1"] = ("", None)
    farm.step(0.0, take("ana"))
    assert refusals(farm.step(1.0, stop("bob"))) == []


def test_a_lease_that_is_held_is_not_taken() -> None:
    farm = controller(take("ana"))
    assert lease.judge(farm.memory, 60.0, take("bob")) == "ana holds the lease: taken 1 min ago, for 7 h 59 min more"
    assert farm.step(60.0, take("bob")) == []
    assert farm.memory.lease == LeaseMemory("ana", 0.0, 8 * HOUR_S)


def test_taken_by_force_it_changes_hands_and_everybody_can_read_from_whom() -> None:
    farm = controller(take("ana"))
    effects = farm.step(HOUR_S, take("bob", "ana has left", LeaseAction.FORCE))
    assert [effect.severity for effect in effects if isinstance(effect, Say)] == [Severity.WARNING]
    told = "lease taken by bob for 8 h: ana has left; by force from ana, who had held it for 1 h"
    assert farm.memory.story[-1] == (HOUR_S, "", told)
    assert refusals(farm.step(HOUR_S, stop("ana")))[0][0] == "lease"


def test_taken_anew_its_time_begins_again_and_its_holder_has_it_as_long_as_before() -> None:
    farm = controller(take("ana"))
    farm.step(HOUR_S, take("ana", "longer"))
    assert farm.memory.lease == LeaseMemory("ana", 0.0, 9 * HOUR_S, "longer")


def test_only_its_holder_releases_it() -> None:
    farm = controller()
    release = LeaseCommandGiven(LeaseAction.RELEASE, "ana")
    assert lease.judge(farm.memory, 0.0, release) == "nobody holds the lease"
    farm.step(0.0, take("bob"))
    assert lease.judge(farm.memory, 0.0, release).startswith("bob holds the lease")
    assert recorded(farm.step(0.0, release)) == []
    released = farm.step(1.0, LeaseCommandGiven(LeaseAction.RELEASE, "bob"))
    assert recorded(released) == [{"holder": "", "held_for_s": 0.0, "remaining_s": 0.0, "comment": ""}]
    assert farm.memory.lease is None


def test_it_ends_by_itself_which_is_recorded_once() -> None:
    farm = controller(take("ana"))
    assert recorded(farm.step(8 * HOUR_S - 1, Ticked())) == []
    ended = farm.step(8 * HOUR_S, Ticked())
    assert [data["holder"] for data in recorded(ended)] == [""]
    assert farm.memory.story[-1][2] == "the lease of ana has ended: its time is over"
    assert recorded(farm.step(8 * HOUR_S + 1, Ticked())) == []


def test_one_whose_time_is_over_holds_nobody_up_even_before_it_was_noticed() -> None:
    farm = controller(take("ana"))
    assert lease.why_not(farm.memory, 8 * HOUR_S, "bob") == ""


def test_a_controller_that_was_started_again_takes_it_back() -> None:
    farm = controller()
    farm.step(100.0, LeaseRestored("ana", HOUR_S, 2 * HOUR_S, "night"))
    assert farm.memory.lease == LeaseMemory("ana", 100.0 - HOUR_S, 100.0 + 2 * HOUR_S, "night")
    assert refusals(farm.step(101.0, stop("bob")))[0][0] == "lease"
