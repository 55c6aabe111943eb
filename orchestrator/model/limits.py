"""The limits of a query."""

from orchestrator.model.base import Value


class Limits(Value):
    """The limits of one query: memory, spilled data and written files in MiB, and the number of DuckDB's threads."""

    memory_mb: int
    threads: int
    temp_disk_mb: int
    output_mb: int
