"""A member's page without a controller: its selected configuration, and the logs that lie on this host.

Nobody can be asked what the member does now, so its state is unknown, and the page says so.
"""

import time
from pathlib import Path

from grange.client import MemberPage
from grange.client.home import resolve_home
from grange.client.page_reading import read_page
from grange.core.configuration_text import parse
from grange.core.controller import new_memory
from grange.core.errors import GrangeError, UnknownMember
from grange.core.expansion import expand_farm
from grange.core.home import Home
from grange.core.names import Health, Kind, Membership, State
from grange.core.page import configured_page
from grange.core.paths import name as last_part
from grange.core.paths import nearest, parent
from grange.core.revision import kind_of, known_paths
from grange.proto import common_pb2, control_pb2
from grange.proto.pages import process_page_to_wire
from grange.proto.words import to_wire
from grange.supervisor.output import tail

from .log_files import process_log, program_log
from .offline import open_store


def offline_page(given: Path | None, path: str, lines: int, why: GrangeError) -> MemberPage:
    """The page of a member of a farm that nobody controls now. Raises `UnknownMember`, or what the database says."""
    home, now_s = resolve_home(given), time.time()
    with open_store(given) as store:
        exported = store.config_export()
    farm = expand_farm(parse(exported.text, "json", "the database"), exported.revision.hash)
    memory = new_memory("", farm.name, Kind.FARM, root=True)
    known = known_paths(memory, farm)
    if path not in known:
        raise UnknownMember(path, nearest(path, known))
    kind = kind_of(memory, path, farm)
    page = control_pb2.MemberPage(
        row=common_pb2.MemberRow(
            path=path,
            kind=to_wire(kind),
            name=last_part(path) or farm.name,
            state=to_wire(State.UNKNOWN),
            health=to_wire(Health.DEGRADED),
            membership=to_wire(Membership.IN),
        ),
        at_unix_s=now_s,
        farm=farm.name,
        trouble=f"{why.reason}: this is the selected configuration and what lies on this host. To go on: grange up",
        selected_revision=farm.revision,
        log=_log(home, path, kind, lines),
    )
    if (found := configured_page(farm, path)) is not None:
        page.process.CopyFrom(process_page_to_wire(found, now_s))
    elif kind is Kind.NODE:
        page.node.directory = home.node_directory(parent(path), last_part(path))
    else:
        page.controller.address = home.sub_farm_address(path) if path else home.farm_address
    return read_page(page)


def _log(home: Home, path: str, kind: Kind, lines: int) -> control_pb2.LogTail:
    file = process_log(home, path) if kind is Kind.PROCESS else program_log(home, path.split("/") if path else [])
    if file is None:
        return control_pb2.LogTail(problem="on this host nothing was ever started there")
    told = control_pb2.LogTail(file=str(file))
    try:
        with file.open("rb") as log:
            told.lines.extend(tail(log, lines).decode(errors="replace").splitlines())
    except OSError as error:
        told.problem = f"it cannot be read: {error.strerror}"
    return told
