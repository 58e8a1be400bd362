"""Early stopping: trials that rest at a rung, and what the strategy was told where that isn't told in order."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BEFORE = "state IN ('waiting', 'running', 'complete', 'failed')"
NOW = "state IN ('waiting', 'running', 'complete', 'failed', 'paused')"


def upgrade() -> None:
    """Allows the state, and adds the column."""
    _allow(BEFORE, NOW)
    op.add_column("asks", sa.Column("told", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drops the column; trials that rested wait instead."""
    op.drop_column("asks", "told")
    trials = sa.table("trials", sa.column("state"))
    op.execute(sa.update(trials).where(trials.c.state == "paused").values(state="waiting"))
    _allow(NOW, BEFORE)


def _allow(before: str, states: str) -> None:
    """Changes which states a trial may have; SQLite makes the table anew for that."""
    table = sa.Table("trials", sa.MetaData(), autoload_with=op.get_bind())
    if not any(isinstance(each, sa.CheckConstraint) for each in table.constraints):
        # SQLAlchemy reads them from the database since 2.1.
        table.append_constraint(sa.CheckConstraint(before, name="ck_trials_state"))
    with op.batch_alter_table("trials", copy_from=table) as trials:
        trials.drop_constraint("ck_trials_state", type_="check")
        trials.create_check_constraint("ck_trials_state", states)
