"""The tables of a farm's database, as they are at this version; `migrations/` brings an older database here.

One database holds one farm: its configuration, its runs, and what its controller must remember. Only types and
statements that SQLite and PostgreSQL both know are used. Times are whole nanoseconds since 1970 UTC in big integers:
exact, sortable, without time zones, the same on both engines. Hashes are SHA-256 in hexadecimal. Documents are
canonical JSON in text columns, because they are hashed and compared as bytes and never searched inside.

Run numbers come from the row `run_number` of `sequence`, incarnations of controllers from rows of their own; a sequence
only rises, whatever becomes of the rows that were numbered.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text

VERSION = "0005"  # of this schema: the newest of `migrations/`

# names for all constraints, so that migrations can alter them on both engines
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# An integer key that the database numbers; SQLite does that for INTEGER alone, which holds 64 bits there.
_AUTO_KEY = BigInteger().with_variant(Integer, "sqlite")

# -- configuration: immutable, content-addressed -------------------------------------------------------------------

object_table = Table(
    "object",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # configuration, farm, sub_farm, nodes, role, parameters
    Column("content", Text, nullable=False),
)

revision_table = Table(
    "revision",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("root", Text, ForeignKey("object.hash"), nullable=False),
    Column("parent", Text, ForeignKey("revision.hash")),
    Column("absent_parent", Text, nullable=False, server_default=""),  # of one brought here from another database
    Column("author", Text, nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
)
Index("ix_revision_created_at_ns", revision_table.c.created_at_ns)

tag_table = Table(
    "tag",
    metadata,
    Column("name", Text, primary_key=True),
    Column("revision", Text, ForeignKey("revision.hash"), nullable=False),
)

tag_history_table = Table(
    "tag_history",
    metadata,
    Column("id", _AUTO_KEY, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("revision", Text, ForeignKey("revision.hash"), nullable=False),
    Column("person", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)

# -- numbers that are never given twice ----------------------------------------------------------------------------

sequence_table = Table(
    "sequence",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),  # the last number given
)

# -- runs ----------------------------------------------------------------------------------------------------------

run_table = Table(
    "run",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("command_id", Text, nullable=False, unique=True),  # the start command that asked for the number
    Column("type", Text, nullable=False),  # test or production
    Column("mode", Text, nullable=False),
    Column("revision", Text, ForeignKey("revision.hash"), nullable=False),
    Column("person", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("start_asked_at_ns", BigInteger, nullable=False),
    Column("running_at_ns", BigInteger),
    Column("stop_asked_at_ns", BigInteger),
    Column("stopped_at_ns", BigInteger),
    Column("end_reason", Text, nullable=False),
    Column("degraded", Boolean(create_constraint=False), nullable=False),
    Column("degraded_reason", Text, nullable=False),  # the first one
    Column("undrained", Boolean(create_constraint=False), nullable=False),
    Column("ends_after_events", BigInteger, nullable=False, server_default="0"),  # 0: not by itself; so is the next
    Column("ends_after_ns", BigInteger, nullable=False, server_default="0"),  # since it was running
    Column("changes_left_out", BigInteger, nullable=False, server_default="0"),  # of membership, beyond run_member
    Column("last_seen_at_ns", BigInteger),  # the last sign of life before its end, which nobody saw; NULL: it was seen
)

run_counter_table = Table(
    "run_counter",
    metadata,
    Column("run", BigInteger, ForeignKey("run.number"), primary_key=True),
    Column("sub_farm", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("counter", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

run_file_table = Table(
    "run_file",
    metadata,
    Column("run", BigInteger, ForeignKey("run.number"), primary_key=True),
    Column("sub_farm", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("member", Text, nullable=False, server_default=""),  # path of the process that wrote it
)

run_member_table = Table(
    "run_member",  # members going out and coming back while the run was on
    metadata,
    Column("id", _AUTO_KEY, primary_key=True, autoincrement=True),
    Column("run", BigInteger, ForeignKey("run.number"), nullable=False),
    Column("path", Text, nullable=False),
    Column("membership", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)
Index("ix_run_member_run", run_member_table.c.run)

# -- control: what the farm controller must remember ---------------------------------------------------------------

claim_table = Table(
    "claim",
    metadata,
    Column("farm", Text, primary_key=True),
    Column("incarnation", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),  # for people: program, person
    Column("host", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("taken_at_ns", BigInteger, nullable=False),
    Column("refreshed_at_ns", BigInteger, nullable=False),
    Column("released", Boolean(create_constraint=False), nullable=False),
)

command_table = Table(
    "command",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),  # of the whole request: the same id with another digest is refused
    Column("person", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("accepted_at_ns", BigInteger, nullable=False),
    Column("outcome", Text),  # done, failed, superseded, cancelled, refused; null while under way
    Column("reason", Text, nullable=False),
    Column("ended_at_ns", BigInteger),
)
Index("ix_command_accepted_at_ns", command_table.c.accepted_at_ns)

goal_table = Table(
    "goal",
    metadata,
    Column("farm", Text, primary_key=True),
    Column("content", Text, nullable=False),  # JSON: target, run, revision, command id
    Column("at_ns", BigInteger, nullable=False),
)

membership_table = Table(
    "membership",
    metadata,
    Column("path", Text, primary_key=True),
    Column("membership", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)

lease_table = Table(
    "lease",
    metadata,
    Column("farm", Text, primary_key=True),
    Column("holder", Text, nullable=False),  # empty: nobody
    Column("at_ns", BigInteger, nullable=False),
    Column("until_ns", BigInteger, nullable=False, server_default="0"),
    Column("comment", Text, nullable=False, server_default=""),
)

audit_table = Table(
    "audit",  # only ever added to; the database itself refuses anything else
    metadata,
    Column("id", _AUTO_KEY, primary_key=True, autoincrement=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("person", Text, nullable=False),
    Column("uid", BigInteger, nullable=False),  # -1: unknown
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("program", Text, nullable=False),
    Column("label", Text, nullable=False),  # what the caller calls itself
    Column("what", Text, nullable=False),
    Column("members", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # accepted, refused, done, failed, cancelled, superseded, interrupted
    Column("reason", Text, nullable=False),
    Column("command_id", Text, nullable=False),  # empty: it was no command; of one, accepted and its end are two rows
)
Index("ix_audit_at_ns", audit_table.c.at_ns)
Index("ix_audit_command_id", audit_table.c.command_id)

message_table = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("severity", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("who", Text, nullable=False),  # the member's path
    Column("host", Text, nullable=False),
    Column("run", BigInteger),
    Column("code", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("what_to_do", Text, nullable=False),
    Column("first_at_ns", BigInteger, nullable=False),
    Column("last_at_ns", BigInteger, nullable=False),
    Column("repeats", BigInteger, nullable=False),  # 1: came once
)
Index("ix_message_last_at_ns", message_table.c.last_at_ns)

# -- outbox --------------------------------------------------------------------------------------------------------

applied_table = Table(
    "applied",
    metadata,
    Column("key", Text, primary_key=True),  # idempotency key of an outbox record that is in the database
    Column("at_ns", BigInteger, nullable=False),
)
Index("ix_applied_at_ns", applied_table.c.at_ns)
