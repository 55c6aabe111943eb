"""Checks that the source files of a query are whole, and do not change while the query reads them.

Threads of this module read each text file to its end, and Parquet files up to `_PARQUET_BYTES` in all, beside DuckDB's
threads. Of further Parquet files they read the footer, or nothing if the digest is known. That costs
little if the query waits for the decompression of a file anyway. DuckDB's result is valid only once these threads have
ended without an error.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import NamedTuple, Self

import duckdb
import xxhash

from orchestrator.engines.duckdb.child.errors import plain_message
from orchestrator.engines.duckdb.child.object_access import failure_of_remote_files
from orchestrator.engines.duckdb.integrity.whole_files import PARQUET, Stopped, check_whole, digest_of_footer, is_packed
from orchestrator.engines.duckdb.sources.contract import UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import (
    ListedFile,
    SourceFile,
    is_settled_remotely,
    listing_digest,
    remote_identity,
    shown_path,
)
from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.model.errors import InputReplaced
from orchestrator.model.remote_files import is_remote

_STACK_BYTES = 1 << 20
# A file changed less than this ago may change again and keep its times: the kernel's clock has ticks.
_TICK_SECONDS = 0.02
_PATIENCE = 3
# The most bytes of Parquet files that are read to the end. A query often reads a small part of a Parquet file, and
# reading all of it would take longer than the query.
_PARQUET_BYTES = 256 << 20
# The most characters of all lists of files, which the parent process has to parse: some fifty thousand files.
_TOLD_CHARACTERS = 8 << 20
_SECONDS_TO_BLAME = 10.0
# Error texts of the operating system. DuckDB quotes one if a system call fails, and none if it cannot decode bytes.
_OF_THE_SYSTEM = tuple(os.strerror(code) for code in errno.errorcode)
_OF_THE_DISK = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_OF_THE_QUERY = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.OutOfMemoryException,
    duckdb.ParserException,
    duckdb.PermissionException,
)
# DuckDB raises these classes both for errors of the disk and for bytes that it cannot decode.
_UNSURE = (duckdb.Error, duckdb.IOException)


class TableFiles(NamedTuple):
    """The files of a source table. `known` has digests of Parquet files from earlier runs, as FileReport has them."""

    table: str
    format: str
    files: Sequence[SourceFile]
    known: Mapping[str, str] = {}


class FileReport(NamedTuple):
    """The files of which a table consisted: their number, their bytes, two digests of their list, and the list.

    `digest` is of their paths, sizes and digests, `listing` of their paths and identities. `files` has the path, bytes,
    modification time in nanoseconds, digest and identity of the first files, as many as fit. The identity is empty if
    the file was changed so lately that a further change might not show. `known` has the digests of
    Parquet files that were read to the end, by a key that identifies each file until it changes.
    """

    file_count: int
    bytes: int
    digest: str
    listing: str
    files: list[tuple[str, int, int, str | None, str]]
    known: dict[str, str]


class Seen(NamedTuple):
    """The state of a file, by which a change is detected: its device and inode, size, and times in nanoseconds.

    The time of its last change of status is part of it: a program can set that of its content back.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The state that the status of a file shows."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class _Check(NamedTuple):
    sources: TableFiles
    file: SourceFile
    seen: Seen | None
    identity: str
    digest: Future[str | None]


class Reading:
    """Checks the files of all `tables` in `threads` threads, until its context ends.

    If DuckDB fails in the context and a file is the cause, the context raises an error about the file instead.
    """

    def __init__(self, tables: Sequence[TableFiles], threads: int) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._stopped = False
        self._over = threading.Event()
        # The first error of a check, with its table and file, and the state of the file before the check.
        self._wrong: tuple[Exception, str, SourceFile, Seen | None] | None = None
        self._pool = ThreadPoolExecutor(max_workers=threads)
        with _small_stacks():
            self._checks = [*self._started(tables)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._over.set()
        try:
            if isinstance(error, Exception):
                self._raise_wrong()
            if isinstance(error, (duckdb.Error, UnreadableFile, OSError)) and _may_be_of_a_file(error):
                self._explain(error)
        finally:
            self._stopped = True
            self._pool.shutdown(wait=False, cancel_futures=True)

    def watch(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Interrupt this connection as soon as a check fails."""
        self._connection = connection

    def finish(self) -> dict[str, FileReport]:
        """Wait for all checks, and return the report of each table.

        Raises UnreadableFile for a file that is not whole, and InputReplaced for one that changed after the checks
        began.
        """
        self._wait(self._checks)
        for check in self._checks:
            if _seen(check.file) != check.seen:
                raise _changed(check.sources.table, check.file)
        return _reports(self._checks)

    def finish_within(self, seconds: float) -> None:
        """Wait for the checks, but no longer than `seconds`. Raises UnreadableFile if one has failed by then."""
        until = time.monotonic() + seconds
        with suppress(TimeoutError):
            self._wait(self._checks, lambda: max(0.0, until - time.monotonic()))
        self._raise_wrong()

    def _started(self, tables: Sequence[TableFiles]) -> Iterator[_Check]:
        budget = _PARQUET_BYTES
        for sources in tables:
            for file in sources.files:
                seen = _settled(sources.table, file)
                known = _known_digest(sources, file, seen)
                whole = sources.format != PARQUET
                if seen and not whole and not known and seen.size <= budget:
                    budget, whole = budget - seen.size, True
                digest = _given(known) if known else self._pool.submit(self._look, sources, file, seen, whole)
                yield _Check(sources, file, seen, _identity(file, seen), digest)

    def _look(self, sources: TableFiles, file: SourceFile, seen: Seen | None, whole: bool) -> str | None:
        try:
            return check_whole(file, sources.format, lambda: self._stopped) if whole else digest_of_footer(file)
        except Stopped:
            return None
        except Exception as error:
            error.add_note(f'Reading "{sources.table}":')
            self._wrong = self._wrong or (error, sources.table, file, seen)
            # The constructor may still submit others: they end at once.
            self._stopped = True
            with _small_stacks():
                threading.Thread(target=self._interrupt, daemon=True).start()
            raise

    def _interrupt(self) -> None:
        """Interrupt DuckDB until the context ends, since an interrupt between two statements is lost."""
        while not self._over.wait(_TICK_SECONDS):
            if self._connection:
                with suppress(duckdb.Error):  # it was closed
                    self._connection.interrupt()

    def _wait(self, checks: Sequence[_Check], patience: Callable[[], float | None] = lambda: None) -> None:
        """Wait for these checks. Raises the first error found, which may be about a file of another check.

        Raises TimeoutError as soon as one of them takes longer than the seconds that `patience` then returns.
        """
        for check in checks:
            check.digest.exception(patience())
        self._raise_wrong()

    def _raise_wrong(self) -> None:
        if self._wrong:
            error, table, file, seen = self._wrong
            raise _changed(table, file) if _seen(file) not in {seen, None} else error

    def _explain(self, error: Exception) -> None:
        """Raise the error about a file that may be the cause of `error`, if there is one."""
        if failure_of_remote_files() is not None:
            return
        text = plain_message(error)
        named = [check for check in self._checks if check.file.real in text]
        checks = named or self._checks
        self._wait(checks)
        for check in checks:
            if _seen(check.file) not in {check.seen, None}:
                raise _changed(check.sources.table, check.file) from None
        if type(error) in _UNSURE and not any(words in text for words in _OF_THE_SYSTEM):
            self._blame(named, text)

    def _blame(self, named: Sequence[_Check], text: str) -> None:
        """Raise UnreadableFile for the file that DuckDB cannot decode, unless no file can be the cause."""
        read = named or [check for check in self._checks if is_packed(check.file, check.sources.format)]
        read = read or [check for check in self._checks if check.sources.format == PARQUET]
        if not read:
            return
        worst = read[0] if len(read) == 1 else self._choked_on(read)
        tables = " or ".join(f'"{name}"' for name in dict.fromkeys(check.sources.table for check in read))
        which = worst.file.real if worst else f"A file of {tables}"
        raise UnreadableFile(
            f"{which} is damaged, or of a kind that is not read: {text.partition(chr(10))[0]}"
        ) from None

    def _choked_on(self, checks: Sequence[_Check]) -> _Check | None:
        """The first of these Parquet files that DuckDB fails to read alone; None if none is found in time."""
        until = time.monotonic() + _SECONDS_TO_BLAME
        for check in checks:
            if check.sources.format != PARQUET or self._connection is None or time.monotonic() > until:
                return None
            # A count would prove nothing: DuckDB knows it without reading a value.
            columns = f"SELECT max(hash(COLUMNS(*))) FROM ({read_parquet([check.file.real])})"  # noqa: S608 - quoted there
            try:
                self._connection.cursor().execute(columns)
            except duckdb.Error:
                return check
        return None


@contextmanager
def _small_stacks() -> Iterator[None]:
    """Start threads with small stacks. The stacks of other threads of the process are large, for deep recursions."""
    before = threading.stack_size(_STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)


def _may_be_of_a_file(error: Exception) -> bool:
    """Whether the content of a file may be the cause of an error, and not the statement or a limit."""
    return not isinstance(error, _OF_THE_QUERY) and not any(words in plain_message(error) for words in _OF_THE_DISK)


def _seen(file: SourceFile) -> Seen | None:
    """The current state of the file; None if its status cannot be read."""
    if is_remote(file.real):  # each range is held to its version
        return Seen(0, 0, file.size, file.modified_ns, 0)
    try:
        return Seen.of(os.stat(file.real))  # noqa: PTH116 - of thousands
    except OSError:
        return None


def _settled(table: str, file: SourceFile) -> Seen | None:
    """The current state of the file, after a wait so that any later change gives it other times.

    Raises InputReplaced if it is no longer the file that was found.
    """
    seen = _seen(file)
    for _ in range(0 if is_remote(file.real) else _PATIENCE):
        if seen is None or not 0 <= time.time_ns() - max(seen.modified_ns, seen.changed_ns) < _TICK_SECONDS * 1e9:
            break
        time.sleep(_TICK_SECONDS)
        seen = _seen(file)
    if seen and file.inode and seen.inode != file.inode:
        raise _changed(table, file)
    return seen


def _known_digest(sources: TableFiles, file: SourceFile, seen: Seen | None) -> str | None:
    if is_remote(file.real):  # text is read to its end, to see that it is whole
        return file.version if sources.format == PARQUET else None
    return sources.known.get(_key(seen)) if seen else None


def _key(seen: Seen) -> str:
    return ":".join(map(str, seen))


def _given(digest: str) -> Future[str | None]:
    future: Future[str | None] = Future()
    future.set_result(digest)
    return future


def _changed(table: str, file: SourceFile) -> InputReplaced:
    return InputReplaced(f'A file of "{table}" was changed or replaced while it was read: {file.real}.')


def _reports(checks: Sequence[_Check]) -> dict[str, FileReport]:
    """The report of each table. All lists of files together have a limit of characters."""
    room, reports = _TOLD_CHARACTERS, {}
    for table, of_table in groupby(checks, key=lambda check: check.sources.table):
        files, count, size, digest = [], 0, 0, xxhash.xxh3_128()
        known: dict[str, str] = {}
        identities: list[tuple[str, str]] = []
        for check in of_table:
            one = _file(check)
            path, file_bytes, _, file_digest, file_identity = one
            identities.append((path, file_identity))
            digest.update(json.dumps([path, file_bytes, file_digest]).encode())
            count, size, room = count + 1, size + file_bytes, room - len(json.dumps(one))
            if room >= 0:
                files.append(one)
            # Without an identity, the file could change again and keep its key, and with it the digest of now.
            is_whole = check.sources.format == PARQUET and str(file_digest).startswith("xxh128:")
            if check.seen and file_identity and is_whole:
                known[_key(check.seen)] = str(file_digest)
        listing = listing_digest(identities)
        reports[table] = FileReport(count, size, f"xxh128:{digest.hexdigest()}", listing, files, known)
    return reports


def _file(check: _Check) -> tuple[str, int, int, str | None, str]:
    seen = check.seen or Seen(0, 0, 0, 0, 0)
    return shown_path(check.file), seen.size, seen.modified_ns, check.digest.result(), check.identity


def _identity(file: SourceFile, seen: Seen | None) -> str:
    if is_remote(file.real):
        return remote_identity(file) if is_settled_remotely(file) else ""
    try:
        status = os.stat(file.real)  # noqa: PTH116 - of thousands
    except OSError:
        return ""
    if seen != Seen.of(status):
        return ""
    found = SourceFile(file.shown, file.real, status.st_ino)
    listed = ListedFile(found, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return listed.identity if listed.is_settled else ""
