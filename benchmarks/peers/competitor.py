"""What is measured of everybody, and how it is found out whether they did it."""

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
    """Somebody who materializes the views of a workload below a folder of their own.

    Args:
        workload: What to materialize.
        folder: An empty folder.
        binaries: Where the programs are; of no meaning to those who need none.
    """

    title: str
    writes: str
    keeps_running = False  # whether it has servers, which nobody would start for a refresh

    def __init__(self, workload: Workload, folder: Path, binaries: Path) -> None:
        self.workload = workload
        self.folder = folder
        self.binaries = binaries
        self.threads = os.cpu_count() or 1

    @abstractmethod
    def prepare(self) -> None:
        """Write whatever a user would keep of it in version control. Not measured."""

    def serving(self) -> AbstractAsyncContextManager[object]:
        """Whatever has to run before anything can be materialized. Measured by `cold` alone."""
        return nullcontext()

    async def build(self) -> None:
        """Materialize everything for the first time. Not measured."""
        await self.refresh()

    @abstractmethod
    async def refresh(self) -> float:
        """Materialize everything; the seconds that it took. Raises PeerError, or another error of who did it."""

    async def cold(self) -> float:
        """From nothing that runs until everything is materialized; the seconds that it took."""
        began = time.perf_counter()
        async with self.serving():
            await self.refresh()
            return time.perf_counter() - began

    @abstractmethod
    def spoil(self) -> None:
        """Take the results away, so that older ones cannot be taken for those of the next refresh."""

    @abstractmethod
    def relations(self) -> AbstractContextManager[Relations]:
        """A connection, and how SQL on it reads the result of a view."""

    def digest(self) -> Digest:
        """Of each view the number of rows, and a hash that knows no order.

        Numbers are compared as numbers: the sum of integers has a type that Parquet lacks. Raises duckdb.Error.
        """
        with self.relations() as (connection, relation):
            return {view.name: _digest(connection, relation(view.name)) for view in self.workload.views}


class InParquet(Competitor):
    """Whoever writes Parquet files, each named for its view or in a folder that is."""

    @property
    def output(self) -> Path:
        """Where the files are."""
        return self.folder / "results"

    @property
    def pattern(self) -> str:
        """Which files are those of a view."""
        return "{view}.parquet"

    def spoil(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir(parents=True)

    def read(self, view: str) -> str:
        """How SQL reads a view."""
        return f"read_parquet('{self.output}/{self.pattern.format(view=view)}')"

    @contextmanager
    def relations(self) -> Iterator[Relations]:
        """The files."""
        with duckdb.connect() as connection:
            yield connection, self.read


class InDatabase(Competitor):
    """Whoever writes tables into a DuckDB file of its own."""

    table_schema: str
    view_schema: str

    @property
    def database(self) -> Path:
        """The file."""
        return self.folder / _FILE

    def spoil(self) -> None:
        """Empty the tables: what it remembers of them would not be true if they were gone."""
        with duckdb.connect(self.database) as connection:
            sql = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ?"
            for (table,) in connection.execute(sql, [self.table_schema]).fetchall():
                connection.execute(f'DELETE FROM "{self.table_schema}"."{table}"')  # noqa: S608 - its own names

    @contextmanager
    def relations(self) -> Iterator[Relations]:
        """The tables, or views of them."""
        with duckdb.connect(self.database, read_only=True) as connection:
            yield connection, lambda view: f'"{self.view_schema}"."{view}"'


def _digest(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[int, ...]:
    columns = connection.execute(f"DESCRIBE FROM {relation}").fetchall()
    values = ", ".join(f'CAST("{name}" AS {"DOUBLE" if _is_number(kind) else "VARCHAR"})' for name, kind, *_ in columns)
    sql = f"SELECT count(*), sum(hash({values})) FROM {relation}"  # noqa: S608 - names that this program chose
    return connection.execute(sql).fetchone() or ()


def _is_number(kind: str) -> bool:
    return "[" not in kind and any(part in kind for part in _NUMBERS)
