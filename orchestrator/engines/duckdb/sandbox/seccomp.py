"""A filter of system calls for a process that only has to compute, read and write files, and start threads.

It refuses what Landlock leaves open: sockets of every kind, starting programs and processes, tracing other processes,
and changing the owner of a file. It lists the refused calls, not the allowed ones, since a new version of DuckDB,
Python or libc may use any harmless call. A refused call fails with EPERM. There is a filter for x86-64 and 64-bit ARM,
and none for other machines. No package is used, as for Landlock: of the packages, one is abandoned and needs a system
library, and one is new.
"""

import ctypes
import errno
import os
import platform
import struct
from typing import NamedTuple

from orchestrator.engines.duckdb.sandbox.landlock import never_gain_privileges

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_CLONE_THREAD = 0x10000
# Classic BPF: load a word of the call's data, compare it, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
# x86-64 has all calls twice: the numbers of the x32 ABI (32-bit pointers) begin here. On ARM no number is as large.
_X32 = 0x40000000
_STEP_BYTES = 8

# Name: number on x86-64, on ARM; None where there is no such call.
_REFUSED: dict[str, tuple[int, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "open_by_handle_at": (304, 265),
    # Landlock protects the content of files, but not their metadata.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
}
_CLONE, _CLONE3, _TGKILL = (56, 220), (435, 435), (234, 131)
# The column of the table, and the kernel's number of the architecture in the data of a call.
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LIBC = ctypes.CDLL(None, use_errno=True)


class _Instruction(NamedTuple):
    """An instruction. A comparison continues at the label `jump_true` or `jump_false`; None is the next step."""

    code: int
    value: int
    jump_true: str | None = None
    jump_false: str | None = None


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def restrict() -> bool:
    """Refuse the calls from now on, in this thread and in those that it starts, and set no_new_privs.

    Returns whether the filter is in force.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    return _install(_assemble(*machine, os.getpid()))


def _install(program: bytes) -> bool:
    filtered = _Program(len(program) // _STEP_BYTES, program)
    never_gain_privileges()
    return bool(_LIBC.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(filtered)) == 0)


def _assemble(column: int, architecture: int, pid: int) -> bytes:
    numbers = [row[column] for row in _REFUSED.values()]
    steps = [
        _Instruction(_LOAD, _ARCHITECTURE),
        _Instruction(_EQUAL, architecture, jump_false="refuse"),
        _Instruction(_LOAD, _NUMBER),
        _Instruction(_AT_LEAST, _X32, jump_true="refuse"),
        *(_Instruction(_EQUAL, number, jump_true="refuse") for number in numbers if number is not None),
        # A filter cannot read the arguments of clone3. If that fails with ENOSYS, libc uses the older clone.
        _Instruction(_EQUAL, _CLONE3[column], jump_true="unknown"),
        _Instruction(_EQUAL, _CLONE[column], jump_true="thread?"),
        _Instruction(_EQUAL, _TGKILL[column], jump_true="itself?", jump_false="allow"),
    ]
    labels = {"thread?": len(steps)}
    steps += [
        _Instruction(_LOAD, _FIRST_ARGUMENT),
        _Instruction(_ANY_BIT, _CLONE_THREAD, jump_true="allow", jump_false="refuse"),
    ]
    labels["itself?"] = len(steps)
    steps += [_Instruction(_LOAD, _FIRST_ARGUMENT), _Instruction(_EQUAL, pid, jump_true="allow", jump_false="refuse")]
    for label, result in (("allow", _ALLOW), ("refuse", _ERRNO | errno.EPERM), ("unknown", _ERRNO | errno.ENOSYS)):
        labels[label] = len(steps)
        steps.append(_Instruction(_RETURN, result))
    return b"".join(_encode(step, place, labels) for place, step in enumerate(steps))


def _encode(step: _Instruction, place: int, labels: dict[str, int]) -> bytes:
    jump_true, jump_false = (
        0 if label is None else labels[label] - place - 1 for label in (step.jump_true, step.jump_false)
    )
    return struct.pack("=HBBI", step.code, jump_true, jump_false, step.value)
