"""What is judged: one filmed clip, and what the network makes of it with a voice.

The model draws; whoever sees lips in a picture, decodes files or runs the whole pipeline is handed in.
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
from model.audio import SAMPLE_RATE_HZ, mel_windows
from model.corpus.speech.speech import Phone
from model.errors import CorpusError
from model.framing import LOWER_FACE, Framing
from model.synthesizer import Synthesizer
from model.training.clips import (
    clip_folders,
    load_clip,
    read_labels,
    read_meta,
)

_REST_FRAMES = 8  # sparse frames among which a reference at rest is looked for, as serving does
_APART_FRAMES = 5  # between a frame and its reference
_NOBODY = "silence"  # the voice of a puppet that says nothing


@dataclass(frozen=True)
class Reading:
    """Lips that were seen: mouth (T, 2) aperture and width, lips (T, L, 2) landmarks, in template face units.

    Both float32, not a number in frames without a face.
    """

    mouth: F32
    lips: F32


@dataclass(frozen=True)
class Footage:
    """Frames of one face: crops (T, S, S, 3) uint8 RGB, and their lips.

    wide: (T, 224, 224, 3) uint8 RGB as SyncNet knows faces, where whole frames were at hand. voice: what is heard with
    it, where that is not the voice that was asked for.
    """

    crops: U8
    reading: Reading
    wide: U8 | None = None
    voice: I16 | None = None


class Case(Protocol):
    """One filmed clip to be judged."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def fps(self) -> float:
        """Return frames a second."""

    @property
    def framing(self) -> Framing:
        """Return which square of the face its crops are."""

    @property
    def voice(self) -> I16:
        """Return what is said, (n,) int16 at 16 kHz."""

    @property
    def speaker(self) -> str:
        """Return a name of who is heard, "" where nobody is."""

    @property
    def phones(self) -> Sequence[Phone]:
        """Return its sounds with their times, none where they are not known."""

    @property
    def sex(self) -> str | None:
        """Return "man" or "woman" where it is known."""

    @property
    def labels(self) -> F32 | None:
        """Return the true mouth (T, 2), where it is known."""

    def film(self) -> Footage:
        """Return the clip as it was filmed."""

    def speak(self, filmed: Footage, voice: I16) -> Footage | None:
        """Return the film redrawn with a voice, cut to the shorter of the two; None where that cannot be had."""


ReadLips = Callable[[U8, Framing], Reading]


@dataclass(frozen=True)
class PreparedCase:
    """Judge the generator alone on a prepared clip: the target's lower half hidden, a reference from elsewhere.

    framing is the network's; prepared crops show LOWER_FACE.
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
    def name(self) -> str:
        """Return the folder's name."""
        return self.folder.name

    def film(self) -> Footage:
        """Return the clip at the network's size and framing."""
        config = self.synthesizer.config
        crops = load_clip(self.folder, config.image_size, config.mel_window).crops
        if self.framing != LOWER_FACE:
            crops = reframe(np.load(self.folder / "crops.npy"), LOWER_FACE, self.framing, config.image_size)
        return Footage(crops, self.read_lips(crops, self.framing))

    def speak(self, filmed: Footage, voice: I16) -> Footage:
        """Return the film redrawn with a voice."""
        config = self.synthesizer.config
        frames = min(len(filmed.crops), int(len(voice) * self.fps / SAMPLE_RATE_HZ))
        mels = mel_windows(voice, np.arange(frames) / self.fps, config.mel_window)
        references = filmed.crops[resting_frames(filmed.reading.mouth[:, 0])][:frames]
        crops = self.synthesizer.synthesize(filmed.crops[:frames], mels, references)
        return Footage(crops, self.read_lips(crops, self.framing))


def reframe(crops: U8, known: Framing, wanted: Framing, size: int) -> U8:
    """Cut crops (T, size, size, 3) of another framing out of crops (T, S, S, 3); beyond their edge it goes on."""
    zoom = size / wanted.side * known.side / crops.shape[1]
    shift = np.array([known.left - wanted.left, known.top - wanted.top]) * size / wanted.side
    matrix = np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])
    matrix[:, 2] += 0.5 * zoom - 0.5  # centres of pixels lie half a pixel in
    cut = [cv2.warpAffine(crop, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE) for crop in crops]
    return np.stack(cut).astype(np.uint8, copy=False)


def resting_frames(aperture: Floats) -> I64:
    """Return for each frame its reference's number, (T,): the calmest of a few sparse frames that is not too near."""
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
    """Return the held-out clips of a folder, evenly drawn where there are more than `limit`.

    Raises CorpusError for a folder that has none, and for a broken clip, naming it.
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
    config = synthesizer.config
    clip = load_clip(folder, config.image_size, config.mel_window)  # a broken one is told before anything is drawn
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
    """Return the voice of a puppet, which is nobody's where it is silent, or who was filmed."""
    voice = str(meta.get("voice") or meta.get("identity") or "unknown")
    return "" if voice == _NOBODY else voice


def phones_of(meta: Mapping[str, Any], name: str) -> tuple[Phone, ...]:
    """Return the phones [[symbol, start_s, end_s], ...] of a clip's meta.json; raises CorpusError naming the clip."""
    try:
        return tuple(Phone(str(symbol), float(start), float(end)) for symbol, start, end in meta.get("phones", ()))
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{name}: its phones cannot be read ({error})") from error


def sex_of(identity: str) -> str | None:
    """Return "man" or "woman" where every face of an identity (blends are joined by +) says so by its name."""
    found = {word for part in identity.split("+") for word in part.split("_") if word in ("man", "woman")}
    parts = [any(word in ("man", "woman") for word in part.split("_")) for part in identity.split("+")]
    return found.pop() if len(found) == 1 and all(parts) else None
