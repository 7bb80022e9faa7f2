"""Editing a configuration at the command line: values, in an editor, two people at once; no text is ever lost."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grange.cli.main import app
from grange.cli.offline import open_store
from grange.core.errors import Unavailable

FARM = {
    "farm": {"name": "demo"},
    "sub_farms": {"sf01": {"nodes": ["n[1-2]"], "roles": ["psa"]}},
    "roles": {"psa": {"command": ["sleep", "60"], "count": 4, "parameters": {"basis_mm": 2}}},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A farm that nobody controls, with one revision; it is where commands are given, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRANGE_HOME", str(tmp_path / "home"))
    (tmp_path / "farm.json").write_text(json.dumps(FARM))
    assert run("import farm.json -m first").exit_code == 0
    return tmp_path


def run(words: str) -> Result:
    return CliRunner().invoke(app, ["config", *words.split()], catch_exceptions=False)


def revision(name: str = "current") -> str:
    return str(json.loads(run(f"log {name} --json").stdout)[0]["hash"])


def edited_by(monkeypatch: pytest.MonkeyPatch, home: Path, *lines: str) -> None:
    """From now on $EDITOR is a program that does this to the file."""
    editor = home / "editor"
    editor.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)


def test_setting_a_value_makes_a_revision_and_says_what_changed(home: Path) -> None:
    first = revision()
    result = run("set roles.psa.parameters.basis_mm=1 roles.psa.quorum=50% --unset roles.psa.count")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "~ role psa: count 4 → 1",
        "~ role psa: basis 2 mm → 1 mm",
        "~ role psa: quorum all → 50%",
        f"imported: revision {revision()[:10]}; the next load takes it",
    ]
    (newest, oldest) = json.loads(run("log --json").stdout)
    assert newest["message"] == "roles.psa.parameters.basis_mm=1; roles.psa.quorum=50%; unset roles.psa.count"
    assert (newest["parent"], oldest["hash"]) == (first, first)


def test_a_value_that_cannot_be_is_told_with_its_place_and_nothing_changes(home: Path) -> None:
    first = revision()
    result = run("set roles.psa.coumt=3")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "grange: the changed configuration: 1 problem; nothing was stored",
        '  roles.psa.coumt: unknown key; did you mean "count"?',
    ]
    assert run("set").stderr == "grange: nothing to change is named. Such as: grange config set roles.psa.count=24\n"
    assert revision() == first


@pytest.mark.parametrize(("suffix", "option"), [("json", ""), ("toml", "--format toml"), ("toml", "-o out.toml")])
def test_an_export_imported_again_is_the_same_revision_in_any_format(home: Path, suffix: str, option: str) -> None:
    first = revision()
    exported = run(f"export {option}")
    if "-o" not in option:
        (home / f"out.{suffix}").write_text(exported.stdout)
    result = run(f"import out.{suffix}")
    assert result.stdout == f"nothing has changed: revision {first[:10]}; the next load takes it\n"
    other = CliRunner().invoke(app, ["--home", str(home / "other"), "config", "import", f"out.{suffix}", "--json"])
    assert json.loads(other.stdout)["revision"]["hash"] == first


def test_null_cannot_be_exported_as_toml_and_its_place_is_told(home: Path) -> None:
    assert run("set roles.psa.parameters.nothing=null").exit_code == 0
    assert run("export --format toml").stderr == (
        "grange: roles.psa.parameters.nothing: is null, which TOML cannot say. Export it as JSON\n"
    )


def test_a_conflict_shows_both_sides_and_leaves_the_way_out_to_the_person(home: Path) -> None:
    first = revision()
    (home / "mine.json").write_text(run("export").stdout.replace('"count": 4', '"count": 5'))
    run("set roles.psa.nice=3")
    hers = revision()
    result = run("import mine.json")
    assert (result.exit_code, result.stdout) == (3, "")
    told = result.stderr.splitlines()
    assert told[0].startswith(f"grange: this was made from revision {first[:10]}; ")
    assert told[0].endswith(
        f"current since. Take both with --merge, or say that yours replaces it with --base {hers[:10]}"
    )
    assert told[1].endswith(": role psa: nice 0 → 3")
    assert told[2] == "  you: role psa: count 4 → 5"
    merged = run("import mine.json --merge")
    assert merged.stdout == (
        f"merged with what is current, and imported: revision {revision()[:10]}; the next load takes it\n"
    )
    assert run(f"diff {hers} current").stdout.splitlines()[2:] == ["~ role psa: count 4 → 5"]


def test_what_a_revision_was_made_from_is_a_hash_or_what_an_export_says(home: Path) -> None:
    for told in ("xyz", 5, {"hash": "zz"}):
        (home / "odd.json").write_text(json.dumps({**FARM, "revision": told}))
        assert run("import odd.json").stderr.splitlines()[1] == (
            "  revision: the hash of the revision that this was made from is expected, 4 to 64 of its digits; "
            "as an export writes it, or leave this key out"
        )
    (home / "odd.json").write_text(json.dumps({**FARM, "revision": {"hash": "abcd", "author": 3}}))
    assert run("import odd.json").stderr.splitlines()[1] == (
        "  revision: what an export says of its revision was changed; write its hash alone, or leave this key out"
    )


def test_validating_stores_nothing_and_needs_no_farm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANGE_HOME", str(home / "nowhere"))
    assert run("validate farm.json").stdout == "farm.json is valid: 1 sub-farm, 2 nodes, 4 processes\n"
    bad = {
        **FARM,
        "roles": {"psa": {"command": ["sleep"], "quorum": 9}, "odd": {"command": ["true"], "reads": ["pas"]}},
    }
    (home / "bad.json").write_text(json.dumps(bad))
    result = run("validate bad.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "grange: bad.json: 2 problems",
        '  roles.psa.quorum: 9 can never be well: sub-farm sf01 has 1; write "all" or at most 1',
        '  roles.odd.reads[1]: there is no role "pas"; did you mean "psa"?',
    ]
    result = run("validate bad.json --json")
    assert result.exit_code == 2
    assert [problem["place"] for problem in json.loads(result.stdout)["problems"]] == [
        "roles.psa.quorum",
        "roles.odd.reads[1]",
    ]
    assert not (home / "nowhere").exists()


def test_tags_are_moved_with_history(home: Path) -> None:
    first = revision()
    assert run("tag production").stdout == f"production is revision {first[:10]}\n"
    run("set roles.psa.count=5")
    second = revision()
    assert run("tag production current").stdout == f"production is revision {second[:10]}\n"
    (tag,) = json.loads(run("tags production --history --json").stdout)
    assert tag["revision"]["hash"] == second
    assert [change["revision"] for change in tag["history"]] == [second, first]
    assert run("tags nope").stderr == (
        "grange: there is no revision 'nope'. Known tags: current, production; grange config log lists the revisions\n"
    )
    assert run("tag current").stderr == (
        'grange: name: "current" is what the next load takes. Select it: grange use REVISION\n'
    )
    assert run("tag abcd").stderr == (
        'grange: tag "abcd" could be taken for the hash of a revision; use another letter in it\n'
    )


def test_without_a_controller_only_what_is_recorded_can_be_asked(home: Path) -> None:
    with open_store(home / "home") as farm:
        assert farm.config_list()[0].message == "first"
        assert (farm.runs(), farm.audit()) == ((), ())
        for asked in (farm.status, farm.who):
            with pytest.raises(Unavailable) as caught:
                asked()
            assert str(caught.value) == "no controller holds this farm. Start one with: grange up"


# ---- in an editor ---------------------------------------------------------------------------------------------------


def test_what_is_saved_in_the_editor_is_a_new_revision(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited_by(monkeypatch, home, 'sed -i "s/count = 4/count = 6/" "$1"')
    result = run("edit -m finer")
    assert result.stdout.splitlines() == [
        "~ role psa: count 4 → 6",
        f"imported: revision {revision()[:10]}; the next load takes it",
    ]


def test_what_is_left_as_it_is_changes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited_by(monkeypatch, home, "exit 0")
    first = revision()
    assert run("edit").stdout == "nothing has changed\n"
    assert revision() == first


def test_an_edited_text_with_problems_is_kept_in_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited_by(monkeypatch, home, 'sed -i "s/count = 4/count = 0/" "$1"')
    result = run("edit")
    (kept,) = home.glob("grange-edited-*.toml")
    assert result.exit_code == 2
    told = result.stderr.splitlines()
    assert told[0] == (
        "grange: the edited configuration: 1 problem; nothing was stored. "
        f"What you wrote is kept in {kept}: mend it, then grange config import {kept}"
    )
    assert told[1].startswith("  roles.psa.count: ")
    assert "count = 0" in kept.read_text()


def test_who_edits_while_somebody_else_is_faster_keeps_his_text(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    (home / "theirs.json").write_text(run("export").stdout.replace('"basis_mm": 2', '"basis_mm": 3'))
    store = home / "store.py"
    store.write_text("import sys\nfrom grange.cli.main import app\napp(sys.argv[1:])\n")
    edited_by(
        monkeypatch,
        home,
        'sed -i "s/count = 4/count = 6/" "$1"',
        f"{sys.executable} {store} config import theirs.json >/dev/null",
    )
    result = run("edit")
    (kept,) = home.glob("grange-edited-*.toml")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[0].endswith(
        f"What you wrote is kept in {kept}: grange config import {kept} --merge"
    )
    assert run(f"import {kept} --merge").exit_code == 0
    assert run("diff").stdout.splitlines()[2:] == ["~ role psa: count 4 → 6"]


def test_an_editor_that_fails_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited_by(monkeypatch, home, "exit 3")
    result = run("edit")
    assert result.exit_code == 2
    assert result.stderr.startswith("grange: the editor did not end well: ")
    assert result.stderr.endswith(". Set $VISUAL or $EDITOR to one that does\n")
