"""Pages of lists, which are limited by their size in bytes and not only by their number of rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Table, Text, bindparam, case, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.catalog.database import Transaction

# Some 25,000 columns of views, such as those of a thousand views with twenty columns each. A larger page would block
# the API process, and all requests that wait for it, for too long.
PAGE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class PageRows:
    """The number of all matching rows, the ids of a page in order, and the ids of the rows that fit on it whole."""

    count: int
    ids: list[UUID]
    whole: list[UUID]

    @property
    def shown(self) -> dict[str, object]:
        """The parameters of a statement that reads the page."""
        return {"page": self.ids, "whole": self.whole}

    def in_order(self, rows: Iterable[Row[Any]]) -> list[Row[Any]]:
        """The rows of the page in the order in which they were chosen."""
        by_id = {row.id: row for row in rows}
        return [by_id[row_id] for row_id in self.ids if row_id in by_id]


async def select_page(
    tx: Transaction,
    table: Table,
    matches: Sequence[ColumnElement[bool]],
    order: Sequence[ColumnElement[Any]],
    *,
    large: Iterable[str],
    limit: int,
    offset: int,
) -> PageRows:
    """Choose the rows of a page of `table`, and measure their columns `large`.

    The first row is always shown whole. Decompressing a large value takes time. So its text is measured only while the
    compressed sizes of the page's rows add up to no more than PAGE_BYTES.
    """
    count = await tx.scalar(select(func.count()).select_from(table).where(*matches))
    sizes = [func.coalesce(func.pg_column_size(table.c[name]), 0) for name in large]
    packed = sum(sizes[1:], sizes[0])
    place = func.row_number().over(order_by=order)
    page = select(table.c.id, packed.label("packed"), place.label("place"), *(table.c[name] for name in large))
    numbered = page.where(*matches).order_by(*order).limit(limit).offset(offset).subquery("numbered")
    so_far = func.sum(numbered.c.packed).over(order_by=numbered.c.place)
    unpacked = select(numbered, so_far.label("packed_so_far")).subquery("unpacked")
    texts = [func.coalesce(func.octet_length(cast(unpacked.c[name], Text)), 0) for name in large]
    size = case((unpacked.c.packed_so_far <= PAGE_BYTES, sum(texts[1:], texts[0])), else_=PAGE_BYTES + 1)
    rows = (await tx.execute(select(unpacked.c.id, size.label("size")).order_by(unpacked.c.place))).all()
    return PageRows(count or 0, [row.id for row in rows], _fitting([(row.id, row.size) for row in rows]))


def on_page(table: Table) -> ColumnElement[bool]:
    """Whether a row is on the chosen page."""
    return table.c.id.in_(bindparam("page", expanding=True))


def shown(table: Table, *large: str) -> list[ColumnElement[Any]]:
    """All columns of `table`, and `is_abridged`. Rows that do not fit whole have empty values in the large ones."""
    is_whole = table.c.id.in_(bindparam("whole", expanding=True))
    others = [column for column in table.c if column.name not in large]
    cut = [case((is_whole, table.c[name]), else_=_nothing_of(table.c[name])).label(name) for name in large]
    return [*others, *cut, (~is_whole).label("is_abridged")]


def _nothing_of(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast([], JSONB) if isinstance(value.type, JSONB) else cast(None, value.type)


def _fitting(sizes: Iterable[tuple[UUID, int]]) -> list[UUID]:
    whole: list[UUID] = []
    used = 0
    for row_id, size in sizes:
        if not whole or used + size <= PAGE_BYTES:
            used += size
            whole.append(row_id)
    return whole
