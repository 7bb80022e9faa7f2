"""`access.toml` in the home: who may do what, and which group may reach the farm at all.

It is read again when it has changed, so a person can be added while a run goes on; a file with a mistake changes
nothing and is told, in the log and to whoever looks, until it is right. Whoever can write it decides who commands, so
it may be nobody's but the owner's or root's.
"""

import grp
import logging
import os
import re
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

from grange.core.access import NO_RULES, ROOT_UID, AccessRules, access_rules
from grange.core.errors import InvalidInput
from grange.core.home import Home
from grange.core.problems import Problem

log = logging.getLogger(__name__)

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_HOME_OF_GROUP = 0o750
_DIRECTORIES = ("sf", "nodes", "x", "work", "data", "cache", "events")  # core/home.py is the map of them
_WHAT_TO_TRY = "Correct access.toml; what it may hold is in docs/security.md"


class AccessFile:
    """The rules of one home, as they are now."""

    def __init__(self, home: Home) -> None:
        """Raises `InvalidInput` with every problem of the file."""
        self._trouble = ""
        self._path = Path(home.access)
        self._seen = self._stamp()
        self._rules = _read(self._path)

    def rules(self) -> AccessRules:
        """The newest that make sense. May be called from any thread."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._rules, self._trouble = _read(self._path), ""
            except InvalidInput as error:
                wrong = "; ".join(str(problem) for problem in error.problems)
                self._trouble = f"{self._path} is not followed, what held before holds on: {wrong}"
                log.error("%s", self._trouble)
        return self._rules

    def trouble(self) -> str:
        """Why the file as it is now is not followed; empty when it is."""
        self.rules()
        return self._trouble

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid


def open_home(home: Home, group: str) -> None:
    """Lets a group enter the home, where it finds open sockets and closed directories. Raises `InvalidInput`."""
    if not group:
        return
    try:
        os.chown(home.root, -1, grp.getgrnam(group).gr_gid)
        for name in _DIRECTORIES:  # now, so that they are closed from the beginning
            os.makedirs(f"{home.root}/{name}", mode=stat.S_IRWXU, exist_ok=True)
        os.chmod(home.root, _HOME_OF_GROUP)
        for entry in os.scandir(home.root):
            if not entry.is_symlink() and not stat.S_ISSOCK(entry.stat().st_mode):
                os.chmod(entry.path, stat.S_IMODE(entry.stat().st_mode) & stat.S_IRWXU)
    except KeyError:
        raise InvalidInput([Problem("group", f"there is no group {group!r} on this machine")], _WHAT_TO_TRY) from None
    except PermissionError as error:
        what = f"{error.filename} cannot be given to the group {group!r}: the farm's owner has to be in that group"
        raise InvalidInput([Problem("group", what)], _WHAT_TO_TRY) from None


def _read(path: Path) -> AccessRules:
    try:
        with path.open("rb") as file:
            held = os.fstat(file.fileno())
            if held.st_uid not in (ROOT_UID, os.getuid()) or held.st_mode & _OTHERS_WRITE:
                what = f"{path} can be written by others than the farm's owner"
                raise InvalidInput([Problem("access", what)], f"Use: chmod go-w {path}; it has to be the owner's")
            text = file.read().decode()
            rules, problems = access_rules(tomllib.loads(text))
    except FileNotFoundError:
        return NO_RULES
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput([Problem("access", f"{path} cannot be read: {error}")], _WHAT_TO_TRY) from None
    if problems:
        raise InvalidInput([_located(problem, text) for problem in problems], _WHAT_TO_TRY)
    return rules


def _located(problem: Problem, text: str) -> Problem:
    """The problem with a key, with the line where the key stands."""
    key = re.compile(rf"""\s*\[*\s*["']?{re.escape(problem.place)}["']?\s*[\]=.]""")
    line = next((number for number, line in enumerate(text.splitlines(), 1) if key.match(line)), 0)
    return replace(problem, place=f"line {line}, {problem.place}") if line else problem
