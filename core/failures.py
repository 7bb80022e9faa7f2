"""What went wrong with a process, in one sentence that a shifter can act upon.

A sentence names the process and its node, says what happened, with exit code or signal, and ends with the last line of
the process's output, because that is where most programs say why.
"""

import signal
from collections.abc import Mapping
from typing import Any

from .durations import duration_words
from .names import Command, State
from .process_events import FailureKind
from .reports import Failure

LAST_LINE_CHARACTERS_MAX = 160  # of the output, within a sentence


def failure(kind: FailureKind, reason: str, last_lines: tuple[str, ...] = ()) -> Failure:
    return Failure(kind.value, reason, last_lines)


def who(path: str) -> str:
    """A process for people: `psa-3 on hlt041`."""
    node, slot = path.split("/")[-2:]
    return f"{slot} on {node}"


def describe_exit(exit_status: Mapping[str, Any]) -> str:
    """How a process ended, for people: `exited with code 2`, `was killed by SIGSEGV`."""
    if "code" in exit_status:
        return f"exited with code {exit_status['code']}"
    if "signal" in exit_status:
        try:
            name = signal.Signals(exit_status["signal"]).name
        except ValueError:
            name = f"signal {exit_status['signal']}"
        return f"was killed by {name}"
    if "failed" in exit_status:
        return f"was never started: {exit_status['failed']}"
    return "ended"  # nobody knows how


def death(
    path: str, exit_status: Mapping[str, Any], known: State, command: Command | None, last_lines: tuple[str, ...]
) -> Failure:
    """The end of a process that nobody asked for. `known` is its last state, `command` what it was carrying out."""
    if "failed" in exit_status:
        return failure(FailureKind.NEVER_STARTED, f"{who(path)} {describe_exit(exit_status)}")
    if known is State.BOOTING:
        kind, when = FailureKind.DIED_STARTING, "before it was ready"
    else:
        kind, when = FailureKind.DIED_RUNNING, f"while it was {known}" if command is None else f"during {command}"
    unknown = exit_status.get("unknown")
    why = f"; how is not known, because {unknown}" if unknown else ""
    return failure(kind, f"{who(path)} {describe_exit(exit_status)} {when}{why}{quote(last_lines)}", last_lines)


def not_ended(path: str, pid: int, took_s: float, no_keeper: str, last_lines: tuple[str, ...]) -> Failure:
    """A process that the whole termination ladder, `took_s` long, has not ended; `no_keeper` says so if that is why."""
    what = f"has not ended {duration_words(took_s)} after SIGTERM, nor after SIGKILL: the kernel holds it (pid {pid})"
    if no_keeper:
        what = f"was not ended within {duration_words(took_s)}: {no_keeper}"
    return failure(FailureKind.TOO_SLOW, f"{who(path)} {what}{quote(last_lines)}", last_lines)


def too_slow(path: str, step: str, limit_s: float, besides: str, last_lines: tuple[str, ...]) -> Failure:
    """A step that took longer than it may; `besides` is what else is known that may be why."""
    what = f"was too slow: {step} was not done within {duration_words(limit_s)}{besides}"
    return failure(FailureKind.TOO_SLOW, f"{who(path)} {what}{quote(last_lines)}", last_lines)


def hung(path: str, what: str, last_lines: tuple[str, ...]) -> Failure:
    return failure(FailureKind.HUNG, f"{who(path)} {what}{quote(last_lines)}", last_lines)


def refused(path: str, reason: str) -> Failure:
    return failure(FailureKind.REFUSED, f"{who(path)}: {reason}")


def unsendable(path: str, command: Command, why: str) -> Failure:
    """An order that no message can carry."""
    what = f"cannot be told to {command}: a value of its configuration cannot be sent ({why})"
    remedy = "Put it right, import that, and repeat the command"
    return failure(FailureKind.REFUSED, f"{who(path)} {what}. {remedy}")


def keeper_silent(path: str, keeper_pid: int) -> str:
    """Why nothing is known of a process while its node's keeper is stopped or hangs. `keeper_pid` is 0 when unknown."""
    node, slot = path.split("/")[-2:]
    if keeper_pid:
        what_to_do = f"kill -CONT {keeper_pid} if it is stopped, or kill -9 {keeper_pid}: the agent starts a new one"
    else:
        what_to_do = "the agent tries to start one; keeper.log in the node's directory says more"
    pid = f" (pid {keeper_pid})" if keeper_pid else ""
    return f"the keeper of {node} does not answer{pid}, so {slot} can be neither seen nor ended; {what_to_do}"


def quote(last_lines: tuple[str, ...]) -> str:
    """The last line of the output, as the end of a sentence; nothing when there is none."""
    if not last_lines:
        return ""
    line = last_lines[-1]
    if len(line) > LAST_LINE_CHARACTERS_MAX:
        line = line[: LAST_LINE_CHARACTERS_MAX - 1] + "…"
    return f' (last line: "{line}")'
