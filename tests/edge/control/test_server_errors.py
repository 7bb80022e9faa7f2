"""Errors and words on the wire: each comes back as what it was, and what is not understood is never guessed."""

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from grange.core.errors import (
    AddressInUse,
    DeadlinePassed,
    Fault,
    Fenced,
    GrangeError,
    InternalFault,
    InvalidInput,
    LimitReached,
    NotFound,
    Refused,
    SameIdOtherContent,
    Unavailable,
    UnknownCommand,
    UnknownMember,
    UnknownRevision,
    UnknownRun,
)
from grange.core.names import Command, Health, Kind, Membership, Severity, State
from grange.core.problems import Problem
from grange.proto import common_pb2
from grange.proto.errors import from_status, to_status
from grange.proto.limits import STATUS_BYTES_MAX
from grange.proto.words import command_from_wire, from_wire, to_wire

ERRORS = {
    "FAILED_PRECONDITION": Refused("boot is not possible in taking", ["stop", "pause"]),
    "NOT_FOUND": UnknownMember("sf01/pas-1", ["sf01/psa-1"]),
    "ALREADY_EXISTS": SameIdOtherContent("c-1"),
    "INVALID_ARGUMENT": InvalidInput([Problem("roles.psa.count", "is not a number", "write 3"), Problem("", "empty")]),
    "ABORTED": Fenced("a newer controller is in charge"),
    "UNAVAILABLE": Unavailable("the database is away", "Wait"),
    "DEADLINE_EXCEEDED": DeadlinePassed("sf01 did not answer within 3 s"),
    "RESOURCE_EXHAUSTED": LimitReached("2000 streams of Watch are open", "Close some"),
    "INTERNAL": InternalFault("ZeroDivisionError: by test"),
    "UNKNOWN": GrangeError("the disk is full", "Make room"),
}


def told(error: GrangeError) -> dict[str, object]:
    return {"class": type(error), "text": str(error), **vars(error)}


@pytest.mark.parametrize(("code", "error"), ERRORS.items(), ids=ERRORS)
def test_an_error_has_the_standard_code_of_its_class_and_comes_back_whole(code: str, error: GrangeError) -> None:
    status = status_pb2.Status.FromString(to_status(error).SerializeToString())
    assert code_pb2.Code.Name(status.code) == code
    assert status.message == str(error)
    back = from_status(status)
    assert back is not None
    assert told(back) == told(error)


@pytest.mark.parametrize("error", [UnknownRun("8", ["7"]), UnknownRevision("abc"), UnknownCommand("c-9")])
def test_each_kind_of_thing_that_is_not_found_keeps_its_class(error: NotFound) -> None:
    back = from_status(to_status(error))
    assert back is not None
    assert told(back) == told(error)


def test_an_address_in_use_keeps_the_pid_of_its_holder() -> None:
    back = from_status(to_status(AddressInUse("/f/farm.sock", 4711, "Look there")))
    assert isinstance(back, AddressInUse)
    assert (back.path, back.pid, str(back)) == (
        "/f/farm.sock",
        4711,
        "/f/farm.sock is held by process 4711. Look there",
    )


def test_a_class_that_this_version_does_not_know_is_still_an_error_for_callers() -> None:
    status = to_status(GrangeError("out of tea", "Brew"))
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    info.reason = "TEA_MISSING"
    status.details[0].Pack(info)
    back = from_status(status)
    assert type(back) is GrangeError
    assert str(back) == "out of tea. Brew"


def test_a_status_of_another_program_is_not_taken_for_ours() -> None:
    assert from_status(status_pb2.Status(code=9, message="not ours")) is None


def test_a_list_of_problems_is_cut_to_what_fits_and_says_how_many_are_not_shown() -> None:
    error = InvalidInput([Problem(f"roles.role{number}.command", "x" * 2000, "y" * 500) for number in range(1000)])
    status = to_status(error)
    assert status.ByteSize() <= STATUS_BYTES_MAX
    back = from_status(status)
    assert isinstance(back, InvalidInput)
    kept = len(back.problems)
    assert back.problems == error.problems[:kept]
    assert back.reason == f"1000 problems in the input (the last {1000 - kept} not shown)"


def test_a_place_in_a_file_survives_as_words() -> None:
    back = from_status(to_status(InvalidInput([Problem("", "expected a comma", line=3, column=7)])))
    assert isinstance(back, InvalidInput)
    assert [str(problem) for problem in back.problems] == ["line 3, column 7: expected a comma"]


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_every_error_says_whose_fault_it_is(error: GrangeError) -> None:
    assert isinstance(error.fault, Fault)


@pytest.mark.parametrize("words", [State, Command, Health, Kind, Membership, Severity])
def test_every_word_of_the_house_has_a_value_on_the_wire_and_the_other_way_round(words: type) -> None:
    enum = getattr(common_pb2, words.__name__)
    assert {to_wire(word) for word in words} == set(enum.values()) - {0}
    first = next(iter(words))
    assert [from_wire(to_wire(word), first) for word in words] == list(words)


def test_a_value_that_is_not_understood_is_never_guessed() -> None:
    assert from_wire(0, State.UNKNOWN) is State.UNKNOWN
    assert from_wire(99, Health.ERROR) is Health.ERROR
    assert command_from_wire(0) is None
    assert command_from_wire(to_wire(Command.STOP)) is Command.STOP
