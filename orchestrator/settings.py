"""Settings: environment variables with one prefix, read once at start and checked then."""

import base64
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "MATVIEW_"
_KEY_BYTES = 32


class SettingsError(Exception):
    """A setting is wrong or missing; the message is one line that names it."""


class Settings(BaseSettings):
    """Everything that an installation may choose. Each field is the variable `MATVIEW_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    database_url: str = Field(description="PostgreSQL, as a libpq URL: postgresql://user:password@host/database")
    data_dir: Path = Field(description="The folder of the snapshot store; every worker must see the same one")
    temporal_address: str | None = Field(
        default=None,
        description="host:port of the Temporal server; without it Temporal's own TEMPORAL_* variables decide",
    )
    temporal_namespace: str | None = Field(default=None, description="The Temporal namespace")
    temporal_ui_url: str | None = Field(default=None, description="Where people open the Temporal UI; only shown")
    source_roots: Annotated[list[Path], NoDecode] = Field(
        default=[], description="Folders below which source tables may lie, as a JSON list; none are allowed without it"
    )
    secret_key: str | None = Field(
        default=None,
        description="What credentials of source tables are encrypted with: 32 bytes in URL-safe base64; without it "
        "none are taken",
    )
    api_host: str = Field(default="127.0.0.1", description="The address that the API listens on")
    api_port: int = Field(default=8000, ge=1, le=65535, description="The port that the API listens on")
    max_concurrent_queries: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="How many queries one worker runs at a time"
    )
    query_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="DuckDB threads for each query"
    )
    query_memory_mb: int = Field(
        default_factory=lambda: _share_of_memory_mb(),  # noqa: PLW0108 - it is defined below
        ge=64,
        description="DuckDB's memory limit for each query, in MiB; it spills to the disk beyond",
    )
    query_timeout_seconds: float = Field(default=3600, gt=0, description="How long one query may run")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="What is logged")
    ready_file: Path | None = Field(
        default=None, description="A file that the worker creates once it polls, for supervisors"
    )

    @property
    def query_timeout(self) -> timedelta:
        """How long one query may run."""
        return timedelta(seconds=self.query_timeout_seconds)

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("it must start with postgresql://")
        return url

    @field_validator("secret_key")
    @classmethod
    def _is_fernet_key(cls, key: str | None) -> str | None:
        if key is not None:
            try:
                valid = len(base64.urlsafe_b64decode(key)) == _KEY_BYTES
            except ValueError:
                valid = False
            if not valid:
                raise ValueError("it must be 32 bytes in URL-safe base64")
        return key

    @field_validator("source_roots", mode="before")
    @classmethod
    def _is_json_list(cls, value: Any) -> Any:  # noqa: ANN401 - whatever stands there
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise ValueError('it must be a JSON list of folders, like ["/srv/data"]') from None

    @field_validator("data_dir", "source_roots")
    @classmethod
    def _absolute(cls, value: Any) -> Any:  # noqa: ANN401 - one path or several
        paths = value if isinstance(value, list) else [value]
        if not all(path.is_absolute() for path in paths):
            raise ValueError("it must be an absolute path")
        return value


def load_settings(**given: Any) -> Settings:  # noqa: ANN401 - values of any setting
    """The settings from the environment. Raises SettingsError, which names the first one that is wrong."""
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        problem = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}: {problem}") from None


def _share_of_memory_mb() -> int:
    """A query's share of six tenths of the machine, when as many run at a time as there are processors."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(256, int(total * 0.6) // (os.cpu_count() or 1))
