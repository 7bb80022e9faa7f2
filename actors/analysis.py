"""From data:crystal frames to data:psa hits: base line, energies, window, grid search.

Energies are net charges: the mean of the last samples less the base line before the interaction. The core's high gain
is used unless it is saturated. Positions are points of the basis, in the crystal's own coordinates (mm).
"""

from enum import IntFlag

import numpy as np
import numpy.typing as npt

from .adf import CHANNELS, CORE_HIGH_GAIN, CORE_LOW_GAIN, PSA_HEAD, PSA_HIT, SAMPLES, SEGMENTS, Records
from .crystal import CORE, SIGNALS
from .fields import Float32s
from .gridsearch import MAX_HIT_SEGMENTS, GridSearch

ENERGY_SAMPLES = 30
"""Samples at the end of a trace that give the net charge."""
GUARD_SAMPLES = 2
"""Samples before the nominal interaction that the base line leaves out, as the trigger jitters."""
WINDOW_SAMPLES_MOST = SAMPLES - ENERGY_SAMPLES - GUARD_SAMPLES - 1
"""Of a search window: the least of a base line is before it, and what gives the net charge behind it."""
_SATURATED = 32000
"""Counts beyond which the high gain is not trusted."""


class PsaStatus(IntFlag):
    """The `psa_status` of a data:psa frame."""

    OK = 0
    TRUNCATED = 1  # more than MAX_HIT_SEGMENTS were hit, the smallest energies are left out
    NO_HIT = 2  # no segment reached the threshold


class HitStatus(IntFlag):
    """The `status` of a hit."""

    OK = 0
    COARSE = 1  # too little energy for the fine step


def analyse(search: GridSearch, block: Records) -> tuple[Records, Records]:
    """Heads [n] of `PSA_HEAD` and hits [m] of `PSA_HIT` for crystal frames [n] of `CRYSTAL_FRAME`, as they are packed.

    Frames keep their event number and time stamp, in their order; one without a hit has a head without hits. The core
    times t0 and t1, T and the segments' tSG are not measured: 0. tCCe and tCCh are the drift times of the point
    found, in ns.
    """
    traces = calibrated(block)
    pre_trigger = block["pre_trigger"].astype(np.int64)
    samples = search.basis.parameters.samples
    if len(block) and not GUARD_SAMPLES < pre_trigger.min() <= pre_trigger.max() <= SAMPLES - samples - ENERGY_SAMPLES:
        raise ValueError(
            f"pre-trigger of {pre_trigger.min()} … {pre_trigger.max()} samples: between {GUARD_SAMPLES + 1} and "
            f"{SAMPLES - samples - ENERGY_SAMPLES} are needed before a search window of {samples}"
        )
    sample = np.arange(SAMPLES)
    before = sample < (pre_trigger - GUARD_SAMPLES)[:, None]
    base_line = (traces * before[:, None]).sum(axis=2) / before.sum(axis=1)[:, None]
    energies = (traces[:, :SEGMENTS, -ENERGY_SAMPLES:].mean(axis=2) - base_line[:, :SEGMENTS]).astype(np.float32)
    window = (pre_trigger[:, None] + np.arange(samples))[:, None]
    windowed = np.take_along_axis(traces, window, axis=2) - base_line[:, :, None].astype(np.float32)
    usable = _usable(block)[:, :SIGNALS]
    energies[~usable[:, :SEGMENTS]] = 0
    return _records(search, block, windowed, energies, usable)


def calibrated(block: Records) -> Float32s:
    """The traces in keV [n, 37, 100]: 36 segments, then the core at the better gain."""
    counts = block["traces"]
    scale = block["kev_per_count"]
    traces = counts[:, :SIGNALS] * scale[:, :1, None]
    saturated = (np.abs(counts[:, CORE_HIGH_GAIN].astype(np.int32)) > _SATURATED).any(axis=1)
    better = saturated & _usable(block)[:, CORE_LOW_GAIN]
    if better.any():
        traces[better, CORE] = counts[better, CORE_LOW_GAIN] * scale[better, 1:]
    return np.asarray(traces, np.float32)


def _usable(block: Records) -> npt.NDArray[np.bool_]:
    """Which channels [n, 38] the channel masks allow."""
    bits = block["channel_mask"][:, None] >> np.arange(CHANNELS, dtype=np.uint64)
    return np.asarray(bits & np.uint64(1), np.bool_)


def _records(
    search: GridSearch, block: Records, traces: Float32s, energies_kev: Float32s, usable: npt.NDArray[np.bool_]
) -> tuple[Records, Records]:
    found = search.search(traces, energies_kev, usable)
    counts = np.bincount(found["event"], minlength=len(block))
    heads = np.zeros(len(block), PSA_HEAD)
    heads["event_number"] = block["event_number"]
    heads["timestamp"] = block["timestamp"]
    heads["id"] = block["crystal"]
    heads["status"] = block["status"]
    heads["e0"] = block["core_energy_kev"][:, 0]
    heads["e1"] = block["core_energy_kev"][:, 1]
    heads["hits"] = counts
    above = (energies_kev >= search.threshold_kev).sum(axis=1)
    heads["psa_status"] = np.where(counts == 0, PsaStatus.NO_HIT, PsaStatus.OK)
    heads["psa_status"] |= np.where(above > MAX_HIT_SEGMENTS, PsaStatus.TRUNCATED, PsaStatus.OK).astype(np.uint16)
    hits = np.zeros(len(found), PSA_HIT)
    coarse = found["energy_kev"] < search.coarse_below_kev
    hits["status"] = np.where(coarse, HitStatus.COARSE, HitStatus.OK)
    hits["segment"] = found["segment"]
    hits["crystal"] = block["crystal"][found["event"]]
    for axis, name in enumerate("xyz"):
        hits[name] = search.basis.points_mm[found["point"], axis]
    hits["energy"] = found["energy_kev"]
    hits["t_cce"] = search.basis.electron_ns[found["point"]]
    hits["t_cch"] = search.basis.hole_ns[found["point"]]
    return heads, hits
