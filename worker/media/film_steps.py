"""ffmpeg filters that bring the frames of a film to one shape, upright, and onto one clock, in this order:

1. times count from the first frame, and restarts of the clock are joined as in `app.core.probing.clock`;
2. every frame gets the size that most frames have, so that no later filter sees another one;
3. frames that are flagged as interlaced are deinterlaced, all others pass;
4. the picture is cropped and turned as the container says.

ffmpeg would build its filters anew wherever a frame differs from the one before it, and so forget what they know of
earlier frames. `FILM_OPTIONS` forbid this, and also the filters that ffmpeg puts in front of ours by itself.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Final

from app.core.jobs import VideoFacts
from app.core.probing.clock import MAX_STEP_BACK_S, max_pause_s
from app.core.probing.probe import PictureFacts
from app.core.program_output import program_output
from worker.media.ffmpeg_command import FfmpegOptions

FILM_OPTIONS: Final[FfmpegOptions] = {"reinit_filter": 0, "noautorotate": None}
DEINTERLACE: Final = "bwdif=mode=send_frame:deint=interlaced"  # costs nothing on frames that are not flagged
FIT_FLAGS: Final = "flags=bicubic+accurate_rnd+full_chroma_int:interl=-1"  # frames of changed size may be interlaced
ASPECT_MARGIN_S: Final = 0.002  # timestamps are rounded; no frame is that short
FOREVER_S: Final = 1e9


def film_options(picture: PictureFacts, ffmpeg: str) -> FfmpegOptions:
    """Return the input options with which the filters of this module work."""
    crops_by_itself = any(picture.crop) and _knows_container_crop(ffmpeg)
    return FILM_OPTIONS | ({"apply_cropping": "codec"} if crops_by_itself else {})


def upright_steps(facts: VideoFacts, picture: PictureFacts) -> list[str]:
    """Return the filters for the steps 2 to 4; the result has not yet square pixels."""
    steps = []
    if picture.may_be_interlaced:
        steps.append(DEINTERLACE)
    left, right, top, bottom = picture.crop
    if any(picture.crop):
        steps.append(f"crop=iw-{left + right}:ih-{top + bottom}:{left}:{top}:exact=1")
    if picture.turn:
        steps.append(picture.turn)
    if facts.picture_changes:
        return [*_fit_steps(picture), *steps]
    # an unknown change would harm filters that expect one size; without a change, this costs nothing
    return [f"scale={picture.stored_width}:{picture.stored_height}:{FIT_FLAGS}", *steps] if steps else []


def clock_step(facts: VideoFacts, start_s: Fraction | None) -> str:
    """Return the filter for step 1; start_s: time of the film's first frame, None if that is the first one decoded."""
    origin = "STARTPTS" if start_s is None else f"{start_s.numerator}/{start_s.denominator}/TB"
    pause_s = max_pause_s(facts.format)
    restart = f"lt(PTS,PREV_INPTS-{float(MAX_STEP_BACK_S)}/TB)"
    if pause_s is not None:
        restart = f"max({restart},gt(PTS,PREV_INPTS+{pause_s}/TB))"
    one_frame = f"round({float(1 / Fraction(facts.fps))!r}/TB)"
    step = f"PREV_OUTPTS+if({restart},{one_frame},PTS-PREV_INPTS)"
    return f"setpts='if(isnan(PREV_INPTS),round(PTS-{origin}),{step})'"


def _fit_steps(picture: PictureFacts) -> list[str]:
    """Return the filters that fit frames of any shape into the usual one, with their proportions, on black.

    The program `ffmpeg` gives all frames the pixel aspect of the first one, so the aspect is chosen by the time.
    """
    width, height = picture.stored_width, picture.stored_height
    relative = _value_by_time(picture.aspects, Fraction(picture.pixel_aspect))
    size = f"scale=w='round(min({width},{height}*a*{relative}))':h='round(min({height},{width}/a/{relative}))'"
    pad = f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame"
    return [f"{size}:eval=frame:{FIT_FLAGS}", f"format={picture.pixel_format}", pad]


def _value_by_time(aspects: tuple[tuple[float, str], ...], usual: Fraction) -> str:
    """Return the expression of the pixel aspect at the time `t`, divided by the usual one."""
    if len({aspect for _, aspect in aspects}) < 2:
        return "1"
    starts_s = [-FOREVER_S, *(start_s - ASPECT_MARGIN_S for start_s, _ in aspects[1:]), FOREVER_S]
    terms = [
        f"{float(Fraction(aspect) / usual)!r}*gte(t,{first_s:.6f})*lt(t,{last_s:.6f})"
        for (_, aspect), (first_s, last_s) in zip(aspects, pairwise(starts_s), strict=True)
    ]
    return f"({'+'.join(terms)})"


@lru_cache(maxsize=8)
def _knows_container_crop(ffmpeg: str) -> bool:
    """Return whether an ffmpeg crops as the container says; before version 7.1 it did not."""
    return "-apply_cropping[" in program_output(ffmpeg, "-hide_banner", "-h", "long")
