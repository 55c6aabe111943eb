"""Migrations, run in process: the same call serves the command line, the embedded stack and the tests.

Alembic is loaded when it is used: it takes as much memory as the rest of the catalog, and a worker never needs it.
"""

# ruff: noqa: PLC0415 - see above

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.catalog.database import sqlalchemy_url

if TYPE_CHECKING:
    from alembic.config import Config


def migrate(url: str) -> None:
    """Migrate the schema of the database at `url` to the newest revision. Concurrent calls wait for each other."""
    from alembic import command

    command.upgrade(alembic_config(url), "head")


def head() -> str | None:
    """The Alembic revision of the schema that this release needs."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def alembic_config(url: str | None = None) -> "Config":
    """Alembic's configuration, made without an ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if url is not None:
        config.attributes["url"] = sqlalchemy_url(url)
    return config
