"""A sub-farm controller that hangs keeps its place, and the next one out: it is asked, and killed if it says nothing.

That does no harm: its keepers, agents and processes live on, and the agents attach to the next one. One that answers is
left alone, for then it is the link that is cut; so is one that does not serve yet, for it has only just been started.
"""

from collections.abc import Awaitable, Callable, Sequence

from grange.core.errors import DeadlinePassed, GrangeError
from grange.launch.local import kill_controller
from grange.proto import control_pb2
from grange.proto.sockets import holder
from grange.proto.stub import Stubs

ANSWER_LIMIT_S = 2.5  # reading never waits, so one that is well answers at once, also on a busy machine
ASKED = 2  # times: the first may have been late because this program was stopped itself


async def end_if_it_hangs(socket: str, arguments: Sequence[str], dial: Callable[[], Awaitable[Stubs]]) -> str:
    """Kills the controller that holds `socket`, launched with `arguments`, if it hangs; says so, or nothing."""
    pid = holder(socket)
    if not pid or await _answers(dial) or not kill_controller(pid, arguments):
        return ""
    asked_s = ASKED * ANSWER_LIMIT_S
    return f"its controller (pid {pid}) hung: it said nothing for {asked_s:g} s when asked, and was killed"


async def _answers(dial: Callable[[], Awaitable[Stubs]]) -> bool:
    for _ in range(ASKED):
        try:
            stubs = await dial()
            await stubs.control.inspect(control_pb2.InspectRequest(depth=0), ANSWER_LIMIT_S)
        except DeadlinePassed:
            continue
        except GrangeError:  # it refuses, or there is nobody: neither hangs
            pass
        return True
    return False
