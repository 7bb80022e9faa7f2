"""Whether who carries out a command is still there: a stream that says nothing may be that of a controller that hangs.

A command's updates come on change, so there may be none for minutes although all is well. After a while without one the
controller is asked for its own state, which it answers at once whatever else it does. One that says nothing to that
either, `ASKED` times, hangs: it was stopped, or the kernel holds it. It keeps its place until it is ended; what it
controls does not need it, and whoever takes its place carries its command on.
"""

import asyncio
from collections.abc import AsyncGenerator

from grange.core.errors import DeadlinePassed, GrangeError
from grange.proto.control_pb2 import ExecuteRequest, ExecuteUpdate, InspectRequest
from grange.proto.sockets import holder, socket_path
from grange.proto.stub import ControlStub

from .errors import ControllerHangs

SILENCE_S = 4.0  # without an update, until the controller is asked
ANSWER_LIMIT_S = 3.0  # reading never waits, so one that is well answers at once, also on a busy machine
ASKED = 2  # times: the first may have been late because this program was stopped itself


async def attended(
    control: ControlStub, request: ExecuteRequest, timeout_s: float, address: str
) -> AsyncGenerator[ExecuteUpdate, None]:
    """The updates of a command, as long as there is somebody at `address` who could send one.

    Raises `ControllerHangs`, and what `execute` raises.
    """
    updates = control.execute(request, timeout_s)
    coming = asyncio.ensure_future(_taken(updates))
    try:
        while True:
            await asyncio.wait((coming,), timeout=SILENCE_S)
            if not coming.done() and not await _is_there(control, coming):
                raise _hangs(address, request.command_id)
            if not coming.done():
                continue
            update = coming.result()
            if update is None:
                return
            yield update
            coming = asyncio.ensure_future(_taken(updates))  # not before: nothing is read after the last one
    finally:
        coming.cancel()
        await asyncio.wait((coming,))
        await updates.aclose()


async def _taken(updates: AsyncGenerator[ExecuteUpdate, None]) -> ExecuteUpdate | None:
    """The next update; None when there are no more."""
    return await anext(updates, None)


async def _is_there(control: ControlStub, coming: asyncio.Future[ExecuteUpdate | None]) -> bool:
    for _ in range(ASKED):
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):  # for the login too, which another call may be waiting for
                await control.inspect(InspectRequest(), ANSWER_LIMIT_S)
        except (TimeoutError, DeadlinePassed):
            if not coming.done():
                continue
        except GrangeError:
            pass  # there is nobody, or it refuses: what that means for the command its stream says
        return True
    return False


def _hangs(address: str, command_id: str) -> ControllerHangs:
    pid = holder(socket_path(address))
    who, end = (f" (process {pid})", f"kill -9 {pid}") if pid else ("", "kill -9 and its process id")
    return ControllerHangs(
        f"the controller at {address}{who} hangs: it has said nothing for {SILENCE_S + ASKED * ANSWER_LIMIT_S:g} s, "
        f"also when it was asked; command {command_id} may be under way",
        f"End it with: {end}; then: grange up. Nothing is lost: what it controls runs on, and so does a command that "
        "it had accepted",
    )
