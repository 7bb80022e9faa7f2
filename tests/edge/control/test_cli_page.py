"""The layout of a member's page: whole pages of fixed values, as they look on 80 columns."""

import io
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from grange.cli.page import _POLICY, MEMBERS_SHOWN, whole_page
from grange.cli.tree import causes_lines, counts_text, own_sentence, tree
from grange.client import MemberPage, MemberStatus
from grange.client.page import AwaitedOrder, ControllerPage, GoalPage, LogTail, NodePage, ProcessPage, RolePage
from grange.client.values import Cause, Count, OutputFile, StoryLine
from grange.core.names import Command, Health, Kind, Membership, Policy, Ready, State
from grange.core.plan import DataLink, ProcessSpec, Quorum
from grange.core.reports import Failure, Figures
from grange.core.spawning import Probing, SpawnOptions

NOW_S = 1_700_000_000.0  # 22:13:20 UTC
PSA = "sf01/hlt017/psa-2"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page tells local times."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def drawn(page: MemberPage, version: str = "0.1.0") -> str:
    """The page as on a terminal of 80 columns, without what is invisible at the ends of lines."""
    console = Console(file=io.StringIO(), width=80, highlight=False, emoji=False, markup=False)
    console.print(whole_page(page, version))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    return "\n".join(line.rstrip() for line in text.splitlines())


def member(path: str, kind: Kind, **more: object) -> MemberStatus:
    fields: dict[str, object] = {
        "path": path,
        "kind": kind,
        "name": path.rsplit("/", 1)[-1],
        "state": State.TAKING,
        "health": Health.OK,
        "status": "",
        "membership": Membership.IN,
        "busy": None,
        "counts": (),
        "heard_unix_s": NOW_S - 0.4,
        "role": "",
        "pid": 0,
        "instance": "",
        "run_number": 0,
        "revision": "",
    }
    return MemberStatus(**(fields | more))  # type: ignore[arg-type]


ROLE = RolePage("psa", 2, "stop_run", Quorum(fraction=0.5), 4, 2, 3, {"boot": 45.0, "stop": 30.0, "kill": 2.0}, 30.0)
SPEC = ProcessSpec(
    path=PSA,
    role="psa",
    argv=("/opt/psa/bin/psa", "--basis", "my basis.dat"),
    ready=Ready.PROBE,
    working_directory="/data/psa",
    environment={"OMP_NUM_THREADS": "1"},
    options=SpawnOptions({"open_files": 4096}, (0, 1), 5, False),
    probing=Probing(ready=("psa-ping",), alive=("psa-ping", "-a"), watchdog_timeout_s=3.0),
    parameters={"grid_mm": 2, "gains": [1, 0.5]},
    inputs=(DataLink("trigger", ("sf01/hlt017/trigger-1",)),),
    outputs=(DataLink("builder", tuple(f"sf01/hlt01{number}/builder-1" for number in range(6))),),
)
PAGE = MemberPage(
    member=member(PSA, Kind.PROCESS, role="psa", pid=4711, instance="psa-2.1.7", run_number=12, status="analysing"),
    at_unix_s=NOW_S,
    farm="agata",
    holder="ctl01 pid 100",
    version="0.1.0",
    trouble="",
    revision="a" * 64,
    selected_revision="b" * 64,
    possible=("pause", "stop"),
    members=(),
    counters={"psa": {"late": 0, "analysed": 5120}},
    story=(
        StoryLine(NOW_S - 60.5, "", "go running commanded by ann"),
        StoryLine(NOW_S - 59.25, PSA, "taking"),
    ),
    log=LogTail("hlt017", "/grange/nodes/sf01/hlt017/logs/psa-2.1.7.log", ("basis read", "ready"), ""),
    process=ProcessPage(
        fault="",
        membership="",
        unheard="",
        failure=None,
        awaited=None,
        figures=Figures(98.7, 345_600_000, 14, 55, 1_200_000_000, 3_400_000),
        figures_unix_s=NOW_S - 2.0,
        files=(OutputFile(PSA, "/data/run12/psa-2.adf", 12_300_000, "0123456789abcdef" * 4),),
        configuration=SPEC,
        role=ROLE,
        restarts=2,
        restarted_unix_s=NOW_S - 95.0,
    ),
    node=None,
    controller=None,
)


def test_a_process_that_is_well() -> None:
    assert drawn(PAGE) == (
        """\
sf01/hlt017/psa-2: taking, ok, run 12
analysing
told by ctl01 pid 100, grange 0.1.0, at 2023-11-14 22:13:20+00:00
possible now: pause, stop

now
  role       psa: 3 of 4 well, 2 needed
  process    pid 4711, instance psa-2.1.7
  heard      0.4 s ago
  restarted  2 times by its role's policy, last 1 min 35 s ago
  uses       99 % of a processor, 345.6 MB memory, 14 threads, 55 open files
             1.2 GB read, 3.4 MB written since its start (sampled 2 s ago)
  counted    analysed 5120  late 0
  file       /data/run12/psa-2.adf (12.3 MB, sha256 0123456789ab)

configuration aaaaaaaaaa; bbbbbbbbbb is selected for the next load
  command      /opt/psa/bin/psa --basis 'my basis.dat'
  ready        once this exits with 0, asked every 1 s: psa-ping
  hung         without WATCHDOG=1 for 3 s
  hung         when this fails 3 times in a row, asked every 10 s: psa-ping -a
               and ended 30 s later, if its role can do without it
  directory    /data/psa
  environment  OMP_NUM_THREADS=1
  limit        open_files 4096
  cpus         0,1
  nice         5
  at most      boot 45 s, stop 30 s, kill 2 s
  quorum       50% are needed; the run is stopped when too few are left
  reads        trigger: sf01/hlt017/trigger-1
  feeds        builder: sf01/hlt010/builder-1, sf01/hlt011/builder-1,
               sf01/hlt012/builder-1, sf01/hlt013/builder-1 and 2 more
  parameter    gains = [1, 0.5]
  parameter    grid_mm = 2

story
  2023-11-14 22:12:19.500+00:00  farm: go running commanded by ann
  2023-11-14 22:12:20.750+00:00  taking

log /grange/nodes/sf01/hlt017/logs/psa-2.1.7.log on hlt017
  basis read
  ready"""
    )


def test_a_process_that_died_begins_with_why() -> None:
    assert PAGE.process is not None
    reason = "psa-2 on hlt017 exited with code 2 before it was ready"
    died = replace(
        PAGE.process,
        fault=reason,
        membership="out until it is well again: the quorum of role psa holds without it",
        failure=Failure("died while starting", reason, ("no such calibration 'may-2'",)),
        awaited=AwaitedOrder(Command.BOOT, NOW_S - 3.0, 17.0),
        figures=None,
        files=(),
        restarts=0,
    )
    dead = member(
        PSA,
        Kind.PROCESS,
        state=State.INITIAL,
        health=Health.ERROR,
        status=reason,
        membership=Membership.OUT_BY_FAULT,
        heard_unix_s=0.0,
    )
    log = LogTail("hlt017", "/grange/psa-2.log", (), "the agent of hlt017 is not attached")
    text = drawn(replace(PAGE, member=dead, process=died, story=(), counters={}, log=log, possible=()))
    assert text.partition("\n\nconfiguration ")[0] == (
        """\
sf01/hlt017/psa-2: initial, error, out-by-fault
told by ctl01 pid 100, grange 0.1.0, at 2023-11-14 22:13:20+00:00

why
  psa-2 on hlt017 exited with code 2 before it was ready
  out until it is well again: the quorum of role psa holds without it
  waits for the answer to boot for 3 s, 17 s left
  its last lines were:
    no such calibration 'may-2'

now
  role  psa: 3 of 4 well, 2 needed"""
    )
    assert text.endswith("log /grange/psa-2.log on hlt017\n  the agent of hlt017 is not attached")


NODE = replace(
    PAGE,
    member=member("sf01/hlt017", Kind.NODE, status="agent 2 on hlt017"),
    members=(
        member("sf01/hlt017/psa-10", Kind.PROCESS, pid=4710, status="analysing"),
        member("sf01/hlt017/psa-9", Kind.PROCESS, pid=4709, status="analysing"),
        member(PSA, Kind.PROCESS, state=State.INITIAL, health=Health.ERROR, status="psa-2 on hlt017 was killed"),
    ),
    counters={},
    story=(),
    log=LogTail("hlt017", "/grange/nodes/sf01/hlt017/agent.log", (), ""),
    process=None,
    node=NodePage(
        "hlt017", "/grange/nodes/sf01/hlt017", 321, 2, "0.1.0", "9b0acec6-393e", NOW_S - 200.0, 320, False, ""
    ),
)


def test_a_node_with_its_ill_processes_first_and_the_others_in_their_order() -> None:
    assert drawn(NODE) == (
        """\
sf01/hlt017: taking, ok
agent 2 on hlt017
told by ctl01 pid 100, grange 0.1.0, at 2023-11-14 22:13:20+00:00
possible now: pause, stop

node
  host       hlt017, boot 9b0acec6-393e
  agent      pid 321, incarnation 2, grange 0.1.0
             attached for 3 min 20 s, heard 0.4 s ago
  keeper     pid 320
  directory  /grange/nodes/sf01/hlt017

processes
  psa-2   initial  error  psa-2 on hlt017 was killed
  psa-9   taking   ok     pid 4709; analysing
  psa-10  taking   ok     pid 4710; analysing

log /grange/nodes/sf01/hlt017/agent.log on hlt017
  empty"""
    )


def test_a_node_whose_agent_or_keeper_is_missing_or_of_another_version_says_so() -> None:
    assert NODE.node is not None
    lost = drawn(replace(NODE, node=replace(NODE.node, agent_pid=0, attached_unix_s=0.0, trouble="no such host")))
    assert "agent      none is attached; the last one was incarnation 2, heard 0.4 s ago" in lost
    assert "keeper     pid 320, as told last" in lost
    assert "launch     no such host" in lost
    other = drawn(replace(NODE, node=replace(NODE.node, agent_version="0.0.9", keeper_silent=True)))
    assert "grange 0.0.9 there, 0.1.0 here" in other
    assert "keeper     pid 320: it does not answer" in other


SUB_FARM = replace(
    NODE,
    member=member(
        "sf01",
        Kind.SUB_FARM,
        state=State.CONFIGURED,
        run_number=0,
        counts=(Count("psa", State.CONFIGURED, Health.OK, 3), Count("psa", State.INITIAL, Health.ERROR, 1)),
    ),
    selected_revision="a" * 64,
    members=(member("sf01/hlt017", Kind.NODE, state=State.CONFIGURED),),
    counters={"psa": {"analysed": 5120}},
    log=LogTail("ctl01", "/grange/sf/sf01/controller.log", ("serves",), ""),
    node=None,
    controller=ControllerPage(
        host="ctl01",
        pid=200,
        version="0.1.0",
        address="unix:/grange/sf/sf01/c.sock",
        boot_id="7c-1",
        incarnations=(4, 2),
        attached_unix_s=NOW_S - 3600.0,
        trouble="",
        goal=GoalPage("id-1", "start", "ann", NOW_S - 30.0, "failed", "psa-2 on hlt017 was killed"),
        roles=(ROLE, replace(ROLE, name="builder", well=1, policy="ignore")),
    ),
)


def test_a_sub_farm_with_its_controller_and_its_roles() -> None:
    assert drawn(SUB_FARM) == (
        """\
sf01: configured, ok
told by ctl01 pid 100, grange 0.1.0, at 2023-11-14 22:13:20+00:00
possible now: pause, stop

controller
  process        pid 200, grange 0.1.0
  address        unix:/grange/sf/sf01/c.sock
  host           ctl01, boot 7c-1
  incarnation    4.2
  attached       to the controller above for 1 h
  configuration  aaaaaaaaaa
  command        start by ann, 30 s ago: failed: psa-2 on hlt017 was killed
  holds          psa 3 configured, 1 initial (error)
  psa counted    analysed 5120

roles
  psa      3 of 4 well, 2 needed  the run is stopped when too few are left
  builder  1 of 4 well, 2 needed  the run goes on

nodes
  hlt017  configured  ok

log /grange/sf/sf01/controller.log on ctl01
  serves"""
    )


def test_a_controller_that_does_not_answer_is_not_said_to_be_anything() -> None:
    assert SUB_FARM.controller is not None
    silent = replace(SUB_FARM.controller, pid=0, attached_unix_s=0.0, goal=None, roles=())
    trouble = "the controller of sub-farm sf01 does not answer"
    text = drawn(replace(SUB_FARM, controller=silent, trouble=trouble))
    assert trouble in text
    assert "process        none answers; heard 0.4 s ago" in text
    assert "roles" not in text


def test_of_many_children_those_that_are_not_well_are_shown_and_the_rest_is_counted() -> None:
    well = [member(f"sf01/hlt{number:03}", Kind.NODE) for number in range(30)]
    ill = member("sf01/hlt999", Kind.NODE, health=Health.ERROR)
    text = drawn(replace(SUB_FARM, members=(*well, ill)))
    shown = text.partition("nodes\n")[2].splitlines()
    assert shown[0].startswith("  hlt999  taking  error")
    assert shown[MEMBERS_SHOWN] == "  and 11 more: grange status sf01"


def test_another_version_of_the_controller_is_said() -> None:
    assert "grange 0.1.0 there, 0.2.0 here" in drawn(PAGE, version="0.2.0")


def test_without_a_controller_nothing_is_claimed_of_agents_and_controllers() -> None:
    alone = {"holder": "", "version": "", "revision": "", "members": (), "trouble": "no controller answers"}
    assert NODE.node is not None
    node = drawn(replace(NODE, **alone, node=NodePage("", "/grange/n", 0, 0, "", "", 0.0, 0, False, "")))  # type: ignore[arg-type]
    assert node.partition("node\n")[2].startswith("  directory  /grange/n\n\nlog")
    process = drawn(replace(PAGE, **alone))  # type: ignore[arg-type]
    assert "configuration bbbbbbbbbb, the selected one" in process


def test_every_policy_is_told_in_words() -> None:
    assert _POLICY.keys() == set(Policy)
    told = {drawn(replace(PAGE, process=replace(PAGE.process, role=replace(ROLE, policy=policy)))) for policy in Policy}
    assert len(told) == len(Policy)
    assert not any(re.search(r"needed; \w+$", page, re.MULTILINE) for page in told)


def test_excluded_processes_are_counted_apart_and_who_returns_is_said_to() -> None:
    counts = (
        Count("psa", State.TAKING, Health.OK, 4),
        Count("psa", State.TAKING, Health.OK, 1, out=True),
        Count("psa", State.UNKNOWN, Health.ERROR, 1, out=True),
    )
    assert counts_text(member("sf01", Kind.SUB_FARM, counts=counts)) == "psa 4 taking, 2 excluded"
    row = tree([member(PSA, Kind.PROCESS, returning=True, status="died")])
    assert str(next(iter(row.columns[-1].cells))) == "returning; died"


def test_status_advises_to_recover_in_a_run_and_nothing_while_members_are_returning() -> None:
    top, causes = member("", Kind.FARM), [Cause("died", 1, PSA)]
    assert str(causes_lines(causes, top)[2]).strip() == "to bring them back into the run: grange recover"
    assert [str(line) for line in causes_lines(causes, top, returning=True)] == ["not well:", f"{PSA}: died", ""]


@pytest.mark.parametrize(
    ("status", "left"),
    [
        ("psa-3 was killed", None),
        ("run 12; psa-3 was killed", None),
        ("1,000 of 5,000 events; psa-3 was killed", "1,000 of 5,000 events"),
        ("run 12 was stopped: psa-3 was killed", "run 12 was stopped: psa-3 was killed"),
    ],
)
def test_of_a_sentence_that_says_a_known_cause_the_rest_is_told_if_it_says_something(
    status: str, left: str | None
) -> None:
    sentence = own_sentence(member("", Kind.FARM, status=status, run_number=12), {"psa-3 was killed"})
    assert (sentence.plain if sentence is not None else None) == left
