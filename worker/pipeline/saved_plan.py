"""Plans in files, for segments that other processes render.

They hear the same sound, tell people apart by the same anchors and give the network the same reference crops. So each
frame is the same as in one pass over the whole clip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.core.errors import ErrorCode, ServiceError
from app.core.probing.probe import find_ffmpeg
from model.arrays import I16
from model.sound import EncodedSound
from worker.faces.reference import ReferenceCrops
from worker.faces.subject import Chooser
from worker.media.decode import open_source
from worker.media.timeline import plan_timeline
from worker.media.video_codecs import SOFTWARE
from worker.pipeline.dubs import Dub, Role, Stretch, stretches_of
from worker.pipeline.heard_voices import SoundPart, open_sound
from worker.pipeline.plan import Plan
from worker.pipeline.run_context import FilePair, RunContext
from worker.pipeline.sync_confidence import FrameChoice, LookedAt


def save_plan(plan: Plan, folder: Path, stage_seconds: Mapping[str, float]) -> FilePair:
    """Save a plan, and the seconds of each stage of making it, into a folder; the sound stays in its own file."""
    facts = folder / "plan.npz"
    roles = list({id(dub.role): dub.role for dub in plan.dubs}.values())
    decisions = json.dumps(
        {
            "choosers": [role.chooser.facts() for role in roles],
            "dubs": [_dub_facts(dub, roles) for dub in plan.dubs],
            "is_encoded": isinstance(plan.dubs[0].sound, EncodedSound),
            "sound_parts": [asdict(part) for part in plan.sound_parts],
            "voice_s": plan.voice_s,
            "warnings": plan.warnings,
            "encoder": plan.encoder,
            "peak": plan.source.conversion.peak if plan.source.conversion.is_hdr else None,
            "stage_seconds": dict(stage_seconds),
        }
    )
    heard = {f"heard_{number}": dub.looked_at.voice for number, dub in enumerate(plan.dubs) if dub.looked_at}
    references = {
        f"role_{number}_{name}": array
        for number, role in enumerate(roles)
        for name, array in role.references.arrays().items()
    }
    with facts.open("wb") as file:
        np.savez(file, words=np.array(decisions), **heard, **references)
    return FilePair(plan.sound_file, facts)


def load_plan(saved: FilePair, context: RunContext) -> tuple[Plan, dict[str, float]]:
    """Return a saved plan, and the seconds of each stage of making it.

    Raises InputError, and ServiceError if another kind of checkpoint planned the clip.
    """
    with np.load(saved.facts, allow_pickle=False) as arrays:
        decisions = json.loads(str(arrays["words"]))
        saved_arrays = {name: arrays[name] for name in arrays.files}
    if "dubs" not in decisions:
        decisions, saved_arrays = _of_one_voice(decisions, saved_arrays, context.options.face, saved.media)
    synthesizer, check = context.synthesizer, context.monitor.check
    if decisions["is_encoded"] != (synthesizer.encoder is not None):
        message, hint = "The job was planned with another checkpoint; submit it again.", "Submit the job again."
        raise ServiceError(ErrorCode.CHECKPOINT_INVALID, message, hint=hint)
    roles = [_saved_role(number, facts, saved_arrays, context) for number, facts in enumerate(decisions["choosers"])]
    video, peak = context.sources.video, decisions["peak"]
    facts, ffmpeg = context.sources.input.video, find_ffmpeg(context.ffmpeg)
    source = open_source(video, facts, ffmpeg, check, peak, context.codecs)
    timeline = plan_timeline(context.options, source, decisions["voice_s"])
    parts = tuple(SoundPart(**part) for part in decisions["sound_parts"])
    stretches = tuple(stretches_of(context.options, source, timeline))
    sounds = [open_sound(saved.media, part, synthesizer) for part in parts]
    dubs = tuple(
        Dub(
            _saved_stretch(stretches, facts),
            roles[facts["role"]],
            sounds[facts["voice"]],
            _saved_look(facts, saved_arrays.get(f"heard_{number}")),
        )
        for number, facts in enumerate(decisions["dubs"])
    )
    warnings, encoder = tuple(decisions["warnings"]), decisions.get("encoder", SOFTWARE)
    plan = Plan(source, decisions["voice_s"], timeline, stretches, dubs, saved.media, parts, warnings, encoder)
    return plan, decisions["stage_seconds"]


def _of_one_voice(
    decisions: dict[str, Any], arrays: Mapping[str, Any], face: str, sound_file: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a plan from before a job could have several voices as plans are now: with one dub over the whole clip."""
    dub = {
        "voice": 0,
        "face": face,
        "spans": None,
        "role": 0,
        "looked_at": decisions["looked_at"],
        "heard_from_s": decisions["heard_from_s"],
    }
    facts = {
        "choosers": [decisions["chooser"]],
        "dubs": [dub],
        "is_encoded": decisions["is_encoded"],
        "sound_parts": [{"first": 0, "size": sound_file.stat().st_size}],
        "voice_s": float(decisions["voice_s"]),
        "warnings": [],
        "peak": decisions.get("peak"),
        "stage_seconds": decisions["stage_seconds"],
    }
    references = {f"role_0_{name}": array for name, array in arrays.items() if name not in ("words", "heard")}
    return facts, {**references, "heard_0": arrays["heard"]}


def _dub_facts(dub: Dub, roles: Sequence[Role]) -> dict[str, Any]:
    looked_at = dub.looked_at
    return {
        "voice": dub.stretch.number,
        "face": dub.options.face,
        "spans": dub.stretch.spans,
        "role": next(number for number, role in enumerate(roles) if role is dub.role),
        "looked_at": None if looked_at is None else asdict(looked_at.frames),
        "heard_from_s": 0.0 if looked_at is None else looked_at.from_s,
    }


def _saved_stretch(stretches: Sequence[Stretch], facts: dict[str, Any]) -> Stretch:
    stretch: Stretch = stretches[facts["voice"]]
    options = stretch.options.model_copy(update={"face": facts["face"]})
    spans = stretch.spans if facts["spans"] is None else tuple((first, last) for first, last in facts["spans"])
    return replace(stretch, options=options, spans=spans)


def _saved_look(facts: dict[str, Any], heard: I16 | None) -> LookedAt | None:
    if facts["looked_at"] is None or heard is None:
        return None
    return LookedAt(FrameChoice(**facts["looked_at"]), heard, facts["heard_from_s"])


def _saved_role(number: int, facts: dict[str, Any], arrays: Mapping[str, Any], context: RunContext) -> Role:
    prefix = f"role_{number}_"
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    chooser = Chooser.of_facts(facts)
    return Role(chooser, ReferenceCrops.of_arrays(own, context.synthesizer.config, chooser))
