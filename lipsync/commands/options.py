"""What several commands share: settings, option groups, checks of paths, and lines for the user."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.core.errors import ErrorCode, InputError

if TYPE_CHECKING:
    from app.core.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Options = TypeVar("_Options")

FILE = click.Path(path_type=Path)
FILE_TO_WRITE = click.Path(path_type=Path, dir_okay=False)
FOLDER_TO_WRITE = click.Path(path_type=Path, file_okay=False)
SEED = click.IntRange(0, 2**32 - 1)  # what generators of random numbers take
SEGMENTS_HELP = (
    "JSON file with stretches of the video, each with a voice and a face of its own, instead of --audio: a list of "
    '{"start_s", "end_s", "audio": FILE, "face", "options"}. A FILE is looked for beside the JSON file.'
)
SERVICE_OPTIONS = frozenset({"priority", "webhook_url", "metadata"})  # of a job that waits, and that is asked for later
ENCODER_HELP = "Folder of the speech encoder; else LIPSYNC_SPEECH_ENCODER's, else the installed package's."


def load_settings() -> Settings:
    """Read the settings; raises InputError that names the first wrong one."""
    from pydantic import ValidationError

    from app.core.options import first_fault
    from app.core.settings import PREFIX, Settings

    try:
        return Settings()
    except ValidationError as error:
        place, reason = first_fault(error)
        name = f"{PREFIX}{place[0]}: ".upper() if place else ""  # none: a rule of several settings
        raise InputError(ErrorCode.OPTION_INVALID, f"{name}{reason}.") from error
    except ValueError as error:
        raise InputError(ErrorCode.OPTION_INVALID, f"{error}.") from error


def chosen_encoder(given: Path | None) -> Path | None:
    """Return the folder of the speech encoder: the given one, else the one of the settings, else None."""
    return given or load_settings().speech_encoder


def load_settings_with(checkpoint: Path | None) -> Settings:
    """Read the settings; a checkpoint given on the command line replaces theirs."""
    settings = load_settings()
    return settings if checkpoint is None else settings.model_copy(update={"checkpoint": checkpoint})


def job_options(*, served: bool = True) -> Callable[[_Command], _Command]:
    """Add one command-line option for each option of a job; its value is text, or None if it was not given.

    served: also add those that mean something to a service alone.
    """
    from app.core.jobs import JobOptions

    def add(command: _Command) -> _Command:
        for name, field in reversed(JobOptions.model_fields.items()):
            if name in SERVICE_OPTIONS and not served:
                continue
            if name == "segments":
                command = click.option("--segments", type=FILE, help=SEGMENTS_HELP)(command)
            else:
                command = click.option(f"--{name.replace('_', '-')}", name, help=field.description)(command)
        return command

    return add


def check_has_voice(audio: Path | None, segments: Path | None) -> None:
    """End the command unless there is one voice, or a file that names the voices."""
    if (audio is None) == (segments is None):
        raise click.UsageError("Give either --audio or --segments.")


def read_segments(path: Path | None) -> tuple[str | None, dict[str, Path]]:
    """Return the text of the option `segments` from a JSON file, and the voices that it names, by their new names.

    Names of files are relative to the folder of the JSON file; addresses and uploads stay. Raises InputError.
    """
    from app.core.dubs import VOICE_PREFIX
    from app.core.file_names import is_elsewhere
    from app.core.options import option_error

    if path is None:
        return None, {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise option_error(f"segments: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise option_error("segments: must be a file with JSON.") from None
    voices: dict[str, Path] = {}
    for entry in entries if isinstance(entries, list) else []:
        audio = entry.get("audio") if isinstance(entry, dict) else None
        if isinstance(audio, str) and audio and not is_elsewhere(audio):
            place = path.parent / audio
            known = {known: name for name, known in voices.items()}
            entry["audio"] = known.get(place, f"{VOICE_PREFIX}{len(voices)}")
            voices[entry["audio"]] = place
    return json.dumps(entries), voices


def grouped(kind: type[_Options]) -> Callable[[Callable[[_Options], None]], Callable[..., None]]:
    """Pass the options of a command as one dataclass; its fields have the names of the options."""

    def decorate(command: Callable[[_Options], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: object) -> None:
            command(kind(**values))

        return run

    return decorate


class FiniteRange(click.FloatRange):
    """Range of numbers that are finite; click's own lets `nan` pass, which is neither in a range nor outside."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; ends the command for any other text."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return float(number)


def check_can_be_folder(path: Path) -> None:
    """Raise InputError if the path, or a folder above it, is a file, or if nothing can be written there."""
    first = next(place for place in (path, *path.parents) if place.exists())
    if not first.is_dir():
        raise InputError(ErrorCode.OPTION_INVALID, f"{path} cannot be a folder: {first} is a file.")
    if not os.access(first, os.W_OK | os.X_OK):
        raise InputError(ErrorCode.OPTION_INVALID, f"{path}: the folder {first} cannot be written to.")


def check_can_be_written(path: Path) -> None:
    """Raise InputError if no file can be written at this path, before hours of work end there."""
    if path.is_dir():
        raise InputError(ErrorCode.OPTION_INVALID, f"{path} is a folder, not a file.")
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(ErrorCode.OPTION_INVALID, f"{path} cannot be written to.")
    check_can_be_folder(path.parent)


def write_json(path: Path, figures: object, indent: int) -> None:
    """Write figures as JSON; makes the folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=indent) + "\n")


def log_line(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def print_broken(promises: list[str]) -> None:
    """Print each broken promise as an error line."""
    for promise in promises:
        log_line(f"error: {promise}")
