"""Looks for a secret where it must not be: in the processes of queries, and in the files of an installation."""

from contextlib import suppress
from pathlib import Path


def assert_not_in_queries(worker: int, secret: bytes) -> None:
    """Assert that no process that a worker has started, with that process id, knows the secret."""
    children = {
        int(found.name)
        for found in Path("/proc").iterdir()
        if found.name.isdigit() and _is_below(int(found.name), worker)
    }
    # The worker's own helper, which has the worker's environment and runs no query.
    children = {pid for pid in children if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()}
    assert children
    for pid in children:
        for name in ("environ", "cmdline"):
            assert secret not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert not has_in_memory(pid, secret)


def assert_not_in_files(folder: Path, secret: bytes) -> None:
    """Assert that no file below a folder holds the secret: logs, the catalog, Temporal's histories, manifests."""
    for path in folder.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


def has_in_memory(pid: int, secret: bytes) -> bool:
    """Whether a process has these bytes in memory that it may write to."""
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            span, rights = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if "w" not in rights or "r" not in rights:
                continue
            with suppress(OSError, OverflowError, ValueError):  # some special areas cannot be read
                memory.seek(start)
                if secret in memory.read(end - start):
                    return True
    return False


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        pid = int(status.rpartition(")")[2].split()[1])
        if pid == ancestor:
            return True
    return False
