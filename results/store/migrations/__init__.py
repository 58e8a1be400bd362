"""The store's schema versions.

alembic costs 0.5 s to import, so it is imported only when there is something to migrate.
The version table has a name of its own: other tools in a shared database keep ``alembic_version``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table, text

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "pixelfront_version"
POSTGRESQL_LOCK = 0x70697866  # any constant of ours


def version(connection: Connection) -> str | None:
    """Schema version of the database; None where it holds no store."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))


def known_versions() -> set[str]:
    """Every version this installation can migrate from."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}


def upgrade(connection: Connection) -> None:
    """Brings the database to the newest version, in the connection's transaction.

    Two processes may try at once: the second waits, and finds nothing left to do.
    """
    from alembic import command

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": POSTGRESQL_LOCK})
    command.upgrade(config(connection), "head")


def config(connection: Connection | None = None) -> Config:
    """alembic's configuration, in place of an alembic.ini."""
    from alembic.config import Config

    configuration = Config(attributes={"connection": connection})
    folder = str(Path(__file__).parent).replace("%", "%%")
    configuration.set_main_option("script_location", folder)
    return configuration
