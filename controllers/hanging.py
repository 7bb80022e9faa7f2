"""A program below that hangs keeps its place, and the next one out: it is asked, and killed if it says nothing.

That does no harm. Of a sub-farm controller keepers, agents and processes live on, and the agents attach to the next
one. Of a keeper agent and processes live on, and the next one adopts them; it is asked here only when its agent cannot
be heard, which would have replaced it. One that answers is left alone, for then it is the link that is cut; so is one
that does not serve yet, for it has only just been started.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from grange.core.errors import DeadlinePassed, GrangeError
from grange.launch.local import KEEPER_PROGRAM, kill_program
from grange.proto import control_pb2
from grange.proto.sockets import holder
from grange.proto.stub import Stubs

ANSWER_LIMIT_S = 2.5  # reading never waits, so one that is well answers at once, also on a busy machine
ASKED = 2  # times: the first may have been late because this program was stopped itself
_PING = json.dumps({"op": "ping", "id": 0}).encode() + b"\n"


async def end_if_it_hangs(socket: str, arguments: Sequence[str], dial: Callable[[], Awaitable[Stubs]]) -> str:
    """Kills the controller that holds `socket`, launched with `arguments`, if it hangs; says so, or nothing."""

    async def ask() -> None:
        stubs = await dial()
        await stubs.control.inspect(control_pb2.InspectRequest(depth=0), ANSWER_LIMIT_S)

    return await _end("controller", holder(socket), arguments, ask)


async def end_keeper_if_it_hangs(node_directory: str) -> str:
    """Kills the keeper of a node if it hangs; says so, or nothing."""

    async def ask() -> None:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            reader, writer = await asyncio.open_unix_connection(f"{node_directory}/keeper.sock")
            try:
                writer.write(_PING)
                await reader.readline()
            finally:
                writer.close()

    return await _end("keeper", holder(f"{node_directory}/keeper"), [str(KEEPER_PROGRAM), node_directory], ask)


async def _end(what: str, pid: int, arguments: Sequence[str], ask: Callable[[], Awaitable[None]]) -> str:
    if not pid or await _answers(ask) or not kill_program(pid, arguments):
        return ""
    asked_s = ASKED * ANSWER_LIMIT_S
    return f"its {what} (pid {pid}) hung: it said nothing for {asked_s:g} s when asked, and was killed"


async def _answers(ask: Callable[[], Awaitable[None]]) -> bool:
    for _ in range(ASKED):
        try:
            await ask()
        except (TimeoutError, DeadlinePassed):
            continue
        except (OSError, GrangeError):  # it refuses, or there is nobody: neither hangs
            pass
        return True
    return False
