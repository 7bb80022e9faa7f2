"""From crystal frames to hits, and the resolution on data that the basis was not made for."""

from pathlib import Path

import numpy as np
import pytest

from grange.actors import adf
from grange.actors.adf_file import read_blocks
from grange.actors.analysis import HitStatus, PsaStatus, analyse, calibrated
from grange.actors.basis import Basis, BasisParameters, load_basis, load_fields
from grange.actors.emulator import write_events
from grange.actors.fields import FieldParameters
from grange.actors.gridsearch import MAX_HIT_SEGMENTS, GridSearch

EVENTS = 900


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def basis(cache: Path) -> Basis:
    return load_basis(cache, BasisParameters(FieldParameters(grid_mm=3.0), grid_mm=4.0))


@pytest.fixture(scope="module")
def search(basis: Basis) -> GridSearch:
    return GridSearch(basis)


@pytest.fixture(scope="module")
def block(cache: Path, basis: Basis) -> adf.Records:
    """Events made with the mismatched model; their truth lies beside them."""
    fields = load_fields(cache, basis.parameters.fields)
    write_events(cache / "events.adf", EVENTS, range(4), 11, fields, truth_path=cache / "truth.npz")
    return np.concatenate([adf.unpack_crystal_frames(part) for part in read_blocks(cache / "events.adf")])


@pytest.fixture(scope="module")
def truth(cache: Path, block: adf.Records) -> adf.Records:
    """Per event and segment the energy, and the centre of energy of its interactions."""
    interactions = np.load(cache / "truth.npz")["interactions"]
    key = interactions["event"].astype(np.int64) * adf.SEGMENTS + interactions["segment"]
    hit, index = np.unique(key, return_inverse=True)
    result = np.zeros(len(hit), [("key", "<i8"), ("energy", "<f8"), ("position", "<f8", (3,))])
    result["key"] = hit
    result["energy"] = np.bincount(index, interactions["energy_kev"])
    weighted = interactions["energy_kev"][:, None] * interactions["position_mm"]
    for axis in range(3):
        result["position"][:, axis] = np.bincount(index, weighted[:, axis]) / result["energy"]
    return result


@pytest.fixture(scope="module")
def analysed(search: GridSearch, block: adf.Records) -> tuple[adf.Records, adf.Records]:
    return analyse(search, block)


def keys(heads: adf.Records, hits: adf.Records) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.repeat(heads["event_number"].astype(np.int64), heads["hits"]) * adf.SEGMENTS + hits["segment"]


def test_every_hit_segment_is_found_and_hardly_any_other(
    analysed: tuple[adf.Records, adf.Records], truth: adf.Records
) -> None:
    key = keys(*analysed)
    assert np.isin(truth["key"][truth["energy"] > 20], key).all()
    assert np.isin(key, truth["key"]).mean() > 0.995


def test_energies_are_right_to_a_few_kev(analysed: tuple[adf.Records, adf.Records], truth: adf.Records) -> None:
    heads, hits = analysed
    _, of_hits, of_truth = np.intersect1d(keys(heads, hits), truth["key"], return_indices=True)
    off_kev = hits["energy"][of_hits] - truth["energy"][of_truth]
    assert abs(np.median(off_kev)) < 1
    assert off_kev.std() < 3.5


@pytest.mark.parametrize(("exponent", "best_mm", "worst_mm"), [(0.3, 3.0, 6.0), (2.0, 3.0, 8.0)])
def test_the_resolution_above_one_mev_is_that_of_a_real_detector(
    basis: Basis, block: adf.Records, truth: adf.Records, exponent: float, best_mm: float, worst_mm: float
) -> None:
    heads, hits = analyse(GridSearch(basis, exponent), block)
    _, of_hits, of_truth = np.intersect1d(keys(heads, hits), truth["key"], return_indices=True)
    position = np.stack([hits[axis] for axis in "xyz"], axis=1)[of_hits]
    off_mm = (position - truth["position"][of_truth])[truth["energy"][of_truth] > 1000]
    fwhm_mm = 2.355 * np.percentile(np.abs(off_mm - np.median(off_mm, axis=0)), 68, axis=0)
    assert len(off_mm) > 150
    assert (fwhm_mm > best_mm).all()
    assert (fwhm_mm < worst_mm).all()


def test_hits_are_packed_as_they_are_given(search: GridSearch, block: adf.Records) -> None:
    heads, hits = analyse(search, block[:50])
    read_heads, read_hits = adf.unpack_psa_frames(adf.pack_psa_frames(heads, hits))
    assert read_hits.tobytes() == hits.tobytes()
    assert read_heads["timestamp"].tolist() == block["timestamp"][:50].tolist()
    assert read_heads["id"].tolist() == block["crystal"][:50].tolist()
    assert (hits["crystal"] == np.repeat(heads["id"], heads["hits"])).all()
    assert (hits["t_cce"] > 0).all()


def test_blocks_of_any_size_give_the_same_bytes(search: GridSearch, block: adf.Records) -> None:
    some = block[:100]
    parts = [adf.pack_psa_frames(*analyse(search, some[first : first + 9])) for first in range(0, 100, 9)]
    assert b"".join(parts) == adf.pack_psa_frames(*analyse(search, some))


def quiet_frames(n: int) -> adf.Records:
    traces = np.zeros((n, adf.CHANNELS, adf.SAMPLES), np.int16)
    packed = adf.pack_crystal_frames(
        event_number=np.arange(n), timestamp=0, crystal=0, core_energy_kev=0, traces=traces, pre_trigger=25
    )
    return adf.unpack_crystal_frames(packed).copy()


def test_a_frame_without_hit_has_a_head_that_says_so(search: GridSearch) -> None:
    heads, hits = analyse(search, quiet_frames(2))
    assert heads["psa_status"].tolist() == [PsaStatus.NO_HIT] * 2
    assert (heads["hits"].tolist(), len(hits)) == ([0, 0], 0)


def test_small_energies_are_marked_coarse_and_too_many_hits_truncated(search: GridSearch) -> None:
    frames = quiet_frames(1)
    for segment in range(MAX_HIT_SEGMENTS + 1):
        frames["traces"][0, segment, 40:] = 4 * (35 + 10 * segment)
    heads, hits = analyse(search, frames)
    assert heads["psa_status"].tolist() == [PsaStatus.TRUNCATED]
    assert heads["hits"].tolist() == [MAX_HIT_SEGMENTS]
    assert hits["energy"].tolist() == [115.0, 105.0, 95.0, 85.0, 75.0, 65.0, 55.0, 45.0]
    assert hits["status"].tolist() == [HitStatus.OK] * 7 + [HitStatus.COARSE]


def test_the_base_line_is_subtracted(search: GridSearch) -> None:
    frames = quiet_frames(1)
    frames["traces"][0] = 200
    frames["traces"][0, 5, 40:] = 600
    _, hits = analyse(search, frames)
    assert (hits["segment"].tolist(), hits["energy"].tolist()) == ([5], [100.0])


def test_a_channel_that_is_masked_out_is_no_hit(search: GridSearch) -> None:
    frames = quiet_frames(1)
    frames["traces"][0, 5, 40:] = 400
    frames["channel_mask"] &= ~np.uint64(1 << 5)
    heads, _ = analyse(search, frames)
    assert heads["hits"].tolist() == [0]


def test_a_saturated_core_is_taken_from_the_low_gain_if_that_is_usable() -> None:
    frames = quiet_frames(3)
    frames["traces"][1:, adf.CORE_HIGH_GAIN, 50:] = 32767
    frames["traces"][:, adf.CORE_LOW_GAIN, 50:] = 9000
    frames["channel_mask"][2] &= ~np.uint64(1 << adf.CORE_LOW_GAIN)
    assert calibrated(frames)[:, adf.CORE_HIGH_GAIN, -1].tolist() == [0.0, 9000.0, 8191.75]


def test_a_pre_trigger_that_leaves_no_room_is_refused(search: GridSearch) -> None:
    frames = quiet_frames(2)
    frames["pre_trigger"][1] = 35
    with pytest.raises(ValueError, match=r"pre-trigger of 25 … 35 samples: between 3 and 30 are needed"):
        analyse(search, frames)


def test_no_frames_give_no_heads(search: GridSearch) -> None:
    heads, hits = analyse(search, quiet_frames(0))
    assert (len(heads), len(hits)) == (0, 0)
