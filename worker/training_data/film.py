"""Turn one film of a talking person into training clips: the frames and crops of serving, with the sound in sync.

A film is divided into shots (shots.py), and a shot into the stretches that show a face throughout. Each stretch is a
clip. The offset of the sound is estimated from all clips of the film together. The clips are made in a temporary folder
and moved into the corpus when the film is done. A note with the result then shows that the film is done.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError, LipSyncError
from app.core.files import replacing
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from app.core.settings import Settings
from model.arrays import I16
from model.evaluation.av_offset import OffsetExpert, Piece, find_offset, shift_sound
from worker.media.decode import Source, decode, open_source
from worker.media.voice import read_voice
from worker.training_data.clip_writer import FPS, SAMPLES_PER_FRAME, FacelessClipError, Preparer
from worker.training_data.dataset_layouts import Film
from worker.training_data.shots import SHORTEST_FRAMES, Shot, split_shots

LONGEST_FILM_S: Final = 4 * 3600.0  # films for training may be longer than clips for the service
START_S: Final = 120.0  # a film may take this many seconds, plus SECONDS_PER_SECOND for each second of its length
SECONDS_PER_SECOND: Final = 40.0
SKIPPED_FRAMES: Final = FPS // 2  # after a frame without a face, this many frames are skipped
SILENT_RMS: Final = 10.0  # root mean square, full scale is 32768
NOTES: Final = ".films"


@dataclass
class FilmResult:
    """Result of preparing one film.

    clips: names of its clips. frames: frames of all clips. offset_frames: delay of its sound in frames, before it was
    corrected. left_out: reasons why parts of it, or all of it, cannot be used. kept: the clips existed before.
    """

    clips: list[str] = field(default_factory=list)
    frames: int = 0
    offset_frames: int = 0
    left_out: list[str] = field(default_factory=list)
    kept: bool = False


@dataclass(frozen=True)
class FilmReading:
    """Limits on films, and the path of ffmpeg if it is set."""

    limits: Limits = field(default_factory=lambda: Limits(max_duration_s=LONGEST_FILM_S))
    ffmpeg: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> FilmReading:
        """Return what the settings name; a film may always last LONGEST_FILM_S."""
        limits = Limits.of(settings)
        return cls(replace(limits, max_duration_s=max(limits.max_duration_s, LONGEST_FILM_S)), settings.ffmpeg)


@dataclass(frozen=True)
class _Clip:
    """Clip that is being made: its folder, and its frames [first, last) in the film."""

    folder: Path
    first: int
    last: int


def prepare_film(
    preparer: Preparer, film: Film, split: str, out_dir: Path, expert: OffsetExpert | None, reading: FilmReading
) -> FilmResult:
    """Make the clips of a film under `out_dir`, unless they exist; the result of an unusable film holds the reason."""
    note = out_dir / NOTES / f"{film.name}.json"
    if note.is_file():
        return FilmResult(**{**json.loads(note.read_text()), "kept": True})
    temporary = out_dir / NOTES / f"{film.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        result = _make_clips(preparer, film, split, temporary, expert, reading)
        for name in result.clips:
            shutil.rmtree(out_dir / name, ignore_errors=True)
            (temporary / name).rename(out_dir / name)
    except LipSyncError as error:
        return FilmResult(left_out=[error.message])
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if result.clips:
        with replacing(note) as partial:
            partial.write_text(json.dumps(asdict(result)))
    return result


def _make_clips(
    preparer: Preparer, film: Film, split: str, folder: Path, expert: OffsetExpert | None, reading: FilmReading
) -> FilmResult:
    """Make all clips of a film in a folder. Raises LipSyncError for a film that cannot be used."""
    facts = probe_video(film.path, reading.limits)
    if facts.kind != "video":
        raise InputError(ErrorCode.VIDEO_STREAM_MISSING, "The picture does not move.")
    check = _deadline(START_S + SECONDS_PER_SECOND * facts.duration_s)
    grid = facts.model_copy(update={"fps": str(FPS), "frames": round(facts.duration_s * FPS)})
    source = open_source(film.path, grid, find_ffmpeg(reading.ffmpeg), check)
    voice = _voice(film.path, reading.limits, check)
    # Lips that move without sound are of no use in training.
    frames = min(source.frames, len(voice) // SAMPLES_PER_FRAME)
    meta = {"identity": film.identity, "voice": film.identity, "split": split, "source": film.path.name}
    if film.words is not None:
        meta["words"] = film.words
    clips: list[_Clip] = []
    for shot in split_shots(decode(source, 0, frames, check)):
        clips += _make_shot_clips(preparer, shot, source, voice, folder / film.name, meta)
    shown = sum(clip.last - clip.first for clip in clips)
    result = FilmResult([clip.folder.name for clip in clips], shown)
    if shown < frames:
        result.left_out.append(f"{(frames - shown) / FPS:.1f} s show no face for a whole second, or are too short.")
    if clips:
        result.offset_frames = _bring_into_sync(clips, voice, expert)
    return result


def _make_shot_clips(
    preparer: Preparer, shot: Shot, source: Source, voice: I16, path: Path, meta: dict[str, str]
) -> Iterator[_Clip]:
    """Write each stretch of a shot that shows a face throughout; clips are named after `path` and their first frame."""
    stretches = [(0, len(shot.frames))]
    while stretches:
        start, end = stretches.pop()
        if end - start < SHORTEST_FRAMES:
            continue
        first, last = shot.first + start, shot.first + end
        clip = _Clip(path.with_name(f"{path.name}_{first:06d}"), first, last)
        sound = voice[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
        try:
            preparer.write_planes(shot.frames[start:end], source.colour, sound, clip.folder, meta)
            yield clip
        except FacelessClipError as error:
            if error.frame is None:  # the frame is not known: try both halves
                stretches += [((start + end) // 2, end), (start, (start + end) // 2)]
            else:
                stretches += [(start + error.frame + SKIPPED_FRAMES, end), (start, start + error.frame)]


def _bring_into_sync(clips: list[_Clip], voice: I16, expert: OffsetExpert | None) -> int:
    """Correct the delay of the sound in all clips of a film and in their meta.json; return the delay in frames."""
    pieces = [
        Piece(
            np.load(clip.folder / "crops.npy"),
            np.load(clip.folder / "labels.npy")[:, 0],
            np.load(clip.folder / "audio.npy"),
        )
        for clip in clips
    ]
    offset = find_offset(pieces, FPS, expert)
    moved = shift_sound(voice, offset.frames, FPS)
    for clip in clips:
        np.save(clip.folder / "audio.npy", moved[clip.first * SAMPLES_PER_FRAME : clip.last * SAMPLES_PER_FRAME])
        path = clip.folder / "meta.json"
        meta = json.loads(path.read_text())
        meta |= {"start_s": clip.first / FPS, "offset_frames": offset.frames, "offset_evidence": offset.height}
        path.write_text(json.dumps(meta, ensure_ascii=False, indent=1))
    return offset.frames


def _voice(path: Path, limits: Limits, check: Check) -> I16:
    """Return the sound of a film, (n,) int16 at 16 kHz, from the start of its video track on.

    Raises InputError if the film has no sound or only silence.
    """
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
        facts = probe_audio(path, limits)
        voice = np.array(read_voice(path, facts, Path(folder), check, facts.start_s))
    if float(np.sqrt(np.mean(voice.astype(np.float64) ** 2))) < SILENT_RMS:
        raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound of the film is silence.")
    return voice


def _deadline(seconds: float) -> Check:
    """Return a check that raises InputError after this many seconds."""
    end_s = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end_s:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, f"The film could not be prepared in {seconds:.0f} s.")

    return check
