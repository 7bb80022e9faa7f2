"""Configuration: `grange config import`, `export`, `show`, `log`, `diff`, `set`, `edit`, `tag`, `tags` and `use`.

They go through the controller while one holds the farm, and to the database directly while none does.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .completing import complete_revision
from .options import HomeOption, JsonOption, examples

app = typer.Typer(
    help="Import, export and select configurations.",
    epilog=examples("grange config import farm.toml", "grange config log"),
    no_args_is_help=True,
    rich_markup_mode=None,
)

RevisionArgument = Annotated[
    str,
    typer.Argument(
        metavar="REVISION",
        show_default=False,
        help="A hash, its beginning, or a tag; without it the selected revision.",
        autocompletion=complete_revision,
    ),
]


def register(program: typer.Typer) -> None:
    """Adds the group, and `grange use` beside it: selecting is a shifter's work."""
    program.add_typer(app, name="config")
    program.command(epilog=examples("grange use 3f9a2c41d0", "grange use current"))(use)


class Format(StrEnum):
    """How a configuration is written."""

    JSON = "json"
    TOML = "toml"


MessageOption = Annotated[str, typer.Option("--message", "-m", help="Why, for the log.")]
UseOption = Annotated[bool, typer.Option("--use/--no-use", help="Select it for the next load.")]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="With what others have changed since, unless both changed the same.")
]


@app.command(
    "import", epilog=examples('grange config import farm.toml -m "more psa"', "grange config import farm.json --no-use")
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, or TOML when its name ends in .toml.")],
    message: MessageOption = "",
    use: UseOption = True,
    base: Annotated[
        str,
        typer.Option(
            metavar="REVISION",
            show_default=False,
            help="What it was made from; without it, what the file says itself.",
            autocompletion=complete_revision,
        ),
    ] = "",
    merge: MergeOption = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Check a configuration and store it as a revision.

    Every problem is told, with its place, and then nothing is stored. An exported file says which revision it was
    made from: if somebody else has changed that since, both sides are shown, and nothing is stored.
    """
    from .registry import import_configuration

    import_configuration(home, file, message, use=use, base=base, merge=merge, as_json=as_json)


@app.command(epilog=examples("grange config export > farm.json", "grange config export 3f9a2c41d0 -o farm.toml"))
def export(
    revision: RevisionArgument = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", show_default=False, help="Without it JSON, or as the FILE's name ends."),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write a revision as JSON or TOML.

    It can be imported again, and is the same revision then unless it was edited. With --json, what is printed says
    which revision it is, and holds it.
    """
    from .registry import export_configuration

    export_configuration(home, revision, output, format.value if format else "", as_json=as_json)


@app.command(epilog=examples("grange config validate farm.toml", "grange config validate farm.json --json"))
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, or TOML when its name ends in .toml.")],
    as_json: JsonOption = False,
) -> None:
    """Check a configuration and store nothing.

    Every problem is told, with its place; exit code 2 when there is one. No farm is needed.
    """
    from .editing import validate_configuration

    validate_configuration(file, as_json=as_json)


@app.command(
    "set",
    epilog=examples(
        'grange config set roles.psa.parameters.basis_mm=1 -m "finer"',
        "grange config set roles.psa.count=24 roles.psa.quorum=90%",
        "grange config set --unset roles.psa.nice",
    ),
)
def set_(
    assignments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PLACE=VALUE]...", show_default=False, help="VALUE is JSON, or text."),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="PLACE", show_default=False, help="Back to its default; may be repeated."),
    ] = None,
    message: MessageOption = "",
    use: UseOption = True,
    merge: MergeOption = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Change single values of the selected revision.

    That makes a new revision, and says what changed.
    """
    from .editing import set_values

    set_values(home, assignments or [], unset or [], message, use=use, merge=merge, as_json=as_json)


@app.command(epilog=examples("grange config edit", 'grange config edit -m "as agreed on Monday"'))
def edit(
    message: MessageOption = "",
    use: UseOption = True,
    format: Annotated[Format, typer.Option("--format", help="How it is shown.")] = Format.TOML,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Edit the selected revision in $VISUAL or $EDITOR.

    That makes a new revision, and says what changed. With problems, or when somebody else was faster, the text is kept
    in a file, and its name is told.
    """
    from .editing import edit_configuration

    edit_configuration(home, message, format.value, use=use, as_json=as_json)


@app.command(
    epilog=examples("grange config diff", "grange config diff production", "grange config diff 3f9a 7c2b --json")
)
def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="[REVISION]",
            show_default=False,
            help="The older one; without it the parent of the other.",
            autocompletion=complete_revision,
        ),
    ] = "",
    after: RevisionArgument = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List what changed from one revision to another."""
    from .comparing import show_difference

    show_difference(home, before, after, as_json=as_json)


@app.command(epilog=examples("grange config tag production", "grange config tag cosmics 3f9a2c41d0"))
def tag(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as production.")],
    revision: RevisionArgument = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Point a tag at a revision; where it pointed before is kept."""
    from .comparing import tag_revision

    tag_revision(home, name, revision, as_json=as_json)


@app.command(epilog=examples("grange config tags", "grange config tags production --history"))
def tags(
    name: Annotated[str, typer.Argument(metavar="[NAME]", show_default=False, help="Without it all.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Where they have pointed, too.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List the tags."""
    from .comparing import list_tags

    list_tags(home, name, history=history, as_json=as_json)


@app.command(epilog=examples("grange config show", "grange config show 3f9a2c41d0 --json"))
def show(revision: RevisionArgument = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show what a revision describes, in short."""
    from .registry import show_configuration

    show_configuration(home, revision, as_json=as_json)


@app.command(epilog=examples("grange config log -n 5", "grange config log production"))
def log(
    revision: Annotated[
        str,
        typer.Argument(
            metavar="[REVISION]",
            show_default=False,
            help="It and those that it came from; without it all.",
            autocompletion=complete_revision,
        ),
    ] = "",
    most: Annotated[int, typer.Option("-n", "--most", min=1, max=10_000, help="The newest so many.")] = 20,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List the revisions, newest first."""
    from .registry import list_revisions

    list_revisions(home, most, revision, as_json=as_json)


@app.command(epilog=examples("grange config use 3f9a2c41d0"))
def use(
    revision: Annotated[
        str,
        typer.Argument(metavar="REVISION", help="A hash, its beginning, or a tag.", autocompletion=complete_revision),
    ],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Select what the next load takes."""
    from .registry import use_revision

    use_revision(home, revision, as_json=as_json)
