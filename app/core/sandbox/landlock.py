"""Files that a child process may open: Landlock rules for the calling thread and what it starts (Linux 5.13).

The rules need no privilege. A confined process opens the files and folders that are named here and no others, whatever
its input talks it into; it executes only its own program, opens no TCP connection, sends no signal to other processes
and does not look into them. Older kernels know fewer of these rights and get a part of the rules.

Structures and numbers: Linux, include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all processors
_PR_SET_NO_NEW_PRIVS: Final = 38
_VERSION: Final = 1  # flag that asks for the version of the interface
_PATH_BENEATH: Final = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
FILE_RIGHTS: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
FIRST_RIGHTS: Final = (1 << 13) - 1  # of version 1
LATER_RIGHTS: Final = ((2, 1 << 13), (3, TRUNCATE), (5, IOCTL_DEV))  # version and right: rename between folders, ...
TCP: Final = 0b11  # bind and connect, version 4
SCOPES: Final = 0b11  # abstract unix sockets and signals of others, version 6

# What programs and their libraries read. /etc and /proc are not among them, only a few of their files are.
SYSTEM: Final = (
    "/usr /lib /lib64 /bin /opt/venv /nix/store /etc/ld.so.cache /etc/ld.so.preload /etc/localtime "
    "/etc/ssl/openssl.cnf /dev/urandom /dev/random /dev/zero /proc/cpuinfo /proc/meminfo /proc/stat "
    "/sys/devices/system/cpu"
).split()
LOADERS: Final = ("/lib64", "/lib")  # their ld-*.so* is executed by the kernel for every program


@dataclass(frozen=True)
class FileAccess:
    """What a child process may do with files: the programs it may execute, and what it may read and write.

    Folders stand for all that is in them. `listed` are folders whose names it may see, without their files. `devices`
    are read, written and controlled; a process with devices also has its own folder in /proc, because the driver names
    its threads there. That folder is the one of who puts the rules on, so such a process confines itself.
    """

    programs: tuple[Path, ...]
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    listed: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()

    def rules(self) -> Iterator[tuple[Path, int]]:
        """Yield paths and their rights."""
        for name in SYSTEM:
            yield Path(name), READ_FILE | READ_DIR
        yield Path("/dev/null"), READ_FILE | WRITE_FILE
        for folder in LOADERS:
            for loader in Path(folder).glob("ld-*.so*"):
                yield loader, READ_FILE | EXECUTE
        for program in self.programs:
            yield program, READ_FILE | EXECUTE
        for path in self.reads:
            yield path, READ_FILE | READ_DIR
        for path in self.writes:
            yield path, READ_FILE | WRITE_FILE | TRUNCATE
        for path in self.listed:
            yield path, READ_DIR
        for path in (*self.devices, *((Path("/proc/self"),) if self.devices else ())):
            yield path, READ_FILE | WRITE_FILE | READ_DIR | IOCTL_DEV

    def to_json(self) -> str:
        """Return the paths as JSON, in which any name has its place."""
        return json.dumps({name: [str(path) for path in paths] for name, paths in vars(self).items()})

    @classmethod
    def of_json(cls, text: str) -> FileAccess:
        """Return the access that `to_json` wrote."""
        return cls(**{name: tuple(map(Path, paths)) for name, paths in json.loads(text).items()})


def refuse_other_files(access: FileAccess) -> bool:
    """Put the rules on the calling thread, for good; return False where this kernel has no Landlock."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1 or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    handled = FIRST_RIGHTS | sum(right for since, right in LATER_RIGHTS if version >= since)
    attributes = struct.pack("=QQQ", handled, TCP, SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for path, rights in access.rules():
            _allow(libc, ruleset, path, rights & handled)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Add a rule; a path that is not there needs none."""
    with suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= FILE_RIGHTS
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)


@functools.cache
def python_access(packages: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return what a Python program of this installation reads, and the folders that it only lists.

    packages: folder of our packages, which a child finds by its environment; this process may find them otherwise. Of a
    folder with source code only its packages are read, because data may lie beside them.
    """
    roots = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_exec_prefix)}
    reads, listed = sorted(roots), []
    for folder in dict.fromkeys([packages, *map(Path, sys.path)]):
        if not folder.is_dir() or any(folder.is_relative_to(root) for root in roots):
            continue
        if folder.name in ("site-packages", "dist-packages"):
            reads.append(folder)
            continue
        listed.append(folder)
        reads += [init.parent for init in folder.glob("*/__init__.py")]
    return tuple(reads), tuple(listed)
