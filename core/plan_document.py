"""A sub-farm's plan as plain JSON values, and back, exactly.

The farm controller sends this document to a sub-farm controller, which caches it on disk; processes get their part of
it and never open the database. What many processes share (peers, parameters, environment, options) is written once, in
the lists `links`, `parameters`, `environments`, `options` and `probings`, and named by position: 300 processes that
read 300 others would otherwise write 90,000 paths, more than one message may hold.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .names import Policy, Ready
from .plan import HUNG_TIMEOUT_S, DataLink, ProcessSpec, Quorum, RoleSpec, StepLimits, SubFarmSpec
from .restart import RestartSpec
from .spawning import Probing, SpawnOptions

FORMAT = 1  # rises when a reader of the former format could not read the new one


class PlanDocumentError(ValueError):
    """The document is not a sub-farm's plan in a format that this version reads: damaged, or of another version."""


class _Shared:
    """Values written once and named by position; equal means equal as JSON text, so that 1, 1.0 and true differ."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._positions: dict[str, int] = {}

    def position(self, value: Any) -> int:
        text = json.dumps(value, sort_keys=True)
        if text not in self._positions:
            self._positions[text] = len(self.values)
            self.values.append(value)
        return self._positions[text]


def sub_farm_document(spec: SubFarmSpec) -> dict[str, Any]:
    """The plan as values that JSON can say; `sub_farm_from_document` gives an equal plan back."""
    parameters, environments = _Shared(), _Shared()
    options, probings = _Shared(), _Shared()
    links: dict[DataLink, int] = {}  # link -> position

    def link(value: DataLink) -> int:
        return links.setdefault(value, len(links))

    processes = [
        {
            "path": process.path,
            "role": process.role,
            "argv": list(process.argv),
            "actor": process.actor,
            "ready": process.ready.value,
            "settle_time_s": process.settle_time_s,
            "working_directory": process.working_directory,
            "heartbeat_timeout_s": process.heartbeat_timeout_s,
            "options": options.position(_options_document(process.options)),
            "probing": probings.position(asdict(process.probing)),
            "environment": environments.position(dict(process.environment)),
            "parameters": parameters.position(dict(process.parameters)),
            "inputs": [link(value) for value in process.inputs],
            "outputs": [link(value) for value in process.outputs],
        }
        for process in spec.processes
    ]
    return {
        "format": FORMAT,
        "name": spec.name,
        "enrol_wait_s": spec.enrol_wait_s,
        "nodes": list(spec.nodes),
        "roles": [_role_document(role) for role in spec.roles],
        "links": [{"role": link.role, "peers": list(link.peers), "feedback": link.feedback} for link in links],
        "parameters": parameters.values,
        "environments": environments.values,
        "options": options.values,
        "probings": probings.values,
        "processes": processes,
        "sub_farms": [sub_farm_document(child) for child in spec.sub_farms],
    }


def _options_document(options: SpawnOptions) -> dict[str, Any]:
    return {
        "limits": dict(options.limits),
        "cpus": list(options.cpus),
        "nice": options.nice,
        "template": options.template,
    }


def _role_document(role: RoleSpec) -> dict[str, Any]:
    return {
        "name": role.name,
        "rank": role.rank,
        "component": role.component,
        "quorum": asdict(role.quorum),
        "policy": role.policy.value,
        "restart": asdict(role.restart),
        "limits": asdict(role.limits),
        "hung_timeout_s": role.hung_timeout_s,
    }


def sub_farm_from_document(document: Mapping[str, Any]) -> SubFarmSpec:
    """The plan that `sub_farm_document` wrote. Raises `PlanDocumentError` for anything else."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, Mapping) else type(document).__name__
        raise PlanDocumentError(f"this is not a sub-farm's plan in format {FORMAT} (found {found!r}); fetch it anew")
    try:
        return _read(document)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PlanDocumentError(f"the sub-farm's plan is damaged ({error!r}); fetch it anew") from error


def _read(document: Mapping[str, Any]) -> SubFarmSpec:
    links = [DataLink(link["role"], tuple(link["peers"]), link["feedback"]) for link in document["links"]]
    parameters, environments = document["parameters"], document["environments"]
    options = [SpawnOptions(**(row | {"cpus": tuple(row["cpus"])})) for row in document.get("options", [{"cpus": ()}])]
    probings = [_read_probing(row) for row in document.get("probings", [{}])]
    processes = tuple(
        ProcessSpec(
            path=process["path"],
            role=process["role"],
            argv=tuple(process["argv"]),
            actor=process["actor"],
            ready=Ready(process["ready"]),
            settle_time_s=process["settle_time_s"],
            working_directory=process["working_directory"],
            environment=environments[process["environment"]],
            heartbeat_timeout_s=process["heartbeat_timeout_s"],
            options=options[process.get("options", 0)],
            probing=probings[process.get("probing", 0)],
            parameters=parameters[process["parameters"]],
            inputs=tuple(links[position] for position in process["inputs"]),
            outputs=tuple(links[position] for position in process["outputs"]),
        )
        for process in document["processes"]
    )
    return SubFarmSpec(
        document["name"],
        tuple(document["nodes"]),
        tuple(_read_role(role) for role in document["roles"]),
        processes,
        tuple(sub_farm_from_document(child) for child in document["sub_farms"]),
        document["enrol_wait_s"],
    )


def _read_probing(row: Mapping[str, Any]) -> Probing:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Probing(**values)


def _read_role(role: Mapping[str, Any]) -> RoleSpec:
    return RoleSpec(
        role["name"],
        role["rank"],
        role["component"],
        Quorum(**role["quorum"]),
        Policy(role["policy"]),
        RestartSpec(**role.get("restart", {})),
        StepLimits(**role["limits"]),
        role.get("hung_timeout_s", HUNG_TIMEOUT_S),
    )
