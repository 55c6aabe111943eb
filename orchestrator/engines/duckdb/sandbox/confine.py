"""What the operating system keeps from a process that runs an author's SQL: everything that it does not need.

DuckDB's own lock is the first fence, and DuckDB says itself that it is no security boundary. This is the second: it
holds when the first one fails, and costs about a millisecond. Kernels that do not know a layer go without it.
"""

import ctypes
import glob
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator

from orchestrator.engines.duckdb.sandbox import landlock, seccomp
from orchestrator.engines.duckdb.sources.discovery import SourceFile

_READ = landlock.READ_FILE | landlock.READ_DIR
_CHANGE = (
    landlock.WRITE_FILE
    | landlock.TRUNCATE
    | landlock.MAKE_REG
    | landlock.MAKE_DIR
    | landlock.REMOVE_FILE
    | landlock.REMOVE_DIR
)
# Nobody's secrets: what libc, Python and DuckDB look up while they run.
_SYSTEM = (
    "/dev/null",
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/lib",
    "/lib64",
    "/proc/meminfo",
    "/proc/self/cgroup",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
)
# Where modules are loaded from that are not loaded yet: those of Python, and installed ones. Found out before the fork.
_PYTHON = tuple({os.path.realpath(sysconfig.get_path(n)) for n in ("stdlib", "platstdlib", "purelib", "platlib")})
# Files of other users may be readable for root alone, and a worker that is root has been reading them.
_KEPT_CAPABILITIES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_CAPABILITY_VERSION = 0x20080522

_LIBC = ctypes.CDLL(None, use_errno=True)


# Those of this process, once it is confined.
_layers = ["DuckDB's lock", "resource limits", "an empty environment"]


def layers() -> list[str]:
    """What this process is kept in, in words for an operator."""
    return [*_layers]


def confine(readable: Iterable[SourceFile], writable: Iterable[str]) -> None:
    """Leave this process the files `readable`, the folders `writable`, and nothing else. It cannot be undone.

    A path of `readable` that does not lead to the file any more that was looked at is not left to it.

    Must be called while there is one thread only: it holds for those that are started later, not for others. Raises
    OSError if the kernel has a layer and refuses it.
    """
    if sys.platform != "linux":
        return
    known = landlock.restrict(_allowed(readable, writable))
    if known:
        _layers.append(f"Landlock (ABI {known})")
    if _drop_capabilities():
        _layers.append("dropped capabilities")
    if seccomp.restrict():
        _layers.append("seccomp")


def _allowed(readable: Iterable[SourceFile], writable: Iterable[str]) -> Iterator[landlock.Allowed]:
    yield from (landlock.Allowed(path, _READ) for path in (*_SYSTEM, *_PYTHON))
    listed_folders = set()
    for file in readable:
        yield landlock.Allowed(file.real, landlock.READ_FILE, (file.device, file.inode) if file.inode else None)
        listed_folders |= _listed_folders(file.real)
    for path in writable:
        yield landlock.Allowed(path, _READ | _CHANGE)
        listed_folders |= _listed_folders(path)
    yield from (landlock.Allowed(folder, landlock.READ_DIR) for folder in listed_folders)


def _listed_folders(path: str) -> set[str]:
    """The folders that DuckDB lists to find `path`: it takes a name with brackets for a pattern."""
    if glob.escape(path) == path:
        return set()
    parts = path.split("/")
    return {"/".join(parts[:n]) or "/" for n, part in enumerate(parts) if glob.escape(part) != part}


def _drop_capabilities() -> bool:
    """Give up what root may do beyond reading and writing files. Without it, whoever is not root has none anyway."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()
    if not hasattr(_LIBC, "capset") or _LIBC.capget(header, held):
        return False
    # Effective, permitted and inheritable, the lower half of the bits and then the upper one.
    left = (ctypes.c_uint32 * 6)(held[0] & _KEPT_CAPABILITIES, held[1] & _KEPT_CAPABILITIES, 0, 0, 0, 0)
    return bool(_LIBC.capset(header, left) == 0)
