"""What a query may use."""

from orchestrator.model.base import Value


class Limits(Value):
    """What one query may use: memory, spilled data and written files in MiB, and DuckDB's threads."""

    memory_mb: int
    threads: int
    temp_disk_mb: int
    output_mb: int
