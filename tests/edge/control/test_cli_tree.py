"""What holds for every command of `grange`, those included that somebody adds tomorrow: the tree is walked."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grange.cli.document import walk
from grange.cli.exits import MEANINGS
from grange.cli.main import app
from grange.cli.manual import example_lines, page
from grange.cli.shell import hoisted
from grange.cli.surroundings import ENVIRONMENT
from grange.proto import runs_pb2

LIMIT_S = 60.0
WITHOUT_JSON = {
    "grange help": "its text is for people, and nothing but what --help prints",
    "grange man": "a manual page is roff",
}
CONTEXTS = {context.command_path: context for context in walk()}


def is_group_only(context: Any) -> bool:
    """A group that does nothing by itself."""
    return hasattr(context.command, "list_commands") and not context.command.invoke_without_command


COMMANDS = {
    path: context for path, context in CONTEXTS.items() if not is_group_only(context) and context.parent is not None
}
EXAMPLES = [(path, line) for path, context in CONTEXTS.items() for line in example_lines(context.command)]


def options(context: Any) -> set[str]:
    return {name for parameter in context.command.get_params(context) for name in parameter.opts}


@pytest.mark.parametrize("path", COMMANDS.keys() - WITHOUT_JSON.keys())
def test_every_command_can_answer_in_json(path: str) -> None:
    assert "--json" in options(COMMANDS[path])


@pytest.mark.parametrize("path", COMMANDS.keys() - WITHOUT_JSON.keys() - {"grange actor new", "grange config validate"})
def test_every_command_about_a_farm_can_be_told_which(path: str) -> None:
    assert "--home" in options(COMMANDS[path])


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_help_says_what_the_command_does_and_ends_with_an_example_of_it(path: str) -> None:
    help = CONTEXTS[path].command.get_help(CONTEXTS[path])
    lines = example_lines(CONTEXTS[path].command)
    assert CONTEXTS[path].command.help
    assert help.rstrip().endswith(lines[-1])
    assert all(line == path or line.startswith(f"{path} ") for line in lines)


@pytest.mark.parametrize("path", COMMANDS)
def test_the_first_sentence_of_a_help_fits_into_the_list_of_commands_at_80_columns(path: str) -> None:
    assert not CONTEXTS[path].command.get_short_help_str(limit=62).endswith("...")


@pytest.mark.parametrize(("path", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_every_example_is_taken_by_the_command_as_it_stands(path: str, line: str) -> None:
    words, ends = shlex.split(line, comments=True), {"|", ">", ";"}
    until = next((place for place, word in enumerate(words) if word in ends), len(words))
    context, rest = CONTEXTS["grange"], hoisted(words[1:until])
    while rest and hasattr(context.command, "get_command") and not rest[0].startswith("-"):
        name = rest.pop(0)
        context = CONTEXTS[f"{context.command_path} {name}"]
    parsed = context.command.make_context(context.info_name, rest, parent=context.parent)
    assert parsed.command_path.startswith(path)  # a group's example is one of what is in it
    assert len(line) < 80


@pytest.mark.parametrize("path", COMMANDS)
def test_help_of_a_command_is_the_same_by_option_and_by_name(path: str) -> None:
    words = path.split()[1:]
    runner = CliRunner()
    results = [runner.invoke(app, [*words, "--help"]), runner.invoke(app, [*words, "-h"])]
    results.append(runner.invoke(app, ["help", *words]))
    assert [result.exit_code for result in results] == [0, 0, 0]
    assert len({result.stdout.replace("root", "grange") for result in results}) == 1


def test_help_of_what_does_not_exist_is_bad_input() -> None:
    result = CliRunner().invoke(app, ["help", "config", "burn"])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "Error: No such command 'burn'.")


def test_options_of_the_program_may_stand_anywhere_but_behind_two_dashes() -> None:
    assert hoisted(["status", "--color", "never", "sf01", "--debug"]) == [
        "--color",
        "never",
        "--debug",
        "status",
        "sf01",
    ]
    assert hoisted(["status", "--color=always"]) == ["--color=always", "status"]
    assert hoisted(["logs", "--", "--debug"]) == ["logs", "--", "--debug"]
    assert hoisted(["status", "--color"]) == ["--color", "status"]


# ---- json -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "story",
        "setup",
        "setup --detach",
        "go running",
        "go running --detach",
        "runs",
        "runs show 7",
        "config import {file}",
        "config export",
        "config export -o {out}",
        "config show",
        "config log",
        "config log current",
        "config diff",
        "config diff {hash} current",
        "config tag production",
        "config tags --history",
        "config validate {file}",
        "config set roles.psa.count=2",
        "config use {hash}",
        "use {hash}",
        "actor new gain_check --directory {out}",
    ],
)
def test_what_is_asked_for_as_json_is_one_value_and_nothing_else(running, tmp_path: Path, words: str) -> None:
    file = tmp_path / "farm.json"
    file.write_text('{"farm": {"name": "demo"}, "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},')
    with file.open("a") as more:
        more.write('"roles": {"psa": {"command": ["sleep", "60"], "ready": "settle"}}}')
    runner, home = CliRunner(), ["--home", running.home.root]
    imported = json.loads(runner.invoke(app, [*home, "config", "import", str(file), "--json"]).stdout)
    running.farm.runs.append(runs_pb2.Run(number=7, type="test"))
    filled = words.format(file=file, out=tmp_path / "out", hash=imported["revision"]["hash"])
    result = runner.invoke(app, [*home, *filled.split(), "--json"], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)


def test_an_error_leaves_standard_output_empty_also_when_json_was_asked_for(running) -> None:
    result = CliRunner().invoke(app, ["--home", running.home.root, "stop", "--json"])
    assert (result.exit_code, result.stdout) == (3, "")


# ---- manual page ----------------------------------------------------------------------------------------------------


def test_the_manual_page_has_every_command_exit_code_and_variable() -> None:
    text = page()
    for path in COMMANDS:
        assert f'.SS "{path}' in text
    for code, meaning in MEANINGS.items():
        assert f".B {code.value}\n{meaning.replace('-', chr(92) + '-')}\n" in text
    for variable in ENVIRONMENT:
        assert f".B {variable}\n" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_manual_page_is_set_without_a_warning() -> None:
    plain = ["groff", "-man", "-Tascii", "-P-cbu", "-ww"]
    done = subprocess.run(plain, input=page(), capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stderr == ""
    assert "EXIT STATUS" in done.stdout
