"""The first schema: configuration revisions, runs, what a farm controller must remember, applied outbox records."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    auto_key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "applied",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_applied")),
    )
    op.create_index("ix_applied_at_ns", "applied", ["at_ns"], unique=False)
    op.create_table(
        "claim",
        sa.Column("farm", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("taken_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("refreshed_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("farm", name=op.f("pk_claim")),
    )
    op.create_table(
        "command",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("accepted_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ended_at_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_command")),
    )
    op.create_index("ix_command_accepted_at_ns", "command", ["accepted_at_ns"], unique=False)
    op.create_table(
        "goal",
        sa.Column("farm", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("farm", name=op.f("pk_goal")),
    )
    op.create_table(
        "lease",
        sa.Column("farm", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("farm", name=op.f("pk_lease")),
    )
    op.create_table(
        "membership",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("membership", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_membership")),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("run", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("what_to_do", sa.Text(), nullable=False),
        sa.Column("first_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("repeats", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_index("ix_message_last_at_ns", "message", ["last_at_ns"], unique=False)
    op.create_table(
        "object",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_object")),
    )
    op.create_table(
        "sequence",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sequence")),
    )
    op.create_table(
        "revision",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["parent"], ["revision.hash"], name=op.f("fk_revision_parent_revision")),
        sa.ForeignKeyConstraint(["root"], ["object.hash"], name=op.f("fk_revision_root_object")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_revision")),
    )
    op.create_index("ix_revision_created_at_ns", "revision", ["created_at_ns"], unique=False)
    op.create_table(
        "run",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("start_asked_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("running_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("stop_asked_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("stopped_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=False),
        sa.Column("degraded", sa.Boolean(), nullable=False),
        sa.Column("degraded_reason", sa.Text(), nullable=False),
        sa.Column("undrained", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["revision"], ["revision.hash"], name=op.f("fk_run_revision_revision")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_run")),
        sa.UniqueConstraint("command_id", name=op.f("uq_run_command_id")),
    )
    op.create_table(
        "tag",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["revision"], ["revision.hash"], name=op.f("fk_tag_revision_revision")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tag")),
    )
    op.create_table(
        "tag_history",
        sa.Column("id", auto_key, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["revision"], ["revision.hash"], name=op.f("fk_tag_history_revision_revision")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag_history")),
    )
    op.create_table(
        "run_counter",
        sa.Column("run", sa.BigInteger(), nullable=False),
        sa.Column("sub_farm", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.number"], name=op.f("fk_run_counter_run_run")),
        sa.PrimaryKeyConstraint("run", "sub_farm", "role", "counter", name=op.f("pk_run_counter")),
    )
    op.create_table(
        "run_file",
        sa.Column("run", sa.BigInteger(), nullable=False),
        sa.Column("sub_farm", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.number"], name=op.f("fk_run_file_run_run")),
        sa.PrimaryKeyConstraint("run", "sub_farm", "path", name=op.f("pk_run_file")),
    )
    op.create_table(
        "run_member",
        sa.Column("id", auto_key, autoincrement=True, nullable=False),
        sa.Column("run", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("membership", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.number"], name=op.f("fk_run_member_run_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_member")),
    )
    op.create_index("ix_run_member_run", "run_member", ["run"], unique=False)


def downgrade() -> None:
    raise NotImplementedError("a farm's database is never taken back to an older schema; restore a backup instead")
