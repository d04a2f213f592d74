"""The file that a command writes its video to: checked before any work, and cleaned up when the program is ended.

An existing file is replaced only if it is a regular file and none of the files that the command reads, through whatever
links it is named. The output grows under `partial_path` beside it, so that name must be free as well.
"""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from app.core.errors import InputError
from app.core.options import option_error

SUFFIXES: Final = (".mp4", ".m4v")  # both stand for an MP4 file, which every output is
LONGEST_ADDITION: Final = 24  # bytes that temporary names beside the output add to its name
ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


def partial_path(output: Path) -> Path:
    """Return the path beside the output at which it grows."""
    return output.with_name(output.name + ".part")


def checked_output(output: Path, inputs: Sequence[Path]) -> Path:
    """Return the real path of an MP4 file to write, with symbolic links followed.

    Raises InputError(option_invalid) as `replaceable_path` does, and if the name does not end in .mp4 or .m4v.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise _refusal(output, "the output is an MP4 file, so its name must end in .mp4 or .m4v")
    return replaceable_path(output, inputs)


def replaceable_path(output: Path, inputs: Sequence[Path]) -> Path:
    """Return the real path of a file to write, with symbolic links followed.

    Raises InputError(option_invalid) if its folder does not exist or cannot be written to, if something other than a
    regular file has the name, and if it is one of the `inputs`.
    """
    try:
        real = output.resolve()
        _check_folder(output, real)
        for path in (real, partial_path(real)):
            _check_replaceable(output, path, inputs)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long, a null byte
        raise _refusal(output, f"cannot be written ({getattr(error, 'strerror', None) or error})") from None
    return real


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """End the program through an exception on SIGTERM and SIGHUP, so that partial files are removed.

    A signal that was ignored stays ignored, as under `nohup`. Use it in the main thread.
    """

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        for number in ENDING_SIGNALS:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_folder(output: Path, real: Path) -> None:
    folder = real.parent
    if not folder.is_dir():
        raise _refusal(output, f"there is no folder {shown(output.parent)}")
    with tempfile.TemporaryFile(dir=folder):  # asks the file system itself: rights alone do not tell
        pass
    if len(os.fsencode(real.name)) + LONGEST_ADDITION > os.pathconf(folder, "PC_NAME_MAX"):
        raise _refusal(output, "the name is too long")


def _check_replaceable(output: Path, path: Path, inputs: Sequence[Path]) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise _refusal(output, f"{shown(path)} exists and is not a regular file")
    if not os.access(path, os.W_OK):
        raise _refusal(output, f"{shown(path)} exists and is write-protected")
    for read in inputs:
        if read.exists() and os.path.samestat(found, read.stat()):
            raise _refusal(output, f"writing it would replace the input {shown(read)}")


def _refusal(output: Path, reason: str) -> InputError:
    return option_error(f"output {shown(output)}: {reason}.")


def shown(path: Path) -> str:
    """Return a path as text that any terminal can show: bytes that are no UTF-8 become a question mark."""
    return str(path).encode("utf-8", "replace").decode()
