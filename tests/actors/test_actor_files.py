"""Actors that are files: named by their path, with their neighbours at hand, and clear when something is missing."""

import pytest

from grange.core.configuration_text import parse
from grange.core.names import Command, State
from grange.core.problems import ConfigurationError
from grange.proto.words import to_wire

ACTOR = """
from dataclasses import dataclass
from grange.actors.actor import Actor
from beside import GAIN

@dataclass
class Hit:
    gain: int

class Mine(Actor):
    def process_config(self):
        self.status = f"gain {Hit(GAIN).gain}"
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "beside.py").write_text("GAIN = 7\n")
    path = tmp_path / "signal.py"  # the name of a module of the standard library, which it must not hide
    path.write_text(ACTOR)
    return path


def test_an_actor_in_a_file_runs_and_may_import_what_lies_beside_it(agent, file):
    agent.spawn(f"{file}:Mine")
    (hello,) = agent.hellos()
    assert hello.actor_class == f"{file}:Mine"
    assert agent.do(Command.LOAD).ok
    assert agent.next_beat(lambda beat: beat.state == to_wire(State.LOADED)).status == "gain 7"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("{directory}/nothing.py:Mine", "there is no file {directory}/nothing.py on this node"),
        ("{directory}/signal.py:Yours", "has no actor class Yours (it has: Mine)"),
        ("{directory}/signal.py", "an actor is named package.module:Class, or /path/file.py:Class"),
    ],
)
def test_a_file_or_class_that_is_missing_is_said_in_one_line(agent, file, name, says):
    agent.spawn(name.format(directory=file.parent))
    code, text = agent.ended()
    assert code == 2
    assert says.format(directory=file.parent) in text
    assert len(text.splitlines()) == 1


def test_a_file_that_fails_names_its_error_last(agent, file):
    file.write_text("import beside\nbeside.gain\n")
    agent.spawn(f"{file}:Mine")
    code, text = agent.ended()
    assert code == 1
    assert text.splitlines()[-1].startswith("AttributeError: module 'beside' has no attribute 'gain'")
    assert str(file) in text


CONFIGURATION = """
farm = {{ name = "f" }}
sub_farms.s = {{ nodes = ["n"], roles = ["r"] }}
roles.r = {{ actor = "{actor}" }}
"""


@pytest.mark.parametrize("actor", ["/opt/our actors/mine.py:Mine", "/a:b/mine.py:Mine", "package.module:Class"])
def test_a_configuration_may_name_an_actor_by_module_or_file(actor):
    assert parse(CONFIGURATION.format(actor=actor), "toml").roles["r"].actor == actor


@pytest.mark.parametrize(
    ("actor", "says"),
    [
        ("mine.py:Mine", "the path has to be absolute"),
        ("../mine.py:Mine", "the path has to be absolute"),
        ("/opt/mine.py:", "is not of the form"),
        ("/opt/mine:Mine", 'is not of the form "package.module:Class" or "/path/file.py:Class"'),
    ],
)
def test_a_name_that_is_neither_is_refused_with_both_forms(actor, says):
    with pytest.raises(ConfigurationError, match=says):
        parse(CONFIGURATION.format(actor=actor), "toml")
