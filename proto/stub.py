"""The client stub: the services of a controller as typed async methods, for the Python client and for controllers.

Every call has a deadline, in seconds, which the caller gives; a stream's is for the whole of it. A failed call raises
an error of `core/errors.py`: what the controller raised, or what the transport's failure means (`Unavailable` when
nobody answers). Calls say who makes them (`login.py`), and log in once more when a controller that was started anew
does not know them. gRPC dials by itself and again after a failure, but not at once: until then it would say of one that
is back that nobody is there, so that is asked first of the login. Nothing is sent twice without being asked for.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from grange.core.errors import NotLoggedIn

from . import configuration_pb2, control_pb2, runs_pb2, security_pb2
from .errors import from_rpc_error
from .limits import MESSAGE_BYTES_MAX, METADATA_BYTES_MAX
from .login import Login, Session
from .sockets import socket_path

Response = TypeVar("Response", bound=Message)

_CONNECT_LIMIT_MS = 60_000  # longer than calls wait for an answer
_GREET_LIMIT_S = 10.0  # for one that is there, by its login: it is dialled again at once, and may be busy
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),  # a proxy in the environment is for the web, not for a Unix socket
    ("grpc.use_local_subchannel_pool", 1),  # an earlier channel's back-off is not ours
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),  # an attempt on one's own machine costs nothing
    # Not a back-off, whatever its name: an attempt to connect that has taken so long is given up, and the call fails as
    # if nobody were there. A busy controller is slow to greet; how long is waited for it is for the call to say.
    ("grpc.min_reconnect_backoff_ms", _CONNECT_LIMIT_MS),
)


class _Service:
    """The methods of one service on a channel, by name."""

    def __init__(
        self, channel: grpc.aio.Channel, descriptor: ServiceDescriptor, address: str, session: Session
    ) -> None:
        self._channel, self._address, self._session = channel, address, session
        self._methods: dict[str, Callable[..., Any]] = {}
        for method in descriptor.methods:
            if method.client_streaming:
                continue  # the tree's own link is link.py's
            make = channel.unary_stream if method.server_streaming else channel.unary_unary
            self._methods[method.name] = make(
                f"/{descriptor.full_name}/{method.name}",
                message_factory.GetMessageClass(method.input_type).SerializeToString,
                message_factory.GetMessageClass(method.output_type).FromString,
            )

    async def _ask(self, method: str, request: Message, answer: type[Response], timeout_s: float) -> Response:
        try:
            response = await self._asked(method, request, timeout_s)
        except NotLoggedIn:
            self._session.forget()
            response = await self._asked(method, request, timeout_s)
        assert isinstance(response, answer)
        return response

    async def _asked(self, method: str, request: Message, timeout_s: float) -> object:
        metadata = await self._metadata(timeout_s)
        try:
            return await self._methods[method](request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self._address) from None

    async def _metadata(self, timeout_s: float) -> tuple[tuple[str, str], ...]:
        """What a call carries, when it can be sent. Raises `Unavailable` when nobody is there."""
        if self._channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            return await self._session.metadata(timeout_s)
        self._session.forget()
        metadata = await self._session.metadata(timeout_s)
        with contextlib.suppress(TimeoutError):  # then it is the call that says what is wrong
            async with asyncio.timeout(min(timeout_s, _GREET_LIMIT_S)):
                await self._channel.channel_ready()
        return metadata

    async def _follow(
        self, method: str, request: Message, _answer: type[Response], timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        for last in (False, True):
            metadata = await self._metadata(timeout_s)
            call = self._methods[method](request, timeout=timeout_s, metadata=metadata)
            try:
                async for update in call:
                    yield update
                return
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error, self._address)
                if last or not isinstance(failure, NotLoggedIn):  # which a stream says before anything else
                    raise failure from None
                self._session.forget()
            finally:
                call.cancel()  # one that is read to its end does not notice


class ControlStub(_Service):
    """Control; proto/control.proto says what each promises."""

    def execute(
        self, request: control_pb2.ExecuteRequest, timeout_s: float
    ) -> AsyncGenerator[control_pb2.ExecuteUpdate, None]:
        return self._follow("Execute", request, control_pb2.ExecuteUpdate, timeout_s)

    async def cancel(self, request: control_pb2.CancelRequest, timeout_s: float) -> control_pb2.CancelResponse:
        return await self._ask("Cancel", request, control_pb2.CancelResponse, timeout_s)

    def watch(
        self, request: control_pb2.WatchRequest, timeout_s: float
    ) -> AsyncGenerator[control_pb2.WatchUpdate, None]:
        return self._follow("Watch", request, control_pb2.WatchUpdate, timeout_s)

    async def inspect(self, request: control_pb2.InspectRequest, timeout_s: float) -> control_pb2.InspectResponse:
        return await self._ask("Inspect", request, control_pb2.InspectResponse, timeout_s)

    async def describe(self, request: control_pb2.DescribeRequest, timeout_s: float) -> control_pb2.DescribeResponse:
        return await self._ask("Describe", request, control_pb2.DescribeResponse, timeout_s)

    def read_output(
        self, request: control_pb2.ReadOutputRequest, timeout_s: float
    ) -> AsyncGenerator[control_pb2.ReadOutputUpdate, None]:
        return self._follow("ReadOutput", request, control_pb2.ReadOutputUpdate, timeout_s)

    async def down(self, request: control_pb2.DownRequest, timeout_s: float) -> control_pb2.DownResponse:
        return await self._ask("Down", request, control_pb2.DownResponse, timeout_s)


class ConfigurationStub(_Service):
    """Configuration; proto/configuration.proto says what each promises."""

    async def import_(
        self, request: configuration_pb2.ImportRequest, timeout_s: float
    ) -> configuration_pb2.ImportResponse:
        return await self._ask("Import", request, configuration_pb2.ImportResponse, timeout_s)

    async def export(
        self, request: configuration_pb2.ExportRequest, timeout_s: float
    ) -> configuration_pb2.ExportResponse:
        return await self._ask("Export", request, configuration_pb2.ExportResponse, timeout_s)

    async def list_revisions(
        self, request: configuration_pb2.ListRevisionsRequest, timeout_s: float
    ) -> configuration_pb2.ListRevisionsResponse:
        return await self._ask("ListRevisions", request, configuration_pb2.ListRevisionsResponse, timeout_s)

    async def use(self, request: configuration_pb2.UseRequest, timeout_s: float) -> configuration_pb2.UseResponse:
        return await self._ask("Use", request, configuration_pb2.UseResponse, timeout_s)

    async def diff(self, request: configuration_pb2.DiffRequest, timeout_s: float) -> configuration_pb2.DiffResponse:
        return await self._ask("Diff", request, configuration_pb2.DiffResponse, timeout_s)

    async def set_tag(
        self, request: configuration_pb2.SetTagRequest, timeout_s: float
    ) -> configuration_pb2.SetTagResponse:
        return await self._ask("SetTag", request, configuration_pb2.SetTagResponse, timeout_s)

    async def list_tags(
        self, request: configuration_pb2.ListTagsRequest, timeout_s: float
    ) -> configuration_pb2.ListTagsResponse:
        return await self._ask("ListTags", request, configuration_pb2.ListTagsResponse, timeout_s)


class RunsStub(_Service):
    """Runs; proto/runs.proto says what each promises."""

    async def list_runs(self, request: runs_pb2.ListRunsRequest, timeout_s: float) -> runs_pb2.ListRunsResponse:
        return await self._ask("ListRuns", request, runs_pb2.ListRunsResponse, timeout_s)

    async def get_run(self, request: runs_pb2.GetRunRequest, timeout_s: float) -> runs_pb2.GetRunResponse:
        return await self._ask("GetRun", request, runs_pb2.GetRunResponse, timeout_s)


class SecurityStub(_Service):
    """Security; proto/security.proto says what each promises."""

    async def take_lease(
        self, request: security_pb2.TakeLeaseRequest, timeout_s: float
    ) -> security_pb2.TakeLeaseResponse:
        return await self._ask("TakeLease", request, security_pb2.TakeLeaseResponse, timeout_s)

    async def release_lease(
        self, request: security_pb2.ReleaseLeaseRequest, timeout_s: float
    ) -> security_pb2.ReleaseLeaseResponse:
        return await self._ask("ReleaseLease", request, security_pb2.ReleaseLeaseResponse, timeout_s)

    async def who(self, request: security_pb2.WhoRequest, timeout_s: float) -> security_pb2.WhoResponse:
        return await self._ask("Who", request, security_pb2.WhoResponse, timeout_s)

    async def list_audit(
        self, request: security_pb2.ListAuditRequest, timeout_s: float
    ) -> security_pb2.ListAuditResponse:
        return await self._ask("ListAudit", request, security_pb2.ListAuditResponse, timeout_s)


class Stubs:
    """All services at one address, over one channel of the running loop; an async context manager, or close it."""

    def __init__(self, address: str, label: str) -> None:
        socket_path(address)  # refuses what is no Unix socket before anything is dialled
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._session = session = Session(address, label)
        control, configuration, runs = control_pb2.DESCRIPTOR, configuration_pb2.DESCRIPTOR, runs_pb2.DESCRIPTOR
        self.control = ControlStub(self._channel, control.services_by_name["Control"], address, session)
        self.configuration = ConfigurationStub(
            self._channel, configuration.services_by_name["Configuration"], address, session
        )
        self.runs = RunsStub(self._channel, runs.services_by_name["Runs"], address, session)
        security = security_pb2.DESCRIPTOR.services_by_name["Security"]
        self.security = SecurityStub(self._channel, security, address, session)

    async def login(self, timeout_s: float) -> Login:
        """Who the controller says we are, and our token. Raises as every call does."""
        return await self._session.login(timeout_s)

    async def close(self) -> None:
        """Cancels what is under way on this channel."""
        with contextlib.suppress(grpc.aio.UsageError):  # closed before
            await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def connect(address: str, label: str = "") -> Stubs:
    """Stubs for the controller at `unix:/path`; nothing is sent yet, and nobody need be there yet.

    `label` is what the caller calls itself beside the user it is. Raises `InvalidInput` for a bad address. It waits
    for nothing: it is async because a channel belongs to the running event loop.
    """
    return Stubs(address, label)
