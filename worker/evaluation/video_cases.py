"""Real videos as cases of evaluation: through the whole pipeline, and lips read by the face mesh.

The mesh looks at crops whose face is known to be there, filmed and drawn alike, so both are read by one instrument
that has nothing to do with the network.
"""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts, JobInput, JobOptions
from app.core.options import option_error
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from app.core.settings import Settings
from model.arrays import F32, I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.corpus.speech.speech import Phone
from model.corpus.speech.timing import align
from model.corpus.speech.transcripts import spoken_words
from model.errors import EspeakError, TimingError
from model.evaluation.cases import FaceCrops, Reading
from model.face_points import LIP_EDGES
from model.framing import LOWER_FACE, Framing
from worker.faces.crop import extract, face_transform
from worker.faces.detect import FaceDetector, mouth_size
from worker.faces.frame_view import RgbPicture
from worker.faces.subject import choose_subject, look_around
from worker.faces.track import tracked_frames
from worker.media.decode import Source, decode, open_source
from worker.media.stage_timer import Clock
from worker.media.voice import read_voice
from worker.pipeline.render import Sources, run
from worker.pipeline.synthesis import SynthesizerLike

_MESH_SIDE, _MESH_CENTER_Y = 2.4, 0.35  # the square given to the mesh, in template face units
_CROP_PX = (96, 384)
SYNCNET_FRAMING: Final = Framing(side=1.9, center_y=0.6)  # a detector's box with 0.4 of padding, moved down by as much
_SYNCNET_PX = 224


class MeshReader:
    """Read the lips of crops with the face mesh."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    def __call__(self, crops: U8, framing: Framing) -> Reading:
        """Return the lips of crops (T, S, S, 3) uint8 RGB of a framing."""
        unit_px = crops.shape[1] / framing.side
        origin = np.array([-framing.left, -framing.top]) * unit_px
        mouth = np.full((len(crops), 2), np.nan, np.float32)
        lips = np.full((len(crops), len(LIP_EDGES), 2), np.nan, np.float32)
        for index, crop in enumerate(crops):
            centre = (float(origin[0]), float(origin[1] + _MESH_CENTER_Y * unit_px))
            face = self._detector.fit_mesh(RgbPicture(np.ascontiguousarray(crop)), centre, _MESH_SIDE * unit_px, 1.0)
            if face is not None:
                points = (face.landmarks - origin) / unit_px
                mouth[index], lips[index] = mouth_size(points), points[list(LIP_EDGES)]
        return Reading(mouth, lips)


class Quiet:
    """Watch a run without a word."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def frames(self, done: int, total: int) -> None:
        """Say nothing."""

    def check(self) -> None:
        """Go on."""


@dataclass(frozen=True)
class Instruments:
    """Say how videos are looked at: by whom, for how many seconds, and with the crops that SyncNet wants or not."""

    detector: FaceDetector
    seconds: float = 20.0
    wide: bool = False


class VideoCase:
    """Judge the whole pipeline on one filmed video, redrawn with voices. Raises InputError for what cannot be used."""

    framing: Framing = LOWER_FACE
    sex: str | None = None
    labels: F32 | None = None

    def __init__(
        self, path: Path, settings: Settings, synthesizer: SynthesizerLike | None, instruments: Instruments
    ) -> None:
        self.speaker = str(path)
        self.path, self.name, self._settings, self._synthesizer = path, path.stem, settings, synthesizer
        self._detector, self._wide, self._seconds = instruments.detector, instruments.wide, instruments.seconds
        limits = Limits.of(settings)
        self._ffmpeg = find_ffmpeg(settings.ffmpeg)
        self._facts = JobInput(video=probe_video(path, limits), audio=probe_audio(path, limits))
        self._source = open_source(path, self._facts.video, self._ffmpeg, Quiet().check)
        self.fps = float(Fraction(self._facts.video.fps))

    @cached_property
    def voice(self) -> I16:
        """Return what is said, (n,) int16 at 16 kHz."""
        return self._sound(self.path, self._facts.audio)

    @cached_property
    def phones(self) -> Sequence[Phone]:
        """Return the sounds of the words that the clip's name or a text beside it tells, none where nothing does."""
        words = spoken_words(self.path)
        if words is None:
            return ()
        try:
            return align(self.voice.astype(np.float32) / 32768, words, "en").phones
        except (TimingError, EspeakError):
            return ()

    def filmed(self) -> FaceCrops:
        """Return the clip as it was filmed, its crops about as large as the picture has them."""
        return self._face_crops(self._source, len(self._faces))

    def redraw(self, filmed: FaceCrops, voice: I16) -> FaceCrops | None:
        """Return the film redrawn with a voice by the whole pipeline; None without a network."""
        if self._synthesizer is None:
            return None
        with tempfile.TemporaryDirectory(prefix="lipsync-") as name:
            folder = Path(name)
            sound, output = write_wav(folder / "voice.wav", voice), folder / "drawn.mp4"
            facts = JobInput(video=self._facts.video, audio=probe_audio(sound, Limits.of(self._settings)))
            sources = Sources(video=self.path, audio=sound, audio_mix=None, input=facts)
            run(sources, JobOptions(), self._synthesizer, output, folder, Quiet(), self._settings.ffmpeg)
            return self.shown(output)

    def shown(self, result: Path) -> FaceCrops:
        """Return what a finished video of this clip shows in the clip's own places."""
        facts = probe_video(result, Limits.of(self._settings))
        source = open_source(result, facts, self._ffmpeg, Quiet().check)
        return self._face_crops(source, min(source.frames, len(self._faces)))

    @cached_property
    def _faces(self) -> list[F32 | None]:
        """Return the landmarks of the main face in every frame, None where it is not seen."""
        source, check = self._source, Quiet().check
        timeline = np.arange(max(1, min(source.frames, round(self._seconds * self.fps))))
        seen = look_around(source, timeline, self._detector, check)
        chooser = choose_subject("largest", [sighting.faces for sighting in seen])
        frames = tracked_frames(source, timeline, self._detector, chooser, Clock(), check)
        faces = [frame.faces[0] if frame.faces else None for frame in frames]
        if all(face is None for face in faces):
            raise InputError(ErrorCode.NO_FACE_DETECTED, f"No face was found in {self.path.name}.")
        return faces

    @cached_property
    def _places(self) -> list[F32]:
        """Return the landmarks that place every crop; a frame without a face takes its neighbour's."""
        known = {index: face for index, face in enumerate(self._faces) if face is not None}
        return [known[min(known, key=lambda at: abs(at - index))] for index in range(len(self._faces))]

    @cached_property
    def _size(self) -> int:
        """Return the side of a crop that has about the pixels of the picture."""
        scales = [face_transform(face, self.framing, _CROP_PX[0]).scale for face in self._places]
        return int(np.clip(round(_CROP_PX[0] / float(np.median(scales)) / 2) * 2, *_CROP_PX))

    def _sound(self, path: Path, facts: AudioFacts) -> I16:
        with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
            samples = read_voice(path, facts, Path(folder), self._ffmpeg, Quiet().check)
            return np.array(samples[: round(self._seconds * SAMPLE_RATE_HZ)])

    def _face_crops(self, source: Source, frames: int) -> FaceCrops:
        crops, wide = [], []
        for planes, face in zip(decode(source, 0, frames, Quiet().check), self._places, strict=False):
            crops.append(extract(planes, face_transform(face, self.framing, self._size), source.colour))
            if self._wide:
                wide.append(extract(planes, face_transform(face, SYNCNET_FRAMING, _SYNCNET_PX), source.colour))
        reading = MeshReader(self._detector)(np.stack(crops), self.framing)
        absent = [face is None for face in self._faces[: len(crops)]]
        reading.mouth[absent], reading.lips[absent] = np.nan, np.nan
        return FaceCrops(np.stack(crops), reading, np.stack(wide) if self._wide else None)


class FinishedCase(VideoCase):
    """Judge a finished video against the film it was made from; it has no row but its own.

    Raises InputError where the two differ in size or frame rate.
    """

    def __init__(self, result: Path, reference: Path, settings: Settings, instruments: Instruments) -> None:
        super().__init__(reference, settings, None, instruments)
        self._result, self.name = result, result.stem
        film, made = self._facts.video, probe_video(result, Limits.of(settings))
        if (film.width, film.height, Fraction(film.fps)) != (made.width, made.height, Fraction(made.fps)):
            raise option_error(f"result: {result.name} differs from {reference.name} in size or frame rate.")

    def redraw(self, filmed: FaceCrops, voice: I16) -> FaceCrops | None:
        """Return the finished video, with what it says, for the film's own voice, and nothing for another."""
        if voice is not self.voice:
            return None
        facts = probe_audio(self._result, Limits.of(self._settings))
        return replace(self.shown(self._result), voice=self._sound(self._result, facts))


def write_wav(path: Path, samples: I16) -> Path:
    """Write mono samples (n,) int16 at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path
