"""What an actor may do, is doing and has done: its state, the order under way, and the answers it remembers.

The rule book is `core/state.py`; this is one process's place in it. Orders come on the link's thread and are carried
out on the main thread, so every method may be called from both. An order is judged when it comes: it is accepted,
refused at once (the state does not allow it, or another one is under way) or recognised by its id: one that is under
way is answered when it ends, one that has ended gets the remembered answer again and is not carried out twice.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grange.core.names import Command, State
from grange.core.state import ROWS, Refusal, move
from grange.proto import actor_pb2, common_pb2
from grange.proto.words import command_from_wire, to_wire

ANSWERS_KEPT = 100
"""How many answers are remembered: an agent repeats its last order or two, never older ones."""

ORDERS = frozenset(ROWS) - {Command.SETUP, Command.TEARDOWN, Command.BOOT, Command.SHUTDOWN}
"""What an agent may order; a process is booted by its hello and shut down by signals."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order as the main thread carries it out; `deadline` in monotonic seconds of this process."""

    command_id: str
    command: Command
    deadline: float
    origin: State
    message: actor_pb2.ActorOrder


class OrderBook:
    """The state, the run and the orders of one actor process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = State.BOOTED
        self._run_number = 0
        self._stopped_run = 0
        self._last_command_id = ""
        self._current: Order | None = None
        self._taken = False
        self._answers: OrderedDict[str, actor_pb2.ActorAnswer] = OrderedDict()

    @property
    def state(self) -> State:
        """Where the actor is now; transitional while an order is carried out."""
        with self._lock:
            return self._state

    @property
    def run_number(self) -> int:
        """The run that the actor is in or is being started in, or was in last."""
        with self._lock:
            if self._current is not None and self._current.command is Command.START:
                return self._current.message.run_number  # a new agent hears of it from nobody else
            return self._run_number

    @property
    def last_command_id(self) -> str:
        """The order that was carried out last, or is being carried out."""
        with self._lock:
            return self._last_command_id

    @property
    def deadline(self) -> float | None:
        """When the order under way must be done, in monotonic seconds; None when there is none."""
        with self._lock:
            return None if self._current is None else self._current.deadline

    def judge(self, message: actor_pb2.ActorOrder) -> actor_pb2.ActorAnswer | None:
        """Take an order in: the answer to give at once, or None when one will come (accepted, or under way already)."""
        with self._lock:
            if self._current is not None and self._current.command_id == message.command_id:
                return None
            if message.command_id in self._answers:
                return self._answers[message.command_id]
            verdict = self._verdict(message)
            if isinstance(verdict, str):
                return self._remember(
                    actor_pb2.ActorAnswer(
                        command_id=message.command_id, ok=False, reason=verdict, state=to_wire(self._state)
                    )
                )
            command, via = verdict
            deadline = time.monotonic() + message.remaining_s
            self._current = Order(message.command_id, command, deadline, self._state, message)
            self._taken = False
            self._state = via
            self._last_command_id = message.command_id
            return None

    def take(self) -> Order | None:
        """The accepted order that the main thread has not begun yet, once."""
        with self._lock:
            if self._current is None or self._taken:
                return None
            self._taken = True
            return self._current

    def finish(
        self,
        order: Order,
        *,
        state: State,
        ok: bool,
        reason: str,
        counters: Mapping[str, int],
        files: Iterable[common_pb2.OutputFile] = (),
    ) -> actor_pb2.ActorAnswer:
        """End the order under way in `state`; the answer to send, which is remembered."""
        with self._lock:
            self._state = state
            self._current = None
            if ok and order.command is Command.START:
                self._run_number = order.message.run_number
            if ok and order.command is Command.STOP:
                self._stopped_run = self._run_number
            return self._remember(
                actor_pb2.ActorAnswer(
                    command_id=order.command_id,
                    ok=ok,
                    reason=reason,
                    state=to_wire(state),
                    counters=counters,
                    files=files,
                )
            )

    def _verdict(self, message: actor_pb2.ActorOrder) -> tuple[Command, State] | str:
        """The command and the transitional state it leads to, or why the order is refused."""
        command = command_from_wire(message.command)
        if command is None:
            return f"order {message.command} is not in version 1 of the contract: agent and actor do not fit together"
        if not message.command_id:
            return f"{command} has no command id, so it could not be told from a repetition"
        if self._current is not None:
            return f"{command} refused: {self._current.command} is under way. Wait for its answer"
        if command not in ORDERS:
            return f"{command} is not an order of the actor contract: an actor is shut down by a signal"
        via = move(self._state, command)
        if isinstance(via, Refusal):
            return via.reason
        return self._wrong_run(command, message.run_number) or (command, via)

    def _wrong_run(self, command: Command, run_number: int) -> str:
        """Why the order's run number cannot be; empty when it can."""
        if command is Command.START and run_number <= 0:
            return "start refused: it names no run number"
        if command is Command.START and run_number <= self._stopped_run:
            return f"start of run {run_number} refused: run {self._stopped_run} has been stopped already"
        if command is Command.STOP and run_number not in (0, self._run_number):
            return f"stop of run {run_number} refused: the run under way is {self._run_number}"
        return ""

    def _remember(self, answer: actor_pb2.ActorAnswer) -> actor_pb2.ActorAnswer:
        if answer.command_id:
            self._answers[answer.command_id] = answer
            while len(self._answers) > ANSWERS_KEPT:
                self._answers.popitem(last=False)
        return answer
