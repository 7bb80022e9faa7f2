"""A revision may come from another database, where its parent stayed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("revision", sa.Column("absent_parent", sa.Text(), nullable=False, server_default=""))
