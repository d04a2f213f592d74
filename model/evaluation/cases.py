"""Cases of an evaluation: one filmed clip each, which can be redrawn with any voice.

Reading lips from pictures, decoding files and running the whole pipeline are handed in, because the model package only
draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from model.arrays import F32, I16, I64, U8, Floats
from model.audio import SAMPLE_RATE_HZ
from model.corpus.speech.speech import Phone
from model.errors import CorpusError
from model.evaluation.heard import Hear
from model.framing import LOWER_FACE, Framing
from model.synthesizer import Synthesizer
from model.training.clips import (
    clip_folders,
    load_clip,
    read_labels,
    read_meta,
)

_REST_FRAMES = 8  # sparse frames from which a reference at rest is chosen, as in serving
_APART_FRAMES = 5  # fewest frames between a frame and its reference
_SEXES = {"man": "man", "woman": "woman", "m": "man", "w": "woman"}
_SILENCE = "silence"  # the voice of a puppet that says nothing


@dataclass(frozen=True)
class Reading:
    """Lips as read from crops, in template face units.

    mouth: (T, 2) aperture and width. lips: (T, L, 2) landmarks. Both float32, not a number in frames without a face.
    """

    mouth: F32
    lips: F32


@dataclass(frozen=True)
class FaceCrops:
    """Crops (T, S, S, 3) uint8 RGB of one face in consecutive frames, with the lips that were read from them.

    wide: (T, 224, 224, 3) uint8 RGB in the framing of SyncNet, if whole frames were available. voice: the voice that
    the crops were drawn with, if it is not the one that was asked for. detail: (T, 2) as `metrics.face_detail` returns
    it, measured at the size of the picture, not a number in frames that were not measured; None: crops have that size.
    """

    crops: U8
    reading: Reading
    wide: U8 | None = None
    voice: I16 | None = None
    detail: F32 | None = None


class Case(Protocol):
    """One filmed clip of an evaluation."""

    @property
    def name(self) -> str:
        """Return the name of the clip."""

    @property
    def fps(self) -> float:
        """Return the frames per second."""

    @property
    def framing(self) -> Framing:
        """Return which square of the face the crops show."""

    @property
    def voice(self) -> I16:
        """Return the clip's own voice, (n,) int16 at 16 kHz."""

    @property
    def speaker(self) -> str:
        """Return a name of the speaker, "" if nobody speaks."""

    @property
    def phones(self) -> Sequence[Phone]:
        """Return the phonemes with their times, none if they are not known."""

    @property
    def sex(self) -> str | None:
        """Return "man" or "woman", None if it is not known."""

    @property
    def labels(self) -> F32 | None:
        """Return the true aperture and width of the mouth (T, 2), None if they are not known."""

    @property
    def is_finished(self) -> bool:
        """Return whether the case is a finished video, which can be measured with its own voice only."""

    @property
    def hear(self) -> Hear | None:
        """Return what predicts the articulation from a voice; None without a network that hears."""

    def filmed(self) -> FaceCrops:
        """Return the crops as they were filmed."""

    def redraw(self, filmed: FaceCrops, voice: I16) -> FaceCrops | None:
        """Return the crops redrawn with a voice, cut to the shorter of the two; None if that is not possible."""


ReadLips = Callable[[U8, Framing], Reading]


@dataclass(frozen=True)
class PreparedCase:
    """Prepared clip that is redrawn by the generator alone, without the pipeline.

    As in serving, the lower half of each crop is hidden, and the reference is a crop from another moment. framing: that
    of the network; prepared crops show LOWER_FACE.
    """

    folder: Path
    synthesizer: Synthesizer
    read_lips: ReadLips
    fps: float
    framing: Framing
    phones: tuple[Phone, ...]
    sex: str | None
    voice: I16
    speaker: str
    labels: F32 | None

    @property
    def is_finished(self) -> bool:
        """Return False: the generator redraws the clip with any voice."""
        return False

    @property
    def hear(self) -> Hear:
        """Return the hearing of the synthesizer."""
        return self.synthesizer.hear

    @property
    def name(self) -> str:
        """Return the name of the folder."""
        return self.folder.name

    def filmed(self) -> FaceCrops:
        """Return the crops in the size and framing of the network."""
        config = self.synthesizer.config
        crops = load_clip(self.folder, config.image_size, config.mel_window).crops
        if self.framing != LOWER_FACE:
            crops = reframe(np.load(self.folder / "crops.npy"), LOWER_FACE, self.framing, config.image_size)
        return FaceCrops(crops, self.read_lips(crops, self.framing))

    def redraw(self, filmed: FaceCrops, voice: I16) -> FaceCrops:
        """Return the crops redrawn with a voice, cut to the shorter of the two."""
        frames = min(len(filmed.crops), int(len(voice) * self.fps / SAMPLE_RATE_HZ))
        sound = self.synthesizer.reader.read(voice).windows(np.arange(frames) / self.fps)
        references = filmed.crops[resting_frames(filmed.reading.mouth[:, 0])][:frames]
        crops = self.synthesizer.synthesize(filmed.crops[:frames], sound, references)
        return FaceCrops(crops, self.read_lips(crops, self.framing))


def reframe(crops: U8, known: Framing, wanted: Framing, size: int) -> U8:
    """Cut crops (T, size, size, 3) of the framing `wanted` out of crops (T, S, S, 3) uint8 of the framing `known`.

    Outside the known crops their border pixels are repeated.
    """
    zoom = size / wanted.side * known.side / crops.shape[1]
    shift = np.array([known.left - wanted.left, known.top - wanted.top]) * size / wanted.side
    matrix = np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])
    matrix[:, 2] += 0.5 * zoom - 0.5  # the centre of a pixel lies half a pixel inside it
    cut = [cv2.warpAffine(crop, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE) for crop in crops]
    return np.stack(cut).astype(np.uint8, copy=False)


def resting_frames(aperture: Floats) -> I64:
    """Return the number of each frame's reference, (T,).

    It is the frame with the smallest aperture among a few sparse frames that are not too near.
    """
    count = len(aperture)
    sparse = np.unique(np.linspace(0, count - 1, _REST_FRAMES).round().astype(np.int64))
    calm = sparse[np.argsort(np.where(np.isfinite(aperture[sparse]), aperture[sparse], np.inf), kind="stable")]
    chosen = np.empty(count, np.int64)
    for index in range(count):
        distance = np.abs(calm - index)
        chosen[index] = calm[np.argmax(distance >= min(_APART_FRAMES, int(distance.max())))]
    return chosen


def prepared_cases(
    folder: Path, synthesizer: Synthesizer, read_lips: ReadLips, limit: int | None = None
) -> list[PreparedCase]:
    """Return the held-out clips of a folder; if there are more than `limit`, evenly spaced ones.

    Raises CorpusError if there are none, or if a clip is damaged.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}")
    clips = clip_folders(folder)
    held_out = [clip for clip in clips if read_meta(clip).split == "val"]
    if not held_out:
        raise CorpusError(f"{folder} holds {len(clips)} clips, none of them held out ('val')")
    if limit is not None and len(held_out) > limit:
        held_out = [held_out[k] for k in np.linspace(0, len(held_out) - 1, limit).round().astype(int)]
    return [_prepared_case(path, synthesizer, read_lips) for path in held_out]


def _prepared_case(folder: Path, synthesizer: Synthesizer, read_lips: ReadLips) -> PreparedCase:
    """Read the case of one clip folder. Raises CorpusError."""
    config = synthesizer.config
    # Read now, so that a damaged clip is reported before anything is drawn.
    clip = load_clip(folder, config.image_size, config.mel_window)
    meta = json.loads((folder / "meta.json").read_text())
    return PreparedCase(
        folder,
        synthesizer,
        read_lips,
        float(meta["fps"]),
        config.framing,
        phones_of(meta, folder.name),
        sex_of(str(meta.get("identity", ""))),
        np.load(folder / "audio.npy"),
        _speaker(meta),
        read_labels(folder, len(clip.crops)),
    )


def _speaker(meta: Mapping[str, Any]) -> str:
    """Return the voice of a puppet ("" if it is silent), or the identity of a filmed person."""
    voice = str(meta.get("voice") or meta.get("identity") or "unknown")
    return "" if voice == _SILENCE else voice


def phones_of(meta: Mapping[str, Any], name: str) -> tuple[Phone, ...]:
    """Return the phonemes [[symbol, start_s, end_s], ...] of a meta.json. Raises CorpusError with the clip's name."""
    try:
        return tuple(Phone(str(symbol), float(start), float(end)) for symbol, start, end in meta.get("phones", ()))
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{name}: its phones cannot be read ({error})") from error


def sex_of(identity: str) -> str | None:
    """Return "man" or "woman" if the name of every face of an identity says so, else None.

    The faces of a blend are joined by +. The words of a name are joined by _; m and w stand for man and woman.
    """
    parts = [{_SEXES[word] for word in part.split("_") if word in _SEXES} for part in identity.split("+")]
    found = set().union(*parts)
    return found.pop() if len(found) == 1 and all(parts) else None
