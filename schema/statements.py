"""The few statements that SQLite and PostgreSQL spell alike but SQLAlchemy's common language lacks, and counting up."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Dialect, Table, select, update
from sqlalchemy.sql.dml import Insert

from .tables import sequence_table


def upsert(dialect: Dialect, table: Table, keys: Sequence[str], changed: Iterable[str]) -> Insert:
    """An insert that, where a row with these `keys` exists, writes the `changed` columns instead (none: nothing)."""
    columns = list(changed)
    # Each engine has an insert of its own, spelt alike. This one's package is loaded already; the other's need not be.
    insert = import_module(f"sqlalchemy.dialects.{dialect.name}").insert(table)
    if not columns:
        statement = insert.on_conflict_do_nothing(index_elements=keys)
    else:
        values = {name: insert.excluded[name] for name in columns}
        statement = insert.on_conflict_do_update(index_elements=keys, set_=values)
    assert isinstance(statement, Insert)
    return statement


def put_row(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row, or replace the one with the same primary key."""
    keys = [column.name for column in table.primary_key]
    statement = upsert(connection.dialect, table, keys, [name for name in values if name not in keys])
    connection.execute(statement, dict(values))


def add_row_once(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless one with the same primary key exists. Returns whether it was inserted."""
    keys = [column.name for column in table.primary_key]
    # without the option, some drivers do not tell the count of an insert: a new row would pass for an old one
    told = upsert(connection.dialect, table, keys, ()).execution_options(preserve_rowcount=True)
    count = connection.execute(told, dict(values)).rowcount
    if count not in (0, 1):
        raise RuntimeError(
            f"the driver of {connection.dialect.name} does not tell how many rows an insert added ({count})"
        )
    return count == 1


def next_number(connection: Connection, sequence: str) -> int:
    """The next number of a sequence, from 1; its row is locked until the transaction ends: no two get the same."""
    add_row_once(connection, sequence_table, {"name": sequence, "value": 0})
    row = sequence_table.c.name == sequence
    connection.execute(update(sequence_table).where(row).values(value=sequence_table.c.value + 1))
    return int(connection.execute(select(sequence_table.c.value).where(row)).scalar_one())


def last_number(connection: Connection, sequence: str) -> int:
    """The number given last, 0 for none; it stays so until the transaction ends where the engine can lock a row."""
    row = select(sequence_table.c.value).where(sequence_table.c.name == sequence).with_for_update()
    return int(connection.execute(row).scalar() or 0)


def raise_number(connection: Connection, sequence: str, value: int) -> None:
    """Makes `value` the number given last, unless a higher one was."""
    add_row_once(connection, sequence_table, {"name": sequence, "value": value})
    lower = (sequence_table.c.name == sequence) & (sequence_table.c.value < value)
    connection.execute(update(sequence_table).where(lower).values(value=value))
