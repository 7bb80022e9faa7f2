"""A member's page at a terminal: what it is, why it is so, what it uses, its configuration, its story and its log.

Everything is laid out for 80 columns. Ages are those at the moment when the page was told, so the same page always
looks the same.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from grange.client import MemberPage, MemberStatus
from grange.client.page import ControllerPage, LogTail, NodePage, ProcessPage, RolePage
from grange.core import paths
from grange.core.durations import duration_words
from grange.core.names import Health, Kind, Policy, Ready
from grange.core.plan import DataLink, ProcessSpec
from grange.core.reports import Figures
from grange.core.spawning import Probing
from grange.proto.log_lines import local_stamp

from .text import health, membership, moment, revision, size
from .text import state as state_text
from .tree import busy_text, counts_text, natural_path

MEMBERS_SHOWN = 20  # children of a member, those that are not well first
PEERS_SHOWN = 4  # of a data link
_READY = {
    Ready.ACTOR: "once its first message has come on the actor link",
    Ready.NOTIFY: "once it says READY=1",
}
_POLICY = {
    Policy.IGNORE: "the run goes on",
    Policy.RESTART: "one that dies is restarted, unless it dies too often",
    Policy.EXCLUDE_NODE: "all of its node goes out with one that dies",
    Policy.STOP_RUN: "the run is stopped when too few are left",
}

Fact = tuple[str, "str | Text"]


def whole_page(page: MemberPage, version: str) -> RenderableType:
    """All of `grange show`; `version` is that of the program that draws."""
    parts: list[RenderableType] = [_header(page, version)]
    if page.trouble:
        parts.append(Text(page.trouble, style="yellow"))
    if page.process is not None:
        parts += _section("why", _why(page, page.process))
        parts += _section("now", _facts(_process_facts(page, page.process)))
        parts += _section(_configuration_title(page), _facts(_configuration(page.process)))
    elif page.node is not None:
        parts += _section("node", _facts(_node_facts(page, page.node)))
    elif page.controller is not None:
        parts += _section("controller", _facts(_controller_facts(page, page.controller)))
        parts += _section("roles", _roles(page.controller.roles))
    parts += _section(_MEMBERS.get(page.member.kind, "members"), _members(page.members))
    story = [Text(f"{local_stamp(line.at_unix_s)}  {_who(line.member, page)}{line.text}") for line in page.story]
    parts += _section("story", Group(*story) if story else None)
    if page.log.file or page.log.problem:
        parts += _section(_log_title(page.log), _log(page.log))
    return Group(*parts)


_MEMBERS = {Kind.FARM: "sub-farms", Kind.SUB_FARM: "nodes", Kind.NODE: "processes"}


def _section(title: str, content: RenderableType | None) -> list[RenderableType]:
    """An empty line, a title and what belongs to it, indented; nothing when there is nothing to tell."""
    return [] if content is None else ["", Text(title, style="bold"), Padding(content, (0, 0, 0, 2), expand=False)]


def _facts(facts: Iterable[Fact]) -> RenderableType | None:
    """Names and values in two columns; a value that is too long goes on in its column."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value if isinstance(value, Text) else Text(value))
    return table if table.rows else None


def _header(page: MemberPage, version: str) -> Text:
    member = page.member
    text = Text(member.path or page.farm, style="bold").append(": ", style="not bold")
    text.append_text(state_text(member.state)).append(", ", style="not bold").append_text(health(member.health))
    if out := membership(member.membership):
        text.append(f", {out}", style="yellow not bold")
    if member.run_number:
        text.append(f", run {member.run_number}", style="not bold")
    told = {f"run {member.run_number}", page.process.fault if page.process is not None else ""}
    if member.busy is not None:
        text.append("\n").append_text(busy_text(member.busy))
    elif member.status not in told:
        text.append(f"\n{member.status}", style="not bold" if member.health is Health.OK else "red not bold")
    if page.holder:
        text.append(
            f"\ntold by {page.holder}, grange {page.version}, at {moment(page.at_unix_s)}", style="dim not bold"
        )
        if page.version != version:
            text.append(f"\n{_differs(page.version, version)}", style="yellow not bold")
    if page.possible and member.busy is None:
        text.append(f"\npossible now: {', '.join(page.possible)}", style="not bold")
    return text


def _differs(version: str, other: str) -> str:
    return f"grange {version} there, {other} here: take the farm down and up again to have one version everywhere"


# ---- a process ------------------------------------------------------------------------------------------------------


def _why(page: MemberPage, process: ProcessPage) -> RenderableType | None:
    lines: list[Text] = []
    failure = process.failure
    if process.fault:
        lines.append(Text(process.fault, style="red"))
    if failure is not None and failure.reason != process.fault:
        told = page.member.health is not Health.OK
        lines.append(Text(f"{failure.kind}: {failure.reason}", style="red" if told else ""))
    if process.unheard:
        lines.append(Text(process.unheard, style="magenta"))
    if process.membership:
        lines.append(Text(process.membership, style="yellow"))
    if (awaited := process.awaited) is not None:
        for_s, left_s = (
            duration_words(max(0.0, page.at_unix_s - awaited.since_unix_s)),
            duration_words(awaited.remaining_s),
        )
        lines.append(Text(f"waits for the answer to {awaited.command or 'an order'} for {for_s}, {left_s} left"))
    if failure is not None and failure.last_lines:
        lines.append(Text("its last lines were:"))
        lines += [Text(f"  {line}", style="dim") for line in failure.last_lines]
    return Group(*lines) if lines else None


def _process_facts(page: MemberPage, process: ProcessPage) -> Iterator[Fact]:
    member, role = page.member, process.role
    yield "role", f"{role.name}: {_standing(role)}"
    if member.pid:
        yield "process", f"pid {member.pid}, instance {member.instance}"
    if member.heard_unix_s:
        yield "heard", f"{_age(page, member.heard_unix_s)} ago"
    if process.restarts:
        times = "once" if process.restarts == 1 else f"{process.restarts} times"
        last = "" if process.restarts == 1 else "last "
        yield "restarted", f"{times} by its role's policy, {last}{_age(page, process.restarted_unix_s)} ago"
    if process.figures is not None:
        yield "uses", _figures(process.figures)
        read, written = size(process.figures.read_bytes), size(process.figures.written_bytes)
        age = _age(page, process.figures_unix_s)
        yield "", f"{read} read, {written} written since its start (sampled {age} ago)"
    elif member.pid:
        yield "uses", "not sampled yet"
    for counters in page.counters.values():
        if counters:
            yield "counted", "  ".join(f"{name} {value}" for name, value in sorted(counters.items()))
    for file in process.files:
        yield "file", f"{file.path} ({size(file.size_bytes)}, sha256 {file.sha256[:12]})"


def _figures(figures: Figures) -> str:
    threads = f"{figures.threads} thread{'s' if figures.threads != 1 else ''}"
    return (
        f"{figures.cpu_percent:.0f} % of a processor, {size(figures.rss_bytes)} memory, {threads}, "
        f"{figures.open_files} open files"
    )


def _configuration_title(page: MemberPage) -> str:
    return f"configuration {_revisions(page)}"


def _revisions(page: MemberPage) -> str:
    force, selected = page.revision, page.selected_revision
    if not page.holder:
        return f"{revision(selected)}, the selected one"
    if not force:
        return f"{revision(selected)}, selected and not in force yet"
    if selected and selected != force:
        first = f" (first: grange go {page.go_first})" if page.go_first else ""
        return f"{revision(force)}; {revision(selected)} is selected for the next load{first}"
    return revision(force)


def _configuration(process: ProcessPage) -> Iterator[Fact]:
    spec, role = process.configuration, process.role
    if spec.actor:
        yield "actor", spec.actor
    if spec.argv:
        yield "command", _command(spec.argv)
    yield "ready", _ready(spec)
    yield from (("hung", text) for text in _hung(spec))
    if role.hung_timeout_s and any(_hung(spec)):
        yield "", f"and ended {duration_words(role.hung_timeout_s)} later, if its role can do without it"
    yield "directory", spec.working_directory or "its own, in the node's directory"
    for name, value in sorted(spec.environment.items()):
        yield "environment", f"{name}={value}"
    for name, bound in sorted(spec.options.limits.items()):
        yield "limit", f"{name} {bound}"
    if spec.options.cpus:
        yield "cpus", ",".join(map(str, spec.options.cpus))
    if spec.options.nice:
        yield "nice", str(spec.options.nice)
    if spec.options.template:
        yield "template", "forked from a process that has done the imports"
    yield "at most", ", ".join(f"{step} {duration_words(seconds)}" for step, seconds in role.limits_s.items())
    quorum = "all are" if str(role.quorum) == "all" else f"{role.quorum} {'is' if role.quorum.number == 1 else 'are'}"
    yield "quorum", f"{quorum} needed; {_policy(role)}"
    yield from (("reads", _peers(link)) for link in spec.inputs)
    yield from (("feeds", _peers(link)) for link in spec.outputs)
    for name, value in sorted(spec.parameters.items()):
        yield "parameter", f"{name} = {json.dumps(value, ensure_ascii=False)}"


def _command(argv: Sequence[str]) -> str:
    """A command that a shell would read in the same way."""
    return " ".join(_quoted(word) for word in argv)


def _quoted(word: str) -> str:
    plain = word and all(letter.isalnum() or letter in "_@%+=:,./{}-" for letter in word)
    return word if plain else "'" + word.replace("'", "'\"'\"'") + "'"


def _ready(spec: ProcessSpec) -> str:
    if spec.ready is Ready.SETTLE:
        return f"once it has stayed up for {duration_words(spec.settle_time_s)}"
    if spec.ready is Ready.PROBE:
        probing = spec.probing
        return f"once this exits with 0, asked every {duration_words(probing.interval_s)}: {_command(probing.ready)}"
    return _READY[spec.ready]


def _hung(spec: ProcessSpec) -> Iterator[str]:
    probing: Probing = spec.probing
    if spec.ready is Ready.ACTOR and spec.heartbeat_timeout_s:
        yield f"when silent for {duration_words(spec.heartbeat_timeout_s)}"
    if probing.watchdog_timeout_s:
        yield f"without WATCHDOG=1 for {duration_words(probing.watchdog_timeout_s)}"
    if probing.alive:
        times = f"{probing.alive_misses} times in a row" if probing.alive_misses > 1 else "once"
        interval = duration_words(probing.alive_interval_s)
        yield f"when this fails {times}, asked every {interval}: {_command(probing.alive)}"


def _peers(link: DataLink) -> str:
    shown, more = link.peers[:PEERS_SHOWN], len(link.peers) - PEERS_SHOWN
    names = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return f"{link.role}{' (feedback)' if link.feedback else ''}: {names or 'nobody'}"


# ---- nodes and controllers ------------------------------------------------------------------------------------------


def _node_facts(page: MemberPage, node: NodePage) -> Iterator[Fact]:
    member = page.member
    if node.host:
        yield "host", f"{node.host}, boot {node.boot_id or 'not known'}"
    if node.agent_pid:
        yield "agent", f"pid {node.agent_pid}, incarnation {node.agent_incarnation}, grange {node.agent_version}"
        yield "", f"attached for {_age(page, node.attached_unix_s)}, heard {_age(page, member.heard_unix_s)} ago"
        if node.agent_version != page.version:
            yield "", Text(_differs(node.agent_version, page.version), style="yellow")
        yield "keeper", _keeper(node)
    elif page.holder:
        before = f"; the last one was incarnation {node.agent_incarnation}" if node.agent_incarnation else ""
        heard = f", heard {_age(page, member.heard_unix_s)} ago" if member.heard_unix_s else ""
        yield "agent", f"none is attached{before}{heard}"
        if node.keeper_pid:
            yield "keeper", f"pid {node.keeper_pid}, as told last"
    if node.trouble:
        yield "launch", Text(node.trouble, style="red")
    yield "directory", node.directory


def _keeper(node: NodePage) -> Text:
    if not node.keeper_pid:
        return Text("none at the moment; the agent starts one", style="yellow")
    silent = node.keeper_silent
    text = f"pid {node.keeper_pid}" + (": it does not answer (look at it, or kill it: another takes over)" * silent)
    return Text(text, style="red" if silent else "")


def _controller_facts(page: MemberPage, controller: ControllerPage) -> Iterator[Fact]:
    if controller.pid:
        yield "process", f"pid {controller.pid}, grange {controller.version}"
        if controller.version != page.version:
            yield "", Text(_differs(controller.version, page.version), style="yellow")
    elif page.holder:
        heard = page.member.heard_unix_s
        yield "process", "none answers" + (f"; heard {_age(page, heard)} ago" if heard else "")
    if controller.trouble:
        yield "launch", Text(controller.trouble, style="red")
    yield "address", controller.address
    if controller.host:
        yield "host", f"{controller.host}, boot {controller.boot_id or 'not known'}"
    if controller.incarnations:
        yield "incarnation", ".".join(map(str, controller.incarnations))
    if controller.attached_unix_s:
        yield "attached", f"to the controller above for {_age(page, controller.attached_unix_s)}"
    yield "configuration", _revisions(page) if page.revision or page.selected_revision else "none"
    goal = controller.goal
    if goal is not None:
        end = f"{goal.outcome}{': ' if goal.reason else ''}{goal.reason}" if goal.outcome else "under way"
        yield "command", f"{goal.doing} by {goal.person or 'somebody'}, {_age(page, goal.since_unix_s)} ago: {end}"
    if counted := counts_text(page.member):
        yield "holds", counted
    for role, counters in sorted(page.counters.items()):
        if counters:
            yield f"{role} counted", "  ".join(f"{name} {value}" for name, value in sorted(counters.items()))


def _roles(roles: Sequence[RolePage]) -> RenderableType | None:
    if not roles:
        return None
    table = Table.grid(padding=(0, 2))
    for role in roles:
        short = role.well is not None and role.well < role.needed
        table.add_row(role.name, Text(_standing(role), style="red" if short else ""), _policy(role))
    return table


def _policy(role: RolePage) -> str:
    """What becomes of a death; the word itself where a newer controller has one that is not known here."""
    known = next((policy for policy in Policy if policy.value == role.policy), None)
    return _POLICY[known] if known is not None else role.policy


def _standing(role: RolePage) -> str:
    well = f"{role.configured} configured" if role.well is None else f"{role.well} of {role.configured} well"
    return f"{well}, {role.needed} needed"


def _members(members: Sequence[MemberStatus]) -> RenderableType | None:
    if not members:
        return None
    first = sorted(members, key=lambda member: (member.health is Health.OK, natural_path(member.path)))
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for member in first[:MEMBERS_SHOWN]:
        pid = f"pid {member.pid}" if member.kind is Kind.PROCESS and member.pid else ""
        counts = counts_text(member) if member.kind is Kind.SUB_FARM else ""
        parts = (membership(member.membership), counts, pid, member.status)
        said = "; ".join(part for part in parts if part)
        table.add_row(Text(member.name), state_text(member.state), health(member.health), Text(said))
    more = len(first) - MEMBERS_SHOWN
    if more <= 0:
        return table
    path = paths.parent(first[0].path)
    return Group(table, Text(f"and {more} more: grange status {path}".rstrip(), style="dim"))


# ---- story and log --------------------------------------------------------------------------------------------------


def _who(member: str, page: MemberPage) -> str:
    """Whom a line of the story is about, when it is not the member of the page."""
    return "" if member == page.member.path else f"{member or 'farm'}: "


def _log_title(log: LogTail) -> str:
    where = f" on {log.host}" if log.host else ""
    return f"log {log.file}{where}" if log.file else "log"


def _log(log: LogTail) -> RenderableType | None:
    lines = [Text(line) for line in log.lines]
    if log.problem:
        lines.append(Text(log.problem, style="yellow"))
    return Group(*lines) if lines else Text("empty", style="dim")


def _age(page: MemberPage, unix_s: float) -> str:
    return duration_words(max(0.0, page.at_unix_s - unix_s))
