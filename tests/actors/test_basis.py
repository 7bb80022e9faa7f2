"""The basis: every point's signals, where the search expects them."""

from pathlib import Path

import numpy as np
import pytest

from grange.actors.basis import Basis, BasisParameters, load_basis, load_fields
from grange.actors.crystal import CORE, SEGMENTS, channel_order
from grange.actors.fields import FieldParameters
from grange.actors.signals import Model, simulate

COARSE = BasisParameters(FieldParameters(grid_mm=4.0), grid_mm=6.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def basis(cache: Path) -> Basis:
    return load_basis(cache, COARSE)


def test_points_are_sorted_by_segment_and_every_segment_has_some(basis: Basis) -> None:
    assert (np.diff(basis.segment) >= 0).all()
    assert set(basis.segment.tolist()) == set(range(SEGMENTS))
    for segment in range(SEGMENTS):
        assert (basis.segment[basis.rows(segment)] == segment).all()
    assert sum(basis.rows(segment).stop - basis.rows(segment).start for segment in range(SEGMENTS)) == len(
        basis.points_mm
    )


def test_signals_begin_with_the_hit_segment_and_the_core(basis: Basis) -> None:
    late = basis.signals[:, :, -1]
    # at the end of the window the slowest holes are still under way
    assert late[:, 0].min() > 0.7
    assert late[:, 1].min() > 0.9
    assert np.median(late[:, 0]) == pytest.approx(1, abs=0.01)
    assert late[:, 2:].max() < 0.3


def test_signals_are_those_of_the_points(cache: Path, basis: Basis) -> None:
    row = 100
    alone = simulate(load_fields(cache, COARSE.fields), basis.points_mm[row : row + 1].astype(float), COARSE.model, 40)
    assert alone.segment[0] == basis.segment[row]
    # one point alone meets other roundings in the cross-talk's matrix product
    expected = alone.samples[0, channel_order()[basis.segment[row]]]
    np.testing.assert_allclose(basis.signals[row], expected, atol=1e-6)
    assert basis.electron_ns[row] == alone.electron_ns[0]
    assert basis.hole_ns[row] == alone.hole_ns[0]


def test_the_segments_of_a_sector_share_its_points_by_where_holes_end(basis: Basis) -> None:
    azimuth = np.degrees(np.arctan2(basis.points_mm[:, 1], basis.points_mm[:, 0]))
    sector = np.round(azimuth / 60).astype(int) % 6
    # 6 mm points do not lie alike in all sectors, and drift bends at the borders
    assert (sector == basis.segment // 6).mean() > 0.97


def test_a_second_load_gives_the_same_bytes_from_the_cache(cache: Path, basis: Basis) -> None:
    before = sorted(file.stat().st_mtime_ns for file in cache.rglob("*.npy"))
    again = load_basis(cache, COARSE)
    assert sorted(file.stat().st_mtime_ns for file in cache.rglob("*.npy")) == before
    np.testing.assert_array_equal(again.signals, basis.signals)
    assert not again.signals.flags.writeable


def test_bases_of_one_crystal_share_its_fields(cache: Path, basis: Basis) -> None:
    load_basis(cache, BasisParameters(COARSE.fields, Model(response_ns=42.0), grid_mm=7.0))
    assert len(list(cache.glob("fields-*/field.npy"))) == 1
    assert len(list(cache.glob("basis-*/signals.npy"))) == 2


def test_a_grid_too_coarse_for_the_segments_is_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match=r"leaves segments .* without a point; choose a finer one"):
        load_basis(cache, BasisParameters(COARSE.fields, grid_mm=25.0))


def test_the_core_sees_every_point(basis: Basis) -> None:
    assert (channel_order()[:, 1] == CORE).all()
    assert basis.signals[:, 1].max(axis=1).min() > 0.9
