"""The filter of system calls, run by a small interpreter of BPF, so that every kind of processor is tested on each."""

from __future__ import annotations

import errno
import struct

import pytest

from app.core.sandbox.seccomp import ARCHITECTURES, CLONE3, filter_code

ALLOWED, REFUSED = 0x7FFF0000, 0x00050000
# read, openat, mmap, futex, exit_group, execve, tgkill
NEEDED = {"x86_64": (0, 257, 9, 202, 231, 59, 234), "aarch64": (63, 56, 222, 98, 94, 221, 131)}
SOCKET = {"x86_64": 41, "aarch64": 198}
BIND_LISTEN = {"x86_64": (49, 50), "aarch64": (200, 201)}
CONNECT_ACCEPT = {"x86_64": (42, 43, 288), "aarch64": (203, 202, 242)}
UNIX, INET, NETLINK, PACKET = 1, 2, 16, 17
STREAM, DATAGRAM, RAW, SEQPACKET, FLAGS = 1, 2, 3, 5, 0o2000000 | 0o4000  # FLAGS: close on exec, do not block


def answer(
    machine: str, number: int, argument: int = 0, second: int = 0, audit: int | None = None, listens: bool = False
) -> int:
    """Return what the filter says to a system call with up to two arguments."""
    architecture = ARCHITECTURES[machine]
    shown = architecture.audit if audit is None else audit
    data = struct.pack("<IIQ6Q", number, shown, 0, argument, second, 0, 0, 0, 0)
    code = list(struct.iter_unpack("=HBBI", filter_code(architecture, listens)))
    at = value = 0
    while True:
        kind, if_true, if_false, operand = code[at]
        if kind == 0x06:
            return operand
        if kind == 0x20:
            value, step = struct.unpack_from("<I", data, operand)[0], 0
        else:
            is_true = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[kind]
            step = if_true if is_true else if_false
        at += 1 + step


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_decoders_need_is_allowed(machine):
    for number in NEEDED[machine]:
        assert answer(machine, number) == ALLOWED
    thread = 0x3D0F00  # the flags of a new thread
    assert answer(machine, ARCHITECTURES[machine].clone, thread) == ALLOWED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_call_of_the_list_is_refused(machine):
    assert SOCKET[machine] in ARCHITECTURES[machine].refused
    for number in ARCHITECTURES[machine].refused:
        assert answer(machine, number) == REFUSED | errno.EACCES
    assert answer(machine, ARCHITECTURES[machine].clone, 0x10000000) == REFUSED | errno.EACCES
    assert answer(machine, CLONE3) == REFUSED | errno.ENOSYS


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_of_another_kind_of_processor_are_refused(machine):
    assert answer(machine, 3, audit=0x40000003) == REFUSED | errno.EACCES
    assert answer(machine, 0x40000000 + 41) == REFUSED | errno.EACCES


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_who_listens_makes_local_sockets_that_need_a_connection_and_connects_none(machine):
    def says(number: int, argument: int = 0, second: int = 0) -> int:
        return answer(machine, number, argument, second, listens=True)

    for kind in (STREAM, SEQPACKET, STREAM | FLAGS, SEQPACKET | FLAGS):
        assert says(SOCKET[machine], UNIX, kind) == ALLOWED
        assert answer(machine, SOCKET[machine], UNIX, kind) == REFUSED | errno.EACCES
    for family, kind in (
        (UNIX, DATAGRAM),
        (UNIX, DATAGRAM | FLAGS),
        (UNIX, RAW),
        (INET, STREAM),
        (NETLINK, RAW),
        (PACKET, RAW),
    ):
        assert says(SOCKET[machine], family, kind) == REFUSED | errno.EACCES
    for number in CONNECT_ACCEPT[machine]:
        assert says(number) == REFUSED | errno.EACCES
    for number in (*BIND_LISTEN[machine], *NEEDED[machine]):
        assert says(number) == ALLOWED
    for number in set(ARCHITECTURES[machine].refused) - {SOCKET[machine]}:
        assert says(number) == REFUSED | errno.EACCES
    clone = ARCHITECTURES[machine].clone
    assert says(clone, 0x3D0F00) == ALLOWED and says(clone, 0x10000000) == REFUSED | errno.EACCES
    assert says(CLONE3) == REFUSED | errno.ENOSYS
