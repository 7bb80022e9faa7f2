"""Potentials against what is known without solving them, and drift speeds against their table."""

import math

import numpy as np
import pytest

from grange.actors.crystal import CORE, SEGMENTS, Crystal, Floats
from grange.actors.fields import (
    ELECTRON_MM_PER_NS,
    ELEMENTARY_CHARGE_C,
    FIELD_V_PER_CM,
    GERMANIUM_PERMITTIVITY_F_PER_MM,
    HOLE_MM_PER_NS,
    FieldParameters,
    Fields,
    drift_velocity,
    solve_fields,
)


@pytest.fixture(scope="module")
def fields() -> Fields:
    return solve_fields(FieldParameters(grid_mm=3.0))


@pytest.fixture(scope="module")
def points() -> Floats:
    return Crystal().grid(5.0)


class TestWeightingPotentials:
    def test_add_up_to_one_everywhere(self, fields: Fields, points: Floats) -> None:
        np.testing.assert_allclose(fields.weights_at(points).sum(axis=1), 1.0, atol=1e-4)

    def test_lie_between_zero_and_one_but_for_the_interpolation(self, fields: Fields, points: Floats) -> None:
        weights = fields.weights_at(points)
        assert weights.min() > -0.1
        assert weights.max() < 1.1

    def test_are_one_at_their_own_contact_and_zero_at_the_others(self, fields: Fields) -> None:
        at_bore, at_slice_3 = fields.weights_at(np.array([[5.05, 0, 60.0], [39.9, 0, 45.0]]))
        assert at_bore[CORE] == pytest.approx(1, abs=0.03)
        assert at_slice_3[3] == pytest.approx(1, abs=0.03)
        assert np.abs(np.delete(at_bore, CORE)).max() < 0.03
        assert np.abs(np.delete(at_slice_3, 3)).max() < 0.03

    def test_turn_with_the_sectors(self, fields: Fields, points: Floats) -> None:
        angle = math.pi / 3
        turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
        turned = fields.weights_at(points @ turn.T)
        np.testing.assert_allclose(
            turned[:, :SEGMENTS], np.roll(fields.weights_at(points)[:, :SEGMENTS], 6, axis=1), atol=1e-5
        )


class TestField:
    def test_drives_holes_outwards_and_electrons_to_the_core(self, fields: Fields, points: Floats) -> None:
        behind = points[points[:, 2] > 20]
        outwards = (fields.field_at(behind)[:, :2] * behind[:, :2]).sum(axis=1)
        assert (outwards > 0).all()

    def test_is_nowhere_so_weak_that_charges_would_be_lost(self, fields: Fields, points: Floats) -> None:
        strength_v_per_cm = 10 * np.sqrt((fields.field_at(points) ** 2).sum(axis=1))
        assert strength_v_per_cm.min() > 300
        assert strength_v_per_cm.max() < 10_000

    def test_of_a_long_coaxial_cylinder_follows_the_textbook(self) -> None:
        cylinder = Crystal(front_apothem_mm=100.0)
        fields = solve_fields(FieldParameters(cylinder, grid_mm=2.5, impurity_gradient_per_cm4=0.0))
        radius = np.linspace(10, 35, 11)
        far_from_the_front = np.stack((radius, np.zeros(11), np.full(11, 80.0)), axis=1)
        outer, inner = cylinder.radius_mm, cylinder.bore_radius_mm
        by_logarithm = np.log(outer / radius) / math.log(outer / inner)
        np.testing.assert_allclose(fields.weights_at(far_from_the_front)[:, CORE], by_logarithm, atol=0.02)
        # E = ρ r / 2ε + c / r, with c from the voltage between the contacts
        half_charge = 1.26e10 / 1000 * ELEMENTARY_CHARGE_C / GERMANIUM_PERMITTIVITY_F_PER_MM / 2
        by_textbook = (5000 - half_charge * (outer**2 - inner**2) / 2) / math.log(outer / inner) / radius
        by_textbook += half_charge * radius
        np.testing.assert_allclose(fields.field_at(far_from_the_front)[:, 0], by_textbook, rtol=0.05)


class TestDriftVelocity:
    @pytest.mark.parametrize(("electrons", "table"), [(True, ELECTRON_MM_PER_NS), (False, HOLE_MM_PER_NS)])
    def test_follows_the_table_along_the_axes(self, electrons: bool, table: tuple[float, ...]) -> None:
        field = np.array([[0.0, 0.0, strength / 10] for strength in FIELD_V_PER_CM])
        velocity = drift_velocity(field, electrons, anisotropy=0.2)
        np.testing.assert_allclose(velocity[:, 2], [-speed if electrons else speed for speed in table], rtol=1e-9)
        assert (velocity[:, :2] == 0).all()

    def test_goes_no_faster_beyond_the_table(self) -> None:
        assert drift_velocity(np.array([[9000.0, 0, 0]]), electrons=False)[0, 0] == HOLE_MM_PER_NS[-1]

    def test_is_slower_along_the_diagonal_by_the_anisotropy(self) -> None:
        field = np.array([[100.0, 100.0, 100.0]])
        plain = drift_velocity(field, electrons=False)
        np.testing.assert_allclose(drift_velocity(field, electrons=False, anisotropy=0.15), 0.85 * plain)

    def test_scales(self) -> None:
        field = np.array([[100.0, 50.0, 0.0]])
        np.testing.assert_allclose(
            drift_velocity(field, electrons=True, scale=0.95), 0.95 * drift_velocity(field, electrons=True)
        )
