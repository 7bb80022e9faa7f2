"""Whatever error a person can provoke has its exact text in a test; here the sources are asked whether one is missing.

The texts are taken from the syntax, where errors and problems are made: what is written there as text stays, what is
filled in matches anything. A text is stated when one string of a test, or one line of a transcript in tests/spec, has
all of it. Names within a function are followed, and functions that give reasons back; a text that comes from elsewhere
as a whole (of the operating system, of another program) is none of ours.
"""

import ast
import itertools
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from grange.client import errors as client_errors
from grange.core import errors
from grange.launch import launcher
from grange.schema import errors as schema_errors

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "proto", "schema", "launch", "client", "controllers", "cli", "actors", "supervisor", "harness")
HOLE = "\0"  # what is filled in
LETTERS_LEAST = 6  # of a text; with fewer it is put together of other texts
DEPTH_MOST = 6  # of names and functions that lead to one another

UNSEEN = {
    "… is not a child of …, as far as is known now": "one program of the farm says it to another, for its log",
    "a login is one JSON object": "a login that is none is noted in the controller's log, and not answered",
    "a body of … bytes": "a connection that brings it is closed, and nothing is said",
    "… has no outcome after … s": "who writes a transcript reads it, as the test's own failure",
    "… is … after … s, not …": "likewise",
}  # texts that nobody can meet at the command line or in the API, and why

CLASSES = {
    name
    for module in (errors, schema_errors, client_errors, launcher)
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, errors.GrangeError | schema_errors.SchemaError)
}
# which have one text, and that is all
PLAIN = ("ValueError", "super().__init__", "CacheError", "ExchangeError", "SurroundingsError", "WireError")
PLAIN += ("_NoSuchActor", "_CannotStart")
TEXT_AT = dict.fromkeys((*CLASSES, *PLAIN, "ActorError"), 0) | {"Problem": 1, "Refuse": 2, "Finding": 1, "AdfError": 1}
TRY_AT = dict.fromkeys((*PLAIN, "Problem", "Refuse", "AdfError"), 9) | {"Refused": 2, "Finding": 2}  # else 1


@dataclass
class Module:
    """A source file, taken apart."""

    path: Path
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imported: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.path.read_text(encoding="utf-8"))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.setdefault(node.name, node)
            elif isinstance(node, ast.ImportFrom) and node.module and (file := self._file(node)).is_file():
                self.imported |= {alias.asname or alias.name: file for alias in node.names}
        for statement in self.tree.body:
            self.constants |= dict(_assigned(statement))

    def _file(self, node: ast.ImportFrom) -> Path:
        assert node.module
        if node.level:
            return self.path.parent / f"{node.module.replace('.', '/')}.py"
        return ROOT / f"{node.module.removeprefix('grange.').replace('.', '/')}.py"


@cache
def module(path: Path) -> Module:
    return Module(path)


def _assigned(scope: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for one, value in zip(target.elts, node.value.elts, strict=False):
                        if isinstance(one, ast.Name):
                            yield one.id, value
        elif isinstance(node, ast.NamedExpr | ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def texts(node: ast.expr | None, scope: ast.AST, of: Module, depth: int = 0) -> set[str]:
    """What an expression may say, with holes."""
    if node is None or depth > DEPTH_MOST:
        return {HOLE}
    match node:
        case ast.Constant(value=str() as text):
            return {text}
        case ast.JoinedStr(values=values):
            return {"".join(HOLE if isinstance(part, ast.FormattedValue) else part.value for part in values)}
        case ast.BinOp(op=ast.Add()):
            both = texts(node.left, scope, of, depth + 1), texts(node.right, scope, of, depth + 1)
            return {"".join(pair) for pair in itertools.product(*both)}
        case ast.IfExp(body=one, orelse=other):
            return texts(one, scope, of, depth + 1) | texts(other, scope, of, depth + 1)
        case ast.BoolOp(values=values):
            return set().union(*(texts(value, scope, of, depth + 1) for value in values))
        case ast.Name(id=name):
            found = [value for known, value in _assigned(scope) if known == name]
            if not found and name in of.constants:
                found = [of.constants[name]]
            if not found and name in of.imported:
                there = module(of.imported[name])
                return texts(there.constants.get(name), there.tree, there, depth + 1)
            return set().union(*(texts(value, scope, of, depth + 1) for value in found)) if found else {HOLE}
        case ast.Call(func=ast.Name(id=name)):
            there = of if name in of.functions else module(of.imported[name]) if name in of.imported else None
            function = there.functions.get(name) if there is not None else None
            if there is not None and function is not None and ast.unparse(function.returns or node) == "str":
                said = [one.value for one in ast.walk(function) if isinstance(one, ast.Return)]
                return set().union(*(texts(one, function, there, depth + 1) for one in said))
    return {HOLE}


def made(of: Module) -> Iterator[tuple[int, str]]:
    """Each text that a module makes an error of, with its line."""
    scopes: list[tuple[ast.AST, ast.AST]] = [(of.tree, of.tree)]
    while scopes:
        node, scope = scopes.pop()
        if isinstance(node, ast.Call):
            yield from _said(node, scope, of)
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else scope
        scopes += [(child, inner) for child in ast.iter_child_nodes(node)]


def _said(call: ast.Call, scope: ast.AST, of: Module) -> Iterator[tuple[int, str]]:
    name = ast.unparse(call.func)
    if name not in TEXT_AT or (name == "super().__init__" and of.path != ROOT / "core" / "errors.py"):
        return
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    reason = named.get("reason", named.get("what", _at(call, TEXT_AT[name])))
    to_try = named.get("what_to_try", _at(call, TRY_AT.get(name, 1)))
    tries = texts(to_try, scope, of) if to_try is not None else {""}
    for text in texts(reason, scope, of):
        for what in tries:
            known = [part for part in (text, what) if part.strip(HOLE)]
            yield call.lineno, ". ".join(known)


def _at(call: ast.Call, position: int) -> ast.expr | None:
    return call.args[position] if len(call.args) > position else None


def missing(sources: Iterable[Path], stated: Collection[str]) -> list[str]:
    """The texts that no test states."""
    found = set()
    for path in sources:
        for line, text in made(module(path)):
            shown = text.replace(HOLE, "…")
            if sum(map(str.isalpha, text)) >= LETTERS_LEAST and shown not in UNSEEN and not is_stated(text, stated):
                found.add(f"{path.relative_to(path.parents[1])}:{line}: {shown}")
    return sorted(found)


def is_stated(text: str, stated: Iterable[str]) -> bool:
    parts = text.split(HOLE)
    longest = max(parts, key=len)
    pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
    return any(longest in line and pattern.search(line) for line in stated)


@cache
def stated_in_tests() -> set[str]:
    """Every string of every test but the docstrings, and every line of the transcripts."""
    lines: list[str] = []
    for path in (ROOT / "tests").rglob("*.py"):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = ""  # a docstring states nothing
            elif isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                lines += texts(node, node, module(Path(__file__)))
    for path in (ROOT / "tests" / "spec").glob("*.txt"):
        lines += path.read_text(encoding="utf-8").splitlines()
    return set(lines)


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in sorted((ROOT / package).glob("*.py")) if not path.stem.endswith(("_pb2", "_grpc")))


# ---- what is asked --------------------------------------------------------------------------------------------------


def test_every_text_of_an_error_is_stated_in_a_test() -> None:
    assert missing(sources(), stated_in_tests()) == []


def test_hundreds_of_texts_are_found_and_those_that_are_excused_are_among_them() -> None:
    found = {text.replace(HOLE, "…") for path in sources() for _, text in made(module(path))}
    assert len(found) > 200
    assert found >= UNSEEN.keys()


ERRORS = """
from .paths import parse

_REMEDY = "Use another"


def why(word: str) -> str:
    return f"{word} is worn out" if word else "nothing was said at all"


def refuse(word: str, many: bool) -> None:
    if many:
        what = f"{word} is too much" if word else "too much of nothing"
        raise InvalidInput([Problem("place", what)], _REMEDY)
    raise Refused(why(word), what_to_try=f"Wait for {word}")
"""


@pytest.mark.parametrize(
    ("stated", "left"),
    [
        (
            [],
            [
                "14: Use another",
                "14: too much of nothing",
                "14: … is too much",
                "15: nothing was said at all. Wait for …",
                "15: … is worn out. Wait for …",
            ],
        ),
        (
            ["place: beam is too much. Use another", "beam is worn out. Wait for beam", "Wait for godot"],
            ["14: too much of nothing", "15: nothing was said at all. Wait for …"],
        ),
        (
            ["it is too much", "nothing was said", "Use another"],
            [
                "14: too much of nothing",
                "15: nothing was said at all. Wait for …",
                "15: … is worn out. Wait for …",
            ],
        ),
    ],
)
def test_a_new_error_whose_text_no_test_states_is_found(tmp_path: Path, stated: list[str], left: list[str]) -> None:
    source = tmp_path / "core" / "worn.py"
    source.parent.mkdir()
    source.write_text(ERRORS)
    assert missing([source], stated) == [f"core/worn.py:{one}" for one in left]


def test_neither_a_docstring_nor_this_test_states_a_text() -> None:
    stated = stated_in_tests()
    assert not is_stated("Exact texts of what seldom happens", stated)
    assert not is_stated("nothing was said at all. Wait for", stated)
