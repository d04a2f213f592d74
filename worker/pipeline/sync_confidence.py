"""How well the lips of the finished picture fit the voice: the figure `sync_confidence` of the report.

It takes a face mesh of its own for each frame that is looked at, so only some frames are: one stretch of a few seconds,
where people speak most, and every other frame of it. The plan chooses the stretch, so it does not depend on segments;
each segment notes the lips of its own frames, and the join puts them together. Nothing here changes a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from model.arrays import F32, I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.evaluation.lip_voice import load_model, match_lips
from model.silence_gate import QUIET_DB, STEP
from worker.faces.detect import face_height
from worker.faces.lips import read_lips
from worker.faces.placed_mesh import PlacedMesh
from worker.faces.subject import REACH, Chooser
from worker.media.colour import ColourMatrix
from worker.media.silence_gate import levels_db

STRETCH_S: Final = 4.0  # enough to tell a voice from another; more would make a job slower
SPACING_S: Final = 0.08  # between frames that are looked at: two frames at 25 a second
MARGIN_S: Final = (
    2.0  # of the voice that is kept on both sides: lags, mel windows and the drift of the sound reach there
)
SPOKEN_BELOW_DB: Final = 30.0  # below the loud parts of the voice
LOW_CONFIDENCE: Final = 0.2  # nine of ten real talkers have more, three of four strangers' voices have less
_DIGITS: Final = 5  # of a shape in the file of a segment

LipShapes = dict[int, list[float]]  # by number of the output frame; see `model.evaluation.lip_voice`


@dataclass(frozen=True)
class FrameChoice:
    """Output frames whose lips are looked at: every `step` frames from `first` up to, not including, `last`."""

    first: int
    last: int
    step: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.last and (number - self.first) % self.step == 0


@dataclass(frozen=True)
class LookedAt:
    """Stretch of a clip whose lips are compared with the voice.

    voice: (n,) int16 at 16 kHz of the stretch and MARGIN_S around it, from `from_s` seconds of the output on.
    """

    frames: FrameChoice
    voice: I16
    from_s: float


def choose_frames(voice: I16, span: tuple[int, int], rate: Fraction, begin_s: float = 0.0) -> LookedAt:
    """Choose the stretch of the output frames [first, last) in which most of the voice (n,) int16 is loud.

    begin_s: when the voice begins, in seconds of the output.
    """
    length, step = min(span[1] - span[0], int(STRETCH_S * rate)), max(1, round(SPACING_S * rate))
    levels = levels_db(voice) if len(voice) else np.full(1, QUIET_DB, np.float32)
    loud = float(np.percentile(levels[levels > QUIET_DB], 95)) if (levels > QUIET_DB).any() else 0.0
    spoken = np.concatenate([[0], np.cumsum(levels > max(QUIET_DB, loud - SPOKEN_BELOW_DB))])
    starts = np.arange(span[0], span[1] - length + 1, step)
    edges = [
        np.clip(np.round((at / float(rate) - begin_s) * SAMPLE_RATE_HZ / STEP), 0, len(levels)).astype(np.int64)
        for at in (starts, starts + length)
    ]
    first = int(starts[np.argmax(spoken[edges[1]] - spoken[edges[0]])])
    ends_s = first / float(rate) - MARGIN_S, (first + length) / float(rate) + MARGIN_S
    heard = [round((at_s - begin_s) * SAMPLE_RATE_HZ) for at_s in ends_s]
    begin = max(0, heard[0])
    part = np.array(voice[begin : max(begin, heard[1])])
    return LookedAt(FrameChoice(first, first + length, step), part, begin_s + begin / SAMPLE_RATE_HZ)


class LipReader:
    """Reader of the lips of the chosen frames of a clip; `shapes` holds what it has read so far."""

    def __init__(self, chosen: FrameChoice, mesh: PlacedMesh, colour: ColourMatrix, chooser: Chooser) -> None:
        self.shapes: LipShapes = {}
        self._main = max(chooser.people, key=lambda person: person.height_px * person.sightings, default=None)
        self._chosen, self._mesh, self._colour, self._model = chosen, mesh, colour, load_model()

    def read(self, number: int, planes: U8, faces: Sequence[F32]) -> None:
        """Read the lips of the main person in an output frame, (H * 3/2, W) uint8 I420, if the frame is chosen."""
        face = self._main_face(faces) if number in self._chosen else None
        lips = None if face is None else read_lips(self._mesh, planes, self._colour, face)
        if lips is not None:
            shape = self._model.shapes(lips[None])[0]
            self.shapes[number] = [round(float(value), _DIGITS) for value in shape]

    def _main_face(self, faces: Sequence[F32]) -> F32 | None:
        """Return the face of the main person, None if it is not seen: two people must not take turns."""
        if len(faces) < 2 or self._main is None:
            return max(faces, key=face_height, default=None)
        place = np.array([self._main.x, self._main.y])
        away = [float(np.hypot(*((face.min(axis=0) + face.max(axis=0)) / 2 - place))) for face in faces]
        nearest = int(np.argmin(away))
        return faces[nearest] if away[nearest] <= REACH * self._main.height_px else None


def sync_confidence(shapes: Mapping[int, Sequence[float]], looked_at: LookedAt, rate: Fraction) -> float | None:
    """Return how well the lips of a clip fit its voice, 0..1; None if there are too few lips or too little voice."""
    if not shapes:
        return None
    numbers = sorted(shapes)
    times_s = np.array([float(number / rate) for number in numbers]) - looked_at.from_s
    found = match_lips(load_model(), np.array([shapes[number] for number in numbers]), times_s, looked_at.voice)
    return None if found is None else round(max(0.0, found.match), 3)


def sync_warnings(confidence: float | None) -> list[str]:
    """Return a warning, with the figure, about lips that hardly fit the voice."""
    if confidence is None or confidence >= LOW_CONFIDENCE:
        return []
    return [
        f"The lips fit the voice poorly (sync confidence {confidence:.2f}, people reach about 0.4): use a voice "
        "without music or noise, and a face that is large, uncovered and turned to the camera."
    ]
