"""Changes: a reader who comes when it likes has, afterwards, exactly what is there."""

from hypothesis import given
from hypothesis import strategies as st

from grange.core.changes import Changes

KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(0, 9)),
        st.tuples(st.just("remove"), KEYS),
        st.tuples(st.just("read"), st.integers(0, 2)),
    ),
    max_size=60,
)


class Reader:
    """Takes over what changed, `most` rows at a time, and begins anew when it has to."""

    def __init__(self) -> None:
        self.began = self.read = 0
        self.seen: dict[str, int] = {}

    def come(self, changes: Changes[int], most: int = 99) -> int:
        if not self.read or max(self.read, self.began) < changes.floor:
            self.read, self.began, self.seen = 0, changes.head, {}
        taken = list(changes.since(self.read))[:most]
        for number, key, row in taken:
            self.read = number
            if row is None:
                self.seen.pop(key, None)
            else:
                self.seen[key] = row
        return len(taken)


@given(STEPS, st.integers(0, 3))
def test_readers_who_come_whenever_they_like_end_with_what_is_there(steps: list[tuple], removed_kept: int) -> None:
    changes, present = Changes[int](removed_kept), dict[str, int]()
    readers = [Reader(), Reader(), Reader()]
    for step in steps:
        match step:
            case ("put", key, value):
                changes.put(key, value)
                present[key] = value
            case ("remove", key):
                changes.remove(key)
                present.pop(key, None)
            case ("read", which):
                readers[which].come(changes, most=2)
    for reader in readers:
        while reader.come(changes, most=2):
            pass
        assert reader.seen == present


def test_a_row_that_changed_often_is_found_once_as_it_is_now() -> None:
    changes = Changes[int]()
    changes.put("a", 0)
    read = changes.head
    for value in range(1000):
        changes.put("b", value)
    assert list(changes.since(read)) == [(1001, "b", 999)]
    assert list(changes.since(changes.head)) == []


def test_nothing_grows_with_the_number_of_changes() -> None:
    changes = Changes[int](removed_kept=10)
    for number in range(10_000):
        changes.put(f"row {number % 5}", number)
        changes.put(f"passing {number}", number)
        changes.remove(f"passing {number}")
    assert len(changes._rows) == 5 + 10
    assert len(changes._order) <= 2 * (5 + 10) + 64


def test_who_has_missed_that_rows_went_away_learns_that_it_has_to_begin_anew() -> None:
    changes = Changes[int](removed_kept=1)
    changes.put("a", 1)
    changes.put("b", 1)
    read = changes.head
    changes.remove("a")
    assert changes.floor == 0
    assert list(changes.since(read)) == [(3, "a", None)]
    changes.remove("b")
    assert read < changes.floor
    assert list(changes.since(0)) == []
