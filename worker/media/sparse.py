"""Read a few frames of a film, at evenly spaced times: enough to see who is in it.

Only the times decide which frames these are, wherever key frames lie. Frames that no other frame needs are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final, TypeVar

from app.core.checks import Check
from model.arrays import U8
from worker.media.decode import (
    INDEXED_FORMATS,
    SEEK_MARGIN_S,
    Source,
    decode,
    film_arguments,
    frames_of,
    indexed_start_s,
    seek,
    seek_options,
)
from worker.media.ffmpeg_command import FfmpegOptions, media_threads
from worker.media.film_steps import clock_step, upright_steps
from worker.media.prefetch import Prefetch

SOUGHT_FORMATS: Final = INDEXED_FORMATS | {"mpegts", "mpeg", "avi"}  # a time is found without reading all before it
SPARSE_SLACK_S: Final = 0.2  # how much later than its time a sparse frame may be, so that fewer frames are decoded
SEEK_COST_FRAMES: Final = 50  # what starting a decoder costs, in decoded frames
MOST_TIMES: Final = 0.8  # share of the times that must have a frame when some frames are passed over
HALF_FRAME: Final = Fraction(1, 2)

T = TypeVar("T")


@dataclass(frozen=True)
class _Spacing:
    """Times of sparse frames in a range: `step_s` apart; at each, the first frame that is at most `slack_s` later.

    skip: what the decoder passes over.
    """

    skip: str
    step_s: float
    slack_s: float


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
        for frame in frames_of(arguments, source, 1, check):
            return [frame]
    return []


def _spaced_frames(
    source: Source, numbers: Sequence[int], last: int, see: Callable[[int, U8], T], check: Check
) -> list[tuple[U8, T]]:
    """Return the frames at the times of some numbers, from a range that is read once; twice if frames are missing."""
    pairs: list[tuple[U8, T]] = []
    length_s = float((last - numbers[0]) / source.rate)
    for skip, slack_s in (("noref", SPARSE_SLACK_S), ("default", length_s)):
        pairs.clear()  # the second reading finds at least as many; large frames must not be in memory twice
        spacing = _Spacing(skip, length_s / len(numbers), slack_s)
        for number, frame in _read_spaced(source, numbers, last, spacing, check):
            pairs.append((frame, see(number, frame)))
        if len(pairs) >= MOST_TIMES * len(numbers):
            break
    return pairs


def _read_spaced(
    source: Source, numbers: Sequence[int], last: int, spacing: _Spacing, check: Check
) -> Iterator[tuple[int, U8]]:
    """Yield numbers with the frames at their times.

    The second half of a range is read at the same time as the first one, where it can be sought: one decoder that
    passes over frames does not keep two cores busy.
    """

    def read(part: Sequence[int], span: tuple[Fraction, Fraction], check: Check) -> Iterator[tuple[int, U8]]:
        arguments = _spaced_arguments(source, span, len(part), spacing)
        return zip(part, frames_of(arguments, source, len(part), check), strict=False)

    half, begin, end = len(numbers) // 2, Fraction(numbers[0]), Fraction(last)
    middle = begin + (end - begin) * half / len(numbers)
    run_up = (source.facts.keyframe_interval or last) / 2 + SEEK_COST_FRAMES
    if indexed_start_s(source) is None or run_up > last - middle:
        yield from read(numbers, (begin, end), check)
        return
    with Prefetch(partial(read, numbers[half:], (middle, end)), len(numbers), check, "sparse") as later:
        yield from read(numbers[:half], (begin, middle), check)
        yield from later


def _sought_arguments(source: Source, number: int, slack_s: float, skip: str) -> list[str]:
    start_s = (source.picture.start_pts or 0) * Fraction(source.picture.time_base)
    begin_s = (number - HALF_FRAME) / source.rate  # rounded timestamps may be a little early
    after_s = number / source.rate
    if source.facts.format not in INDEXED_FORMATS:  # a seek finds the time, but not the key frame before it
        after_s -= (source.facts.keyframe_interval or 0) / source.rate + Fraction(SEEK_MARGIN_S)
    options: FfmpegOptions = {"skip_frame": skip, "copyts": None}
    if after_s > 0:
        options |= seek_options(start_s + after_s)
    part = f"trim=start={float(begin_s):.6f}:end={float(begin_s) + slack_s:.6f}"
    return film_arguments(
        source, options, [clock_step(source.facts, start_s), *upright_steps(source.facts, source.picture), part], 1
    )


def _spaced_arguments(source: Source, span: tuple[Fraction, Fraction], count: int, spacing: _Spacing) -> list[str]:
    first, last = span  # in frames
    begin_s, step_s = float((first - HALF_FRAME) / source.rate), spacing.step_s
    since = f"(t-({begin_s:.6f}))"
    options, start_s = seek(source, first)
    options |= {"skip_frame": spacing.skip, "threads": media_threads(source.codecs.cores)}
    steps = [
        clock_step(source.facts, start_s),
        *upright_steps(source.facts, source.picture),
        f"trim=start={begin_s:.6f}:end={float((last - HALF_FRAME) / source.rate):.6f}",
        f"select=lt(mod({since}\\,{step_s:.6f})\\,{spacing.slack_s:.6f})"
        f"*(isnan(prev_selected_t)+gt(floor({since}/{step_s:.6f})\\,floor((prev_selected_t-({begin_s:.6f}))/{step_s:.6f})))",
    ]
    return film_arguments(source, options, steps, count)
