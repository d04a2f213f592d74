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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final, TypeVar

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
from worker.media.ffmpeg_command import FfmpegOptions, ffmpeg_arguments, file_address
from worker.media.film_steps import clock_step, film_options, upright_steps
from worker.media.hdr_peak import peak_whites
from worker.media.media_process import MediaProcess
from worker.media.still import read_still
from worker.media.video_codecs import LEAST_FRAMES, nvdec_format, nvdec_options, nvdec_steps
from worker.process_share import usable_cores

VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".avi", ".webm", ".m4v", ".ts"})
INDEXED_FORMATS: Final = frozenset({"mov", "matroska"})
SEEK_MARGIN_S: Final = 2.0
SEEK_MARGIN_FRAMES: Final = 32  # more than frames are ever reordered
MAX_FRAME_PIXELS: Final = 64 * 1024**2  # decoding stops when the frames of a stream grow beyond this and their double
ACCEPTED: Final = Limits(max_pixels=2**62)  # what was accepted once, under the settings, is not refused later
SOUGHT_FORMATS: Final = INDEXED_FORMATS | {"mpegts", "mpeg", "avi"}  # a time is found without reading all before it
SPARSE_SLACK_S: Final = 0.2  # how much later than its time a sparse frame may be, so that fewer frames are decoded
SEEK_COST_FRAMES: Final = 50  # what starting a decoder costs, in decoded frames
MOST_TIMES: Final = 0.8  # share of the times that must have a frame when some frames are passed over
HALF_FRAME: Final = Fraction(1, 2)
MOST_THREADS: Final = 16  # of a decoder, each of which holds a frame; ffmpeg itself starts no more
MAX_MISSING: Final = 0.1  # share of a clip that may fail to decode; the frame before it is repeated
STILL_FACTS: Final = PictureFacts(None, "1", False, True, False, UNSPECIFIED, UNSPECIFIED, UNSPECIFIED)

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Video or still picture that is ready to be decoded.

    conversion: way from the colours of the file to those of the frames. still: the only frame of a still picture,
    (H * 3/2, W) uint8 I420; None for a video. warnings: sentences on what the frames do not show as the file does.
    gpu: number of the GPU that decodes what it can; None: software decodes.
    """

    path: Path
    facts: VideoFacts
    picture: PictureFacts
    ffmpeg: str
    conversion: ColourConversion
    still: U8 | None = None
    warnings: tuple[str, ...] = ()
    gpu: int | None = None

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
    gpu: int | None = None,
) -> Source:
    """Return the source of a video or still picture that was probed; raises InputError.

    peak: brightest light of an HDR video in reference whites; None: it is measured. gpu: see `Source`.
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
    source = Source(path, facts, picture, ffmpeg_path, conversion, warnings=warnings, gpu=gpu)
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


def sparse_frames(
    source: Source, numbers: Sequence[int], last: int, see: Callable[[int, U8], T], check: Check
) -> Iterator[tuple[U8, T]]:
    """Yield a frame at the time of each of some frame numbers, (H * 3/2, W) uint8 I420, with what `see` makes of it.

    numbers: what `sparse_numbers` gave for a range that ends before `last`. Only the times decide, wherever key frames
    lie: each frame is at most SPARSE_SLACK_S later than its time. Frames that no other frame needs are passed over,
    which saves much of the decoding, unless that would leave a time without a frame. The range is read once or each
    time is sought, whichever decodes less. So the cost is at most that of reading the range, and in a long clip that
    of each time half the distance of its key frames. When no frame is found, the first one of the range is yielded.

    see(number, planes): called while the next frames are decoded. What it makes of a reading that leaves too many
    times without a frame is dropped.
    """
    if source.still is not None:
        yield source.still, see(numbers[0], source.still)
        return
    found = 0
    if _seeks_pay(source, last - numbers[0], len(numbers)):
        for number in numbers:
            for frame in _sought_frame(source, number, last, check):
                yield frame, see(numbers[found], frame)
                found += 1
    if not found:
        for pair in _spaced_frames(source, numbers, last, see, check):
            found += 1
            yield pair
    if not found:
        for frame in decode(source, numbers[0], numbers[0] + 1, check):
            yield frame, see(numbers[0], frame)


def sparse_numbers(first: int, last: int, count: int) -> list[int]:
    """Return the numbers of up to `count` frames at evenly spaced times of [first, last)."""
    count = min(count, last - first)
    return [first + (last - first) * index // count for index in range(count)]


def _seeks_pay(source: Source, frames: int, count: int) -> bool:
    """Return whether seeking `count` frames of a range of so many frames decodes less than reading the range."""
    interval = source.facts.keyframe_interval
    if interval is None or source.picture.start_pts is None or source.facts.clock_restarts:
        return False
    if source.facts.format not in SOUGHT_FORMATS:
        return False
    run_up = interval / 2 if source.facts.format in INDEXED_FORMATS else interval * 1.5
    return count * (SEEK_COST_FRAMES + run_up) < frames


def _sought_frame(source: Source, number: int, last: int, check: Check) -> list[U8]:
    """Return the frame with a number, or one that follows soon; none if there is none before `last`."""
    for skip, slack_s in (("noref", SPARSE_SLACK_S), ("default", float((last - number) / source.rate))):
        arguments = _sought_arguments(source, number, slack_s, skip)
        for frame in _frames_of(arguments, source, 1, check):
            return [frame]
    return []


def _spaced_frames(
    source: Source, numbers: Sequence[int], last: int, see: Callable[[int, U8], T], check: Check
) -> list[tuple[U8, T]]:
    """Return the frames at the times of some numbers, from a range that is read once; twice if frames are missing."""
    pairs: list[tuple[U8, T]] = []
    first, count = numbers[0], len(numbers)
    for skip, slack_s in (("noref", SPARSE_SLACK_S), ("default", float(last - first))):
        pairs.clear()  # the second reading finds at least as many; large frames must not be in memory twice
        arguments = _spaced_arguments(source, first, last, count, slack_s, skip)
        for number, frame in zip(numbers, _frames_of(arguments, source, count, check), strict=False):
            pairs.append((frame, see(number, frame)))
        if len(pairs) >= MOST_TIMES * count:
            break
    return pairs


def _decode_stream(source: Source, first: int, last: int, check: Check) -> Iterator[U8]:
    if source.gpu is not None and last - first >= LEAST_FRAMES and nvdec_format(source.facts, source.picture):
        for frame in gpu_frames(source, source.gpu, first, last, check):
            yield frame
            first += 1
        if first == last:
            return
        log.warning("the GPU decoded only up to frame %d, software goes on", first)
    yield from _frames_of(range_arguments(source, first, last), source, last - first, check)


def gpu_frames(source: Source, gpu: int, first: int, last: int, check: Check) -> Iterator[U8]:
    """Yield as many frames of [first, last) as a GPU decodes, without any error when there are fewer."""
    with suppress(InputError):
        yield from _frames_of(range_arguments(source, first, last, gpu), source, last - first, check)


def _frames_of(arguments: list[str], source: Source, count: int, check: Check) -> Iterator[U8]:
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


def decoder_threads(cores: int) -> int:
    """Return how many threads decode a film: half of the cores, because later stages are slower."""
    return min(MOST_THREADS, max(1, cores // 2))


def range_arguments(source: Source, first: int, last: int, gpu: int | None = None) -> list[str]:
    """Return the ffmpeg that decodes the frames [first, last) of a video, in software or on a GPU."""
    options: FfmpegOptions = {}
    margin = max(SEEK_MARGIN_FRAMES, round(SEEK_MARGIN_S * source.rate))
    options["copyts"] = None  # times as in the file: ffmpeg has its own rule for clocks that start again
    origin = "STARTPTS"
    start_pts = source.picture.start_pts
    has_index = source.facts.format in INDEXED_FORMATS and not source.facts.clock_restarts
    if first > margin and has_index and start_pts is not None:
        start_s = start_pts * Fraction(source.picture.time_base)
        seek_s = start_s + (first - margin) / source.rate
        # no accurate seek: the fps filter below decides where the range begins, not the seek
        options |= {"ss": f"{float(seek_s):.6f}", "seek_timestamp": 1, "noaccurate_seek": None}
        origin = f"{start_s.numerator}/{start_s.denominator}/TB"
    arriving = None if gpu is None else nvdec_format(source.facts, source.picture)
    if gpu is None or arriving is None:
        options["threads"], fetching = decoder_threads(usable_cores()), []
    else:
        options |= nvdec_options(gpu)
        fetching = nvdec_steps(arriving, source.picture)
    steps = [*fetching, clock_step(source.facts, origin), *upright_steps(source.facts, source.picture)]
    steps.append(f"fps=fps={source.rate}:start_time={float(first / source.rate):.6f}:round=near")
    return _arguments(source, options, steps, last - first)


def _sought_arguments(source: Source, number: int, slack_s: float, skip: str) -> list[str]:
    start_s = (source.picture.start_pts or 0) * Fraction(source.picture.time_base)
    begin_s = (number - HALF_FRAME) / source.rate  # rounded timestamps may be a little early
    after_s = number / source.rate
    if source.facts.format not in INDEXED_FORMATS:  # a seek finds the time, but not the key frame before it
        after_s -= (source.facts.keyframe_interval or 0) / source.rate + Fraction(SEEK_MARGIN_S)
    options: FfmpegOptions = {"skip_frame": skip, "copyts": None}
    if after_s > 0:
        options |= {"ss": f"{float(start_s + after_s):.6f}", "seek_timestamp": 1, "noaccurate_seek": None}
    part = f"trim=start={float(begin_s):.6f}:end={float(begin_s) + slack_s:.6f}"
    clock = clock_step(source.facts, f"{start_s.numerator}/{start_s.denominator}/TB")
    return _arguments(source, options, [clock, *upright_steps(source.facts, source.picture), part], 1)


def _spaced_arguments(source: Source, first: int, last: int, count: int, slack_s: float, skip: str) -> list[str]:
    begin_s = float((first - HALF_FRAME) / source.rate)
    step_s = float((last - first) / source.rate / count)
    since = f"(t-({begin_s:.6f}))"
    steps = [  # the first frame that is at most slack_s later than each time
        clock_step(source.facts, "STARTPTS"),
        *upright_steps(source.facts, source.picture),
        f"trim=start={begin_s:.6f}:end={float((last - HALF_FRAME) / source.rate):.6f}",
        f"select=lt(mod({since}\\,{step_s:.6f})\\,{slack_s:.6f})"
        f"*(isnan(prev_selected_t)+gt(floor({since}/{step_s:.6f})\\,floor((prev_selected_t-({begin_s:.6f}))/{step_s:.6f})))",
    ]
    return _arguments(source, {"skip_frame": skip, "copyts": None}, steps, count)


def _arguments(source: Source, options: FfmpegOptions, steps: list[str], count: int) -> list[str]:
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
    }
    stream = ffmpeg.input(file_address(source.path), **always, **options).output("pipe:1", **output)
    return ffmpeg_arguments(stream, source.ffmpeg)
