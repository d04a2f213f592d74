"""Measurement of one warm job in a process of its own, so that no other memory is counted.

`python -m lipsync.bench.warm_job` loads the generator, runs a short job to warm up, and then runs the job that is
measured. The last line that it writes is JSON: the figures, or `{"error": {"code", "message"}}`.

Time and memory are measured in jobs of their own. To sum up the memory of the tree the kernel walks through all its
pages: 50 ms a sample. Twenty samples a second took a quarter of a core, which made the job 12 % slower.

Processor time is that of the whole tree. The bytes moved are those of read and write calls of this process, so they
count a frame once for each pipe or file that it passes, and copies within the process not at all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from app.core.errors import ErrorCode, LipSyncError, ServiceError, public_error
from lipsync.bench.process_costs import moved_bytes, tree_cpu_s, tree_rss_bytes
from lipsync.bench.profile import profiled

LOOK_EVERY_S: Final = 0.05
JOB_TIMEOUT_S: Final = 3600


def measure_job(clip: Path, profile: Path | None = None) -> dict[str, Any]:
    """Run one warm job on `clip`, driven by its own sound; write a profile of it if a path is given.

    Returns {wall_s, cpu_s, realtime_factor, stage_seconds, stage_cpu_seconds, moved_bytes_per_frame, frames, width,
    height, fps, checkpoint, device, precision}. Raises ServiceError with the code of a job that fails.
    """
    return _job_apart(clip, profile, lambda pid: None)


def measure_peak_bytes(clip: Path) -> int:
    """Run one warm job on `clip` and return the largest memory of its process tree, ffmpeg included.

    Raises ServiceError with the code of a job that fails.
    """
    samples: list[int] = []
    _job_apart(clip, None, lambda pid: samples.append(tree_rss_bytes(pid)))
    return max(samples)


def _job_apart(clip: Path, profile: Path | None, look: Callable[[int], None]) -> dict[str, Any]:
    """Return the figures of a job in a process of its own; `look` is called with its number all the time."""
    command = [sys.executable, "-m", "lipsync.bench.warm_job", str(clip), *([str(profile)] if profile else [])]
    deadline = time.monotonic() + JOB_TIMEOUT_S
    with tempfile.TemporaryFile("w+") as answer, subprocess.Popen(command, stdout=answer) as child:
        try:
            while child.poll() is None and time.monotonic() < deadline:
                look(child.pid)
                time.sleep(LOOK_EVERY_S)
        finally:
            child.kill()
        status = child.wait()
        answer.seek(0)
        figures = last_answer(answer.read(), status)
    if "error" in figures:
        raise ServiceError(ErrorCode(figures["error"]["code"]), f"{clip.name}: {figures['error']['message']}")
    return figures


def last_answer(text: str, status: int) -> dict[str, Any]:
    """Return what the process answered; a process that was killed or took too long has answered nothing."""
    try:
        answer: dict[str, Any] = json.loads(text.splitlines()[-1])
        return answer
    except (IndexError, ValueError):
        message = f"The measured job ended with status {status} and without figures."
        return {"error": {"code": ErrorCode.INTERNAL, "message": message}}


def _run_job(clip: Path, profile: Path | None) -> dict[str, Any]:
    from app.core.jobs import JobInput, JobOptions
    from app.core.probing.probe import Limits, probe_audio, probe_video
    from app.core.settings import Settings
    from worker.faces.detect import DetectorPool
    from worker.loaded_network import load_generator
    from worker.media.codec_choice import settle_codecs
    from worker.media.stage_timer import StageTimer
    from worker.media.video_codecs import VideoCodecs
    from worker.pipeline.render import run
    from worker.pipeline.run_context import RunContext, SilentMonitor, Sources

    settings = settle_codecs(Settings())
    limits, codecs = Limits.of(settings), VideoCodecs.of(settings)
    synthesizer = load_generator(settings)
    facts = JobInput(video=probe_video(clip, limits), audio=probe_audio(clip, limits))
    sources = Sources(video=clip, audio=clip, audio_mix=None, input=facts)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        warm_up = JobOptions(end_s=1.0)
        tools = SilentMonitor(), DetectorPool(), settings.ffmpeg
        context = RunContext(sources, warm_up, synthesizer, work, *tools, codecs=codecs)
        run(context, work / "warm.mp4")
        with profiled(profile):
            timer, cpu_before_s, moved_before = StageTimer(), tree_cpu_s(os.getpid()), moved_bytes()
            started = time.perf_counter()
            outcome = run(replace(context, options=JobOptions()), work / "out.mp4", timer)
            wall_s = time.perf_counter() - started
            cpu_s, moved = tree_cpu_s(os.getpid()) - cpu_before_s, moved_bytes() - moved_before
    result, report = outcome.result, outcome.report
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "realtime_factor": wall_s / result.duration_s,
        "stage_seconds": report.stage_seconds,
        "stage_cpu_seconds": timer.cpu_seconds(),
        "moved_bytes_per_frame": moved // result.frames,
        "frames": result.frames,
        "width": result.width,
        "height": result.height,
        "fps": result.fps,
        "checkpoint": report.checkpoint,
        "device": report.device,
        "precision": synthesizer.precision,
        "video_decoder": settings.video_decoder,
        "video_encoder": settings.video_encoder,
    }


def _answer(clip: Path, profile: Path | None) -> dict[str, Any]:
    try:
        return _run_job(clip, profile)
    except Exception as error:  # noqa: BLE001  the parent tells of it
        shown = public_error(error)
        text = (
            shown.message if isinstance(error, LipSyncError) else f"{shown.message} ({type(error).__name__}: {error})"
        )
        return {"error": {"code": shown.code, "message": text}}


def _paths(words: list[str]) -> tuple[Path, Path | None]:
    clip, *profile = map(Path, words)
    return clip, profile[0] if profile else None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(*_paths(sys.argv[1:]))) + "\n")
