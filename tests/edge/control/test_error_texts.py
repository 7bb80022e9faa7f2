"""The catalogue of errors: what a person does, and the exact text, exit code and status that come of it.

Each text says who, what, in which state, why, and what to try. Commands are given to a real farm controller whose farm
is absent, to one that is stuck or failing (the small one of `conftest.py`), to a home without a controller, and to
nowhere; the API is called by plain gRPC. Mistakes in a configuration have their catalogue in
tests/core/test_configuration.py, refusals in other states in tests/spec/refusals.txt, and what processes do to
themselves in tests/edge/node. The other test_error_texts_*.py have what seldom happens, and
tests/packaging/test_error_catalogue.py asks the sources whether a text is missing here.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner, Result

from grange.cli.exits import Exit
from grange.cli.main import app
from grange.client.person import user_name
from grange.core import errors
from grange.core.home import Home
from grange.core.names import Command
from grange.proto import common_pb2, configuration_pb2, control_pb2, runs_pb2, security_pb2
from grange.proto.login import log_in
from grange.proto.stub import connect

LIMIT_S = 60.0
CONFIGURATION = {
    "farm": {"name": "first"},
    "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["worker"]}},
    "roles": {"worker": {"command": ["sleep", "60"], "ready": "settle"}},
}
TRY = "Try 'grange {} -h' for help.\n\nError: "


def grange(home: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--home", home, *arguments])


def program(home: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command as a program of its own, so that what it leaves in the background is not this process's child."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli", "--home", home, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def farm() -> Iterator[Home]:
    """A real farm controller with a configuration; its farm is absent and stays so."""
    home = Home(tempfile.mkdtemp(prefix="gr"))
    file = Path(home.root) / "farm.json"
    file.write_text(json.dumps(CONFIGURATION))
    assert grange(home.root, "config", "import", str(file)).exit_code == 0
    up = program(home.root, "up", "--detach")
    assert up.returncode == 0, up.stderr
    yield home
    assert program(home.root, "down").returncode == 0
    shutil.rmtree(home.root)


# ---- a farm that is absent ------------------------------------------------------------------------------------------

ABSENT = {
    "boot": (3, "boot is not possible: the farm is absent, and would have to be initial. Possible now: setup"),
    "stop sf01": (
        3,
        "stop is not possible: sf01 is absent, and would have to be taking or paused. Possible now: setup",
    ),
    "teardown": (3, "teardown is not possible: the farm is absent, and would have to be initial. Possible now: setup"),
    "setup sf01/n1/worker-1": (
        3,
        "sf01/n1/worker-1 is a process: setup, teardown and absent are for its node and those above. "
        "Possible now: go TARGET",
    ),
    "go booted --comment x": (
        3,
        "a comment is kept with a run, and this command neither starts nor ends one. Possible now: setup",
    ),
    "go runing": (2, "there is no target 'runing'; did you mean \"running\"?"),
    "go running --type holidays": (2, "type: 'holidays' is neither test nor production"),
    "status sf09": (2, "there is no member 'sf09'. Nearest: sf01, sf01/n1"),
    "story sf09": (2, "there is no member 'sf09'. Nearest: sf01, sf01/n1"),
    "watch sf09": (2, "there is no member 'sf09'. Nearest: sf01, sf01/n1"),
    "boot sf01/n1/worker-9": (2, "there is no member 'sf01/n1/worker-9'. Nearest: sf01/n1/worker-1, sf01/n1"),
    "logs sf01/n1/worker-1": (
        3,
        "no output of sf01/n1/worker-1 can be asked for: its sub-farm is not set up. Use: grange setup",
    ),
    "logs sf01": (
        2,
        "sf01: no program of this name was ever started in this home: {home}/sf/sf01/controller.log does not exist. "
        "Look with: grange status",
    ),
    "logs sf0?": (
        2,
        "sf0?: no process is selected, and only processes are shown together. "
        "Select processes, such as sf01/@psa or 'sf01/hlt017/*', or name one program",
    ),
    "logs sf01 --keeper": (
        2,
        "--keeper: sf01 is no node: only a node has a keeper. Such as: grange logs sf01/hlt017 --keeper",
    ),
    "cancel": (3, "nothing is under way. Possible now: setup"),
    "cancel c-9": (
        2,
        "there is no command 'c-9'. Outcomes are kept for a day; what is under way says: grange status",
    ),
    "restart sf01": (
        3,
        "there is nothing to restart: first is not set up; start it with: grange go running",
    ),
    "recover": (3, "there is nothing to recover: first is not set up; start it with: grange go running"),
    "exclude /": (3, "the farm as a whole cannot be excluded; name sub-farms, nodes or processes"),
    "exclude sf01/n1/worker-1 --gone": (
        3,
        "sf01/n1/worker-1 is a process: --gone is for a node or a sub-farm that will not come back",
    ),
    "exclude sf09": (2, "there is no member 'sf09'. Nearest: sf01, sf01/n1"),
    "include sf01 @wrker": (2, "there is no member '@wrker'. Nearest: @worker"),
    "restart sf*/n[9]": (2, "there is no member 'sf*/n[9]'. Nearest: sf01/n1"),
    "runs show 7": (2, "there is no run '7'. There has been none yet"),
    "use 42d": (
        2,
        "there is no revision '42d'. Of a hash give 4 digits or more; grange config log lists the revisions",
    ),
    "use may": (2, "there is no revision 'may'. Known tags: current; grange config log lists the revisions"),
    "config export may": (2, "there is no revision 'may'. Known tags: current; grange config log lists the revisions"),
    "config import /nowhere/farm.toml": (
        2,
        "/nowhere/farm.toml: cannot be read: No such file or directory. "
        "Name a configuration in JSON, or in TOML when its name ends in .toml",
    ),
    "config export -o /nowhere/farm.json": (
        2,
        "/nowhere/farm.json: cannot be written: No such file or directory. Name another file with -o",
    ),
    "up": (
        3,
        "{home}/farm.sock is held by process {pid}. A farm controller holds this farm; look with: grange status, "
        "or end it with: grange down",
    ),
    "up --detach": (
        3,
        "{home}/farm.sock is held by process {pid}. It is up already; look with: grange status",
    ),
}


@pytest.mark.parametrize("words", ABSENT)
def test_what_an_absent_farm_says_to_a_command(farm: Home, words: str) -> None:
    code, text = ABSENT[words]
    pid = Path(f"{farm.farm_socket}.lock").read_text().strip()
    result = program(farm.root, "up") if words == "up" else None
    said = (result.returncode, result.stdout, result.stderr) if result is not None else spoken(farm.root, words)
    assert said == (code, "", f"grange: {text.format(home=farm.root, pid=pid)}\n")


def spoken(home: str, words: str) -> tuple[int, str, str]:
    result = grange(home, *words.split())
    return result.exit_code, result.stdout, result.stderr


def test_what_is_said_about_members_that_are_out(farm: Home) -> None:
    out = f"excluded by {user_name()}: bad disk"
    assert grange(farm.root, "exclude", "sf01/n1", "--comment", "bad disk").exit_code == 0
    refusals = {
        "exclude sf01/n1": f"sf01/n1 is out already: {out}",
        "include @worker": f"sf01/n1/worker-1 is out with sf01/n1, {out}; include that: grange include sf01/n1",
        "restart sf01/n1": f"sf01/n1 is out, {out}; include it first: grange include sf01/n1",
        "recover @worker": f"sf01/n1/worker-1 is out, {out}; include it first: grange include sf01/n1",
    }
    said = {words: spoken(farm.root, words) for words in refusals}
    assert grange(farm.root, "include", "sf01/n1").exit_code == 0
    assert said == {words: (3, "", f"grange: {text}\n") for words, text in refusals.items()}


def test_what_answers_is_not_given_up_for_good(live: Any) -> None:
    for member in ("sf01/n1", "sf01"):
        text = f"{member} answers, so it is not gone for good; to take it out: grange exclude {member}"
        assert spoken(live.home.root, f"exclude {member} --gone") == (3, "", f"grange: {text}\n")


def test_an_outcome_tells_the_state_of_the_one_member_that_was_meant_or_else_of_the_farm(farm: Home) -> None:
    told = [grange(farm.root, "shutdown", *members).stdout for members in ((), ("/",), ("sf*",), ("sf01", "/"))]
    assert [re.sub(r"in .*? s;", "in time;", text) for text in told] == [
        "shutdown: done in time; the farm is absent\n",
        "shutdown /: done in time; the farm is absent\n",
        "shutdown sf*: done in time; sf01 is absent\n",
        "shutdown sf01 /: done in time; the farm is absent\n",
    ]


def test_every_problem_of_a_configuration_file_is_told_with_its_place(farm: Home, tmp_path: Path) -> None:
    file = tmp_path / "farm.json"
    file.write_text('{"fram": {}, "roles": {"psa": {"command": "psa", "cout": 3}}}')
    assert spoken(farm.root, f"config import {file}") == (
        2,
        "",
        f"grange: {file}: 5 problems; nothing was stored\n"
        '  fram: unknown key; did you mean "farm"?\n'
        "  farm: this key is missing\n"
        "  sub_farms: this key is missing\n"
        "  roles.psa.command: a list is expected\n"
        '  roles.psa.cout: unknown key; did you mean "count"?\n',
    )
    file.write_text('{"farm": ')
    text = f"grange: {file}: 1 problem; nothing was stored\n  line 1, column 10: this is not JSON: expecting value\n"
    assert spoken(farm.root, f"config import {file}") == (2, "", text)
    file.write_bytes(b'{"farm": "\xff"}')
    text = f"{file}: is not UTF-8 text (byte 10). Name a configuration in JSON, or in TOML when its name ends in .toml"
    assert spoken(farm.root, f"config import {file}") == (2, "", f"grange: {text}\n")


# ---- a farm that is busy, fails or goes away ------------------------------------------------------------------------


def test_a_failed_command_says_what_was_tried_how_long_why_and_where_the_farm_is(running) -> None:
    running.farm.fails_at = Command.BOOT
    code, _, stderr = spoken(running.home.root, "go running")
    text = "go running: failed after 0.25 s: psa-2 on n1 exited with code 2. Try: grange shutdown; the farm is initial"
    assert (code, stderr.splitlines()[-1]) == (1, text)


def test_a_controller_that_goes_away_is_told_without_a_word_of_grpc(running) -> None:
    running.farm.stuck_at = Command.SETUP
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "grange.cli", "watch", "--json"],
        env=os.environ | {"GRANGE_HOME": running.home.root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        running.stop_server()
        _, stderr = watching.communicate(timeout=LIMIT_S)
    address = f"unix:{running.home.farm_socket}"
    assert watching.returncode == 4
    assert re.fullmatch(
        rf"grange: the (call to the controller at {address} ended: .*|controller at {address} ended the (call|watch))"
        r"\. Look with: grange status.*\n",
        stderr,
    )
    assert not re.search(r"StatusCode|GOAWAY|UNAVAILABLE|recvmsg|ocket closed", stderr)


async def test_a_controller_that_takes_the_call_and_says_no_more_is_told_by_its_address(running) -> None:
    following = control_pb2.ReadOutputRequest(path="sf01/n1/psa-1", follow=True)
    async with await connect(running.home.farm_address) as stubs:
        with pytest.raises(errors.DeadlinePassed) as caught:
            async for _ in stubs.control.read_output(following, 0.3):
                pass
    assert str(caught.value) == (
        f"the controller at {running.home.farm_address} (process {os.getpid()}) did not answer in time. "
        "It may be stopped or overloaded; its log is shown by: grange logs; "
        f"if it hangs, end it with: kill -9 {os.getpid()}; then: grange up"
    )


# ---- no controller, no farm -----------------------------------------------------------------------------------------

NO_FARM = "Name its directory with --home or GRANGE_HOME, or make a farm there with: grange config import FILE"


def test_a_home_whose_controller_is_down_is_told_with_how_to_start_it(home: Home) -> None:
    Path(home.database).touch()
    alone = ("status", "go running", "cancel", "down", "logs sf01/n1/psa-1", "recover")
    for words in (*alone, "exclude sf01", "include sf01", "restart @psa"):
        text = f"grange: no controller answers at unix:{home.farm_socket}. Start one with: grange up\n"
        assert spoken(home.root, words) == (4, "", text)


@pytest.mark.parametrize(
    "words",
    [
        *("status", "show", "go running", "logs", "runs", "config log", "use may", "down", "cancel", "recover"),
        *("exclude sf01", "include sf01", "restart @psa"),
    ],
)
def test_a_home_without_a_farm_is_told_with_how_to_name_another(home: Home, words: str) -> None:
    text = f"grange: home: there is no farm in {home.root}. {NO_FARM}\n"
    assert spoken(home.root, words) == (2, "", text)
    text = f"grange: home: there is no farm in {home.root}/x: there is no such directory. {NO_FARM}\n"
    assert spoken(f"{home.root}/x", words) == (2, "", text)
    Path(home.root, "y").touch()
    text = f"grange: home: there is no farm in {home.root}/y: that is a file. {NO_FARM}\n"
    assert spoken(f"{home.root}/y", words) == (2, "", text)


def test_a_home_that_cannot_be_made_is_told_with_the_remedy(home: Home) -> None:
    Path(home.root, "file").touch()
    text = f"grange: home: {home.root}/file cannot be made: File exists. Choose a --home of your own\n"
    done = program(f"{home.root}/file", "up")
    assert (done.returncode, done.stderr) == (2, text)
    text = f"grange: {home.root}/file: File exists. Mend that and repeat the command; --debug shows where it came up\n"
    done = program(f"{home.root}/file", "demo")
    assert (done.returncode, done.stderr) == (1, text)


def test_a_file_that_is_no_database_is_told_with_the_remedy(home: Home) -> None:
    Path(home.database).write_text("somebody's data, and much longer than a header\n" * 99)
    text = (
        f"grange: database sqlite:///{home.database} is damaged: file is not a database. "
        "Put its backup in its place, or name another farm with --home\n"
    )
    for words in ("runs", "config log", "config import /dev/null"):
        assert spoken(home.root, words)[::2] == (1, text)
    done = program(home.root, "up")
    assert (done.returncode, done.stderr) == (1, text)


def test_a_farm_without_a_configuration_is_told_with_how_to_import_one(home: Home, tmp_path: Path) -> None:
    up = program(home.root, "up", "--detach")
    assert up.returncode == 0, up.stderr
    try:
        text = "grange: there is no configuration yet; import one with: grange config import FILE\n"
        assert spoken(home.root, "go running") == (3, "", text)
        text = "grange: revision: there is no configuration yet. Import one first: grange config import FILE\n"
        for words in ("config show", "config export", "use may"):
            assert spoken(home.root, words) == (2, "", text)
    finally:
        assert program(home.root, "down").returncode == 0
    assert spoken(home.root, "config show") == (2, "", text)


# ---- words that the command line does not take ----------------------------------------------------------------------

USAGE = {
    "fly": TRY.replace(" {} ", " ") + "No such command 'fly'.",
    "stattus": TRY.replace(" {} ", " ") + "No such command 'stattus'. Did you mean 'status', 'start'?",
    "help fly": TRY.replace(" {} ", " ") + "No such command 'fly'.",
    "go": TRY.format("go") + "Missing argument 'TARGET'.",
    "exclude": TRY.format("exclude") + "Missing argument 'MEMBER...'.",
    "restart": TRY.format("restart") + "Missing argument 'MEMBER...'.",
    "recover sf01 --gone": TRY.format("recover") + "No such option: --gone (Possible options: --home, --json)",
    "go running --events": "Error: Option '--events' requires an argument.",
    "status --depth 10": TRY.format("status") + "Invalid value for '--depth': Input should be less than or equal to 9",
    "runs show 0": TRY.format("runs show") + "Invalid value for 'N': Input should be greater than or equal to 1",
    "status --jsn": TRY.format("status") + "No such option: --jsn (Possible options: --json)",
}


@pytest.mark.parametrize("words", USAGE)
def test_what_the_command_line_does_not_take_is_told_with_where_help_is(home: Home, words: str) -> None:
    code, stdout, stderr = spoken(home.root, words)
    assert (code, stdout) == (2, "")
    assert stderr.endswith(USAGE[words] + "\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("go running --events x", "--events must be a whole number of events, 1 or more, such as 100000, not 'x'"),
        ("start --events 1e6", "--events must be a whole number of events, 1 or more, such as 100000, not '1e6'"),
        ("start --events 0", "--events must be a whole number of events, 1 or more, such as 100000, not '0'"),
        ("go running --events -1", "--events must be a whole number of events, 1 or more, such as 100000, not '-1'"),
        (
            f"go running --events {10**18}",
            f"--events must be a whole number of events, 1 or more, such as 100000, not '{10**18}'",
        ),
        (
            "go running --for 10",
            "--for must be a length of time of up to a year, such as 90s, 10m or 1h30m, not '10'",
        ),
        (
            "start --for 400d",
            "--for must be a length of time of up to a year, such as 90s, 10m or 1h30m, not '400d'",
        ),
        (
            "lease take --for ever",
            "--for must be a length of time of up to a year, such as 90s, 10m or 1h30m, not 'ever'",
        ),
        (
            "audit --since yesterday",
            "--since must be a length of time of up to a year, such as 90s, 10m or 1h30m, not 'yesterday'",
        ),
        ("boot --timeout soon", "--timeout must be a number of seconds, such as 30 or 7.5, not 'soon'"),
        ("boot --timeout -1", "--timeout must be a number of seconds, such as 30 or 7.5, not '-1'"),
        ("boot --timeout nan", "--timeout must be a number of seconds, such as 30 or 7.5, not 'nan'"),
        (
            "show sf01/@psa",
            "member: 'sf01/@psa' is a pattern, and this is about one member. "
            "Those that it selects are listed by: grange status 'sf01/@psa'",
        ),
        (
            "status sf01/@",
            "member: 'sf01/@': a role is missing after '@', as in sf01/@psa. "
            "Such as sf01, sf01/hlt017/psa-2, sf01/@psa or 'sf01/hlt*'; grange status lists the members",
        ),
        (
            "restart sf01/{psa}",
            "member: 'sf01/{psa}': '{psa}' is neither a name nor a pattern (letters, digits, '_.-*?[]'). "
            "Such as sf01, sf01/hlt017/psa-2, sf01/@psa or 'sf01/hlt*'; grange status lists the members",
        ),
        (
            "show a/b/c/d",
            "member: 'a/b/c/d': a path has at most three parts: sub-farm/node/process. "
            "Such as sf01/hlt017/psa-2, sf01/hlt017 or sf01; grange status lists them",
        ),
        (
            "boot a/b/c/d",
            "member: 'a/b/c/d': at most three parts: sub-farm/node/process, or sub-farm/node/@role. "
            "Such as sf01, sf01/hlt017/psa-2, sf01/@psa or 'sf01/hlt*'; grange status lists the members",
        ),
        (
            "actor new Gain",
            'name: "Gain" cannot name a module and a class: small letters, digits and "_" can, such as gain_check',
        ),
        (
            "actor new gain --directory /proc/1/gain",
            "/proc/1/gain: cannot be written to: No such file or directory. Choose another --directory",
        ),
    ],
)
def test_a_name_that_makes_no_sense_is_told_before_anybody_is_asked(home: Home, words: str, text: str) -> None:
    assert spoken(home.root, words) == (2, "", f"grange: {text}\n")


EMPTY = "member: an empty name. Leave it out, or name the whole farm: /"


@pytest.mark.parametrize(
    "command", ["shutdown", "go initial", "exclude", "include", "restart", "recover", "status", "show", "logs"]
)
def test_a_variable_that_is_not_set_does_not_become_the_whole_farm(home: Home, command: str) -> None:
    for members in (("",), ("sf01", "")) if command not in ("status", "show", "logs") else (("",), (" ",)):
        result = grange(home.root, *command.split(), *members)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"grange: {EMPTY}\n")


# ---- the API --------------------------------------------------------------------------------------------------------

Request = tuple[str, Message]
PROBLEM_ID = "command_id: the client chooses one for each command; a UUID will do"
API: dict[str, tuple[Request, str, str, str]] = {
    "a step that is not possible in this state": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="a", step=common_pb2.COMMAND_BOOT)),
        "FAILED_PRECONDITION",
        "REFUSED",
        "boot is not possible: the farm is absent, and would have to be initial. Possible now: setup",
    ),
    "a command without an id": (
        ("Control/Execute", control_pb2.ExecuteRequest(step=common_pb2.COMMAND_SETUP)),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        PROBLEM_ID,
    ),
    "an id that is too long": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="a" * 201, step=common_pb2.COMMAND_SETUP)),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "command_id: longer than 200 characters",
    ),
    "neither a step nor a target": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="a")),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "neither a known step nor a target; targets are running, absent, initial, booted, loaded, configured, paused",
    ),
    "a path that is none": (
        ("Control/Inspect", control_pb2.InspectRequest(path="sf01//x")),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "path: 'sf01//x': '' is neither a name nor a pattern (letters, digits, '_.-*?[]')",
    ),
    "what is said of a run with a step that begins none": (
        (
            "Control/Execute",
            control_pb2.ExecuteRequest(command_id="a", step=common_pb2.COMMAND_BOOT, run_type="test"),
        ),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "type: is said of a run, by the command that starts it: start, or go running",
    ),
    "an empty name beside others": (
        (
            "Control/Execute",
            control_pb2.ExecuteRequest(command_id="a", path="sf01", further=[""], step=common_pb2.COMMAND_SHUTDOWN),
        ),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "further: an empty name. Leave it out, or name the whole farm: /",
    ),
    "a cancel without an id when nothing is under way": (
        ("Control/Cancel", control_pb2.CancelRequest()),
        "FAILED_PRECONDITION",
        "REFUSED",
        "nothing is under way. Possible now: setup",
    ),
    "a member that does not exist": (
        ("Control/Inspect", control_pb2.InspectRequest(path="sf09")),
        "NOT_FOUND",
        "UNKNOWN_MEMBER",
        "there is no member 'sf09'. Nearest: sf01, sf01/n1",
    ),
    "a command that was never given": (
        ("Control/Cancel", control_pb2.CancelRequest(command_id="c-9")),
        "NOT_FOUND",
        "UNKNOWN_COMMAND",
        "there is no command 'c-9'. Outcomes are kept for a day; what is under way says: grange status",
    ),
    "the output of a sub-farm": (
        ("Control/ReadOutput", control_pb2.ReadOutputRequest(path="sf01")),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "sf01: only a process, or the agent of a node, has output that a controller passes on. "
        "The log of a program is shown by: grange logs",
    ),
    "a comment that is too long": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="t", go="running", comment="x" * 501)),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "comment: 501 characters, and it may have at most 500",
    ),
    "a mode that is too long": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="t", go="running", run_mode="x" * 51)),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "mode: 51 characters, and it may have at most 50",
    ),
    "a mode of two lines": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="t", go="running", run_mode="a\nb")),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "mode: 'a\\nb' has a control character, which no word has",
    ),
    "a member with an end of line": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="t", go="running", path="sf01\n")),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "path: 'sf01\\n': 'sf01\\n' is neither a name nor a pattern (letters, digits, '_.-*?[]')",
    ),
    "a timeout that never comes": (
        ("Control/Execute", control_pb2.ExecuteRequest(command_id="t", go="running", timeout_s=math.inf)),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "timeout_s: inf s is not between nothing and a year. 0 is the farm's own limit",
    ),
    "a message that is too long": (
        ("Configuration/Import", configuration_pb2.ImportRequest(text="{}", format="json", message="x" * 501)),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "message: 501 characters, and it may have at most 500",
    ),
    "a lease with a comment that is too long": (
        ("Security/TakeLease", security_pb2.TakeLeaseRequest(comment="x" * 501)),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "comment: 501 characters, and it may have at most 500",
    ),
    "a format that is none": (
        ("Configuration/Import", configuration_pb2.ImportRequest(text="", format="yaml")),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "format: json or toml, not 'yaml'",
    ),
    "a configuration with a problem": (
        ("Configuration/Import", configuration_pb2.ImportRequest(text="[]", format="json", source="x.json")),
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        "x.json: 1 problem; nothing was stored; a mapping of keys to values is expected",
    ),
    "a revision that does not exist": (
        ("Configuration/Use", configuration_pb2.UseRequest(revision="may")),
        "NOT_FOUND",
        "UNKNOWN_REVISION",
        "there is no revision 'may'. Known tags: current; grange config log lists the revisions",
    ),
    "a run that does not exist": (
        ("Runs/GetRun", runs_pb2.GetRunRequest(number=7)),
        "NOT_FOUND",
        "UNKNOWN_RUN",
        "there is no run '7'. There has been none yet",
    ),
}


@pytest.mark.parametrize("what", API)
async def test_what_the_api_says_to_a_wrong_call(farm: Home, what: str) -> None:
    (method, request), code, reason, text = API[what]
    metadata = (await log_in(farm.farm_address, LIMIT_S)).metadata
    async with grpc.aio.insecure_channel(farm.farm_address) as channel:
        call = channel.unary_stream(f"/grange.v1.{method}", lambda message: message.SerializeToString(), bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call(request, timeout=LIMIT_S, metadata=metadata):
                pass
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details if detail.Is(info.DESCRIPTOR))
    assert (caught.value.code().name, info.reason, caught.value.details()) == (code, reason, text)


# ---- the catalogue itself -------------------------------------------------------------------------------------------

EVERY_TEXT = [*(text for _, text in ABSENT.values()), *USAGE.values(), *(text for *_, text in API.values())]


@pytest.mark.parametrize("text", EVERY_TEXT)
def test_no_text_of_the_catalogue_has_a_word_of_the_inside(text: str) -> None:
    assert not re.search(r"Traceback|StatusCode|Errno|Error\(|<class|object at|[A-Z]{4,}_[A-Z]{4,}", text)


def test_every_exit_code_but_those_of_ctrl_c_and_bugs_is_met_in_the_catalogue() -> None:
    met = {code for code, _ in ABSENT.values()} | {Exit.FAILED, Exit.UNREACHABLE}  # by the tests of those places
    assert met == set(Exit) - {Exit.DONE, Exit.INTERRUPTED, Exit.BUG}


def test_every_error_whose_fault_is_the_callers_is_met_in_the_catalogue() -> None:
    elsewhere = {"SAME_ID_OTHER_CONTENT", "NOT_FOUND", "NOT_LOGGED_IN", "NOT_ALLOWED"}  # in tests/edge/control
    met = {reason for _, _, reason, _ in API.values()} | elsewhere
    named = {
        re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.GrangeError) and error.fault is errors.Fault.CALLER
    }
    assert named <= met
