"""The chain's actors by themselves, without a process: what they refuse at load and configure, and with which words."""

from typing import Any

import pytest

from grange.actors.adf import SAMPLES
from grange.actors.adf_file import FrameWriter
from grange.actors.analysis import ENERGY_SAMPLES, GUARD_SAMPLES, WINDOW_SAMPLES_MOST
from grange.actors.builder import Builder
from grange.actors.crystal import Crystal
from grange.actors.errors import ActorError
from grange.actors.poisson import Grid
from grange.actors.producer import Producer
from grange.actors.psa import FIELD_GRID_MM, GRID_MM, Psa
from grange.actors.stage import Stage
from grange.actors.surroundings import Surroundings
from grange.actors.trigger import Trigger


def configure(actor: Stage, parameters: dict[str, Any]) -> None:
    """What load and configure call."""
    actor.take_parameters(parameters)
    actor.process_config()
    actor.process_register()
    actor.process_initialise()


CORRECT = "Correct the role's parameters in the configuration"


@pytest.mark.parametrize(
    ("kind", "parameters", "says"),
    [
        (Producer, {}, "file is required"),
        (Producer, {"file": 5}, "file is 5, and must be a text, such as 'crystals.adf'"),
        (
            Producer,
            {"file": "x", "frames_per_block": 0, "rate_hz": -0.5, "loops": -1},
            "frames_per_block is 0, and must be at least 1; rate_hz is -0.5, and must be at least 0; "
            "loops is -1, and must be at least 0",
        ),
        (Producer, {"file": "x", "rate": 5}, "unknown parameter rate (did you mean rate_hz?)"),
        (Trigger, {"prescale": 0}, "prescale is 0, and must be at least 1"),
        (Trigger, {"max_held": 0}, "max_held is 0, and must be at least 1"),
        (Trigger, {"window_blocks": 0}, "window_blocks is 0, and must be at least 1"),
        (Builder, {"min_fold": 0}, "min_fold is 0, and must be at least 1"),
        (
            Psa,
            {"exponent": -1.0, "grid_mm": 12.0, "field_grid_mm": 5.0},
            "exponent -1.0, short list 32 and threshold 10.0 keV must all be positive",
        ),
        *((Psa, {"grid_mm": value}, f"grid_mm is {value}, and must be from 1 to 14") for value in (0.0, -1.0, 60.0)),
        (
            Psa,
            {"grid_mm": 0.5, "field_grid_mm": 0, "samples": 0},
            "grid_mm is 0.5, and must be from 1 to 14; field_grid_mm is 0.0, and must be from 1 to 5; "
            "samples is 0, and must be from 1 to 67",
        ),
        *(
            (Psa, {"field_grid_mm": value}, f"field_grid_mm is {value}, and must be from 1 to 5")
            for value in (-2.0, 5.5, 60.0)
        ),
        *((Psa, {"samples": value}, f"samples is {value}, and must be from 1 to 67") for value in (-3, 68, 4000)),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_the_reason_and_what_to_do(tmp_path, kind, parameters, says):
    with pytest.raises(ActorError) as caught:
        configure(kind(Surroundings(cache_directory=tmp_path, data_directory=tmp_path)), parameters)
    assert caught.value.sentence() == f"{says}. {CORRECT}"


@pytest.mark.parametrize(
    "parameters",
    [
        {"grid_mm": GRID_MM[1], "field_grid_mm": FIELD_GRID_MM[1], "samples": 1},
        {"grid_mm": GRID_MM[1], "field_grid_mm": FIELD_GRID_MM[1], "samples": WINDOW_SAMPLES_MOST},
    ],
)
def test_a_psa_takes_its_parameters_up_to_their_limits(tmp_path, parameters):
    psa = Psa(Surroundings(cache_directory=tmp_path))
    configure(psa, parameters)
    assert psa.status == "basis of 116 points ready"


def test_the_longest_search_window_fits_into_a_frame():
    assert SAMPLES - ENERGY_SAMPLES - WINDOW_SAMPLES_MOST == GUARD_SAMPLES + 1


def test_a_finer_field_grid_within_the_limits_is_another_grid():
    spacings = [FIELD_GRID_MM[0] + step * 0.5 for step in range(9)]
    shapes = [tuple(axis.size for axis in (grid.radius, grid.z)) for grid in (Grid.of(Crystal(), s) for s in spacings)]
    assert spacings[-1] == FIELD_GRID_MM[1]
    assert len(set(shapes)) == len(spacings)


def test_an_input_file_that_is_missing_or_no_adf_is_refused_with_the_place(tmp_path):
    nonsense, empty = tmp_path / "nonsense.adf", tmp_path / "empty.adf"
    nonsense.write_bytes(b"nonsense" * 10)
    FrameWriter(empty).close()
    missing = tmp_path / "none.adf"
    says = {
        missing: f"cannot read {missing}: No such file or directory. Correct the parameter 'file' of its role",
        nonsense: f"{nonsense}, byte 0: frame type 0x65736E65, which begins with neither 0xFA nor 0xCA. "
        "Name a file of data:crystal frames",
        empty: f"{empty} holds no frames. Name a file of data:crystal frames",
    }
    for path, sentence in says.items():
        with pytest.raises(ActorError) as caught:
            configure(Producer(), {"file": str(path)})
        assert caught.value.sentence() == sentence


def test_a_data_directory_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    directory = tmp_path / "file" / "data"
    with pytest.raises(ActorError) as caught:
        configure(Builder(Surroundings(data_directory=directory)), {})
    assert caught.value.sentence() == (
        f"cannot make the data directory {directory}: Not a directory. Choose one that is writable"
    )


def test_a_builder_whose_data_directory_has_gone_says_so_at_start(tmp_path):
    directory = tmp_path / "data"
    builder = Builder(Surroundings(member="sf01/n1/builder-1", data_directory=directory))
    configure(builder, {})
    directory.rmdir()
    with pytest.raises(ActorError) as caught:
        builder.process_start()
    assert caught.value.sentence() == (
        f"cannot write to {directory}: No such file or directory. "
        "Make room; if the directory was moved away, put it back"
    )


def test_a_builder_never_writes_over_what_a_dead_one_left(tmp_path):
    for _ in range(2):
        builder = Builder(Surroundings(member="sf01/n1/builder-1", data_directory=tmp_path))
        configure(builder, {})
        builder.run_number = 7
        builder.process_start()
        builder.close()  # as if terminated: what it wrote so far stays
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run_000007_sf01_builder-1.adf.part", "run_000007_sf01_builder-1_2.adf.part"]
