"""Migrations, run in process: the same call serves the command line, the embedded stack and the tests."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from orchestrator.catalog.database import sqlalchemy_url


def migrate(url: str) -> None:
    """Bring the schema of the database at `url` to the newest revision. Two at once wait for each other."""
    command.upgrade(alembic_config(url), "head")


def head() -> str | None:
    """The revision that this release wants."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def alembic_config(url: str | None = None) -> Config:
    """Alembic's configuration, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if url is not None:
        config.attributes["url"] = sqlalchemy_url(url)
    return config
