"""A digitiser made of numbers: synthetic crystal events in an ADF file, to demonstrate and to measure resolutions with.

Physics events come at random times; most hit one crystal, some are cascades that hit several within a few time
stamps. In each crystal hit, a gamma ray leaves its whole energy or a part of it in one or two interactions anywhere
in the germanium.

A basis that matched the data exactly would give resolutions that no detector has. So the signals here are made with a
*mismatched* model: drift speeds, response, trigger jitter, each crystal's own cross-talk, noise of a limited band,
and second interactions that the search knows nothing of. Everything follows from the seed: the same arguments give
the same bytes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .adf import CHANNELS, SAMPLE_NS, SAMPLES, TIMESTAMP_BITS, TIMESTAMP_UNIT_NS, pack_crystal_frames
from .adf_file import AdfSummary, FrameWriter
from .crystal import CORE, SEGMENTS, SIGNALS, Crystal, Floats, Integers
from .fields import Fields, Float32s
from .signals import Model, crosstalk_matrix, noise, simulate

PRE_TRIGGER = 25
"""Samples before the interaction."""
KEV_PER_COUNT = (0.25, 1.0)
"""The high gain reaches 8 MeV, the low gain 32 MeV."""
CHUNK_EVENTS = 1000
"""Crystal events made at a time, to bound the memory (about 60 MB)."""

TRUTH = np.dtype(
    [
        ("event", "<i4"),  # the crystal event's number in the file
        ("crystal", "<i2"),
        ("physics_event", "<i4"),  # cascades share one
        ("segment", "<i2"),  # that collects the holes
        ("energy_kev", "<f4"),
        ("position_mm", "<f4", (3,)),
    ]
)
"""One interaction as it was made."""


@dataclass(frozen=True, slots=True)
class Emulation:
    """What the data are like; the model is without cross-talk, which each crystal has of its own."""

    model: Model = field(
        default_factory=lambda: Model(electron_speed=0.95, hole_speed=0.97, response_ns=42.0, crosstalk=0.0)
    )
    jitter_ns: float = 4.0  # rms of the interaction's time against the trigger
    noise_kev: tuple[float, float] = (3.0, 6.0)  # rms per sample, each channel somewhere between
    noise_band_ns: float = 12.0  # time constant of the noise's low-pass
    crosstalk: tuple[float, float, float] = (-0.0021, -0.0016, -0.0004)  # lowest, most likely, highest
    lines_kev: tuple[float, ...] = (1173.2, 1332.5)
    peak_fraction: float = 0.3  # the others leave between 50 keV and their Compton edge
    double_fraction: float = 0.4  # of crystal events with a second interaction
    second_distance_mm: float = 15.0  # mean distance to it
    cascade_fraction: float = 0.3  # of physics events hitting more than one crystal
    max_fold: int = 4  # crystals in a cascade, at most
    spread_units: int = 5  # time stamps of one cascade lie within so many units of 10 ns
    rate_hz: float = 1000.0  # crystal events per crystal
    late_fraction: float = 0.0  # of crystal events written after younger ones
    late_units: int = 100_000  # how much younger, at most (1 ms)


def write_events(
    path: str | os.PathLike[str],
    n_events: int,
    crystals: Sequence[int],
    seed: int,
    fields: Fields,
    emulation: Emulation | None = None,
    *,
    truth_path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> AdfSummary:
    """Write a file of `n_events` data:crystal frames and say what is in it.

    Events are numbered from 0 in the order of the file. `truth_path` (.npz) gets the array `interactions` of `TRUTH`,
    and per crystal event its `jitter_ns`.
    """
    if n_events < 0 or not crystals or len(set(crystals)) != len(crystals):
        raise ValueError(f"{n_events} events in crystals {list(crystals)}: a number and different crystals are needed")
    settings = emulation or Emulation()
    generator = np.random.default_rng(seed)
    schedule = _schedule(n_events, len(crystals), settings, generator)
    digitiser = _Digitiser(fields, settings, len(crystals), generator)
    ids = np.array(crystals, np.int64)
    truths, jitters = [], []
    with FrameWriter(path, overwrite=overwrite) as writer:
        for first in range(0, n_events, CHUNK_EVENTS):
            part = schedule[first : first + CHUNK_EVENTS]
            counts, energies, interactions, jitter_ns = digitiser.digitise(part["crystal"])
            writer.write(
                pack_crystal_frames(
                    event_number=np.arange(first, first + len(part)),
                    timestamp=part["timestamp"],
                    crystal=ids[part["crystal"]],
                    core_energy_kev=np.stack((energies, energies), axis=1),
                    traces=counts,
                    pre_trigger=PRE_TRIGGER,
                    kev_per_count=KEV_PER_COUNT,
                )
            )
            interactions["crystal"] = ids[part["crystal"]][interactions["event"]]
            interactions["physics_event"] = part["physics_event"][interactions["event"]]
            interactions["event"] += first
            truths.append(interactions)
            jitters.append(jitter_ns)
    if truth_path is not None:
        np.savez(
            truth_path,
            interactions=np.concatenate(truths or [np.zeros(0, TRUTH)]),
            jitter_ns=np.concatenate(jitters or [np.zeros(0, np.float32)]),
        )
    return writer.close()


_SCHEDULE = np.dtype([("timestamp", "<i8"), ("crystal", "<i4"), ("physics_event", "<i4")])


def _schedule(
    n_events: int, n_crystals: int, settings: Emulation, generator: np.random.Generator
) -> npt.NDArray[np.void]:
    """When which crystal is hit, in the order of the file."""
    # more physics events than can be needed, then cut
    fold = np.ones(n_events, np.int64)
    most = min(settings.max_fold, n_crystals)
    if most > 1:
        cascade = generator.random(n_events) < settings.cascade_fraction
        fold[cascade] = generator.integers(2, most + 1, cascade.sum())
    mean_gap = fold.mean() / (settings.rate_hz * n_crystals) * 1e9 / TIMESTAMP_UNIT_NS if n_events else 0.0
    start = np.cumsum(generator.exponential(mean_gap, n_events)).astype(np.int64) + 1
    hit = np.argsort(generator.random((n_events, n_crystals)), axis=1)[:, :most]
    physics_event, rank = np.nonzero(np.arange(most) < fold[:, None])
    schedule = np.zeros(len(physics_event), _SCHEDULE)
    schedule["physics_event"] = physics_event
    schedule["crystal"] = hit[physics_event, rank]
    schedule["timestamp"] = start[physics_event] + generator.integers(0, settings.spread_units + 1, len(physics_event))
    schedule = schedule[:n_events]
    if n_events and int(schedule["timestamp"].max()) >> TIMESTAMP_BITS:
        raise ValueError(f"{n_events} events at {settings.rate_hz} Hz do not fit {TIMESTAMP_BITS} bits of time stamp")
    delay = generator.integers(0, settings.late_units + 1, n_events)
    written = schedule["timestamp"] + np.where(generator.random(n_events) < settings.late_fraction, delay, 0)
    return schedule[np.argsort(written, kind="stable")]


class _Digitiser:
    """The crystals' own constants, and the traces that they give."""

    def __init__(self, fields: Fields, settings: Emulation, n_crystals: int, generator: np.random.Generator) -> None:
        self._fields = fields
        self._settings = settings
        self._generator = generator
        coefficients = generator.triangular(*settings.crosstalk, (n_crystals, SEGMENTS, SEGMENTS))
        self._crosstalk = np.stack([crosstalk_matrix(one) for one in coefficients])
        self._noise_kev = generator.uniform(*settings.noise_kev, (n_crystals, CHANNELS)).astype(np.float32)

    def digitise(self, crystal: Integers) -> tuple[npt.NDArray[np.int16], Floats, npt.NDArray[np.void], Float32s]:
        """One event per crystal index: counts [n, 38, 100], core energies, interactions (events from 0), jitter."""
        n = len(crystal)
        interactions = self._interactions(n)
        jitter_ns = self._generator.normal(0, self._settings.jitter_ns, n).astype(np.float32)
        signals = simulate(
            self._fields, interactions["position_mm"].astype(np.float64), self._settings.model, SAMPLES - PRE_TRIGGER
        )
        interactions["segment"] = signals.segment
        traces = np.zeros((n, SIGNALS, SAMPLES), np.float32)
        # an event has at most two interactions: the first of each, then the second
        for event, chosen in _ranks(interactions["event"]):
            traces[event, :, PRE_TRIGGER:] += interactions["energy_kev"][chosen, None, None] * signals.samples[chosen]
        traces = _shifted(traces, jitter_ns)
        traces = np.matmul(self._crosstalk[crystal], traces)
        both = np.concatenate((traces, traces[:, CORE:]), axis=1)
        rms = self._noise_kev[crystal][:, :, None]
        both += noise(both.shape, rms, self._settings.noise_band_ns, self._generator)
        scale = np.full(CHANNELS, KEV_PER_COUNT[0], np.float32)
        scale[-1] = KEV_PER_COUNT[1]
        counts = np.clip(np.rint(both / scale[:, None]), -32768, 32767).astype(np.int16)
        energies = np.bincount(interactions["event"], interactions["energy_kev"], n).astype(np.float64)
        return counts, energies, interactions, jitter_ns

    def _interactions(self, n: int) -> npt.NDArray[np.void]:
        """One or two interactions for each of n events, sorted by event."""
        settings, generator = self._settings, self._generator
        crystal = self._fields.parameters.crystal
        line = generator.choice(np.array(settings.lines_kev), n)
        edge = line / (1 + 511.0 / (2 * line))
        energy = np.where(generator.random(n) < settings.peak_fraction, line, generator.uniform(50.0, edge))
        place = _uniform_points(crystal, n, generator)
        direction = generator.normal(size=(n, 3))
        direction /= np.sqrt((direction**2).sum(axis=1))[:, None]
        second = place + direction * generator.exponential(settings.second_distance_mm, n)[:, None]
        share = generator.uniform(0.2, 0.8, n)
        # a second one beyond the surface has escaped
        double = (generator.random(n) < settings.double_fraction) & crystal.inside(second)
        result = np.zeros(n + int(double.sum()), TRUTH)
        result["event"] = np.concatenate((np.arange(n), np.flatnonzero(double)))
        result["position_mm"] = np.concatenate((place, second[double]))
        result["energy_kev"] = np.concatenate(
            (np.where(double, energy * share, energy), (energy * (1 - share))[double])
        )
        return result[np.argsort(result["event"], kind="stable")]


def _ranks(event: Integers) -> list[tuple[Integers, Integers]]:
    """(events, rows) of all events' first rows, then of the second rows of those that have one; `event` is sorted."""
    first = np.flatnonzero(np.r_[True, event[1:] != event[:-1]][: len(event)])
    second = np.flatnonzero(np.r_[False, event[1:] == event[:-1]][: len(event)])
    return [(event[rows], rows) for rows in (first, second)]


def _uniform_points(crystal: Crystal, n: int, generator: np.random.Generator) -> Floats:
    """Points [n, 3] anywhere in the germanium, all places alike."""
    lowest = np.array([-crystal.radius_mm, -crystal.radius_mm, 0.0])
    highest = np.array([crystal.radius_mm, crystal.radius_mm, crystal.length_mm])
    points = np.empty((0, 3))
    while len(points) < n:
        more = generator.uniform(lowest, highest, (2 * n, 3))
        points = np.concatenate((points, more[crystal.inside(more)]))
    return points[:n]


def _shifted(traces: Float32s, later_ns: Float32s) -> Float32s:
    """Traces [n, channels, samples], each later by its own time; linear between samples, constant beyond the ends."""
    place = np.arange(traces.shape[2]) - later_ns[:, None] / SAMPLE_NS
    place = np.clip(place, 0, traces.shape[2] - 1)
    cell = np.minimum(place.astype(np.int64), traces.shape[2] - 2)
    part = (place - cell).astype(np.float32)[:, None]
    return np.asarray(
        np.take_along_axis(traces, cell[:, None], axis=2) * (1 - part)
        + np.take_along_axis(traces, cell[:, None] + 1, axis=2) * part,
        np.float32,
    )
