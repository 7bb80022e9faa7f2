"""Synthetic files: repeatable, with the structure asked for, and true to their own truth."""

from pathlib import Path

import numpy as np
import pytest

from grange.actors import adf
from grange.actors.adf_file import AdfSummary, read_blocks, summarise
from grange.actors.basis import load_fields
from grange.actors.emulator import PRE_TRIGGER, Emulation, write_events
from grange.actors.fields import FieldParameters, Fields

SPREAD_UNITS = Emulation().spread_units


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return load_fields(tmp_path_factory.mktemp("cache"), FieldParameters(grid_mm=4.0))


def read(path: Path) -> adf.Records:
    return np.concatenate([adf.unpack_crystal_frames(block) for block in read_blocks(path)])


def timestamps(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return read(path)["timestamp"].astype(np.int64)


def test_the_file_holds_the_events_asked_for(fields: Fields, tmp_path: Path) -> None:
    path = tmp_path / "events.adf"
    summary = write_events(path, 120, [3, 8, 40], 1, fields)
    assert summary == summarise(path)
    assert summary.frames == {"data:crystal": 120, "meta:eof": 1}
    frames = read(path)
    assert frames["event_number"].tolist() == list(range(120))
    assert set(frames["crystal"].tolist()) == {3, 8, 40}
    assert (frames["pre_trigger"] == PRE_TRIGGER).all()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(fields: Fields, tmp_path: Path) -> None:
    def digest(seed: int) -> str:
        return write_events(tmp_path / "events.adf", 50, range(4), seed, fields, overwrite=True).sha256

    assert digest(7) == digest(7)
    assert digest(7) != digest(8)


def test_time_stamps_increase_at_the_rate_asked_for(fields: Fields, tmp_path: Path) -> None:
    write_events(tmp_path / "events.adf", 400, range(4), 1, fields, Emulation(rate_hz=500.0))
    times = timestamps(tmp_path / "events.adf")
    assert (np.diff(times) >= 0).all()
    rate_hz = 400 / (times[-1] * 1e-8) / 4
    assert rate_hz == pytest.approx(500, rel=0.2)


def test_late_events_are_behind_younger_ones_within_the_limit(fields: Fields, tmp_path: Path) -> None:
    emulation = Emulation(late_fraction=0.05, late_units=200_000)
    write_events(tmp_path / "events.adf", 400, range(4), 1, fields, emulation)
    times = timestamps(tmp_path / "events.adf")
    behind = np.maximum.accumulate(times) - times
    assert 0 < (behind > 0).mean() < 0.1
    assert behind.max() <= 200_000


def test_cascades_hit_several_crystals_within_the_window_and_singles_one(fields: Fields, tmp_path: Path) -> None:
    truth = tmp_path / "truth.npz"
    write_events(tmp_path / "events.adf", 400, range(6), 1, fields, Emulation(cascade_fraction=0.5), truth_path=truth)
    frames = read(tmp_path / "events.adf")
    interactions = np.load(truth)["interactions"]
    by_event = interactions["physics_event"][np.unique(interactions["event"], return_index=True)[1]]
    folds = []
    for physics_event in np.unique(by_event)[:-1]:  # the last one may be cut by the number of events
        members = frames[by_event == physics_event]
        folds.append(len(members))
        assert len(set(members["crystal"].tolist())) == len(members)
        assert np.ptp(members["timestamp"].astype(np.int64)) <= SPREAD_UNITS
    assert set(folds) == {1, 2, 3, 4}
    assert (np.array(folds) == 1).mean() == pytest.approx(0.5, abs=0.1)


def test_traces_show_what_the_truth_says(fields: Fields, tmp_path: Path) -> None:
    truth = tmp_path / "truth.npz"
    write_events(tmp_path / "events.adf", 100, [0], 1, fields, truth_path=truth)
    frames = read(tmp_path / "events.adf")
    saved = np.load(truth)
    interactions = saved["interactions"]
    expected = np.zeros((100, adf.SEGMENTS))
    np.add.at(expected, (interactions["event"], interactions["segment"]), interactions["energy_kev"])
    kev = frames["traces"] * 0.25
    np.testing.assert_allclose(kev[:, : adf.SEGMENTS, -20:].mean(axis=2), expected, atol=12)
    np.testing.assert_allclose(frames["core_energy_kev"][:, 0], expected.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(kev[:, adf.CORE_HIGH_GAIN, -20:].mean(axis=1), expected.sum(axis=1), atol=12)
    low_gain = frames["traces"][:, adf.CORE_LOW_GAIN, -20:].mean(axis=1)
    np.testing.assert_allclose(low_gain, expected.sum(axis=1), atol=12)
    assert saved["jitter_ns"].std() == pytest.approx(4, rel=0.3)
    assert fields.parameters.crystal.inside(interactions["position_mm"].astype(float)).all()


def test_some_events_have_two_interactions(fields: Fields, tmp_path: Path) -> None:
    truth = tmp_path / "truth.npz"
    write_events(tmp_path / "events.adf", 300, [0], 1, fields, Emulation(double_fraction=0.5), truth_path=truth)
    per_event = np.bincount(np.load(truth)["interactions"]["event"])
    assert set(per_event.tolist()) == {1, 2}
    assert 0.2 < (per_event == 2).mean() < 0.5  # some second ones escape


def test_the_base_line_is_noise_of_the_rms_asked_for(fields: Fields, tmp_path: Path) -> None:
    write_events(tmp_path / "events.adf", 100, [0], 1, fields)
    before = read(tmp_path / "events.adf")["traces"][:, : adf.SEGMENTS, : PRE_TRIGGER - 3] * 0.25
    assert abs(before.mean()) < 0.3
    rms_kev = before.transpose(1, 0, 2).reshape(adf.SEGMENTS, -1).std(axis=1)
    assert 2.8 < rms_kev.min() < rms_kev.max() < 6.3


def test_no_events_make_a_file_without_any(fields: Fields, tmp_path: Path) -> None:
    summary = write_events(tmp_path / "none.adf", 0, [0], 1, fields, truth_path=tmp_path / "truth.npz")
    assert (summary.events, summary.bytes) == (0, adf.KEY_BYTES)
    assert len(np.load(tmp_path / "truth.npz")["interactions"]) == 0


@pytest.mark.parametrize(("n_events", "crystals"), [(-1, [0]), (10, []), (10, [1, 1])])
def test_arguments_without_sense_are_refused_and_nothing_is_written(
    fields: Fields, tmp_path: Path, n_events: int, crystals: list[int]
) -> None:
    with pytest.raises(ValueError, match="different crystals are needed"):
        write_events(tmp_path / "events.adf", n_events, crystals, 1, fields)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_too_low_for_the_time_stamps_is_refused(fields: Fields, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit 48 bits"):
        write_events(tmp_path / "events.adf", 10, [0], 1, fields, Emulation(rate_hz=1e-8))


def test_an_interrupted_or_repeated_run_does_not_overwrite(fields: Fields, tmp_path: Path) -> None:
    first: AdfSummary = write_events(tmp_path / "events.adf", 5, [0], 1, fields)
    with pytest.raises(FileExistsError):
        write_events(tmp_path / "events.adf", 5, [0], 2, fields)
    assert summarise(tmp_path / "events.adf") == first
