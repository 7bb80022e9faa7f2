"""One contract for what a farm controller is told of its past, kept by the database and by the simulator's records.

A simulated farm lives through a shift. What its controller wished to have recorded goes to both stores; after every
moment a controller that starts anew would be told the same by both.
"""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from grange.controllers.store import Remembered, Store, commands_under_way
from grange.core.configuration import Configuration
from grange.core.configuration_text import from_document
from grange.core.effects import AllotRunNumber, Effect, Persist
from grange.core.events import Restored
from grange.core.expansion import expand_farm
from grange.core.home import Home
from grange.core.names import LeaseAction
from grange.harness.farms import uniform
from grange.harness.records import Database
from grange.harness.simulated_controller import SimController
from grange.harness.world import World
from grange.schema import revisions
from grange.schema.database import open_database, sqlite_url

LIFE_S = 3600.0
SHIFT = (
    "go running",
    "member exclude sf01/n1",
    "pause",
    "go running",
    "member restart sf01/n2/worker-2",
    "stop",
    "member include sf01/n1",
    "go running",
    "shutdown",
    "go absent",
)


def configuration() -> Configuration:
    return from_document(
        {
            "farm": {"name": "shift"},
            "sub_farms": {"sf01": {"nodes": ["n[1-2]"], "roles": ["worker"]}},
            "roles": {"worker": {"actor": "a:Worker", "count": 2, "quorum": 1, "heartbeat_timeout_s": 0.0}},
        }
    )


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Home, World]:
    """A home whose database has a configuration, and a simulated farm of that configuration."""
    home = Home(str(tmp_path / "home"))
    Path(home.root).mkdir()
    engine = open_database(sqlite_url(Path(home.database)))
    imported = revisions.import_configuration(engine, configuration(), "ann", "", 1)
    engine.dispose()
    return home, World(expand_farm(configuration(), imported.revision.hash))


def wishes(world: World) -> list[list[Effect]]:
    """What the farm controller wished to have recorded during each command of the shift, and in its middle."""
    parts: list[list[Effect]] = []

    def see(controller: SimController, effect: Effect) -> None:
        if isinstance(effect, Persist | AllotRunNumber):
            parts[-1].append(effect)

    world.effects_seen.append(see)
    for what in SHIFT:
        length = 2 if what.startswith(("go", "member")) else 1
        words = what.split()
        parts.append([])
        command_id = world.command(" ".join(words[:length]), " ".join(words[length:]))
        parts.append([])
        world.run_until(lambda wanted=command_id: world.outcome(wanted) is not None)  # type: ignore[misc]
        world.run_for(1.0)
    return parts


def as_told(told: Remembered | Restored | None) -> Mapping[str, Any]:
    """What both say, in the same words."""
    assert told is not None
    run = told.run if isinstance(told, Remembered) else None
    if isinstance(told, Restored) and told.run_number:
        run_words = (told.run_number, told.running, told.stop_asked, told.end_reason, told.degraded)
    else:
        run_words = (run.number, run.running, run.stop_asked, run.end_reason, run.degraded) if run is not None else ()
    under_way = commands_under_way(told.goal, told.under_way)
    outcomes = {
        command: (digest, answer and (answer.kind, answer.reason))
        for command, (digest, answer) in told.outcomes.items()
        if answer is not None or command in under_way
    }
    ages = set(told.ages_s)
    return {"goal": told.goal, "under way": under_way, "ages of": ages, "run": run_words, "outcomes": outcomes}


def put(database: Database, effects: list[Effect]) -> None:
    """Records `effects` in the simulated database."""
    for effect in effects:
        if isinstance(effect, Persist):
            database.keep(effect, 0.0)
        elif isinstance(effect, AllotRunNumber):
            database.allot(effect.command_id)


def feed(home: Home, effects: list[Effect]) -> Remembered | None:
    """A farm controller that records `effects` and is gone; what the next one is told."""
    store = Store(home)
    for effect in effects:
        if isinstance(effect, Persist):
            store.persist(effect)
        elif isinstance(effect, AllotRunNumber):
            asyncio.run(_allot(store, effect))
    store.close()
    store = Store(home)
    try:
        return store.remembered()
    finally:
        store.close()


async def _allot(store: Store, effect: AllotRunNumber) -> None:
    await store.allot_run_number(effect)


def test_both_stores_tell_the_next_controller_the_same_after_every_moment_of_a_shift(
    stored: tuple[Home, World], tmp_path: Path
) -> None:
    home, world = stored
    database = Database()
    for moment, effects in enumerate(wishes(world)):
        put(database, effects)
        simulated = database.what_is_remembered(world.revisions, 0.0)
        assert as_told(feed(home, effects)) == as_told(simulated), f"after moment {moment} of {SHIFT}"


def test_records_that_come_again_change_nothing_in_either(stored: tuple[Home, World], tmp_path: Path) -> None:
    home, world = stored
    effects = [effect for part in wishes(world)[:6] for effect in part]
    once = as_told(feed(home, effects))
    copy = Home(str(tmp_path / "again"))
    shutil.copytree(home.root, copy.root)
    twice = as_told(feed(copy, effects))
    database = Database()
    put(database, [*effects, *effects])
    assert twice == once
    assert as_told(database.what_is_remembered(world.revisions, 0.0)) == once


@pytest.mark.parametrize("action", [LeaseAction.TAKE, LeaseAction.RELEASE])
def test_both_stores_tell_the_next_controller_who_holds_the_lease(tmp_path: Path, action: LeaseAction) -> None:
    home, world = Home(str(tmp_path / "home")), World(uniform(1, 1, 1))
    Path(home.root).mkdir()
    wished: list[Effect] = []
    world.effects_seen.append(lambda controller, effect: wished.append(effect))
    world.lease(LeaseAction.TAKE, "ann", LIFE_S)
    world.lease(action, "ann", LIFE_S)
    feed(home, wished)
    store = Store(home)
    try:
        real, simulated = store.lease(), world.database.lease(0.0)
    finally:
        store.close()
    holders = [lease and (lease.holder, lease.comment) for lease in (real, simulated)]
    assert holders == [None if action is LeaseAction.RELEASE else ("ann", "")] * 2
    for lease in (real, simulated):
        assert lease is None or LIFE_S / 2 < lease.remaining_s <= LIFE_S  # by the wall clock some time has passed
