"""Run records are complete: when a run is to end by itself, changes of membership left out, who wrote each file."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("ends_after_events", "ends_after_ns", "changes_left_out"):
        op.add_column("run", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("run_file", sa.Column("member", sa.Text(), nullable=False, server_default=""))
