"""What an interaction induces: net charges, transients, and what the read-out makes of them."""

import numpy as np
import pytest

from grange.actors.crystal import CORE, SEGMENTS, Crystal, Floats, neighbours
from grange.actors.fields import FieldParameters, Fields, solve_fields
from grange.actors.signals import Model, Signals, crosstalk_matrix, noise, respond, simulate

SAMPLES = 75


@pytest.fixture(scope="module")
def fields() -> Fields:
    return solve_fields(FieldParameters(grid_mm=3.0))


@pytest.fixture(scope="module")
def points() -> Floats:
    return Crystal().grid(6.0)


@pytest.fixture(scope="module")
def signals(fields: Fields, points: Floats) -> Signals:
    return simulate(fields, points, Model(crosstalk=0.0), SAMPLES)


class TestSimulatedSignals:
    def test_begin_at_zero(self, signals: Signals) -> None:
        assert (signals.samples[:, :, 0] == 0).all()

    def test_core_and_hit_segment_end_at_the_charge(self, signals: Signals) -> None:
        row = np.arange(len(signals.segment))
        np.testing.assert_allclose(signals.samples[:, CORE, -1], 1, atol=1e-3)
        np.testing.assert_allclose(signals.samples[row, signals.segment, -1], 1, atol=1e-3)

    def test_all_other_segments_return_to_zero(self, signals: Signals) -> None:
        others = signals.samples[:, :SEGMENTS, -1].copy()
        others[np.arange(len(others)), signals.segment] = 0
        assert np.abs(others).max() < 2e-3

    def test_the_segments_together_see_what_the_core_sees(self, signals: Signals) -> None:
        together = signals.samples[:, :SEGMENTS].sum(axis=1)
        # exact but for the moment of collection, when interpolated weights give way to the contact's own
        np.testing.assert_allclose(together, signals.samples[:, CORE], atol=0.02)

    def test_transients_of_neighbours_are_some_percent_of_the_charge(self, signals: Signals) -> None:
        peaks = np.abs(signals.samples[:, :SEGMENTS]).max(axis=2)
        hit = signals.segment
        row = np.arange(len(hit))
        next_sector = peaks[row, (hit + 6) % SEGMENTS].mean()
        front = hit % 6 < 5
        next_slice = peaks[row[front], hit[front] + 1].mean()
        assert 0.04 < next_sector < 0.09
        assert 0.07 < next_slice < 0.13

    def test_transients_of_segments_far_away_are_small(self, signals: Signals) -> None:
        peaks = np.abs(signals.samples[:, :SEGMENTS]).max(axis=2)
        for segment in range(SEGMENTS):
            far = [other for other in range(SEGMENTS) if other != segment and other not in neighbours(segment)]
            assert peaks[signals.segment == segment][:, far].mean() < 0.01

    def test_the_core_rises_in_about_two_hundred_nanoseconds(self, signals: Signals) -> None:
        core = signals.samples[:, CORE]
        rise_ns = 10.0 * ((core > 0.9).argmax(axis=1) - (core > 0.1).argmax(axis=1))
        assert 150 < np.median(rise_ns) < 220

    def test_slower_charges_arrive_later(self, fields: Fields, points: Floats, signals: Signals) -> None:
        slow = simulate(fields, points, Model(electron_speed=0.5, hole_speed=0.5), 2)
        np.testing.assert_allclose(slow.electron_ns, 2 * signals.electron_ns, rtol=0.05, atol=5)
        np.testing.assert_allclose(slow.hole_ns, 2 * signals.hole_ns, rtol=0.05, atol=5)

    def test_do_not_depend_on_the_other_points(self, fields: Fields, points: Floats, signals: Signals) -> None:
        some = simulate(fields, points[7:12], Model(crosstalk=0.0), SAMPLES)
        np.testing.assert_array_equal(some.samples, signals.samples[7:12])

    def test_crosstalk_lowers_the_base_line_of_the_other_segments(self, fields: Fields, points: Floats) -> None:
        crossed = simulate(fields, points[:1], Model(crosstalk=-0.0016), SAMPLES)
        others = np.delete(crossed.samples[0, :SEGMENTS, -1], crossed.segment[0])
        np.testing.assert_allclose(others, -0.0016, atol=1e-4)

    def test_of_no_points_are_empty(self, fields: Fields) -> None:
        assert simulate(fields, np.zeros((0, 3)), Model(), SAMPLES).samples.shape == (0, 37, SAMPLES)


class TestReadOut:
    def test_a_ramp_comes_late_by_the_response_time(self) -> None:
        ramp = np.arange(100, dtype=np.float32)
        np.testing.assert_allclose(ramp[50:] - respond(ramp, 35.0)[50:], 3.5, rtol=1e-4)

    def test_without_response_nothing_changes(self) -> None:
        ramp = np.arange(5, dtype=np.float32)
        assert respond(ramp, 0.0) is ramp

    def test_crosstalk_leaves_a_segments_own_signal_and_the_core_alone(self) -> None:
        matrix = crosstalk_matrix(np.full((SEGMENTS, SEGMENTS), -0.002))
        np.testing.assert_array_equal(np.diag(matrix), 1)
        np.testing.assert_array_equal(matrix[CORE, :SEGMENTS], 0)
        np.testing.assert_array_equal(matrix[:SEGMENTS, CORE], 0)
        assert matrix[0, 1] == np.float32(-0.002)

    def test_noise_has_the_rms_and_the_band_asked_for(self) -> None:
        values = noise((500, 200), 4.5, 20.0, np.random.default_rng(1))
        assert values.std() == pytest.approx(4.5, rel=0.02)
        neighbouring = (values[:, 1:] * values[:, :-1]).mean() / values.var()
        assert neighbouring == pytest.approx(np.exp(-0.5), abs=0.02)
