"""One clip from its two files to its MP4: the stages in order, streaming, each in its own file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from app.core.jobs import JobOptions, Report
from app.core.media import find_ffmpeg
from model.audio import SAMPLE_RATE_HZ
from worker.ahead import Ahead
from worker.clock import Clock
from worker.decode import open_source
from worker.detect import borrow_detector
from worker.encode import Encoder
from worker.findings import Findings
from worker.lips import Lips, SynthesizerLike, batches
from worker.outcome import Monitor, Outcome, Sources
from worker.rest import RestingFaces
from worker.silence import gate_silence
from worker.sound import read_voice
from worker.subject import choose_subject, look_around
from worker.timeline import plan_timeline
from worker.track import tracked_frames

__all__ = ["Monitor", "Outcome", "Sources", "run"]
AHEAD_FRAMES = 8


def run(
    sources: Sources,
    options: JobOptions,
    synthesizer: SynthesizerLike,
    output: Path,
    work_dir: Path,
    monitor: Monitor,
    ffmpeg: str | None = None,
) -> Outcome:
    """Lip-sync one clip into `output`; raises LipSyncError, and then leaves no output behind."""
    clock, facts, binary = Clock(), sources.input, find_ffmpeg(ffmpeg)
    monitor.stage("sound")
    with clock.time("sound"):
        voice = read_voice(sources.audio, facts.audio, work_dir, binary, monitor.check)
        if options.silence_gate:
            voice = gate_silence(voice, work_dir)
    with ExitStack() as stack:
        monitor.stage("faces")
        with clock.time("faces"):
            detector = stack.enter_context(borrow_detector())
            source = open_source(sources.video, facts.video, binary, monitor.check)
            timeline = plan_timeline(options, source, len(voice) / SAMPLE_RATE_HZ)
            sightings = look_around(source, timeline, detector, monitor.check)
            chooser = choose_subject(options.face, [sighting.faces for sighting in sightings])
            rest = RestingFaces(sightings, synthesizer.config, source.colour)
        monitor.stage("synthesize")
        findings, lips = Findings(options, source.rate), Lips(synthesizer, voice, rest, source, options, clock)
        frames = stack.enter_context(
            Ahead(
                lambda check: tracked_frames(source, timeline, detector, chooser, clock, check),
                AHEAD_FRAMES,
                monitor.check,
            )
        )
        encoder = stack.enter_context(Encoder(output, source, len(timeline), sources.sound, options, monitor.check))
        for batch in batches(findings.watch(frames), synthesizer.batch_size):
            for planes in lips.speak(batch):
                with clock.time("encode"):
                    encoder.write(planes)
            monitor.frames(batch[-1].number + 1, len(timeline))
            monitor.check()
        findings.check(options.face)
        monitor.stage("finish")
        with clock.time("finish"):
            result = encoder.finish()
    report = Report(
        face_coverage=round(findings.coverage, 4),
        face_height_px=findings.height_px,
        stage_seconds=clock.seconds(),
        realtime_factor=round(clock.elapsed_s / result.duration_s, 4),
        checkpoint=f"{synthesizer.config.architecture}-{synthesizer.config.image_size}",
        device=synthesizer.device_name,
    )
    return Outcome(result, report, findings.warnings())
