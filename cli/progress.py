"""Progress of a command: bars per sub-farm on a terminal, a line for each change elsewhere. Always on standard error.

What is shown of each sub-farm is how many of its members are done, its state and the member waited for longest, by
name: at three in the morning that name is what matters.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from grange.client import Progress
from grange.client.values import MemberStatus
from grange.core.names import Command, Health, State

from .shell import say
from .text import console

# Of core/state.py, whose machine takes as long to load as all the rest of a command; a test compares.
LEADS_TO: Mapping[str, State] = {
    Command.SETUP: State.INITIAL,
    Command.BOOT: State.BOOTED,
    Command.LOAD: State.LOADED,
    Command.CONFIGURE: State.CONFIGURED,
    Command.START: State.TAKING,
    Command.PAUSE: State.PAUSED,
    Command.RESUME: State.TAKING,
    Command.STOP: State.CONFIGURED,
    Command.UNCONFIGURE: State.LOADED,
    Command.UNLOAD: State.BOOTED,
    Command.SHUTDOWN: State.INITIAL,
    Command.TEARDOWN: State.ABSENT,
}
_BAR_COLUMNS = 12  # so that a terminal of 80 has room for the member that is waited for


class Display(Protocol):
    """Shows progress between entering and leaving it."""

    def show(self, progress: Progress) -> None: ...
    def note(self, sentence: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NoDisplay:
    """Shows no progress: for --json, where the outcome is all."""

    def show(self, progress: Progress) -> None: ...

    def note(self, sentence: str) -> None:
        say(sentence)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines(NoDisplay):
    """One line whenever the state of the whole or of a sub-farm changes; bounded by the number of those."""

    def __init__(self, title: str, *, has_steps: bool) -> None:
        self._title = title
        self._has_steps = has_steps
        self._shown: dict[str, str] = {}

    def show(self, progress: Progress) -> None:
        if not self._shown:
            attached = " (it was under way already)" if progress.attached else ""
            steps = _what_is_done(progress) if self._has_steps else ""
            self._say("", f"accepted as {progress.command_id}{attached}{f': {steps}' if steps else ''}")
            return
        for member in progress.members:
            self._say(member.path, f"{member.path} is {member.state}")
        if progress.busy is not None:
            busy = progress.busy
            waiting = f", waiting for {busy.slowest}" if busy.slowest else ""
            self._say(" state", str(progress.state), f"{progress.state}: {busy.done} of {busy.total} done{waiting}")

    def _say(self, key: str, what: str, sentence: str = "") -> None:
        """Says it unless it was the last thing said under that key."""
        if self._shown.get(key) != what:
            self._shown[key] = what
            say(f"{self._title}: {sentence or what}")


class BarDisplay:
    """A bar for the whole and one for each sub-farm (or whatever the children of the commanded member are)."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR_COLUMNS),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[slowest]}", style="yellow"),
            console=console(stderr=True),
            transient=True,  # the outcome's line stays, and says it all
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, progress: Progress) -> None:
        busy = progress.busy
        if busy is not None:
            self._update("", self._title, busy.done, busy.total, str(progress.state), busy.slowest)
        for member in progress.members:
            done, total, slowest = *_arrived(member, progress.steps), ""
            if member.busy is not None:
                done, total, slowest = member.busy.done, member.busy.total, member.busy.slowest
            self._update(member.path, f"  {member.path}", done, total, str(member.state), slowest)

    def note(self, sentence: str) -> None:
        self._bars.console.print(sentence)  # above the bars

    def _update(self, path: str, description: str, done: int, total: int, state: str, slowest: str) -> None:
        waiting = f"waiting for {slowest}" if slowest else ""
        if path not in self._tasks:
            self._tasks[path] = self._bars.add_task(description, total=total or 1, state=state, slowest=waiting)
        self._bars.update(
            self._tasks[path], total=total or 1, completed=done if total else 0, state=state, slowest=waiting
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def _what_is_done(progress: Progress) -> str:
    """The steps that will be taken; nothing is claimed of members that cannot be heard, nor of what was under way."""
    known = ", ".join(progress.steps)
    if progress.unheard:
        who = ", ".join(progress.unheard)
        return f"{known}{'; ' if known else ''}what {who} need{'' if progress.unheard[1:] else 's'} is not known yet"
    return known or ("" if progress.attached else "nothing to do")


def _arrived(member: MemberStatus, steps: tuple[str, ...]) -> tuple[int, int]:
    """How many processes are done, and of how many: where the last step leads or, done with members, well again."""
    target = LEADS_TO.get(steps[-1]) if steps else None
    done = (
        count.processes
        for count in member.counts
        if (count.state is target if target is not None else count.health is Health.OK)
    )
    return sum(done), sum(count.processes for count in member.counts)


def choose_display(title: str, *, has_steps: bool) -> Display:
    """Bars where somebody can see them move, lines elsewhere; what is done with members has no steps of its own."""
    return BarDisplay(title) if console(stderr=True).is_terminal else Lines(title, has_steps=has_steps)
