"""Plan of a clip: the decisions that all its frames share, which are the sound, the timeline and the chosen faces.

A plan can be saved for segments that other processes render. They hear the same sound, tell people apart by the same
anchors and give the network the same reference crops. So each frame is the same as in one pass over the whole clip. A
speech encoder runs once, and its features are saved in half precision (38 kB a second). Voice and features are read
through a memory map, so the plan of an hour takes no more memory than the plan of a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, ServiceError
from app.core.probing.probe import find_ffmpeg
from model.arrays import I16, I64
from model.audio import SAMPLE_RATE_HZ
from model.sound import EncodedSound, MelSound, Sound
from model.speech_encoder.port import FEATURES
from worker.faces.detect import FaceDetector
from worker.faces.reference import ReferenceCrops
from worker.faces.subject import Chooser, choose_subject, find_sparse_faces
from worker.media.decode import Source, open_source
from worker.media.encoded_voice import FEATURES_FILE
from worker.media.silence_gate import GATED_FILE, gate_silence
from worker.media.stage_timer import StageTimer
from worker.media.timeline import plan_timeline
from worker.media.voice import VOICE_FILE, read_voice
from worker.pipeline.clip_cache import film_key, keep_choice, kept_choice, recall_features
from worker.pipeline.prefetch import Prefetch
from worker.pipeline.run_context import FilePair, RunContext
from worker.pipeline.sync_confidence import FrameChoice, LookedAt, choose_frames
from worker.pipeline.synthesis import FaceSynthesizer


@dataclass(frozen=True)
class Plan:
    """Decisions that hold for every frame of a clip.

    sound: what the network hears of the voice, mapped from `sound_file`; the voice is silent wherever the gate is
    closed. voice_s: its duration in seconds. timeline: the source frame of each output frame, (N,) int64.
    looked_at: the output frames whose lips are compared with the voice.
    """

    source: Source
    sound: Sound
    sound_file: Path
    voice_s: float
    timeline: I64
    chooser: Chooser
    references: ReferenceCrops
    looked_at: LookedAt

    @property
    def frames(self) -> int:
        """Return the number of output frames."""
        return len(self.timeline)


def make_plan(context: RunContext, detector: FaceDetector, timer: StageTimer) -> Plan:
    """Decode the voice, look at a few frames at the same time, and return the plan; raises InputError."""
    options, monitor = context.options, context.monitor

    def look(check: Check) -> Iterator[tuple[Source, Chooser, ReferenceCrops]]:
        with timer.time("faces"):
            found = _look(context, detector, check)
        yield found

    with Prefetch(look, 1, monitor.check, "look") as looked:
        monitor.stage("sound")
        with timer.time("sound"):
            voice, sound, name = _hear(context)
        monitor.stage("faces")
        source, chooser, references = next(iter(looked))
    voice_s = len(voice) / SAMPLE_RATE_HZ
    timeline = plan_timeline(options, source, voice_s)
    with timer.time("sound"):
        looked_at = choose_frames(voice, len(timeline), source.rate)
    return Plan(source, sound, context.work_dir / name, voice_s, timeline, chooser, references, looked_at)


def _hear(context: RunContext) -> tuple[I16, Sound, str]:
    """Return the voice (n,) int16 at 16 kHz, what the network hears of it, and the name of the file that holds this."""
    played, work_dir, check = context.sources.voice, context.work_dir, context.monitor.check
    voice, name = read_voice(played.path, played.facts, work_dir, check, played.begin_s), VOICE_FILE
    if context.options.silence_gate:
        voice, name = gate_silence(voice, work_dir), GATED_FILE
    encoder = context.synthesizer.encoder
    if encoder is None:
        return voice, MelSound(voice, context.synthesizer.config.mel_window), name
    return voice, recall_features(context.cache, encoder, voice, work_dir, check), FEATURES_FILE


def _look(context: RunContext, detector: FaceDetector, check: Check) -> tuple[Source, Chooser, ReferenceCrops]:
    """Return the video, the chosen faces and their references; raises InputError. The voice is not needed for these."""
    sources, options, shape = context.sources, context.options, context.synthesizer.config
    source = open_source(sources.video, sources.input.video, find_ffmpeg(context.ffmpeg), check)
    # As `find_faces_in` does, by the length that was probed: both must look at the same frames.
    shown = plan_timeline(options, source, sources.input.audio.duration_s)
    span, entry = (int(shown.min()), int(shown.max()) + 1), None
    if context.cache is not None:
        crops = shape.image_size, shape.framing, shape.keeps_detail
        entry = context.cache.entry("references", film_key(source), span, options.face, crops)
    known = kept_choice(entry, shape)
    if known is not None:
        return source, *known
    sparse = find_sparse_faces(source, shown, detector, check)
    chooser = choose_subject(options.face, [frame.faces for frame in sparse])
    references = ReferenceCrops.choose(sparse, shape, source.colour, chooser)
    keep_choice(entry, chooser, references)
    return source, chooser, references


def save_plan(plan: Plan, folder: Path, stage_seconds: Mapping[str, float]) -> FilePair:
    """Save a plan, and the seconds of each stage of making it, into a folder; the sound stays in its own file."""
    facts = folder / "plan.npz"
    decisions = json.dumps(
        {
            "chooser": plan.chooser.facts(),
            "is_encoded": isinstance(plan.sound, EncodedSound),
            "voice_s": plan.voice_s,
            "looked_at": asdict(plan.looked_at.frames),
            "heard_from_s": plan.looked_at.from_s,
            "peak": plan.source.conversion.peak if plan.source.conversion.is_hdr else None,
            "stage_seconds": dict(stage_seconds),
        }
    )
    with facts.open("wb") as file:
        np.savez(file, words=np.array(decisions), heard=plan.looked_at.voice, **plan.references.arrays())
    return FilePair(plan.sound_file, facts)


def load_plan(saved: FilePair, context: RunContext) -> tuple[Plan, dict[str, float]]:
    """Return a saved plan, and the seconds of each stage of making it.

    Raises InputError, and ServiceError if another kind of checkpoint planned the clip.
    """
    with np.load(saved.facts, allow_pickle=False) as arrays:
        decisions = json.loads(str(arrays["words"]))
        saved_arrays = {name: arrays[name] for name in arrays.files}
    chooser = Chooser.of_facts(decisions["chooser"])
    if decisions["is_encoded"] != (context.synthesizer.encoder is not None):
        message, hint = "The job was planned with another checkpoint; submit it again.", "Submit the job again."
        raise ServiceError(ErrorCode.CHECKPOINT_INVALID, message, hint=hint)
    sound, voice_s = _saved_sound(saved.media, context.synthesizer), float(decisions["voice_s"])
    references = ReferenceCrops.of_arrays(saved_arrays, context.synthesizer.config, chooser)
    sources, check = context.sources, context.monitor.check
    ffmpeg, peak = find_ffmpeg(context.ffmpeg), decisions.get("peak")  # not in plans of earlier versions
    source = open_source(sources.video, sources.input.video, ffmpeg, check, peak)
    timeline = plan_timeline(context.options, source, voice_s)
    looked_at = LookedAt(FrameChoice(**decisions["looked_at"]), saved_arrays["heard"], decisions["heard_from_s"])
    plan = Plan(source, sound, saved.media, voice_s, timeline, chooser, references, looked_at)
    return plan, decisions["stage_seconds"]


def _saved_sound(path: Path, synthesizer: FaceSynthesizer) -> Sound:
    """Return the sound that `make_plan` left in a file, through a memory map."""
    if synthesizer.encoder is None:
        return MelSound(np.memmap(path, np.int16, "r"), synthesizer.config.mel_window)
    return EncodedSound(np.memmap(path, np.float16, "r").reshape(-1, FEATURES))
