"""Exact texts of what goes wrong between a client and a controller: sockets, log-in, access, and the transport itself.

Part of the catalogue of errors: tests/packaging/test_error_catalogue.py asks whether a text is missing.
"""

import asyncio
import os
import stat
from pathlib import Path

import grpc
import grpc.aio
import pytest

from grange.controllers.access_file import AccessFile, open_home
from grange.core.errors import GrangeError, InternalFault, InvalidInput, NotAllowed, NotLoggedIn
from grange.core.home import Home
from grange.proto import gate, tree_pb2
from grange.proto.channel import read_hello
from grange.proto.errors import from_rpc_error, from_status, to_status
from grange.proto.gate import Gate, LoginServer, open_to_group
from grange.proto.login import log_in
from grange.proto.sockets import SocketLock, socket_path

LIMIT_S = 30.0
STRANGER_UID, OWNER_UID = 2_000_000, 1_999_999  # nobody on this machine
AT = "unix:/f/farm.sock"
CODE = grpc.StatusCode

TRANSPORT: list[tuple[grpc.StatusCode, str, str]] = [
    (CODE.UNAVAILABLE, "failed to connect", f"no controller answers at {AT}. Start one with: grange up"),
    (
        CODE.UNAVAILABLE,
        "Socket closed",
        f"the call to the controller at {AT} ended: the other end went away. "
        "Look with: grange status; start one with: grange up",
    ),
    (
        CODE.DEADLINE_EXCEEDED,
        "Deadline Exceeded",
        f"the controller at {AT} did not answer in time. "
        "It may be stopped or overloaded; its log is shown by: grange logs",
    ),
    (CODE.UNIMPLEMENTED, "", f"the controller at {AT} does not offer this call. Ask the farm controller"),
    (CODE.INVALID_ARGUMENT, "bad bytes", "request: bad bytes"),
    (CODE.FAILED_PRECONDITION, "not now", "not now"),
    (CODE.FAILED_PRECONDITION, "", "no reason was given, only failed precondition"),
    (
        CODE.RESOURCE_EXHAUSTED,
        "message larger than max",
        f"a limit of the link to {AT} was met: message larger than max. Ask for less at once: a deeper path",
    ),
    (CODE.CANCELLED, "", f"the controller at {AT} ended the call. Look with: grange status"),
    (CODE.ABORTED, "again", f"the controller at {AT} ended the call: again. Try again"),
    (CODE.UNKNOWN, "odd", f"the controller at {AT} failed: odd. Its log has more; please report it"),
]


@pytest.mark.parametrize(("code", "details", "text"), TRANSPORT)
def test_what_the_transport_says_is_told_with_the_address_and_what_to_try(
    code: grpc.StatusCode, details: str, text: str
) -> None:
    nothing = grpc.aio.Metadata()
    assert str(from_rpc_error(grpc.aio.AioRpcError(code, nothing, nothing, details), AT)) == text


def test_a_bug_in_a_controller_says_what_and_where_its_trace_is() -> None:
    error = InternalFault("KeyError: 'x'", "Please report it; the controller's log has the traceback")
    assert str(from_status(to_status(error))) == (
        "KeyError: 'x'. Please report it; the controller's log has the traceback"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            "",
            "this call does not say who makes it. "
            "Send metadata 'authorization: Bearer TOKEN'; a token is printed by: grange token",
        ),
        (
            "Bearer e30=.00",
            "the token is not of this controller, which may have been started anew. "
            "Log in again; a token is printed by: grange token",
        ),
    ],
)
def test_a_call_without_a_good_token(given: str, text: str) -> None:
    with pytest.raises(NotLoggedIn) as caught:
        Gate().admit("Control/Inspect", {"authorization": given}, 5.0)
    assert str(caught.value) == text


def called(keeper: Gate, method: str) -> GrangeError:
    token = keeper.login(4711, STRANGER_UID, STRANGER_UID, {})["token"]
    with pytest.raises(GrangeError) as caught:
        keeper.admit(method, {"authorization": f"Bearer {token}"}, 5.0)
    return caught.value


def test_a_token_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "TOKEN_LIFE_S", -1.0)
    assert str(called(Gate(), "Control/Inspect")) == (
        "the token is too old. Log in again; a token is printed by: grange token"
    )


def test_a_person_who_may_not_do_that() -> None:
    assert str(called(Gate(owner_uid=OWNER_UID), "Control/Execute")) == (
        f"uid {STRANGER_UID} is an observer of this farm, and commanding is for shifters. "
        "Who is what stands in access.toml in the farm's home; its owner can change it (docs/security.md)"
    )


async def test_a_controller_whose_socket_is_not_open_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed(*_arguments: object, **_options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(asyncio, "open_unix_connection", closed)
    with pytest.raises(NotAllowed) as caught:
        await log_in(AT, LIMIT_S)
    assert str(caught.value) == (
        f"you may not reach the controller at {AT}: its socket is not open to you. "
        "Ask the farm's owner for its group (docs/security.md)"
    )


async def test_a_login_socket_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "c.sock.login").mkdir()
    with pytest.raises(InvalidInput) as caught:
        await LoginServer(f"unix:{tmp_path}/c.sock", Gate()).start()
    assert str(caught.value) == (
        f"address: {tmp_path}/c.sock.login cannot be made a socket: Is a directory. "
        "Look what is there, and whose directory it is"
    )


def test_an_address_that_is_no_unix_socket() -> None:
    with pytest.raises(InvalidInput) as caught:
        socket_path("localhost:50051")
    assert str(caught.value) == "address: 'localhost:50051' is not of the form unix:/absolute/path"


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "farm.sock.lock").mkdir()
    with pytest.raises(InvalidInput) as caught:
        SocketLock(str(tmp_path / "farm.sock"))
    assert str(caught.value) == (
        f"home: {tmp_path}/farm.sock.lock cannot be opened: Is a directory. Choose a --home of your own"
    )


def test_a_socket_for_a_group_that_is_none_or_not_the_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.sock"
    path.touch()
    with pytest.raises(InvalidInput) as caught:
        open_to_group(str(path), "no-such-group")
    assert str(caught.value) == (
        "group: there is no group 'no-such-group' on this machine. Name one in access.toml; getent group lists them"
    )
    monkeypatch.setattr(os, "chown", _not_permitted)
    with pytest.raises(InvalidInput) as caught:
        open_to_group(str(path), "root")
    assert str(caught.value) == (
        f"group: {path} cannot be given to the group 'root': the owner of the farm is not in it. "
        "Name a group in which the farm's own user is"
    )


def _not_permitted(path: str, *_ids: int) -> None:
    raise PermissionError(1, "Operation not permitted", str(path))


def test_a_home_for_a_group_that_is_none_or_not_the_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(str(tmp_path))
    with pytest.raises(InvalidInput) as caught:
        open_home(home, "no-such-group")
    correct = "Correct access.toml; what it may hold is in docs/security.md"
    assert str(caught.value) == f"group: there is no group 'no-such-group' on this machine. {correct}"
    monkeypatch.setattr(os, "chown", _not_permitted)
    with pytest.raises(InvalidInput) as caught:
        open_home(home, "root")
    assert str(caught.value) == (
        f"group: {tmp_path} cannot be given to the group 'root': the farm's owner has to be in that group. "
        "Correct access.toml; what it may hold is in docs/security.md"
    )


def test_access_rules_that_others_can_write_cannot_be_read_or_make_no_sense(tmp_path: Path) -> None:
    home, said = Home(str(tmp_path)), []
    file = Path(home.access)
    for text, mode in (("", 0o666), ("group =", 0o600), ("expert = []\nshifters = 3", 0o600)):
        file.write_text(text)
        file.chmod(mode)
        with pytest.raises(InvalidInput) as caught:
            AccessFile(home)
        said.append(str(caught.value))
    correct = "Correct access.toml; what it may hold is in docs/security.md"
    assert said == [
        f"access: {file} can be written by others than the farm's owner. "
        f"Use: chmod go-w {file}; it has to be the owner's",
        f"access: {file} cannot be read: Invalid value (at end of document). {correct}",
        f"2 problems in the input. {correct}; "
        "line 1, expert: there is no key 'expert' in access.toml; did you mean \"experts\"?; "
        'line 2, shifters: is a list of users and @groups, such as ["ana", "@shift"]',
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


class _Stream:
    """What a parent hears of a child that opens a tree link."""

    def __init__(self, first: tree_pb2.FromChild | None) -> None:
        self._first = first

    async def read(self) -> tree_pb2.FromChild:
        if self._first is None:
            await asyncio.Event().wait()
        assert self._first is not None
        return self._first


async def test_a_child_that_does_not_say_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grange.proto.channel._HELLO_TIMEOUT_S", 0.0)
    said = []
    for first in (tree_pb2.FromChild(beat=tree_pb2.Beat()), None):
        with pytest.raises(InvalidInput) as caught:
            await read_hello(_Stream(first))
        said.append(str(caught.value))
    assert said == [
        "hello: the first message on a tree link has to be Hello",
        "hello: nothing was said for 0 s",
    ]
