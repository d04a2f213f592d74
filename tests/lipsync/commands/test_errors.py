from __future__ import annotations

import errno
import re
from pathlib import Path

import av
import click
import httpx
import pytest
from click.testing import CliRunner

from app.core.errors import ERROR_FACTS, CapacityError, ErrorCode, InputError
from lipsync.commands.errors import CommandError, CommandGroup, job_error
from model.errors import CheckpointError, EspeakError, FetchError, RecipeError


def run(error: Exception) -> tuple[int, str, BaseException | None]:
    """Run a command that raises the error; return its exit status, its standard error, and what it let through."""

    @click.group(cls=CommandGroup)
    def program() -> None:
        pass

    @program.command()
    def fail() -> None:
        raise error

    ended = CliRunner().invoke(program, ["fail"])
    return ended.exit_code, ended.stderr, ended.exception


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError(ErrorCode.OPTION_INVALID, "No."), "error: option_invalid: No."),
        (CapacityError(ErrorCode.QUEUE_FULL, "Full."), "error: queue_full: Full."),
        (CheckpointError("a.bin is damaged"), "error: checkpoint_invalid: a.bin is damaged."),
        (FetchError("it answers 404"), "error: url_fetch_failed: it answers 404."),
        (RecipeError("run.steps is missing"), "error: option_invalid: run.steps is missing."),
        (EspeakError("eSpeak NG is missing."), "error: option_invalid: eSpeak NG is missing."),
        (CommandError("run_timeout", "Not yet."), "error: run_timeout: Not yet."),
        (
            ModuleNotFoundError("", name="skimage.metrics"),
            "error: option_invalid: skimage is not installed; pip install '.[train]' brings it.",
        ),
        (
            ModuleNotFoundError("", name="worker"),
            "error: option_invalid: worker is not installed here, and this command needs it.",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"),
            "error: option_invalid: a/b: No such file or directory.",
        ),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "error: option_invalid: a and b: Invalid cross-device link.",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "error: storage_full: No space left on device."),
        (
            OSError(errno.EROFS, "Read-only file system", "o.mp4"),
            "error: option_invalid: o.mp4: Read-only file system.",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "error: out_of_memory: Too many open files."),
        (OSError("no number"), "error: option_invalid: no number."),
        (MemoryError(), "error: out_of_memory: This machine has too little free memory for the command."),
        (
            av.InvalidDataError(1094995529, "Invalid data", "file:a.mp4"),
            "error: video_unreadable: a.mp4 is damaged, or of a kind that cannot be read.",
        ),
        (av.FileNotFoundError(2, "No such file", "a.mp4"), "error: option_invalid: a.mp4: No such file."),
        (httpx.ConnectError("refused"), "error: internal: The service cannot be reached: refused."),
        (InputError(ErrorCode.OPTION_INVALID, "Two\nlines."), "error: option_invalid: Two lines."),
    ],
)
def test_a_known_error_is_one_line_and_status_2(error: Exception, line: str) -> None:
    status, told, _ = run(error)
    assert (status, told) == (2, line + "\n")


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (InputError(ErrorCode.RESOLUTION_EXCEEDED, "No."), "Scale the picture down, or raise LIPSYNC_MAX_PIXELS."),
        (InputError(ErrorCode.OPTION_INVALID, "No."), None),  # the usual hint names a page of the service
        (InputError(ErrorCode.OPTION_INVALID, "No.", hint="Two\nlines"), "Two lines."),
        (CapacityError(ErrorCode.QUEUE_FULL, "Full."), None),
        (job_error({"code": "face_too_small", "message": "No.", "hint": "Come closer."}), "Come closer."),
        (job_error({"code": "worker_lost", "message": "No.", "hint": ERROR_FACTS[ErrorCode.WORKER_LOST].hint}), None),
        (job_error({"code": "of_a_later_version", "message": "No.", "hint": "Do it."}), "Do it."),
        (job_error({"code": "worker_lost", "message": "No."}), None),
    ],
)
def test_a_hint_is_a_second_line(error: Exception, hint: str | None) -> None:
    status, told, _ = run(error)
    first, *others = told.splitlines()
    assert status == 2 and first.startswith("error: ") and others == ([] if hint is None else [f"hint: {hint}"])


@pytest.mark.parametrize("error", [ValueError("a bug"), ModuleNotFoundError("", name="app.nothing"), KeyError("x")])
def test_a_fault_of_the_program_is_one_line_that_names_its_traceback(error: Exception) -> None:
    status, told, _ = run(error)
    match = re.fullmatch(r"error: internal: A fault of the program: \w+; (\S+) says where, for a report[.]\n", told)
    assert status == 2 and match is not None
    saved = Path(match[1])
    try:
        assert "Traceback" in saved.read_text() and type(error).__name__ in saved.read_text()
    finally:
        saved.unlink()


def test_an_interrupted_command_has_the_status_of_shells() -> None:
    @click.group(cls=CommandGroup)
    def program() -> None:
        pass

    @program.command()
    def stop() -> None:
        raise KeyboardInterrupt

    ended = CliRunner().invoke(program, ["stop"])
    assert (ended.exit_code, ended.stderr.strip()) == (130, "error: canceled: Stopped by Ctrl-C.")


def test_the_callers_of_a_group_can_have_its_errors() -> None:
    @click.group(cls=CommandGroup)
    def program() -> None:
        pass

    with pytest.raises(click.UsageError):
        program.main(["nothing"], standalone_mode=False)
