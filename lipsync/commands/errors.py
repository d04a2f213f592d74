"""Errors of the command line. This module alone turns an error into a line on standard error and an exit status.

Every command ends with status 0, with 1 where it did its work and a promise was broken, with 2 and one line
`error: <code>: <sentence>`, or with 130 after Ctrl-C. A second line `hint: <sentence>` follows where there is something
to do that the first one does not say. A fault of the program has its traceback in a file that the line
names, so that it can be reported.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Final, NoReturn

import click

from app.core.errors import ERROR_FACTS, ErrorCode, LipSyncError

EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count
# Packages of the extra `train`. An image that only serves does not have them.
TRAINING_PACKAGES: Final = ("skimage", "lpips", "h5py", "torchvision", "espeakng_loader", "tensorboard")
OWN_PACKAGES: Final = ("app", "worker", "model", "lipsync")
# Codes whose hint in `ERROR_FACTS` says more than the sentence and fits a command line. Others speak of HTTP.
_HINTED: Final = frozenset(
    {
        ErrorCode.INPUT_TOO_LARGE,
        ErrorCode.DURATION_EXCEEDED,
        ErrorCode.RESOLUTION_EXCEEDED,
        ErrorCode.FRAME_LIMIT_EXCEEDED,
        ErrorCode.NO_FACE_DETECTED,
        ErrorCode.FACE_TOO_SMALL,
        ErrorCode.FACE_NOT_FOUND,
        ErrorCode.CHECKPOINT_MISSING,
        ErrorCode.CHECKPOINT_INVALID,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.RUN_TIMEOUT,
        ErrorCode.ENCODE_FAILED,
    }
)
_OWN_HINTS: Final = {
    ErrorCode.UNAUTHORIZED: "Give a valid API key with --api-key or LIPSYNC_API_KEY; `lipsync keys create` makes one.",
    ErrorCode.RESULT_NOT_READY: "`lipsync wait ID` waits for the job.",
    ErrorCode.CANCELED: "`lipsync retry ID` tries the job again.",
}
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CommandError(click.ClickException):
    """Error that ends a command with `error: <code>: <sentence>`, perhaps a hint, and exit status 2."""

    exit_code = EXIT_REFUSED

    def __init__(self, code: str, sentence: str, hint: str | None = None) -> None:
        super().__init__(_one_line(sentence))
        self.code = code
        self.hint = None if hint is None else _one_line(hint)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, and the hint on a second one."""
        click.echo(f"error: {self.code}: {self.message}", file=file, err=file is None)
        if self.hint is not None:
            click.echo(f"hint: {self.hint}", file=file, err=file is None)


def _one_line(sentence: str) -> str:
    return " ".join(sentence.split()).rstrip(".") + "."


class CommandGroup(click.Group):
    """Group of commands, each of whose errors ends as one line."""

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command that the arguments name and end the process; without `standalone_mode`, raise its errors."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        for stream in (sys.stdout, sys.stderr):  # a name in a terminal that cannot show it must not end the command
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = super().main(args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            _end(CommandError(ErrorCode.CANCELED, "Stopped by Ctrl-C"), EXIT_INTERRUPTED)
        except Exception as error:  # noqa: BLE001  the last handler of the program
            _end(command_error(error), EXIT_REFUSED)
        sys.exit(status if isinstance(status, int) else 0)


def _end(error: CommandError, status: int) -> NoReturn:
    """Print the line and end the process, also where standard error is closed or its disk is full."""
    with suppress(OSError, ValueError):
        error.show()
    sys.exit(status)


def command_error(error: Exception) -> CommandError:
    """Return what to print for an error."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, click.ClickException):
        return CommandError(ErrorCode.OPTION_INVALID, _usage_sentence(error))
    if isinstance(error, LipSyncError):
        return CommandError(error.code, error.message, hint_for(error.code, error.hint))
    if isinstance(error, MemoryError):
        return CommandError(ErrorCode.OUT_OF_MEMORY, "This machine has too little free memory for the command")
    found = _model_error(error) or _missing_package(error) or _media_error(error) or _request_error(error)
    if found is not None:
        return found
    if isinstance(error, OSError):
        return _system_error(error)
    if isinstance(error, UnicodeError):
        return CommandError(ErrorCode.OPTION_INVALID, f"A text cannot be read or sent: {error}")
    return _fault(error)


def hint_for(code: ErrorCode, own_hint: str | None) -> str | None:
    """Return what the user of a command line can do about an error, None if nothing is known; own_hint: the error's."""
    if own_hint is not None:
        return own_hint
    if code in _OWN_HINTS:
        return _OWN_HINTS[code]
    return ERROR_FACTS[code].hint if code in _HINTED else None


def job_error(error: Mapping[str, Any]) -> CommandError:
    """Return the error of a job that failed, from the object `error` of the job."""
    code, hint = str(error["code"]), error.get("hint")
    if code in ERROR_FACTS:
        known = ErrorCode(code)
        hint = hint_for(known, None if hint == ERROR_FACTS[known].hint else hint)
    return CommandError(code, error["message"], hint)


def _usage_sentence(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = "" if context is None else f"; `{context.command_path} --help` lists the options"
    return error.format_message().rstrip(".") + hint


def _missing_package(error: Exception) -> CommandError | None:
    if not isinstance(error, ModuleNotFoundError):
        return None
    name = str(error.name)
    package = name.partition(".")[0]
    if package in TRAINING_PACKAGES:
        return CommandError(ErrorCode.OPTION_INVALID, f"{package} is not installed; pip install '.[train]' brings it")
    if package in OWN_PACKAGES and name != package:
        return None  # a module of ours that does not exist is a fault of the program
    return CommandError(ErrorCode.OPTION_INVALID, f"{package} is not installed here, and this command needs it")


def _model_error(error: Exception) -> CommandError | None:
    # An image of the API has no package `model`. An error of the model exists only if its module was imported.
    if "model.errors" not in sys.modules:
        return None
    from model.errors import CheckpointError, FetchError, ModelError

    if not isinstance(error, ModelError):
        return None
    codes = {CheckpointError: ErrorCode.CHECKPOINT_INVALID, FetchError: ErrorCode.URL_FETCH_FAILED}
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), ErrorCode.OPTION_INVALID)
    return CommandError(code, str(error))


def _media_error(error: Exception) -> CommandError | None:
    """Return the error for media that PyAV cannot read; its errors are OSErrors with numbers of their own."""
    if "av" not in sys.modules:
        return None
    import av

    if not isinstance(error, av.FFmpegError) or error.errno in errno.errorcode:
        return None
    named = f"{error.filename.removeprefix('file:')} " if isinstance(error.filename, str) else "A file "
    return CommandError(ErrorCode.VIDEO_UNREADABLE, f"{named}is damaged, or of a kind that cannot be read")


def _request_error(error: Exception) -> CommandError | None:
    if "httpx" not in sys.modules:
        return None
    import httpx

    if not isinstance(error, (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)):
        return None
    return CommandError(ErrorCode.INTERNAL, f"The service cannot be reached: {error}")


def _system_error(error: OSError) -> CommandError:
    """Return the error for a file, a disk or a process that the system refuses."""
    code = ErrorCode.STORAGE_FULL if error.errno in FULL else ErrorCode.OPTION_INVALID
    if error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN):
        code = ErrorCode.OUT_OF_MEMORY
    reason = error.strerror or str(error) or type(error).__name__
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return CommandError(code, ": ".join([" and ".join(named), reason] if named else [reason]))


def _fault(error: Exception) -> CommandError:
    """Save the traceback in a file and return the error that names the file."""
    sentence = f"A fault of the program: {type(error).__name__}"
    with suppress(OSError):
        descriptor, path = tempfile.mkstemp(prefix="lipsync-fault-", suffix=".txt")
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
        sentence += f"; {path} says where, for a report"
    return CommandError(ErrorCode.INTERNAL, sentence)
