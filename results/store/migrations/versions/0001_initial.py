"""Studies, trials, asks, rungs, measurements and artifacts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates every table."""
    _create_studies()
    _create_trials()
    _create_asks()
    _create_rungs()
    _create_measurements()
    _create_artifacts()


def downgrade() -> None:
    """Drops every table, and with them all results."""
    for name in ("artifacts", "measurements", "rungs", "asks", "trials", "studies"):
        op.drop_table(name)


def _create_studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("space_name", sa.Text(), nullable=False),
        sa.Column("space_digest", sa.String(64), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("data_digest", sa.String(64), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_studies_name"),
        sa.CheckConstraint("state IN ('running', 'paused', 'complete', 'failed')", name="ck_studies_state"),
    )


def _create_trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("architecture", sa.Text(), nullable=False),
        sa.Column("genotype", sa.Text(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_id", "number", name="uq_trials_number"),
        sa.UniqueConstraint("study_id", "stage", "digest", name="uq_trials_digest"),
        sa.CheckConstraint("state IN ('waiting', 'running', 'complete', 'failed')", name="ck_trials_state"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_trials_study"),
        sa.ForeignKeyConstraint(["parent_id"], ["trials.id"], name="fk_trials_parent"),
    )
    op.create_index("ix_trials_parent", "trials", ["parent_id"])


def _create_asks() -> None:
    op.create_table(
        "asks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("genotype", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_id", "number", name="uq_asks_number"),
        sa.CheckConstraint("outcome IN ('trial', 'duplicate', 'rejected')", name="ck_asks_outcome"),
        sa.CheckConstraint("(outcome = 'rejected') = (trial_id IS NULL)", name="ck_asks_trial"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_asks_study"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_asks_trial"),
    )
    op.create_index("ix_asks_trial", "asks", ["trial_id"])


def _create_rungs() -> None:
    op.create_table(
        "rungs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("trial_id", "step", name="uq_rungs_step"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_rungs_trial"),
    )


def _create_measurements() -> None:
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("direction", sa.String(3), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(
            ["trial_id", "step"],
            ["rungs.trial_id", "rungs.step"],
            name="fk_measurements_rung",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("direction IN ('min', 'max')", name="ck_measurements_direction"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_measurements_trial"),
    )
    columns = ["trial_id", "name", "protocol"]
    final = sa.text("step IS NULL")
    op.create_index(
        "uq_measurements_step", "measurements", ["trial_id", "step", "name", "protocol"], unique=True
    )
    op.create_index(
        "uq_measurements_final",
        "measurements",
        columns,
        unique=True,
        sqlite_where=final,
        postgresql_where=final,
    )


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_artifacts_trial"),
    )
    op.create_index("ix_artifacts_trial", "artifacts", ["trial_id"])
