"""Warnings about uploaded sounds, from their facts: what was chosen, moved or left out, so that nobody is surprised."""

from __future__ import annotations

from typing import Final

from app.core.dubs import Dub, dub_name
from app.core.jobs import AudioFacts, JobInput, JobOptions

NOTED_DELAY_S: Final = 0.2  # a shorter one is not worth a word
NOTED_REST_S: Final = 0.3  # by which a voice is longer or shorter than its stretch
NOTED_DAMAGE_S: Final = 0.1  # where files are joined, a packet or two are never complete


def sound_warnings(job_input: JobInput, options: JobOptions) -> list[str]:
    """Return the warnings about the voices and the sound of the output."""
    film = job_input.video.sha256
    warnings = [] if job_input.audio is None else _warnings_of("voice", job_input.audio, film)
    for number, (dub, voice) in enumerate(zip(options.segments, job_input.segments, strict=True)):
        warnings += [f"{dub_name(number)}: {warning}" for warning in _dub_warnings(dub, voice, film)]
    if job_input.audio_mix is not None:
        return warnings + _warnings_of("sound for the output (`audio_mix`)", job_input.audio_mix, film)
    if options.segments and job_input.video.has_audio and job_input.film_audio is None:
        warnings.append("The video's own sound cannot be read; outside the segments the output is silent.")
    return warnings


def _dub_warnings(dub: Dub, voice: AudioFacts, video_sha256: str) -> list[str]:
    warnings = _warnings_of("voice", voice, video_sha256)
    longer_s = voice.duration_s - dub.length_s
    if longer_s >= NOTED_REST_S:
        warnings.append(f"The voice is {longer_s:.2f} s longer than its stretch; its end is cut off.")
    elif longer_s <= -NOTED_REST_S:
        warnings.append(f"The voice ends {-longer_s:.2f} s before its stretch; silence follows it.")
    return warnings


def _warnings_of(name: str, facts: AudioFacts, video_sha256: str) -> list[str]:
    warnings = []
    if facts.tracks > 1:
        reason = {
            "first": "the first one",
            "default": "which its marks in the file make players prefer",
            "readable": "because no track that players prefer can be decoded",
        }[facts.track_choice]
        warnings.append(f"The {name} has {facts.tracks} audio tracks; used is track {facts.track + 1}, {reason}.")
    if facts.start_s >= NOTED_DELAY_S:
        warnings.append(f"The {name} begins {facts.start_s:.2f} s after the start of its file; this delay is kept.")
    if facts.start_s <= -NOTED_DELAY_S and facts.sha256 == video_sha256:
        warnings.append(f"The first {-facts.start_s:.2f} s of the {name} lie before the first picture; they are cut.")
    if facts.is_joined:
        warnings.append(f"The {name} is joined of several recordings; they follow each other without a pause.")
    if facts.damaged_s >= NOTED_DAMAGE_S:
        warnings.append(f"The {name} is damaged: {facts.damaged_s:.2f} s of it cannot be decoded.")
    if facts.missing_s > 0:
        warnings.append(f"The {name} is cut off: its last {facts.missing_s:.2f} s are not in the file.")
    return warnings
