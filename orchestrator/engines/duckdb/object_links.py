"""Serves a child process the bytes of remote files. The process itself has no network and no key to them.

A child's questions are not trusted, since a client's SQL runs in it: it gets only the files that its present query
reads.
"""

import asyncio
import contextlib
import json
import socket
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial

from orchestrator.engines.duckdb.object_wire import LENGTH, MOST_BYTES
from orchestrator.model.errors import OrchestratorError, StoreUnavailable
from orchestrator.model.remote_files import RemoteFile, RemoteFiles

_LONGEST_QUESTION = 4096
# The end of a file that is fetched at once, and how many are kept: 16 MiB for a process.
# The footer of a file of 6 million rows has some 100 kB.
_TAIL_BYTES = 256 << 10
_MOST_TAILS = 64


def granted_results(sizes: Mapping[str, int], files: RemoteFiles | None) -> dict[str, RemoteFile]:
    """Files of results, of which the sizes are given by URL. They are read by `files`, which has all of them."""
    return {} if files is None else {url: RemoteFile(size, partial(files.read, url)) for url, size in sizes.items()}


class _Tails:
    """The ends of the files that were read last, each fetched once.

    A query reads the footer of a Parquet file several times, each time the last bytes first. A file that is small is
    fetched with it: it takes one request instead of four.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, asyncio.Task[bytes]] = OrderedDict()

    async def read(self, name: str, file: RemoteFile, start: int, end: int) -> bytes:
        """The bytes of a file from `start` to before `end`."""
        begins = max(0, file.size - _TAIL_BYTES)
        if start < begins:
            return await _fetched(file, start, end)
        task = self._kept.get(name)
        if task is None:
            task = self._kept[name] = asyncio.ensure_future(_fetched(file, begins, file.size))
            if len(self._kept) > _MOST_TAILS:
                self._kept.popitem(last=False)
        try:
            # Another thread may wait for the same bytes.
            return (await asyncio.shield(task))[start - begins : end - begins]
        except OrchestratorError:
            self._kept.pop(name, None)
            raise

    def close(self) -> None:
        """Stop fetching."""
        for task in self._kept.values():
            task.cancel()


async def _fetched(file: RemoteFile, start: int, end: int) -> bytes:
    content = await file.read(start, end)
    if len(content) != end - start:
        raise StoreUnavailable("A file in the object store is shorter than it was.")
    return content


class ObjectLinks:
    """The parent's ends of `count` sockets to one child; `theirs` are the child's, which it inherits.

    `granted` has each file that the child may read now, by its name.
    """

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        self.theirs = [theirs for _, theirs in pairs]
        self.granted: Mapping[str, RemoteFile] = {}
        self._ours = [ours for ours, _ in pairs]
        self._serving: list[asyncio.Task[None]] = []
        self._tails = _Tails()
        for ours in self._ours:
            ours.setblocking(False)

    def grant(self, files: Mapping[str, RemoteFile]) -> None:
        """Let the child read these files from now on, and forget what was fetched before."""
        self._tails.close()
        self._tails = _Tails()
        self.granted = files

    def start(self) -> None:
        """Answer from now on. The child has its sockets."""
        for theirs in self.theirs:
            theirs.close()
        self._serving = [asyncio.create_task(self._serve(ours)) for ours in self._ours]

    async def close(self) -> None:
        """Stop answering."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._tails.close()
        for one in (*self._ours, *self.theirs):
            one.close()

    async def _serve(self, ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with ours, contextlib.suppress(OSError):
            while question := await _question(ours):
                try:
                    content = await self._read(question)
                    answer = LENGTH.pack(len(content)) + content
                except OrchestratorError as error:
                    said = json.dumps({"code": error.code, "message": error.message}).encode()
                    answer = LENGTH.pack(-len(said)) + said
                await loop.sock_sendall(ours, answer)

    async def _read(self, question: bytes) -> bytes:
        name, file, start, end = self._checked(question)
        return await self._tails.read(name, file, start, end)

    def _checked(self, question: bytes) -> tuple[str, RemoteFile, int, int]:
        """The file and the range of a question. Raises StoreUnavailable if the child may not ask it."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            name, start, end = json.loads(question)
            file = self.granted[name]
            if 0 <= start < end <= min(file.size, start + MOST_BYTES):
                return str(name), file, int(start), int(end)
        raise StoreUnavailable("The process that ran the query asked for what it was not given.")


async def _question(ours: socket.socket) -> bytes:
    """The next line without its end; nothing if the child has closed the socket, or if the line is too long."""
    loop, line = asyncio.get_running_loop(), b""
    while not line.endswith(b"\n"):
        chunk = await loop.sock_recv(ours, _LONGEST_QUESTION)
        if not chunk or len(line) + len(chunk) > _LONGEST_QUESTION:
            return b""
        line += chunk
    return line
