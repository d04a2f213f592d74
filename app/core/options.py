"""Job options from text; form fields and command-line values get the same checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from app.core.errors import ErrorCode, InputError
from app.core.jobs import MAX_METADATA_BYTES, JobInput, JobOptions, VideoFacts

# The largest picture of H.264, at level 6.2, and the widest that x264 encodes.
MAX_OUTPUT_PIXELS: Final = 139_264 * 256
MAX_OUTPUT_SIDE_PX: Final = 16_384
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
    return checked_options(typed)


def checked_options(values: Mapping[str, Any]) -> JobOptions:
    """Return the options with these values; raises InputError(option_invalid) that names the first wrong option."""
    try:
        return JobOptions.model_validate(values)
    except ValidationError as error:
        place, reason = first_fault(error)
        raise option_error(f"{place[0]}: {reason}." if place else f"{reason}.") from None


def first_fault(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """Return the place of the first fault that pydantic found, and what is wrong there, without what was sent."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return first["loc"], first["msg"].removeprefix("Value error, ")


def check_options_fit(options: JobOptions, job_input: JobInput) -> None:
    """Raise InputError(option_invalid, resolution_exceeded) if an option or the output does not fit this input."""
    video = job_input.video
    if video.kind == "video":
        _check_times(options, video)
    _check_output_size(options, video)
    if options.face.startswith("point:"):
        x, y = (float(part) for part in options.face.removeprefix("point:").split(","))
        if x >= video.width or y >= video.height:
            raise option_error(f"face: the point lies outside the picture ({video.width}x{video.height}).")


def output_duration_s(job_input: JobInput, options: JobOptions) -> float:
    """Return how long the output will be in seconds, right to about a frame."""
    voice_s, video = job_input.audio.duration_s, job_input.video
    if video.kind == "image":
        return voice_s
    end_s = video.duration_s if options.end_s is None else min(options.end_s, video.duration_s)
    shown_s = max(0.0, end_s - options.start_s)
    return {"cut_off": min(shown_s, voice_s), "silence": shown_s}.get(options.sync_mode, voice_s)


def output_size_px(width: int, height: int, options: JobOptions) -> tuple[int, int]:
    """Return the width and height of the output in px, both even, for a source of this size."""
    wanted = options.output_height or height
    if wanted == height:
        return width + width % 2, height + height % 2
    wanted += wanted % 2
    return max(2, round(width * wanted / height / 2) * 2), wanted


def _check_times(options: JobOptions, video: VideoFacts) -> None:
    """Refuse a part of the video that has no frame: `start_s` is rounded to the frame that it means."""
    ending = f"is beyond the end of the video ({video.duration_s:.2f} s)."
    if int(Fraction(options.start_s) * Fraction(video.fps) + Fraction(1, 2)) >= video.frames:
        raise option_error(f"start_s: {options.start_s:g} {ending}")
    if options.end_s is not None and options.end_s > video.duration_s + 0.1:
        raise option_error(f"end_s: {options.end_s:g} {ending}")


def _check_output_size(options: JobOptions, video: VideoFacts) -> None:
    width, height = output_size_px(video.width, video.height, options)
    if max(width, height) <= MAX_OUTPUT_SIDE_PX and width * height <= MAX_OUTPUT_PIXELS:
        return
    limits = f"an MP4 can have {MAX_OUTPUT_SIDE_PX} px a side and {MAX_OUTPUT_PIXELS} px"
    if options.output_height is None:
        message = f"The picture is {width}x{height} pixels; {limits}."
        raise InputError(ErrorCode.RESOLUTION_EXCEEDED, message)
    raise option_error(f"output_height: the output would be {width}x{height} pixels; {limits}.")


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
