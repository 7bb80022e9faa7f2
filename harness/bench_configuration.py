"""What a large configuration costs: checked, imported, compared, and made into the plans that controllers get.

    python -P -m grange.harness.bench_configuration

The farm has 2,000 nodes with 16 processes each. Beside each step stands what it cannot do without: reading as many
bytes of JSON, and for the import a transaction that inserts as many rows of as many bytes. Memory is the highest that
Python's own allocations reached in a step, beside that for a tenth of the nodes: what is written once for all nodes of
a sub-farm must not cost more because there are more of them. Plans name every process, and do.
"""

import gc
import json
import sqlite3
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grange.core.addressing import tree_of
from grange.core.configuration import to_document
from grange.core.configuration_text import parse
from grange.core.expansion import expand_farm
from grange.core.plan_document import sub_farm_document
from grange.schema.database import Database, open_database, sqlite_url
from grange.schema.revisions import compare, import_configuration, load_configuration, set_tag

from .bench_figures import Samples, megabytes, milliseconds, table

SUB_FARMS, NODES, PROCESSES = 20, 100, 16  # nodes in each sub-farm, processes on each node
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Step:
    """One step, with what it cannot do without; sizes in bytes."""

    ours: Samples
    bare: Samples
    peak_bytes: int
    peak_of_a_tenth_bytes: int

    def as_json(self) -> dict[str, object]:
        """For programs; seconds and bytes."""
        peaks = {"peak_bytes": self.peak_bytes, "peak_of_a_tenth_bytes": self.peak_of_a_tenth_bytes}
        return {**self.ours.as_json(), "beside": self.bare.as_json(), **peaks}


def configuration_rows(rounds: int = ROUNDS) -> list[Step]:
    """Each step, measured."""
    with tempfile.TemporaryDirectory() as directory:
        whole, tenth = _Farm(NODES, Path(directory, "whole")), _Farm(NODES // 10, Path(directory, "tenth"))
        try:
            return [
                Step(
                    _timed(name, step, rounds),
                    _timed(name, bare, rounds),
                    _peak(step),
                    _peak(of_a_tenth),
                )
                for (name, step, bare), (_, of_a_tenth, _) in zip(whole.steps(), tenth.steps(), strict=True)
            ]
        finally:
            whole.close()
            tenth.close()


def configuration_table(rows: list[Step]) -> str:
    head = (
        f"{SUB_FARMS * NODES:,} nodes × {PROCESSES} processes",
        "median",
        "beside",
        "peak memory",
        "of a tenth of the nodes",
    )
    return table(
        head,
        [
            (
                row.ours.name,
                milliseconds(row.ours.median_s),
                milliseconds(row.bare.median_s),
                megabytes(row.peak_bytes),
                megabytes(row.peak_of_a_tenth_bytes),
            )
            for row in rows
        ],
    )


def _text(nodes: int, basis_mm: int) -> str:
    """A farm as people write it: host lists, and a role once for all its processes."""
    names = {f"sf{number:02}": f"hlt{number:02}[001-{nodes:03}]" for number in range(1, SUB_FARMS + 1)}
    roles: dict[str, Any] = {
        "source": {"command": ["source"], "on": "first"},
        "psa": {
            "command": ["psa"],
            "per": "node",
            "count": PROCESSES - 1,
            "reads": ["source"],
            "parameters": {"basis_mm": basis_mm},
        },
        "builder": {"command": ["builder"], "per": "node", "reads": ["psa"]},
    }
    sub_farms = {name: {"nodes": [expression], "roles": [*roles]} for name, expression in names.items()}
    return json.dumps({"farm": {"name": "large"}, "sub_farms": sub_farms, "roles": roles}, indent=2)


class _Farm:
    """A configuration and its neighbour in a database of their own, and a plain table beside."""

    def __init__(self, nodes: int, directory: Path) -> None:
        directory.mkdir()
        self._texts = (_text(nodes, 2), _text(nodes, 1))
        self._database: Database = open_database(sqlite_url(directory / "grange.db"))
        self._plain = sqlite3.connect(directory / "plain.db", isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._plain.execute(f"PRAGMA {pragma}").close()
        self._plain.execute("CREATE TABLE object (hash TEXT PRIMARY KEY, kind TEXT, content TEXT)")
        self._imported = 0
        self._import()
        set_tag(self._database, "before", "current", "bench", time.time_ns())
        self._import()
        tree = tree_of(to_document(parse(self._texts[0], "json")))
        self._rows = [(key, kind, content) for key, (kind, content) in tree.objects.items()]
        self._stored = json.dumps([json.loads(content) for _, _, content in self._rows])
        self._plans = json.dumps(self._documents())

    def close(self) -> None:
        self._database.dispose()
        self._plain.close()

    def steps(self) -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
        """Each with its name, and what stands beside it."""
        return [
            ("validate", lambda: parse(self._texts[0], "json"), lambda: json.loads(self._texts[0])),
            ("import", self._import, self._insert),
            ("diff", lambda: compare(self._database, "before", "current"), self._read_both),
            ("load: the plans of all sub-farms", self._load, lambda: json.loads(self._plans)),
        ]

    def _import(self) -> None:
        """Each time another one, for what is stored already is not stored again."""
        self._imported += 1
        document = json.loads(self._texts[self._imported % 2])
        document["roles"]["source"]["command"] = ["source", str(self._imported)]
        configuration = parse(json.dumps(document), "json")
        import_configuration(self._database, configuration, "bench", "", time.time_ns())

    def _insert(self) -> None:
        json.loads(self._texts[0])
        self._plain.execute("BEGIN IMMEDIATE")
        self._plain.executemany("INSERT OR REPLACE INTO object VALUES (?, ?, ?)", self._rows)
        self._plain.execute("COMMIT")

    def _read_both(self) -> None:
        json.loads(self._stored)
        json.loads(self._stored)

    def _load(self) -> None:
        json.dumps(self._documents())

    def _documents(self) -> list[dict[str, Any]]:
        revision, configuration = load_configuration(self._database)
        return [sub_farm_document(sub_farm) for sub_farm in expand_farm(configuration, revision.hash).sub_farms]


def _timed(name: str, step: Callable[[], object], rounds: int) -> Samples:
    samples = Samples(name)
    for _ in range(rounds):
        gc.collect()
        began_s = time.perf_counter()
        step()
        samples.add(time.perf_counter() - began_s)
    return samples


def _peak(step: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    print(configuration_table(configuration_rows()))
