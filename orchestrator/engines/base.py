"""The protocols of an engine, one for each of its clients. Callers use these, never an engine's own classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from orchestrator.model.base import Value
from orchestrator.model.run import Progress, RunPlan
from orchestrator.model.snapshot import Column, InputFiles, SnapshotFile
from orchestrator.model.source_table import AS_USUAL, ReadOptions, SourceFormat
from orchestrator.model.write_target import WriteTarget

# Whom requests are counted for that no project makes.
NO_PROJECT = 0


class LeftOutRows(Value):
    """Rows of the source table `table` that a run left out; `file` holds them if they were kept."""

    table: str
    rows: int
    file: SnapshotFile | None = None


class QueryResult(Value):
    """What a query wrote: sizes as its writer counted them, columns as readers see them and as the files hold them.

    `rejected` are the rows that it left out, which neither `files` nor `rows` nor `bytes` count. `sources` are the
    files that it read, by the name of the source table.
    """

    files: tuple[SnapshotFile, ...]
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    engine_version: str
    rejected: tuple[LeftOutRows, ...] = ()
    sources: Mapping[str, InputFiles] = {}

    @property
    def quarantine(self) -> tuple[SnapshotFile, ...]:
        """The files beside the result."""
        return tuple(one.file for one in self.rejected if one.file)


class QueryAnalyzer(Protocol):
    """Analyses SQL and source files, without running the SQL. The API uses this.

    Every call is counted for a project, and no project is served at the cost of another: a call raises
    TooManyRequests if too many calls of that project are in progress, and Transient if calls of other projects kept it
    waiting for too long.
    """

    async def references(self, sql: str, *, project_id: int) -> tuple[str, ...]:
        """The names of all tables and views that a statement reads, dotted, in order of appearance, each once.

        Raises InvalidQuery, with the engine's message, unless `sql` is exactly one statement that only reads and uses
        only functions that a view may use.
        """

    async def weigh(self, sql: str, views: Mapping[str, str], *, project_id: int) -> int:
        """How often `sql` reads tables and views once the texts of `views` (name to SQL) replace their names.

        The views do not read one another in a cycle. Raises InvalidQuery as `references` does.
        """

    async def describe(
        self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int
    ) -> tuple[Column, ...]:
        """The columns that `sql` would return over tables of these names (dotted) and columns; no data is read.

        Raises InvalidQuery with the engine's message if it does not bind.
        """

    async def describe_each(
        self,
        views: Sequence[tuple[str, str, Sequence[Column]]],
        tables: Mapping[str, Sequence[Column]],
        *,
        project_id: int,
    ) -> list[tuple[Column, ...] | None]:
        """The columns of each of several views (name, statement, previous columns), as `describe` returns them.

        Each may read `tables` and the views before it. None for a view that does not bind; later views then see its
        previous columns. Raises InvalidQuery if all of them take too long, EngineCrashed if one ended the process.
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


class QueryRunner(Protocol):
    """Runs a plan's query, each in a process whose end affects no other query. The worker uses this."""

    async def write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """Run the plan's query into Parquet files in `target`.

        `file_url(location, file name)` gives the path or URL of an input snapshot's file. `on_progress` is called a few
        times a second, also while the query waits for memory, which does not count as time of the query. Cancelling the
        awaiting task kills the query. When this raises or returns, the query's process has ended; when it raises, the
        files are removed.

        Raises QueryFailed, QueryRefused, QueryTimedOut, OutOfMemory, OutputTooLarge or InputMissing if the view or its
        data is at fault, InputReplaced if a source file changed while it was read, EngineCrashed, StoreUnavailable or
        WorkerBusy for any other reason.
        """
