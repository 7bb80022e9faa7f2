"""Expansion: which processes a configuration means, and that a sub-farm's plan travels without loss."""

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grange.core.configuration_text import from_document
from grange.core.dataflow import rank_roles
from grange.core.expansion import expand_farm
from grange.core.names import Policy, Ready
from grange.core.plan import DataLink, FarmSpec, ProcessSpec, Quorum, RoleSpec, StepLimits, SubFarmSpec
from grange.core.plan_document import PlanDocumentError, sub_farm_document, sub_farm_from_document
from grange.core.restart import RestartSpec
from grange.core.spawning import Probing, SpawnOptions

CHAIN = ["producer", "trigger", "psa", "builder"]


def demo(**changes: dict[str, Any]) -> FarmSpec:
    roles: dict[str, dict[str, Any]] = {
        "producer": {"actor": "a:Producer", "feedback": ["trigger"], "on": "first", "parameters": "input"},
        "trigger": {"actor": "a:Trigger", "reads": ["producer"]},
        "psa": {"actor": "a:Psa", "reads": ["producer"], "count": 3, "quorum": "50%", "policy": "ignore"},
        "builder": {
            "command": ["{home}/builder", "{sub_farm}"],
            "reads": ["psa"],
            "environment": {"WHERE": "{node}"},
            "working_directory": "{home}/{role}/{index}",
        },
    }
    for name, change in changes.items():
        roles[name] |= change
    document = {
        "farm": {"name": "demo"},
        "sub_farms": {
            "sf10": {"nodes": ["m[1-3]"], "roles": CHAIN},
            "sf9": {"nodes": ["n[1-2]"], "roles": CHAIN},
        },
        "roles": roles,
        "parameters": {
            "input": {"file": "{home}/{farm}/{sub_farm}.adf", "ids": ["{role}-{index}", 1, None, {"n": "{node}"}]}
        },
    }
    return expand_farm(from_document(document), "abc")


def paths(spec: SubFarmSpec, role: str) -> list[str]:
    return [process.path for process in spec.processes if process.role == role]


def process(spec: FarmSpec, path: str) -> ProcessSpec:
    return next(process for sub in spec.sub_farms for process in sub.processes if process.path == path)


def test_sub_farms_come_in_natural_order_with_their_nodes_as_written() -> None:
    farm = demo()
    assert (farm.name, farm.revision) == ("demo", "abc")
    assert [(sub.name, sub.nodes) for sub in farm.sub_farms] == [("sf9", ("n1", "n2")), ("sf10", ("m1", "m2", "m3"))]


def test_processes_are_dealt_to_the_nodes_in_turn_and_numbered_from_node_to_node() -> None:
    farm = demo()
    assert paths(farm.sub_farms[0], "psa") == ["sf9/n1/psa-1", "sf9/n1/psa-2", "sf9/n2/psa-3"]
    assert paths(farm.sub_farms[1], "psa") == ["sf10/m1/psa-1", "sf10/m2/psa-2", "sf10/m3/psa-3"]


def test_a_count_per_node_is_met_on_every_node() -> None:
    farm = demo(psa={"count": 2, "per": "node"})
    expected = ["sf9/n1/psa-1", "sf9/n1/psa-2", "sf9/n2/psa-3", "sf9/n2/psa-4"]
    assert paths(farm.sub_farms[0], "psa") == expected


def test_a_role_on_the_first_node_stays_there() -> None:
    farm = demo(psa={"on": "first"}, builder={"on": "first", "per": "node", "count": 2})
    assert paths(farm.sub_farms[0], "psa") == ["sf9/n1/psa-1", "sf9/n1/psa-2", "sf9/n1/psa-3"]
    assert paths(farm.sub_farms[0], "builder") == ["sf9/n1/builder-1", "sf9/n1/builder-2"]


def test_roles_carry_rank_component_quorum_policy_and_limits() -> None:
    farm = demo(psa={"stop_timeout_s": 7})
    assert farm.sub_farms[0].role("psa") == RoleSpec(
        "psa", 1, "builder", Quorum(fraction=0.5), Policy.IGNORE, RestartSpec(), StepLimits(stop_timeout_s=7.0)
    )
    assert [role.rank for role in farm.sub_farms[0].roles] == [0, 1, 1, 2]


def test_a_process_knows_all_its_peers_and_which_links_are_feedback() -> None:
    farm = demo()
    psa = ("sf9/n1/psa-1", "sf9/n1/psa-2", "sf9/n2/psa-3")
    producer = process(farm, "sf9/n1/producer-1")
    assert producer.inputs == (DataLink("trigger", ("sf9/n1/trigger-1",), feedback=True),)
    assert producer.outputs == (DataLink("trigger", ("sf9/n1/trigger-1",)), DataLink("psa", psa))
    assert process(farm, "sf9/n1/trigger-1").outputs == (DataLink("producer", ("sf9/n1/producer-1",), feedback=True),)
    assert process(farm, "sf9/n1/builder-1").inputs == (DataLink("psa", psa),)


def test_placeholders_are_filled_in_except_the_home_which_only_the_agent_knows() -> None:
    farm = demo()
    builder = process(farm, "sf9/n1/builder-1")
    assert builder.argv == ("{home}/builder", "sf9")
    assert builder.environment == {"WHERE": "n1"}
    assert builder.working_directory == "{home}/builder/1"
    assert process(farm, "sf9/n1/producer-1").parameters == {
        "file": "{home}/demo/sf9.adf",
        "ids": ["producer-1", 1, None, {"n": "n1"}],
    }


def test_an_actor_has_its_class_and_a_command_its_arguments() -> None:
    farm = demo()
    psa, builder = process(farm, "sf9/n1/psa-1"), process(farm, "sf9/n1/builder-1")
    assert (psa.actor, psa.argv, psa.ready, psa.heartbeat_timeout_s) == ("a:Psa", (), Ready.ACTOR, 5.0)
    assert (builder.actor, builder.ready, builder.heartbeat_timeout_s) == ("", Ready.SETTLE, 0.0)


words = st.text("abz_-./é{}", max_size=5)
numbers = st.floats(0, 1e6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
links = st.lists(st.builds(DataLink, words, st.lists(words, max_size=3).map(tuple), st.booleans()), max_size=3).map(
    tuple
)
processes = st.builds(
    ProcessSpec,
    path=words,
    role=words,
    argv=st.lists(words, max_size=3).map(tuple),
    actor=words,
    ready=st.sampled_from(Ready),
    settle_time_s=numbers,
    working_directory=words,
    environment=st.dictionaries(words, words, max_size=2),
    heartbeat_timeout_s=numbers,
    options=st.builds(
        SpawnOptions,
        st.dictionaries(words, st.integers(0, 9), max_size=2),
        st.lists(st.integers(0, 9), max_size=3).map(tuple),
        st.integers(-20, 19),
        st.booleans(),
    ),
    probing=st.builds(Probing, st.lists(words, max_size=3).map(tuple), numbers, watchdog_timeout_s=numbers),
    parameters=st.dictionaries(words, values, max_size=3),
    inputs=links,
    outputs=links,
)
role_specs = st.builds(
    RoleSpec,
    name=words,
    rank=st.integers(0, 9),
    component=words,
    quorum=st.builds(Quorum, st.none() | st.integers(0, 9), st.none() | st.floats(0, 1)),
    policy=st.sampled_from(Policy),
    limits=st.builds(StepLimits, boot_timeout_s=numbers, kill_timeout_s=numbers),
)
flat_sub_farms = st.builds(
    SubFarmSpec,
    words,
    st.lists(words, max_size=3).map(tuple),
    st.lists(role_specs, max_size=3).map(tuple),
    st.lists(processes, max_size=3).map(tuple),
)


sub_farms = st.builds(replace, flat_sub_farms, sub_farms=st.lists(flat_sub_farms, max_size=2).map(tuple))


@given(sub_farms)
def test_a_plan_survives_being_written_as_json_exactly(spec: SubFarmSpec) -> None:
    written = json.dumps(sub_farm_document(spec), allow_nan=False)
    again = sub_farm_from_document(json.loads(written))
    assert again == spec
    assert json.dumps(sub_farm_document(again)) == written


@pytest.mark.parametrize(("values", "part"), [(SubFarmSpec, None), (RoleSpec, "roles"), (ProcessSpec, "processes")])
def test_a_document_has_every_field_of_the_plan(values: type, part: str | None) -> None:
    """When it fails: a field was added to core/plan.py that would be lost on the way; add it to the document."""
    document = sub_farm_document(demo().sub_farms[0])
    written = document if part is None else document[part][0]
    assert {field.name for field in fields(values)} <= written.keys()


def test_a_document_written_before_there_were_spawn_options_is_still_read() -> None:
    document = sub_farm_document(demo().sub_farms[0])
    for part in (document, *document["processes"]):
        for key in ("options", "probings", "probing"):
            part.pop(key, None)
    assert sub_farm_from_document(document) == demo().sub_farms[0]


def test_spawn_options_and_probes_of_a_role_reach_its_processes() -> None:
    farm = demo(
        builder={
            "limits": {"open_files": 64},
            "cpus": "0-1,3",
            "nice": 5,
            "ready": "probe",
            "probe": ["{home}/ask", "{role}-{index}"],
            "alive_probe": ["{home}/well", "{node}"],
            "alive_misses": 2,
        }
    )
    builder = process(farm, "sf9/n1/builder-1")
    assert builder.options == SpawnOptions({"open_files": 64}, (0, 1, 3), 5)
    assert builder.ready is Ready.PROBE
    assert builder.probing == Probing(("{home}/ask", "builder-1"), alive=("{home}/well", "n1"), alive_misses=2)


def test_what_processes_share_is_written_once() -> None:
    document = sub_farm_document(demo(psa={"count": 300}).sub_farms[0])
    assert len(document["processes"]) == 303
    assert len(json.dumps(document)) < 303 * 400


@pytest.mark.parametrize("document", [{}, {"format": 2}, {"format": 1}, [], None, {"format": 1, "links": 3}])
def test_a_document_that_is_no_plan_is_refused(document: Any) -> None:
    with pytest.raises(PlanDocumentError, match="fetch it anew"):
        sub_farm_from_document(document)


def test_a_farm_of_sixty_thousand_processes_expands() -> None:
    document = {
        "farm": {"name": "large"},
        "sub_farms": {
            f"sf{n:02d}": {"nodes": [f"n{n:02d}x[001-100]"], "roles": ["source", "worker"]} for n in range(20)
        },
        "roles": {
            "source": {"command": ["s"], "per": "node", "count": 10},
            "worker": {"command": ["w"], "per": "node", "count": 20, "reads": ["source"]},
        },
    }
    farm = expand_farm(from_document(document), "r")
    assert sum(len(sub.processes) for sub in farm.sub_farms) == 60_000
    # all processes of a role share one tuple of peers
    workers = [process for process in farm.sub_farms[0].processes if process.role == "worker"]
    assert len({id(worker.inputs) for worker in workers}) == 1


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.integers(1, 9), st.booleans(), st.sets(st.sampled_from("abcdef"))),
        min_size=1,
    ),
    st.integers(1, 4),
)
def test_every_process_is_named_once_and_every_link_has_two_ends(
    shape: dict[str, tuple[int, bool, set[str]]], nodes: int
) -> None:
    reads = {name: sorted(role for role in read & shape.keys() if role < name) for name, (_, _, read) in shape.items()}
    document = {
        "farm": {"name": "any"},
        "sub_farms": {"sf": {"nodes": [f"n[1-{nodes}]"], "roles": sorted(shape)}},
        "roles": {
            name: {"command": ["x"], "count": count, "per": "node" if per else "sub-farm", "reads": reads[name]}
            for name, (count, per, _) in shape.items()
        },
    }
    (sub,) = expand_farm(from_document(document), "r").sub_farms
    by_path = {process.path: process for process in sub.processes}
    assert len(by_path) == len(sub.processes) == sum(count * (nodes if per else 1) for count, per, _ in shape.values())
    places = rank_roles(reads)
    assert {role.name: (role.rank, role.component) for role in sub.roles} == {
        name: (place.rank, place.component) for name, place in places.items()
    }
    for name, (count, per, _) in shape.items():
        on_nodes = [sum(p.role == name and p.node == node for p in sub.processes) for node in sub.nodes]
        assert max(on_nodes) <= (count if per else math.ceil(count / nodes))
    for one in sub.processes:
        for link in one.inputs:
            for peer in link.peers:
                assert any(one.path in back.peers for back in by_path[peer].outputs if back.role == one.role)
