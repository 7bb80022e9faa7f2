"""A member's page from a real farm: whoever knows the member best is asked, and what does not answer is named."""

import asyncio
import json
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from typer.testing import CliRunner, Result

from grange.cli.main import app
from grange.client import AsyncFarm, Farm, MemberPage
from grange.client.person import user_name
from grange.core.errors import InvalidInput, UnknownMember
from grange.core.home import Home
from grange.core.names import Command, Health, Kind, State
from grange.proto.login import log_in

WORKER = "sf01/n1/worker-1"
SAYS = ["sh", "-c", "echo first; echo second; echo third; exec sleep 100000"]
FULL = {
    "command": SAYS,
    "count": 2,
    "quorum": 1,
    "environment": {"PLACE": "{node}"},
    "limits": {"open_files": 512},
    "nice": 3,
    "parameters": {"threshold_kev": 20, "weights": [1, 0.5]},
    "boot_timeout_s": 12.0,
}


async def grange(home: Home, *arguments: str) -> Result:
    """The command in this process, in a thread of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["--home", home.root, *arguments], catch_exceptions=False)


async def booted(farm: AsyncFarm, live: Any, **role: Any) -> None:
    await live.use(farm, worker=role or FULL)
    await farm.go("booted")


async def test_a_process_has_its_row_its_configuration_its_role_and_the_end_of_its_log(
    farm: AsyncFarm, live: Any
) -> None:
    await booted(farm, live)
    page = await farm.show(WORKER, lines=2)
    assert (page.member.kind, page.member.state, page.member.pid) == (Kind.PROCESS, State.BOOTED, live.pid(WORKER))
    assert page.process is not None
    spec, role = page.process.configuration, page.process.role
    assert (spec.argv, spec.environment, spec.parameters) == (tuple(SAYS), {"PLACE": "n1"}, FULL["parameters"])
    assert (spec.options.limits, spec.options.nice) == ({"open_files": 512}, 3)
    assert (role.name, str(role.quorum), role.configured, role.needed, role.well) == ("worker", "1", 2, 1, 2)
    assert (list(role.limits_s)[:2], role.limits_s["boot"]) == (["boot", "load"], 12.0)
    assert page.log.lines == ("second", "third")
    assert page.log.file == live.home.process_log("sf01", "n1", page.member.instance)
    assert page.revision == page.selected_revision != ""
    assert (page.farm, page.trouble) == ("live", "")


async def test_a_page_has_the_story_of_every_level_in_order(farm: AsyncFarm, live: Any) -> None:
    await booted(farm, live)
    story = (await farm.show(WORKER, lines=1000)).story
    assert {"", "sf01", "sf01/n1", WORKER} == {line.member for line in story}
    assert [line.at_unix_s for line in story] == sorted(line.at_unix_s for line in story)
    assert len((await farm.show(WORKER, lines=3)).story) == 3


async def test_the_figures_of_a_process_come_and_are_fresh(farm: AsyncFarm, live: Any) -> None:
    await booted(farm, live)

    async def sampled() -> MemberPage | None:
        page = await farm.show(WORKER)
        return page if page.process is not None and page.process.figures is not None else None

    page = await live.eventually(sampled, "no figures came")
    figures = page.process.figures
    assert (figures.threads, figures.rss_bytes > 0, figures.open_files > 0) == (1, True, True)
    assert 0 < page.process.figures_unix_s <= page.at_unix_s


async def test_a_node_shows_its_host_its_agent_its_keeper_its_processes_and_the_agents_log(
    farm: AsyncFarm, live: Any
) -> None:
    await booted(farm, live)
    page = await farm.show("sf01/n1")
    node = page.node
    assert node is not None
    assert (node.host, node.agent_pid, node.keeper_pid) == (
        os.uname().nodename,
        live.pid("agent sf01/n1"),
        live.pid("keeper sf01/n1"),
    )
    assert (node.directory, node.agent_version) == (live.home.node_directory("sf01", "n1"), page.version)
    assert 0 < node.attached_unix_s <= page.at_unix_s
    assert [member.path for member in page.members] == [WORKER]
    assert page.log.file == f"{node.directory}/agent.log"
    assert "attached to" in page.log.lines[-1]


async def test_a_keeper_that_was_killed_is_in_the_nodes_story_and_the_next_one_on_its_page(
    farm: AsyncFarm, live: Any
) -> None:
    await booted(farm, live)
    killed = await live.kill("keeper sf01/n1")

    async def replaced() -> MemberPage | None:
        page = await farm.show("sf01/n1")
        return page if page.node is not None and page.node.keeper_pid not in (0, killed) else None

    page = await live.eventually(replaced, "no other keeper was told of")
    texts = [line.text for line in page.story]
    gone = f"its keeper, pid {killed}, is gone; its processes run on, and its agent starts another"
    assert texts[texts.index(gone) + 1] == f"its keeper is pid {page.node.keeper_pid}"
    assert (await farm.story("sf01/n1")).story[-1].text == texts[-1]


async def test_a_sub_farm_shows_its_controller_its_roles_and_its_log(farm: AsyncFarm, live: Any) -> None:
    await booted(farm, live)
    page = await farm.show("sf01")
    controller = page.controller
    assert controller is not None
    assert (controller.pid, controller.address) == (live.pid("sf01"), live.home.sub_farm_address("sf01"))
    assert (controller.version, len(controller.incarnations)) == (page.version, 2)
    assert 0 < controller.attached_unix_s <= page.at_unix_s
    assert controller.goal is not None
    assert (controller.goal.doing, controller.goal.person, controller.goal.outcome) == (
        "go booted",
        user_name(),
        "done",
    )
    assert [role.name for role in controller.roles] == ["worker"]
    assert [member.path for member in page.members] == ["sf01/n1", "sf01/n2"]
    assert page.log.file == live.home.sub_farm_log("sf01")
    assert page.log.lines


async def test_the_farm_shows_its_controller_and_its_sub_farms(farm: AsyncFarm, live: Any) -> None:
    page = await farm.show()
    assert page.controller is not None
    assert (page.controller.pid, page.controller.address) == (live.pid("farm"), live.home.farm_address)
    assert [member.path for member in page.members] == ["sf01", "sf02"]
    assert page.log.file == live.home.farm_log


async def test_every_program_of_the_farm_writes_its_log_with_local_time_and_its_distance_from_utc(
    farm: AsyncFarm, live: Any
) -> None:
    await booted(farm, live)
    node = live.home.node_directory("sf01", "n1")
    logs = live.home.farm_log, live.home.sub_farm_log("sf01"), live.home.agent_log("sf01", "n1"), f"{node}/keeper.log"
    for log in logs:
        first = (await asyncio.to_thread(Path(log).read_text)).splitlines()[0]
        written = datetime.fromisoformat(first[: len("2026-11-22 17:52:45.123+01:00")])
        assert written.utcoffset() == written.astimezone().utcoffset(), first
        assert first[10] == " "


async def test_a_process_that_died_says_how_and_why_it_is_out(farm: AsyncFarm, live: Any) -> None:
    await booted(farm, live)
    await live.kill(WORKER)

    async def faulty() -> MemberPage | None:
        page = await farm.show(WORKER)
        return page if page.process is not None and page.process.fault else None

    page = await live.eventually(faulty, "the death was not told")
    assert page.process.fault.startswith("worker-1 on n1 was killed by SIGKILL while it was booted")
    assert page.process.failure.last_lines == ("first", "second", "third")
    assert page.process.membership == "out until it is well again: the quorum of role worker holds without it"
    assert page.log.lines[-1] == "third"


async def test_an_order_without_an_answer_is_on_the_page(farm: AsyncFarm, live: Any) -> None:
    await live.use(farm, worker={"command": ["sleep", "100000"], "ready": "notify"})
    boot = asyncio.create_task(farm.execute("boot", command_id="page-1", check=False))

    async def awaited() -> MemberPage | None:
        page = await farm.show(WORKER)
        return page if page.process is not None and page.process.awaited is not None else None

    page = await live.eventually(awaited, "no order was seen under way")
    assert page.process.awaited.command is Command.BOOT
    assert page.process.awaited.remaining_s > 0
    await farm.cancel("page-1")
    await asyncio.wait_for(boot, 20)


async def test_without_its_agent_a_process_has_its_page_and_says_who_does_not_answer(
    farm: AsyncFarm, live: Any
) -> None:
    await booted(farm, live)
    agent = live.pid("agent sf01/n1")
    os.kill(agent, signal.SIGSTOP)
    try:
        page = await farm.show(WORKER)
        assert page.log.problem in (
            "the agent of n1 has not answered within 1.5 s",
            "the agent of n1 is not attached",
        )

        async def unheard() -> MemberPage | None:
            page = await farm.show(WORKER)
            return page if page.process is not None and page.process.unheard else None

        page = await live.eventually(unheard, "the page does not say that the node is silent")
        assert (page.member.state, page.log.problem) == (State.UNKNOWN, "the agent of n1 is not attached")
        node = (await farm.show("sf01/n1")).node
        assert node is not None
        assert (node.agent_pid, node.attached_unix_s) == (0, 0.0)
    finally:
        os.kill(agent, signal.SIGCONT)


async def test_without_its_controller_a_member_has_its_configuration_and_nothing_is_claimed(
    farm: AsyncFarm, live: Any
) -> None:
    await booted(farm, live)
    controller = live.pid("sf01")
    os.kill(controller, signal.SIGSTOP)
    try:
        page = await farm.show(WORKER)
        assert page.trouble.startswith("the controller of sub-farm sf01 does not answer: ")
        assert (page.member.state, page.member.health) == (State.UNKNOWN, Health.DEGRADED)
        assert page.process is not None
        assert (page.process.configuration.argv, page.process.role.well) == (tuple(SAYS), None)
        page = await farm.show("sf01")
        assert page.trouble.startswith("the controller of sub-farm sf01 does not answer: ")
        assert page.controller is not None
        assert page.controller.address == live.home.sub_farm_address("sf01")
        assert page.log.lines
    finally:
        os.kill(controller, signal.SIGCONT)


async def test_an_unknown_member_has_no_page(farm: AsyncFarm, live: Any) -> None:
    for path in ("sf03", "sf01/n9", "sf01/n1/worker-9"):
        with pytest.raises(UnknownMember) as unknown:
            await farm.show(path)
        assert unknown.value.name == path


async def test_a_sub_farm_controller_answers_for_its_own_members(farm: AsyncFarm, live: Any) -> None:
    await booted(farm, live)
    async with AsyncFarm(address=live.home.sub_farm_address("sf01")) as below:
        page = await below.show(WORKER)
        assert (page.member.state, page.selected_revision) == (State.BOOTED, "")
        assert page.log.lines[-1] == "third"


async def test_the_synchronous_client_has_pages_too(farm: AsyncFarm, live: Any) -> None:
    def ask() -> MemberPage:
        with Farm(live.home.root) as client:
            return client.show("sf01/n1")

    assert (await asyncio.to_thread(ask)).member.path == "sf01/n1"


async def test_the_log_of_a_nodes_agent_is_read_like_that_of_a_process(farm: AsyncFarm, live: Any) -> None:
    log = b"".join([chunk async for chunk in farm.output("sf01/n1", lines=1)])
    assert b"grange.supervisor" in log
    with pytest.raises(InvalidInput) as refused:
        await anext(farm.output("sf01", lines=1))
    assert "grange logs" in refused.value.what_to_try


async def test_grange_show_prints_the_page_and_its_json(farm: AsyncFarm, live: Any) -> None:
    await booted(farm, live)
    result = await grange(live.home, "show", WORKER, "-n", "2")
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines[0] == f"{WORKER}: booted, ok"
    assert "  environment  PLACE=n1" in lines
    assert lines[-2:] == ["  second", "  third"]
    told = json.loads((await grange(live.home, "show", WORKER, "--json")).stdout)
    assert told["member"]["state"] == "booted"
    assert told["process"]["configuration"]["parameters"] == FULL["parameters"]


async def test_without_a_farm_controller_the_sub_farms_tells_and_without_both_the_configuration_and_the_log_are_there(
    farm: AsyncFarm, live: Any
) -> None:
    await booted(farm, live)
    await live.kill("farm")
    result = await grange(live.home, "show", WORKER)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{WORKER}: booted, ok")
    assert "this is told by the sub-farm's own" in result.stdout
    farm_page = await grange(live.home, "show")
    assert farm_page.exit_code == 0
    assert farm_page.stdout.startswith("live: unknown, degraded")
    await live.kill("sf02")  # which nobody but the farm controller starts again
    result = await grange(live.home, "show", "sf02/n3/worker-1")
    assert result.exit_code == 0
    assert result.stdout.startswith("sf02/n3/worker-1: unknown, degraded")
    assert "this is the selected configuration and what lies on this host. To go on: grange up" in result.stdout
    assert result.stdout.rstrip().endswith("third")
    assert (await grange(live.home, "show", "sf09")).exit_code == 2


async def test_a_page_can_be_asked_for_with_nothing_but_reflection(farm: AsyncFarm, live: Any) -> None:
    await booted(farm, live)

    metadata = (await log_in(live.home.farm_address, 20)).metadata

    def ask() -> Any:
        with grpc.insecure_channel(live.home.farm_address) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            method = pool.FindServiceByName("grange.v1.Control").FindMethodByName("Describe")
            request = GetMessageClass(method.input_type)(path=WORKER)
            answer = GetMessageClass(method.output_type)
            call = channel.unary_unary(
                "/grange.v1.Control/Describe", request.__class__.SerializeToString, answer.FromString
            )
            return call(request, timeout=20, metadata=metadata)

    page = (await asyncio.to_thread(ask)).page
    assert (page.row.path, list(page.process.configuration.argv)) == (WORKER, SAYS)
