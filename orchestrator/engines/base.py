"""What an engine promises. Callers hold this protocol, never an engine's own classes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.model.base import Value
from orchestrator.model.run import Progress, RunPlan
from orchestrator.model.snapshot import Column, SnapshotFile
from orchestrator.model.source_table import AS_USUAL, ReadOptions, SourceFormat


class Written(Value):
    """What a query wrote: sizes as its writer counted them, columns as readers see them and as the files hold them."""

    files: tuple[SnapshotFile, ...]
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    engine_version: str


class Engine(Protocol):
    """Runs SQL, each query in a process that costs nobody else anything when it dies.

    What only looks at SQL or at files raises Transient if others kept it waiting for too long.
    """

    async def start(self) -> None:
        """Warm up, so that the first request pays nothing for it. Optional: every method works without."""

    async def close(self) -> None:
        """End every process that this engine started."""

    async def references(self, sql: str) -> tuple[str, ...]:
        """The names of all tables and views that a statement reads, dotted, in order of appearance, each once.

        Raises InvalidQuery, with the engine's message, unless `sql` is exactly one statement that only reads and uses
        nothing that a view may not use.
        """

    async def describe(self, sql: str, tables: Mapping[str, Sequence[Column]]) -> tuple[Column, ...]:
        """The columns that `sql` would give over tables of these names (dotted) and columns; no data is read.

        Raises InvalidQuery with the engine's message if it does not bind.
        """

    async def describe_each(
        self,
        views: Sequence[tuple[str, str, Sequence[Column]]],
        tables: Mapping[str, Sequence[Column]],
    ) -> list[tuple[Column, ...] | None]:
        """The columns of each of several views (name, statement, columns so far), as `describe` gives them.

        Each may read `tables` and the views before it. None for one that does not bind; it stands for the columns that
        it had so far. Raises InvalidQuery if all of them take too long, EngineCrashed if one ended the process.
        """

    async def describe_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
    ) -> tuple[Column, ...]:
        """The columns of the files that match: `stated` ones as they are stated, the types of the others detected.

        Raises InvalidSource if there are no files, if they cannot be read, or do not fit what is stated.
        """

    async def write(
        self,
        plan: RunPlan,
        locate: Callable[[str, str], str],
        target: Path,
        on_progress: Callable[[Progress], None],
    ) -> Written:
        """Run the plan's query into Parquet files in the existing, empty folder `target`.

        `locate(location, file name)` gives the path or URL of an input snapshot's file. `on_progress` is called a few
        times a second, also while the query waits for its turn, which does not count as time of the query. Cancelling
        the awaiting task kills the query; when this raises or returns, its process is gone, and when it raises, so are
        the files.

        Raises QueryFailed, QueryRefused, QueryTimedOut, OutOfMemory, OutputTooLarge or InputMissing for what is wrong
        with the view, EngineCrashed, StoreUnavailable or WorkerBusy for what is wrong with the world.
        """
