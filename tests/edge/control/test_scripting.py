"""Scripting as it is documented: the README's script runs, and every call has its place in clients and documents."""

import asyncio
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from grange.client import AsyncFarm, Farm
from grange.core.errors import DeadlinePassed, GrangeError
from grange.core.home import Home
from grange.core.names import Command, MemberCommand
from grange.proto import configuration_pb2, control_pb2, runs_pb2, security_pb2
from grange.proto.errors import code_of, to_status
from grange.proto.stub import Stubs

from .test_server_errors import ERRORS

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 60.0
BUILDER = '''
"""Builds events out of nothing, to be counted."""
from grange.actors.actor import Actor

class Builder(Actor):
    def process_start(self):
        self.count("built", 0)

    def process_block(self):
        self.count("built", 400)
        return False
'''
CALLS: dict[str, tuple[str, Callable[[AsyncFarm], Any]]] = {
    "Control.Execute": ("execute", lambda farm: farm.execute("boot", timeout_s=1.0)),
    "Control.Cancel": ("cancel", lambda farm: farm.cancel("c-1")),
    "Control.Watch": ("watch", lambda farm: anext(farm.watch())),
    "Control.Inspect": ("status", lambda farm: farm.status()),
    "Control.Describe": ("show", lambda farm: farm.show("sf01")),
    "Control.ReadOutput": ("output", lambda farm: anext(farm.output("sf01/n1/psa-1"))),
    "Control.Down": ("down", lambda farm: farm.down()),
    "Configuration.Import": ("import_configuration", lambda farm: farm.import_configuration("{}", "json")),
    "Configuration.Export": ("config_export", lambda farm: farm.config_export()),
    "Configuration.ListRevisions": ("config_list", lambda farm: farm.config_list()),
    "Configuration.Use": ("config_use", lambda farm: farm.config_use("production")),
    "Configuration.Diff": ("config_diff", lambda farm: farm.config_diff("production")),
    "Configuration.SetTag": ("config_tag", lambda farm: farm.config_tag("production")),
    "Configuration.ListTags": ("config_tags", lambda farm: farm.config_tags()),
    "Runs.ListRuns": ("runs", lambda farm: farm.runs()),
    "Runs.GetRun": ("run", lambda farm: farm.run(1)),
    "Security.TakeLease": ("take_lease", lambda farm: farm.take_lease()),
    "Security.ReleaseLease": ("release_lease", lambda farm: farm.release_lease()),
    "Security.Who": ("who", lambda farm: farm.who()),
    "Security.ListAudit": ("audit", lambda farm: farm.audit()),
}
"""Each call of the API: the client's method for it, and how a script calls that."""


def methods() -> dict[str, MethodDescriptor]:
    found = {}
    for module, name in (
        (control_pb2, "Control"),
        (configuration_pb2, "Configuration"),
        (runs_pb2, "Runs"),
        (security_pb2, "Security"),
    ):
        service = module.DESCRIPTOR.services_by_name[name]
        found |= {f"{name}.{method.name}": method for method in service.methods}
    return found


def script() -> str:
    """The README's script, as it stands there."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Script it")[1].split("\n## ")[0]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None, "the README has no script"
    return found[1]


def test_the_readmes_script_has_ten_lines_at_most() -> None:
    assert len([line for line in script().splitlines() if line]) <= 10


async def test_the_readmes_script_takes_a_real_farm_to_running_watches_counters_and_stops_it(
    farm: AsyncFarm, live: Any, tmp_path: Path
) -> None:
    actor = tmp_path / "building.py"
    actor.write_text(BUILDER)
    await farm.import_configuration(live.configuration({"builder": {"actor": f"{actor}:Builder"}}), "json")
    await farm.go("running")  # as `grange demo --keep` leaves it: a run is open, with other terms than the script's
    ran = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        script(),
        env={**os.environ, "GRANGE_HOME": live.home.root},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await asyncio.wait_for(ran.communicate(), LIMIT_S)
    assert (ran.returncode, errors.decode()) == (0, "")
    *seen, last = told.decode().splitlines()
    built = [int(number) for line in seen for number in re.findall(r"^taking \{'builder': \{'built': (\d+)\}\}$", line)]
    assert built == sorted(built)
    assert built[-1] >= 1000 > built[0]  # it saw them grow
    newest = (await farm.runs(1))[0]
    assert last == f"run {newest.number}: {newest.end_reason}"
    assert newest.comment == "first light"
    assert newest.stopped_unix_s > newest.running_unix_s > 0


def test_every_call_is_reached_by_both_clients_and_says_what_it_raises() -> None:
    assert CALLS.keys() == methods().keys()
    for name, _ in CALLS.values():
        for cls in (AsyncFarm, Farm):
            described = inspect.getdoc(getattr(cls, name)) or ""
            assert "Raises" in described, f"{cls.__name__}.{name} does not say what it raises"
        ours, theirs = (inspect.signature(getattr(cls, name)) for cls in (AsyncFarm, Farm))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_both_clients_have_the_same_public_methods_with_the_same_arguments() -> None:
    asynchronous, ordinary = (
        {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_")
        }
        for cls in (AsyncFarm, Farm)
    )
    assert asynchronous == ordinary
    assert asynchronous.keys() >= {*Command, *MemberCommand, "execute", "go", "cancel", "down"}


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_of_the_client_ends_by_a_deadline_when_nobody_answers(
    call: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("EXECUTE_DEADLINE_S", "_HOP_S", "FOLLOW_DEADLINE_S"):
        monkeypatch.setattr(f"grange.client.asynchronous.{limit}", 0.2)
    deadlines: list[float] = []

    async def hang(self: Any, method: str, request: Any, answer: Any, timeout_s: float) -> Any:
        deadlines.append(timeout_s)
        raise DeadlinePassed(f"{method} was not answered")

    async def hang_on(self: Any, method: str, request: Any, answer: Any, timeout_s: float) -> Any:
        deadlines.append(timeout_s)
        if len(deadlines) > 2:
            raise GrangeError("opened again and again, as a watch is")
        raise DeadlinePassed(f"{method} was not answered")
        yield

    monkeypatch.setattr("grange.proto.stub._Service._ask", hang)
    monkeypatch.setattr("grange.proto.stub._Service._follow", hang_on)
    os.makedirs(home.root, exist_ok=True)
    async with AsyncFarm(address=home.farm_address, deadline_s=0.2) as farm:
        with pytest.raises(GrangeError):
            await CALLS[call][1](farm)
    assert deadlines
    assert all(0 < deadline <= 1.5 for deadline in deadlines)


def test_the_stub_has_a_method_with_a_deadline_for_each_call_and_no_default_for_it() -> None:
    stubs = inspect.get_annotations(Stubs.__init__)
    assert stubs["address"] is str
    for call in methods():
        service, method = call.split(".")
        cls = {
            "Control": "ControlStub",
            "Configuration": "ConfigurationStub",
            "Runs": "RunsStub",
            "Security": "SecurityStub",
        }[service]
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()
        function = getattr(vars(sys.modules[Stubs.__module__])[cls], "import_" if name == "import" else name)
        deadline = inspect.signature(function).parameters["timeout_s"]
        assert deadline.default is inspect.Parameter.empty


def test_the_documents_name_every_call_with_the_clients_methods() -> None:
    told = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| (.*?) \|", told, re.MULTILINE))
    assert rows.keys() == methods().keys()
    for call, (name, _) in CALLS.items():
        assert f"`{name}`" in rows[call]


def test_the_documents_table_of_errors_is_what_the_wire_says() -> None:
    told = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("## Errors")[1]
    rows = re.findall(r"^\| (`.*?`) \| `(\w+)` \| (.*?) \|", told, re.MULTILINE)
    documented = {
        name: (code, detail.strip("` ")) for names, code, detail in rows for name in re.findall(r"`(\w+)`", names)
    }
    from_the_wire = {}
    for error in ERRORS.values():
        if type(error) is GrangeError:
            continue  # none is raised as such
        from_the_wire[type(error).__name__] = (code_of(error).name, further_detail(error))
    assert from_the_wire.items() <= documented.items()


def further_detail(error: GrangeError) -> str:
    names = [detail.TypeName().removeprefix("google.rpc.") for detail in to_status(error).details]
    assert names.pop(0) == "ErrorInfo"
    return names[0] if names else ""
