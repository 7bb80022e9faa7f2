"""Draws what `grange status` shows of a running farm as an SVG, for the README: picture.py HOME FILE."""

import re
import sys
from pathlib import Path

from rich.console import Console

from grange.cli.tree import whole
from grange.client import Farm


def main(home: str, file: str) -> None:
    with Farm(home) as farm:
        status = farm.status(depth=3)
    screen = Console(record=True, width=118, highlight=False, emoji=False, markup=False, file=open("/dev/null", "w"))  # noqa: SIM115
    screen.print(whole(status))
    picture = screen.export_svg(title="grange status")
    # fonts come from the reader's machine, not from an address in a picture
    Path(file).write_text(re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
