"""Job options from text; form fields and command-line values get the same checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final, NoReturn

from pydantic import BaseModel, ValidationError

from app.core.dubs import Dub, DubOptions, dub_name
from app.core.errors import ErrorCode, InputError
from app.core.face_choice import SPEAKING, point_of
from app.core.faults import names_beside, reason_of
from app.core.jobs import MAX_METADATA_BYTES, JobInput, JobOptions, VideoFacts

# The largest picture of H.264, at level 6.2, and the widest that x264 encodes.
MAX_OUTPUT_PIXELS: Final = 139_264 * 256
MAX_OUTPUT_SIDE_PX: Final = 16_384
MAX_NAME_SHOWN: Final = 40  # characters of a name that a caller made up
OPTION_NAMES: Final = frozenset(JobOptions.model_fields)


def option_error(message: str) -> InputError:
    """Return the error for a wrong option or a wrong part of a form."""
    return InputError(ErrorCode.OPTION_INVALID, message)


def options_from_text(values: Mapping[str, str]) -> JobOptions:
    """Return the checked options; the texts of `metadata` and `segments` are JSON.

    Raises InputError(option_invalid) that names the first wrong option.
    """
    typed: dict[str, Any] = {}
    for name, text in values.items():
        if name not in OPTION_NAMES:
            raise option_error(f"{quoted(name)} is not an option.")
        typed[name] = _FROM_JSON[name](text) if name in _FROM_JSON else text
    return checked_options(typed)


def checked_options(values: Mapping[str, Any]) -> JobOptions:
    """Return the options with these values; raises InputError(option_invalid) that names the first wrong option."""
    try:
        return JobOptions.model_validate(values)
    except ValidationError as error:
        place, reason = first_fault(error, JobOptions)
        raise option_error(f"{place_text(place)}: {reason}." if place else f"{reason}.") from None


def place_text(place: tuple[int | str, ...]) -> str:
    """Return the place of a fault as a path, such as `segments[1].end_s`; names that nobody expects are quoted."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in place)
    return path.removeprefix(".")


def _shown(name: str) -> str:
    return name if name.isidentifier() and name.isascii() and len(name) <= MAX_NAME_SHOWN else quoted(name)


def first_fault(error: ValidationError, model: type[BaseModel] | None = None) -> tuple[tuple[int | str, ...], str]:
    """Return the place of the first fault that pydantic found, and what is wrong there, without what was sent.

    model: of what was checked, or of the entries of a list; then the fault of an unknown name tells the known ones.
    """
    first = error.errors(include_input=False, include_url=False)[0]
    place, reason = first["loc"], reason_of(first)
    if model is not None and first["type"] == "extra_forbidden":
        reason = f"{reason}; the fields are {', '.join(names_beside(place, model))}"
    return place, reason


def check_options_fit(options: JobOptions, job_input: JobInput, max_duration_s: float) -> None:
    """Raise InputError if an option or the output does not fit this input.

    max_duration_s: longest output of a still picture, whose dubs could otherwise be of any length. Codes:
    option_invalid, resolution_exceeded, duration_exceeded.
    """
    video = job_input.video
    if video.kind == "video":
        _check_times(options, video)
    _check_output_size(options, video)
    check_film_sound(options, job_input)
    _check_point("", options.face, video)
    for number, dub in enumerate(options.segments):
        _check_dub(dub_name(number), dub, options, video)
    if video.kind == "image" and options.segments and voices_end_s(job_input, options) > max_duration_s:
        message = f"The segments end after {max_duration_s:g} s."
        raise InputError(ErrorCode.DURATION_EXCEEDED, message)


def voices_end_s(job_input: JobInput, options: JobOptions) -> float:
    """Return when the voice ends, or the last stretch with a voice of its own, in seconds from the start."""
    if job_input.audio is not None:
        return job_input.audio.duration_s
    return max((dub.end_s for dub in options.segments), default=0.0)


def effective_options(options: JobOptions) -> JobOptions:
    """Return the options of a job with all that its dubs take from them, and with the mode that dubs imply."""
    if not options.segments:
        return options
    dubs = []
    for dub in options.segments:
        own = dub.options.model_dump(exclude_none=True)
        usual = {name: getattr(options, name) for name in DubOptions.model_fields}
        dubs.append(dub.model_copy(update={"face": dub.face or options.face, "options": DubOptions(**(usual | own))}))
    return options.model_copy(update={"segments": tuple(dubs), "sync_mode": "silence"})


def needs_film_sound(options: JobOptions) -> bool:
    """Return whether the video's own sound is played, or tells who speaks."""
    return bool(options.segments) or options.face == SPEAKING


def check_film_sound(options: JobOptions, job_input: JobInput) -> None:
    """Raise InputError(audio_stream_missing) if the video's own sound has to tell who speaks, but cannot be had."""
    faces = [dub.face or options.face for dub in options.segments] or [options.face]
    if SPEAKING in faces and job_input.film_audio is None:
        message = "face: `speaking` needs a video with sound of its own, which tells who speaks."
        raise InputError(ErrorCode.AUDIO_STREAM_MISSING, message)


def options_of_dub(options: JobOptions, dub: Dub) -> JobOptions:
    """Return the options of a job as they hold for one dub."""
    own = dub.options.model_dump(exclude_none=True)
    return options.model_copy(update={"face": dub.face or options.face, **own})


def output_duration_s(job_input: JobInput, options: JobOptions) -> float:
    """Return how long the output will be in seconds, right to about a frame."""
    voice_s, video = voices_end_s(job_input, options), job_input.video
    if video.kind == "image":
        return voice_s
    end_s = video.duration_s if options.end_s is None else min(options.end_s, video.duration_s)
    shown_s = max(0.0, end_s - options.start_s)
    if options.segments:
        return shown_s
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


def _check_dub(name: str, dub: Dub, options: JobOptions, video: VideoFacts) -> None:
    _check_point(f"{name}.", dub.face or "", video)
    if video.kind == "image":
        return
    if dub.end_s > video.duration_s + 0.1:
        raise option_error(f"{name}.end_s: {dub.end_s:g} is beyond the end of the video ({video.duration_s:.2f} s).")
    shown_end_s = video.duration_s if options.end_s is None else options.end_s
    if dub.start_s >= shown_end_s - 0.5 / float(Fraction(video.fps)) or dub.end_s <= options.start_s:
        raise option_error(f"{name}: the output does not show this stretch (see start_s and end_s).")


def _check_point(owner: str, face: str, video: VideoFacts) -> None:
    point = point_of(face)
    if point is not None and (point[0] >= video.width or point[1] >= video.height):
        raise option_error(f"{owner}face: the point lies outside the picture ({video.width}x{video.height}).")


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
    """Return an untrusted name in a form that is safe to show: at most MAX_NAME_SHOWN characters, ASCII, quoted."""
    return ascii(name[:MAX_NAME_SHOWN])


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


def _segments(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise option_error("segments: must be JSON.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_FROM_JSON: Final[dict[str, Callable[[str], Any]]] = {"metadata": _metadata, "segments": _segments}
