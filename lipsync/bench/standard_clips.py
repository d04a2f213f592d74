"""The clips that the benchmark measures. They are made from the sample face and voice, so they can be made anywhere.

The face drifts slowly and the picture has noise like that of a camera: a still picture would be too easy to decode and
encode.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ffmpeg
from PIL import Image

from app.core.probing.probe import find_ffmpeg
from lipsync.sample import VOICE, portrait

MAKE_TIMEOUT_S: Final = 600
FACE_BOX: Final = (92, 0, 348, 256)  # left, top, right, bottom of the astronaut's head and shoulders


@dataclass(frozen=True)
class StandardClip:
    """Clip of the benchmark: its name, size in px, frame rate and length."""

    name: str
    width: int
    height: int
    fps: int
    duration_s: float


STANDARD_CLIPS: Final = (
    StandardClip("short_2s", 512, 512, 25, 2),
    StandardClip("portrait_8s", 512, 512, 25, 8),
    StandardClip("phone_20s", 1080, 1920, 30, 20),
    StandardClip("one_minute", 512, 512, 25, 60),
    StandardClip("ten_minutes", 512, 512, 25, 600),
)


def make_clip(standard: StandardClip, folder: Path, ffmpeg_setting: str | None) -> Path:
    """Write the clip as H.264/AAC into `folder` and return its path."""
    still, clip = folder / f"{standard.name}.png", folder / f"{standard.name}.mp4"
    side = max(standard.width, standard.height)
    face = portrait().crop(FACE_BOX)
    face.resize((side + 64, side + 64), Image.Resampling.LANCZOS).save(still)
    drift_x, drift_y = f"(in_w-out_w)/2+{side // 60}*sin(t)", f"32+{side // 80}*sin(0.7*t)"
    picture = (
        ffmpeg.input(str(still), loop=1, framerate=standard.fps, t=min(standard.duration_s, 20))
        .filter("crop", standard.width, standard.height, drift_x, drift_y)
        .filter("noise", alls=4, allf="t")
    )
    sound = ffmpeg.input(str(VOICE), stream_loop=-1)
    seed = folder / f"{standard.name}_seed.mp4"
    first = min(standard.duration_s, 20)
    _run(
        ffmpeg.output(
            picture,
            sound.audio,
            str(seed),
            t=first,
            vcodec="libx264",
            crf=18,
            preset="veryfast",
            pix_fmt="yuv420p",
            acodec="aac",
        ),
        ffmpeg_setting,
    )
    _run(
        ffmpeg.output(ffmpeg.input(str(seed), stream_loop=-1), str(clip), t=standard.duration_s, c="copy"),
        ffmpeg_setting,
    )
    seed.unlink()
    return clip


def transcode(clip: Path, output: Path, ffmpeg_setting: str | None) -> None:
    """Decode and encode a clip, nothing else: the least that any lip-sync program has to do."""
    _run(
        ffmpeg.output(
            ffmpeg.input(str(clip)),
            str(output),
            vcodec="libx264",
            preset="veryfast",
            crf=18,
            pix_fmt="yuv420p",
            acodec="aac",
        ),
        ffmpeg_setting,
    )


def _run(stream: ffmpeg.nodes.OutputStream, ffmpeg_setting: str | None) -> None:
    arguments = (
        stream.overwrite_output().global_args("-nostdin", "-loglevel", "error").compile(cmd=find_ffmpeg(ffmpeg_setting))
    )
    subprocess.run(arguments, check=True, timeout=MAKE_TIMEOUT_S)
