"""A controller that holds its farm and does not serve yet is told from one that is not there."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from grange.client import Farm
from grange.core.errors import DeadlinePassed, Unavailable
from grange.core.home import Home
from grange.proto import control_pb2
from grange.proto.stub import connect

HOLDS = "import sys; from grange.proto.sockets import SocketLock; SocketLock(sys.argv[1]); print(flush=True); input()"


def test_of_a_controller_that_waits_it_is_said_that_it_does(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    Path(home.farm_log).touch()  # so that there is a farm
    argv = [sys.executable, "-P", "-c", HOLDS, home.farm_socket]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        waiting.stdout.readline()
        with Farm(home.root) as farm, pytest.raises(Unavailable) as raised:
            farm.status()
        waiting.communicate("\n", timeout=20.0)
    assert str(raised.value) == (
        f"the controller at {home.farm_address} (process {waiting.pid}) does not serve yet. "
        "It is starting, or waits for its database: its log says so"
    )


async def test_of_a_controller_that_is_slow_to_greet_it_is_not_said_that_there_is_none(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    with socket.socket(socket.AF_UNIX) as silent:  # as one on a busy machine: it takes the connection, and says nothing
        silent.bind(home.farm_socket)
        silent.listen()
        gate = await asyncio.start_unix_server(let_in, f"{home.farm_socket}.login")
        async with gate, await connect(home.farm_address) as stubs:
            with pytest.raises(DeadlinePassed):
                await stubs.control.inspect(control_pb2.InspectRequest(), 0.5)


async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b'{"token": "t", "life_s": 3600, "person": "ann", "access": "expert"}\n')
    writer.close()


def test_a_lock_that_a_crash_has_left_behind_is_no_controller(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    Path(home.farm_log).touch()  # so that there is a farm
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=20.0)
    Path(f"{home.farm_socket}.lock").write_text(f"{gone.pid}\n")
    with Farm(home.root) as farm, pytest.raises(Unavailable) as raised:
        farm.status()
    assert raised.value.reason == f"no controller answers at {home.farm_address}"
