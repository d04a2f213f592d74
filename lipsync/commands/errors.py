"""Errors of the command line. This module alone turns an error into a line on standard error and an exit status."""

from __future__ import annotations

import sys
from typing import IO, Any, Final

import click

from app.core.errors import ErrorCode, LipSyncError

EXIT_REFUSED: Final = 2
# Packages of the extra `train`. An image that only serves does not have them.
TRAINING_PACKAGES: Final = ("skimage", "lpips", "h5py", "torchvision", "espeakng_loader", "tensorboard")


class CommandError(click.ClickException):
    """Error that ends a command with `error: <code>: <sentence>` and exit status 2."""

    exit_code = EXIT_REFUSED

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence.rstrip(".") + ".")
        self.code = code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"error: {self.code}: {self.message}", file=file, err=file is None)


class CommandGroup(click.Group):
    """Group of commands whose known errors end as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command; raises CommandError for every error that has a sentence for the user."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            ending = command_error(error)
            if ending is None:
                raise
            raise ending from error


def command_error(error: Exception) -> CommandError | None:
    """Return what to print for an error, or None if the error is a fault of the program."""
    if isinstance(error, LipSyncError):
        return CommandError(error.code, error.message)
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        if package not in TRAINING_PACKAGES:
            return None
        return CommandError(ErrorCode.OPTION_INVALID, f"{package} is not installed; pip install '.[train]' brings it")
    return _model_error(error)


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
