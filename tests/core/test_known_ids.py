"""Known ids are bounded, and an id that the records may have is never taken for a new one."""

from grange.core.known_ids import KnownIds


def test_an_id_is_known_from_when_it_was_given_and_others_are_not() -> None:
    ids = KnownIds()
    ids.add("c-1", 10.0)
    assert [ids.may_have(command_id, 11.0) for command_id in ("c-1", "c-2")] == [True, False]


def test_an_id_is_let_go_when_the_records_have_long_let_it_go() -> None:
    ids = KnownIds(kept_s=100.0)
    ids.add("c-1", 0.0)
    ids.add("c-2", 99.0)
    assert ids.may_have("c-1", 99.0)
    ids.add("c-3", 101.0)
    assert [ids.may_have(command_id, 101.0) for command_id in ("c-1", "c-2", "c-3")] == [False, True, True]


def test_when_there_are_too_many_every_id_may_be_known_until_those_that_were_dropped_are_old() -> None:
    ids = KnownIds(kept_s=100.0, ids_max=3)
    for number in range(1000):
        ids.add(f"c-{number}", number / 100)
    assert len(ids._ids) == len(ids._order) == 3
    assert ids.may_have("c-0", 10.0)
    assert ids.may_have("never given", 10.0)
    assert not ids.may_have("never given", 120.0)
