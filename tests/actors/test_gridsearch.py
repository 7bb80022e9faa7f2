"""The grid search on signals of its own basis: exact, repeatable, blind to what it is told to ignore."""

import numpy as np
import pytest

from grange.actors.basis import Basis, BasisParameters, load_basis
from grange.actors.crystal import CORE, SEGMENTS, SIGNALS, channel_order, mask
from grange.actors.fields import FieldParameters, Float32s
from grange.actors.gridsearch import MAX_HIT_SEGMENTS, GridSearch
from grange.actors.signals import noise

SAMPLES = 40


@pytest.fixture(scope="module")
def basis(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    parameters = BasisParameters(FieldParameters(grid_mm=4.0), grid_mm=5.0)
    return load_basis(tmp_path_factory.mktemp("cache"), parameters)


@pytest.fixture(scope="module")
def search(basis: Basis) -> GridSearch:
    return GridSearch(basis)


class Events:
    """Events put together from points of the basis."""

    def __init__(self, basis: Basis, n: int) -> None:
        self._basis = basis
        self._place = np.argsort(channel_order(), axis=1)
        self.traces = np.zeros((n, SIGNALS, SAMPLES), np.float32)
        self.energies_kev = np.zeros((n, SEGMENTS), np.float32)

    def hit(self, event: int, point: int, energy_kev: float) -> None:
        segment = self._basis.segment[point]
        self.traces[event] += energy_kev * self._basis.signals[point, self._place[segment]]
        self.energies_kev[event, segment] += energy_kev


def noisy_events(basis: Basis, n: int, hits: int) -> Events:
    """Events with up to `hits` segments hit, seeded, with 5 keV of noise."""
    generator = np.random.default_rng(n + hits)
    events = Events(basis, n)
    for event in range(n):
        for point in generator.integers(0, len(basis.points_mm), generator.integers(1, hits + 1)):
            events.hit(event, int(point), float(generator.uniform(20, 1300)))
    events.traces += noise(events.traces.shape, 5.0, 12.0, generator)
    return events


@pytest.mark.parametrize("exponent", [0.3, 1.0, 2.0])
def test_every_point_of_the_basis_finds_itself_without_noise(basis: Basis, exponent: float) -> None:
    events = Events(basis, len(basis.points_mm))
    for point in range(len(basis.points_mm)):
        events.hit(point, point, 1000.0)
    found = GridSearch(basis, exponent).search(events.traces, events.energies_kev)
    assert found["event"].tolist() == found["point"].tolist() == list(range(len(basis.points_mm)))
    assert (found["segment"] == basis.segment).all()
    assert (found["energy_kev"] == 1000).all()


def test_two_hit_segments_far_apart_are_both_found(basis: Basis, search: GridSearch) -> None:
    generator = np.random.default_rng(5)
    points = generator.integers(0, len(basis.points_mm), (200, 2))
    apart = [pair for pair in points if basis.segment[pair[1]] not in mask(basis.segment[pair[0]])]
    events = Events(basis, len(apart))
    for event, (first, second) in enumerate(apart):
        events.hit(event, first, 800.0)
        events.hit(event, second, 400.0)
    found = search.search(events.traces, events.energies_kev)
    assert found["energy_kev"].tolist() == [800.0, 400.0] * len(apart)
    assert (found["point"] == np.array(apart).ravel()).mean() > 0.95


def test_subtraction_separates_hits_in_neighbouring_segments(basis: Basis) -> None:
    generator = np.random.default_rng(6)
    points = generator.integers(0, len(basis.points_mm), (3000, 2))
    near = [pair for pair in points if basis.segment[pair[1]] in mask(basis.segment[pair[0]])[2:]]
    events = Events(basis, len(near))
    for event, (first, second) in enumerate(near):
        events.hit(event, first, 800.0)
        events.hit(event, second, 400.0)
    found = GridSearch(basis).search(events.traces, events.energies_kev)
    missed_mm = np.sqrt(((basis.points_mm[found["point"]] - basis.points_mm[np.array(near).ravel()]) ** 2).sum(axis=1))
    assert len(near) > 300
    assert np.median(missed_mm) == 0
    assert missed_mm.mean() < 3


@pytest.mark.parametrize("hits", [1, 3])
def test_results_are_the_same_to_the_bit_however_events_are_batched(
    basis: Basis, search: GridSearch, hits: int
) -> None:
    events = noisy_events(basis, 300, hits)
    together = search.search(events.traces, events.energies_kev)
    for size in (1, 7, 128):
        parts = []
        for first in range(0, 300, size):
            part = slice(first, first + size)
            found = search.search(events.traces[part], events.energies_kev[part])
            found["event"] += first
            parts.append(found)
        assert np.concatenate(parts).tobytes() == together.tobytes()


def test_results_do_not_depend_on_the_order_of_events_to_the_bit(basis: Basis, search: GridSearch) -> None:
    events = noisy_events(basis, 300, 2)
    order = np.random.default_rng(1).permutation(300)
    shuffled = search.search(events.traces[order], events.energies_kev[order])
    shuffled["event"] = order[shuffled["event"]]
    shuffled = shuffled[np.argsort(shuffled["event"], kind="stable")]
    assert shuffled.tobytes() == search.search(events.traces, events.energies_kev).tobytes()


def test_hits_come_by_decreasing_energy_and_only_above_threshold(basis: Basis, search: GridSearch) -> None:
    events = Events(basis, 2)
    for segment, energy_kev in ((20, 9.9), (3, 10.0), (30, 500.0)):
        events.hit(0, basis.rows(segment).start, energy_kev)
    found = search.search(events.traces, events.energies_kev)
    assert found["event"].tolist() == [0, 0]
    assert found["segment"].tolist() == [30, 3]


def test_more_hit_segments_than_the_limit_lose_the_smallest(basis: Basis, search: GridSearch) -> None:
    events = Events(basis, 1)
    for segment in range(MAX_HIT_SEGMENTS + 2):
        events.hit(0, basis.rows(segment).start, 100.0 + segment)
    found = search.search(events.traces, events.energies_kev)
    assert found["segment"].tolist() == list(range(MAX_HIT_SEGMENTS + 1, 1, -1))


def test_below_fifty_kev_the_squares_decide(basis: Basis, search: GridSearch) -> None:
    events = noisy_events(basis, 100, 1)
    scale = 40.0 / events.energies_kev.sum(axis=1)
    traces = events.traces * scale[:, None, None]
    energies_kev = events.energies_kev * scale[:, None]
    by_squares = GridSearch(basis, exponent=2.0).search(traces, energies_kev)
    assert search.search(traces, energies_kev).tobytes() == by_squares.tobytes()
    all_fine = GridSearch(basis, coarse_below_kev=0.0).search(traces, energies_kev)
    assert (all_fine["point"] != by_squares["point"]).any()


def test_signals_that_are_not_usable_do_not_matter(basis: Basis, search: GridSearch) -> None:
    events = noisy_events(basis, 50, 1)
    hit = events.energies_kev.argmax(axis=1)
    usable = np.ones((50, SIGNALS), bool)
    neighbour = np.array([mask(segment)[2] for segment in hit])
    usable[np.arange(50), neighbour] = False
    before = search.search(events.traces, events.energies_kev, usable)
    events.traces[np.arange(50), neighbour] = 1e6
    assert search.search(events.traces, events.energies_kev, usable).tobytes() == before.tobytes()


def test_signals_beyond_the_mask_do_not_matter(basis: Basis, search: GridSearch) -> None:
    events = noisy_events(basis, 50, 1)
    before = search.search(events.traces, events.energies_kev)
    for event, segment in enumerate(events.energies_kev.argmax(axis=1)):
        beyond = [channel for channel in range(SIGNALS) if channel not in mask(int(segment))]
        events.traces[event, beyond] = 1e6
    assert search.search(events.traces, events.energies_kev).tobytes() == before.tobytes()


def test_the_core_is_in_every_mask(basis: Basis, search: GridSearch) -> None:
    events = noisy_events(basis, 50, 1)
    before = search.search(events.traces, events.energies_kev)
    events.traces[:, CORE] *= 0.5
    assert search.search(events.traces, events.energies_kev).tobytes() != before.tobytes()


def test_no_events_give_no_hits(search: GridSearch) -> None:
    nothing: Float32s = np.zeros((0, SIGNALS, SAMPLES), np.float32)
    assert len(search.search(nothing, np.zeros((0, SEGMENTS), np.float32))) == 0


def test_traces_of_another_window_are_refused_with_what_is_needed(search: GridSearch) -> None:
    with pytest.raises(ValueError, match=r"this basis needs \(2, 37, 40\)"):
        search.search(np.zeros((2, SIGNALS, 50), np.float32), np.zeros((2, SEGMENTS), np.float32))


def test_parameters_without_sense_are_refused(basis: Basis) -> None:
    with pytest.raises(ValueError, match="must all be positive"):
        GridSearch(basis, shortlist=0)
