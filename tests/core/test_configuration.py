"""The configuration: what people may write, what they are told when they slip, and that writing it out is exact."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grange.core.configuration import Configuration, to_document
from grange.core.configuration_text import from_document, parse
from grange.core.configuration_writing import to_json
from grange.core.names import Policy, Ready
from grange.core.plan import ALL, Quorum, StepLimits
from grange.core.problems import ConfigurationError
from grange.core.spelling import EXACT_MAX

FARM = """
[farm]
name = "demo"

[sub_farms.sf01]
nodes = ["hlt[001-002]"]
roles = ["producer", "trigger", "psa"]

[nodes."hlt[001-002]"]
labels = ["fast"]
resources = { cores = 16, gpu = 1 }

[roles.producer]
actor = "grange.actors.producer:Producer"
feedback = ["trigger"]
parameters = "input"
on = "first"

[roles.trigger]
command = ["/usr/bin/trigger", "--home", "{home}"]
reads = ["producer"]
ready = "notify"

[roles.psa]
actor = "grange.actors.psa:Psa"
count = 5
reads = ["trigger"]
quorum = "80%"
policy = "ignore"
stop_timeout_s = 12

[parameters.input]
file = "{home}/data/{sub_farm}.adf"
thresholds = [1, 2.5]
"""


def document(**changes: Any) -> dict[str, Any]:
    """A small sound document; `changes` are merged into its role `psa`."""
    return {
        "farm": {"name": "demo"},
        "sub_farms": {"sf01": {"nodes": ["n[1-2]"], "roles": ["psa"]}},
        "roles": {"psa": {"command": ["psa"], **changes}},
    }


def problems_of(content: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        from_document(content)
    return [str(problem) for problem in caught.value.problems]


def test_a_farm_written_as_toml_is_read_with_its_defaults() -> None:
    farm = parse(FARM, "toml")
    psa, trigger = farm.roles["psa"], farm.roles["trigger"]
    assert (psa.count, psa.quorum, psa.policy, psa.step_limits.stop_timeout_s) == (
        5,
        Quorum(fraction=0.8),
        Policy.IGNORE,
        12,
    )
    assert psa.step_limits == StepLimits(stop_timeout_s=12)
    assert (psa.readiness, trigger.readiness) == (Ready.ACTOR, Ready.NOTIFY)
    assert (psa.heartbeat_s, trigger.heartbeat_s) == (5.0, 0.0)
    assert (farm.farm.enrol_wait_s, farm.warnings) == (10.0, ())
    assert farm.nodes["hlt[001-002]"].resources == {"cores": 16.0, "gpu": 1.0}


def test_json_and_toml_say_the_same() -> None:
    farm = parse(FARM, "toml")
    assert parse(to_json(farm), "json") == farm
    assert parse(to_json(farm, defaults=True), "json") == farm


def test_a_stored_document_is_complete_and_an_exported_one_says_only_what_was_chosen() -> None:
    farm = from_document(document())
    assert to_document(farm)["roles"]["psa"]["boot_timeout_s"] == 45.0
    assert to_document(farm, defaults=False) == document()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("all", ALL),
        (1, Quorum(number=1)),
        (0, Quorum(number=0)),
        ("100%", Quorum(fraction=1.0)),
        ("33.3%", Quorum(fraction=0.333)),
        (0.5, Quorum(fraction=0.5)),
    ],
)
def test_a_quorum_is_all_a_number_or_a_fraction(written: Any, meant: Quorum) -> None:
    farm = from_document(document(quorum=written))
    assert farm.roles["psa"].quorum == meant
    assert from_document(to_document(farm)) == farm


@pytest.mark.parametrize("written", ["most", "0%", "101%", 1.0, 0.0, -1, True, None])
def test_any_other_quorum_is_refused(written: Any) -> None:
    assert problems_of(document(quorum=written)) == [
        'roles.psa.quorum: write "all", a number such as 3, or a fraction such as "50%" or 0.5'
    ]


def test_every_problem_is_found_at_once_and_each_has_its_place() -> None:
    broken = {
        "farm": {"name": "de mo", "enrol_wait": 3},
        "sub_farm": {},
        "sub_farms": {
            "sf01": {"nodes": ["n[1-2]", "n2"], "roles": []},
            "sf02": {"nodes": ["n[3-4"], "roles": ["producer", "triger"]},
        },
        "nodes": {"m1": {"resources": {"gpu": "one"}}},
        "roles": {
            "producer": {"actor": "grange", "feedback": ["trigger"], "parameters": "producr"},
            "trigger": {"actor": "a.b:C", "reads": ["psa"], "environment": {"NODE": "{nod}"}},
            "psa": {"actor": "a.b:C", "count": "3", "reads": ["trigger"], "policy": "ignor"},
            "psa-2": {"command": []},
            "sorter": [],
        },
        "parameters": {"producer": 3, "cuts": {"low": [1, {"high": "{home}{roll}"}]}},
    }
    assert problems_of(broken) == [
        'sub_farm: unknown key; did you mean "sub_farms"?',
        'farm.name: "de mo" is not a name: names are letters, digits, "_", "." and "-", '
        'and begin with neither "." nor "-"',
        'farm.enrol_wait: unknown key; did you mean "enrol_wait_s"?',
        'roles.producer.actor: "grange" is not of the form "package.module:Class" or "/path/file.py:Class"',
        'roles.psa.count: input should be a valid integer, not "3"',
        "roles.psa.policy: input should be 'ignore', 'restart', 'exclude_node' or 'stop_run', not \"ignor\"",
        "roles.psa-2.command: at least one entry is needed",
        "roles.sorter: a mapping of keys to values is expected",
        "parameters.producer: a mapping of keys to values is expected",
        'nodes.m1.resources.gpu: input should be a valid number, not "one"',
        "sub_farms.sf01.roles: a sub-farm needs at least one role",
        "sub_farms.sf01.nodes: node n2 is listed twice; a node belongs to one sub-farm, once",
        'sub_farms.sf02.nodes[1]: host list "n[3-4", character 2: "[" is not closed',
        'sub_farms.sf02.roles[1]: role "producer" reads "trigger", which does not run in this sub-farm; '
        'add "trigger" to sub_farms.sf02.roles',
        'sub_farms.sf02.roles[2]: there is no role "triger"; did you mean "trigger"?',
        "nodes.m1: none of these nodes is in a sub-farm; there are n1, n2",
        'roles.psa-2: a role may not end in "-" and digits: process names such as psa-2 are made that way; '
        'write "psa_2"',
        'roles.producer.parameters: there is no parameter set "producr"; did you mean "producer"?',
        'roles.trigger.environment.NODE: there is no placeholder {nod}; did you mean "node"? '
        '(for the text itself, put a space after "{")',
        "roles.psa.reads: the data flow goes in a circle: psa reads trigger reads psa; "
        "name one of these links under feedback instead",
        'parameters.cuts.low[2].high: there is no placeholder {roll}; did you mean "role"? '
        '(for the text itself, put a space after "{")',
    ]


def test_the_error_names_the_file_and_says_that_nothing_was_taken_over() -> None:
    with pytest.raises(ConfigurationError, match=r"farm\.json: 3 problems; nothing was taken over\n  farm: this key"):
        parse("{}", "json", source="farm.json")


@pytest.mark.parametrize(
    ("format", "text", "problem"),
    [
        ("json", '{\n  "a": 1,\n}', (3, 1, "this is not JSON: expecting property name enclosed in double quotes")),
        ("json", "", (1, 1, "this is not JSON: expecting value")),
        ("toml", "[farm]\nname = \n", (2, 8, "this is not TOML: invalid value")),
        ("toml", 'a = "', (1, 6, "this is not TOML: unterminated string")),
    ],
)
def test_a_slip_of_spelling_has_its_line_and_column(format: Any, text: str, problem: tuple[int, int, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, format)
    line, column, what = problem
    (found,) = caught.value.problems
    assert (found.line, found.column) == (line, column)
    assert found.what.startswith(what)
    assert str(found).startswith(f"line {line}, column {column}: ")


def test_json_that_would_lose_something_is_refused_with_each_place_and_beside_all_other_problems() -> None:
    text = """{"farm": {"name": "a", "name": "b"}, "farn": {"x": 1, "x": 2, "x": 3},
        "nodes": {"n1": {"resources": {"gpu": NaN}}},
        "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
        "roles": {"psa": {"command": ["psa"], "parameters": {"a": [1, {"b": -Infinity}]}}}}"""
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "json")
    assert [str(problem) for problem in caught.value.problems] == [
        "farm.name: this key is given 2 times in one mapping",
        "farn.x: this key is given 3 times in one mapping",
        'farn: unknown key; did you mean "farm"?',
        "roles.psa.parameters: a[2].b: -inf is not a number that JSON can say",
        "nodes.n1.resources.gpu: input should be a finite number, not NaN",
    ]


BEYOND = (
    ": a whole number beyond 9007199254740992 would not reach the actor as it is written; "
    "write it as text, or with a decimal point"
)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**400], ids=["above", "below", "far"])
def test_a_whole_number_that_an_actor_would_not_get_as_it_is_written_is_refused(number: int) -> None:
    content = document()
    content["parameters"] = {"common": {"seeds": [1, number]}}
    content["roles"]["psa"]["parameters"] = {"seed": {"of": number}}
    with pytest.raises(ConfigurationError) as caught:
        parse(json.dumps(content), "json")
    assert sorted(map(str, caught.value.problems)) == [
        f"parameters.common.seeds[2]{BEYOND}",
        f"roles.psa.parameters.seed.of{BEYOND}",
    ]


def test_the_largest_whole_numbers_that_reach_an_actor_are_taken_and_so_are_larger_ones_that_say_they_are_rounded() -> (
    None
):
    text = json.dumps(document(parameters={"a": 2**53, "b": -(2**53), "c": 2.0**60}))
    assert parse(text, "json").roles["psa"].parameters == {"a": 2**53, "b": -(2**53), "c": 2.0**60}


def test_a_whole_number_of_thousands_of_digits_is_refused_with_its_place() -> None:
    text = json.dumps(document(parameters={"a": 7})).replace("7", "7" * 5000)
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "json")
    assert [str(problem) for problem in caught.value.problems] == [f"roles.psa.parameters.a{BEYOND}"]


@pytest.mark.parametrize("format", ["json", "toml"])
def test_values_that_nest_too_deeply_to_be_read_have_line_and_column_of_the_hundred_and_first_bracket(
    format: Any,
) -> None:
    opened = {"json": '{"[{": [1],\n "farm": ', "toml": "# [[\nfarm = "}[format]
    with pytest.raises(ConfigurationError) as caught:
        parse(opened + "[" * 100_000, format)
    (problem,) = caught.value.problems
    column = {"json": 10 + 99, "toml": 8 + 100}[format]
    assert str(problem) == f"line 2, column {column}: values nest too deeply: more than 100 levels"


@pytest.mark.parametrize("content", [None, 3, "farm", [], [1]])
def test_what_is_no_mapping_is_refused(content: Any) -> None:
    assert problems_of(content) == ["a mapping of keys to values is expected"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"command": None}, "roles.psa: what to run is missing; give `command` or `actor`"),
        ({"actor": "a:B"}, "roles.psa: `command` and `actor` exclude each other; leave one out"),
        (
            {"command": None, "actor": "a:B", "ready": "settle"},
            "roles.psa.ready: an actor is ready by its first message; leave this key out",
        ),
        (
            {"heartbeat_timeout_s": 5},
            "roles.psa.heartbeat_timeout_s: a process that only settles sends no heartbeat; "
            "leave this key out, or use `ready: notify`",
        ),
        ({"ready": "probe"}, "roles.psa.probe: `ready: probe` needs the command that asks; give `probe`"),
        ({"probe": ["ask"]}, "roles.psa.probe: nobody asks for it; write `ready: probe`, or leave this key out"),
        (
            {"watchdog_timeout_s": 5, "alive_probe": ["ask"]},
            "roles.psa.alive_probe: a process is watched in one way, and this one has `watchdog_timeout_s`; "
            "leave one of them out, or switch it off with 0",
        ),
        (
            {"command": None, "actor": "a:B", "watchdog_timeout_s": 5},
            "roles.psa.watchdog_timeout_s: a process is watched in one way, and this one has `heartbeat_timeout_s`",
        ),
        ({"template": True}, "roles.psa.template: only a Python actor is forked from a template; give `actor`"),
        (
            {"limits": {"files": 3}},
            'roles.psa.limits.files: there is no limit "files": there are open_files, core_',
        ),
        ({"limits": {"open_files": -1}}, "roles.psa.limits.open_files: input should be greater than or equal to 0"),
        ({"cpus": "3-1"}, 'roles.psa.cpus: "3-1" is no processor or ascending range of them below 4096'),
        ({"nice": 20}, "roles.psa.nice: input should be less than or equal to 19, not 20"),
        ({"quorum": 2}, 'roles.psa.quorum: 2 can never be well: sub-farm sf01 has 1; write "all" or at most 1'),
        ({"count": 0}, "roles.psa.count: input should be greater than or equal to 1, not 0"),
        ({"count": 10_000, "per": "node"}, "roles.psa.count: 20000 processes in sub-farm sf01 are more than 10000"),
        ({"reads": ["psb"]}, 'roles.psa.reads[1]: there is no role "psb"; did you mean "psa"?'),
        ({"stop_timeout_s": 0}, "roles.psa.stop_timeout_s: input should be greater than 0, not 0"),
        ({"stop_timeout": 3}, 'roles.psa.stop_timeout: unknown key; did you mean "stop_timeout_s"?'),
        ({"environment": {"A=B": "x"}}, 'roles.psa.environment.A=B: "A=B" cannot name an environment variable'),
        ({"command": ["a\0b"]}, "roles.psa.command[1]: a NUL character can be passed neither to a process nor"),
        ({"command": ["\ud800"]}, "roles.psa.command[1]: half a surrogate pair is not a character"),
        ({"parameters": {"a": [float("nan")]}}, "roles.psa.parameters: a[1]: nan is not a number that JSON can say"),
        ({"parameters": 3}, "roles.psa.parameters: the name of a parameter set, or a mapping"),
        ({"command": "psa --fast"}, "roles.psa.command: a list is expected"),
    ],
)
def test_a_mistake_in_a_role_is_explained(changes: dict[str, Any], problem: str) -> None:
    found = problems_of(document(**changes))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_node_belongs_to_one_sub_farm() -> None:
    content = document()
    content["sub_farms"]["sf02"] = {"nodes": ["n2"], "roles": ["psa"]}
    assert problems_of(content) == [
        "sub_farms.sf02.nodes: node n2 is in sub-farm sf01 too; a node belongs to one sub-farm, once"
    ]


def test_a_node_is_described_once() -> None:
    content = document() | {"nodes": {"n[1-2]": {}, "n2": {"labels": ["x"]}}}
    assert problems_of(content) == ["nodes.n2: node n2 is described by nodes.n[1-2] too"]


@pytest.mark.parametrize("name", ["a/b", "@psa", "ps*", "p?", "p[1]", "", ".", "..", "-x", "ä", "a b", "x" * 65])
def test_a_name_that_would_confuse_a_path_is_refused(name: str) -> None:
    content = document()
    content["sub_farms"] = {name: content["sub_farms"]["sf01"]}
    assert any(found.startswith(f"sub_farms.{name}: ") for found in problems_of(content))


def test_what_nobody_uses_is_only_a_warning() -> None:
    content = document() | {"parameters": {"spare": {}}, "nodes": {"n[1-3]": {}}}
    content["roles"]["idle"] = {"command": ["idle"]}
    assert [str(warning) for warning in from_document(content).warnings] == [
        "roles.idle: no sub-farm runs this role",
        "parameters.spare: no role uses this parameter set",
        "nodes.n[1-3]: 1 of these nodes are in no sub-farm, such as n3",
    ]


def test_text_in_braces_that_is_no_placeholder_stays() -> None:
    farm = from_document(document(command=["awk", "{ print }", "{}", '{"a": 1}']))
    assert farm.roles["psa"].command == ("awk", "{ print }", "{}", '{"a": 1}')


def test_dates_of_toml_are_to_be_written_as_text() -> None:
    with pytest.raises(ConfigurationError, match="a date is not a value that JSON can say; write it as text"):
        parse(FARM + "day = 2026-05-01\n", "toml")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-EXACT_MAX, EXACT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab {é", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)
roles = st.fixed_dictionaries(
    {"command": st.lists(st.text("ab-é", max_size=3), min_size=1, max_size=3)},
    optional={
        "count": st.integers(1, 9),
        "per": st.sampled_from(["sub-farm", "node"]),
        "on": st.sampled_from(["all", "first"]),
        "quorum": st.sampled_from(["all", 1, "50%", 0.25]),
        "policy": st.sampled_from([policy.value for policy in Policy]),
        "parameters": st.dictionaries(st.text("abc", max_size=2), json_values, max_size=3),
        "start_timeout_s": st.integers(1, 99) | st.floats(0.1, 99),
    },
)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Any sound configuration with a data flow from lower to higher names."""
    written = draw(st.dictionaries(st.sampled_from("abcdef"), roles, min_size=1))
    for name, role in written.items():
        earlier = [other for other in sorted(written) if other < name]
        role["reads"] = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    sub_farms = {
        f"sf{position}": {"nodes": [f"n{position}x[1-{count}]"], "roles": sorted(written)}
        for position, count in enumerate(counts)
    }
    return from_document({"farm": {"name": "any"}, "sub_farms": sub_farms, "roles": written})


@given(configurations())
def test_writing_and_reading_any_configuration_gives_it_back(farm: Configuration) -> None:
    assert from_document(to_document(farm)) == farm
    assert from_document(json.loads(to_json(farm))) == farm
    assert to_json(parse(to_json(farm), "json")) == to_json(farm)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["psa", "n1", "all"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*document(), "psa", "sf01", "nodes", "command", "name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(anything)
def test_whatever_is_written_is_either_read_or_refused_with_reasons(content: Any) -> None:
    try:
        from_document(content)
    except ConfigurationError as refusal:
        reasons = refusal.problems
    else:
        return
    assert all(reason.what for reason in reasons)
