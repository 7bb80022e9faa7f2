"""`grange actor new`: a small actor that works, its test, and the configuration of a farm of one node to try it in.

The Python templates lie in `cli/templates`; the C template is the example of `actors/examples` itself, which the tests
take through the whole contract. Either all files are written or, when one of them is there already, none.
"""

import json
import keyword
import re
import shlex
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template

from grange.core.configuration import NAME_LENGTH_MAX
from grange.core.errors import InvalidInput
from grange.core.problems import Problem

from .actor_commands import Language
from .shell import own_path, print_json, tell

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PARAMETERS = "parameters = { note_every = 100 }\n"


def write_actor(name: str, language: Language, directory: Path, *, as_json: bool = False) -> None:
    """Write the files and print what to do with them. Raises `InvalidInput`, and has written nothing then."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > NAME_LENGTH_MAX:
        what = f'"{name}" cannot name a module and a class: small letters, digits and "_" can, such as gain_check'
        raise InvalidInput([Problem("name", what)])
    directory = directory.absolute()
    role, files = (_python if language is Language.PYTHON else _c)(name, directory)
    files[f"{name}.toml"] = _template("farm.toml", name=name, role=role)
    _write(directory, files)
    if as_json:
        written = [str(directory / file) for file in files]
        print_json({"files": written, "role": role, "try": _trial(name, language, directory)})
        return
    for file in files:
        tell(f"wrote {directory / file}")
    tell(f"\nThe role, for the configuration of a farm:\n\n{role}\nTo try it in a farm of its own:")
    for line in _trial(name, language, directory):
        tell(f"  {line}")


def _python(name: str, directory: Path) -> tuple[str, dict[str, str]]:
    """The role and the files of a Python actor."""
    class_name = "".join(part.capitalize() for part in name.split("_"))
    files = {
        f"{name}.py": _template("actor.py", name=name, class_name=class_name),
        f"test_{name}.py": _template("test_actor.py", name=name, class_name=class_name),
    }
    actor = json.dumps(f"{directory / name}.py:{class_name}", ensure_ascii=False)
    return f"[roles.{name}]\nactor = {actor}\n{_PARAMETERS}", files


def _c(name: str, directory: Path) -> tuple[str, dict[str, str]]:
    """The role and the files of an actor in C."""
    source = resources.files("grange.actors.examples").joinpath("counter.c").read_text(encoding="utf-8")
    command = json.dumps([str(directory / name)], ensure_ascii=False)
    renamed = source.replace("counter.c", f"{name}.c").replace("-o counter", f"-o {name}")
    return f'[roles.{name}]\ncommand = {command}\nready = "actor"\n', {f"{name}.c": renamed}


def _trial(name: str, language: Language, directory: Path) -> list[str]:
    """What to type, from the files to a run and back."""
    python, grange = shlex.quote(sys.executable), shlex.quote(own_path())
    first = [f"{python} -m pytest test_{name}.py"]
    if language is not Language.PYTHON:
        first = [f"cc -std=c11 -o {name} {name}.c"]
    elif find_spec("pytest") is None:
        first = [f"{python} -m pip install pytest", *first]  # grange itself runs without it
    return [
        f"cd {shlex.quote(str(directory))}",
        *first,
        f"export GRANGE_HOME=/tmp/{name}",
        f"{grange} config import {name}.toml",
        f"{grange} up --detach",
        f"{grange} go running",
        f"{grange} status",
        f"{grange} down --all",
    ]


def _template(file: str, **words: str) -> str:
    text = resources.files("grange.cli.templates").joinpath(f"{file}.template").read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _write(directory: Path, files: dict[str, str]) -> None:
    there = [file for file in files if (directory / file).exists()]
    if there:
        hint = "take another name or another --directory, or remove it"
        raise InvalidInput([Problem(str(directory / file), "is there already", hint) for file in there])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            with open(directory / file, "x", encoding="utf-8") as opened:
                opened.write(text)
    except OSError as error:
        what = f"cannot be written to: {error.strerror}"
        raise InvalidInput([Problem(str(directory), what)], "Choose another --directory") from error
