"""Reads the quarantined rows of a run, a page at a time, from a Parquet file beside its result."""

from pathlib import Path

from orchestrator.model.errors import FileDamaged, NotFound, StoreUnavailable
from orchestrator.model.snapshot import QuarantinedRow

# Longer texts are cut, so that a page of a thousand rows fits into an answer of the API.
LONGEST_TEXT = 2_000
_BATCH_ROWS = 1_024
_BUFFER_BYTES = 1 << 20
_COLUMNS = [*QuarantinedRow.model_fields]


def read_quarantine(path: Path, *, limit: int, offset: int) -> tuple[int, list[QuarantinedRow]]:
    """The number of rows in the file, and `limit` of them from `offset` on. It blocks: call it in a thread.

    Raises NotFound if the file no longer exists, FileDamaged, or StoreUnavailable if the disk fails.
    """
    import pyarrow as pa  # noqa: PLC0415 - takes long to import, and few versions have such a file

    try:
        return _page(path, limit, offset)
    except FileNotFoundError:
        raise NotFound("There is no such version, or it is no longer kept.") from None
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise FileDamaged from error
    except OSError as error:
        if error.errno is None:  # pyarrow raises this for a file that it cannot parse
            raise FileDamaged from error
        raise StoreUnavailable(f"The snapshot store failed: {error.strerror or error}") from error


def _page(path: Path, limit: int, offset: int) -> tuple[int, list[QuarantinedRow]]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    rows: list[QuarantinedRow] = []
    with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
        count = file.metadata.num_rows
        groups, skipped = _groups([file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)], offset)
        batches = file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=_COLUMNS, use_threads=False)
        for batch in batches if offset < count else ():
            chosen = batch.slice(min(skipped, batch.num_rows), limit - len(rows))
            skipped = max(0, skipped - batch.num_rows)
            rows += [QuarantinedRow.model_validate({k: _cut(v) for k, v in row.items()}) for row in chosen.to_pylist()]
            if len(rows) >= limit:
                break
    return count, rows


def _groups(sizes: list[int], offset: int) -> tuple[list[int], int]:
    """The row groups from the one that holds row `offset` on, and the number of rows before that row in it."""
    first = 0
    while first < len(sizes) and sizes[first] <= offset:
        offset -= sizes[first]
        first += 1
    return [*range(first, len(sizes))], offset


def _cut(value: object) -> object:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[:LONGEST_TEXT] + "…"
    return value
