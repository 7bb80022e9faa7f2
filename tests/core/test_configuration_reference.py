"""The documentation says what the program reads."""

import re
from pathlib import Path

from grange.core.configuration_reference import reference
from grange.core.configuration_text import parse
from grange.core.configuration_writing import to_json
from grange.core.expansion import expand_farm

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_tables_of_keys_are_those_that_the_program_prints() -> None:
    """When it fails: print grange.core.configuration_reference.reference() into docs/configuration.md."""
    assert reference() in DOCUMENT


def test_the_example_in_the_documentation_is_a_sound_farm_without_warnings() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    farm = parse(example, "toml")
    assert farm.warnings == ()
    assert parse(to_json(farm), "json") == farm
    (sub_farm,) = expand_farm(farm, "r").sub_farms
    assert {role.name: role.rank for role in sub_farm.roles} == {"producer": 0, "trigger": 1, "psa": 1, "builder": 2}
    on_first = [process.slot for process in sub_farm.processes if process.node == "hlt001"]
    assert on_first == ["producer-1", "trigger-1", "psa-1", "psa-2", "psa-3", "builder-1"]
