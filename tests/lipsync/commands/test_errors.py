from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from app.core.errors import CapacityError, ErrorCode, InputError
from lipsync.commands.errors import CommandError, CommandGroup
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
    ],
)
def test_a_known_error_is_one_line_and_status_2(error: Exception, line: str) -> None:
    status, told, _ = run(error)
    assert (status, told) == (2, line + "\n")


@pytest.mark.parametrize("error", [ValueError("a bug"), ModuleNotFoundError("", name="app.nothing")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    status, told, let_through = run(error)
    assert status == 1 and told == "" and let_through is error
