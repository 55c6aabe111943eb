"""What an engine promises. Callers hold this protocol, never an engine's own classes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.model.base import Value
from orchestrator.model.run import Progress, RunPlan
from orchestrator.model.snapshot import Column, InputFiles, SnapshotFile
from orchestrator.model.source_table import AS_USUAL, ReadOptions, SourceFormat

# Whom requests are counted for that no project makes.
NO_PROJECT = 0


class Rejected(Value):
    """Rows of the source table `table` that a run left out; `file` holds them if they were kept."""

    table: str
    rows: int
    file: SnapshotFile | None = None


class Written(Value):
    """What a query wrote: sizes as its writer counted them, columns as readers see them and as the files hold them.

    `rejected` are the rows that it left out, which neither `files` nor `rows` nor `bytes` count. `sources` are the
    files that it read, by the name of the source table.
    """

    files: tuple[SnapshotFile, ...]
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    engine_version: str
    rejected: tuple[Rejected, ...] = ()
    sources: Mapping[str, InputFiles] = {}

    @property
    def quarantine(self) -> tuple[SnapshotFile, ...]:
        """The files beside the result."""
        return tuple(one.file for one in self.rejected if one.file)


class Engine(Protocol):
    """Runs SQL, each query in a process that costs nobody else anything when it dies.

    What only looks at SQL or at files does so for a project, which is never served at the cost of another: it raises
    TooManyRequests if too many requests of that project are being served, and Transient if those of others kept it
    waiting for too long.
    """

    async def start(self) -> None:
        """Warm up, so that the first request pays nothing for it. Optional: every method works without."""

    async def close(self) -> None:
        """End every process that this engine started."""

    async def references(self, sql: str, *, project_id: int) -> tuple[str, ...]:
        """The names of all tables and views that a statement reads, dotted, in order of appearance, each once.

        Raises InvalidQuery, with the engine's message, unless `sql` is exactly one statement that only reads and uses
        nothing that a view may not use.
        """

    async def weigh(self, sql: str, views: Mapping[str, str], *, project_id: int) -> int:
        """How often `sql` reads something once the texts of `views` (name to SQL) stand in the place of their names.

        The views do not read one another in a circle. Raises InvalidQuery as `references` does.
        """

    async def describe(
        self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int
    ) -> tuple[Column, ...]:
        """The columns that `sql` would give over tables of these names (dotted) and columns; no data is read.

        Raises InvalidQuery with the engine's message if it does not bind.
        """

    async def describe_each(
        self,
        views: Sequence[tuple[str, str, Sequence[Column]]],
        tables: Mapping[str, Sequence[Column]],
        *,
        project_id: int,
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
        *,
        project_id: int,
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
        with the view or its data, InputReplaced if a source file was changed while it was read, EngineCrashed,
        StoreUnavailable or WorkerBusy for what is wrong with the world.
        """
