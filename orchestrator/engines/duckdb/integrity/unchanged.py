"""The source files of a query, while it reads them: all are whole, and none changes.

Each is read to its end by threads of ours beside DuckDB's, which costs a query little that waits for a file to be
unpacked anyway. What DuckDB gave is an answer only once they are done and have found nothing.
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

from orchestrator.engines.duckdb.integrity.whole_files import PARQUET, Stopped, check_whole, digest_of_footer, is_packed
from orchestrator.engines.duckdb.sources.contract import UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.model.errors import InputReplaced

_STACK_BYTES = 1 << 20
# A file whose time lies so little back may change once more without another time: the kernel's clock has ticks.
_TICK_SECONDS = 0.02
_PATIENCE = 3
# Of Parquet a query often reads a small part, so that reading all of it would take longer than the query.
_PARQUET_BYTES = 256 << 20
# Of the lists of files, which the parent has to read: those of fifty thousand files or so.
_TOLD_CHARACTERS = 8 << 20
_SECONDS_TO_BLAME = 10.0
# What the system says went wrong: DuckDB quotes it, and says nothing of the kind when it chokes on bytes.
_OF_THE_SYSTEM = tuple(os.strerror(code) for code in errno.errorcode)
_OF_THE_DISK = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_OF_THE_QUERY = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.OutOfMemoryException,
    duckdb.ParserException,
    duckdb.PermissionException,
)
# Of these classes are DuckDB's errors both of the disk and of what its decoders do not like.
_UNSURE = (duckdb.Error, duckdb.IOException)


class TableFiles(NamedTuple):
    """The files of a source table, and the digests of some Parquet files that are known already: see Told."""

    table: str
    format: str
    files: Sequence[SourceFile]
    known: Mapping[str, str] = {}


class FileReport(NamedTuple):
    """What a table consisted of: how many files and bytes, the digest of the list of them, and the list.

    A file is told by its path, bytes, time in nanoseconds and digest. The list holds the first ones, as many as fit.
    `known` has the digests of whole Parquet files by what identifies each as long as it does not change.
    """

    file_count: int
    bytes: int
    digest: str
    files: list[tuple[str, int, int, str | None]]
    known: dict[str, str]


class Seen(NamedTuple):
    """What says whether a file was changed: which one it is, its size and its time."""

    device: int
    inode: int
    size: int
    modified_ns: int


class _Check(NamedTuple):
    sources: TableFiles
    file: SourceFile
    seen: Seen | None
    digest: Future[str | None]


class Reading:
    """Checks the files of all `tables` while its context lasts, in so many threads.

    Its end turns an error of DuckDB into what is wrong with a file, if something is.
    """

    def __init__(self, tables: Sequence[TableFiles], threads: int) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._stopped = False
        self._over = threading.Event()
        # What is wrong with the first file with which something is, and what the file was before.
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
        """End what this connection does as soon as a file is found that is not whole."""
        self._connection = connection

    def finish(self) -> dict[str, FileReport]:
        """Wait for all files, and return what each table consisted of.

        Raises Unreadable for one that is not whole, InputReplaced for one that was changed since the beginning.
        """
        self._wait(self._checks)
        for check in self._checks:
            if _seen(check.file) != check.seen:
                raise _changed(check.sources.table, check.file)
        return _told(self._checks)

    def finish_within(self, seconds: float) -> None:
        """Wait for the files that are read to their end in so many seconds. Raises Unreadable for one of those."""
        until = time.monotonic() + seconds
        with suppress(TimeoutError):
            self._wait(self._checks, lambda: max(0.0, until - time.monotonic()))
        self._raise_wrong()

    def _started(self, tables: Sequence[TableFiles]) -> Iterator[_Check]:
        budget = _PARQUET_BYTES
        for sources in tables:
            for file in sources.files:
                seen = _settled(sources.table, file)
                known = sources.known.get(_key(seen)) if seen else None
                whole = sources.format != PARQUET
                if seen and not whole and not known and seen.size <= budget:
                    budget, whole = budget - seen.size, True
                digest = _given(known) if known else self._pool.submit(self._look, sources, file, seen, whole)
                yield _Check(sources, file, seen, digest)

    def _look(self, sources: TableFiles, file: SourceFile, seen: Seen | None, whole: bool) -> str | None:
        try:
            return check_whole(file, sources.format, lambda: self._stopped) if whole else digest_of_footer(file)
        except Stopped:
            return None
        except Exception as error:
            error.add_note(f'Reading "{sources.table}":')
            self._wrong = self._wrong or (error, sources.table, file, seen)
            # Others may be handed in still: they end at once.
            self._stopped = True
            with _small_stacks():
                threading.Thread(target=self._interrupt, daemon=True).start()
            raise

    def _interrupt(self) -> None:
        """End what DuckDB does, and what it begins then: an interrupt that comes between two statements is lost."""
        while not self._over.wait(_TICK_SECONDS):
            if self._connection:
                with suppress(duckdb.Error):  # it was closed
                    self._connection.interrupt()

    def _wait(self, checks: Sequence[_Check], patience: Callable[[], float | None] = lambda: None) -> None:
        """Wait for these files. Raises what is wrong with the first one found, which need not be one of them.

        Raises TimeoutError as soon as one of them takes longer than `patience` allows then.
        """
        for check in checks:
            check.digest.exception(patience())
        self._raise_wrong()

    def _raise_wrong(self) -> None:
        if self._wrong:
            error, table, file, seen = self._wrong
            raise _changed(table, file) if _seen(file) not in {seen, None} else error

    def _explain(self, error: Exception) -> None:
        """Raise what is wrong with a file, if that may be why this was raised."""
        text = str(error)
        named = [check for check in self._checks if check.file.real in text]
        checks = named or self._checks
        self._wait(checks)
        for check in checks:
            if _seen(check.file) not in {check.seen, None}:
                raise _changed(check.sources.table, check.file) from None
        if type(error) in _UNSURE and not any(words in text for words in _OF_THE_SYSTEM):
            self._blame(named, text)

    def _blame(self, named: Sequence[_Check], text: str) -> None:
        """Raise that DuckDB chokes on the bytes of a file, and of which one, unless it read nothing of the kind."""
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
        """The first of these files that DuckDB cannot read by itself, as far as there is time to look."""
        until = time.monotonic() + _SECONDS_TO_BLAME
        for check in checks:
            if check.sources.format != PARQUET or self._connection is None or time.monotonic() > until:
                return None
            # Of a count, DuckDB knows the answer without looking at a value.
            columns = f"SELECT max(hash(COLUMNS(*))) FROM ({read_parquet([check.file.real])})"  # noqa: S608 - quoted there
            try:
                self._connection.cursor().execute(columns)
            except duckdb.Error:
                return check
        return None


@contextmanager
def _small_stacks() -> Iterator[None]:
    """Start threads with no more stack than they need: the others of the process are made for deep recursions."""
    before = threading.stack_size(_STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)


def _may_be_of_a_file(error: Exception) -> bool:
    """Whether what a file holds may be the reason: not if the statement or a limit is."""
    return not isinstance(error, _OF_THE_QUERY) and not any(words in str(error) for words in _OF_THE_DISK)


def _seen(file: SourceFile) -> Seen | None:
    """What the file is now; None if there is none."""
    try:
        status = os.stat(file.real)  # noqa: PTH116 - of thousands
    except OSError:
        return None
    return Seen(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _settled(table: str, file: SourceFile) -> Seen | None:
    """What the file is now, when any change that is still to come will give it another time."""
    seen = _seen(file)
    for _ in range(_PATIENCE):
        if seen is None or not 0 <= time.time_ns() - seen.modified_ns < _TICK_SECONDS * 1e9:
            break
        time.sleep(_TICK_SECONDS)
        seen = _seen(file)
    if seen and file.inode and (seen.device, seen.inode) != (file.device, file.inode):
        raise _changed(table, file)
    return seen


def _key(seen: Seen) -> str:
    return ":".join(map(str, seen))


def _given(digest: str) -> Future[str | None]:
    future: Future[str | None] = Future()
    future.set_result(digest)
    return future


def _changed(table: str, file: SourceFile) -> InputReplaced:
    return InputReplaced(f'A file of "{table}" was changed or replaced while it was read: {file.real}.')


def _told(checks: Sequence[_Check]) -> dict[str, FileReport]:
    """What each table consisted of: files, bytes, a digest of the list, and the list as far as it fits."""
    room, told = _TOLD_CHARACTERS, {}
    for table, of_table in groupby(checks, key=lambda check: check.sources.table):
        files, count, size, digest = [], 0, 0, xxhash.xxh3_128()
        known: dict[str, str] = {}
        for check in of_table:
            one = _file(check)
            path, file_bytes, _, file_digest = one
            digest.update(json.dumps([path, file_bytes, file_digest]).encode())
            count, size, room = count + 1, size + file_bytes, room - len(json.dumps(one))
            if room >= 0:
                files.append(one)
            if check.seen and check.sources.format == PARQUET and str(file_digest).startswith("xxh128:"):
                known[_key(check.seen)] = str(file_digest)
        told[table] = FileReport(count, size, f"xxh128:{digest.hexdigest()}", files, known)
    return told


def _file(check: _Check) -> tuple[str, int, int, str | None]:
    # Whatever bytes a name has: everything else takes Unicode only.
    path = os.fsencode(check.file.shown).decode("utf-8", "backslashreplace")
    seen = check.seen
    return path, seen.size if seen else 0, seen.modified_ns if seen else 0, check.digest.result()
