"""Decode a video to I420 frames at a constant rate, upright, with square pixels and limited range.

Each range [first, last) is decoded by one ffmpeg process, and it gives exactly the frames that decoding the whole video
gives there: frames are placed on the grid by their own timestamps, counted from the first frame shown. After a seek,
decoding starts at a key frame well before the range. Formats without a reliable index, and films whose clock starts
again, are decoded from their beginning.

A GPU decodes long ranges if the source names one. Where it gives no more frames, software goes on with the next one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import ffmpeg
import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from app.core.jobs import VideoFacts
from app.core.probing.allowed import input_options
from app.core.probing.probe import Limits, PictureFacts, probe_picture
from app.core.probing.sniff import PICTURE_FORMATS
from model.arrays import U8
from worker.media.colour import ColourMatrix, planes_of_rgb
from worker.media.colour_conversion import (
    ALPHA_DECODERS,
    UNSPECIFIED,
    ColourConversion,
    check_tools,
    colour_filters,
    conversion_of,
    known_decoders,
    untagged,
)
from worker.media.ffmpeg_command import FfmpegOptions, ffmpeg_arguments, file_address, media_threads, short_queue
from worker.media.film_steps import clock_step, film_options, upright_steps
from worker.media.hdr_peak import peak_whites
from worker.media.media_process import MediaProcess
from worker.media.still import read_still
from worker.media.video_codecs import LEAST_FRAMES, VideoCodecs, nvdec_knows, nvdec_options, nvdec_steps

VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".avi", ".webm", ".m4v", ".ts"})
INDEXED_FORMATS: Final = frozenset({"mov", "matroska"})
SEEK_MARGIN_S: Final = 2.0
SEEK_MARGIN_FRAMES: Final = 32  # more than frames are ever reordered
MAX_FRAME_PIXELS: Final = 64 * 1024**2  # decoding stops when the frames of a stream grow beyond this and their double
ACCEPTED: Final = Limits(max_pixels=2**62)  # what was accepted once, under the settings, is not refused later
MAX_MISSING: Final = 0.1  # share of a clip that may fail to decode; the frame before it is repeated
STILL_FACTS: Final = PictureFacts(None, "1", False, True, False, UNSPECIFIED, UNSPECIFIED, UNSPECIFIED)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Video or still picture that is ready to be decoded.

    conversion: way from the colours of the file to those of the frames. still: the only frame of a still picture,
    (H * 3/2, W) uint8 I420; None for a video. warnings: sentences on what the frames do not show as the file does.
    codecs: what decodes it.
    """

    path: Path
    facts: VideoFacts
    picture: PictureFacts
    ffmpeg: str
    conversion: ColourConversion
    still: U8 | None = None
    warnings: tuple[str, ...] = ()
    codecs: VideoCodecs = field(default_factory=VideoCodecs)

    @property
    def colour(self) -> ColourMatrix:
        """Return the matrix of the decoded frames."""
        return self.conversion.colour

    @property
    def tags(self) -> dict[str, int]:
        """Return the colour tags for the encoder, as H.273 numbers."""
        return self.conversion.tags

    @property
    def rate(self) -> Fraction:
        """Return the frames per second."""
        return Fraction(self.facts.fps)

    @property
    def is_still(self) -> bool:
        """Return whether the source is a still picture."""
        return self.still is not None

    @property
    def frames(self) -> int:
        """Return the number of frames on the grid; a still picture has one, which is repeated."""
        return self.facts.frames

    @property
    def width(self) -> int:
        """Return the width of the decoded frames in pixels, which is even."""
        return self.facts.width + self.facts.width % 2

    @property
    def height(self) -> int:
        """Return the height of the decoded frames in pixels, which is even."""
        return self.facts.height + self.facts.height % 2


def open_source(
    path: Path,
    facts: VideoFacts,
    ffmpeg_path: str,
    check: Check,
    peak: float | None = None,
    codecs: VideoCodecs | None = None,
) -> Source:
    """Return the source of a video or still picture that was probed; raises InputError.

    peak: brightest light of an HDR video in reference whites; None: it is measured. codecs: what decodes it;
    None: software, on all cores.
    """
    if facts.format in PICTURE_FORMATS:
        colour = ColourMatrix.for_height(facts.height)
        still = read_still(path, facts.format, facts.width, facts.height, check)
        conversion = untagged(colour)
        planes = planes_of_rgb(still.rgb, colour)
        return Source(path, facts, STILL_FACTS, ffmpeg_path, conversion, planes, still.warnings)
    picture = facts.picture or probe_picture(path, ACCEPTED, facts.picture_changes)
    conversion = conversion_of(picture, facts.height)
    decoder = ALPHA_DECODERS.get(facts.codec) if picture.alpha else None
    warnings = check_tools(conversion, decoder, ffmpeg_path)
    if conversion.is_hdr:
        measured = peak or peak_whites(path, facts, conversion, picture, ffmpeg_path, check)
        conversion = replace(conversion, peak=measured)
    source = Source(path, facts, picture, ffmpeg_path, conversion, warnings=warnings, codecs=codecs or VideoCodecs())
    if facts.kind == "image":
        return replace(source, still=next(decode(source, 0, 1, check)))
    return source


def decode(source: Source, first: int, last: int, check: Check) -> Iterator[U8]:
    """Yield the frames [first, last) of the grid, each in an array of its own, (H * 3/2, W) uint8 I420.

    Instead of frames that fail to decode, the frame before them is repeated. Raises InputError when more than a tenth
    of the clip fails.
    """
    if source.still is not None:
        for _ in range(first, last):
            yield source.still.copy()
        return
    frame, count = None, 0
    for following in _decode_stream(source, first, last, check):
        if frame is not None:
            yield frame
        frame = following
        count += 1
    missing = last - first - count
    allowed = max(2, round(MAX_MISSING * source.frames))
    if frame is None and first > 0:  # no frame of the range: repeat the frame before it
        frame = next(iter(deque(_decode_stream(source, max(0, first - allowed), first, check), maxlen=1)), None)
    if frame is None or missing > allowed:
        reached_s = float((first + count) / source.rate)
        raise InputError(ErrorCode.VIDEO_UNREADABLE, f"The video can only be decoded up to {reached_s:.1f} s.")
    for _ in range(missing):  # copied before it is given away, because it may be drawn into then
        yield frame.copy()
    if count:
        yield frame


def _decode_stream(source: Source, first: int, last: int, check: Check) -> Iterator[U8]:
    gpu = source.codecs.decoder_gpu
    if gpu is not None and last - first >= LEAST_FRAMES and nvdec_knows(source.facts, source.picture):
        for frame in gpu_frames(source, gpu, first, last, check):
            yield frame
            first += 1
        if first == last:
            return
        log.warning("the GPU decoded only up to frame %d, software goes on", first)
    yield from frames_of(range_arguments(source, first, last), source, last - first, check)


def gpu_frames(source: Source, gpu: int, first: int, last: int, check: Check) -> Iterator[U8]:
    """Yield as many frames of [first, last) as a GPU decodes, without any error when there are fewer."""
    with suppress(InputError):
        yield from frames_of(range_arguments(source, first, last, gpu), source, last - first, check)


def frames_of(arguments: list[str], source: Source, count: int, check: Check) -> Iterator[U8]:
    """Yield up to `count` frames that an ffmpeg shows, (H * 3/2, W) uint8 I420; raises InputError."""
    width, height = source.facts.width, source.facts.height
    chroma = ((height + 1) // 2) * ((width + 1) // 2)
    with MediaProcess(arguments, check, reads=True) as process:
        for _ in range(count):
            raw = np.empty(width * height + 2 * chroma, np.uint8)
            if process.read_into(raw.data) < raw.nbytes:
                status = process.wait()
                if status != 0:
                    log.info("decoding ended early: %s", process.error_output().strip())
                if status < 0:  # after a crash, unlike after a damaged frame, no frame may be repeated
                    raise InputError(ErrorCode.VIDEO_UNREADABLE, "The video cannot be decoded.")
                return
            yield _even(raw, width, height)


def _even(raw: U8, width: int, height: int) -> U8:
    """Shape raw bytes as I420 of even size: one row or column of luma is repeated, chroma already covers it."""
    if width % 2 == 0 and height % 2 == 0:
        return raw.reshape(height * 3 // 2, width)
    luma: U8 = raw[: width * height].reshape(height, width)
    luma = np.pad(luma, ((0, height % 2), (0, width % 2)), mode="edge")
    planes: U8 = np.concatenate([luma.reshape(-1), raw[width * height :]])
    return planes.reshape(luma.shape[0] * 3 // 2, luma.shape[1])


def indexed_start_s(source: Source) -> Fraction | None:
    """Return the time of the first frame, in seconds, in a file whose index finds frames by their time; else None."""
    has_index = source.facts.format in INDEXED_FORMATS and not source.facts.clock_restarts
    if not has_index or source.picture.start_pts is None:
        return None
    return source.picture.start_pts * Fraction(source.picture.time_base)


def seek_options(time_s: Fraction) -> FfmpegOptions:
    """Return the options that begin to decode at a key frame before a time of the file."""
    return {"ss": f"{float(time_s):.6f}", "seek_timestamp": 1, "noaccurate_seek": None}


def seek(source: Source, number: int | Fraction) -> tuple[FfmpegOptions, Fraction | None]:
    """Return the options that begin to decode at a key frame before a frame, and the start for `clock_step`.

    A file that cannot be sought, or number 0, is decoded from its beginning. It is no accurate seek: a later filter
    must decide where the frames begin.
    """
    start_s = indexed_start_s(source)
    options: FfmpegOptions = {"copyts": None}  # times as in the file: ffmpeg has its own rule for clocks that restart
    if number <= 0 or start_s is None:
        return options, None
    return options | seek_options(start_s + number / source.rate), start_s


def range_arguments(source: Source, first: int, last: int, gpu: int | None = None) -> list[str]:
    """Return the ffmpeg that decodes the frames [first, last) of a video, in software or on a GPU."""
    margin = max(SEEK_MARGIN_FRAMES, round(SEEK_MARGIN_S * source.rate))
    options, start_s = seek(source, first - margin)
    steps = [clock_step(source.facts, start_s), *upright_steps(source.facts, source.picture)]
    if gpu is None:
        options["threads"] = media_threads(max(1, source.codecs.cores // 2))  # later stages are slower
    else:
        options |= nvdec_options(gpu)
        steps = [*nvdec_steps(source.picture), *steps]
    steps.append(f"fps=fps={source.rate}:start_time={float(first / source.rate):.6f}:round=near")
    return film_arguments(source, options, steps, last - first)


def film_arguments(source: Source, options: FfmpegOptions, steps: list[str], count: int) -> list[str]:
    """Return the arguments of an ffmpeg that shows `count` frames of a film after some filters, as I420.

    options: of its input, beside those that every reading of the film has.
    """
    facts, picture = source.facts, source.picture
    largest = max(MAX_FRAME_PIXELS, 2 * facts.width * facts.height)
    always: FfmpegOptions = {"f": facts.format, "max_pixels": largest}
    always |= input_options(facts.format)
    always |= film_options(picture, source.ffmpeg)
    decoder = ALPHA_DECODERS.get(facts.codec)
    if picture.alpha and decoder is not None and decoder in known_decoders(source.ffmpeg):
        always["c:v"] = decoder
    output = {
        "format": "rawvideo",
        "pix_fmt": "yuv420p",
        "map": f"0:{picture.stream}",
        "vf": ",".join([*steps, *colour_filters(source.conversion, picture, facts.width, facts.height)]),
        "fps_mode": "passthrough",
        "frames:v": count,
        **short_queue(source.ffmpeg),
    }
    stream = ffmpeg.input(file_address(source.path), **always, **options).output("pipe:1", **output)
    return ffmpeg_arguments(stream, source.ffmpeg)
