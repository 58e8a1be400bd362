"""Why a study's last run ended. A study of which no trial is complete doesn't count as complete any longer."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the column; of runs that have ended nobody knows."""
    op.add_column("studies", sa.Column("stop", sa.String(16), nullable=True))
    studies = sa.table("studies", sa.column("id"), sa.column("state"), sa.column("finished_at"))
    trials = sa.table("trials", sa.column("study_id"), sa.column("state"))
    ended = sa.exists().where(trials.c.study_id == studies.c.id, trials.c.state == "complete")
    change = sa.update(studies).where(studies.c.state == "complete", ~ended)
    op.execute(change.values(state="paused", finished_at=None))


def downgrade() -> None:
    """Drops it."""
    op.drop_column("studies", "stop")
