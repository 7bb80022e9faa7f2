"""A launch that goes wrong is told to who waits for the program, whatever it is that goes wrong."""

import pytest

from grange.controllers.launching import launched
from grange.launch.launcher import LaunchError


async def breaks(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, []),
        (
            LaunchError("sf01 could not be started: python: Permission denied"),
            ["sf01 could not be started: python: Permission denied"],
        ),
        (OSError(28, "No space left on device", "/home/agata/x"), ["/home/agata/x: No space left on device"]),
        (
            NameError("no such name"),
            ["NameError: no such name; this is a bug: please report it, with this controller's log"],
        ),
    ],
)
async def test_who_waits_for_a_program_hears_why_it_cannot_be_launched(
    error: Exception | None, told: list[str]
) -> None:
    heard: list[str] = []
    await launched(breaks(error), heard.append)
    assert heard == told
