"""A cache of the digests of Parquet files, so that an unchanged file is not read again to compute its digest.

A query often reads only a small part of a Parquet file. So a run computes only some of the unknown digests, and the
next runs of all views over the same table reuse them. A worker keeps the cache until it ends.
"""

from collections import OrderedDict
from collections.abc import Mapping
from uuid import UUID

_MOST = 100_000


class DigestCache:
    """The digests of each source table's files, by a key that identifies an unchanged file.

    They come from child processes that run a client's SQL, so those of one table are not trusted for another.
    """

    def __init__(self, most: int = _MOST) -> None:
        """Keep at most `most` digests. Those of the tables that were read longest ago are dropped first."""
        self._most = most
        self._of_tables: OrderedDict[UUID, dict[str, str]] = OrderedDict()

    def of_table(self, table_id: UUID) -> Mapping[str, str]:
        """The known digests of a table's files."""
        return self._of_tables.get(table_id, {})

    def learn(self, table_id: UUID, known: Mapping[str, str]) -> None:
        """Replace the digests of a table by `known`, which are all that are still useful."""
        self._of_tables.pop(table_id, None)
        if known:
            self._of_tables[table_id] = dict(known)
        while sum(map(len, self._of_tables.values())) > self._most:
            self._of_tables.popitem(last=False)
