"""Two homes with one database, as on PostgreSQL: what the one recorded before the other took the farm changes nothing.

The farm controller of the first home is cut off from the database; its records wait in its outbox. Meanwhile the
second takes the farm back from what the database has. When the first is connected again, its outbox tells what is no
longer so.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from grange.controllers.store import Store
from grange.core.effects import AllotRunNumber, Persist
from grange.core.goals import to_document
from grange.core.home import Home
from grange.core.reports import NO_TERMS, Goal
from grange.schema import control
from grange.schema.errors import ClaimLost

PATIENCE_S = 60.0


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Home, Home]:
    first, second = Home(str(tmp_path / "a")), Home(str(tmp_path / "b"))
    for home in (first, second):
        Path(home.root).mkdir()
    Path(second.database).symlink_to(first.database)
    return first, second


@contextmanager
def opened(home: Home) -> Iterator[Store]:
    store = Store(home)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def cut_off(store: Store) -> Iterator[None]:
    """The database is out of reach for one store."""

    def refuse(connection: Connection) -> None:
        raise OperationalError("BEGIN", {}, Exception("server closed the connection unexpectedly"))

    event.listen(store._engine, "begin", refuse)
    try:
        yield
    finally:
        event.remove(store._engine, "begin", refuse)


def aims(store: Store, command_id: str) -> None:
    """Has the store record a command and its goal."""
    told = {"id": command_id, "digest": "", "person": "ann", "what": "go running", "path": "", "comment": ""}
    origin = {"uid": 0, "host": "h", "pid": 1, "program": "p", "label": ""}
    store.persist(Persist("command_recorded", f"command/{command_id}", {**told, "origin": origin}))
    goal = {**to_document(Goal(command_id=command_id)), "active": False, "remaining_s": 0.0, "run": None}
    store.persist(Persist("goal_set", f"goal/{command_id}", goal))


def aim_of(store: Store) -> str:
    told = store.remembered()
    assert told is not None
    return told.goal.command_id


def catch_up(store: Store) -> None:
    store._writer.hurry()
    assert store._writer.flush(PATIENCE_S)


def test_what_waits_of_a_superseded_controller_does_not_become_the_farm_s_goal(homes: tuple[Home, Home]) -> None:
    with ExitStack() as open_stores:
        first = open_stores.enter_context(opened(homes[0]))
        aims(first, "before")
        catch_up(first)
        with cut_off(first):
            aims(first, "late")
            second = open_stores.enter_context(opened(homes[1]))
            assert (first.incarnation, second.incarnation, aim_of(second)) == (1, 2, "before")
        catch_up(first)
        assert aim_of(second) == "before"
        assert control.command_of(second._engine, "late") is not None  # that it was given stays true
    kept = [json.loads(line) for line in Path(f"{homes[0].outbox}.rejected").read_text(encoding="utf-8").splitlines()]
    assert [(one["record"]["goal"]["command_id"], one["incarnation"], one["why"]) for one in kept] == [
        ("late", 1, "Superseded: incarnation 2 has the farm since; this is of incarnation 1")
    ]


def test_what_a_crash_left_in_a_home_is_refused_when_another_home_had_the_farm_meanwhile(
    homes: tuple[Home, Home],
) -> None:
    with opened(homes[0]) as first, cut_off(first):
        aims(first, "left behind")
    with opened(homes[1]) as second:
        aims(second, "newer")
    with opened(homes[0]) as first:
        assert (first.incarnation, aim_of(first)) == (3, "newer")


def test_what_a_crash_left_in_a_home_is_the_farm_s_when_nobody_else_had_it(homes: tuple[Home, Home]) -> None:
    with opened(homes[0]) as first, cut_off(first):
        aims(first, "left behind")
    with opened(homes[0]) as again:
        assert (again.incarnation, aim_of(again)) == (2, "left behind")


def test_a_superseded_controller_gets_no_run_number(homes: tuple[Home, Home]) -> None:
    with opened(homes[0]) as first, opened(homes[1]), pytest.raises(ClaimLost) as caught:
        asyncio.run(_allot(first))
    assert str(caught.value).startswith("farm farm: incarnation 1 has lost its claim to grange ")


async def _allot(store: Store) -> int:
    return await store.allot_run_number(AllotRunNumber("c1", "", "ann", NO_TERMS))
