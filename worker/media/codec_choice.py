"""The choice of the video codecs: tried as a job uses them, once, and the same for all children of a worker.

A GPU decodes if it gives the very frames that software gives. It encodes if software finds the pictures in what it
made. Both are tried through the confined processes of a job, so whatever a driver, a container or the confinement lacks
shows here. GPUs for data centres often decode without encoding, so decoder and encoder are chosen apart.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError, LipSyncError
from app.core.jobs import JobOptions, VideoFacts
from app.core.probing.probe import Limits, find_ffmpeg, probe_video
from app.core.settings import PREFIX, Settings
from model.arrays import U8
from worker.media.colour import ColourMatrix
from worker.media.colour_conversion import untagged
from worker.media.decode import STILL_FACTS, Source, decode, open_source, range_arguments
from worker.media.encode import Encoder
from worker.media.media_process import MediaProcess
from worker.media.video_codecs import NVIDIA, SOFTWARE, GpuEncoderError, gpu_number

FRAMES, SIDE_PX = 12, 256  # no codec of a GPU takes much smaller pictures
MOST_DIFFERENCE: Final = 3.0  # levels, on average, between a picture and what the encoder made of it
TIMEOUT_S: Final = 60.0
MOST_SAID: Final = 200  # characters of a reason
NAME_IN_FFMPEG: Final = re.compile(r"^\[[^]]* @ 0x[0-9a-f]+\] ")

log = logging.getLogger("lipsync.worker")


@dataclass(frozen=True)
class ChosenCodec:
    """What decodes or encodes video, `software` or `nvidia`, and why."""

    codec: str
    reason: str

    def __str__(self) -> str:
        return f"{self.codec}, {self.reason}"


class TryFailedError(Exception):
    """A try that failed; its text is the reason."""


def settle_codecs(settings: Settings) -> Settings:
    """Return the settings with the chosen codecs in place of `auto`, so that no child tries again.

    Raises InputError for `nvidia` where the try fails.
    """
    decoder, encoder = choose_decoder(settings), choose_encoder(settings)
    log.info("video decoder=%s encoder=%s", decoder, encoder)
    return settings.model_copy(update={"video_decoder": decoder.codec, "video_encoder": encoder.codec})


def choose_decoder(settings: Settings) -> ChosenCodec:
    """Return what decodes video; raises InputError as `settle_codecs` does."""
    return _chosen(settings, "video_decoder", _try_decoder)


def choose_encoder(settings: Settings) -> ChosenCodec:
    """Return what encodes video; raises InputError as `settle_codecs` does."""
    return _chosen(settings, "video_encoder", _try_encoder)


def _chosen(settings: Settings, name: str, attempt: Callable[[str, int], str]) -> ChosenCodec:
    """Return the codec for the setting with a name."""
    asked, variable = getattr(settings, name), f"{PREFIX}{name.upper()}"
    if asked == SOFTWARE:
        return ChosenCodec(SOFTWARE, f"{variable} says so")
    flaw = attempt(find_ffmpeg(settings.ffmpeg), gpu_number(settings.device))
    if not flaw:
        return ChosenCodec(NVIDIA, "a try succeeded")
    if asked == NVIDIA:
        raise InputError(ErrorCode.OPTION_INVALID, f"{variable}: {flaw}.")
    return ChosenCodec(SOFTWARE, flaw)


@lru_cache(maxsize=8)
def _try_decoder(ffmpeg: str, gpu: int) -> str:
    """Return why a GPU cannot decode, "" if it can."""

    def attempt(folder: Path, check: Check) -> None:
        source = _film(folder, ffmpeg, check)
        if _decoded(source, None, check) != _decoded(source, gpu, check):
            raise TryFailedError("its frames differ from those of software")

    return _flaw("decodes", attempt)


@lru_cache(maxsize=8)
def _try_encoder(ffmpeg: str, gpu: int) -> str:
    """Return why a GPU cannot encode, "" if it can."""

    def attempt(folder: Path, check: Check) -> None:
        made = [*decode(_film(folder, ffmpeg, check, gpu), 0, FRAMES, check)]
        difference = float(
            np.mean([np.abs(one.astype(int) - two).mean() for one, two in zip(made, _pictures(), strict=True)])
        )
        if difference > MOST_DIFFERENCE:
            raise TryFailedError(f"its pictures are off by {difference:.1f} levels")

    return _flaw("encodes", attempt)


def _flaw(what: str, attempt: Callable[[Path, Check], None]) -> str:
    """Return why an attempt failed, as a sentence without its full stop, "" if it succeeded."""
    ends_at = time.monotonic() + TIMEOUT_S

    def check() -> None:
        if time.monotonic() > ends_at:
            raise TryFailedError(f"no answer within {TIMEOUT_S:g} s")

    try:
        with tempfile.TemporaryDirectory(prefix="lipsync-try-") as folder:
            attempt(Path(folder), check)
    except GpuEncoderError as error:
        reason = error.said
    except (LipSyncError, TryFailedError, OSError, ValueError) as error:
        reason = str(error)
    else:
        return ""
    said = next(filter(None, map(str.strip, reason.splitlines())), "ffmpeg does not say why")
    return f"no NVIDIA GPU {what} here ({NAME_IN_FFMPEG.sub('', said)[:MOST_SAID]})"


def _film(folder: Path, ffmpeg: str, check: Check, gpu: int | None = None) -> Source:
    """Encode the pictures and return the film, which software decodes."""
    path, colour = folder / "film.mp4", ColourMatrix.BT709
    facts = VideoFacts(
        kind="video",
        format="mov",
        codec="h264",
        width=SIDE_PX,
        height=SIDE_PX,
        fps="25",
        frames=FRAMES,
        duration_s=FRAMES / 25,
        rotation=0,
        variable_frame_rate=False,
        has_audio=False,
        bytes=0,
        sha256="",
    )
    pictures = Source(path, facts, STILL_FACTS, ffmpeg, untagged(colour))
    with Encoder(path, pictures, FRAMES, None, JobOptions(), check, gpu) as encoder:
        for picture in _pictures():
            encoder.write(picture)
        encoder.finish()
    return open_source(path, probe_video(path, Limits()), ffmpeg, check)


def _decoded(source: Source, gpu: int | None, check: Check) -> bytes:
    """Return all frames of a film as the decoder gives them; raises TryFailedError with what ffmpeg says."""
    frames = bytearray(FRAMES * SIDE_PX * SIDE_PX * 3 // 2)
    with MediaProcess(range_arguments(source, 0, FRAMES, gpu), check, reads=True) as process:
        is_whole = process.read_into(memoryview(frames)) == len(frames)
        if process.wait() != 0 or not is_whole or process.error_output():  # software may have stepped in, and said so
            raise TryFailedError(process.error_output())
    return bytes(frames)


def _pictures() -> list[U8]:
    """Return moving slopes, (FRAMES, H * 3/2, W) uint8 I420."""
    across = np.arange(SIDE_PX) * 0.7
    down = np.arange(SIDE_PX * 3 // 2)[:, None] * 0.3
    return [(16 + (across + down + 5 * number) % 200).astype(np.uint8) for number in range(FRAMES)]
