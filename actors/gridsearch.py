"""Where in its segments a crystal was hit: the grid search of pulse-shape analysis.

For each hit segment the point of the basis is found whose signals are nearest to the measured ones, on the signals of
the segment's mask (itself, the core, the neighbours). Near means the least Σ |measured / energy - basis|^p. Two
steps:

1. p = 2 over *all* points of the segment, many events at a time, as a matrix product: |s - b|² = |s|² - 2 s·b + |b|².
2. the exponent asked for (0.3, AGATA's, which forgives the few samples where measurement and basis really disagree) on
   the short list of the nearest points only. Below `coarse_below_kev` noise rules and p = 2 judges better: step 1
   decides.

Several hit segments: the largest energy first, and what the others' best points induce is subtracted; four passes,
fewer for events in which a pass changes nothing. Signals of other hit segments leave the mask, as their net charge
would outweigh all.

The result does not depend on how events are batched, to the last bit: products are made in tiles of one fixed shape,
padded with zeros, so that each event meets the same arithmetic whoever its neighbours are. Workers run with
OPENBLAS_NUM_THREADS=1 (`run.py` sees to it): products this small only lose by threads, and farms count cores.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .basis import Basis
from .crystal import SEGMENTS, SIGNALS, Integers, channel_order, mask
from .fields import Float32s

TILE = 16
"""Searches made in one matrix product: a segment has about so many hits in a block of 256 events."""
PASSES = 4
"""How often the segments of an event are searched, each time with the others' latest best subtracted."""
MAX_HIT_SEGMENTS = 8
"""Hit segments searched per event, those of the largest energies; more are rare, and mostly cross-talk or pile-up."""

FOUND = np.dtype([("event", "<i4"), ("segment", "<i2"), ("point", "<i4"), ("energy_kev", "<f4"), ("distance", "<f4")])
"""One hit: the event's index, segment, row of the basis, energy, mean |difference|^p per sample for unit charge."""


@dataclass(frozen=True, slots=True)
class _Library:
    """What the search in one segment compares with."""

    first: int  # row of the basis
    signals: Float32s  # [points, mask, samples], a view of the basis
    matrix: Float32s  # [points, mask * samples], the same bytes
    norms: Float32s  # [mask, points], |b|² of each signal


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is searched for: traces [n, 37, samples] in keV, and which of them may be used [n, 37]."""

    traces: Float32s
    usable: npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Hits:
    """The hit segments of n events by decreasing energy; unused places hold segment 0 and energy 0."""

    count: Integers  # [n]
    segment: Integers  # [n, MAX_HIT_SEGMENTS]
    energy_kev: Float32s  # [n, MAX_HIT_SEGMENTS]
    point: Integers  # [n, MAX_HIT_SEGMENTS], row of the basis, -1 before the first search
    distance: Float32s  # [n, MAX_HIT_SEGMENTS]


class GridSearch:
    """A search on one basis, with nothing remembered between calls; arrays of the basis are used where they lie."""

    def __init__(
        self,
        basis: Basis,
        exponent: float = 0.3,
        shortlist: int = 32,
        threshold_kev: float = 10.0,
        coarse_below_kev: float = 50.0,
    ) -> None:
        if not (exponent > 0 and shortlist >= 1 and threshold_kev > 0):
            raise ValueError(
                f"exponent {exponent}, short list {shortlist} and threshold {threshold_kev} keV must all be positive"
            )
        self.basis = basis
        self.exponent = exponent
        self.shortlist = shortlist
        self.threshold_kev = threshold_kev
        self.coarse_below_kev = coarse_below_kev
        self._order = channel_order()
        self._place = np.argsort(self._order, axis=1)  # where in a point's signals a channel is
        self._libraries = [self._library(segment) for segment in range(SEGMENTS)]

    def _library(self, segment: int) -> _Library:
        rows = self.basis.rows(segment)
        width = len(mask(segment))
        signals = self.basis.signals[rows]
        points, channels, samples = signals.shape
        matrix = signals.reshape(points, channels * samples)[:, : width * samples]
        masked = signals[:, :width]
        return _Library(rows.start, masked, matrix, np.ascontiguousarray((masked**2).sum(axis=2).T))

    def search(
        self, traces: Float32s, energies_kev: Float32s, usable: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.void]:
        """The hits of n events, sorted by event, then by decreasing energy: an array of `FOUND`.

        `traces` [n, 37, samples] in keV, base line subtracted, the first sample at the interaction; `energies_kev`
        [n, 36] are the segments' net charges: those of at least `threshold_kev` count as hit. Signals that are not
        `usable` [n, 37] are left out of every comparison.
        """
        traces = np.asarray(traces, np.float32)
        expected = (len(traces), SIGNALS, self.basis.parameters.samples)
        if traces.shape != expected or energies_kev.shape != (len(traces), SEGMENTS):
            raise ValueError(
                f"traces {traces.shape} and energies {energies_kev.shape}: this basis needs {expected} and "
                f"{(len(traces), SEGMENTS)}"
            )
        hits = self._hit_segments(energies_kev)
        self._search_all(_Measured(traces, np.ones(expected[:2], np.bool_) if usable is None else usable), hits)
        event, rank = np.nonzero(np.arange(MAX_HIT_SEGMENTS) < hits.count[:, None])
        found = np.zeros(len(event), FOUND)
        found["event"] = event
        found["segment"] = hits.segment[event, rank]
        found["point"] = hits.point[event, rank]
        found["energy_kev"] = hits.energy_kev[event, rank]
        found["distance"] = hits.distance[event, rank]
        return found

    def _hit_segments(self, energies_kev: Float32s) -> _Hits:
        energies = np.where(energies_kev >= self.threshold_kev, energies_kev, 0).astype(np.float32)
        segment = np.argsort(-energies, axis=1, kind="stable")[:, :MAX_HIT_SEGMENTS]
        energy = np.take_along_axis(energies, segment, axis=1)
        count = (energy > 0).sum(axis=1)
        return _Hits(count, np.where(energy > 0, segment, 0), energy, np.full(segment.shape, -1), np.zeros_like(energy))

    def _search_all(self, measured: _Measured, hits: _Hits) -> None:
        """Fill in the points of all hits."""
        active = np.flatnonzero(hits.count > 0)
        for _ in range(PASSES):
            before = hits.point[active].copy()
            for rank in range(int(hits.count[active].max(initial=0))):
                self._search_rank(measured, hits, active[hits.count[active] > rank], rank)
            # one segment alone has nothing to subtract; what a pass leaves unchanged the next one would too
            changed = (hits.point[active] != before).any(axis=1) & (hits.count[active] > 1)
            active = active[changed]

    def _search_rank(self, measured: _Measured, hits: _Hits, events: Integers, rank: int) -> None:
        """Search the `rank`-th hit segment of these events."""
        segments = hits.segment[events, rank]
        for segment in np.unique(segments):
            chosen = events[segments == segment]
            for first in range(0, len(chosen), TILE):
                tile = chosen[first : first + TILE]
                signals, weights = self._prepare(measured, hits, tile, rank, int(segment))
                fine = np.flatnonzero(hits.energy_kev[tile, rank] >= self.coarse_below_kev)
                point, distance = self._nearest(self._libraries[segment], signals, weights, fine)
                hits.point[tile, rank] = point[: len(tile)]
                hits.distance[tile, rank] = distance[: len(tile)]

    def _prepare(
        self, measured: _Measured, hits: _Hits, tile: Integers, rank: int, segment: int
    ) -> tuple[Float32s, Float32s]:
        """A tile's signals [TILE, mask, samples] of unit charge less the other hits' best, and weights [TILE, mask]."""
        channels = self._order[segment, : len(mask(segment))]
        signals = np.zeros((TILE, len(channels), measured.traces.shape[2]), np.float32)
        weights = np.zeros((TILE, len(channels)), np.float32)
        used = slice(0, len(tile))
        signals[used] = measured.traces[tile[:, None], channels]
        weights[used] = measured.usable[tile[:, None], channels]
        for other in range(int(hits.count[tile].max())):
            if other == rank:
                continue
            subtracted = np.flatnonzero((hits.count[tile] > other) & (hits.point[tile, other] >= 0))
            who = tile[subtracted]
            places = self._place[hits.segment[who, other]][:, channels]
            induced = self.basis.signals[hits.point[who, other][:, None], places]
            signals[subtracted] -= hits.energy_kev[who, other][:, None, None] * induced
            present = np.flatnonzero(hits.count[tile] > other)
            weights[present] *= channels != hits.segment[tile[present], other][:, None]
        signals[used] *= (weights[used] / hits.energy_kev[tile, rank][:, None])[:, :, None]
        return signals, weights

    def _nearest(
        self, library: _Library, signals: Float32s, weights: Float32s, fine: Integers
    ) -> tuple[Integers, Float32s]:
        """For each search of a tile the nearest row of the basis, and its distance; `fine` ones take both steps."""
        distances = weights @ library.norms - 2 * (signals.reshape(TILE, -1) @ library.matrix.T)
        best = distances.argmin(axis=1)
        distance = distances[np.arange(TILE), best] + (signals**2).sum(axis=(1, 2))
        if len(fine) and self.exponent != 2:
            length = min(self.shortlist, len(library.matrix))
            nearest = np.argpartition(distances[fine], length - 1, axis=1)[:, :length]
            nearest.sort(axis=1)  # so that of equals the first in the basis wins
            difference = library.signals[nearest]
            difference -= signals[fine, None]
            np.abs(difference, out=difference)
            np.power(difference, np.float32(self.exponent), out=difference)
            powers = (difference.sum(axis=3) * weights[fine, None]).sum(axis=2)
            choice = powers.argmin(axis=1)
            one = np.arange(len(fine))
            best[fine] = nearest[one, choice]
            distance[fine] = powers[one, choice]
        samples = np.maximum(weights.sum(axis=1), 1) * signals.shape[2]
        return library.first + best, distance / samples
