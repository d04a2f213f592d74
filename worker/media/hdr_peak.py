"""Measure how bright an HDR video is, so that only as much of its range is compressed as need be.

Players with HDR support measure the same thing in every frame. Here a few frames, spread over the whole video, decide
for all of its frames. They are key frames near evenly spaced times, so that the cost does not grow with the video.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import ffmpeg
import numpy as np

from app.core.checks import Check
from app.core.jobs import VideoFacts
from app.core.probing.allowed import input_options
from app.core.probing.probe import PictureFacts
from model.arrays import F64
from worker.media.colour_conversion import BT2020, PQ, WHITE_NITS, ColourConversion, source_colours
from worker.media.ffmpeg_command import ffmpeg_arguments, file_address
from worker.media.media_process import MediaProcess

LOOKS: Final = 6
SIDE_PX: Final = 128  # of the reduced frames: a glint that is smaller than their pixels does not count
BRIGHTEST_PERCENT: Final = 99.5
USUAL_PEAK_NITS: Final = 1000.0  # if no frame can be decoded
BLACK, RANGE = 16 * 256, 219 * 256  # of luma of limited range in 16 bit


def peak_whites(
    path: Path, facts: VideoFacts, conversion: ColourConversion, picture: PictureFacts, ffmpeg_path: str, check: Check
) -> float:
    """Return the brightest light of an HDR video in reference whites, at least 1."""
    looks = min(LOOKS, facts.frames)
    found = [0.0]
    for index in range(looks):
        start_s = facts.duration_s * (index + 0.5) / looks if looks > 1 else 0.0
        signal = _luma(path, facts, conversion, picture, ffmpeg_path, start_s, check)
        if signal is not None:
            found.append(float(np.percentile(nits_of_pq(signal), BRIGHTEST_PERCENT)))
    return max(1.0, (max(found) or USUAL_PEAK_NITS) / WHITE_NITS)


def nits_of_pq(signal: F64) -> F64:
    """Return the light in cd/m2 of PQ signals 0..1 (SMPTE ST 2084, ITU-R BT.2100)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.clip(signal, 0.0, 1.0) ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1))


def _luma(
    path: Path,
    facts: VideoFacts,
    conversion: ColourConversion,
    picture: PictureFacts,
    ffmpeg_path: str,
    start_s: float,
    check: Check,
) -> F64 | None:
    """Return the luma of the key frame near a time as PQ signals (SIDE_PX * SIDE_PX,); None if there is none."""
    source = ffmpeg.input(
        file_address(path),
        f=facts.format,
        **input_options(facts.format),
        ss=f"{start_s:.3f}",
        noaccurate_seek=None,
    )
    steps = [
        f"scale={SIDE_PX}:{SIDE_PX}:flags=area",
        f"zscale={source_colours(conversion, picture.rgb)}:p={BT2020}:t={PQ}:m={BT2020}:r=limited",
    ]
    output = {
        "format": "rawvideo",
        "pix_fmt": "yuv444p16le",
        "map": f"0:{picture.stream}",
        "vf": ",".join(steps),
        "frames:v": 1,
    }
    planes = np.empty((3, SIDE_PX * SIDE_PX), np.uint16)
    with MediaProcess(ffmpeg_arguments(source.output("pipe:1", **output), ffmpeg_path), check, reads=True) as process:
        if process.read_into(planes.data.cast("B")) < planes.nbytes:
            return None
    return np.asarray((planes[0].astype(np.float64) - BLACK) / RANGE)
