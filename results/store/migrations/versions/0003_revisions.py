"""How often a study was written to, and when last to each trial: readers ask for what is new."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the counters; what is there is revision 1."""
    for table in ("studies", "trials"):
        op.add_column(table, sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False))
    op.create_index("ix_trials_revision", "trials", ["study_id", "revision"])


def downgrade() -> None:
    """Drops them."""
    op.drop_index("ix_trials_revision", "trials")
    for table in ("trials", "studies"):
        op.drop_column(table, "revision")
