"""The server shell: what every controller puts around its handlers to be called over gRPC.

A controller writes plain async functions over the protobuf messages (the protocols below) and raises the errors of
`core/errors.py`; the shell does the rest. Methods are found by name, `ReadOutput` is `read_output` and `Import` is
`import_`; a service without handlers is not offered, which a caller is told as such. Reads are answered while anything
else is under way: handlers run as tasks of one loop and must not block it.

A stream is written no faster than its client reads: a write waits for it and holds nothing but its own task. One that
is not read for `STALLED_S` is ended, and of each method that only looks `STREAMS_MAX` streams may be open at a time;
who wants one more is told so at once. A command is never refused for that, nor ended because nobody reads how it fares.

Every server offers the standard health service (`""` and each service by name are SERVING) and reflection, so
`grpcurl` works without proto files; these two are open, every other call has to say who makes it (`gate.py`). It
listens on Unix sockets only, mode 0600 or 0660 for a group, and only while it holds the lock of `sockets.py`.

The tree's link (`Tree.Attach`) is given to its handler as a `TreeChannel` (`channel.py`). That a new stream of the same
child closes the old one is the handler's business: `old.close("…")`.
"""

import asyncio
import contextlib
import keyword
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from grange.core.errors import GrangeError, InternalFault, InvalidInput, LimitReached, Unavailable
from grange.core.problems import Problem

from . import configuration_pb2, control_pb2, runs_pb2, security_pb2, tree_pb2
from .channel import TreeChannel, carry, read_hello
from .errors import to_status
from .gate import Caller, Gate, LoginServer, open_to_group
from .limits import MESSAGE_BYTES_MAX, METADATA_BYTES_MAX
from .sockets import SocketLock, socket_path

STREAMS_MAX = 2000  # open at a time, of each method that only looks: far beyond any use
STALLED_S = 30.0  # that nothing is read of a stream which has something to tell, before it is ended
STREAMS_OF_CONNECTION_MAX = (
    3000  # more than of a method, so that who goes beyond is told so and does not wait in silence
)
ABORT_S = 1.0  # for a status to go out: behind what a client does not read it waits for ever

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_concurrent_streams", STREAMS_OF_CONNECTION_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.http2.bdp_probe", 0),  # pings that measure a network: a Unix socket is none
)

_UNLIMITED = frozenset({"Execute"})  # whoever else is there, a stop is taken

_Admission = Callable[[Any, Any], Caller]  # who makes a call with that context and request; raises what keeps him out

# a method as gRPC wants it: the request (or their iterator) and the call's context, which is written to
_Behaviour = Callable[[Any, Any], Awaitable[Any]]

log = logging.getLogger(__name__)


class ControlHandlers(Protocol):
    """Control; see proto/control.proto for what each promises. Streams are async generators."""

    def execute(
        self, request: control_pb2.ExecuteRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ExecuteUpdate]: ...
    async def cancel(self, request: control_pb2.CancelRequest, caller: Caller) -> control_pb2.CancelResponse: ...
    def watch(self, request: control_pb2.WatchRequest, caller: Caller) -> AsyncIterator[control_pb2.WatchUpdate]: ...
    async def inspect(self, request: control_pb2.InspectRequest, caller: Caller) -> control_pb2.InspectResponse: ...
    async def describe(self, request: control_pb2.DescribeRequest, caller: Caller) -> control_pb2.DescribeResponse: ...
    def read_output(
        self, request: control_pb2.ReadOutputRequest, caller: Caller
    ) -> AsyncIterator[control_pb2.ReadOutputUpdate]: ...
    async def down(self, request: control_pb2.DownRequest, caller: Caller) -> control_pb2.DownResponse: ...


class ConfigurationHandlers(Protocol):
    """Configuration; see proto/configuration.proto."""

    async def import_(
        self, request: configuration_pb2.ImportRequest, caller: Caller
    ) -> configuration_pb2.ImportResponse: ...
    async def export(
        self, request: configuration_pb2.ExportRequest, caller: Caller
    ) -> configuration_pb2.ExportResponse: ...
    async def list_revisions(
        self, request: configuration_pb2.ListRevisionsRequest, caller: Caller
    ) -> configuration_pb2.ListRevisionsResponse: ...
    async def use(self, request: configuration_pb2.UseRequest, caller: Caller) -> configuration_pb2.UseResponse: ...


class RunsHandlers(Protocol):
    """Runs; see proto/runs.proto."""

    async def list_runs(self, request: runs_pb2.ListRunsRequest, caller: Caller) -> runs_pb2.ListRunsResponse: ...
    async def get_run(self, request: runs_pb2.GetRunRequest, caller: Caller) -> runs_pb2.GetRunResponse: ...


class SecurityHandlers(Protocol):
    """Security; see proto/security.proto."""

    async def take_lease(
        self, request: security_pb2.TakeLeaseRequest, caller: Caller
    ) -> security_pb2.TakeLeaseResponse: ...
    async def release_lease(
        self, request: security_pb2.ReleaseLeaseRequest, caller: Caller
    ) -> security_pb2.ReleaseLeaseResponse: ...
    async def who(self, request: security_pb2.WhoRequest, caller: Caller) -> security_pb2.WhoResponse: ...
    async def list_audit(
        self, request: security_pb2.ListAuditRequest, caller: Caller
    ) -> security_pb2.ListAuditResponse: ...


class TreeHandlers(Protocol):
    """Tree: one call of `attach` for each stream of a child.

    It lives as long as the link: it returns soon after the iteration over `channel` has ended, or earlier to end the
    link in peace (what was sent before goes out first). A `GrangeError` it raises is what the child is told.
    """

    async def attach(self, hello: tree_pb2.Hello, channel: TreeChannel) -> None: ...


STOP_MARGIN_S = 2.0  # beyond the grace of calls under way, for gRPC to cancel them


@dataclass(slots=True)
class Server:
    """A server that is listening."""

    address: str
    _server: Any
    _lock: SocketLock
    _logins: LoginServer

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls at once, gives those under way `grace_s` seconds, then cancels them; frees the socket."""
        with contextlib.suppress(TimeoutError):  # one under load was seen to wait for calls that had ended
            async with asyncio.timeout(grace_s + STOP_MARGIN_S):
                await self._server.stop(grace_s)
        await self._logins.stop()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket_path(self.address))
        self._lock.release()


async def serve(
    address: str,
    *,
    control: ControlHandlers | None = None,
    tree: TreeHandlers | None = None,
    configuration: ConfigurationHandlers | None = None,
    runs: RunsHandlers | None = None,
    security: SecurityHandlers | None = None,
    gate: Gate | None = None,
    lock: SocketLock | None = None,
) -> Server:
    """Listens at `unix:/path` with the services whose handlers are given, for whom the `gate` lets in.

    Without a gate that is the user of this program, and root.
    Raises `AddressInUse` when another program holds the path (one that took the lock before, to do something else
    first, hands it over with `lock`), and `InvalidInput` when the path is too long or the address is not a Unix socket.
    """
    path = socket_path(address)
    held = lock or SocketLock(path, what_to_try="A controller runs there already; look with: grange status")
    gate = gate or Gate()
    logins = LoginServer(address, gate)
    try:
        server = grpc.aio.server(options=OPTIONS)
        names = []
        for module, name, handlers in (
            (control_pb2, "Control", control),
            (tree_pb2, "Tree", tree),
            (configuration_pb2, "Configuration", configuration),
            (runs_pb2, "Runs", runs),
            (security_pb2, "Security", security),
        ):
            if handlers is not None:
                descriptor = module.DESCRIPTOR.services_by_name[name]
                server.add_generic_rpc_handlers((_service(descriptor, handlers, gate),))
                names.append(descriptor.full_name)
        await _add_standard_services(server, names)
        # the socket appears with its final mode: nobody else gets in between bind and chmod
        mask = os.umask(0o177)
        try:
            server.add_insecure_port(address)
        except RuntimeError:  # gRPC says no more; it has removed a left-over socket, but nothing else
            raise InvalidInput(
                [Problem("address", f"{path} cannot be made a socket")], "Look what is there, and whose directory it is"
            ) from None
        finally:
            os.umask(mask)
        try:
            open_to_group(path, gate.group)
        except InvalidInput:
            os.unlink(path)
            raise
        await logins.start()  # before: whoever reaches the server can log in
        await server.start()
    except BaseException:
        await logins.stop()
        held.release()
        raise
    return Server(address, server, held, logins)


async def _add_standard_services(server: grpc.aio.Server, names: list[str]) -> None:
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    for name in ("", *names):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)


def _service(descriptor: ServiceDescriptor, handlers: object, gate: Gate) -> "grpc.GenericRpcHandler[Any, Any]":
    """All methods of one service, each around the handler function of its name."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in descriptor.methods:
        function = getattr(handlers, _handler_name(method))
        read = message_factory.GetMessageClass(method.input_type).FromString
        write = message_factory.GetMessageClass(method.output_type).SerializeToString
        admit = _admission(gate, f"{descriptor.name}/{method.name}")
        if method.client_streaming:
            methods[method.name] = grpc.stream_stream_rpc_method_handler(_attach(admit, function), read, write)
        elif method.server_streaming:
            behaviour = _stream(method.name, gate, admit, function)
            methods[method.name] = grpc.unary_stream_rpc_method_handler(behaviour, read, write)
        else:
            methods[method.name] = grpc.unary_unary_rpc_method_handler(_unary(admit, function), read, write)
    return grpc.method_handlers_generic_handler(descriptor.full_name, methods)


def _handler_name(method: MethodDescriptor) -> str:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
    return f"{name}_" if keyword.iskeyword(name) else name


def _unary(admit: _Admission, function: Callable[[Any, Caller], Awaitable[Any]]) -> _Behaviour:
    async def behaviour(request: Any, context: Any) -> Any:
        try:
            return await function(request, admit(context, request))
        except Exception as error:
            await _fail(context, error)

    return behaviour


def _stream(
    name: str, gate: Gate, admit: _Admission, function: Callable[[Any, Caller], AsyncIterator[Any]]
) -> _Behaviour:
    open_streams = 0

    async def behaviour(request: Any, context: Any) -> None:
        nonlocal open_streams
        try:
            caller = admit(context, request)
        except GrangeError as error:
            await _fail(context, error)
        if open_streams >= STREAMS_MAX and name not in _UNLIMITED:
            await _fail(context, _too_many(name))
        open_streams += 1
        updates = function(request, caller)
        try:
            # by itself: gRPC could not abort a call whose first message, with which it would go, is not read
            await context.send_initial_metadata(())
            with gate.streaming(caller):
                async for update in updates:
                    await _write(context, update)
        except Exception as error:
            await _fail(context, error)
        finally:
            open_streams -= 1
            # a reader that goes away must not leave the generator, and what it holds, to the garbage collector
            if isinstance(updates, AsyncGenerator):
                await updates.aclose()

    return behaviour


def _too_many(name: str) -> LimitReached:
    return LimitReached(
        f"{STREAMS_MAX} streams of {name} are open already, which is the most", "Close some; who has one keeps it"
    )


async def _write(context: Any, update: Any) -> None:
    """Returns when the update is on its way; that is later when the client does not read what it was sent before."""
    try:
        async with asyncio.timeout(STALLED_S):
            await context.write(update)
    except TimeoutError:
        raise Unavailable(
            f"nothing was read of this stream for {STALLED_S:g} s, so it was ended",
            "Call again and read on; a command goes on, and its id attaches",
        ) from None
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None  # the client went away: what gRPC itself raises, mostly


def _attach(admit: _Admission, function: Callable[[tree_pb2.Hello, TreeChannel], Awaitable[None]]) -> _Behaviour:
    async def behaviour(_requests: Any, context: Any) -> None:
        try:
            admit(context, None)
            await carry(function, await read_hello(context), context)
        except Exception as error:
            await _fail(context, error)

    return behaviour


def _admission(gate: Gate, method: str) -> _Admission:
    def admit(context: Any, request: Any) -> Caller:
        remaining_s = context.time_remaining()
        metadata = dict(context.invocation_metadata() or ())
        return gate.admit(method, metadata, float("inf") if remaining_s is None else remaining_s, request)

    return admit


async def _fail(context: Any, error: Exception) -> NoReturn:
    """Ends the call with the error's status; what is not an error for callers is a bug and is logged with its trace."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, GrangeError):
        log.error("a call failed with a bug", exc_info=error)
        error = InternalFault(
            f"{type(error).__name__}: {error}", "Please report it; the controller's log has the traceback"
        )
    status = rpc_status.to_status(to_status(error))
    try:
        async with asyncio.timeout(ABORT_S):
            await context.abort(status.code, status.details, status.trailing_metadata)
    except (TimeoutError, grpc.aio.InternalError):
        # It goes out when the client reads again, if it ever does, and if it is still there; nobody waits for that.
        raise asyncio.CancelledError from None
    raise AssertionError("abort returned")
