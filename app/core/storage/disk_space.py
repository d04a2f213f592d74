"""Disk space: how much is free, how much a job will need, and how long a folder has been idle."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

from app.core.errors import CapacityError, ErrorCode
from app.core.jobs import JobInput, JobOptions
from app.core.options import voices_end_s

RESERVE_BYTES: Final = 256 * 1024**2  # stays free for results, records and the machine itself
# 16-bit mono at 16 kHz, twice: decoded, and with its pauses silenced. Then features: 50 steps of 384 half floats.
VOICE_BYTES_PER_S: Final = 4 * 16_000 + 50 * 384 * 2
SOUND_BYTES_PER_S: Final = 48_000
BITS_PER_PIXEL: Final = 0.15  # of a frame at crf 18 and `veryfast`; the largest of a dozen real clips took 0.12
CRF_HALVING: Final = 6.0  # x264: a crf higher by this halves the bytes


def check_space(folder: Path, wanted_bytes: int) -> None:
    """Raise CapacityError(storage_full) if that many bytes do not fit on the folder's disk; raises OSError."""
    if shutil.disk_usage(folder).free < wanted_bytes:
        raise CapacityError(ErrorCode.STORAGE_FULL, "The service has no disk space left.", retry_after_s=60)


def output_bytes(job_input: JobInput, options: JobOptions) -> int:
    """Return a generous estimate of the size of the result, in bytes."""
    video = job_input.video
    duration_s = max(video.duration_s, voices_end_s(job_input, options))
    numerator, _, denominator = video.fps.partition("/")
    frames = duration_s * float(numerator) / float(denominator or 1)
    scale = (options.output_height / video.height) ** 2 if options.output_height else 1.0
    bits_per_frame = video.width * video.height * scale * BITS_PER_PIXEL * 2 ** ((18 - options.crf) / CRF_HALVING)
    return int(frames * bits_per_frame / 8 + duration_s * SOUND_BYTES_PER_S)


def work_bytes(job_input: JobInput, options: JobOptions) -> int:
    """Return a generous estimate of what an attempt writes on its host: inputs, voice and result, in bytes."""
    parts = (job_input.video, job_input.audio, job_input.audio_mix, *job_input.segments)
    fetched = sum(part.bytes for part in parts if part is not None)
    voices_s = 0.0 if job_input.audio is None else job_input.audio.duration_s
    voices_s += sum(dub.length_s for dub in options.segments)
    return output_bytes(job_input, options) + fetched + int(voices_s * VOICE_BYTES_PER_S)


def idle_s_of(folder: Path) -> float:
    """Return the seconds since the folder or a file in it was last written to; 0 if it is gone or not a folder."""
    try:
        newest = max([folder.stat().st_mtime, *(path.stat().st_mtime for path in folder.iterdir())])
    except (FileNotFoundError, NotADirectoryError):
        return 0.0
    return time.time() - newest
