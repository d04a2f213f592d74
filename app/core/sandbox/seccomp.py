"""System calls that a child process may not make: a seccomp filter for the calling thread and what it starts (Linux).

The filter needs no privilege, and Docker's default profile allows it. It refuses calls that make a socket, look into or
change other processes, load code into the kernel, or make namespaces. A decoder needs none of them. io_uring is refused
because it makes sockets without the system call `socket`. Everything else is allowed: libraries use new calls with each
release, and an ffmpeg that dies of one would be a fault of ours.

A child that computes on a GPU may make a local socket, but neither connect it nor take a connection: CUDA listens on
one for processes that share its memory, and does not start without it.

Numbers of system calls: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from typing import Final, NamedTuple


class Architecture(NamedTuple):
    """Numbers of one kind of processor: the audit value, `seccomp`, `clone`, and the refused system calls.

    connections: connect, accept and accept4, which are refused to who may make a socket.
    """

    audit: int
    seccomp: int
    clone: int
    refused: tuple[int, ...]
    socket: int
    connections: tuple[int, ...]


# The same numbers on both: io_uring_*, open_tree ... fspick, pidfd_getfd, mount_setattr
_SHARED: Final = (*range(425, 434), 438, 442)
ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit=0xC000003E,
        seccomp=317,
        clone=56,
        # socket, socketpair, ptrace, pivot_root, chroot, mount, umount2, reboot, init_module, delete_module,
        # kexec_load, add_key, request_key, keyctl, unshare, perf_event_open, open_by_handle_at, setns,
        # process_vm_readv, process_vm_writev, kcmp, finit_module, kexec_file_load, bpf, userfaultfd
        refused=(
            *(41, 53, 101, 155, 161, 165, 166, 169, 175, 176, 246, 248, 249, 250, 272, 298, 304, 308, 310, 311),
            *(312, 313, 320, 321, 323, *_SHARED),
        ),
        socket=41,
        connections=(42, 43, 288),
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        seccomp=277,
        clone=220,
        refused=(
            *(198, 199, 117, 41, 51, 40, 39, 142, 105, 106, 104, 217, 218, 219, 97, 241, 265, 268, 270, 271),
            *(272, 273, 294, 280, 282, *_SHARED),
        ),
        socket=198,
        connections=(203, 202, 242),
    ),
}
CLONE3: Final = 435
NAMESPACE_FLAGS: Final = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
AF_UNIX: Final = 1
NOT_CONNECTED: Final = 2  # a bit of the types SOCK_DGRAM and SOCK_RAW, which send without a connection
X32_BIT: Final = 0x40000000  # calls of the x32 ABI have other numbers

_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_SPEC_ALLOW: Final = 4  # without it, older kernels turn off speculation in the child, which slows decoding down
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
# Instructions of classic BPF: load a word, jump if equal, if at least, if a bit is set; return.
_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Offsets in struct seccomp_data, little-endian.
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT, _SECOND_ARGUMENT_AT = 0, 4, 16, 24


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_system_calls(listens: bool = False) -> bool:
    """Put the filter on the calling thread, for good; return False where this machine has no such filter.

    listens: it may make a local socket that nobody can connect to.
    """
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None or not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    code = filter_code(architecture, listens)
    program = _Program(len(code) // 8, code)
    for flags in (_SPEC_ALLOW, 0):  # kernels before 4.17 do not know the flag
        if libc.syscall(architecture.seccomp, _SET_MODE_FILTER, flags, ctypes.byref(program)) == 0:
            return True
    return False


def filter_code(architecture: Architecture, listens: bool = False) -> bytes:
    """Return the filter as instructions of classic BPF."""
    refused = architecture.refused
    if listens:
        refused = (*(number for number in refused if number != architecture.socket), *architecture.connections)
    sockets_at = len(refused) + 5
    allow = sockets_at + 5 * listens + 3  # the number of the instruction that allows; two that refuse follow it
    not_implemented, not_permitted = allow + 1, allow + 2
    code = [
        _load(_ARCHITECTURE_AT),
        _jump(1, _EQUAL, architecture.audit, 2, not_permitted),
        _load(_NUMBER_AT),
        _jump(3, _AT_LEAST, X32_BIT, not_permitted, 4),
        _jump(4, _EQUAL, CLONE3, not_implemented, 5),  # its flags lie in memory; without it, libraries use `clone`
        *(_jump(at, _EQUAL, number, not_permitted, at + 1) for at, number in enumerate(refused, start=5)),
        *(_socket_rules(sockets_at, architecture.socket, allow, not_permitted) if listens else ()),
        _jump(allow - 3, _EQUAL, architecture.clone, allow - 2, allow),
        _load(_FIRST_ARGUMENT_AT),
        _jump(allow - 1, _BITS, NAMESPACE_FLAGS, not_permitted, allow),
        _return(_ALLOW),
        _return(_REFUSE | errno.ENOSYS),
        _return(_REFUSE | errno.EACCES),  # with EPERM, ffmpeg would end with the status of one that was asked to end
    ]
    return b"".join(code)


def _socket_rules(at: int, socket: int, allow: int, refuse: int) -> tuple[bytes, ...]:
    """Return the five instructions from number `at` on that allow local sockets of a type that needs a connection."""
    return (
        _jump(at, _EQUAL, socket, at + 1, at + 5),
        _load(_FIRST_ARGUMENT_AT),
        _jump(at + 2, _EQUAL, AF_UNIX, at + 3, refuse),
        _load(_SECOND_ARGUMENT_AT),
        _jump(at + 4, _BITS, NOT_CONNECTED, refuse, allow),
    )


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, offset)


def _jump(at: int, condition: int, value: int, if_true: int, if_false: int) -> bytes:
    """Return the jump with the number `at`; both targets are numbers of later instructions."""
    return struct.pack("=HBBI", condition, if_true - at - 1, if_false - at - 1, value)


def _return(action: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, action)
