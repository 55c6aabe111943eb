"""Landlock, by which a Linux process restricts its own access: the three system calls, as far as they are needed.

There are packages for this, but none is maintained well enough to depend on: they have one author and a few months of
releases, or development releases only. The kernel's interface is stable, and small.

See https://docs.kernel.org/userspace-api/landlock.html. A *right* is a bit in the kernel's masks of access rights.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from typing import NamedTuple

# The numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << n for n in range(6))
MAKE_DIR, MAKE_REG, TRUNCATE = 1 << 7, 1 << 8, 1 << 14
# The number of file rights that each version of the interface knows. It cannot restrict a right that it does not know.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
# The versions from which it can also restrict TCP, and signals and abstract sockets to processes outside.
_KNOWS_TCP, _KNOWS_SCOPES = 4, 6
_ALL_TCP = _ALL_SCOPES = 0b11
# The rights that can be allowed for a file; the others concern the entries of a folder.
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def version() -> int:
    """The version of the interface in this kernel; 0 if it has none, or does not permit its use."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}:
            return 0
        raise


class Allowed(NamedTuple):
    """Rights to a path and to everything beneath it.

    `inode`, if given, is that of the file that the path must lead to: another file there gets no rights.
    """

    path: str
    rights: int
    inode: int | None = None


def restrict(allowed: Iterable[Allowed]) -> int:
    """Give up every right to files, except those that are `allowed`.

    Also gives up TCP, and signals and abstract sockets to processes outside, as far as the kernel supports that. It
    holds for this thread and for those that it starts, and can never be undone. Paths that do not exist are skipped.
    Returns the version of the interface, 0 if there is none and nothing was given up. Raises OSError if the kernel
    refuses.
    """
    known = version()
    if not known:
        return 0
    files = (1 << _FILE_RIGHTS[min(known, max(_FILE_RIGHTS))]) - 1
    tcp = _ALL_TCP if known >= _KNOWS_TCP else 0
    scopes = _ALL_SCOPES if known >= _KNOWS_SCOPES else 0
    # An older kernel accepts a longer structure than it knows, as long as the rest is 0.
    attributes = struct.pack("=QQQ", files, tcp, scopes)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for one in allowed:
            _allow(ruleset, one, files)
        never_gain_privileges()
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return known


def never_gain_privileges() -> None:
    """Set no_new_privs: a setuid program gains no rights here. The kernel requires this before a restriction."""
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(n) for n in (1, 0, 0, 0)))


def _allow(ruleset: int, allowed: Allowed, known: int) -> None:
    """Add a rule for the rights of `allowed` that this kernel has: those in `known`."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        descriptor = os.open(allowed.path, os.O_PATH | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            granted = allowed.rights & known & (known if stat.S_ISDIR(status.st_mode) else _OF_FILES)
            if granted and allowed.inode in {None, status.st_ino}:
                _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", granted, descriptor), 0)
        finally:
            os.close(descriptor)


def _call(number: int, *arguments: int | bytes | None) -> int:
    # The kernel reads each as a whole register, but by default ctypes passes an int as half of one.
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)]
    result: int = _LIBC.syscall(*words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
