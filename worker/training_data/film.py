"""Turn one film of somebody talking into training clips: the frames and crops of serving, sound brought into sync.

A film becomes takes (takes.py), a take the stretches of it that show a face throughout. Each stretch is a clip. The
offset of the sound is looked for in all clips of the film together. Clips are made in a folder aside and moved into the
corpus when the film is done; a note of what became of it says that it need not be done again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError, LipSyncError
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from model.arrays import I16
from model.evaluation.av_offset import OffsetExpert, Piece, find_offset, shift_sound
from worker.media.decode import Source, decode, open_source
from worker.media.voice import read_voice
from worker.training_data.clip_writer import FPS, SAMPLES_PER_FRAME, FacelessClipError, Preparer
from worker.training_data.dataset_layouts import Film
from worker.training_data.shots import SHORTEST_FRAMES, Take, takes

LIMITS: Final = Limits(max_duration_s=4 * 3600.0)
START_S: Final = 120.0  # a film may take this long, and then so many seconds for each of its own
SECONDS_PER_SECOND: Final = 40.0
SKIPPED_FRAMES: Final = FPS // 2  # where the face is missing, it is looked for again so much later
SILENT_RMS: Final = 10.0  # of 32768
NOTES: Final = ".films"


@dataclass
class Result:
    """Say what became of a film: its clips, their frames, by how much its sound was late, and what was left out."""

    clips: list[str] = field(default_factory=list)
    frames: int = 0
    offset_frames: int = 0
    left_out: list[str] = field(default_factory=list)
    kept: bool = False


@dataclass(frozen=True)
class _Clip:
    """A clip in the making: its folder, and the frames [first, last) of the film."""

    folder: Path
    first: int
    last: int


def prepare_film(preparer: Preparer, film: Film, split: str, out_dir: Path, listener: OffsetExpert | None) -> Result:
    """Make the clips of a film under `out_dir`, or find them there from before; an unusable film is a reason."""
    note = out_dir / NOTES / f"{film.name}.json"
    if note.is_file():
        return Result(**{**json.loads(note.read_text()), "kept": True})
    aside = out_dir / NOTES / f"{film.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        result = _make_clips(preparer, film, split, aside, listener)
        for name in result.clips:
            shutil.rmtree(out_dir / name, ignore_errors=True)
            (aside / name).rename(out_dir / name)
    except LipSyncError as error:
        return Result(left_out=[error.message])
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if result.clips:
        partial = note.with_suffix(".writing")
        partial.write_text(json.dumps(asdict(result)))
        partial.replace(note)
    return result


def _make_clips(preparer: Preparer, film: Film, split: str, aside: Path, listener: OffsetExpert | None) -> Result:
    """Make all clips in the folder aside. Raises LipSyncError for a film that cannot be used."""
    facts = probe_video(film.path, LIMITS)
    if facts.kind != "video":
        raise InputError(ErrorCode.VIDEO_STREAM_MISSING, "The picture does not move.")
    check = _deadline(START_S + SECONDS_PER_SECOND * facts.duration_s)
    grid = facts.model_copy(update={"fps": str(FPS), "frames": round(facts.duration_s * FPS)})
    source = open_source(film.path, grid, find_ffmpeg(None), check)
    voice = _voice(film.path, source, check)
    frames = min(source.frames, len(voice) // SAMPLES_PER_FRAME)  # lips that move without sound teach nothing
    meta = {"identity": film.identity, "voice": film.identity, "split": split, "source": film.path.name}
    if film.words is not None:
        meta["words"] = film.words
    clips: list[_Clip] = []
    for take in takes(decode(source, 0, frames, check)):
        clips += _make_take(preparer, take, source, voice, aside / film.name, meta)
    shown = sum(clip.last - clip.first for clip in clips)
    result = Result([clip.folder.name for clip in clips], shown)
    if shown < frames:
        result.left_out.append(f"{(frames - shown) / FPS:.1f} s show no face for a whole second, or are too short.")
    if clips:
        result.offset_frames = _bring_into_sync(clips, voice, listener)
    return result


def _make_take(
    preparer: Preparer, take: Take, source: Source, voice: I16, place: Path, meta: dict[str, str]
) -> Iterator[_Clip]:
    """Write each stretch of a take that shows a face throughout."""
    stretches = [(0, len(take.frames))]
    while stretches:
        start, end = stretches.pop()
        if end - start < SHORTEST_FRAMES:
            continue
        first, last = take.first + start, take.first + end
        clip = _Clip(place.with_name(f"{place.name}_{first:06d}"), first, last)
        sound = voice[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
        try:
            preparer.write_planes(take.frames[start:end], source.colour, sound, clip.folder, meta)
            yield clip
        except FacelessClipError as error:
            if error.frame is None:  # somewhere between: look at both halves
                stretches += [((start + end) // 2, end), (start, (start + end) // 2)]
            else:
                stretches += [(start + error.frame + SKIPPED_FRAMES, end), (start, start + error.frame)]


def _bring_into_sync(clips: list[_Clip], voice: I16, listener: OffsetExpert | None) -> int:
    """Find by how many frames the sound is late, move it, and write down what was done; return the frames."""
    pieces = [
        Piece(
            np.load(clip.folder / "crops.npy"),
            np.load(clip.folder / "labels.npy")[:, 0],
            np.load(clip.folder / "audio.npy"),
        )
        for clip in clips
    ]
    offset = find_offset(pieces, FPS, listener)
    moved = shift_sound(voice, offset.frames, FPS)
    for clip in clips:
        np.save(clip.folder / "audio.npy", moved[clip.first * SAMPLES_PER_FRAME : clip.last * SAMPLES_PER_FRAME])
        path = clip.folder / "meta.json"
        known = json.loads(path.read_text())
        known |= {"start_s": clip.first / FPS, "offset_frames": offset.frames, "offset_evidence": offset.height}
        path.write_text(json.dumps(known, ensure_ascii=False, indent=1))
    return offset.frames


def _voice(path: Path, source: Source, check: Check) -> I16:
    """Return the film's own sound from where its picture starts. Raises InputError where it has none to hear."""
    start_s = float((source.picture.start_pts or 0) * Fraction(source.picture.time_base))
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
        facts = probe_audio(path, LIMITS)
        voice = np.array(read_voice(path, facts, Path(folder), source.ffmpeg, check, start_s))
    if float(np.sqrt(np.mean(voice.astype(np.float64) ** 2))) < SILENT_RMS:
        raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound of the film is silence.")
    return voice


def _deadline(seconds: float) -> Check:
    """Return a check that ends a film on which too long was spent."""
    end_s = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end_s:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, f"The film could not be prepared in {seconds:.0f} s.")

    return check
