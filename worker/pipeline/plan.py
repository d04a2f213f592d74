"""Plan of a clip: the decisions that all its frames share, which are the voice, the timeline and the chosen faces.

A plan can be saved for segments that other processes render. They use the same samples, tell people apart by the same
anchors and give the network the same reference crops. So each frame is the same as in one pass over the whole clip. The
voice is read through a memory map, so the plan of an hour takes no more memory than the plan of a minute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from app.core.probing.probe import find_ffmpeg
from model.arrays import I16, I64
from model.audio import SAMPLE_RATE_HZ
from worker.faces.detect import FaceDetector
from worker.faces.reference import ReferenceCrops
from worker.faces.subject import Chooser, Subject, choose_subject, find_sparse_faces
from worker.media.decode import Source, open_source
from worker.media.silence_gate import GATED_FILE, gate_silence
from worker.media.stage_timer import StageTimer
from worker.media.timeline import plan_timeline
from worker.media.voice import VOICE_FILE, read_voice
from worker.pipeline.run_context import FilePair, RunContext
from worker.pipeline.sync_confidence import LookedAt, choose_frames


@dataclass(frozen=True)
class Plan:
    """Decisions that hold for every frame of a clip.

    voice: (n,) int16 at 16 kHz, silent wherever the gate is closed, mapped from `voice_file`. timeline: the source
    frame of each output frame, (N,) int64. looked_at: the output frames whose lips are compared with the voice.
    """

    source: Source
    voice: I16
    voice_file: Path
    timeline: I64
    chooser: Chooser
    references: ReferenceCrops
    looked_at: LookedAt

    @property
    def frames(self) -> int:
        """Return the number of output frames."""
        return len(self.timeline)


def make_plan(context: RunContext, detector: FaceDetector, timer: StageTimer) -> Plan:
    """Decode the voice, look at a few frames and return the plan; raises InputError."""
    sources, options, monitor, work_dir = context.sources, context.options, context.monitor, context.work_dir
    binary = find_ffmpeg(context.ffmpeg)
    monitor.stage("sound")
    with timer.time("sound"):
        voice, name = read_voice(sources.audio, sources.input.audio, work_dir, binary, monitor.check), VOICE_FILE
        if options.silence_gate:
            voice, name = gate_silence(voice, work_dir), GATED_FILE
    monitor.stage("faces")
    with timer.time("faces"):
        source = open_source(sources.video, sources.input.video, binary, monitor.check)
        timeline = plan_timeline(options, source, len(voice) / SAMPLE_RATE_HZ)
        sparse = find_sparse_faces(source, timeline, detector, monitor.check)
        chooser = choose_subject(options.face, [frame.faces for frame in sparse])
        references = ReferenceCrops.choose(sparse, context.synthesizer.config, source.colour)
    with timer.time("sound"):
        looked_at = choose_frames(voice, len(timeline), source.rate)
    return Plan(source, voice, work_dir / name, timeline, chooser, references, looked_at)


def save_plan(plan: Plan, folder: Path, stage_seconds: Mapping[str, float]) -> FilePair:
    """Save a plan, and the seconds of each stage of making it, into a folder; the voice stays in its own file."""
    facts = folder / "plan.npz"
    chosen = {"chooser": asdict(plan.chooser), "looked_at": asdict(plan.looked_at)}
    decisions = json.dumps({**chosen, "stage_seconds": dict(stage_seconds)})
    with facts.open("wb") as file:
        np.savez(file, words=np.array(decisions), rest=np.array(plan.references.crops, np.uint8))
    return FilePair(plan.voice_file, facts)


def load_plan(saved: FilePair, context: RunContext) -> tuple[Plan, dict[str, float]]:
    """Return a saved plan, and the seconds of each stage of making it; raises InputError."""
    with np.load(saved.facts, allow_pickle=False) as arrays:
        decisions = json.loads(str(arrays["words"]))
        references = ReferenceCrops(arrays["rest"], context.synthesizer.config)
    people = tuple(Subject(**person) for person in decisions["chooser"].pop("people"))
    target = decisions["chooser"].pop("target")
    chooser = Chooser(people=people, target=None if target is None else Subject(**target), **decisions["chooser"])
    voice = np.memmap(saved.media, np.int16, "r")
    sources, check = context.sources, context.monitor.check
    source = open_source(sources.video, sources.input.video, find_ffmpeg(context.ffmpeg), check)
    timeline = plan_timeline(context.options, source, len(voice) / SAMPLE_RATE_HZ)
    looked_at = LookedAt(**decisions["looked_at"])
    plan = Plan(source, voice, saved.media, timeline, chooser, references, looked_at)
    return plan, decisions["stage_seconds"]
