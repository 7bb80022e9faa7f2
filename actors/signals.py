"""The signals that an interaction induces on the 37 contacts of a crystal (36 segments, then the core).

Shockley and Ramo: a charge q that moves from r0 to r(t) induces q [W_k(r(t)) - W_k(r0)] on contact k. Electrons drift
to the core, holes to the segments; with unit charge, and the core's sign flipped so that all net charges are
positive,

    S_k(t) = [W_k(r_h(t)) - W_k(r_0)] - [W_k(r_e(t)) - W_k(r_0)] = W_k(r_h(t)) - W_k(r_e(t))

The segment that collects the holes ends at 1, the core too, all others return to 0: *transient* signals. The segment
of a point is therefore where its holes end, not which slice it lies in. The read-out responds exponentially, 1 -
exp(-t/τ) to a step, and cross-talk adds to each segment a part of every other one.

A charge that reaches a contact is collected: from then on its weights are exactly that contact's. Drift is integrated
with the midpoint rule in steps of at most 5 ns (half a millimetre, against fields that change over several).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .adf import SAMPLE_NS
from .crystal import CORE, SEGMENTS, SIGNALS, Floats
from .fields import Fields, Float32s, drift_velocity

STEPS_PER_SAMPLE = 2
"""Integration steps in a sample of 10 ns."""
MAX_DRIFT_NS = 1000.0
"""Whoever has not arrived by then sits where there is no field, and counts as collected by the nearest contact."""
_CHUNK = 1024
"""Points simulated side by side: enough to amortise numpy's calls, few enough to stay in the cache."""


@dataclass(frozen=True, slots=True)
class Model:
    """What makes one crystal's signals differ from another's of the same shape.

    `crosstalk` is what every segment sees of every other's signal (and none of its own).
    """

    electron_speed: float = 1.0  # relative to the table
    hole_speed: float = 1.0
    anisotropy: float = 0.0
    response_ns: float = 35.0
    crosstalk: float = -0.0016


@dataclass(frozen=True, slots=True)
class Signals:
    """What `simulate` gives for n points; `samples` every 10 ns from the interaction on, the first one 0."""

    samples: Float32s  # [n, 37, samples], for unit charge
    segment: npt.NDArray[np.int64]  # [n], which collects the holes
    electron_ns: Float32s  # [n], from the interaction to the core
    hole_ns: Float32s  # [n], from the interaction to the segment


def simulate(fields: Fields, points: Floats, model: Model, samples: int) -> Signals:
    """The signals of single interactions of unit charge at `points` [n, 3] in mm, all of them in the germanium."""
    parts = [
        _simulate(fields, points[first : first + _CHUNK], model, samples) for first in range(0, len(points), _CHUNK)
    ]
    if not parts:
        nothing = np.zeros(0, np.float32)
        return Signals(np.zeros((0, SIGNALS, samples), np.float32), np.zeros(0, np.int64), nothing, nothing)
    return Signals(
        np.concatenate([part.samples for part in parts]),
        np.concatenate([part.segment for part in parts]),
        np.concatenate([part.electron_ns for part in parts]),
        np.concatenate([part.hole_ns for part in parts]),
    )


def _simulate(fields: Fields, points: Floats, model: Model, samples: int) -> Signals:
    induced = np.zeros((samples, len(points), SIGNALS), np.float32)
    _, electron_ns = _drift(fields, points, model, electrons=True, induced=induced)
    segment, hole_ns = _drift(fields, points, model, electrons=False, induced=induced)
    induced[:, :, CORE] *= -1
    signals = respond(induced, model.response_ns)
    if model.crosstalk:
        signals = signals @ crosstalk_matrix(np.full((SEGMENTS, SEGMENTS), model.crosstalk)).T
    return Signals(np.ascontiguousarray(np.moveaxis(signals, 0, -1)), segment, electron_ns, hole_ns)


def _drift(
    fields: Fields, points: Floats, model: Model, *, electrons: bool, induced: Float32s
) -> tuple[npt.NDArray[np.int64], Float32s]:
    """Follow one kind of charge, and add its weights at each sample to `induced` [samples, n, 37].

    Gives the contact that collects each, and when (ns).
    """
    crystal = fields.parameters.crystal
    scale = model.electron_speed if electrons else model.hole_speed
    sign = -1.0 if electrons else 1.0
    step_ns = SAMPLE_NS / STEPS_PER_SAMPLE
    contact = np.full(len(points), CORE if electrons else 0)
    arrival_ns = np.full(len(points), MAX_DRIFT_NS, np.float32)
    arrival_step = np.full(len(points), math.ceil(MAX_DRIFT_NS / step_ns))
    moving = np.arange(len(points))
    places = points.astype(np.float64)

    def velocity(at: Floats) -> Floats:
        return drift_velocity(fields.field_at(at), electrons, scale, model.anisotropy)

    samples = len(induced)
    for step in range(math.ceil(MAX_DRIFT_NS / step_ns)):
        sample, between = divmod(step, STEPS_PER_SAMPLE)
        if sample < samples and not between:
            induced[sample, moving] += sign * fields.weights_at(places)
        halfway = places + velocity(places) * (step_ns / 2)
        moved = places + velocity(halfway) * step_ns
        # nothing leaves through the passivated back
        np.minimum(moved[:, 2], crystal.length_mm, out=moved[:, 2])
        before, after = _depths(fields, places), _depths(fields, moved)
        arrived = after <= 0
        if arrived.any():
            who = moving[arrived]
            part = before[arrived] / np.maximum(before[arrived] - after[arrived], 1e-12)
            arrival_ns[who] = (step + part) * step_ns
            arrival_step[who] = step
            contact[who] = _contact_of(fields, moved[arrived], electrons)
            moving, moved = moving[~arrived], moved[~arrived]
        places = moved
        if not len(moving):
            break
    contact[moving] = _contact_of(fields, places, electrons)
    # once collected, the weights are the contact's own: 1 there, 0 elsewhere
    collected = np.arange(samples)[:, None] > arrival_step // STEPS_PER_SAMPLE
    sample_index, point_index = np.nonzero(collected)
    induced[sample_index, point_index, contact[point_index]] += sign
    return contact, arrival_ns


def _depths(fields: Fields, places: Floats) -> Floats:
    radius, azimuth = np.hypot(places[:, 0], places[:, 1]), np.arctan2(places[:, 1], places[:, 0])
    return fields.parameters.crystal.depth(radius, azimuth, places[:, 2])


def _contact_of(fields: Fields, places: Floats, electrons: bool) -> npt.NDArray[np.int64]:
    """The collecting contact; electrons have no other than the core, holes none but segments."""
    if electrons:
        return np.full(len(places), CORE)
    return fields.parameters.crystal.segment(np.arctan2(places[:, 1], places[:, 0]), places[:, 2])


def respond(signals: Float32s, response_ns: float) -> Float32s:
    """Samples along the first axis after an exponential response, exact for signals that are linear between samples."""
    if response_ns <= 0:
        return signals
    ratio = SAMPLE_NS / response_ns
    keep = math.exp(-ratio)
    new = 1 - (1 - keep) / ratio
    old = (1 - keep) - new
    result = np.empty_like(signals)
    result[0] = signals[0]
    for sample in range(1, len(signals)):
        result[sample] = keep * result[sample - 1] + old * signals[sample - 1] + new * signals[sample]
    return result


def crosstalk_matrix(coefficients: Floats) -> Float32s:
    """The matrix [37, 37] to multiply signals by, from what segment i sees of segment j [36, 36]; the core is free."""
    matrix = np.eye(SIGNALS)
    matrix[:SEGMENTS, :SEGMENTS] += coefficients * (1 - np.eye(SEGMENTS))
    return matrix.astype(np.float32)


def noise(shape: tuple[int, ...], rms: Float32s | float, band_ns: float, generator: np.random.Generator) -> Float32s:
    """Gaussian noise of `rms` (broadcast) after a low-pass of time constant `band_ns`; samples along the last axis."""
    white = generator.standard_normal(shape, np.float32)
    if band_ns > 0:
        keep = math.exp(-SAMPLE_NS / band_ns)
        gain = math.sqrt(1 - keep**2)
        for sample in range(1, shape[-1]):
            white[..., sample] = keep * white[..., sample - 1] + gain * white[..., sample]
    return white * rms
