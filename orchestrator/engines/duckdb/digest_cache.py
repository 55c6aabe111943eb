"""What is known of the digests of Parquet files, so that one that has not changed is not read for it once more.

Of a Parquet file a query often reads a small part. So a run digests some of those that it does not know, and the next
runs of all views over the same table know them. Kept by a worker until it ends.
"""

from collections import OrderedDict
from collections.abc import Mapping
from uuid import UUID

_MOST = 100_000


class DigestCache:
    """The digests of each table's files, by what identifies a file that has not changed.

    They are told by processes that run a project's queries, so those of one table say nothing about another one.
    """

    def __init__(self, most: int = _MOST) -> None:
        """`most` are kept; those of tables that were not read for the longest time go first."""
        self._most = most
        self._of_tables: OrderedDict[UUID, dict[str, str]] = OrderedDict()

    def of_table(self, table_id: UUID) -> Mapping[str, str]:
        """What is known of a table's files."""
        return self._of_tables.get(table_id, {})

    def learn(self, table_id: UUID, known: Mapping[str, str]) -> None:
        """These are all of a table that are worth knowing from now on."""
        self._of_tables.pop(table_id, None)
        if known:
            self._of_tables[table_id] = dict(known)
        while sum(map(len, self._of_tables.values())) > self._most:
            self._of_tables.popitem(last=False)
