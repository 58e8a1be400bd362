"""Trials of several stages: their origin, and variants of one architecture; a study's budget as numbers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0002"
down_revision = "0001"

STUDIES = sa.table("studies", sa.column("id"), sa.column("data"), sa.column("config"))
STATES = "state IN ('waiting', 'running', 'complete', 'failed')"


def upgrade() -> None:
    """Adds the columns, and the budget to what is recorded of a study's data."""
    with _trials() as trials:
        trials.add_column(sa.Column("origin", sa.Text(), nullable=True))
        trials.add_column(sa.Column("variant", sa.String(64), server_default="", nullable=False))
        trials.drop_constraint("uq_trials_digest", type_="unique")
        trials.create_unique_constraint("uq_trials_variant", ["study_id", "stage", "digest", "variant"])
    connection = op.get_bind()
    for study in connection.execute(sa.select(STUDIES)).all():
        if (budget := _budget(json.loads(study.config))) is not None:
            data = json.dumps({**json.loads(study.data), "budget": budget}, separators=(",", ":"))
            connection.execute(sa.update(STUDIES).where(STUDIES.c.id == study.id).values(data=data))


def downgrade() -> None:
    """Drops the columns; refused by the database where an architecture is at a stage more than once."""
    with _trials() as trials:
        trials.drop_constraint("uq_trials_variant", type_="unique")
        trials.create_unique_constraint("uq_trials_digest", ["study_id", "stage", "digest"])
        trials.drop_column("variant")
        trials.drop_column("origin")


@contextmanager
def _trials() -> Iterator[BatchOperations]:
    """Changes to the table, which SQLite makes anew for them."""
    table = sa.Table("trials", sa.MetaData(), autoload_with=op.get_bind())
    if not any(isinstance(each, sa.CheckConstraint) for each in table.constraints):
        # SQLAlchemy reads them from the database since 2.1.
        table.append_constraint(sa.CheckConstraint(STATES, name="ck_trials_state"))
    with op.batch_alter_table("trials", copy_from=table) as trials:
        yield trials


def _budget(config: dict[str, Any]) -> list[float | None] | None:
    """The limits that version 0001 kept as ``max_gmacs`` or as the text ``A:B``, whose B could be ``inf``."""
    if config.get("gmacs"):
        low, high = map(float, config["gmacs"].split(":"))
        return [low, high if isfinite(high) else None]
    return [0.0, float(config["max_gmacs"])] if config.get("max_gmacs") else None
