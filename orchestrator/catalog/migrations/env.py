"""Alembic's environment: all migrations run in one transaction, under an advisory lock."""

from alembic import context
from sqlalchemy import create_engine, text

from orchestrator.catalog.tables import metadata

# Two processes that migrate at once (several API containers starting together) must take turns.
_LOCK = 0x6D617476696577

engine = create_engine(context.config.attributes["url"])
try:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
        context.run_migrations()
finally:
    engine.dispose()
