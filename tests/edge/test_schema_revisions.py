"""Configuration revisions: content-addressed, shared, immutable; tags with history."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from grange.core.addressing import canonical_json, object_hash
from grange.core.configuration import Configuration
from grange.core.configuration_text import from_document
from grange.core.errors import Conflict
from grange.schema import revisions, tables
from grange.schema.database import open_database, reading, sqlite_url, writing
from grange.schema.errors import DamagedRevision, UnknownRevision


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(sqlite_url(tmp_path / "farm.db"))
    yield engine
    engine.dispose()


def farm(**psa: Any) -> Configuration:
    return from_document(
        {
            "farm": {"name": "demo"},
            "sub_farms": {"sf01": {"nodes": ["n[1-2]"], "roles": ["source", "psa"]}},
            "roles": {
                "source": {"command": ["source"]},
                "psa": {"actor": "a:Psa", "reads": ["source"], "parameters": "cuts", **psa},
            },
            "parameters": {"cuts": {"low": 1, "text": "é {node}"}},
        }
    )


def objects(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(tables.object_table)).scalar_one()


def test_what_was_imported_is_loaded_again_by_tag_hash_and_prefix(engine: Engine) -> None:
    imported = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    assert imported.changed
    for name in ("current", imported.revision.hash, imported.revision.hash[:8]):
        revision, configuration = revisions.load_configuration(engine, name)
        assert revision == imported.revision
        assert configuration == farm()
    assert (revision.author, revision.message, revision.created_at_ns, revision.parent) == ("ada", "first", 5, "")


def test_importing_equal_content_changes_nothing_and_says_so(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    again = revisions.import_configuration(engine, farm(), "bob", "again", now_ns=6)
    assert again == revisions.Imported(first.revision, changed=False)


def test_a_changed_role_adds_one_object_and_a_root(engine: Engine) -> None:
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    before = objects(engine)
    second = revisions.import_configuration(engine, farm(count=3), "ada", "more psa", now_ns=6)
    assert objects(engine) == before + 2
    assert [revision.message for revision in revisions.log(engine)] == ["more psa", "first"]
    assert second.revision.parent == revisions.log(engine)[1].hash


def test_going_back_to_former_content_is_a_new_revision_with_the_former_root(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    revisions.import_configuration(engine, farm(count=3), "ada", "more", now_ns=6)
    back = revisions.import_configuration(engine, farm(), "ada", "back", now_ns=7)
    assert back.changed
    assert back.revision.root == first.revision.root
    assert back.revision.hash != first.revision.hash
    assert len(revisions.log(engine, limit=2)) == 2


def test_a_revision_can_be_imported_without_being_selected(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    other = revisions.import_configuration(engine, farm(count=3), "ada", "later", now_ns=6, select_it=False)
    assert revisions.find_revision(engine) == first.revision
    revisions.set_tag(engine, "current", other.revision.short, "bob", now_ns=7)
    assert revisions.load_configuration(engine)[1] == farm(count=3)


def test_tags_point_at_revisions_and_keep_their_history(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision
    second = revisions.import_configuration(engine, farm(count=3), "ada", "second", now_ns=6).revision
    revisions.set_tag(engine, "cosmics", first.hash, "bob", now_ns=7)
    revisions.set_tag(engine, "cosmics", "current", "eve", now_ns=8)
    revisions.set_tag(engine, "cosmics", second.hash, "eve", now_ns=9)  # already there: nothing to keep
    assert revisions.tags(engine) == {"cosmics": second.hash, "current": second.hash}
    assert revisions.tag_history(engine, "cosmics") == [
        revisions.TagChange("cosmics", second.hash, "eve", 8),
        revisions.TagChange("cosmics", first.hash, "bob", 7),
    ]


@pytest.mark.parametrize("name", ["a/b", "beef", "0123456789"])
def test_a_tag_that_could_be_taken_for_something_else_is_refused(engine: Engine, name: str) -> None:
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    with pytest.raises(ValueError, match=r"is not a name|could be taken for the hash"):
        revisions.set_tag(engine, name, "current", "bob", now_ns=7)


def test_an_unknown_name_is_refused_with_the_nearest_tag(engine: Engine) -> None:
    with pytest.raises(UnknownRevision, match="import one first"):
        revisions.load_configuration(engine)
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    with pytest.raises(UnknownRevision, match='there is no revision or tag "curent"; did you mean "current"'):
        revisions.load_configuration(engine, "curent")


def test_a_prefix_that_fits_several_revisions_is_refused(engine: Engine) -> None:
    root = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision.root
    with writing(engine) as connection:
        for ending in "ab":
            row = {"root": root, "author": "ada", "created_at_ns": 6, "message": "", "hash": "1234567" + ending * 57}
            connection.execute(tables.revision_table.insert(), row)
    with pytest.raises(UnknownRevision, match="fits several revisions"):
        revisions.find_revision(engine, "123456")
    assert revisions.find_revision(engine, "1234567a").hash == "1234567" + "a" * 57


def test_content_that_was_tampered_with_is_not_loaded(engine: Engine) -> None:
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    with writing(engine) as connection:
        role = tables.object_table.c.kind == "role"
        connection.execute(update(tables.object_table).where(role).values(content='{"command":["rm"]}'))
    with pytest.raises(DamagedRevision, match="was changed; restore the database"):
        revisions.load_configuration(engine)


def test_hashes_stay_the_same_from_version_to_version(engine: Engine) -> None:
    """Pinned: a change here means that equal content imported by two versions gives two revisions."""
    assert canonical_json({"b": [1, 2.0, None], "a": "é\n"}) == '{"a":"é\\n","b":[1,2.0,null]}'
    assert object_hash("role", "{}") == "b746ad4efa71b1e4666b1f7c05a963a746486bb9fa831e9f298729597f9184b9"


# ---- several people, several databases ------------------------------------------------------------------------------


def made_from(revision: revisions.Revision, **psa: Any) -> Configuration:
    """What somebody makes of an exported revision."""
    return farm(**psa).model_copy(update={"provenance": revision.provenance})


def test_an_export_imported_again_is_the_same_revision_and_becomes_current(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision
    revisions.import_configuration(engine, farm(count=3), "ada", "more", now_ns=6)
    again = revisions.import_configuration(engine, made_from(first), "bob", "", now_ns=7)
    assert again == revisions.Imported(first, changed=False)
    assert revisions.tags(engine) == {"current": first.hash}
    assert [change.person for change in revisions.tag_history(engine, "current")] == ["bob", "ada", "ada"]


def test_an_export_is_the_same_revision_in_another_database(engine: Engine, tmp_path: Path) -> None:
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    second = revisions.import_configuration(engine, farm(count=3), "ada", "more", now_ns=6).revision
    other = open_database(sqlite_url(tmp_path / "other.db"))
    try:
        there = revisions.import_configuration(other, made_from(second, count=3), "bob", "", now_ns=7)
        assert there == revisions.Imported(second, changed=True)
        assert revisions.load_configuration(other) == (second, farm(count=3))
        assert revisions.log(other, second.hash) == [second]  # its parent stayed where it was
    finally:
        other.dispose()


def test_two_who_change_the_same_at_once_get_a_conflict_with_both_sides_and_nothing_is_stored(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision
    hers = revisions.import_configuration(engine, made_from(first, count=3), "ada", "more", now_ns=6).revision
    before = objects(engine)
    with pytest.raises(Conflict) as caught:
        revisions.import_configuration(engine, made_from(first, count=4), "bob", "mine", now_ns=7, merge_sides=True)
    assert (caught.value.mine, caught.value.theirs) == (("role psa: count 1 → 4",), ("role psa: count 1 → 3",))
    assert str(caught.value) == (
        f"this was made from revision {first.short}; ada has made {hers.short} current since, "
        f"and both change roles.psa.count. Say that yours replaces it with --base {hers.short}"
    )
    assert objects(engine) == before
    assert revisions.tags(engine) == {"current": hers.hash}


def test_what_each_changed_alone_is_a_conflict_until_it_is_merged(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision
    hers = revisions.import_configuration(engine, made_from(first, count=3), "ada", "more", now_ns=6).revision
    mine = made_from(first, nice=5)
    with pytest.raises(Conflict) as caught:
        revisions.import_configuration(engine, mine, "bob", "mine", now_ns=7)
    assert str(caught.value) == (
        f"this was made from revision {first.short}; ada has made {hers.short} current since. "
        f"Take both with --merge, or say that yours replaces it with --base {hers.short}"
    )
    merged = revisions.import_configuration(engine, mine, "bob", "both", now_ns=8, merge_sides=True)
    assert merged.merged == farm(count=3, nice=5)
    assert revisions.load_configuration(engine) == (merged.revision, farm(count=3, nice=5))
    assert merged.revision.parent == hers.hash


def test_who_says_that_his_replaces_what_is_current_replaces_it(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision
    hers = revisions.import_configuration(engine, made_from(first, count=3), "ada", "more", now_ns=6).revision
    mine = made_from(first, count=4)
    stored = revisions.import_configuration(engine, mine, "bob", "mine", now_ns=7, base=hers.hash).revision
    assert stored.parent == hers.hash
    assert revisions.load_configuration(engine)[1] == farm(count=4)
    with pytest.raises(UnknownRevision):
        revisions.import_configuration(engine, mine, "bob", "mine", now_ns=8, base="nobody's")


def test_what_was_made_from_a_revision_that_is_not_here_is_stored_with_a_warning(engine: Engine) -> None:
    stranger = revisions.Revision("f" * 64, "0" * 64, "", "eve", 1, "elsewhere")
    imported = revisions.import_configuration(engine, made_from(stranger), "bob", "", now_ns=7)
    assert imported.changed
    assert [str(warning) for warning in imported.warnings] == [
        "revision: revision ffffffffff, from which this was made, is not known here; "
        "whether others have changed the same since cannot be told"
    ]


def test_all_revisions_are_logged_and_of_one_its_ancestors(engine: Engine) -> None:
    for count in range(1, 4):
        revisions.import_configuration(engine, farm(count=count), "ada", f"{count}", now_ns=count)
    revisions.set_tag(engine, "current", revisions.log(engine)[2].hash, "ada", now_ns=4)
    revisions.import_configuration(engine, farm(count=9), "ada", "9", now_ns=5)
    assert [revision.message for revision in revisions.log(engine)] == ["9", "3", "2", "1"]
    assert [revision.message for revision in revisions.log(engine, "current")] == ["9", "1"]


def test_what_changed_from_one_revision_to_another(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision
    second = revisions.import_configuration(engine, farm(count=3), "ada", "more", now_ns=6).revision
    before, after, changes = revisions.compare(engine, first.short, "current")
    assert (before, after) == (first, second)
    assert [str(change) for change in changes] == ["role psa: count 1 → 3"]


def test_a_tag_that_does_not_exist_is_told_with_those_that_do(engine: Engine) -> None:
    first = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision
    assert revisions.tagged(engine, "current") == first.hash
    with pytest.raises(UnknownRevision) as caught:
        revisions.tagged(engine, "may")
    assert str(caught.value) == 'there is no tag "may"; known tags: current; grange config log lists the revisions'
