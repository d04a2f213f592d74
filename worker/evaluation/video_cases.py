"""Real videos as cases of an evaluation: redrawn by the whole pipeline, with the lips measured by the face mesh.

The mesh measures filmed and drawn crops in the same way. It is given crops that are known to show a face, and it is
independent of the network.
"""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts, JobInput, JobOptions, VideoFacts
from app.core.options import option_error
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from app.core.settings import Settings
from model.arrays import F32, I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.corpus.speech.speech import Phone
from model.corpus.speech.timing import align
from model.corpus.speech.transcripts import spoken_words
from model.errors import EspeakError, TimingError
from model.evaluation.cases import FaceCrops, Reading, sex_of
from model.evaluation.heard import Hear
from model.evaluation.metrics import face_detail
from model.face_points import LIP_EDGES
from model.framing import LOWER_FACE, Framing
from worker.faces.crop import extract, face_transform
from worker.faces.detect import DetectorPool, FaceDetector, mouth_size
from worker.faces.frame_view import RgbView
from worker.faces.subject import choose_subject, find_sparse_faces
from worker.faces.track import tracked_frames
from worker.media.decode import Source, decode, open_source
from worker.media.stage_timer import StageTimer
from worker.media.voice import read_voice
from worker.pipeline.render import run
from worker.pipeline.run_context import RunContext, SilentMonitor, Sources
from worker.pipeline.synthesis import FaceSynthesizer

_MESH_SIDE, _MESH_CENTER_Y = 2.4, 0.35  # the square given to the mesh, in template face units
_CROP_PX = (96, 384)  # smallest and largest side of the crops
_DETAIL_FRAMES = 5  # detail is measured in one of so many frames, at the size of the picture
_MOST_DETAIL_PX = 1536
SYNCNET_FRAMING: Final = Framing(side=1.9, center_y=0.6)  # SyncNet's: the face box, padded by 0.4 and moved down by 0.4
_SYNCNET_PX = 224


class MeshReader:
    """Reader of the lips in crops, with the face mesh."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    def __call__(self, crops: U8, framing: Framing) -> Reading:
        """Return the lips in crops (T, S, S, 3) uint8 RGB of a framing; NaN for a crop without a face."""
        unit_px = crops.shape[1] / framing.side
        origin = np.array([-framing.left, -framing.top]) * unit_px
        mouth = np.full((len(crops), 2), np.nan, np.float32)
        lips = np.full((len(crops), len(LIP_EDGES), 2), np.nan, np.float32)
        for index, crop in enumerate(crops):
            centre = (float(origin[0]), float(origin[1] + _MESH_CENTER_Y * unit_px))
            face = self._detector.fit_mesh(RgbView(np.ascontiguousarray(crop)), centre, _MESH_SIDE * unit_px, 1.0)
            if face is not None:
                points = (face.landmarks - origin) / unit_px
                mouth[index], lips[index] = mouth_size(points), points[list(LIP_EDGES)]
        return Reading(mouth, lips)


@dataclass(frozen=True)
class MeasuringTools:
    """Tools and settings that all cases share.

    detector: for the measurements. seconds: longest part of each video that is used. wide: also cut the crops that
    SyncNet needs. hear: what the network hears. detectors: for the runs of the pipeline.
    """

    settings: Settings
    detector: FaceDetector
    seconds: float = 20.0
    wide: bool = False
    hear: Hear | None = None
    detectors: DetectorPool = field(default_factory=DetectorPool)


@dataclass(frozen=True)
class OpenedVideo:
    """Opened video with its sound: its path, its probed facts, and its decodable source."""

    path: Path
    facts: VideoFacts
    sound: AudioFacts
    source: Source


def open_video(path: Path, settings: Settings) -> OpenedVideo:
    """Probe and open a video with its sound. Raises InputError for a file that cannot be used."""
    limits = Limits.of(settings)
    facts, sound = probe_video(path, limits), probe_audio(path, limits)
    return OpenedVideo(path, facts, sound, open_source(path, facts, find_ffmpeg(settings.ffmpeg), never_stop))


def open_video_case(path: Path, synthesizer: FaceSynthesizer, tools: MeasuringTools) -> VideoCase:
    """Open a video as a case. Raises InputError for a file that cannot be used."""
    return VideoCase(open_video(path, tools.settings), synthesizer, tools)


def open_finished_case(result: Path, reference: Path, tools: MeasuringTools) -> FinishedCase:
    """Open a finished video and the film it was made from as a case.

    Raises InputError for a file that cannot be used, and if the two differ in size or frame rate.
    """
    video = open_video(reference, tools.settings)
    filmed, made = video.facts, probe_video(result, Limits.of(tools.settings))
    if (filmed.width, filmed.height, Fraction(filmed.fps)) != (made.width, made.height, Fraction(made.fps)):
        raise option_error(f"result: {result.name} differs from {reference.name} in size or frame rate.")
    return FinishedCase(result, video, tools)


class VideoCase:
    """Case of a filmed video that the whole pipeline redraws with other voices."""

    framing: Framing = LOWER_FACE
    labels: F32 | None = None
    is_finished: bool = False

    def __init__(self, video: OpenedVideo, synthesizer: FaceSynthesizer | None, tools: MeasuringTools) -> None:
        self.path, self.name, self.speaker = video.path, video.path.stem, str(video.path)
        self.sex, self.hear = sex_of(video.path.stem), tools.hear
        self.fps = float(Fraction(video.facts.fps))
        self._video, self._synthesizer, self._tools = video, synthesizer, tools

    @cached_property
    def voice(self) -> I16:
        """Return the voice of the film, (n,) int16 at 16 kHz."""
        return self._sound(self.path, self._video.sound)

    @cached_property
    def phones(self) -> Sequence[Phone]:
        """Return the phones of the film's text, which its name or a file beside it gives; none if there is no text."""
        words = spoken_words(self.path)
        if words is None:
            return ()
        try:
            return align(self.voice.astype(np.float32) / 32768, words, "en").phones
        except (TimingError, EspeakError):
            return ()

    def filmed(self) -> FaceCrops:
        """Return the film as it was filmed, in crops that are about as large as the face in the picture."""
        return self._face_crops(self._video.source, len(self._faces))

    def redraw(self, filmed: FaceCrops, voice: I16) -> FaceCrops | None:
        """Return the film as the whole pipeline redraws it with a voice; None without a network."""
        if self._synthesizer is None:
            return None
        with tempfile.TemporaryDirectory(prefix="lipsync-") as name:
            folder = Path(name)
            sound, output = write_wav(folder / "voice.wav", voice), folder / "drawn.mp4"
            audio = probe_audio(sound, Limits.of(self._tools.settings))
            facts = JobInput(video=self._video.facts, audio=audio)
            sources = Sources(video=self.path, audio=sound, audio_mix=None, input=facts)
            tools, monitor = self._tools, SilentMonitor()
            ffmpeg = tools.settings.ffmpeg
            context = RunContext(sources, JobOptions(), self._synthesizer, folder, monitor, tools.detectors, ffmpeg)
            run(context, output)
            return self.shown(output)

    def shown(self, result: Path) -> FaceCrops:
        """Return a finished video of this film, cropped at the positions of the film's faces."""
        facts = probe_video(result, Limits.of(self._tools.settings))
        source = open_source(result, facts, find_ffmpeg(self._tools.settings.ffmpeg), never_stop)
        return self._face_crops(source, min(source.frames, len(self._faces)))

    @cached_property
    def _faces(self) -> list[F32 | None]:
        """Return the landmarks (468, 2) of the largest face in each frame, None for a frame without it."""
        source, detector = self._video.source, self._tools.detector
        timeline = np.arange(max(1, min(source.frames, round(self._tools.seconds * self.fps))))
        sparse = find_sparse_faces(source, timeline, detector, never_stop)
        chooser = choose_subject("largest", [frame.faces for frame in sparse])
        frames = tracked_frames(source, timeline, detector, chooser, StageTimer(), never_stop)
        faces = [frame.faces[0] if frame.faces else None for frame in frames]
        if all(face is None for face in faces):
            raise InputError(ErrorCode.NO_FACE_DETECTED, f"No face was found in {self.path.name}.")
        return faces

    @cached_property
    def _positions(self) -> list[F32]:
        """Return the landmarks (468, 2) that determine each crop; a frame without a face uses those of the nearest."""
        known = {index: face for index, face in enumerate(self._faces) if face is not None}
        return [known[min(known, key=lambda at: abs(at - index))] for index in range(len(self._faces))]

    @cached_property
    def _filmed_px(self) -> int:
        """Return the side in pixels that the crops have in the picture."""
        scales = [face_transform(face, self.framing, _CROP_PX[0]).scale for face in self._positions]
        return round(_CROP_PX[0] / float(np.median(scales)) / 2) * 2

    @cached_property
    def _size(self) -> int:
        """Return the side of the crops in pixels, about as large as the face in the picture."""
        return int(np.clip(self._filmed_px, *_CROP_PX))

    def _sound(self, path: Path, facts: AudioFacts) -> I16:
        with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
            samples = read_voice(path, facts, Path(folder), never_stop)
            return np.array(samples[: round(self._tools.seconds * SAMPLE_RATE_HZ)])

    def _face_crops(self, source: Source, frames: int) -> FaceCrops:
        crops, wide = [], []
        detail = np.full((frames, 2), np.nan, np.float32)
        pictures = zip(decode(source, 0, frames, never_stop), self._positions, strict=False)
        for index, (planes, face) in enumerate(pictures):
            if index % _DETAIL_FRAMES == 0:
                size = min(self._filmed_px, _MOST_DETAIL_PX)
                filmed = extract(planes, face_transform(face, self.framing, size), source.colour)
                detail[index] = face_detail(filmed[None], self.framing)[0]
            crops.append(extract(planes, face_transform(face, self.framing, self._size), source.colour))
            if self._tools.wide:
                wide.append(extract(planes, face_transform(face, SYNCNET_FRAMING, _SYNCNET_PX), source.colour))
        reading = MeshReader(self._tools.detector)(np.stack(crops), self.framing)
        absent = [face is None for face in self._faces[: len(crops)]]
        reading.mouth[absent], reading.lips[absent] = np.nan, np.nan
        shown = np.stack(wide) if self._tools.wide else None
        return FaceCrops(np.stack(crops), reading, shown, detail=detail[: len(crops)])


class FinishedCase(VideoCase):
    """Case of a finished video, compared with the film it was made from; no other voice can be tried on it."""

    is_finished = True

    def __init__(self, result: Path, video: OpenedVideo, tools: MeasuringTools) -> None:
        super().__init__(video, None, tools)
        self._result, self.name = result, result.stem

    def redraw(self, filmed: FaceCrops, voice: I16) -> FaceCrops | None:
        """Return the finished video, with its sound; `voice` has to be that of its film."""
        facts = probe_audio(self._result, Limits.of(self._tools.settings))
        return replace(self.shown(self._result), voice=self._sound(self._result, facts))


def write_wav(path: Path, samples: I16) -> Path:
    """Write samples (n,) int16 at 16 kHz as a mono WAV file and return its path."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path
