"""The rows of source tables."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, insert, select, update

from orchestrator.catalog import names, tables as t
from orchestrator.catalog.annotations import descriptions_of
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.pagination import on_page, select_page, shown
from orchestrator.catalog.rows import label_columns, parse_labelled, to_jsonb
from orchestrator.model.annotation import Described
from orchestrator.model.principal import User
from orchestrator.model.remote_files import is_same_place
from orchestrator.model.source_table import SourceTable

_LIVE = t.source_tables.c.deleted_at.is_(None)


async def insert_new(tx: Transaction, table: SourceTable, credential: bytes | None) -> None:
    """Store a new source table with its encrypted credential. The caller reserves its name."""
    await tx.execute(
        insert(t.source_tables).values(
            id=table.id,
            project_id=table.project_id,
            name=table.name,
            format=table.format,
            url_pattern=table.url_pattern,
            **_contract(table),
            credential=credential,
            created_by=table.created_by.id if table.created_by else None,
        )
    )


async def find(tx: Transaction, project_id: int, table_id: UUID) -> SourceTable | None:
    """The live source table of that id."""
    described = descriptions_of(t.source_tables.c.id, Described.TABLE)
    query = _select([*t.source_tables.c, described]).where(
        t.source_tables.c.id == table_id, t.source_tables.c.project_id == project_id, _LIVE
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _source_table(row)


async def page(
    tx: Transaction, project_id: int, *, search: str | None, name: str | None = None, limit: int, offset: int
) -> tuple[int, list[SourceTable]]:
    """The number of live tables whose name contains `search`, and those of one page, newest first.

    `name` leaves only the table of that name, in any case.

    Where the page would be too large, some lack their columns.
    """
    matches = [t.source_tables.c.project_id == project_id, _LIVE]
    if search:
        matches.append(t.source_tables.c.name.icontains(search, autoescape=True))
    if name is not None:
        matches.append(t.source_tables.c.id == await names.table_of(tx, project_id, name))
    newest_first = (t.source_tables.c.created_at.desc(), t.source_tables.c.id)
    chosen = await select_page(
        tx, t.source_tables, matches, newest_first, large=["columns"], limit=limit, offset=offset
    )
    query = _select(shown(t.source_tables, "columns")).where(on_page(t.source_tables))
    return chosen.count, [_source_table(row) for row in chosen.in_order(await tx.execute(query, chosen.shown))]


async def change(tx: Transaction, before: SourceTable, after: SourceTable) -> None:
    """Store the fields of a source table that may change.

    Its credential is deleted if it was for another place: who may edit the table need not be who gave it.
    """
    forgotten = {} if is_same_place(before.url_pattern, after.url_pattern) else {"credential": None}
    await tx.execute(
        update(t.source_tables)
        .where(t.source_tables.c.id == after.id)
        .values(name=after.name, format=after.format, url_pattern=after.url_pattern, **_contract(after), **forgotten)
    )


async def set_credential(tx: Transaction, table_id: UUID, credential: bytes | None) -> None:
    """Store an encrypted credential, or delete the stored one."""
    await tx.execute(update(t.source_tables).where(t.source_tables.c.id == table_id).values(credential=credential))


async def credential_of(tx: Transaction, table_id: UUID) -> tuple[str, bytes | None] | None:
    """The URL of a table, and the encrypted credential that was given for it, if it has one."""
    query = select(t.source_tables.c.url_pattern, t.source_tables.c.credential).where(t.source_tables.c.id == table_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (row.url_pattern, row.credential)


async def mark_deleted(tx: Transaction, table_id: UUID) -> None:
    """Delete a table softly: runs and snapshots that name it stay readable."""
    await tx.execute(update(t.source_tables).where(t.source_tables.c.id == table_id).values(deleted_at=func.now()))
    checks = update(t.checks).where(t.checks.c.source_table_id == table_id, t.checks.c.deleted_at.is_(None))
    await tx.execute(checks.values(deleted_at=func.now()))


def _contract(table: SourceTable) -> dict[str, Any]:
    """The contract: the columns that a run expects of the files, and the options with which it reads them.

    With it, the number and size of the files that the columns were read from.
    """
    return {
        "columns": to_jsonb(table.columns),
        "options": table.options.model_dump(mode="json"),
        "stated": to_jsonb(table.stated),
        "files": None if table.files is None else table.files.model_dump(mode="json"),
    }


def _select(columns: Iterable[ColumnElement[Any]] = t.source_tables.c) -> Select[Any]:
    return select(*columns, *label_columns("user", t.users, User.model_fields)).outerjoin(
        t.users, t.users.c.id == t.source_tables.c.created_by
    )


def _source_table(row: Row[Any]) -> SourceTable:
    mapping = {name: row._mapping[name] for name in SourceTable.model_fields if name in row._mapping}
    mapping["column_descriptions"] = mapping.get("column_descriptions") or {}
    return SourceTable.model_validate({**mapping, "created_by": parse_labelled("user", row, User)})
