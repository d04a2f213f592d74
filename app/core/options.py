"""Job options from text; form fields and command-line values get the same checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from app.core.errors import ErrorCode, InputError
from app.core.jobs import MAX_METADATA_BYTES, JobInput, JobOptions

OPTION_NAMES: Final = frozenset(JobOptions.model_fields)


def option_error(message: str) -> InputError:
    """Return the error for a wrong option or a wrong part of a form."""
    return InputError(ErrorCode.OPTION_INVALID, message)


def options_from_text(values: Mapping[str, str]) -> JobOptions:
    """Return the checked options; the text of `metadata` is JSON.

    Raises InputError(option_invalid) that names the first wrong option.
    """
    typed: dict[str, Any] = {}
    for name, text in values.items():
        if name not in OPTION_NAMES:
            raise option_error(f"{quoted(name)} is not an option.")
        typed[name] = _metadata(text) if name == "metadata" else text
    try:
        return JobOptions.model_validate(typed)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"][:1])
        reason = first["msg"].removeprefix("Value error, ")
        raise option_error(f"{name}: {reason}." if name else f"{reason}.") from None


def check_options_fit(options: JobOptions, job_input: JobInput) -> None:
    """Raise InputError(option_invalid) if an option does not fit this input."""
    video = job_input.video
    if video.kind == "video":
        for name, value in (("start_s", options.start_s), ("end_s", options.end_s or 0.0)):
            beyond = value >= video.duration_s if name == "start_s" else value > video.duration_s + 0.1
            if beyond and value > 0:
                raise option_error(f"{name}: {value:g} is beyond the end of the video ({video.duration_s:.2f} s).")
    if options.face.startswith("point:"):
        x, y = (float(part) for part in options.face.removeprefix("point:").split(","))
        if x >= video.width or y >= video.height:
            raise option_error(f"face: the point lies outside the picture ({video.width}x{video.height}).")


def quoted(name: str) -> str:
    """Return an untrusted name in a form that is safe to show: at most 40 characters, ASCII, quoted."""
    return ascii(name[:40])


def _metadata(text: str) -> dict[str, Any]:
    if len(text.encode(errors="replace")) > 2 * MAX_METADATA_BYTES:
        raise option_error("metadata: must be at most 4 KiB of JSON.")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise option_error("metadata: must be JSON.") from None
    if not isinstance(value, dict):
        raise option_error("metadata: must be a JSON object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
