"""Keeps the parts of the documentation that the program prints itself: `make docs` writes them, `--check` compares.

A Markdown file marks such a part by two comments and leaves what is between them to this tool:

    <!-- printed by grange.core.state:diagram as mermaid -->
    …
    <!-- end of what is printed -->

`module:function` is called without arguments and returns the text; `as LANGUAGE` puts it into a fence, without it the
text is Markdown itself. A manual page has the same two marks as comments of its own: `.\\" printed by …`. A function
that does not exist, or a mark without its end, is an error with its place.
"""

import argparse
import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN = re.compile(r"(<!--|\.\\\") printed by ([\w.]+):(\w+)(?: as (\w+))?(?: -->)?\n")
ENDS = {"<!--": "<!-- end of what is printed -->", '.\\"': '.\\" end of what is printed'}


class PrintedError(Exception):
    """A mark in a document cannot be followed; the text says where and why."""


def body(comment: str, module: str, function: str, language: str | None) -> str:
    """What stands between the two comments: the function's text, fenced when a language is given."""
    text = str(getattr(importlib.import_module(module), function)()).rstrip("\n")
    if comment != "<!--":
        return f"{text}\n"
    return f"```{language}\n{text}\n```\n" if language else f"\n{text}\n\n"


def renewed(document: str, name: str) -> str:
    """The document with all its printed parts as the program prints them now."""
    parts, position = [], 0
    for begin in BEGIN.finditer(document):
        place = f"{name}:{document.count(chr(10), 0, begin.start()) + 1}"
        end_mark = ENDS[begin[1]]
        end = document.find(end_mark, begin.end())
        following = BEGIN.search(document, begin.end())
        if end < 0 or (following and following.start() < end):
            raise PrintedError(f"{place}: this mark has no end; close it with {end_mark}")
        try:
            parts += [document[position : begin.end()], body(*begin.groups())]
        except (ImportError, AttributeError) as error:
            raise PrintedError(f"{place}: {begin[2]}:{begin[3]} cannot be called: {error}") from error
        position = end
    return "".join([*parts, document[position:]])


def documents(folder: Path) -> list[Path]:
    """Everything in it that may have printed parts: Markdown and manual pages."""
    return sorted([*folder.rglob("*.md"), *folder.rglob("*.1")])


def main() -> int:
    parser = argparse.ArgumentParser(description="Renew the parts of the documentation that the program prints.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a part is stale")
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "README.md", ROOT / "docs"])
    arguments = parser.parse_args()
    files = [file for path in arguments.paths for file in ([path] if path.is_file() else documents(path))]
    stale = []
    try:
        for file in files:
            document = file.read_text(encoding="utf-8")
            if (fresh := renewed(document, str(file))) != document:
                stale.append(file)
                if not arguments.check:
                    file.write_text(fresh, encoding="utf-8")
    except PrintedError as error:
        print(error, file=sys.stderr)
        return 1
    for file in stale:
        print(f"{file}: {'is stale. Run: make docs' if arguments.check else 'renewed'}")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
