"""What the command line takes from its surroundings: environment variables and files, for help and manual page."""

ENVIRONMENT: dict[str, str] = {
    "GRANGE_HOME": "the farm's directory, unless --home is given",
    "XDG_STATE_HOME": "without GRANGE_HOME the farm's directory is grange/default in it; ~/.local/state if not set",
    "GRANGE_DEBUG": "1 does what --debug does",
    "NO_COLOR": "set to anything: no colours, unless --color says otherwise",
    "FORCE_COLOR": "set to anything: colours also where there is no terminal",
}
FILES: dict[str, str] = {
    "HOME/farm.sock": "where the farm controller answers",
    "HOME/farm.log": "what the farm controller has to say; grange logs",
    "HOME/grange.db": "configurations and runs",
    "HOME/data": "the files of the runs",
    "HOME/sf/SUB_FARM/controller.log": "what a sub-farm controller has to say; grange logs SUB_FARM",
    "HOME/nodes/SUB_FARM/NODE": "a node's agent.log and keeper.log, and what its processes write; grange logs MEMBER",
}


def environment() -> str:
    """The environment variables, as a Markdown table."""
    return _table("variable", ENVIRONMENT)


def files() -> str:
    """The files, as a Markdown table."""
    return _table("file", FILES)


def _table(what: str, rows: dict[str, str]) -> str:
    return "\n".join([f"| {what} | meaning |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows.items())])
