"""The files of a source table, which another program changes all the time while views read them.

Each file holds one content: a number that is used once (`rev`), on every row. The table's content is that of the file
with the highest number, so that a result of one content shows it, though several files are there. All contents have
as many rows and bytes as each other, so that no change is known by a size.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from chaos.checked_queries import SOURCE_ROWS, SOURCE_TABLE
from chaos.client import Api, Json
from chaos.history import History
from orchestrator.aio import uninterruptible

_MOST_FILES = 4
# Bursts, in which a source table is pinned again and again, and pauses, in which a refresh gets through.
_PAUSES = (0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0)
_EMPTY_SECONDS = 0.05
_Act = tuple[str, Callable[[Path], None]]
_COLUMNS = ("n", "size", "rev", "stamp")


class SourceFiles:
    """The files in a folder of their own. `last` is the content that the table has now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._contents: dict[Path, int] = {}
        self._made = 0
        self._names = 0
        self._changing = asyncio.Lock()

    @property
    def last(self) -> int:
        """The number of the newest content that is there."""
        return max(self._contents.values())

    async def register(self, api: Api) -> None:
        """Make a first file, and a source table of all that come to be in the folder."""
        self._add(None)
        body: Json = {
            "name": SOURCE_TABLE,
            "format": "CSV",
            "header": True,
            "url_pattern": str(self.folder / "*.csv"),
            "columns": [{"name": name, "type": "BIGINT"} for name in _COLUMNS],
        }
        answer = await api.call("POST", "/warehouse_tables/", body)
        if not answer.good:
            raise RuntimeError(f"the source table was not created: {answer.body}")

    async def change_on(self, history: History) -> None:
        """Change the files until the task is cancelled, which leaves them whole."""
        random = history.random("source files")
        while True:
            await asyncio.sleep(random.choice(_PAUSES))
            await self.change(history, random)

    async def change(self, history: History, random: Random, *, newest: bool = False) -> None:
        """Change a file in some way, or add or remove one. With `newest`, the table has another content then."""
        async with self._changing:
            name, act = random.choice(self._rewrites() if newest else self._acts())
            chosen = random.choice([*self._contents])
            history.note(None, f"source file {chosen.name}: {name}")
            history.counts[f"source files/{name}"] += 1
            await uninterruptible(asyncio.to_thread(act, chosen))

    def change_quietly(self) -> Iterator[str]:
        """Change the newest file again and again in ways that neither its size nor its time shows; yields each way."""
        for name, act in (("replaced", self._replace_quietly), ("written in place", self._overwrite_quietly)):
            act(self._newest())
            yield name

    def overwrite_newest(self) -> None:
        """Write the newest file in place."""
        self._overwrite(self._newest())

    def _rewrites(self) -> list[_Act]:
        return [
            ("replaced", self._replace),
            ("replaced by one of the same time", self._replace_quietly),
            ("written in place", self._overwrite),
            ("written in place, its time set back", self._overwrite_quietly),
            ("emptied and written", self._rewrite),
        ]

    def _acts(self) -> list[_Act]:
        acts: list[_Act] = [
            *self._rewrites(),
            ("touched", lambda path: path.touch()),
            ("replaced by its copy", self._copy),
        ]
        if len(self._contents) < _MOST_FILES:
            acts.append(("another one added", self._add))
        if len(self._contents) > 1:
            acts.append(("removed", self._remove))
        return acts

    def _add(self, _: Path | None) -> None:
        self._names += 1
        path = self.folder / f"{self._names}.csv"
        self._move_to(path, self._new())

    def _replace(self, path: Path) -> None:
        self._move_to(path, self._new())

    def _replace_quietly(self, path: Path) -> None:
        self._move_to(path, self._new(), like=path.stat())

    def _copy(self, path: Path) -> None:
        self._move_to(path, self._contents[path])

    def _overwrite(self, path: Path) -> None:
        rev = self._new()
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, _text(rev), 0)
        finally:
            os.close(descriptor)
        self._contents[path] = rev

    def _overwrite_quietly(self, path: Path) -> None:
        before = path.stat()
        self._overwrite(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _rewrite(self, path: Path) -> None:
        rev = self._new()
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            time.sleep(_EMPTY_SECONDS)
            os.write(descriptor, _text(rev))
        finally:
            os.close(descriptor)
        self._contents[path] = rev

    def _remove(self, path: Path) -> None:
        path.unlink()
        del self._contents[path]

    def _newest(self) -> Path:
        return max(self._contents, key=lambda path: self._contents[path])

    def _move_to(self, path: Path, rev: int, *, like: os.stat_result | None = None) -> None:
        """Give the file this content at once, and the time of modification of another one."""
        made = path.with_suffix(".new")
        made.write_bytes(_text(rev))
        if like is not None:
            os.utime(made, ns=(like.st_atime_ns, like.st_mtime_ns))
        made.replace(path)
        self._contents[path] = rev

    def _new(self) -> int:
        self._made += 1
        return self._made


def _text(rev: int) -> bytes:
    stamp = time.time_ns() // 1000
    rows = (f"{n:06},{SOURCE_ROWS:06},{rev:09},{stamp:016}\n" for n in range(SOURCE_ROWS))
    return "".join((",".join(_COLUMNS) + "\n", *rows)).encode()
