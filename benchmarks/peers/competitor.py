"""The interface of a competitor: how it materializes views, and how its results are read and checked."""

import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import duckdb

from benchmarks.peers.workloads import Workload

Digest = dict[str, tuple[int, ...]]
Relations = tuple[duckdb.DuckDBPyConnection, Callable[[str], str]]

_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL")  # parts of the names of types
_FILE = "results.duckdb"


class Competitor(ABC):
    """A program that materializes the views of a workload below a folder of its own.

    Args:
        workload: The views to materialize.
        folder: An empty folder.
        binaries: The folder of its executables; unused by those that need none.
    """

    title: str
    writes: str
    keeps_running = False  # whether it has servers, which users keep running between refreshes

    def __init__(self, workload: Workload, folder: Path, binaries: Path) -> None:
        self.workload = workload
        self.folder = folder
        self.binaries = binaries
        self.threads = os.cpu_count() or 1

    @abstractmethod
    def prepare(self) -> None:
        """Write the files that a user would keep in version control. Not measured."""

    def serving(self) -> AbstractAsyncContextManager[object]:
        """Run the servers that it needs to materialize anything. Their start is measured by `cold` alone."""
        return nullcontext()

    async def build(self) -> None:
        """Materialize everything for the first time. Not measured."""
        await self.refresh()

    @abstractmethod
    async def refresh(self) -> float:
        """Materialize everything; returns the seconds that it took. Raises PeerError, or an error of its own."""

    async def cold(self) -> float:
        """Start its servers and materialize everything; returns the seconds that both took."""
        began = time.perf_counter()
        async with self.serving():
            await self.refresh()
            return time.perf_counter() - began

    @abstractmethod
    def spoil(self) -> None:
        """Remove the results, so that older ones cannot be taken for those of the next refresh."""

    @abstractmethod
    def relations(self) -> AbstractContextManager[Relations]:
        """A connection, and a function that returns the SQL that reads the result of a view on it."""

    def digest(self) -> Digest:
        """The number of rows of each view, and a hash that does not depend on their order. Raises duckdb.Error.

        Numbers are compared as DOUBLE, since the sum of integers has a type that Parquet lacks.
        """
        with self.relations() as (connection, relation):
            return {view.name: _digest(connection, relation(view.name)) for view in self.workload.views}


class InParquet(Competitor):
    """A competitor that writes Parquet files, each named for its view or in a folder that is."""

    @property
    def output(self) -> Path:
        """The folder of the files."""
        return self.folder / "results"

    @property
    def pattern(self) -> str:
        """The pattern of a view's files, below `output`."""
        return "{view}.parquet"

    def spoil(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir(parents=True)

    def read(self, view: str) -> str:
        """The SQL that reads a view."""
        return f"read_parquet('{self.output}/{self.pattern.format(view=view)}')"

    @contextmanager
    def relations(self) -> Iterator[Relations]:
        """A connection to no database, which reads the files."""
        with duckdb.connect() as connection:
            yield connection, self.read


class InDatabase(Competitor):
    """A competitor that writes tables into a DuckDB file of its own."""

    table_schema: str
    view_schema: str

    @property
    def database(self) -> Path:
        """The path of the file."""
        return self.folder / _FILE

    def spoil(self) -> None:
        """Empty the tables. They are not dropped, since the competitor's own state says that they exist."""
        with duckdb.connect(self.database) as connection:
            sql = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ?"
            for (table,) in connection.execute(sql, [self.table_schema]).fetchall():
                connection.execute(f'DELETE FROM "{self.table_schema}"."{table}"')  # noqa: S608 - its own names

    @contextmanager
    def relations(self) -> Iterator[Relations]:
        """A read-only connection, which reads the tables or the views of them."""
        with duckdb.connect(self.database, read_only=True) as connection:
            yield connection, lambda view: f'"{self.view_schema}"."{view}"'


def _digest(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[int, ...]:
    columns = connection.execute(f"DESCRIBE FROM {relation}").fetchall()
    values = ", ".join(f'CAST("{name}" AS {"DOUBLE" if _is_number(kind) else "VARCHAR"})' for name, kind, *_ in columns)
    sql = f"SELECT count(*), sum(hash({values})) FROM {relation}"  # noqa: S608 - names that this program chose
    return connection.execute(sql).fetchone() or ()


def _is_number(kind: str) -> bool:
    return "[" not in kind and any(part in kind for part in _NUMBERS)
