"""Checks of the rows of a view or a source table, and what they found. PostHog calls them data quality checks."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.model.base import Value
from orchestrator.model.errors import InvalidCheck
from orchestrator.model.names import fold

LONGEST_NAME = 128
NAME_PATTERN = r"^([A-Za-z][A-Za-z0-9_]*)?$"
LONGEST_COLUMN_NAME = 400
# All checks of a view go to the process of its query in one message.
LARGEST_CONFIG_BYTES = 20_000
LARGEST_SUBJECT_BYTES = 200_000
MOST_OF_SUBJECT = 50
_MOST_VALUES = 1000
_MOST_COLUMNS = 50
_MOST_MINUTES = 10 * 366 * 24 * 60
_MOST_NAMED = 5


class CheckType(StrEnum):
    """The assertion that a check makes."""

    NOT_NULL = "not_null"
    UNIQUE = "unique"
    ACCEPTED_VALUES = "accepted_values"
    RELATIONSHIPS = "relationships"
    ROW_COUNT = "row_count"
    FRESHNESS = "freshness"
    CUSTOM_SQL = "custom_sql"
    ROW_COUNT_CHANGE = "row_count_change"
    SCHEMA_UNCHANGED = "schema_unchanged"


class Severity(StrEnum):
    """The consequence of a check that fails: an `error` keeps a result from being published, a `warn` is shown."""

    ERROR = "error"
    WARN = "warn"


class CheckStatus(StrEnum):
    """How a check has ended. One that could not be run has the consequence of one that failed."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"


class Subject(StrEnum):
    """The kind of thing that a check is about."""

    VIEW = "view"
    TABLE = "table"


class SubjectRef(NamedTuple):
    """The view or the source table, by its id, that checks are about."""

    project_id: int
    kind: Subject
    id: UUID


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Column = Annotated[str, Field(min_length=1, max_length=LONGEST_COLUMN_NAME)]
_Where = Annotated[
    str | None,
    Field(
        default=None,
        min_length=1,
        max_length=LARGEST_CONFIG_BYTES,
        description="An SQL condition: only rows that fulfil it are checked",
    ),
]


class OfColumns(_Config):
    """The config of a check of one column, or of several together."""

    columns: list[_Column] | None = Field(
        default=None, min_length=1, max_length=_MOST_COLUMNS, description="In place of column_name: several columns"
    )
    where: _Where = None


class AcceptedValues(_Config):
    """The config of a check that a column has no value but these. NULL is accepted."""

    values: list[str | bool | int | float] = Field(min_length=1, max_length=_MOST_VALUES)
    where: _Where = None


class Relationships(_Config):
    """The config of a check that each value of a column is in a column of a view or of a source table."""

    to_subject_type: Subject
    to_subject_uuid: UUID
    to_column: _Column
    where: _Where = None


class RowCount(_Config):
    """The config of a check of the number of rows."""

    min: int | None = Field(default=None, ge=0, le=2**62)
    max: int | None = Field(default=None, ge=0, le=2**62)
    where: _Where = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        _require_one(self.min, self.max, "min or max")
        return self


class Freshness(_Config):
    """The config of a check that the latest moment in a column is no older than so many minutes."""

    max_age_minutes: int = Field(ge=1, le=_MOST_MINUTES)
    where: _Where = None


class CustomSql(_Config):
    """The config of a check that a statement returns no row."""

    query: str = Field(min_length=1, max_length=LARGEST_CONFIG_BYTES)


class RowCountChange(_Config):
    """The config of a check of the number of rows against that of the current version."""

    max_drop_percent: float | None = Field(default=None, ge=0, le=100)
    max_rise_percent: float | None = Field(default=None, ge=0, le=1e12)

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        _require_one(self.max_drop_percent, self.max_rise_percent, "max_drop_percent or max_rise_percent")
        return self


class SchemaUnchanged(_Config):
    """The config of a check that the columns are those of the current version, except for changes of these kinds."""

    allow: list[Literal["added", "removed", "retyped"]] = Field(default_factory=list, max_length=3)


CONFIGS: Mapping[CheckType, type[_Config]] = {
    CheckType.NOT_NULL: OfColumns,
    CheckType.UNIQUE: OfColumns,
    CheckType.ACCEPTED_VALUES: AcceptedValues,
    CheckType.RELATIONSHIPS: Relationships,
    CheckType.ROW_COUNT: RowCount,
    CheckType.FRESHNESS: Freshness,
    CheckType.CUSTOM_SQL: CustomSql,
    CheckType.ROW_COUNT_CHANGE: RowCountChange,
    CheckType.SCHEMA_UNCHANGED: SchemaUnchanged,
}
# The words that name what a `relationships` looks into: by id, and in files by name.
REFERENCE = frozenset({"to_subject_type", "to_subject_uuid", "to"})
# Types that are about one column.
_OF_ONE_COLUMN = frozenset({CheckType.ACCEPTED_VALUES, CheckType.RELATIONSHIPS, CheckType.FRESHNESS})
_OF_COLUMNS = frozenset({CheckType.NOT_NULL, CheckType.UNIQUE})


class Assertion(Value):
    """The assertion of a check: its type, its column ("" for none) and its config, which `checked_config` has made."""

    check_type: CheckType
    column_name: str = ""
    config: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is about."""
        named = self.config.get("columns")
        return tuple(named) if named else (self.column_name,) if self.column_name else ()

    def plain(self, to_name: str | None) -> dict[str, Any]:
        """The assertion without models, as `engines/check_statements.py` takes it.

        `to_name` is the name of what a `relationships` looks into; None if it is not there any more.
        """
        return {
            "check_type": self.check_type.value,
            "column_name": self.column_name,
            "config": dict(self.config),
            "to_name": to_name,
        }

    @property
    def digest(self) -> str:
        """Equal for two checks that assert the same."""
        config = usual_config(self.check_type, self.config)
        text = json.dumps([self.check_type, fold(self.column_name), config], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def __str__(self) -> str:
        """The assertion in words: `not_null of "amount"`."""
        columns = ", ".join(f'"{one}"' for one in self.columns[:_MOST_NAMED])
        more = f" and {len(self.columns) - _MOST_NAMED} more" if len(self.columns) > _MOST_NAMED else ""
        return f"{self.check_type} of {columns}{more}" if columns else str(self.check_type)


class Check(Value):
    """A check of a view or of a source table, whose id is `subject_id`. `name` is unique in its project."""

    id: UUID
    project_id: int
    subject: Subject
    subject_id: UUID
    name: str | None
    description: str
    assertion: Assertion
    severity: Severity
    enabled: bool
    tags: tuple[str, ...]
    created_source: str
    ai_model: str
    confidence: float | None
    reasoning: str
    created_by: int | None
    created_at: datetime
    updated_at: datetime

    @property
    def label(self) -> str:
        """Its name, or the assertion in words."""
        return self.name or str(self.assertion)


class CheckFields(Value):
    """All of a check that a client sets."""

    name: str | None
    description: str
    assertion: Assertion
    reads: tuple[str, ...] = ()
    severity: Severity
    enabled: bool
    tags: tuple[str, ...]
    created_source: str
    ai_model: str
    confidence: float | None
    reasoning: str


class PlannedCheck(Value):
    """A check as a run makes it.

    `to_name` is the name of the view or table of a `relationships`, `reads` has the names that a `custom_sql` reads.
    `needs` are the names of all relations beside its subject that it reads, at any depth. `fault` says why it cannot be
    run, if that is known already.
    """

    id: UUID
    label: str
    severity: Severity
    assertion: Assertion
    to_name: str | None = None
    reads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    fault: str | None = None


class CheckResult(Value):
    """The finding of a check.

    `failing_rows` is None if it could not be run: then `reason` says why. `sql` selects the failing rows. `sample` is
    the name of the file beside the version that holds some of them.
    """

    check_id: UUID
    label: str
    severity: Severity
    status: CheckStatus
    failing_rows: int | None = None
    reason: str | None = None
    sql: str | None = None
    sample: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether it keeps the result from being published."""
        return self.severity is Severity.ERROR and self.status is not CheckStatus.PASSED

    def __str__(self) -> str:
        """The result in words."""
        if self.status is CheckStatus.PASSED:
            return f"{self.label} passed"
        if self.status is CheckStatus.ERROR:
            return f"{self.label} could not be run: {self.reason}"
        rows = f"{self.failing_rows:,} failing row{'' if self.failing_rows == 1 else 's'}"
        return f"{self.label} ({self.reason or rows})"


class StoredResult(CheckResult):
    """A result that is stored.

    `run_id` is the run that made it, `generation_id` the generation that made it of a source table, and both are None
    if a person did. `snapshot_id` is the version that was checked.
    """

    id: UUID
    run_id: UUID | None
    snapshot_id: UUID | None
    generation_id: UUID | None = None
    created_at: datetime


def usual_config(check_type: CheckType, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config in the form in which two that mean the same are equal.

    The values of an `accepted_values` are texts there. Each is compared as a text that takes the type of its column, so
    1 and "1" are one.
    """
    if check_type is not CheckType.ACCEPTED_VALUES:
        return dict(config)
    return {**config, "values": [fold(str(one)) if isinstance(one, bool) else str(one) for one in config["values"]]}


def size_of(config: Mapping[str, Any]) -> int:
    """The bytes of a check's config as JSON, without the name of what it refers to. All those of a view are limited."""
    kept = {name: value for name, value in config.items() if name not in REFERENCE}
    if "values" in kept:
        kept["values"] = list(map(str, kept["values"]))
    return len(json.dumps(kept))


def checked_assertion(check_type: CheckType, column_name: str, config: Mapping[str, Any]) -> Assertion:
    """The assertion with its config in its usual form. Raises InvalidCheck, naming the field."""
    try:
        parsed = CONFIGS[check_type].model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidCheck(f"config{f'.{place}' if place else ''}: {first['msg']}.", attr="config") from None
    made = Assertion(
        check_type=check_type, column_name=column_name, config=parsed.model_dump(mode="json", exclude_none=True)
    )
    if len(json.dumps(made.config)) > LARGEST_CONFIG_BYTES:
        raise InvalidCheck(f"config may take {LARGEST_CONFIG_BYTES:,} bytes of JSON.", attr="config")
    if check_type in _OF_COLUMNS and bool(column_name) == bool(made.config.get("columns")):
        raise InvalidCheck("Name one column in column_name, or several in config.columns.", attr="column_name")
    if check_type in _OF_ONE_COLUMN and not column_name:
        raise InvalidCheck(f"A check of the type {check_type} needs a column_name.", attr="column_name")
    if column_name and check_type not in _OF_COLUMNS | _OF_ONE_COLUMN:
        raise InvalidCheck(f"A check of the type {check_type} has no column_name.", attr="column_name")
    return made


def not_published(results: Iterable[CheckResult]) -> str | None:
    """Why a result is not published, in words that begin as PostHog's do; None if it may be."""
    blocking = [one for one in results if one.blocks]
    if not blocking:
        return None
    named = "; ".join(str(one).removesuffix(".") for one in blocking[:_MOST_NAMED])
    more = f"; and {len(blocking) - _MOST_NAMED} more" if len(blocking) > _MOST_NAMED else ""
    return f"Not published: {named}{more}."


def _require_one(one: float | None, other: float | None, names: str) -> None:
    if one is None and other is None:
        raise ValueError(f"needs {names}")
