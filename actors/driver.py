"""The life of an actor process: the main thread carries out orders and handles data, the link's thread talks.

Two threads, and a clear line between them. The main thread runs all of the author's code: it takes an accepted order,
calls the methods that belong to it, and in between calls `process_block` while data are taken. The link's thread
answers the agent, judges orders as they come (`orders.py`) and beats; while the main thread has nothing to do, orders
are judged there (`Link.wait`). What a hang is follows from that: while an order is under way its deadline rules,
otherwise the main thread must come round within the actor's `hang_after_s`, or be waiting; beyond either, no heartbeat
is sent, and the agent sees silence. Code that never lets go of the interpreter looks the same.

SIGTERM ends the process with exit code 0: an order under way is broken off, a block is finished first. SIGINT is
ignored, because Ctrl-C in a terminal reaches every process started from it. An exception in `process_block` ends the
process with exit code 1 and the reason as its last line: a data path that fails must not look well.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType

from grange.core.names import Command, Severity, State
from grange.core.plan import DataLink
from grange.core.state import completed
from grange.proto import actor_pb2, common_pb2
from grange.proto.words import to_wire

from .actor import Actor, Note
from .errors import ActorError
from .link import Link
from .orders import Order, OrderBook
from .parameters import from_struct

CONTRACT_VERSION = 1
FLUSH_S = 0.5
"""How long an ending process waits for the agent to take its last words."""
MAX_STATUS_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 2000
"""Of a note or a reason: it is for people, and a text that goes wrong must not break the link."""
_MAX_TURN_S = 0.2
_REST_S = 10.0
"""A main thread that waits for an order, in an actor that wants no turns, looks about so often."""
_BELL_BYTES = 4096
_FAILED = 1


class _Terminated(BaseException):
    """SIGTERM came while an order was under way."""


class Driver:
    """Drives one actor until SIGTERM; to be made and run on the main thread."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._book = OrderBook()
        self._bell, self._bell_push = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_push.setblocking(False)
        self._link = Link(
            actor.surroundings.socket,
            hello=self._hello,
            heartbeat=self._heartbeat,
            on_order=self._on_order,
            heartbeat_interval_s=actor.surroundings.heartbeat_interval_s,
        )
        self._terminating = False
        self._in_order = False
        self._turned_at = time.monotonic()
        self._waiting = False
        self._wants_turns = type(actor).turn is not Actor.turn
        actor.post_note = self._post_note

    def run(self) -> int:
        """The exit code, once SIGTERM came or `process_block` failed."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.set_wakeup_fd(self._bell_push.fileno(), warn_on_full_buffer=False)
        self._link.start()
        code = 0
        try:
            while not self._terminating:
                self._turn()
        except _Terminated:
            pass
        except Exception as error:
            code = _FAILED
            self._fail(error)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
            self._close_actor()
            self._link.close(FLUSH_S)
            self._bell.close()
            self._bell_push.close()
        return code

    def _turn(self) -> None:
        self._turned_at = time.monotonic()
        order = self._book.take()
        if order is not None:
            self._carry_out(order)
            return
        self._actor.turn()
        if not self._wants_block() or self._actor.process_block() is False:
            self._wait()

    def _wants_block(self) -> bool:
        state = self._book.state
        return state is State.TAKING or (state is State.PAUSED and bool(self._actor.inputs))

    def _wait(self) -> None:
        """Sleep until an order, a signal, data or the actor's own wish ends the wait."""
        actor = self._actor
        may_rest = not (self._wants_turns or actor.wake_on or self._wants_block())
        timeout_s = _REST_S if may_rest else min(actor.idle_s, _MAX_TURN_S)
        self._waiting = True
        self._link.wait((self._bell, *actor.wake_on), timeout_s)
        self._turned_at = time.monotonic()
        self._waiting = False
        try:
            self._bell.recv(_BELL_BYTES)
        except BlockingIOError:
            pass

    def _carry_out(self, order: Order) -> None:
        actor = self._actor
        actor.order_deadline = order.deadline
        status = actor.status
        state, ok, reason = order.origin, False, ""
        try:
            self._in_order = True
            if self._terminating:
                raise _Terminated
            self._call(order)
            state, ok = completed(self._book.state), True
            reason = actor.undrained_reason if order.command is Command.STOP else ""
        except ActorError as error:
            state, reason = error.state or order.origin, error.sentence()
        except Exception as error:
            actor.log.exception("%s failed", order.command)
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        finally:
            self._in_order = False
            actor.order_deadline = None
        if not ok:
            actor.log.error("%s failed: %s", order.command, reason)
        files = _wire_files(actor) if order.command is Command.STOP and ok else ()
        answer = self._book.finish(
            order,
            state=state,
            ok=ok,
            reason=reason[:MAX_TEXT_CHARACTERS],
            counters=_whole_numbers(actor.counters),
            files=files,
        )
        self._link.answer(answer)
        if actor.status != status:
            self._link.beat()  # the answer says all but this

    def _call(self, order: Order) -> None:
        """The author's methods that belong to an order."""
        actor, message = self._actor, order.message
        actor.log.debug("%s", order.command)
        match order.command:
            case Command.LOAD:
                actor.take_parameters(from_struct(message.parameters))
                actor.process_config()
            case Command.CONFIGURE:
                if message.parameters.fields:
                    actor.take_parameters(from_struct(message.parameters))
                actor.inputs = _data_links(message.inputs)
                actor.outputs = _data_links(message.outputs)
                actor.process_register()
                actor.process_initialise()
            case Command.START:
                actor.run_number = message.run_number
                actor.counters.clear()
                actor.files.clear()
                actor.undrained_reason = ""
                actor.process_start()
            case Command.PAUSE:
                actor.process_pause()
            case Command.RESUME:
                actor.process_resume()
            case Command.STOP:
                actor.process_stop()
            case Command.UNCONFIGURE:
                actor.process_reset()
            case Command.UNLOAD:
                actor.process_unload()

    def _fail(self, error: Exception) -> None:
        """Last words of a process whose data path failed."""
        reason = error.sentence() if isinstance(error, ActorError) else f"{type(error).__name__}: {error}"
        self._actor.log.error("process_block failed", exc_info=error)
        self._actor.note(Severity.ERROR, "block-failed", f"process_block failed, so the process ends: {reason}")
        print(f"{self._actor.member}: process_block failed: {reason}", file=sys.stderr, flush=True)

    def _close_actor(self) -> None:
        try:
            self._actor.close()
        except Exception:
            self._actor.log.exception("close failed")

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._terminating = True
        if self._in_order:
            raise _Terminated

    def _on_order(self, message: actor_pb2.ActorOrder) -> None:
        answer = self._book.judge(message)
        if answer is not None:
            self._link.answer(answer)
        elif threading.current_thread() is not threading.main_thread():
            self._ring()

    def _ring(self) -> None:
        try:
            self._bell_push.send(b"\0")
        except OSError:
            pass  # it rings already, or the process is ending

    def _hello(self) -> actor_pb2.ActorHello:
        kind = type(self._actor)
        return actor_pb2.ActorHello(
            contract_version=CONTRACT_VERSION,
            nonce=self._actor.surroundings.nonce,
            pid=os.getpid(),
            actor_class=f"{kind.__module__}:{kind.__qualname__}",
            state=to_wire(self._book.state),
            last_command_id=self._book.last_command_id,
            run_number=self._book.run_number,
        )

    def _heartbeat(self) -> actor_pb2.ActorHeartbeat | None:
        """A beat, unless the main thread has not come round in time: then silence is the truth."""
        deadline = self._book.deadline
        alive_until = max(deadline or 0.0, self._turned_at + self._actor.hang_after_s)
        if time.monotonic() > alive_until and not self._waiting:
            return None
        return actor_pb2.ActorHeartbeat(
            state=to_wire(self._book.state),
            status=self._actor.status[:MAX_STATUS_CHARACTERS],
            counters=_whole_numbers(self._actor.counters),
        )

    def _post_note(self, note: Note) -> None:
        self._link.note(
            actor_pb2.ActorNote(
                severity=to_wire(note.severity),
                code=note.code[:MAX_STATUS_CHARACTERS],
                text=note.text[:MAX_TEXT_CHARACTERS],
                what_to_do=note.what_to_do[:MAX_TEXT_CHARACTERS],
            )
        )


def _whole_numbers(counters: dict[str, int]) -> dict[str, int]:
    """A copy, made in one step of the interpreter, so that the main thread may go on counting."""
    return {name: int(value) for name, value in counters.copy().items()}


def _data_links(links: Iterable[actor_pb2.ActorDataLink]) -> tuple[DataLink, ...]:
    return tuple(DataLink(link.role, tuple(link.peers), link.feedback) for link in links)


def _wire_files(actor: Actor) -> list[common_pb2.OutputFile]:
    return [
        common_pb2.OutputFile(member=actor.member, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
        for file in actor.files
    ]
