"""The gate of a server: who calls is what the kernel says, and who may not is told why."""

import asyncio
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grange.core.access import Access, AccessRules
from grange.core.errors import GrangeError, InvalidInput, NotAllowed, NotLoggedIn, Unavailable
from grange.proto import control_pb2, gate, security_pb2, stub
from grange.proto.gate import Caller, Gate
from grange.proto.login import log_in
from grange.proto.server import Server, serve
from grange.proto.sockets import login_path, socket_path
from grange.proto.stub import connect

LIMIT_S = 30.0
OWNER_UID, STRANGER_UID = 1_999_999, 2_000_000  # nobody on this machine


class Security:
    """Says who called."""

    async def who(self, request: security_pb2.WhoRequest, caller: Caller) -> security_pb2.WhoResponse:
        return security_pb2.WhoResponse(you=caller.person, access=str(caller.access))

    async def take_lease(
        self, request: security_pb2.TakeLeaseRequest, caller: Caller
    ) -> security_pb2.TakeLeaseResponse:
        return security_pb2.TakeLeaseResponse()

    async def release_lease(
        self, request: security_pb2.ReleaseLeaseRequest, caller: Caller
    ) -> security_pb2.ReleaseLeaseResponse:
        return security_pb2.ReleaseLeaseResponse()

    async def list_audit(
        self, request: security_pb2.ListAuditRequest, caller: Caller
    ) -> security_pb2.ListAuditResponse:
        return security_pb2.ListAuditResponse()


async def served(address: str, keeper: Gate | None = None) -> Server:
    return await serve(address, security=Security(), gate=keeper)


@pytest_asyncio.fixture
async def address() -> AsyncIterator[str]:
    """Where a server may be."""
    directory = tempfile.mkdtemp(prefix="gg")
    yield f"unix:{directory}/c.sock"
    left = os.listdir(directory)
    shutil.rmtree(directory)
    assert left == []


def entered(keeper: Gate, method: str, uid: int, now: str = "Bearer ") -> Caller:
    """Somebody with that uid logs in and calls."""
    token = keeper.login(4711, uid, uid, {"program": "a test", "label": "night"})["token"]
    return keeper.admit(method, {"authorization": now + token}, 5.0)


# ---- tokens --------------------------------------------------------------------------------------------------------


def test_a_token_says_who_called_by_the_kernels_word_and_by_his_own() -> None:
    caller = entered(Gate(host="control"), "Control/Inspect", STRANGER_UID)
    assert (caller.person, caller.access, caller.remaining_s) == (f"uid {STRANGER_UID}", Access.OBSERVER, 5.0)
    origin = caller.origin
    assert (origin.uid, origin.host, origin.pid, origin.program) == (STRANGER_UID, "control", 4711, "a test")
    assert origin.label == "night"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "does not say who makes it"),
        ("Basic Zm9v", "does not say who makes it"),
        ("Bearer", "does not say who makes it"),
        ("Bearer ", "not of this controller"),
        ("Bearer e30=.00", "not of this controller"),
        ("Bearer \N{SNOWMAN}", "not of this controller"),
    ],
)
def test_a_call_without_a_good_token_is_told_how_to_get_one(given: str, told: str) -> None:
    with pytest.raises(NotLoggedIn, match=told) as caught:
        Gate().admit("Control/Inspect", {"authorization": given}, 5.0)
    assert "grange token" in caught.value.what_to_try


def test_a_token_is_good_at_the_server_that_gave_it_only() -> None:
    token = Gate().login(1, os.getuid(), os.getgid(), {})["token"]
    with pytest.raises(NotLoggedIn, match="may have been started anew"):
        Gate().admit("Control/Inspect", {"authorization": f"Bearer {token}"}, 5.0)


def test_a_changed_token_is_refused() -> None:
    keeper = Gate()
    body, signature = keeper.login(1, STRANGER_UID, STRANGER_UID, {})["token"].split(".")
    other, _ = keeper.login(1, os.getuid(), os.getgid(), {})["token"].split(".")
    assert other != body
    with pytest.raises(NotLoggedIn):
        keeper.admit("Control/Inspect", {"authorization": f"Bearer {other}.{signature}"}, 5.0)


def test_a_token_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "TOKEN_LIFE_S", -1.0)
    with pytest.raises(NotLoggedIn, match="too old"):
        entered(Gate(), "Control/Inspect", STRANGER_UID)


def test_a_callers_own_name_that_is_too_long_is_cut_where_one_sees_it() -> None:
    keeper = Gate(owner_uid=OWNER_UID)
    token = keeper.login(4711, OWNER_UID, 0, {"program": "p" * 100, "label": "l" * 101})["token"]
    origin = keeper.admit("Control/Inspect", {"authorization": f"Bearer {token}"}, 5.0).origin
    assert (origin.program, origin.label) == ("p" * 100, "l" * 99 + "…")


# ---- access --------------------------------------------------------------------------------------------------------


def test_the_trees_own_link_is_the_owners_and_roots() -> None:
    keeper = Gate(owner_uid=OWNER_UID)
    assert [entered(keeper, "Tree/Attach", uid).access for uid in (OWNER_UID, 0)] == [Access.OWNER] * 2
    with pytest.raises(NotAllowed):
        entered(keeper, "Tree/Attach", STRANGER_UID)


def test_who_may_not_is_told_what_he_is_and_whoever_keeps_the_trail_hears_of_it() -> None:
    heard: list[tuple[str, str, str]] = []

    def refused(caller: Caller, method: str, request: object, error: GrangeError) -> None:
        heard.append((caller.person, method, error.reason))

    keeper = Gate(refused=refused, owner_uid=OWNER_UID)
    told = f"uid {STRANGER_UID} is an observer of this farm, and down is for experts"
    with pytest.raises(NotAllowed) as caught:
        entered(keeper, "Control/Down", STRANGER_UID)
    assert caught.value.reason == told
    assert "access.toml" in caught.value.what_to_try
    assert heard == [(f"uid {STRANGER_UID}", "Control/Down", told)]


def test_the_rules_are_asked_at_each_login() -> None:
    rules = AccessRules()
    keeper = Gate(rules=lambda: rules, owner_uid=OWNER_UID)
    with pytest.raises(NotAllowed):
        entered(keeper, "Control/Execute", STRANGER_UID)
    rules = AccessRules(shifters=(f"uid {STRANGER_UID}",))
    assert entered(keeper, "Control/Execute", STRANGER_UID).access is Access.SHIFTER


def test_who_has_called_is_remembered_and_the_farms_own_programs_are_not_visitors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "VISITORS_MAX", 2)
    keeper = Gate(owner_uid=OWNER_UID)
    entered(keeper, "Tree/Attach", OWNER_UID)
    assert keeper.visitors() == []
    for uid in (STRANGER_UID, STRANGER_UID + 1, STRANGER_UID + 1, STRANGER_UID + 2):
        caller = entered(keeper, "Control/Inspect", uid)
    with keeper.streaming(caller):
        found = {visitor.caller.origin.uid: visitor.streams for visitor in keeper.visitors()}
    assert found == {STRANGER_UID + 1: 0, STRANGER_UID + 2: 1}  # the one that called longest ago is forgotten
    assert {visitor.streams for visitor in keeper.visitors()} == {0}


# ---- over the sockets ----------------------------------------------------------------------------------------------


async def test_the_login_socket_is_beside_the_servers_and_the_owners_alone(address: str) -> None:
    server = await served(address)
    try:
        modes = [
            stat.S_IMODE(os.stat(path).st_mode) for path in (socket_path(address), login_path(socket_path(address)))
        ]
        assert modes == [0o600, 0o600]
        login = await log_in(address, LIMIT_S)
        assert login.access == "owner"
    finally:
        await server.stop(0.0)


async def test_a_client_logs_in_by_itself_and_again_when_the_server_was_started_anew(address: str) -> None:
    async with await connect(address, "night") as stubs:
        for _ in range(2):
            server = await served(address)
            try:
                response = await stubs.security.who(security_pb2.WhoRequest(), LIMIT_S)
                assert response.access == "owner"
            finally:
                await server.stop(0.0)


async def test_health_is_open_and_what_is_not_says_what_to_do(address: str) -> None:
    server = await served(address)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)).status == 1
            call = channel.unary_unary(
                "/grange.v1.Security/Who",
                security_pb2.WhoRequest.SerializeToString,
                security_pb2.WhoResponse.FromString,
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(security_pb2.WhoRequest(), timeout=LIMIT_S)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "grange token" in str(caught.value.details())
    finally:
        await server.stop(0.0)


async def test_nobody_at_the_login_socket_is_nobody_at_all(address: str) -> None:
    with pytest.raises(Unavailable, match="no controller answers"):
        await log_in(address, LIMIT_S)


async def test_a_controller_that_is_back_is_reached_although_its_callers_do_not_dial_again_yet(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = {f"grpc.{which}_reconnect_backoff_ms": 2000 for which in ("initial", "max")}
    monkeypatch.setattr(stub, "OPTIONS", tuple((dict(stub.OPTIONS) | pauses).items()))
    ask, nobody = security_pb2.WhoRequest(), f"no controller answers at {address}. Start one with: grange up"
    async with await connect(address) as stubs:
        server = await served(address)
        first = await stubs.security.who(ask, LIMIT_S)
        await server.stop(0.0)
        for _ in range(2):  # the first dials, in vain, and for a while no other does
            with pytest.raises(Unavailable) as caught:
                await stubs.security.who(ask, LIMIT_S)
            assert str(caught.value) == nobody
        server = await served(address)
        assert await stubs.security.who(ask, LIMIT_S) == first
        await server.stop(0.0)


@pytest.mark.parametrize("said", [b"[]\n", b"{\n", b"\xff\n", b"x" * 9000, b'{"program": 7, "label": null}\n'])
async def test_nonsense_at_the_login_socket_harms_nobody(address: str, said: bytes) -> None:
    server = await served(address)
    try:
        reader, writer = await asyncio.open_unix_connection(login_path(socket_path(address)))
        writer.write(said)
        writer.write_eof()
        async with asyncio.timeout(LIMIT_S):
            try:
                answer = await reader.read()
            except ConnectionResetError:  # more than it wanted to read
                answer = b""
        assert not answer or json.loads(answer)["access"] == "owner"
        writer.close()
        assert (await log_in(address, LIMIT_S)).access == "owner"
    finally:
        await server.stop(0.0)


async def test_a_left_over_login_socket_is_no_obstacle(address: str) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(login_path(socket_path(address)))
    left.close()
    server = await served(address)
    try:
        assert (await log_in(address, LIMIT_S)).access == "owner"
    finally:
        await server.stop(0.0)


async def test_a_group_that_is_none_is_told(address: str) -> None:
    with pytest.raises(InvalidInput, match="there is no group 'no-such-group'"):
        await served(address, Gate(group="no-such-group"))


def test_a_command_that_is_refused_for_want_of_access_is_told_to_the_trail_with_its_request() -> None:
    heard: list[object] = []
    keeper = Gate(refused=lambda caller, method, request, error: heard.append(request), owner_uid=OWNER_UID)
    token = keeper.login(1, STRANGER_UID, STRANGER_UID, {})["token"]
    request = control_pb2.ExecuteRequest(go="running")
    with pytest.raises(NotAllowed):
        keeper.admit("Control/Execute", {"authorization": f"Bearer {token}"}, 5.0, request)
    assert heard == [request]
