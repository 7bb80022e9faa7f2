"""What a keeper decides, without a keeper."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from grange.core import keeping
from grange.core.keeping import Book, Fenced, Manifest, RequestError, Taking, WantedSlot, may_tell_exit
from grange.core.spawning import LIMIT_NAMES

SPAWN: dict[str, Any] = {
    "op": "spawn",
    "id": 1,
    "instance": "psa-2.1.1",
    "slot": "psa-2",
    "nonce": "n",
    "argv": ["/bin/true"],
    "environment": {},
    "working_directory": "/",
    "log": "/dev/null",
    "note": {"spec": "the agent's own"},
    "fence": [1, 1, 1],
}


def running(slot: str = "psa-2", instance: str = "psa-2.1.1") -> Manifest:
    return Manifest(slot, instance, "n", ["/bin/true"], "/dev/null", pid=42, start_ticks=7, boot_id="b")


def ended(slot: str = "psa-2", instance: str = "psa-2.1.1") -> Manifest:
    manifest = running(slot, instance)
    manifest.exit = {"code": 0}
    return manifest


# ---- spawning --------------------------------------------------------------------------------------------------------


def test_a_spawn_puts_a_manifest_into_the_book_before_there_is_a_process() -> None:
    book = Book()
    manifest = book.plan_spawn(SPAWN)
    assert manifest is not None
    assert (manifest.pid, manifest.alive, manifest.note) == (0, True, {"spec": "the agent's own"})
    assert book.manifests == {"psa-2": manifest}


def test_the_same_instance_is_not_started_twice() -> None:
    book = Book()
    book.plan_spawn(SPAWN)
    assert book.plan_spawn(SPAWN) is None


def test_a_slot_has_one_process_at_a_time() -> None:
    book = Book({"psa-2": running(instance="psa-2.1.0")})
    with pytest.raises(RequestError, match=r"slot psa-2 is held by instance psa-2\.1\.0 \(pid 42\)"):
        book.plan_spawn(SPAWN)


def test_an_exit_is_kept_until_it_is_acknowledged() -> None:
    book = Book({"psa-2": ended(instance="psa-2.1.0")})
    with pytest.raises(RequestError, match="not acknowledged"):
        book.plan_spawn(SPAWN)
    book.forget("psa-2.1.0")
    assert book.plan_spawn(SPAWN) is not None


def test_a_living_process_is_not_forgotten() -> None:
    book = Book({"psa-2": running()})
    with pytest.raises(RequestError, match="is alive"):
        book.forget("psa-2.1.1")
    assert book.manifests["psa-2"].alive


@pytest.mark.parametrize("slot", ["", ".", "..", "a/b", "a b", "x" * 101])
def test_a_slot_is_the_name_of_a_file(slot: str) -> None:
    with pytest.raises(RequestError, match="no name of a slot"):
        Book().plan_spawn(SPAWN | {"slot": slot})


@pytest.mark.parametrize("argv", [[], [1], ["ok", None]])
def test_a_command_is_a_list_of_words(argv: list[Any]) -> None:
    with pytest.raises(RequestError, match="argv must be a list of words"):
        Book().plan_spawn(SPAWN | {"argv": argv})


# ---- who commands ----------------------------------------------------------------------------------------------------


def test_only_the_agent_that_was_started_last_is_heard() -> None:
    book = Book()
    assert [book.allot_agent(), book.allot_agent()] == [1, 2]
    book.check_agent(2)
    with pytest.raises(Fenced, match="agent 1 was replaced by agent 2: it ends itself"):
        book.check_agent(1)
    with pytest.raises(RequestError, match="agent 3 was never started"):
        book.check_agent(3)


def test_a_rise_is_told_so_that_it_can_be_persisted_before_acting() -> None:
    book = Book(agent=1)
    assert book.check_fence([1, 1, 1]) is True
    assert book.parents == (), "not before it is on disk"
    book.parents = (1, 1)
    assert book.check_fence([1, 1, 1]) is False
    assert book.check_fence([1, 2, 1]) is True


def test_lower_incarnations_are_refused_and_change_nothing() -> None:
    book = Book(parents=(2, 1), agent=1)
    with pytest.raises(Fenced) as caught:
        book.check_fence([1, 9, 1])
    assert str(caught.value) == "incarnations [1, 9] are lower than [2, 1]: a newer controller has taken over"
    assert book.parents == (2, 1)


# ---- adoption --------------------------------------------------------------------------------------------------------


def test_the_same_process_of_the_same_boot_is_adopted() -> None:
    assert keeping.adopted(running(), "b", 7) is None


@pytest.mark.parametrize(
    ("boot_id", "start_ticks", "why"),
    [("other", 7, "restarted"), ("b", 8, "no keeper was there"), ("b", None, "no keeper was there")],
)
def test_another_process_with_the_same_number_is_not_ours(boot_id: str, start_ticks: int | None, why: str) -> None:
    exit_status = keeping.adopted(running(), boot_id, start_ticks)
    assert exit_status is not None
    assert why in exit_status["unknown"]


def test_the_process_of_a_manifest_without_a_process_id_holds_the_lock_leads_a_session_and_has_the_nonce() -> None:
    def stat(pid: int, session: int, start_ticks: int) -> keeping.ProcessStat:
        return keeping.ProcessStat(pid, "psa", "S", 1, pid, session, start_ticks)

    own, child, daemon, foreign = stat(9, 9, 50), stat(3, 9, 51), stat(4, 4, 60), stat(2, 2, 10)
    holders = [(daemon, "n"), (child, "n"), (own, "n"), (foreign, "")]
    assert keeping.claimant(running(), holders) == own
    assert keeping.claimant(running(), [(child, "n"), (foreign, "")]) is None


# ---- labels ----------------------------------------------------------------------------------------------------------

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max realtime priority     0                    0
Max realtime timeout      {soft:<20} unlimited            us
"""


def test_each_instance_has_a_label_of_its_own_that_a_later_keeper_makes_of_its_book() -> None:
    first, second, elsewhere = running(instance="psa-2.1.1"), running(instance="psa-2.1.2"), running()
    elsewhere.log = "/other/home/logs/psa-2.1.1.log"
    labels = [manifest.label for manifest in (first, second, elsewhere)]
    assert len(set(labels)) == 3
    assert all(keeping.LABEL_LEAST_US <= label < 2 * keeping.LABEL_LEAST_US for label in labels)
    book, _ = keeping.replay(keeping.manifest_line(first))
    assert book["psa-2"].label == first.label


def test_a_label_is_read_from_what_the_kernel_tells_of_the_limits_of_a_process() -> None:
    label = running().label
    assert keeping.parse_label(LIMITS.format(soft=label)) == label


@pytest.mark.parametrize(
    "limits", ["", LIMITS.format(soft="unlimited"), LIMITS.format(soft=200000), "Max realtime timeout"]
)
def test_a_limit_that_others_have_set_is_no_label(limits: str) -> None:
    assert keeping.parse_label(limits) == 0


# ---- the book on disk ------------------------------------------------------------------------------------------------


def test_the_book_is_what_its_lines_come_down_to() -> None:
    first, second, third = running("psa-1", "a"), running("psa-2", "b"), running("psa-3", "c")
    lines = [keeping.manifest_line(manifest) for manifest in (first, second, third)]
    second.exit, second.note = {"signal": 9}, {"said": "later"}
    lines += [keeping.change_line(second, ("exit", "note")), keeping.forgotten_line("psa-3")]
    assert keeping.replay("\n".join(lines)) == ({"psa-1": first, "psa-2": second}, [])


@pytest.mark.parametrize(
    "line",
    ['{"manifest": {"slot": 1}}', '{"slot": "psa-9", "changed": {}}', '{"slot": "psa-1", "changed": {"x": 1}}', "[]"],
)
def test_a_line_that_says_nothing_is_left_out_and_named(line: str) -> None:
    manifest = running("psa-1", "a")
    text = "\n".join((keeping.manifest_line(manifest), line, keeping.change_line(manifest, ["pid"])))
    manifests, [problem] = keeping.replay(text)
    assert manifests == {"psa-1": manifest}
    assert problem.startswith("line 2 is left out: ")


def test_the_end_of_the_book_may_be_torn_anywhere() -> None:
    manifest = running("psa-1", "a")
    whole = keeping.manifest_line(manifest) + "\n"
    line = keeping.forgotten_line("psa-1")
    for length in range(1, len(line)):
        assert keeping.replay(whole + line[:length])[0] == {"psa-1": manifest}
    assert keeping.replay(whole + line)[0] == {}


def test_a_manifest_of_the_first_version_is_read() -> None:
    manifest = ended()
    assert Manifest.from_json(json.dumps(manifest.row())) == manifest


@pytest.mark.parametrize("text", ["", "{", "[]", '{"slot": 1, "colour": 2}', "{}"])
def test_a_torn_manifest_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="not a manifest"):
        Manifest.from_json(text)


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_the_keeper_does_not_end_while_a_process_is_alive() -> None:
    book = Book({"psa-1": ended("psa-1"), "psa-2": running()})
    with pytest.raises(RequestError, match=r"1 of this node's processes are alive: psa-2 \(pid 42\)"):
        book.check_end()
    book.manifests["psa-2"].exit = {"signal": 15}
    book.check_end()


def test_an_agent_that_fails_again_and_again_is_started_later_and_later_but_for_ever() -> None:
    restarts = keeping.AgentRestarts()
    delays = [restarts.ended(0.5) for _ in range(8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert restarts.ended(60.0) == 0.1


def test_an_agent_hangs_when_it_has_pinged_once_and_then_not_for_long() -> None:
    silence = keeping.AgentSilence(looked_s=100.0)
    assert not any(silence.hangs(now) for now in range(102, 160, 2))  # it has only just been started, on a busy machine
    silence.pinged(160.0)
    assert [silence.hangs(now) for now in (162.0, 164.0, 166.0, 168.0, 170.0, 172.0)] == [False] * 5 + [True]
    silence.started()
    assert not silence.hangs(174.0)


def test_an_agent_that_a_new_keeper_finds_there_and_does_not_hear_hangs() -> None:
    silence = keeping.AgentSilence(looked_s=100.0)
    silence.started()
    silence.adopted(100.0)
    assert [now for now in range(102, 126, 2) if silence.hangs(now)] == [122, 124]
    silence.pinged(124.0)
    assert [now for now in range(126, 138, 2) if silence.hangs(now)] == [136]


def test_a_keeper_that_was_stopped_itself_gives_the_agent_its_time_anew() -> None:
    silence = keeping.AgentSilence(pinged_s=100.0, looked_s=101.0)
    assert [silence.hangs(now) for now in (160.0, 162.0, 164.0, 166.0, 168.0, 170.0, 172.0)] == [False] * 6 + [True]


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sleep", "a (b) c", ") S 1 1", ""])
def test_a_process_may_have_any_name(name: str) -> None:
    text = f"42 ({name}) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3"
    assert keeping.parse_stat(text) == keeping.ProcessStat(42, name, "S", 1, 40, 39, 98765)


def test_descendants_are_found_through_their_parents() -> None:
    def stat(pid: int, parent: int) -> keeping.ProcessStat:
        return keeping.ProcessStat(pid, "x", "S", parent, pid, pid, 0)

    table = [stat(1, 0), stat(10, 1), stat(11, 10), stat(12, 11), stat(20, 1)]
    assert keeping.descendants(table, [10, 99]) == {10, 11, 12}


def test_a_long_socket_path_is_refused_with_the_remedy() -> None:
    keeping.check_socket_path("/" + "x" * 106)
    with pytest.raises(RequestError, match=r"108 bytes, .* at most 107: choose a shorter home"):
        keeping.check_socket_path("/" + "x" * 107)


def test_a_process_gets_a_clean_environment() -> None:
    own = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "AWS_SECRET": "s", "PYTHONPATH": "p", "GRANGE_X": "x"}
    given = {"MINE": "1", "HOME": "/other"}
    cleaned = keeping.clean_environment(own, given)
    assert cleaned == {"PATH": "/bin", "HOME": "/other", "LC_ALL": "C", "MINE": "1"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"nonsense", "one line of JSON"),
        (b"[]", "one object of JSON"),
        (b'{"op": "dance"}', "possible are hello, spawn"),
        (b'{"op": "forget"}', "'instance' must be str"),
        (b'{"op": "fence", "fence": ["one"]}', "whole numbers"),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(line: bytes, what: str) -> None:
    with pytest.raises(RequestError, match=what):
        keeping.check_request(keeping.parse_line(line))


def test_a_notification_is_a_set_of_assignments() -> None:
    assert keeping.parse_notification(b"READY=1\nSTATUS=a=b\nnoise\n") == {"READY": "1", "STATUS": "a=b"}


def test_the_file_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(keeping.__file__).read_text())
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imports} <= sys.stdlib_module_names


# ---- spawn options ---------------------------------------------------------------------------------------------------


def test_the_keeper_can_set_every_limit_that_a_role_may_name() -> None:
    assert keeping.RLIMITS.keys() == LIMIT_NAMES.keys()


def test_options_that_can_be_carried_out_are_let_through() -> None:
    template = {"key": "Psa-1", "argv": ["python"], "environment": {}}
    options = {"limits": {"open_files": 64}, "cpus": [0, 1], "nice": 5, "template": template}
    assert keeping.check_request(SPAWN | {"options": options})["options"] == options


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["nice"], "options must be dict"),
        ({"umask": 18}, "options has no 'umask'"),
        ({"nice": "5"}, "'nice' must be int"),
        ({"limits": {"open_files": "64"}}, "'open_files' = '64' is no limit"),
        ({"limits": {"files": 64}}, "'files' = 64 is no limit"),
        ({"cpus": ["0"]}, "cpus are whole numbers"),
        ({"template": {"key": "x"}}, "a template has key, argv, environment"),
        ({"template": {"key": "../x", "argv": [], "environment": {}}}, "a template has key, argv, environment"),
    ],
)
def test_options_that_could_not_be_carried_out_are_refused(options: Any, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        keeping.check_request(SPAWN | {"options": options})


# ---- slots, and what is left in them ---------------------------------------------------------------------------------


def test_what_holds_a_wanted_slot_is_terminated_then_killed_and_at_last_the_process_is_given_up() -> None:
    wanted = WantedSlot(wanted_s=100.0)
    seen = []
    for now in (100.0, 102.9, 103.0, 104.9):
        assert wanted.look(now, is_free=False, is_unwanted=False) is Taking.END_HOLDERS
        seen.append([wanted.signal_for(now, pid) for pid in (7, 8)])
    assert seen == [["TERM", "TERM"], ["", ""], ["KILL", "KILL"], ["KILL", "KILL"]]
    assert wanted.look(105.0, is_free=False, is_unwanted=False) is Taking.GIVE_UP


def test_a_slot_that_is_free_is_taken_and_one_that_is_not_wanted_any_more_is_let_be() -> None:
    wanted = WantedSlot(wanted_s=100.0)
    assert wanted.look(200.0, is_free=True, is_unwanted=True) is Taking.START
    assert wanted.look(100.1, is_free=False, is_unwanted=True) is Taking.DROP


def test_an_exit_is_told_when_nothing_of_the_process_is_left_or_when_that_does_not_go() -> None:
    assert may_tell_exit(now=100.0, ended_s=100.0, is_left=False)
    assert not may_tell_exit(now=101.9, ended_s=100.0, is_left=True)
    assert may_tell_exit(now=102.0, ended_s=100.0, is_left=True)
