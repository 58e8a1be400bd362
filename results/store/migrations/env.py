"""alembic's entry point: migrates the connection that `results.store.migrations` hands over."""

from alembic import context

from results.store.migrations import VERSION_TABLE
from results.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
