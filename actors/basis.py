"""A basis: the signals of single interactions on a grid of points, for pulse-shape analysis to compare with.

Points are sorted by segment, and each one's 37 signals begin with those of its segment's mask (the segment, the core,
the neighbours: `crystal.channel_order`). The part of the basis that a segment's search compares with is thus one
strided block of one array, which BLAS reads where it lies: nothing is copied, and with the arrays mapped from the
cache all processes of a machine share one basis.
"""

import os
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from .cache import Arrays, load_or_compute
from .crystal import SEGMENTS, channel_order
from .fields import FieldParameters, Fields, Float32s, solve_fields
from .signals import Model, simulate


@dataclass(frozen=True, slots=True)
class BasisParameters:
    """What a basis depends upon; `grid_mm` is its points' spacing, `samples` the window of the search (10 ns each)."""

    fields: FieldParameters = field(default_factory=FieldParameters)
    model: Model = field(default_factory=Model)
    grid_mm: float = 3.0
    samples: int = 40


@dataclass(frozen=True, slots=True)
class Basis:
    """n points sorted by segment; all arrays are read-only."""

    parameters: BasisParameters
    points_mm: Float32s  # [n, 3]
    segment: npt.NDArray[np.int16]  # [n]
    signals: Float32s  # [n, 37, samples] for unit charge, the first sample at the interaction; order: see above
    electron_ns: Float32s  # [n] drift to the core
    hole_ns: Float32s  # [n] drift to the segment

    def rows(self, segment: int) -> slice:
        """The points of one segment."""
        first, last = np.searchsorted(self.segment, (segment, segment + 1))
        return slice(int(first), int(last))


def load_fields(directory: str | os.PathLike[str], parameters: FieldParameters) -> Fields:
    """A crystal's fields from the cache in `directory`, solved first if they are not there."""

    def compute() -> Arrays:
        fields = solve_fields(parameters)
        return {"field": fields.field, "weighting": fields.weighting}

    return Fields(parameters, **load_or_compute(directory, "fields", parameters, compute))


def load_basis(directory: str | os.PathLike[str], parameters: BasisParameters) -> Basis:
    """A basis from the cache in `directory`, computed first if it is not there; docs/psa.md has times and sizes."""
    compute = partial(_compute, directory, parameters)
    return Basis(parameters, **load_or_compute(directory, "basis", parameters, compute))


def _compute(directory: str | os.PathLike[str], parameters: BasisParameters) -> Arrays:
    fields = load_fields(directory, parameters.fields)
    points = parameters.fields.crystal.grid(parameters.grid_mm)
    simulated = simulate(fields, points, parameters.model, parameters.samples)
    # by segment; within one the grid's order stays
    order = np.argsort(simulated.segment, kind="stable")
    segment = simulated.segment[order]
    missing = set(range(SEGMENTS)) - set(segment.tolist())
    if missing:
        raise ValueError(
            f"a grid of {parameters.grid_mm} mm leaves segments {sorted(missing)} without a point; choose a finer one"
        )
    channels = channel_order()[segment]
    return {
        "points_mm": points[order].astype(np.float32),
        "segment": segment.astype(np.int16),
        "signals": simulated.samples[order[:, None], channels],
        "electron_ns": simulated.electron_ns[order],
        "hole_ns": simulated.hole_ns[order],
    }
