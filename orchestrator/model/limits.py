"""What a query may use."""

from orchestrator.model.base import Value

# How often a query may read a table, a snapshot or a view, once the text of every view without a snapshot stands in the
# place of its name. DuckDB plans each of these readings by itself, and a view that reads another twice doubles them:
# some queries of a thousand are planned in a tenth of a second, some in ten.
MOST_READINGS = 1000


class Limits(Value):
    """What one query may use: memory, spilled data and written files in MiB, and DuckDB's threads."""

    memory_mb: int
    threads: int
    temp_disk_mb: int
    output_mb: int
