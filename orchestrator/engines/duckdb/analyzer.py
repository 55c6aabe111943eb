"""Analyses SQL and source files in child processes, as DuckDB reads them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.engines.attempts import shown_seconds
from orchestrator.engines.base import NO_PROJECT, StudiedQuery
from orchestrator.engines.duckdb.child_process import ProcessLimits
from orchestrator.engines.duckdb.process_pool import ProcessPool
from orchestrator.engines.duckdb.protocol import (
    decode_columns,
    decode_lineage,
    encode_columns,
    parse_described,
    parse_position,
    parse_result,
)
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.model.column_lineage import QueryLineage
from orchestrator.model.database_tables import DatabaseServers, DatabaseTable
from orchestrator.model.errors import EngineCrashed, InvalidQuery, InvalidSource, OrchestratorError, SourceUnavailable
from orchestrator.model.file_patterns import is_database_pattern, is_remote_pattern
from orchestrator.model.limits import Limits
from orchestrator.model.names import fold
from orchestrator.model.position import Position
from orchestrator.model.remote_files import RemoteFile
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import (
    AS_USUAL,
    DATABASE_FORMATS,
    Credential,
    DescribedSource,
    ReadOptions,
    SourceFormat,
)

logger = logging.getLogger(__name__)

ANALYSIS_SECONDS = 10.0
# Parsing takes milliseconds. A text that takes longer than this was written to be slow.
_PARSING_SECONDS = 5.0
# Processes for each kind of request, one more than a project may hold at a time: describing binds a query or reads
# files, which may take long.
_PARSERS = 2
_BINDERS = 3
_SOURCE_READERS = 3
# A server far away takes longer than a disk.
_REMOTE_SECONDS = 60.0
_TRANSLATORS = 2
_DIGESTERS, _DIGEST_SECONDS = 3, 24 * 3600.0
# Limits of processes that only analyse a query or files, independent of the limits of a run: a statement can request
# any amount of memory while it is bound. In MiB, for DuckDB and for the whole process beyond its stack.
_BINDER_MEMORY, _BINDER_SPACE = 256, 512
# DuckDB reserves up to 50 MiB of address space for each JSON file that it analyses, and does not use most of it.
_READER_MEMORY, _READER_SPACE = 512, 6144
_READER_THREADS = 4
_MIB = 1 << 20


class DuckDBAnalyzer:
    """Analyses SQL and source files in pools of a few processes, which belong to no project. A QueryAnalyzer.

    `source_lister` says where source files may lie. `limits` are those of a query of a run: an analysis gets no more.
    An analysis may take `seconds`. `databases` reads tables of databases; without it none are read.
    """

    def __init__(
        self,
        source_lister: SourceFileLister,
        *,
        limits: Limits,
        seconds: float = ANALYSIS_SECONDS,
        databases: DatabaseServers | None = None,
    ) -> None:
        self._source_lister = source_lister
        self._databases = databases
        self._limits = limits
        process_limits = ProcessLimits(address_space=_BINDER_SPACE * _MIB, file_size=0)
        # A pool of its own: parsing takes milliseconds, and must not wait for queries that are being described.
        self._parser_pool = ProcessPool(
            size=_PARSERS, process_limits=process_limits, seconds=min(_PARSING_SECONDS, seconds)
        )
        self._binder_pool = ProcessPool(size=_BINDERS, process_limits=process_limits, seconds=seconds)
        # The translator is loaded before a process is confined, so no other request may come first.
        self._translator_pool = ProcessPool(size=_TRANSLATORS, process_limits=process_limits, seconds=seconds)
        process_limits = ProcessLimits(address_space=_READER_SPACE * _MIB, file_size=0)
        self._source_pool, self._remote_pool = (
            ProcessPool(size=_SOURCE_READERS, process_limits=process_limits, seconds=within, reuse=False)
            for within in (seconds, _REMOTE_SECONDS)
        )
        # The copy that asks for a digest has a time limit of its own.
        self._digest_pool = ProcessPool(
            size=_DIGESTERS, process_limits=process_limits, seconds=_DIGEST_SECONDS, reuse=False
        )

    async def start(self) -> None:
        """Start the fork server of this program's child processes, and log the layers that isolate a query."""
        logger.info("queries are kept apart by: %s", ", ".join(await self.layers()))

    async def close(self) -> None:
        """End every process of the pools. Calls that wait for one fail with EngineCrashed."""
        await self._parser_pool.close()
        await self._binder_pool.close()
        await self._translator_pool.close()
        await self._source_pool.close()
        await self._remote_pool.close()
        await self._digest_pool.close()

    async def layers(self) -> list[str]:
        """The layers that isolate a query, as far as this machine supports them."""
        too_slow = EngineCrashed("The process that reads queries does not start.")
        layers: list[str] = await self._analyse(self._source_pool, NO_PROJECT, {"job": "layers"}, too_slow)
        return layers

    async def references(self, sql: str, *, project_id: int = NO_PROJECT) -> tuple[str, ...]:
        """See QueryAnalyzer."""
        request = {"job": "references", "sql": sql}
        return tuple(await self._analyse(self._parser_pool, project_id, request, _too_complex(self._parser_pool)))

    async def study_each(
        self, statements: Sequence[str], *, project_id: int = NO_PROJECT
    ) -> list[StudiedQuery | InvalidQuery]:
        """See QueryAnalyzer."""
        request = {"job": "study_each", "statements": list(statements)}
        found = await self._analyse(self._parser_pool, project_id, request, _too_complex(self._parser_pool))
        return [_invalid(one) if "error" in one else StudiedQuery(**one) for one in found]

    async def find_name(self, sql: str, name: str, *, project_id: int = NO_PROJECT) -> Position | None:
        """See QueryAnalyzer."""
        request = {"job": "find_name", "sql": sql, "name": name}
        too_slow = _too_complex(self._parser_pool)
        return parse_position(await self._analyse(self._parser_pool, project_id, request, too_slow))

    async def weigh(self, sql: str, views: Mapping[str, str], *, project_id: int = NO_PROJECT) -> int:
        """See QueryAnalyzer."""
        request = {"job": "weigh", "sql": sql, "views": dict(views)}
        return int(await self._analyse(self._parser_pool, project_id, request, _too_complex(self._parser_pool)))

    async def describe(
        self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int = NO_PROJECT
    ) -> tuple[Column, ...]:
        """See QueryAnalyzer."""
        request = {
            "job": "describe",
            "sql": sql,
            "tables": {name: encode_columns(kinds) for name, kinds in tables.items()},
        }
        return decode_columns(
            await self._analyse(self._binder_pool, project_id, request, _too_complex(self._binder_pool))
        )

    async def describe_each(
        self,
        views: Sequence[tuple[str, str, Sequence[Column]]],
        tables: Mapping[str, Sequence[Column]],
        *,
        project_id: int = NO_PROJECT,
    ) -> list[tuple[Column, ...] | InvalidQuery]:
        """See QueryAnalyzer."""
        request = {
            "job": "describe_each",
            "views": [(name, sql, encode_columns(columns)) for name, sql, columns in views],
            "tables": {name: encode_columns(kinds) for name, kinds in tables.items()},
        }
        found = await self._analyse(self._binder_pool, project_id, request, _too_complex(self._binder_pool))
        return [_invalid(one) if isinstance(one, dict) else decode_columns(one) for one in found]

    async def lineage(
        self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int = NO_PROJECT
    ) -> QueryLineage:
        """See QueryAnalyzer."""
        request = {
            "job": "lineage",
            "sql": sql,
            "tables": {name: encode_columns(kinds) for name, kinds in tables.items()},
        }
        found = await self._analyse(self._binder_pool, project_id, request, _too_complex(self._binder_pool))
        return decode_lineage(found, tables)

    async def translate(self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int) -> str:
        """The statement in Spark's dialect, over tables that have the names of a session there. Raises InvalidQuery."""
        tables_encoded = {name: encode_columns(kinds) for name, kinds in tables.items()}
        request = {"job": "translate", "sql": sql, "tables": tables_encoded}
        return str(await self._analyse(self._translator_pool, project_id, request, _too_complex(self._translator_pool)))

    async def study_spark(self, statements: Sequence[str], *, project_id: int) -> list[StudiedQuery | InvalidQuery]:
        """Study statements in Spark's own dialect, as `study_each` does those of DuckDB's."""
        request = {"job": "study_spark", "statements": list(statements)}
        found = await self._analyse(self._translator_pool, project_id, request, _too_complex(self._translator_pool))
        return [_invalid(one) if "error" in one else StudiedQuery(**one) for one in found]

    async def rewrite_spark(self, sql: str, names: Iterable[str], *, project_id: int) -> tuple[str, bool]:
        """A statement in Spark's own dialect over the tables of a session, and whether it is deterministic."""
        request = {"job": "rewrite_spark", "sql": sql, "names": list(names)}
        text, deterministic = await self._analyse(
            self._translator_pool, project_id, request, _too_complex(self._translator_pool)
        )
        return str(text), bool(deterministic)

    async def describe_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
        *,
        project_id: int = NO_PROJECT,
    ) -> tuple[Column, ...]:
        """The columns of `inspect_source` alone."""
        found = await self.inspect_source(url_pattern, source_format, options, stated, project_id=project_id)
        return found.columns

    async def inspect_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
        *,
        credential: Credential | None = None,
        project_id: int = NO_PROJECT,
    ) -> DescribedSource:
        """See QueryAnalyzer."""
        if is_database_pattern(url_pattern) or source_format in DATABASE_FORMATS:
            table = DatabaseTable(url_pattern, source_format, credential)
            return await self._describe_table(table, stated, project_id)
        request: dict[str, Any] = {
            "job": "describe_source",
            "url_pattern": url_pattern,
            "format": source_format.value,
            "options": options.model_dump(mode="json"),
            "stated": encode_columns(stated),
        }
        pool = self._remote_pool if is_remote_pattern(url_pattern) else self._source_pool
        limit = shown_seconds(pool.seconds)
        too_slow = InvalidSource(f"{url_pattern} could not be read within {limit}.", attr="url_pattern")
        granted: dict[str, RemoteFile] | None = None
        if is_remote_pattern(url_pattern):
            try:
                files, granted = await self._source_lister.find_remote(url_pattern, credential)
            except SourceUnavailable as error:
                raise InvalidSource(error.message, attr="url_pattern") from None
            request |= {"files": files, "remote": {name: file.size for name, file in granted.items()}}
        else:
            request |= self._source_lister.allowed
        return parse_described(await self._analyse(pool, project_id, request, too_slow, granted))

    async def digest_rows(self, path: Path, columns: Sequence[str], *, project_id: int) -> str:
        """See RowDigester."""
        request = {"job": "digest_rows", "path": str(path), "columns": [*columns]}
        too_slow = EngineCrashed("The digest of a copy could not be computed in time.")
        return str(await self._analyse(self._digest_pool, project_id, request, too_slow))

    async def _describe_table(self, table: DatabaseTable, stated: Sequence[Column], project_id: int) -> DescribedSource:
        """The columns of a table of a database, those whose types are stated with these."""
        if self._databases is None:
            raise InvalidSource(
                "This installation reads no databases: its operator has to install matview[databases].",
                attr="url_pattern",
            )
        try:
            found = await self._databases.describe(table)
        except SourceUnavailable as error:
            raise InvalidSource(error.message, attr="url_pattern") from None
        types = {fold(one.name): one.duckdb_type for one in stated}
        unknown = next((one.name for one in stated if fold(one.name) not in {fold(own.name) for own in found}), None)
        if unknown is not None:
            raise InvalidSource(f'The table has no column "{unknown}", whose type is stated.', attr="columns")
        columns = [Column(name=one.name, duckdb_type=types.get(fold(one.name), one.duckdb_type)) for one in found]
        try:
            bound = await self.describe("SELECT * FROM stated", {"stated": columns}, project_id=project_id)
        except InvalidQuery as error:
            raise InvalidSource(error.message, attr="columns") from None
        return DescribedSource(columns=bound, file_count=0, bytes=0)

    async def _analyse(
        self,
        pool: ProcessPool,
        project_id: int,
        request: dict[str, Any],
        too_slow: OrchestratorError,
        granted: Mapping[str, RemoteFile] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        memory, threads = (
            (_READER_MEMORY, _READER_THREADS)
            if pool in {self._source_pool, self._remote_pool, self._digest_pool}
            else (_BINDER_MEMORY, 1)
        )
        limits = {
            "memory_mb": min(memory, self._limits.memory_mb),
            "threads": min(threads, self._limits.threads),
        }
        # An analysis must not spill to disk.
        fenced = {**request, "limits": limits, "temp_directory": ""}
        return parse_result(*await pool.ask(project_id, fenced, too_slow, granted))


def _invalid(found: Mapping[str, Any]) -> InvalidQuery:
    return InvalidQuery(str(found["error"]), attr="query", position=parse_position(found["position"]))


def _too_complex(pool: ProcessPool) -> InvalidQuery:
    limit = shown_seconds(pool.seconds)
    return InvalidQuery(f"Invalid query: it is too complex to analyse within {limit}.", attr="query")
