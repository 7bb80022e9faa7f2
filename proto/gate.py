"""The gate of a server: who is calling, and may he.

gRPC does not tell who is at the other end of a Unix socket, the kernel does. So beside each server's socket there is a
*login socket*, `<socket>.login`: whoever connects there says in one line of JSON what he calls himself, and gets one
line back with a token, in which stands who he is by SO_PEERCRED. Calls carry it (`authorization: Bearer …`). A token is
signed with a key that its server made at its start and keeps in memory, so there is no secret on any disk, nothing to
hand out, and a token ends with the server that gave it; a client then simply logs in again. What a person may do is
looked up when the token is given, so a change holds after `TOKEN_LIFE_S` at the latest.

Health and reflection stay open. Streams are judged when they are opened.
"""

import asyncio
import base64
import contextlib
import functools
import grp
import hmac
import json
import logging
import os
import pwd
import secrets
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from grange.core.access import NAME_LENGTH_MAX, NO_RULES, Access, AccessRules, Origin, need_of
from grange.core.errors import GrangeError, InvalidInput, NotAllowed, NotLoggedIn
from grange.core.problems import Problem

from .limits import LOGIN_LINE_BYTES_MAX
from .sockets import login_path, socket_path

TOKEN_LIFE_S = 300.0
LOGIN_S = 5.0  # for the one line of who logs in
LOGINS_WAITING_MAX = 1024  # connections that the kernel keeps for us: all agents of a sub-farm dial at once
VISITORS_MAX = 200  # remembered; the one that called longest ago is forgotten first
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_TREE = "Tree/Attach"
_BEARER = "Bearer "

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and how long the answer is waited for. `remaining_s` is infinite when no deadline was set."""

    person: str  # the user's name, as the system knows it
    access: Access
    origin: Origin
    remaining_s: float = float("inf")


@dataclass(slots=True)
class Visitor:
    """Somebody who has called lately with one program; `last_s` are seconds since 1970."""

    caller: Caller  # of the last call
    last_s: float
    streams: int = 0


def _only_log(caller: Caller, method: str, request: Any, error: GrangeError) -> None:
    log.warning("%s of %s was refused: %s", method, caller.person, error)


@dataclass(slots=True)
class Gate:
    """Who may call what at one server.

    `rules` is asked at each login; `refused` hears of calls that were not let in, with their request where it is known
    by then. `group` is who may reach the sockets beside their owner; empty: nobody.
    """

    rules: Callable[[], AccessRules] = lambda: NO_RULES
    refused: Callable[[Caller, str, Any, GrangeError], None] = _only_log
    owner_uid: int = field(default_factory=os.getuid)
    group: str = ""
    host: str = field(default_factory=socket.gethostname)
    _key: bytes = field(default_factory=functools.partial(secrets.token_bytes, 32))
    _visitors: "OrderedDict[tuple[str, str, str], Visitor]" = field(default_factory=OrderedDict)

    # ---- giving tokens ----------------------------------------------------------------------------------------------

    def login(self, pid: int, uid: int, gid: int, said: Mapping[str, Any]) -> dict[str, Any]:
        """What somebody is told who logs in, of whom the kernel says this."""
        person, groups = _user(uid, gid)
        access = self.rules().access_of(person, groups, uid, self.owner_uid)
        origin = Origin(uid, self.host, pid, _name(said.get("program")), _name(said.get("label")))
        claims = [person, int(access), *asdict(origin).values(), time.monotonic() + TOKEN_LIFE_S]
        return {"token": self._signed(claims), "life_s": TOKEN_LIFE_S, "person": person, "access": str(access)}

    def _signed(self, claims: list[Any]) -> str:
        body = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode())
        return f"{body.decode()}.{hmac.digest(self._key, body, 'sha256').hex()}"

    # ---- letting in -------------------------------------------------------------------------------------------------

    def admit(self, method: str, metadata: Mapping[str, Any], remaining_s: float, request: Any = None) -> Caller:
        """Who calls `method` (`Control/Execute`). Raises `NotLoggedIn` and `NotAllowed`."""
        caller = self._caller(str(metadata.get("authorization", "")), remaining_s)
        needed = need_of(method)
        if method != _TREE:  # the farm's own programs
            self._visit(caller).last_s = time.time()
        if caller.access < needed.access:
            error = NotAllowed(
                f"{caller.person} is {_article(caller.access)} of this farm, and {needed.what} is for {needed.access}s",
                "Who is what stands in access.toml in the farm's home; its owner can change it (docs/security.md)",
            )
            self.refused(caller, method, request, error)
            raise error
        return caller

    @contextlib.contextmanager
    def streaming(self, caller: Caller) -> Iterator[None]:
        """Counts an open stream of a caller."""
        visitor = self._visit(caller)
        visitor.streams += 1
        try:
            yield
        finally:
            visitor.streams -= 1

    def visitors(self) -> list[Visitor]:
        """Who has called lately, the latest first, and of the farm's own programs nobody."""
        return sorted(self._visitors.values(), key=lambda visitor: -visitor.last_s)

    def _visit(self, caller: Caller) -> Visitor:
        key = caller.person, caller.origin.program, caller.origin.label
        visitor = self._visitors.get(key)
        if visitor is None:
            visitor = self._visitors[key] = Visitor(caller, time.time())
            while len(self._visitors) > VISITORS_MAX:
                self._visitors.popitem(last=False)
        visitor.caller = caller
        self._visitors.move_to_end(key)
        return visitor

    def _caller(self, given: str, remaining_s: float) -> Caller:
        if not given.startswith(_BEARER):
            raise NotLoggedIn(
                "this call does not say who makes it",
                "Send metadata 'authorization: Bearer TOKEN'; a token is printed by: grange token",
            )
        body, _, signature = given.removeprefix(_BEARER).strip().encode().partition(b".")
        if not hmac.compare_digest(hmac.digest(self._key, body, "sha256").hex().encode(), signature):
            raise NotLoggedIn(
                "the token is not of this controller, which may have been started anew",
                "Log in again; a token is printed by: grange token",
            )
        person, access, uid, host, pid, program, label, until_s = json.loads(base64.urlsafe_b64decode(body))
        if time.monotonic() > until_s:
            raise NotLoggedIn("the token is too old", "Log in again; a token is printed by: grange token")
        return Caller(person, Access(access), Origin(uid, host, pid, program, label), remaining_s)


class LoginServer:
    """The login socket of a server, beside its own; the caller holds that one's lock."""

    def __init__(self, address: str, gate: Gate) -> None:
        self._path, self._gate = login_path(socket_path(address)), gate
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises `InvalidInput` when the socket cannot be made."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # of one that was killed: who holds the lock is alone
            listening.bind(self._path)
        except OSError as error:
            listening.close()
            what = f"{self._path} cannot be made a socket: {error.strerror}"
            raise InvalidInput([Problem("address", what)], "Look what is there, and whose directory it is") from None
        finally:
            os.umask(mask)
        open_to_group(self._path, self._gate.group)
        listening.listen(LOGINS_WAITING_MAX)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=LOGIN_LINE_BYTES_MAX)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(LOGIN_S):
                said = _said(await reader.readline())
                end = writer.get_extra_info("socket")
                pid, uid, gid = _PEER.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
                # names may come from a directory service that takes its time
                told = await asyncio.to_thread(self._gate.login, pid, uid, gid, said)
                writer.write(json.dumps(told).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError) as error:
            log.info("a login came to nothing: %s", error)
        finally:
            writer.close()


def open_to_group(path: str, group: str) -> None:
    """Lets a group of the system connect to a socket. Raises `InvalidInput` when there is none of that name."""
    if not group:
        return
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
        os.chmod(path, 0o660)
    except KeyError:
        raise InvalidInput(
            [Problem("group", f"there is no group {group!r} on this machine")],
            "Name one in access.toml; getent group lists them",
        ) from None
    except PermissionError:
        what = f"{path} cannot be given to the group {group!r}: the owner of the farm is not in it"
        raise InvalidInput([Problem("group", what)], "Name a group in which the farm's own user is") from None


def _said(line: bytes) -> Mapping[str, Any]:
    """What somebody says of himself; an empty line is nothing."""
    found = json.loads(line or b"{}")
    if not isinstance(found, dict):
        raise ValueError("a login is one JSON object")
    return found


def _name(given: object) -> str:
    text = given if isinstance(given, str) else ""
    name = "".join(character for character in text if character.isprintable())
    return name if len(name) <= NAME_LENGTH_MAX else f"{name[: NAME_LENGTH_MAX - 1]}…"


def _user(uid: int, gid: int) -> tuple[str, set[str]]:
    """A user's name and groups; one without an entry, as in some containers, is called by its number."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return f"uid {uid}", set()
    groups = set()
    for number in {gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)}:
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrgid(number).gr_name)
    return entry.pw_name, groups


def _article(access: Access) -> str:
    return f"an {access}" if access is not Access.SHIFTER else f"a {access}"
