"""The chain's actors by themselves, without a process: what they refuse at load and configure, and with which words."""

from typing import Any

import pytest

from grange.actors.builder import Builder
from grange.actors.errors import ActorError
from grange.actors.producer import Producer
from grange.actors.psa import Psa
from grange.actors.stage import Stage
from grange.actors.surroundings import Surroundings
from grange.actors.trigger import Trigger


def configure(actor: Stage, parameters: dict[str, Any]) -> None:
    """What load and configure call."""
    actor.take_parameters(parameters)
    actor.process_config()
    actor.process_register()
    actor.process_initialise()


@pytest.mark.parametrize(
    ("kind", "parameters", "says"),
    [
        (Producer, {}, "file is required"),
        (Producer, {"file": "x", "frames_per_block": 0}, "frames_per_block is 0, and must be at least 1"),
        (Producer, {"file": "x", "rate": 5}, "did you mean rate_hz"),
        (Trigger, {"prescale": 0}, "prescale is 0"),
        (Trigger, {"max_held": 0}, "max_held is 0"),
        (Trigger, {"window_blocks": 0}, "window_blocks is 0"),
        (Builder, {"min_fold": 0}, "min_fold is 0"),
        (Psa, {"exponent": -1.0, "grid_mm": 6.0, "field_grid_mm": 4.0}, "must all be positive"),
        (Psa, {"grid_mm": 60.0, "field_grid_mm": 4.0}, "choose a finer one"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_the_reason_and_what_to_do(tmp_path, kind, parameters, says):
    with pytest.raises(ActorError) as caught:
        configure(kind(Surroundings(cache_directory=tmp_path, data_directory=tmp_path)), parameters)
    assert says in caught.value.sentence()
    assert "Correct the role's parameters in the configuration" in caught.value.sentence()


def test_an_input_file_that_is_missing_or_no_adf_is_refused_with_the_place(tmp_path):
    nonsense = tmp_path / "nonsense.adf"
    nonsense.write_bytes(b"nonsense" * 10)
    for path, says in ((tmp_path / "none.adf", "No such file"), (nonsense, f"{nonsense}, byte 0")):
        with pytest.raises(ActorError, match=says):
            configure(Producer(), {"file": str(path)})


def test_a_data_directory_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ActorError, match="cannot make the data directory"):
        configure(Builder(Surroundings(data_directory=tmp_path / "file" / "data")), {})


def test_a_builder_never_writes_over_what_a_dead_one_left(tmp_path):
    for _ in range(2):
        builder = Builder(Surroundings(member="sf01/n1/builder-1", data_directory=tmp_path))
        configure(builder, {})
        builder.run_number = 7
        builder.process_start()
        builder.close()  # as if terminated: what it wrote so far stays
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run_000007_sf01_builder-1.adf.part", "run_000007_sf01_builder-1_2.adf.part"]
