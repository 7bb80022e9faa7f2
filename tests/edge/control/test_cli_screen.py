"""What a person at a terminal sees: bars while a command runs, the live tree, colours only where they are wanted."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from grange.cli import security
from grange.cli.security import show_audit
from grange.cli.text import size
from grange.cli.tree import causes_lines, tree
from grange.client import Farm
from grange.client.values import AuditEntry, Cause, MemberStatus
from grange.core.access import Origin
from grange.core.home import Home
from grange.core.names import Command, Health, Kind, MemberCommand, Membership, State

LIMIT_S = 60.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The command as a process at a terminal; `seen` is all that it has drawn."""

    def __init__(self, home: Home, *arguments: str, columns: int = 110, lines: int = 30, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "grange.cli", *arguments],
            env=inherited | {"GRANGE_HOME": home.root, "TERM": "xterm-256color"} | environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._guard = threading.Timer(LIMIT_S, self._process.kill)
        self._guard.start()
        self.raw = ""

    @property
    def seen(self) -> str:
        return ESCAPES.sub("", self.raw)

    def wait_for(self, words: str) -> None:
        while words not in self.seen:
            assert self._read(), f"{words!r} was not drawn; this was: {self.seen}"

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> int:
        while self._read():
            pass
        os.close(self._master)
        code = self._process.wait(LIMIT_S)
        self._guard.cancel()
        return code

    def _read(self) -> bool:
        """Reads what comes next; False when the program has ended."""
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when nobody holds the other end any more
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


def test_a_command_draws_bars_for_the_whole_and_each_sub_farm_with_the_slowest_by_name(running) -> None:
    running.farm.stuck_at = Command.SETUP
    terminal = Terminal(running.home, "setup")
    for words in ("setup", "sf01", "sf02", "1/4", "setting_up", "waiting for sf02/n1/psa-10"):
        terminal.wait_for(words)
    terminal.interrupt()
    terminal.wait_for("cancelling; Ctrl-C again stops waiting")
    assert terminal.finish() == 130
    assert terminal.seen.rstrip().endswith("setup: cancelled after 0.25 s: cancelled by a test; the farm is absent")


@pytest.mark.parametrize("command", MemberCommand)
def test_each_command_for_members_draws_bars_as_the_steps_do(running, command: MemberCommand) -> None:
    terminal = Terminal(running.home, command, "sf01")
    assert terminal.finish() == 0
    assert "Traceback" not in terminal.seen
    assert f"{command} sf01: done in" in terminal.seen


def test_how_to_end_a_command_that_goes_on_stays_on_the_screen(running) -> None:
    running.farm.stuck_at = Command.SETUP
    terminal = Terminal(running.home, "setup", "--no-cancel")
    terminal.wait_for("waiting for sf02/n1/psa-10")
    terminal.interrupt()
    assert terminal.finish() == 130
    command_id = next(iter(running.farm.commands))
    said = f"setup: still under way as {command_id}. End it with: grange cancel {command_id}"
    after_the_bars = terminal.raw[terminal.raw.index("still under way") :]
    assert said in " ".join(terminal.seen.split())
    assert not re.search(r"\x1b\[(?:1A|2K)", after_the_bars)  # no line is taken back


def test_watch_draws_the_tree_and_survives_a_restart_of_the_controller(running) -> None:
    terminal = Terminal(running.home, "watch")
    terminal.wait_for("psa-10")
    running.stop_server()
    terminal.wait_for("NOT LIVE since ")
    running.restart_server()
    terminal.raw = ""
    terminal.wait_for("silent for 6 s")
    terminal.interrupt()
    assert terminal.finish() == 130


def test_on_a_small_screen_watch_counts_what_does_not_fit_and_says_first_that_the_controller_is_dead(running) -> None:
    terminal = Terminal(running.home, "watch", lines=8, columns=160)
    terminal.wait_for("… 4 more")  # of nine rows, below the headline and an empty line
    terminal.raw = ""
    running.stop_server()
    terminal.wait_for("… 5 more")
    assert terminal.seen.lstrip().startswith("NOT LIVE since ")
    assert terminal.seen.index("dialling again") < terminal.seen.index("absent, ok")
    terminal.interrupt()
    assert terminal.finish() == 130


def test_how_far_a_run_is_stands_above_the_tree_at_80_columns(running) -> None:
    running.farm.sentence = "run 2: 120 of 200 events, 3 min left"
    terminal = Terminal(running.home, "status", columns=80)
    assert terminal.finish() == 0
    assert terminal.seen.splitlines()[1].rstrip() == running.farm.sentence
    assert terminal.seen.count("120 of 200") == 1
    watching = Terminal(running.home, "watch", columns=80)
    watching.wait_for("psa-10")
    assert watching.seen.index(running.farm.sentence) < watching.seen.index("demo          absent")
    watching.interrupt()
    assert watching.finish() == 130


@pytest.mark.parametrize(("example", "advice"), [("sf01", "wait some seconds"), ("sf01/n1/psa-1", "go running")])
def test_what_to_do_about_a_lost_controller_is_to_wait_and_about_a_process_to_bring_it_back(
    running, example: str, advice: str
) -> None:
    with Farm(running.home.root) as farm:
        lines = causes_lines([Cause("does not answer", 1, example)], farm.status(depth=0).member)
    assert advice in str(lines[2])
    assert len(lines) == 4


@pytest.mark.parametrize("columns", [80, 60])
def test_status_keeps_to_the_width_of_the_terminal_and_cuts_neither_state_nor_sentence(running, columns: int) -> None:
    running.farm.long_status = True
    terminal = Terminal(running.home, "status", columns=columns)
    assert terminal.finish() == 0
    lines = [line.rstrip() for line in terminal.seen.splitlines()]
    rows = lines[lines.index("") :]
    assert [len(line) for line in lines if len(line) > columns] == []
    shown = ["demo", "sf01", "n1", "psa-1", "psa-2", "sf02", "n1", "psa-1", "psa-10"]
    assert [row.split()[:2] for row in rows if " absent " in row] == [[name, "absent"] for name in shown]
    first = next(number for number, row in enumerate(rows) if "psa-10  absent" in row)
    assert rows[first].startswith("      psa-10  absent  degraded    pid 4711; silent for 6 s")
    assert {row[: rows[first].index("pid")] for row in rows[first + 1 :]} == {" " * rows[first].index("pid")}
    assert " ".join(" ".join(rows[first:]).split()).endswith("pid 4711; silent for 6 s" + ", and" * 99)


def test_watch_keeps_a_row_to_one_line_at_a_terminal(running) -> None:
    running.farm.long_status = True
    terminal = Terminal(running.home, "watch", columns=80)
    terminal.wait_for("…")
    assert "pid 4711; silent for 6 s" in terminal.seen
    terminal.interrupt()
    assert terminal.finish() == 130


def test_status_in_a_pipe_has_each_member_in_one_line_however_long(running) -> None:
    running.farm.long_status = True
    done = subprocess.run(
        [sys.executable, "-P", "-m", "grange.cli", "status"],
        env=os.environ | {"GRANGE_HOME": running.home.root},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert done.stdout.splitlines()[-1].endswith("pid 4711; silent for 6 s" + ", and" * 99)


@pytest.mark.parametrize(
    ("arguments", "environment", "coloured"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        (["--color", "never"], {}, False),
        (["--color=always"], {"NO_COLOR": "1"}, True),
        ([], {"TERM": "dumb"}, False),
    ],
)
def test_what_is_drawn_at_a_terminal_is_coloured_unless_somebody_says_otherwise(
    running, arguments: list[str], environment: dict[str, str], coloured: bool
) -> None:
    terminal = Terminal(running.home, "status", *arguments, **environment)
    assert terminal.finish() == 0
    assert "psa-10  absent  degraded" in terminal.seen
    assert bool(re.search(r"\x1b\[[0-9;]+m", terminal.raw)) is coloured


@pytest.mark.parametrize(
    ("arguments", "environment", "coloured"),
    [
        ([], {}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        (["--color", "always"], {}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_what_goes_into_a_pipe_is_coloured_only_on_request_and_never_draws(
    running, arguments: list[str], environment: dict[str, str], coloured: bool
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    for words in (["status"], ["setup"]):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "grange.cli", *words, *arguments],
            env=inherited | {"GRANGE_HOME": running.home.root, "TERM": "xterm"} | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        )
        text = done.stdout + done.stderr
        assert bool(re.search(r"\x1b\[[0-9;]+m", text)) is (coloured and words == ["status"])
        assert not re.search(r"\x1b\[[0-9;?]*[A-Zhl]|\r", text)
        assert not re.search(r" \n", text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (5_250_000, "5.2 MB"), (32 * 10**9, "32.0 GB"), (10**15, "1000.0 TB")],
)
def test_sizes_are_in_decimal_units(count: int, text: str) -> None:
    assert size(count) == text


def test_a_node_whose_processes_are_not_well_says_how_many_where_why_is_told_above() -> None:
    def member(path: str, kind: Kind, health: Health, status: str) -> MemberStatus:
        name = path.rpartition("/")[2]
        return MemberStatus(
            path, kind, name, State.INITIAL, health, status, Membership.IN, None, (), 0.0, "psa", 0, "", 0, ""
        )

    died = "psa-1 on n1 was killed by SIGKILL"
    members = [
        member("sf01/n1", Kind.NODE, Health.ERROR, died),
        member("sf01/n1/psa-1", Kind.PROCESS, Health.ERROR, died),
        member("sf01/n1/psa-2", Kind.PROCESS, Health.OK, ""),
    ]
    screen = Console(file=io.StringIO(), width=100)
    screen.print(tree(members, {died}))
    assert isinstance(screen.file, io.StringIO)
    lines = [" ".join(line.split()) for line in screen.file.getvalue().splitlines()]
    assert lines[:2] == ["sf01/n1 initial error 1 of 2 not well", f"psa-1 initial error {died}"]


def test_the_trail_goes_on_below_itself_and_an_old_long_comment_is_cut_with_how_much_there_is(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = AuditEntry(1.0, "ann", Origin(), "stop", "", "beam lost " * 500, "done", "", "c1", "")
    entries = (old, AuditEntry(2.0, "bob", Origin(), "start", "", "again " * 30, "done", "", "c2", ""))

    class Trail:
        def audit(self, *_: object, **__: object) -> tuple[AuditEntry, ...]:
            return entries

    @contextmanager
    def opened(_: object) -> Iterator[Trail]:
        yield Trail()

    monkeypatch.setattr("grange.cli.offline.open_store", opened)
    show_audit(None, 50, 0.0, "", as_json=False)  # in a pipe an entry is one line
    newer, older = capsys.readouterr().out.splitlines()
    assert newer.count("again") == 30
    assert older.endswith("beam lost … and 4,500 characters more: --json)  done")
    monkeypatch.setattr(security, "console", lambda: Console(force_terminal=True, width=60))
    show_audit(None, 50, 0.0, "", as_json=False)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert len(first) <= 60
    assert second.startswith("    again ")
