"""What the demonstration runs on: a small ADF file of synthetic crystal events, and its configuration."""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from grange.actors.adf_file import summarise
from grange.actors.basis import BasisParameters, load_basis, load_fields
from grange.actors.emulator import write_events
from grange.actors.fields import FieldParameters
from grange.core.home import Home

CRYSTALS = tuple(range(8))
SEED = 2003


def template() -> dict[str, Any]:
    """The demonstration's configuration as shipped."""
    text = resources.files("grange.cli").joinpath("demo.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def write_configuration(home: Home, *, endless: bool) -> Path:
    """The configuration for this demonstration as a file in the home; endless: the source never runs dry."""
    document = template()
    document["parameters"]["source"]["loops"] = 0 if endless else 1
    path = Path(home.root) / "input" / "demo.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def compute_basis(home: Home) -> None:
    """The crystal's fields and the basis of pulse shapes into the home's cache: once per machine and grid."""
    load_basis(home.cache, _basis())


def _basis() -> BasisParameters:
    search = template()["parameters"]["grid_search"]
    fields = FieldParameters(grid_mm=search["field_grid_mm"])
    return BasisParameters(fields=fields, grid_mm=search["grid_mm"], samples=40)


def write_input(home: Home, events: int) -> Path:
    """The input file with `events` crystal events; one that is there and has as many is kept."""
    path = Path(home.root) / "input" / "crystals.adf"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if summarise(path).events == events:
            return path
        path.unlink()
    fields = load_fields(home.cache, _basis().fields)
    write_events(path, events, CRYSTALS, SEED, fields)
    return path
