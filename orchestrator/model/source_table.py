"""A source table: files that views may read under a name."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.principal import User
from orchestrator.model.snapshot import Column


class SourceFormat(StrEnum):
    """How the files are read. `CSV` has no header line (its columns are `column0`, `column1`, …)."""

    PARQUET = "Parquet"
    CSV = "CSV"
    CSV_WITH_NAMES = "CSVWithNames"
    JSON_EACH_ROW = "JSONEachRow"


class Credential(Value):
    """What opens the files of a source table that are kept elsewhere. Stored encrypted and never shown."""

    access_key: str
    access_secret: str


class SourceTable(Value):
    """A source table as the catalog keeps it. `columns` were read from its files when it was created."""

    id: UUID
    project_id: int
    name: str
    format: SourceFormat
    url_pattern: str
    columns: tuple[Column, ...]
    created_by: User | None
    created_at: datetime
