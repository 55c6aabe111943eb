"""Conversions between rows and model values that several modules use."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy import ColumnElement, Row, Text, bindparam, cast, column, func, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import Label
from sqlalchemy.sql.selectable import FromClause, TableValuedAlias
from sqlalchemy.types import TypeEngine

from orchestrator.catalog import tables as t
from orchestrator.model.base import Value
from orchestrator.model.errors import UnstorableText
from orchestrator.model.principal import User
from orchestrator.model.run import Run

T = TypeVar("T", bound=Value)

USER_COLUMNS = [t.users.c[name] for name in User.model_fields]
RUN_COLUMNS = [t.runs.c[name] for name in Run.model_fields]


def ran_query(runs: FromClause) -> ColumnElement[bool]:
    """Whether a run was not skipped. A view may have thousands of skipped ones after the last that ran its query.

    It has a literal and no parameter, so that PostgreSQL can use the index of these runs.
    """
    return runs.c.status != literal_column("'Skipped'")


def label_columns(prefix: str, source: FromClause, names: Iterable[str]) -> list[Label[Any]]:
    """The columns of `source`, each labelled `prefix_name`, so that several tables fit in one row."""
    return [source.c[name].label(f"{prefix}_{name}") for name in names]


def parse_labelled(prefix: str, row: Row[Any], model: type[T]) -> T | None:
    """The value whose columns `label_columns` labelled, or None where an outer join found no row."""
    mapping = row._mapping
    if mapping.get(f"{prefix}_id") is None:
        return None
    return model.model_validate({name: mapping.get(f"{prefix}_{name}") for name in model.model_fields})


def to_jsonb(values: Iterable[Value]) -> list[Any]:
    """Values as a JSONB column takes them."""
    return [value.model_dump(mode="json") for value in values]


def given(**types: TypeEngine[Any]) -> TableValuedAlias:
    """The rows of `giving` as a table with these columns.

    So one statement changes many rows, with one parameter. With parameters for each row, driver and server together
    take several times as long, and a generation changes some ten rows for each of its views.
    """
    rows = func.jsonb_to_recordset(cast(bindparam("given", type_=Text), JSONB))
    columns = [column(name, kind) for name, kind in types.items()]
    return rows.table_valued(*columns, name="given").render_derived(with_types=True)


def giving(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The parameter of a statement that reads `given`. Raises UnstorableText.

    A key that a row lacks is NULL there. One that `given` does not name is ignored.
    """
    try:
        return {"given": to_json(rows).decode()}
    except PydanticSerializationError as error:  # half of a surrogate pair
        raise UnstorableText from error
