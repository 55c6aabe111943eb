"""A DuckDB connection that can reach only the given files and folder, and the tables that a query finds in it."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import glob
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise

import duckdb

from orchestrator.engines.duckdb.sql.parquet_casts import literal, logical, quoted, typed_null
from orchestrator.model.names import fold
from orchestrator.model.remote_files import SCHEME

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    # The syntax tree of a cast to a nested type with an ENUM in it has no form in older versions.
    "storage_compatibility_version": "latest",
    # Until the session sets its own number: a database of one thread starts none beside the calling one.
    "threads": "1",
}
# Databases that no session uses yet: the first session takes one. See preopen_database.
_preopened: list[duckdb.DuckDBPyConnection] = []
# The schema of the relations under their full names. Only names in it are visible in it, so that no name that the
# program uses there can refer to a table of a project by mistake.
_DEFAULT = "memory.main"
_MAX_PARTS = 3
_ATTACHED = "attached "


def preopen_database() -> None:
    """Open a database for the first session of each process that is forked from this one.

    Opening a database takes longer than most queries. This one has no thread of its own until a session sets a number,
    so that it works after a fork. DuckDB's default database, opened when duckdb is loaded, has threads and is closed.
    """
    duckdb.default_connection().close()
    _preopened.append(duckdb.connect(":memory:", config=_CONFIG))


def _opened() -> duckdb.DuckDBPyConnection:
    if not _preopened:
        return duckdb.connect(":memory:", config=_CONFIG)
    # A new connection to the database: a connection gets the seed of its random numbers when it is opened, so that one
    # opened before the fork would give the same numbers in every process.
    return _preopened.pop().cursor()


def open_session(
    limits: Mapping[str, int],
    *,
    spill: str = "",
    files: Iterable[str] = (),
    folders: Sequence[str] = (),
    for_reader: bool = False,
    remote: bool = False,
) -> duckdb.DuckDBPyConnection:
    """A locked in-memory connection that can open `files`, all that is below `folders`, and nothing else.

    `limits` are those of the model. Data that does not fit into memory is spilled to the folder `spill`, if given.
    `for_reader` has rows without an ORDER BY come in the order of the files. That takes a third more time and twice the
    memory, so a run does without. It also keeps the footers of Parquet files for the next query. With `remote` it can
    open the remote files that are granted.
    """
    connection = _opened()
    if remote:
        from orchestrator.engines.duckdb.child.object_files import ObjectFiles  # noqa: PLC0415 - loads fsspec

        connection.register_filesystem(ObjectFiles())
    paths = [*files, *folders]
    below = [*(f"{folder}/" for folder in folders), *([SCHEME] if remote else [])]
    settings = [
        # With the byte of the statement where an error is. The text form shows the line, and of a view a wrong one.
        "errors_as_json = true",
        f"memory_limit = '{limits['memory_mb']}MiB'",
        f"threads = {limits['threads']}",
        f"temp_directory = {literal(spill)}",
        *([f"max_temp_directory_size = '{limits['temp_disk_mb']}MiB'"] if spill else []),
        "enable_progress_bar = true",
        "enable_progress_bar_print = false",
        # A cast from text to TIMESTAMPTZ must not depend on the time zone of the server.
        "TimeZone = 'UTC'",
        f"allowed_paths = {_literal_and_escaped(paths)}",
        f"allowed_directories = {_literal_and_escaped(below)}",
        f"preserve_insertion_order = {str(for_reader).lower()}",
        f"parquet_metadata_cache = {str(for_reader).lower()}",
        # A source file may be changed in place between two queries of a session; a snapshot's files never change.
        f"enable_external_file_cache = {str(for_reader).lower()}",
        # In this order: once external access is off, the two lists cannot be set.
        "enable_external_access = false",
        "lock_configuration = true",
    ]
    # In one call: each SET by itself takes a quarter of a millisecond.
    connection.execute("; ".join(f"SET {setting}" for setting in settings))
    return connection


class RelationBinder:
    """Creates relations such that a query finds the relation `a.b.c`, however the query quotes that name.

    DuckDB reads `a.b.c` as catalog, schema and table, but `"a.b".c` as two names. So a relation has its full name in
    the default schema, and an alias for each other way in which one of the `texts` may write it. Aliases of two and
    three parts are in an attached empty database that has the name of the first part. `collated` says that the texts,
    or the query of a relation, may use a collation.

    `created` holds what earlier binders created on the same connection, and takes what this one creates. A relation
    that is in it unchanged is not created again: to bind a view of files, DuckDB opens them.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, texts: Iterable[str], created: dict[str, str] | None = None
    ) -> None:
        self._connection = connection
        self._text = fold("\n".join(texts))
        self._created = {} if created is None else created
        self.collated = "collate" in self._text

    def create(self, name: str, select: str) -> None:
        """Create `name` as a view of `select`. It is bound here, in the default schema, which has the names in it."""
        self.create_plain(name, select)
        base = f"{_DEFAULT}.{quoted(name)}"
        for parts in self._qualified_spellings(name):
            catalog, table = parts[0], parts[-1]
            schema = parts[1] if len(parts) == _MAX_PARTS else "main"
            self._ensure_schema(catalog, schema)
            alias = ".".join(map(quoted, (catalog, schema, table)))
            self._create(alias, f"SELECT * FROM {base}", select)

    def create_plain(self, name: str, select: str) -> None:
        """Create `name` as a view of `select` under its full name only, which a query must quote."""
        self.collated = self.collated or "collate" in select.lower()
        self._create(f"{_DEFAULT}.{quoted(name)}", select, select)

    def statement(self, name: str) -> str:
        """The statement that created the relation of that full name."""
        base = f"{_DEFAULT}.{quoted(name)}"
        return _creation(base, self._created.get(fold(base), ""))

    def replace(self, name: str, select: str) -> None:
        """Replace the `select` of an existing name by another one with the same columns."""
        self._connection.execute(_creation(f"{_DEFAULT}.{quoted(name)}", select))

    def create_query(self, name: str, select: str) -> None:
        """Create `name` as a view of a query, with the types that a reader of its snapshot would see."""
        self.create(name, logical(self._connection, select, collated=self.collated).select)

    def _create(self, relation: str, select: str, source: str) -> None:
        """Create or replace a view, unless it is there with the same `source`."""
        key = fold(relation)  # to DuckDB, names that differ in case are one
        if self._created.get(key) == source:
            return
        if key in self._created:
            # Views that read it are bound to its former columns. Each is created again before it is next used.
            for earlier in [key for key in self._created if not key.startswith(_ATTACHED)]:
                del self._created[earlier]
        self._connection.execute(_creation(relation, select))
        self._created[key] = source

    def create_empty(self, name: str, columns: Sequence[tuple[str, str]]) -> None:
        """Create `name` as a view of no rows with these columns (name and DuckDB type)."""
        self.create(name, empty_select(columns))

    def _qualified_spellings(self, name: str) -> Iterator[tuple[str, ...]]:
        """The ways to group the parts of a name into two or three that could occur in the texts.

        A group of several parts can only be written in quotes, so a search of the texts rules out most groupings.
        """
        parts = name.split(".")
        for count in range(2, min(len(parts), _MAX_PARTS) + 1):
            for cuts in combinations(range(1, len(parts)), count - 1):
                bounds = [0, *cuts, len(parts)]
                groups = tuple(".".join(parts[a:b]) for a, b in pairwise(bounds))
                if all("." not in g or self._is_quoted_somewhere(g) for g in groups):
                    yield groups

    def _is_quoted_somewhere(self, group: str) -> bool:
        folded = fold(group)
        return f'"{folded}"' in self._text or f"'{folded}'" in self._text

    def _ensure_schema(self, catalog: str, schema: str) -> None:
        attached = _ATTACHED + fold(catalog)
        if attached not in self._created:
            self._connection.execute(f"ATTACH ':memory:' AS {quoted(catalog)}")
            self._created[attached] = ""
        self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(catalog)}.{quoted(schema)}")


def _creation(relation: str, select: str) -> str:
    return f"CREATE OR REPLACE VIEW {relation} AS {select}"


def drops(created: Iterable[str]) -> list[str]:
    """The statements that drop all that RelationBinder has created."""
    return [
        f"DETACH {quoted(key.removeprefix(_ATTACHED))}" if key.startswith(_ATTACHED) else f"DROP VIEW {key}"
        for key in created
        # Views in an attached database go with it.
        if key.startswith((_ATTACHED, f"{_DEFAULT}."))
    ]


def _literal_and_escaped(paths: Iterable[str]) -> str:
    """The paths as an SQL list, each literally and escaped as a pattern: DuckDB checks for both when it reads."""
    return f"[{', '.join(map(literal, dict.fromkeys(p for path in paths for p in (path, glob.escape(path)))))}]"


def empty_select(columns: Sequence[tuple[str, str]]) -> str:
    """A SELECT of no rows that has these columns (name and DuckDB type)."""
    nulls = ", ".join(f"{typed_null(kind)} AS {quoted(name)}" for name, kind in columns)
    return f"SELECT {nulls} LIMIT 0"


def rows_select(columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> str:
    """A SELECT of these rows, whose columns have these names and DuckDB types."""
    # As JSON in one text: DuckDB's parser takes a hundred times as long for a VALUES clause of as many rows.
    values = literal(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
    shape = literal(json.dumps([columns]))
    return (
        f"SELECT unnest(from_json_strict({values}, {shape}), max_depth := 2)"
        if rows
        else empty_select([*columns.items()])
    )


def described(connection: duckdb.DuckDBPyConnection, select: str) -> list[tuple[str, str]]:
    """The name and the DuckDB type of each column of `select`, which is only bound: DESCRIBE is a query of its own."""
    relation = connection.sql(select)
    return [(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]
