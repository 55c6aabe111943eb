"""The Range header: readers of Parquet files ask for the end of a file first, and then for the parts they need."""

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ByteRange(NamedTuple):
    """The bytes of a file from `start` to before `end`. `is_whole` says that no part of it was asked for."""

    start: int
    end: int
    is_whole: bool


def requested_range(header: str | None, size: int) -> ByteRange | None:
    """The range that a header asks for in a file of `size` bytes; None if the file has no byte of it.

    A header that asks for several ranges, or is none, asks for the whole file, as RFC 9110 allows.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if found is None or not any(found.groups()):
        return ByteRange(0, size, is_whole=True)
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    return ByteRange(start, end, is_whole=False) if start < end else None
