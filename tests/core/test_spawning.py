"""Lists of processors, as people write them."""

import pytest

from grange.core.spawning import CpuListError, parse_cpus


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", ()), ("0", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), ("8, 1-2,2", (1, 2, 8)), ("4095", (4095,))],
)
def test_a_list_of_processors_is_read(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_cpus(text) == numbers


@pytest.mark.parametrize("text", ["a", "3-1", "1,,2", "-1", "1-", "4096", "0-99999", "٣", ","])
def test_what_is_no_list_of_processors_is_refused(text: str) -> None:
    with pytest.raises(CpuListError, match="write for instance"):
        parse_cpus(text)
