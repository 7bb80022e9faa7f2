"""Runs a Python actor: `python -P -m grange.actors.run package.module:Class`, or `/path/file.py:Class`.

A file may import its neighbours: its directory comes last on the path, so that it can hide no module of others. The
file's module is called by its path, so that it can stand for no other module either.

Exit codes: 0 after SIGTERM, 1 when the actor's data path failed (the reason is the last line), 2 when the actor could
not be made (the reason is the only line).
"""

import gc
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from grange.proto.log_lines import begin_log

from .actor import Actor
from .driver import Driver
from .surroundings import Surroundings, SurroundingsError

_USAGE = 2
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class _NoSuchActor(Exception):
    """The name does not lead to an actor class: why."""


def main(arguments: Sequence[str]) -> int:
    """Run the actor that the one argument names; the exit code."""
    if len(arguments) != 1:
        print("usage: python -P -m grange.actors.run package.module:Class, or /path/file.py:Class", file=sys.stderr)
        return _USAGE
    # A farm runs one worker process per core, so a library that starts a thread per core in each only gets in its way.
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    begin_log(logging.StreamHandler(sys.stderr))
    try:
        actor = find(arguments[0])(Surroundings.from_environment())
    except (_NoSuchActor, SurroundingsError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return _USAGE
    gc.freeze()  # what was imported is there for good: no collection looks through it during an order
    return Driver(actor).run()


def find(name: str) -> type[Actor]:
    """The class that "package.module:Class" or "/path/file.py:Class" names; `_NoSuchActor` says what is wrong."""
    module_name, _, class_name = name.rpartition(":")
    if not module_name or not class_name:
        raise _NoSuchActor("an actor is named package.module:Class, or /path/file.py:Class")
    try:
        module = _run_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    except ImportError as error:
        raise _NoSuchActor(f"cannot import {module_name}: {error}. Is it installed, or on PYTHONPATH?") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Actor)):
        classes = (value for value in vars(module).values() if isinstance(value, type))
        actors = sorted(value.__name__ for value in classes if issubclass(value, Actor) and value is not Actor)
        raise _NoSuchActor(f"{module_name} has no actor class {class_name} (it has: {', '.join(actors) or 'none'})")
    return found


def _run_file(path: str) -> ModuleType:
    """The module that a file makes. `_NoSuchActor` if there is none; what the file itself raises is let through."""
    if not Path(path).is_file():
        raise _NoSuchActor(f"there is no file {path} on this node. Copy it here, or correct the role's `actor`")
    sys.path.append(str(Path(path).parent))
    loader = SourceFileLoader(path, path)
    module = ModuleType(path)
    module.__file__ = path
    sys.modules[path] = module  # dataclasses look their module up there
    loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
