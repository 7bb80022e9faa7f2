"""The documents for authors of actors are enough: their numbers are those of the wire, and what they show works."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from grange.actors.actor import Actor
from grange.actors.surroundings import Surroundings
from grange.cli.main import app
from grange.core.names import Command, State
from grange.proto import actor_pb2, common_pb2
from grange.proto.words import to_wire

DOCS = Path(__file__).parents[2] / "docs"
CONTRACT = (DOCS / "actor-contract.md").read_text(encoding="utf-8")
GUIDE = (DOCS / "actor-guide.md").read_text(encoding="utf-8")
MESSAGES = {
    **actor_pb2.DESCRIPTOR.message_types_by_name,
    "OutputFile": common_pb2.DESCRIPTOR.message_types_by_name["OutputFile"],
}


@pytest.mark.parametrize("name", sorted(set(MESSAGES) - {"ActorAcknowledge", "ActorRefusal"}))
def test_the_fields_of_each_message_have_the_numbers_and_names_of_the_wire(name):
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", CONTRACT, re.MULTILINE)
    told = {int(number): word for number, word in re.findall(r"(\d) ([a-z_]+\w*)", re.sub(r"\(.*?\)", "", row))}
    assert told == {field.number: field.name for field in MESSAGES[name].fields}


def test_states_and_commands_have_the_numbers_of_the_wire():
    (text,) = re.findall(r"^States: (.*?)\n\n", CONTRACT, re.DOTALL | re.MULTILINE)
    states, commands = text.replace("\n", " ").split("Commands: ")
    for told, words in ((states, State), (commands, Command)):
        numbers = re.findall(r"(\d+) ([a-z]+)", told)
        assert numbers
        assert [int(number) for number, _ in numbers] == [to_wire(words(word)) for _, word in numbers]


def test_every_command_of_the_guide_is_one_of_grange():
    root = get_command(app)
    lines = re.findall(r"^\$ grange (.*?)(?: #.*)?$", GUIDE, re.MULTILINE)
    assert len(lines) > 5
    for words in map(str.split, lines):
        command = root.commands[words[0]]
        inner = getattr(command, "commands", {})
        assert not inner or words[1] in inner, words


def test_the_guides_way_to_report_a_file_leaves_it_whole_and_reported(tmp_path):
    (snippet,) = re.findall(r"```python\n(def process_stop.*?)```", GUIDE, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(snippet, namespace)
    mine = type("Mine", (Actor,), {"process_stop": namespace["process_stop"]})
    actor = mine(Surroundings(data_directory=tmp_path))
    actor.run_number = 7
    actor.count("blocks", 3)
    actor.process_stop()
    (file,) = tmp_path.iterdir()
    assert file.read_text() == "3 blocks\n"
    assert [(found.path, found.size_bytes) for found in actor.files] == [(str(file), 9)]
