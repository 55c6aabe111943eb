"""Denies a process that runs a client's SQL everything that it does not need, by means of the operating system.

DuckDB's own lock is the first layer, and DuckDB itself says that it is no security boundary. These layers hold if the
lock fails, and cost about a millisecond. On a kernel that does not support a layer, that layer is left out.
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
# Paths that libc, Python and DuckDB read while they run. They hold no secrets.
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
# The folders of Python's and of installed modules, some of which are loaded later. Determined before the fork.
_PYTHON = tuple({os.path.realpath(sysconfig.get_path(n)) for n in ("stdlib", "platstdlib", "purelib", "platlib")})
# Files of other users may be readable by root alone, and a worker that runs as root must still be able to read them.
_KEPT_CAPABILITIES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_CAPABILITY_VERSION = 0x20080522

_LIBC = ctypes.CDLL(None, use_errno=True)


# The layers of this process. `confine` adds those that it applies.
_layers = ["DuckDB's lock", "resource limits", "an empty environment"]


def layers() -> list[str]:
    """The names of the layers that confine this process, for an operator."""
    return [*_layers]


def confine(readable: Iterable[SourceFile], writable: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Allow this process to read `readable` and all below `folders`, to write below `writable`, and nothing else.

    It cannot be undone.

    A path of `readable` is not allowed if it no longer leads to the file that was found there.

    Must be called while there is only one thread: it holds for threads that are started later, not for others. Raises
    OSError if the kernel has a layer and refuses it.
    """
    if sys.platform != "linux":
        return
    abi = landlock.restrict(_allowed(readable, writable, folders))
    if abi:
        _layers.append(f"Landlock (ABI {abi})")
    if _drop_capabilities():
        _layers.append("dropped capabilities")
    if seccomp.restrict():
        _layers.append("seccomp")


def _allowed(
    readable: Iterable[SourceFile], writable: Iterable[str], folders: Iterable[str]
) -> Iterator[landlock.Allowed]:
    yield from (landlock.Allowed(path, _READ) for path in (*_SYSTEM, *_PYTHON, *folders))
    listed_folders = set()
    for file in readable:
        yield landlock.Allowed(file.real, landlock.READ_FILE, file.inode or None)
        listed_folders |= _listed_folders(file.real)
    for path in writable:
        yield landlock.Allowed(path, _READ | _CHANGE)
        listed_folders |= _listed_folders(path)
    yield from (landlock.Allowed(folder, landlock.READ_DIR) for folder in listed_folders)


def _listed_folders(path: str) -> set[str]:
    """The folders that DuckDB lists to find `path`: it reads a name with brackets as a pattern."""
    if glob.escape(path) == path:
        return set()
    parts = path.split("/")
    return {"/".join(parts[:n]) or "/" for n, part in enumerate(parts) if glob.escape(part) != part}


def _drop_capabilities() -> bool:
    """Drop the capabilities of root except reading and writing files. A process of another user has none anyway."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    capabilities = (ctypes.c_uint32 * 6)()
    if not hasattr(_LIBC, "capset") or _LIBC.capget(header, capabilities):
        return False
    # The effective, permitted and inheritable sets: first the lower 32 bits of each, then the upper ones.
    left = (ctypes.c_uint32 * 6)(capabilities[0] & _KEPT_CAPABILITIES, capabilities[1] & _KEPT_CAPABILITIES, 0, 0, 0, 0)
    return bool(_LIBC.capset(header, left) == 0)
