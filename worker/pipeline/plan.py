"""Decide once per clip what all its frames share: the voice that is heard, what is shown when, whose lips move.

A plan can be saved for segments that other processes do: they hear the same samples, tell people apart by the same
anchors and show the network the same faces at rest, so each frame is what one pass over the whole clip would make it.
The voice is read through a memory map; a plan of an hour takes no more memory than one of a minute.
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
from worker.faces.reference import RestingFaces
from worker.faces.subject import Chooser, Person, choose_subject, look_around
from worker.media.decode import Source, open_source
from worker.media.silence_gate import GATED_FILE, gate_silence
from worker.media.stage_timer import Clock
from worker.media.timeline import plan_timeline
from worker.media.voice import VOICE_FILE, read_voice
from worker.pipeline.order import Files, Order


@dataclass(frozen=True)
class Plan:
    """What holds for every frame of a clip.

    voice: (n,) int16 at 16 kHz, silent where the gate is closed, mapped from a file. timeline: the source frame of each
    output frame.
    """

    source: Source
    voice: I16
    voice_file: Path
    timeline: I64
    chooser: Chooser
    rest: RestingFaces

    @property
    def frames(self) -> int:
        """Return the length of the output."""
        return len(self.timeline)


def make_plan(order: Order, detector: FaceDetector, clock: Clock) -> Plan:
    """Listen to the sound and look at a few frames; raises InputError."""
    sources, options, monitor, work_dir = order.sources, order.options, order.monitor, order.work_dir
    binary = find_ffmpeg(order.ffmpeg)
    monitor.stage("sound")
    with clock.time("sound"):
        voice, name = read_voice(sources.audio, sources.input.audio, work_dir, binary, monitor.check), VOICE_FILE
        if options.silence_gate:
            voice, name = gate_silence(voice, work_dir), GATED_FILE
    monitor.stage("faces")
    with clock.time("faces"):
        source = open_source(sources.video, sources.input.video, binary, monitor.check)
        timeline = plan_timeline(options, source, len(voice) / SAMPLE_RATE_HZ)
        sightings = look_around(source, timeline, detector, monitor.check)
        chooser = choose_subject(options.face, [sighting.faces for sighting in sightings])
        rest = RestingFaces.seen_in(sightings, order.synthesizer.config, source.colour)
    return Plan(source, voice, work_dir / name, timeline, chooser, rest)


def save_plan(plan: Plan, folder: Path, stage_seconds: Mapping[str, float]) -> Files:
    """Write a plan and the seconds of making it into the folder; the samples stay in the file they are in."""
    facts = folder / "plan.npz"
    words = json.dumps({"chooser": asdict(plan.chooser), "stage_seconds": dict(stage_seconds)})
    with facts.open("wb") as file:
        np.savez(file, words=np.array(words), rest=np.array(plan.rest.crops, np.uint8))
    return Files(plan.voice_file, facts)


def load_plan(saved: Files, order: Order) -> tuple[Plan, dict[str, float]]:
    """Return a saved plan, and the seconds that each stage of making it took."""
    with np.load(saved.facts, allow_pickle=False) as decided:
        words, rest = json.loads(str(decided["words"])), RestingFaces(decided["rest"], order.synthesizer.config)
    people = tuple(Person(**person) for person in words["chooser"].pop("people"))
    target = words["chooser"].pop("target")
    chooser = Chooser(people=people, target=None if target is None else Person(**target), **words["chooser"])
    voice = np.memmap(saved.media, np.int16, "r")
    sources, check = order.sources, order.monitor.check
    source = open_source(sources.video, sources.input.video, find_ffmpeg(order.ffmpeg), check)
    timeline = plan_timeline(order.options, source, len(voice) / SAMPLE_RATE_HZ)
    return Plan(source, voice, saved.media, timeline, chooser, rest), words["stage_seconds"]
