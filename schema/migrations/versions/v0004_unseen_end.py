"""Of a run whose end nobody saw: the last sign of life before it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("last_seen_at_ns", sa.BigInteger()))
