"""Logs: the last lines of them, and a bound for the disk."""

import os
from pathlib import Path

from grange.supervisor import output
from grange.supervisor.node_directory import INSTANCE_LOGS_KEPT, NodeDirectory


def test_the_last_lines_that_say_something_go_with_a_failure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d\n\n" % n for n in range(40)) + b"\xff torn")
    lines = output.last_lines(log)
    assert lines[-2:] == ("line 39", "\N{REPLACEMENT CHARACTER} torn")
    assert len(lines) == output.LAST_LINES


def test_a_log_that_does_not_exist_has_no_last_lines(tmp_path: Path) -> None:
    assert output.last_lines(tmp_path / "nobody") == ()


def test_a_large_log_is_read_from_its_end_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (2 * output.TAIL_BYTES_MAX) + b"\nlast\n")
    with open(log, "rb") as file:
        data = output.tail(file, 5)
    assert len(data) <= output.TAIL_BYTES_MAX
    assert data.endswith(b"\nlast\n")


def test_a_log_that_is_too_large_is_copied_and_truncated_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(writer, b"0123456789")
        assert not output.rotate(log, 10)
        os.write(writer, b"x")
        assert output.rotate(log, 10)
        os.write(writer, b"after")
    finally:
        os.close(writer)
    assert log.read_bytes() == b"after"
    assert (tmp_path / "log.1").read_bytes() == b"123456789x", "no more than the bound is kept"


def test_a_log_that_is_gone_needs_no_rotation(tmp_path: Path) -> None:
    assert not output.rotate(tmp_path / "nobody", 10)


async def test_a_follower_goes_on_after_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"the first line\n")
    pieces = output.follow(log, 1, on=True)
    assert await anext(pieces) == b"the first line\n"
    assert output.rotate(log, 10)
    log.write_bytes(b"again\n")
    assert await anext(pieces) == b"again\n"
    await pieces.aclose()  # type: ignore[attr-defined]


def test_of_each_slot_the_newest_logs_are_kept(tmp_path: Path) -> None:
    directory = NodeDirectory(tmp_path)
    (tmp_path / "logs").mkdir()
    names = [f"psa-1.1.{n}.log" for n in range(9, 12)] + ["psa-1.2.1.log", "psa-10.1.1.log", "psa-1.1.9.log.1"]
    for name in names:
        (tmp_path / "logs" / name).touch()
    assert directory.newest_log("psa-1") == directory.log("psa-1.2.1")
    assert directory.newest_log("psa-2") is None
    directory.prune_logs("psa-1")
    left = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert left == ["psa-1.1.10.log", "psa-1.1.11.log", "psa-1.2.1.log", "psa-10.1.1.log"]
    assert len(left) == INSTANCE_LOGS_KEPT + 1
