"""The `grange` command: what it prints, its exit codes, and Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner, Result

from grange.cli.exits import MEANINGS
from grange.cli.main import app
from grange.cli.progress import LEADS_TO
from grange.cli.step_commands import STEP_HELP, TARGETS
from grange.core import state as machine
from grange.core.home import Home
from grange.core.names import Command, State
from grange.proto import runs_pb2

LIMIT_S = 60.0
CONFIGURATION = """{"farm": {"name": "demo"}, "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
 "roles": {"psa": {"command": ["sleep", "60"], "ready": "settle"}}}"""

# Prints the help, and last the top-level names of all that was loaded for it.
HELP_PROBE = """
import sys
from grange.cli.begin import main
sys.argv[1:] = ["--help"]
try:
    main()
except SystemExit:
    print(*{name.split(".")[0] for name in sys.modules})
"""


def grange(home: Home, *arguments: str) -> Result:
    """The command in this process: its exit code, standard output and standard error."""
    return CliRunner().invoke(app, ["--home", home.root, *arguments], catch_exceptions=False)


class Program:
    """The command as a process of its own, whose standard error is read line by line."""

    def __init__(self, home: Home, *arguments: str, stdout: int | IO[bytes] = subprocess.PIPE) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "grange.cli", *arguments],
            env=os.environ | {"GRANGE_HOME": home.root},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        # nothing is waited for longer than LIMIT_S: then the process is gone, and its pipes have ended
        self._guard = threading.Timer(LIMIT_S, self._process.kill)
        self._guard.start()

    def wait_for_line(self, pattern: str) -> str:
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"{pattern!r} did not come; these did: {lines}")

    def read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> tuple[int, str, str]:
        """Exit code, and what was not read yet of standard output and standard error."""
        out, err = self._process.communicate()
        self._guard.cancel()
        return self._process.returncode, out or "", err


# ---- help -----------------------------------------------------------------------------------------------------------


def test_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"grange {version('grange')}\n")


def test_help_names_every_command_and_every_exit_code() -> None:
    result = CliRunner().invoke(app, ["--help"])
    words = " ".join(result.stdout.split())
    assert result.exit_code == 0
    for name in ("up", "down", "demo", "status", "watch", "story", "logs", "go", *Command, "cancel", "runs", "config"):
        assert f" {name} " in words
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in words


def test_help_loads_neither_grpc_nor_sql_nor_anything_that_draws() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", HELP_PROBE], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert set(done.stdout.splitlines()[-1].split()) & {"grpc", "sqlalchemy", "rich", "google", "pydantic"} == set()


@pytest.mark.parametrize("step", Command)
def test_the_help_of_each_step_says_where_it_leads_as_the_table_of_states_does(step: Command) -> None:
    help = STEP_HELP[step].lower()
    row = machine.ROWS[step]
    if step is Command.SHUTDOWN:
        assert "from any state" in help
        assert help.endswith("leads to initial.")
    else:
        sources = {"up/running": "taking or paused"}.get(row.sources[0], row.sources[0].split("/")[-1])
        assert help.endswith(f"{sources} to {row.to}.")


def test_the_bars_know_where_each_step_leads_as_the_table_of_states_does() -> None:
    assert {step: machine.ROWS[step].to for step in LEADS_TO} == LEADS_TO


def test_the_targets_in_the_help_are_those_of_the_state_machine() -> None:
    assert set(TARGETS) == set(machine.TARGETS) - {"taking"}  # which is what running means for a farm


# ---- looking --------------------------------------------------------------------------------------------------------


def test_status_shows_farm_configuration_possible_commands_tree_and_causes(running) -> None:
    result = grange(running.home, "status")
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines == [
        "demo: absent, ok",
        "configuration eeeeeeeeee; next load: ffffffffff · host pid 1, grange 0.1.0",
        "possible now: setup, shutdown",
        "",
        "not well:",
        "sf02/n1/psa-10: psa-10: hung",
        "  once the cause is gone: grange go running (or go initial, to end everything)",
        "",
        "demo          absent  ok          psa 4 absent",
        "  sf01        absent  ok          psa 2 absent",
        "    n1        absent  ok",
        "      psa-1   absent  ok          pid 4711",
        "      psa-2   absent  ok          pid 4711",
        "  sf02        absent  ok          psa 2 absent",
        "    n1        absent  ok",
        "      psa-1   absent  ok          pid 4711",
        "      psa-10  absent  degraded    pid 4711; silent for 6 s",
    ]


def test_status_of_a_member_goes_as_deep_as_asked_and_is_json_on_request(running) -> None:
    result = grange(running.home, "status", "sf01", "--depth", "1", "--json")
    status = json.loads(result.stdout)
    assert [member["path"] for member in status["members"]] == ["sf01", "sf01/n1"]
    assert (status["members"][0]["state"], status["farm"], status["possible"]) == (
        "absent",
        "demo",
        ["setup", "shutdown"],
    )


def test_status_during_a_command_says_what_is_under_way_and_how_to_cancel_it(running) -> None:
    running.farm.stuck_at = Command.SETUP
    command_id = grange(running.home, "setup", "--detach").stdout.strip()
    shown = grange(running.home, "status").stdout
    assert re.search(
        r"setup by ann for .*: 1 of 4 done\nwaiting for sf02/n1/psa-10; cancel with: grange cancel\n", shown
    )
    assert grange(running.home, "cancel").stdout == f"cancelling {command_id}\n"


def test_an_unknown_member_is_bad_input_and_the_nearest_names_are_shown(running) -> None:
    result = grange(running.home, "status", "sf03")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"grange: there is no member 'sf03'\. Nearest: sf0[12], sf0[12], .*\n", result.stderr)


def test_what_is_no_path_is_bad_input_before_anybody_is_asked(home: Home) -> None:
    result = grange(home, "status", "sf01/@")
    assert result.exit_code == 2
    assert "a role is missing after '@', as in sf01/@psa" in result.stderr


def test_without_a_controller_every_command_says_so_with_exit_code_4(home: Home) -> None:
    Path(home.database).touch()
    for arguments in (
        ["status"],
        ["watch"],
        ["go", "running"],
        ["boot"],
        ["cancel"],
        ["logs", "sf01/n1/x-1"],
        ["down"],
    ):
        result = grange(home, *arguments)
        assert (result.exit_code, result.stdout) == (4, "")
        assert (
            result.stderr == f"grange: no controller answers at unix:{home.root}/farm.sock. Start one with: grange up\n"
        )


def test_a_home_too_long_for_a_socket_is_bad_input_with_the_remedy() -> None:
    result = CliRunner().invoke(app, ["--home", "/" + "h" * 120, "status"])
    assert result.exit_code == 2
    assert "Choose a shorter --home" in result.stderr


def test_home_may_stand_before_or_behind_the_command(running) -> None:
    result = CliRunner().invoke(app, ["status", "--depth", "0", "--home", running.home.root])
    assert result.stdout.startswith("demo: absent")


def test_watch_as_json_is_a_line_for_each_change_until_ctrl_c(running) -> None:
    program = Program(running.home, "watch", "--json")
    first = json.loads(program.read_line())
    assert len(first["changed"]) == 9
    grange(running.home, "setup")
    while json.loads(program.read_line())["changed"][0]["state"] != "initial":
        pass
    program.interrupt()
    assert program.finish()[0] == 130


def test_logs_prints_the_last_lines_as_they_were_written(running) -> None:
    result = grange(running.home, "logs", "-n", "2", "sf01/n1/psa-1")
    assert result.stdout == "second line\nlast line\n"


def test_an_empty_log_is_said_to_be_empty_and_not_on_standard_output(running) -> None:
    Path(running.home.farm_log).touch()
    result = grange(running.home, "logs")
    assert (result.stdout, result.stderr) == ("", "(nothing written yet)\n")


LOGS = {"sf01/n1/psa-1": b"one\ntwo\n", "sf01/n1/psa-10": b"", "sf01/n2/psa-2": b"begun", "sf01/n2/sink-1": b"x\n"}


@pytest.fixture
def deserted(home: Home) -> Home:
    """A farm whose processes have left their logs on this machine, and that nobody controls."""
    Path(home.database).touch()
    for path, written in LOGS.items():
        sub_farm, node, slot = path.split("/")
        for incarnation in ("9", "10"):
            log = Path(home.process_log(sub_farm, node, f"{slot}.{incarnation}.1"))
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(written if incarnation == "10" else b"of an earlier start\n")
    return home


def test_without_a_controller_the_logs_of_all_that_is_selected_are_read_from_the_files_of_this_host(
    deserted: Home,
) -> None:
    noted = f"no controller answers at {deserted.farm_address}: this is what lies in the files on this host\n"
    said = grange(deserted, "logs", "@psa")
    assert (said.exit_code, said.stderr) == (0, noted)
    assert said.stdout == "sf01/n1/psa-1  | one\nsf01/n1/psa-1  | two\nsf01/n2/psa-2  | begun\n"
    said = grange(deserted, "logs", "sf01/n2/*", "-n", "1", "--json")
    assert [json.loads(line) for line in said.stdout.splitlines()] == [
        {"member": "sf01/n2/psa-2", "line": "begun"},
        {"member": "sf01/n2/sink-1", "line": "x"},
    ]
    said = grange(deserted, "logs", "sf01/n2/psa-2")
    assert (said.stdout, said.stderr) == ("begun", noted)
    said = grange(deserted, "logs", "sf01/n1/psa-1?")
    assert (said.stdout, said.stderr) == ("", f"{noted}(nothing written yet)\n")


def test_without_a_controller_and_without_a_log_of_what_is_selected_the_controller_is_what_is_missing(
    deserted: Home,
) -> None:
    said = grange(deserted, "logs", "@builder")
    assert (said.exit_code, said.stdout) == (4, "")
    assert said.stderr == f"grange: no controller answers at {deserted.farm_address}. Start one with: grange up\n"


def test_logs_goes_on_until_ctrl_c_when_asked_to_follow(running) -> None:
    program = Program(running.home, "logs", "-f", "-n", "1", "sf01/n1/psa-1")
    assert program.read_line() == "last line\n"
    program.interrupt()
    assert program.finish()[0] == 130


def test_story_tells_when_who_and_what(running) -> None:
    assert grange(running.home, "story", "sf01").stdout.endswith("  sf01  boot asked by ann\n")
    assert grange(running.home, "story", "farm").stdout == grange(running.home, "story").stdout
    assert json.loads(grange(running.home, "story", "--json").stdout)[0]["text"] == "boot asked by ann"


def test_a_reader_that_goes_away_ends_a_command_in_silence(running) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = Program(running.home, "status", stdout=writing)
    os.close(writing)
    code, _, stderr = program.finish()
    assert (code, stderr) == (0, "")


# ---- commanding -----------------------------------------------------------------------------------------------------


def test_a_step_tells_its_progress_and_its_outcome(running) -> None:
    result = grange(running.home, "setup")
    assert result.exit_code == 0
    assert result.stdout == "setup: done in 0.25 s; the farm is initial\n"
    accepted, *rest = result.stderr.splitlines()
    assert re.fullmatch(r"setup: accepted as [0-9a-f-]{36}: setup", accepted)
    assert rest == [
        "setup: sf01 is setting_up",
        "setup: sf02 is setting_up",
        "setup: setting_up: 1 of 4 done, waiting for sf02/n1/psa-10",
        "setup: sf01 is initial",
        "setup: sf02 is initial",
        "setup: initial: 4 of 4 done",
    ]


def test_go_says_the_run_that_it_started_and_passes_on_what_the_run_is(running) -> None:
    result = grange(
        running.home,
        *("go", "running", "--comment", "first beam", "--type", "production", "--mode", "cosmics"),
        *("--events", "5000", "--for", "1h30m"),
    )
    assert result.stdout == "go running: done in 0.25 s; the farm is taking, run 7\n"
    request = next(iter(running.farm.commands.values())).request
    assert (request.comment, request.run_type, request.run_mode) == ("first beam", "production", "cosmics")
    assert (request.run_events, request.run_duration_s) == (5000, 5400.0)


def test_a_length_of_time_that_nobody_understands_is_refused_before_anything_is_commanded(running) -> None:
    result = grange(running.home, "go", "running", "--for", "10")
    assert (result.exit_code, result.stderr) == (
        2,
        "grange: --for must be a length of time of up to a year, such as 90s, 10m or 1h30m, not '10'\n",
    )
    assert running.farm.commands == {}


def test_a_member_and_a_timeout_are_passed_on_and_members_that_took_no_part_are_named(running) -> None:
    result = grange(running.home, "setup", "sf02", "--timeout", "7.5")
    assert result.stdout == "setup sf02: done in 0.25 s; sf02 is initial\n"
    assert "  sf02 took no part: it is out\n" in result.stderr
    request = next(iter(running.farm.commands.values())).request
    assert (request.path, request.timeout_s) == ("sf02", 7.5)


def test_an_outcome_as_json_is_one_object_and_nothing_else(running) -> None:
    result = grange(running.home, "go", "running", "--json")
    outcome = json.loads(result.stdout)
    assert (outcome["kind"], outcome["state"], outcome["run_number"]) == ("done", "taking", 7)
    assert [step["step"] for step in outcome["steps"]] == ["setup", "boot", "load", "configure", "start"]
    assert result.stderr == ""


def test_a_failed_command_ends_with_1_and_the_reason_on_standard_error(running) -> None:
    running.farm.fails_at = Command.BOOT
    result = grange(running.home, "go", "running")
    assert (result.exit_code, result.stdout) == (1, "")
    last = "go running: failed after 0.25 s: psa-2 on n1 exited with code 2. Try: grange shutdown; the farm is initial"
    assert result.stderr.splitlines()[-1] == last


def test_a_failed_command_as_json_is_json_all_the_same(running) -> None:
    running.farm.fails_at = Command.SETUP
    result = grange(running.home, "setup", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["kind"] == "failed"


def test_a_refused_command_ends_with_3_and_says_what_is_possible(running) -> None:
    result = grange(running.home, "stop")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.rstrip().endswith("Possible now: setup, shutdown")
    assert running.farm.state is State.ABSENT


def test_a_detached_command_prints_its_id_and_runs_on(running) -> None:
    running.farm.stuck_at = Command.SETUP
    result = grange(running.home, "setup", "--detach")
    command_id = result.stdout.strip()
    assert (result.exit_code, list(running.farm.commands)) == (0, [command_id])
    assert running.farm.state is State.SETTING_UP
    assert grange(running.home, "cancel", command_id).exit_code == 0


def test_cancel_with_nothing_under_way_is_refused_and_an_unknown_id_is_bad_input(running) -> None:
    assert grange(running.home, "cancel").exit_code == 3
    assert grange(running.home, "cancel", "c-9").exit_code == 2


def test_ctrl_c_cancels_the_command_and_reports_the_state_it_left(running) -> None:
    running.farm.stuck_at = Command.SETUP
    program = Program(running.home, "setup")
    program.wait_for_line("waiting for sf02")
    program.interrupt()
    code, _, stderr = program.finish()
    assert code == 130
    assert "setup: cancelled after 0.25 s: cancelled by a test; the farm is absent" in stderr
    assert running.farm.state is State.ABSENT


def test_ctrl_c_with_no_cancel_leaves_the_command_running_and_says_how_to_end_it(running) -> None:
    running.farm.stuck_at = Command.SETUP
    program = Program(running.home, "setup", "--no-cancel")
    program.wait_for_line("waiting for sf02")
    program.interrupt()
    code, _, stderr = program.finish()
    command_id = next(iter(running.farm.commands))
    assert code == 130
    assert f"still under way as {command_id}. End it with: grange cancel {command_id}" in stderr
    assert running.farm.state is State.SETTING_UP
    assert grange(running.home, "cancel").exit_code == 0


@pytest.mark.parametrize("options", [[], ["--detach"]], ids=["waiting", "detached"])
def test_ctrl_c_before_a_command_is_accepted_cancels_it_once_it_is(running, options: list[str]) -> None:
    running.farm.stuck_at = Command.SETUP
    running.farm.tells.clear()
    program = Program(running.home, "setup", *options)
    assert running.farm.asked.wait(LIMIT_S)
    program.interrupt()
    program.wait_for_line("not accepted yet, and cancelled as soon as it is; Ctrl-C again stops waiting")
    running.farm.tells.set()
    code, stdout, stderr = program.finish()
    assert (code, stdout) == (130, "")
    assert "setup: cancelled after 0.25 s: cancelled by a test; the farm is absent\n" in stderr
    assert running.farm.state is State.ABSENT


def test_a_second_ctrl_c_before_a_command_is_accepted_cancels_it_and_waits_for_nothing(running) -> None:
    running.farm.stuck_at = Command.SETUP
    running.farm.tells.clear()
    program = Program(running.home, "setup")
    assert running.farm.asked.wait(LIMIT_S)
    program.interrupt()
    program.wait_for_line("Ctrl-C again stops waiting")
    program.interrupt()
    code, _, stderr = program.finish()
    (command_id,) = running.farm.commands
    running.farm.tells.set()
    assert (code, stderr) == (130, f"setup: {command_id} is cancelled, and not waited for. Look with: grange status\n")
    assert running.farm.commands[command_id].cancelled.is_set()


def test_ctrl_c_with_no_cancel_before_a_command_is_accepted_says_that_it_may_be(running) -> None:
    running.farm.tells.clear()
    program = Program(running.home, "setup", "--no-cancel")
    assert running.farm.asked.wait(LIMIT_S)
    program.interrupt()
    code, _, stderr = program.finish()
    running.farm.tells.set()
    assert (code, stderr) == (130, "setup: no answer yet; it may have been accepted. Look with: grange status\n")


def test_down_asks_the_controller_to_end_and_waits_until_it_has(running) -> None:
    def obey() -> None:
        running.farm.ended.wait(LIMIT_S)
        running.stop_server()

    obeying = threading.Thread(target=obey)
    obeying.start()
    result = grange(running.home, "down")
    obeying.join()
    assert (result.exit_code, result.stdout) == (0, "the farm controller has ended; nothing of the farm is left\n")


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["go"],
        ["boot", "--tiemout", "3"],
        ["status", "--depth", "many"],
        ["runs", "show", "0"],
        ["config", "use"],
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2_and_never_with_a_traceback(
    home: Home, arguments: list[str]
) -> None:
    result = grange(home, *arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_bug_is_one_sentence_with_70_and_debug_shows_where_at_any_place_in_the_command(
    running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("by test")

    monkeypatch.setattr("grange.cli.showing.show_story", broken)
    plain = grange(running.home, "story")
    said = "This is a bug: to see where, repeat it with --debug, and please report that"
    assert (plain.exit_code, plain.stderr) == (70, f"grange: ZeroDivisionError: by test. {said}\n")
    for arguments in (["--debug", "story"], ["story", "--debug"]):
        assert "Traceback" in grange(running.home, *arguments).stderr
    monkeypatch.setenv("GRANGE_DEBUG", "1")
    assert "Traceback" in grange(running.home, "story").stderr


def test_debug_shows_where_an_ordinary_error_came_up_too(home: Home) -> None:
    shown = grange(home, "status", "sf01/@", "--debug").stderr
    assert "Traceback" in shown
    assert "a role is missing after '@'" in shown.splitlines()[-1]


# ---- configuration and runs, with and without a controller ----------------------------------------------------------


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "farm.json"
    file.write_text(CONFIGURATION)
    return file


def test_what_cannot_be_imported_leaves_no_database_behind(home: Home, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("farms = 1\n")
    for file in (wrong, tmp_path / "nothing"):
        failed = grange(home, "config", "import", str(file))
        assert failed.exit_code == 2
    assert list(Path(home.root).iterdir()) == []
    assert "there is no farm in" in grange(home, "runs").stderr


def test_without_a_controller_nothing_is_claimed_of_the_next_load_while_a_sub_farm_may_be_up(
    home: Home, configuration: Path
) -> None:
    sub_farm = Path(home.sub_farm_socket("sf01"))
    sub_farm.parent.mkdir(parents=True)
    sub_farm.touch()
    assert grange(home, "config", "import", str(configuration)).stdout.endswith(
        "; it is selected; whether the next load can take it says, once the farm controller is up: grange status\n"
    )


@pytest.mark.parametrize("controlled", [True, False], ids=["through the controller", "offline"])
def test_a_configuration_is_imported_listed_shown_exported_and_selected(
    home: Home, request: pytest.FixtureRequest, configuration: Path, tmp_path: Path, controlled: bool
) -> None:
    if controlled:
        request.getfixturevalue("running")
        Path(home.database).touch()
    imported = grange(home, "config", "import", str(configuration), "-m", "first")
    assert imported.exit_code == 0, imported.stderr
    found = re.fullmatch(r"imported: revision ([0-9a-f]{10}); the next load takes it\n", imported.stdout)
    assert found is not None
    assert re.match(rf"{found[1]}  \d{{4}}-.*\(current\)  first\n", grange(home, "config", "log").stdout)
    shown = grange(home, "config", "show").stdout
    assert re.search(r"sf01 +n1 +psa", shown)
    assert re.search(r"psa +sleep 60", shown)
    exported = json.loads(grange(home, "config", "export").stdout)
    assert exported["sub_farms"] == {"sf01": {"nodes": ["n1"], "roles": ["psa"]}}
    assert grange(home, "config", "export", "-o", str(tmp_path / "out.json")).stdout == ""
    assert json.loads((tmp_path / "out.json").read_text()) == exported
    revision = json.loads(grange(home, "config", "log", "--json").stdout)[0]["hash"]
    assert grange(home, "config", "use", revision).stdout.startswith(f"the next load takes revision {found[1]}")


@pytest.mark.parametrize("controlled", [True, False], ids=["through the controller", "offline"])
def test_every_problem_of_a_configuration_is_told_with_its_place_and_nothing_is_stored(
    home: Home, request: pytest.FixtureRequest, configuration: Path, controlled: bool
) -> None:
    if controlled:
        request.getfixturevalue("running")
        Path(home.database).touch()
    configuration.write_text(CONFIGURATION.replace('"nodes"', '"nodse"').replace('"farm"', '"fram"'))
    result = grange(home, "config", "import", str(configuration))
    assert (result.exit_code, result.stdout) == (2, "")
    assert '  fram: unknown key; did you mean "farm"?\n' in result.stderr
    assert "  sub_farms.sf01.nodse: " in result.stderr
    assert grange(home, "config", "log", "--json").stdout in ("[]\n", "")


def test_a_configuration_file_that_is_not_there_or_is_no_text_is_bad_input(home: Home, tmp_path: Path) -> None:
    (tmp_path / "noise.json").write_bytes(b"\xff\xfe")
    for name, what in (("missing.json", "No such file or directory"), ("noise.json", "is not UTF-8 text")):
        result = grange(home, "config", "import", str(tmp_path / name))
        assert result.exit_code == 2
        assert what in result.stderr


def test_where_there_is_no_farm_reading_says_so_and_makes_nothing(home: Home) -> None:
    nowhere = Home(f"{home.root}/nowhere")
    for arguments in (["runs"], ["config", "log"], ["config", "export"]):
        result = grange(nowhere, *arguments)
        assert result.exit_code == 2
        assert f"there is no farm in {nowhere.root}" in result.stderr
    assert not Path(nowhere.root).exists()


def test_runs_are_listed_and_shown_with_their_books_and_files(running) -> None:
    Path(running.home.database).touch()
    run = runs_pb2.Run(
        number=7,
        type="test",
        revision="e" * 64,
        person="ann",
        comment="first beam",
        start_asked_unix_s=1.7e9,
        running_unix_s=1.7e9 + 1,
        stop_asked_unix_s=1.7e9 + 76,
        stopped_unix_s=1.7e9 + 77,
        end_reason="stop by ann",
        mismatches=["psa: accepted = analysed does not hold"],
    )
    run.counters.add(sub_farm="sf01").roles.add(role="psa").counters["analysed"] = 12
    run.files.add(member="sf01/n1/builder-1", path="data/run_7.adf", size_bytes=5_250_000, sha256="ab")
    running.farm.runs.append(run)
    listed = grange(running.home, "runs").stdout
    assert re.search(r"7 +test +2023-\S+ \d\d:\d\d +1 min 15 s +ann +stop by ann +first beam", listed)
    shown = grange(running.home, "runs", "show", "7").stdout
    for words in ("run 7", "analysed 12", "data/run_7.adf", "5.2 MB", "the books do not balance", "took data"):
        assert words in shown
    assert json.loads(grange(running.home, "runs", "show", "7", "--json").stdout)["counters"]["sf01"]["psa"] == {
        "analysed": 12
    }
    missing = grange(running.home, "runs", "show", "8")
    assert (missing.exit_code, missing.stderr) == (2, "grange: there is no run '8'. Nearest: 7\n")


def test_runs_are_read_from_the_database_while_nobody_controls_the_farm(home: Home, configuration: Path) -> None:
    grange(home, "config", "import", str(configuration))
    assert grange(home, "runs").stdout == "no runs yet\n"
    assert json.loads(grange(home, "runs", "--json").stdout) == []
    missing = grange(home, "runs", "show", "3")
    assert (missing.exit_code, missing.stderr) == (2, "grange: there is no run '3'. There has been none yet\n")
