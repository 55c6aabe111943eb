"""The processes of a stack, from `/proc` of Linux."""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_FORKSERVER = b"multiprocessing.forkserver"
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class Processes:
    """All processes at one moment, each with its parent."""

    parents: dict[int, int]

    @classmethod
    def now(cls) -> "Processes":
        """The processes that exist now; none where there is no /proc."""
        found = {}
        if _PROC.exists():
            for entry in _PROC.iterdir():
                if entry.name.isdigit():
                    with suppress(*_GONE):
                        fields = (entry / "stat").read_text().rpartition(")")[2].split()
                        if fields[0] != "Z":
                            found[int(entry.name)] = int(fields[1])
        return cls(found)

    def below(self, roots: Iterable[int]) -> set[int]:
        """All descendants of some processes."""
        children = defaultdict(list)
        for pid, parent in self.parents.items():
            children[parent].append(pid)
        found: set[int] = set()
        waiting = list(roots)
        while waiting:
            for pid in children[waiting.pop()]:
                if pid not in found:
                    found.add(pid)
                    waiting.append(pid)
        return found

    def query_children(self, roots: Iterable[int]) -> set[int]:
        """The descendants of some processes that analyse or run queries: the children of their fork servers."""
        family = self.below(roots)
        return {pid for pid in family if self.parents[pid] in family and _FORKSERVER in _command(self.parents[pid])}

    def of_home(self, data_dir: Path) -> set[int]:
        """The processes of the program whose environment names this store, be they descendants of the stack or not."""
        mark = f"MATVIEW_DATA_DIR={data_dir}".encode()
        return {pid for pid in self.parents if mark in _environment(pid)}


def writers(pids: Iterable[int], staging: Path) -> dict[int, set[str]]:
    """The locations below `staging` in which each process holds a file open; processes that hold none are left out.

    A location is relative to `staging`: project, view, and run with attempt.
    """
    found = {}
    for pid in pids:
        held = {location for path in _open_files(pid) if (location := _location(path, staging))}
        if held:
            found[pid] = held
    return found


def open_files(pid: int) -> int:
    """How many files and sockets a process holds open; 0 if it is gone."""
    try:
        return len(os.listdir(_PROC / str(pid) / "fd"))  # noqa: PTH208 - only their number is needed
    except _GONE:
        return 0


def _open_files(pid: int) -> Iterable[str]:
    folder = _PROC / str(pid) / "fd"
    with suppress(*_GONE):
        for entry in folder.iterdir():
            with suppress(OSError):
                yield str(entry.readlink())


def _location(path: str, staging: Path) -> str | None:
    prefix = f"{staging}/"
    parts = path.removeprefix(prefix).split("/")
    return "/".join(parts[:3]) if path.startswith(prefix) and len(parts) > 3 else None  # noqa: PLR2004 - and a file


def _command(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except _GONE:
        return b""


def _environment(pid: int) -> set[bytes]:
    try:
        return set((_PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except _GONE:
        return set()
