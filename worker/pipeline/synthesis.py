"""Give the faces of a batch of frames their lips: crop, mel windows, synthesis, blend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.core.jobs import JobOptions
from model.arrays import F32, I16, U8
from model.audio import MelWindow, mel_windows
from model.framing import Framing
from worker.faces.blend import blend
from worker.faces.crop import extract, face_transform
from worker.faces.reference import RestingFaces
from worker.faces.track import Tracked
from worker.media.decode import Source
from worker.media.stage_timer import Clock

BATCH_BYTES = 96 * 1024**2  # frames that wait for their batch take no more than this


class SynthesizerConfig(Protocol):
    """What cutting crops and sound for a network takes."""

    @property
    def architecture(self) -> str:
        """Return the network's name."""

    @property
    def image_size(self) -> int:
        """Return the side of a crop in pixels."""

    @property
    def framing(self) -> Framing:
        """Return which square of the face a crop is."""

    @property
    def mel_window(self) -> MelWindow:
        """Return which columns a frame hears."""

    @property
    def keeps_detail(self) -> bool:
        """Say whether crops may be larger than the side, by a whole factor, and keep their detail."""


class SynthesizerLike(Protocol):
    """Arrays in, arrays out: crops and references (N, P, P, 3) uint8, mels (N, 80, T) float32 -> (N, P, P, 3) uint8."""

    @property
    def config(self) -> SynthesizerConfig:
        """Return what cutting crops and sound for it takes."""

    @property
    def batch_size(self) -> int:
        """Return how many crops it works on at once."""

    @property
    def device_name(self) -> str:
        """Return where it runs."""

    def synthesize(self, crops: U8, mels: F32, references: U8 | None = None) -> U8:
        """Return the crops with the lips of the sound."""


@dataclass
class Shown:
    """One output frame: its number, and the source frame it shows."""

    number: int
    tracked: Tracked


class Lips:
    """Synthesize and blend batches of frames of one clip."""

    def __init__(
        self,
        synthesizer: SynthesizerLike,
        voice: I16,
        rest: RestingFaces,
        source: Source,
        options: JobOptions,
        clock: Clock,
    ) -> None:
        self._synthesizer, self._voice, self._rest = synthesizer, voice, rest
        self._options, self._clock = options, clock
        self._rate, self._colour = source.rate, source.colour

    def speak(self, batch: list[Shown]) -> list[U8]:
        """Return the planes of each frame, (H * 3/2, W) uint8, its chosen faces speaking; the input is not changed."""
        config = self._synthesizer.config
        faces = [(at, face) for at, shown in enumerate(batch) for face in shown.tracked.faces]
        planes = [shown.tracked.planes for shown in batch]
        if not faces or self._options.strength == 0.0:
            return planes
        with self._clock.time("crop"):
            transforms = [face_transform(face, config.framing, self._rest.size) for _, face in faces]
            pairs = zip(faces, transforms, strict=True)
            crops = np.stack([extract(planes[at], transform, self._colour) for (at, _), transform in pairs])
            references = self._rest.references(crops)
            times_s = np.array([float(batch[at].number / self._rate) for at, _ in faces])
            mels = mel_windows(self._voice, times_s, config.mel_window)
        with self._clock.time("synthesize"):
            drawn = self._synthesizer.synthesize(crops, mels, references)
        with self._clock.time("blend"):
            for at in {at for at, _ in faces}:
                planes[at] = planes[at].copy()
            for (at, face), transform, before, after in zip(faces, transforms, crops, drawn, strict=True):
                blend(
                    planes[at],
                    face,
                    transform,
                    before,
                    after,
                    config.framing,
                    self._colour,
                    drawn_px=config.image_size,
                    strength=self._options.strength,
                    padding=self._options.padding,
                )
        return planes


def batches(frames: Iterable[Tracked], crops: int, first: int = 0) -> Iterator[list[Shown]]:
    """Number the output frames from `first` and gather them until their faces fill a batch or their pixels a budget."""
    batch: list[Shown] = []
    faces = size = 0
    for number, tracked in enumerate(frames, first):
        batch.append(Shown(number, tracked))
        faces += len(tracked.faces)
        size += tracked.planes.nbytes
        if faces >= crops or len(batch) >= 2 * crops or size >= BATCH_BYTES:
            yield batch
            batch, faces, size = [], 0, 0
    if batch:
        yield batch
