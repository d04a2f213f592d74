"""ffmpeg filters that bring the frames of a film to one shape, upright, and onto one clock, in this order:

1. every frame gets the size that most frames have, so that no later filter sees another one;
2. frames that are flagged as interlaced are deinterlaced, all others pass;
3. the picture is cropped and turned as the container says;
4. times count from the first frame, and restarts of the clock are joined as in `app.core.probing.clock`.

ffmpeg would build its filters anew wherever a frame differs from the one before it, and so forget what they know of
earlier frames. `FILM_OPTIONS` forbid this, and also the filters that ffmpeg puts in front of ours by itself.
"""

from __future__ import annotations

import subprocess
from fractions import Fraction
from functools import lru_cache
from typing import Final

from app.core.jobs import VideoFacts
from app.core.probing.clock import MAX_STEP_BACK_S, max_pause_s
from app.core.probing.probe import PictureFacts
from worker.media.ffmpeg_command import FfmpegOptions

FILM_OPTIONS: Final[FfmpegOptions] = {"reinit_filter": 0, "noautorotate": None}
DEINTERLACE: Final = "bwdif=mode=send_frame:deint=interlaced"  # costs nothing on frames that are not flagged
FIT_FLAGS: Final = "flags=bicubic+accurate_rnd+full_chroma_int:interl=-1"  # frames of changed size may be interlaced
HELP_S: Final = 20.0


def film_options(picture: PictureFacts, ffmpeg: str) -> FfmpegOptions:
    """Return the input options with which the filters of this module work."""
    crops_by_itself = any(picture.crop) and _knows_container_crop(ffmpeg)
    return FILM_OPTIONS | ({"apply_cropping": "codec"} if crops_by_itself else {})


def upright_steps(facts: VideoFacts, picture: PictureFacts) -> list[str]:
    """Return the filters for the steps 1 to 3; the result has not yet square pixels."""
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


def clock_step(facts: VideoFacts, origin: str) -> str:
    """Return the filter for step 4; origin: expression of the first frame's time in ticks."""
    pause_s = max_pause_s(facts.format)
    restart = f"lt(PTS,PREV_INPTS-{float(MAX_STEP_BACK_S)}/TB)"
    if pause_s is not None:
        restart = f"max({restart},gt(PTS,PREV_INPTS+{pause_s}/TB))"
    one_frame = f"round({float(1 / Fraction(facts.fps))!r}/TB)"
    step = f"PREV_OUTPTS+if({restart},{one_frame},PTS-PREV_INPTS)"
    return f"setpts='if(isnan(PREV_INPTS),round(PTS-{origin}),{step})'"


def _fit_steps(picture: PictureFacts) -> list[str]:
    """Return the filters that fit frames of any shape into the usual one, with their proportions, on black."""
    width, height = picture.stored_width, picture.stored_height
    ratio = f"(dar/{float(Fraction(picture.pixel_aspect))!r})"  # proportions of the frame on a grid of the usual pixels
    size = f"scale=w='round(min({width},{height}*{ratio}))':h='round(min({height},{width}/{ratio}))'"
    pad = f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame"
    return [f"{size}:eval=frame:{FIT_FLAGS}", f"format={picture.pixel_format}", pad]


@lru_cache(maxsize=8)
def _knows_container_crop(ffmpeg: str) -> bool:
    """Return whether an ffmpeg crops as the container says; before version 7.1 it did not."""
    command = [ffmpeg, "-hide_banner", "-h", "long"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=HELP_S, check=False)
    return "-apply_cropping[" in told.stdout
