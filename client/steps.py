"""One method for each step of the state machine, so that a script reads `await farm.boot()`.

Each is `execute` with the step's name, and so are its arguments and what it raises.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from grange.core.names import Command

from .values import Outcome

Members = str | Sequence[str]  # a selector, or several


class Steps(ABC):
    """What a client that can `execute` has besides."""

    @abstractmethod
    async def execute(
        self,
        command: Command | str,
        members: Members = "",
        *,
        timeout_s: float = 0.0,
        comment: str = "",
        run_type: str = "",
        run_mode: str = "",
        run_events: int = 0,
        run_duration_s: float = 0.0,
    ) -> Outcome:
        """Carries out one step."""

    async def setup(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `setup`, as `execute` does."""
        return await self.execute(Command.SETUP, members, timeout_s=timeout_s)

    async def teardown(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `teardown`, as `execute` does."""
        return await self.execute(Command.TEARDOWN, members, timeout_s=timeout_s)

    async def boot(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `boot`, as `execute` does."""
        return await self.execute(Command.BOOT, members, timeout_s=timeout_s)

    async def load(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `load`, as `execute` does."""
        return await self.execute(Command.LOAD, members, timeout_s=timeout_s)

    async def unload(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `unload`, as `execute` does."""
        return await self.execute(Command.UNLOAD, members, timeout_s=timeout_s)

    async def configure(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `configure`, as `execute` does."""
        return await self.execute(Command.CONFIGURE, members, timeout_s=timeout_s)

    async def unconfigure(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `unconfigure`, as `execute` does."""
        return await self.execute(Command.UNCONFIGURE, members, timeout_s=timeout_s)

    async def start(
        self,
        members: Members = "",
        *,
        timeout_s: float = 0.0,
        comment: str = "",
        run_type: str = "",
        run_mode: str = "",
        run_events: int = 0,
        run_duration_s: float = 0.0,
    ) -> Outcome:
        """Starts a run; what is said of it goes with it."""
        return await self.execute(
            Command.START,
            members,
            timeout_s=timeout_s,
            comment=comment,
            run_type=run_type,
            run_mode=run_mode,
            run_events=run_events,
            run_duration_s=run_duration_s,
        )

    async def stop(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `stop`, as `execute` does."""
        return await self.execute(Command.STOP, members, timeout_s=timeout_s)

    async def pause(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `pause`, as `execute` does."""
        return await self.execute(Command.PAUSE, members, timeout_s=timeout_s)

    async def resume(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `resume`, as `execute` does."""
        return await self.execute(Command.RESUME, members, timeout_s=timeout_s)

    async def shutdown(self, members: Members = "", *, timeout_s: float = 0.0) -> Outcome:
        """Carries out the step `shutdown`, as `execute` does."""
        return await self.execute(Command.SHUTDOWN, members, timeout_s=timeout_s)
