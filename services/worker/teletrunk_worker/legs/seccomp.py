"""seccomp (seccomp(2)): system calls that a process has no use for fail with EPERM from now on.

What is listed starts programs, reaches into other processes or the kernel, or opens sockets of other kinds. x86-64
only, which is the only platform of pjsua2's wheel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from typing import Final

_SECCOMP = 317
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_ARCHITECTURE = 0xC000003E  # AUDIT_ARCH_X86_64
_X32 = 0x40000000  # from here on: numbers of another ABI
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_FAIL = 0x00050000
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24  # in struct seccomp_data

_NEVER: Final = {
    "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "process_madvise": 440,
    "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "process_mrelease": 448,
    "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "move_pages": 279, "migrate_pages": 256,
    "mount": 165, "umount2": 166, "chroot": 161, "pivot_root": 155, "setns": 308, "unshare": 272,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "mount_setattr": 442, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "chmod": 90, "chown": 92, "lchown": 94, "setxattr": 188, "fchownat": 260, "fchmodat": 268,
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "add_key": 248, "request_key": 249, "keyctl": 250, "modify_ldt": 154,
    "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
    "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "quotactl": 179, "syslog": 103, "iopl": 172,
    "ioperm": 173, "lookup_dcookie": 212, "personality": 135,
}  # fmt: skip
_CLONE, _CLONE3, _SOCKET = 56, 435, 41
_OF_OWN_PROCESS: Final = {"kill": 62, "tgkill": 234, "prlimit64": 302}  # the first argument says whose
_CLONE_THREAD = 0x00010000
_SOCKET_TYPE = 0xF  # without SOCK_CLOEXEC and SOCK_NONBLOCK
_SOCK_DGRAM = 2

Instruction = tuple[int, int, int, int]


def confine(families: Sequence[int], other_families: Sequence[int] = ()) -> None:
    """Leaves datagram sockets of `families`, and sockets of `other_families` of any type. Raises OSError."""
    program = _program(families, other_families, os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    attributes = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SECCOMP, ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_ALL_THREADS), attributes):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _program(families: Sequence[int], other_families: Sequence[int], pid: int) -> list[Instruction]:
    fail = (_RETURN, 0, 0, _FAIL | errno.EPERM)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_IF_EQUAL, 1, 0, _ARCHITECTURE),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_AT_LEAST, 0, 1, _X32),
        fail,
    ]
    for number in _NEVER.values():
        program += [(_JUMP_IF_EQUAL, 0, 1, number), fail]
    # glibc then starts its threads by clone, whose flags can be read here.
    program += [(_JUMP_IF_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _FAIL | errno.ENOSYS)]
    program += _when(_CLONE, [(_LOAD, 0, 0, _FIRST), (_JUMP_IF_ANY, 1, 0, _CLONE_THREAD), fail])
    for number in _OF_OWN_PROCESS.values():
        program += _when(number, [(_LOAD, 0, 0, _FIRST), (_JUMP_IF_EQUAL, 2, 0, pid), (_JUMP_IF_EQUAL, 1, 0, 0), fail])
    program += _when(_SOCKET, _sockets(families, other_families, fail))
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _sockets(families: Sequence[int], other_families: Sequence[int], fail: Instruction) -> list[Instruction]:
    checks: list[Instruction] = [(_LOAD, 0, 0, _FIRST)]
    for family in other_families:
        checks += [(_JUMP_IF_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    left = len(families)
    checks += [(_JUMP_IF_EQUAL, left - number, 0, family) for number, family in enumerate(families)]
    is_datagram = [(_LOAD, 0, 0, _SECOND), (_AND, 0, 0, _SOCKET_TYPE), (_JUMP_IF_EQUAL, 1, 0, _SOCK_DGRAM)]
    return [*checks, fail, *is_datagram, fail]


def _when(number: int, then: list[Instruction]) -> list[Instruction]:
    """After it another call's number is looked at no more: what is not refused is allowed."""
    return [(_JUMP_IF_EQUAL, 0, len(then) + 1, number), *then, (_RETURN, 0, 0, _ALLOW)]
