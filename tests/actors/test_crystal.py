"""The shape of the crystal, and which signals belong together."""

import math

import numpy as np
import pytest

from grange.actors.crystal import CORE, SEGMENTS, SIGNALS, Crystal, channel_order, mask, neighbours


def test_the_germanium_fills_about_360_cubic_centimetres() -> None:
    volume_cm3 = len(Crystal().grid(2.0)) * 0.008
    assert volume_cm3 == pytest.approx(358, abs=4)


@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ((0, 0, 12.9), True),  # before the bore
        ((0, 0, 13.1), False),  # in the bore
        ((4.9, 0, 50), False),
        ((5.1, 0, 50), True),
        ((39.9, 0, 80), True),  # towards a corner, cut by the cylinder
        ((40.1, 0, 80), False),
        ((28.0 / math.cos(math.pi / 6) - 0.2, 0, 1.0), True),  # the front's corner
        ((27.0, 15.588 + 2, 0.5), False),
        ((10, 0, -0.1), False),
        ((10, 0, 90.1), False),
    ],
)
def test_inside_and_outside(place: tuple[float, float, float], inside: bool) -> None:
    assert Crystal().inside(np.array([place]))[0] == inside


def test_the_shape_repeats_every_sixty_degrees() -> None:
    crystal = Crystal()
    radius, azimuth, z = (axis.ravel() for axis in np.meshgrid(np.arange(1.0, 42), np.arange(0, 1, 0.1), np.arange(90)))
    depth = crystal.depth(radius, azimuth, z)
    for turn in range(1, 6):
        np.testing.assert_allclose(crystal.depth(radius, azimuth + turn * math.pi / 3, z), depth, atol=1e-9)


def test_segments_are_numbered_by_sector_then_slice() -> None:
    azimuth = np.radians([0.0, 29.0, 31.0, 120.0, -29.0, -31.0, 359.0])
    z = np.array([0.0, 7.9, 8.1, 89.9, 36.1, 35.9, 54.1])
    assert Crystal().segment(azimuth, z).tolist() == [0, 0, 7, 17, 3, 32, 4]


def test_the_nearest_contact_is_the_core_at_the_bore_and_a_segment_elsewhere() -> None:
    contact = Crystal().contact(np.array([4.9, 40.0, 0.0]), np.zeros(3), np.array([50.0, 50.0, -0.1]))
    assert contact.tolist() == [CORE, 3, 0]


def test_slices_must_fill_the_length() -> None:
    with pytest.raises(ValueError, match=r"must add up to 90\.0 mm"):
        Crystal(slices_mm=(8.0, 13.0, 15.0, 18.0, 18.0, 17.0))


def test_a_segment_has_eight_neighbours_round_the_corner_too_and_five_at_the_ends() -> None:
    assert set(neighbours(1)) == {0, 2, 6, 7, 8, 30, 31, 32}
    assert set(neighbours(35)) == {34, 28, 29, 4, 5}


def test_neighbourhood_is_mutual() -> None:
    for segment in range(SEGMENTS):
        assert all(segment in neighbours(other) for other in neighbours(segment))


def test_the_mask_is_the_segment_the_core_and_the_neighbours() -> None:
    assert mask(0)[:2] == (0, CORE)
    assert {len(mask(segment)) for segment in range(SEGMENTS)} == {10, 7}


def test_the_channel_order_begins_with_the_mask_and_leaves_nothing_out() -> None:
    for segment, order in enumerate(channel_order()):
        assert tuple(order[: len(mask(segment))]) == mask(segment)
        assert sorted(order) == list(range(SIGNALS))
