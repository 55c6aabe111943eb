"""The protocols of an engine, one for the API and one for the worker. Callers use these, not an engine's classes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from orchestrator.model.base import Value
from orchestrator.model.check import CheckResult
from orchestrator.model.column_lineage import QueryLineage
from orchestrator.model.diff import DiffPlan
from orchestrator.model.engine import QueryText
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.limits import Limits
from orchestrator.model.position import Position
from orchestrator.model.reading import ReadPlan, ResultStream
from orchestrator.model.remote_files import RemoteObject
from orchestrator.model.run import OpenedFile, Progress, RunPlan, SourceRelation, TableCheckPlan
from orchestrator.model.snapshot import Column, InputFiles, SnapshotFile
from orchestrator.model.source_table import AS_USUAL, Credential, DescribedSource, ReadOptions, SourceFormat
from orchestrator.model.write_target import WriteTarget

# The project id of requests that belong to no project.
NO_PROJECT = 0
NO_CLUSTER = "no cluster is configured for the engine spark (MATVIEW_SPARK_REMOTE)."


class LeftOutRows(Value):
    """Rows of the source table `table` that a run left out; `file` holds them if they were kept."""

    table: str
    rows: int
    file: SnapshotFile | None = None


class SourceFileState(Value):
    """A source file as it is now: its size, its identity as InputFile has it, and how the engine opens it."""

    bytes: int
    identity: str
    opened_as: OpenedFile


class SourceListing(Value):
    """The files of a source table now, by path, and the digest of their identities: `listing` of InputFiles.

    `is_settled` says whether a further change of any file would give another digest.
    """

    digest: str
    files: Mapping[str, SourceFileState]
    is_settled: bool


class QueryResult(Value):
    """The result of a query: sizes as its writer counted them, columns as readers see them and as the files hold them.

    `rejected` are the rows that the query left out; `files`, `rows` and `bytes` do not include them. `sources` are the
    files that it read, by the name of the source table. `deterministic` says that the query gives the same rows again
    for the same inputs. `content` and `previous_content` are the digests of the result's rows and of those of the
    version before, None where they were not compared. `checks` are the results of the checks of the plan; `samples` the
    files that hold some of the rows that they failed on.
    """

    files: tuple[SnapshotFile, ...]
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    engine_version: str
    rejected: tuple[LeftOutRows, ...] = ()
    sources: Mapping[str, InputFiles] = {}
    deterministic: bool = False
    content: str | None = None
    previous_content: str | None = None
    checks: tuple[CheckResult, ...] = ()
    samples: tuple[SnapshotFile, ...] = ()

    @property
    def beside(self) -> tuple[SnapshotFile, ...]:
        """The files beside those of the result: of rows left out, and of rows that checks have failed on."""
        return (*(one.file for one in self.rejected if one.file), *self.samples)


class ForeignResult(Value):
    """Facts about a result that another engine has written: its columns, as readers are to see them, and its rows.

    `engine_version` is that engine's. `deterministic` False: it may give other rows for the same inputs.
    """

    columns: tuple[Column, ...]
    rows: int
    engine_version: str
    deterministic: bool = True


class ClusterStatement(Value):
    """A view's statement as a cluster runs it. `columns` are those of its result, as readers see them."""

    sql: str
    columns: tuple[Column, ...]


class StudiedQuery(Value):
    """A statement that a view may have: `sql` without its semicolon, and the names that it reads.

    `references` are as the method of that name has them. `digest` is of its syntax tree: the same for two statements
    that differ in spaces, comments or spelling only.
    """

    sql: str
    references: tuple[str, ...]
    digest: str


class QueryAnalyzer(Protocol):
    """Analyses SQL and source files, without running the SQL. The API uses this.

    Every call counts for a project, so that no project can starve another. A call raises TooManyRequests if too many
    calls of that project are in progress, and Transient if calls of other projects kept it waiting for too long.
    """

    async def references(self, sql: str, *, project_id: int) -> tuple[str, ...]:
        """The names of all tables and views that a statement reads, dotted, in order of appearance, each once.

        Raises InvalidQuery, with the engine's message, unless `sql` is exactly one statement that only reads and uses
        only functions that a view may use.
        """

    async def study_each(self, statements: Sequence[str], *, project_id: int) -> list[StudiedQuery | InvalidQuery]:
        """Study the text of each statement, without binding it. The error of one is in its place.

        Raises InvalidQuery if all of them take too long.
        """

    async def find_name(self, sql: str, name: str, *, project_id: int) -> Position | None:
        """The place where `sql` first reads the table or view of that name. Raises InvalidQuery."""

    async def weigh(self, sql: str, views: Mapping[str, str], *, project_id: int) -> int:
        """The number of times that `sql` reads tables and views once `views` (name to SQL) are inlined into it.

        The views must not read one another in a cycle. Raises InvalidQuery as `references` does.
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
    ) -> list[tuple[Column, ...] | InvalidQuery]:
        """The columns of each of several views (name, statement, previous columns), as `describe` returns them.

        Each may read `tables` and the views before it. The error of a view that does not bind is in its place; later
        views then see its previous columns. Raises InvalidQuery if all of them take too long, EngineCrashed if one
        ended the process.
        """

    async def lineage(self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int) -> QueryLineage:
        """Which columns of tables of these names (dotted) and columns each column of `sql` is computed from.

        A column of whose sources something is not known says so. Raises InvalidQuery as `describe` does, or
        EngineCrashed if the analysis ended the process.
        """

    async def inspect_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
        *,
        credential: Credential | None = None,
        project_id: int,
    ) -> DescribedSource:
        """The columns of the files that match: those in `stated` as given there, the others with detected types.

        With them, the number and size of the files, and which of them have other columns. Remote files are read with
        the `credential`.

        Raises InvalidSource if no file matches, if the files cannot be read, or if they do not fit `stated`.
        """


class ClusterAnalyzer(Protocol):
    """Analyses statements for a cluster. The API uses this."""

    def require(self, project_id: int) -> None:
        """Raise InvalidQuery unless the operator has a cluster for the project."""

    async def study_each(self, statements: Sequence[str], *, project_id: int) -> list[StudiedQuery | InvalidQuery]:
        """Study texts in the cluster's own dialect, as QueryAnalyzer does those of DuckDB's."""

    async def analyze(
        self,
        text: QueryText,
        tables: Mapping[str, Sequence[Column]],
        columns: Sequence[Column] | None,
        *,
        project_id: int,
    ) -> ClusterStatement:
        """The statement for a text over tables of these names and columns. The cluster binds it, and reads no data.

        `columns` are those that DuckDB has found for a text of its dialect; None for one of the cluster's own. Raises
        InvalidQuery that names what the cluster has no equal for, or ClusterUnavailable.
        """


class ClusterProbe(Protocol):
    """Tries a cluster. `matview doctor` uses this. Each call raises ClusterUnavailable or QueryFailed."""

    async def version(self) -> str:
        """The version that the cluster says it has."""

    async def write(self, target: WriteTarget) -> None:
        """Have the cluster write one row as the result of a run, whose file is then in the folder of `target`."""

    async def read(self, name: str) -> int:
        """The number of rows that the cluster finds in a sealed file, by the path or name that DuckDB opens it by."""


class QueryRunner(Protocol):
    """Runs queries of plans. No query affects another one that runs at the same time. The worker uses this."""

    async def write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """Run the plan's query, and write its result as Parquet files into `target`.

        `file_url(location, file name)` gives the path or URL of an input snapshot's file. `on_progress` is called a few
        times a second, also while the query waits for memory. That wait does not count as time of the query. Cancelling
        the awaiting task kills the query. When this raises, the query's process has ended and the files are removed.

        Raises QueryFailed, QueryRefused, QueryTimedOut, OutOfMemory, OutputTooLarge or InputMissing if the view or its
        data is at fault. Raises InputReplaced if a source file changed while it was read. Raises EngineCrashed,
        StoreUnavailable or WorkerBusy for any other reason.
        """


class TableChecker(Protocol):
    """Makes the checks of source tables. The worker uses this."""

    async def check(
        self, plan: TableCheckPlan, folder: str | None, file_url: Callable[[str, str], str]
    ) -> tuple[CheckResult, ...]:
        """The result of each check of the plan. `folder` is below which the project's snapshots are, if it has any.

        Raises the errors of `QueryRunner.write` if the files cannot be read.
        """


class QueryAndCheckRunner(QueryRunner, TableChecker, Protocol):
    """Both that a worker needs of an engine."""


class RowDigester(Protocol):
    """Computes digests of rows. The worker uses this for copies of tables of databases."""

    async def digest_rows(self, path: Path, columns: Sequence[str], *, project_id: int) -> str:
        """The digest of the rows of a Parquet file on this machine's disk, in any order, which has these columns.

        Raises QueryFailed if the file holds what cannot be read.
        """


class SourceLister(Protocol):
    """Looks at the files of source tables, without reading rows of them. The worker uses this."""

    async def list(self, project_id: int, table: SourceRelation) -> SourceListing:
        """The files of a source table and their state. Raises InputMissing if there is none that may be read."""

    def listing_of(self, files: Sequence[RemoteObject]) -> SourceListing:
        """The listing that `list` would return for these remote files."""

    async def digests(self, project_id: int, table: SourceRelation, paths: Collection[str]) -> Mapping[str, str]:
        """The digests of the bytes of these files, by path, as InputFile has them. Files that are gone are missing.

        Raises InputMissing if that takes too long.
        """


class ReadSession(Protocol):
    """A slot in which a project analyses a statement and then reads its result."""

    async def references(self, sql: str, parameters: Collection[str]) -> tuple[str, ...]:
        """The names that `sql` reads, as `QueryAnalyzer.references` returns them; it may have these parameters."""

    async def find_name(self, sql: str, name: str, parameters: Collection[str]) -> Position | None:
        """The place where `sql` first reads the table or view of that name; it may have these parameters."""

    def read(self, plan: ReadPlan, file_url: Callable[[str, str], str]) -> AbstractAsyncContextManager[ResultStream]:
        """Run the plan's query while the context lasts. Leaving it ends the query.

        Entering waits until the result has begun, and raises what went wrong until then: the errors of
        `QueryRunner.write`, or InvalidQuery.
        """

    def diff(self, plan: DiffPlan, file_url: Callable[[str, str], str]) -> AbstractAsyncContextManager[ResultStream]:
        """Compare the two versions of a plan while the context lasts, as `read` runs a query.

        The result are members of a JSON object: all of a diff but what is known without reading rows.
        """

    async def stop(self) -> None:
        """End the process of the session now. A call that waits for it raises EngineCrashed."""


class QueryReader(Protocol):
    """Runs queries whose results clients read. The API uses this."""

    def session(self, project_id: int, folder: str | None, limits: Limits) -> AbstractAsyncContextManager[ReadSession]:
        """Wait for a slot of the project, and hold it. `folder` holds the snapshots of the project, if any.

        Raises TooManyRequests if the project holds its share and a slot does not become free in time, AnalyzerBusy if
        all slots are held by others for as long.
        """
