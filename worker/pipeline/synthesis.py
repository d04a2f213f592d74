"""Synthesize the lips of a batch of frames: crops, sound, network, blending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from app.core.jobs import JobOptions
from model.arrays import F32, U8
from model.audio import MelWindow
from model.composition import Interior, Part
from model.sound import Sound
from model.speech_encoder.port import SpeechEncoder
from worker.faces.blend import BlendSettings, FaceMask, SynthesizedCrop, blend
from worker.faces.crop import extract, face_transform
from worker.faces.interior import Interiors
from worker.faces.reference import CropShape, ReferenceCrops
from worker.faces.track import TrackedFrame
from worker.media.decode import Source
from worker.media.stage_timer import StageTimer

BATCH_BYTES: Final = 96 * 1024**2  # most bytes of frames that wait for their batch to fill


class SynthesizerConfig(CropShape, Protocol):
    """Shape of the crops and of the sound that a network takes, and its name."""

    @property
    def architecture(self) -> str:
        """Return the name of the network's architecture."""

    @property
    def mel_window(self) -> MelWindow:
        """Return which mel columns belong to a frame, if the network hears mels."""


class FaceSynthesizer(Protocol):
    """Loaded network: crops and references (N, P, P, 3) uint8, sound (N, rows, columns) -> crops (N, P, P, 3) uint8."""

    @property
    def config(self) -> SynthesizerConfig:
        """Return the shape of its input."""

    @property
    def encoder(self) -> SpeechEncoder | None:
        """Return the speech encoder through which it hears; None if it hears mels."""

    @property
    def batch_size(self) -> int:
        """Return how many crops it synthesizes at once."""

    @property
    def device_name(self) -> str:
        """Return the name of the device it runs on."""

    @property
    def precision(self) -> str:
        """Return the name of the number format it computes in."""

    def synthesize(
        self,
        crops: U8,
        sound: F32,
        references: U8 | None = None,
        interiors: Sequence[Interior | None] | None = None,
        movements: F32 | None = None,
        parts: Sequence[Part | None] | None = None,
    ) -> U8:
        """Return the crops with the lips of the sound, and the given insides of their mouths, in the given parts."""


@dataclass
class OutputFrame:
    """Frame of the output: its number, and the source frame it shows."""

    number: int
    tracked: TrackedFrame


class ClipDecisions(Protocol):
    """Decisions that all frames of a clip share; a plan has them."""

    @property
    def source(self) -> Source:
        """Return the video."""

    @property
    def sound(self) -> Sound:
        """Return what the network hears of the voice."""

    @property
    def references(self) -> ReferenceCrops:
        """Return the references of all people."""


class LipSynthesis:
    """Synthesis and blending of the faces of one clip."""

    def __init__(
        self, synthesizer: FaceSynthesizer, decisions: ClipDecisions, options: JobOptions, timer: StageTimer
    ) -> None:
        self._synthesizer, self._sound, self._references = synthesizer, decisions.sound, decisions.references
        self._strength, self._timer = options.strength, timer
        self._rate, self._colour = decisions.source.rate, decisions.source.colour
        config, references = synthesizer.config, decisions.references
        self._interiors = Interiors.choose(references.resting, references.open_candidates, config.framing)
        self._blend = BlendSettings(config.framing, self._colour, config.image_size, options.strength, options.padding)

    def synthesize(self, batch: list[OutputFrame]) -> list[U8]:
        """Return the planes of each frame with synthesized lips, (H * 3/2, W) uint8; the input is not changed."""
        config = self._synthesizer.config
        faces = [(at, face) for at, frame in enumerate(batch) for face in frame.tracked.faces]
        planes = [frame.tracked.planes for frame in batch]
        if not faces or self._strength == 0.0:
            return planes
        with self._timer.time("crop"):
            transforms = [face_transform(face, config.framing, self._references.size) for _, face in faces]
            pairs = zip(faces, transforms, strict=True)
            masks = [
                FaceMask.of(face, transform, self._blend)
                for (_, face), transform in zip(faces, transforms, strict=True)
            ]
            crops = np.stack([extract(planes[at], transform, self._colour) for (at, _), transform in pairs])
            seen = self._references.see(crops, [face for _, face in faces], transforms)
            references, interiors = self._references.for_faces(seen), self._interiors.for_faces(seen)
            movements = np.array([self._references.movement_of(face.person) for face in seen], np.float32)
            times_s = np.array([float(batch[at].number / self._rate) for at, _ in faces])
            sound = self._sound.windows(times_s)
        with self._timer.time("synthesize"):
            synthesized = self._synthesizer.synthesize(
                crops, sound, references, interiors, movements, [mask.part for mask in masks]
            )
        with self._timer.time("blend"):
            for at in {at for at, _ in faces}:
                planes[at] = planes[at].copy()
            drawn = zip(faces, transforms, crops, synthesized, masks, strict=True)
            for (at, face), transform, before, after, mask in drawn:
                blend(planes[at], SynthesizedCrop(face, transform, before, after, mask), self._blend)
        return planes


def batches(frames: Iterable[TrackedFrame], crops: int, first: int = 0) -> Iterator[list[OutputFrame]]:
    """Number output frames from `first` and yield them in batches.

    A batch ends with at least `crops` faces, with twice as many frames, or with BATCH_BYTES of pixels.
    """
    batch: list[OutputFrame] = []
    faces = size = 0
    for number, tracked in enumerate(frames, first):
        batch.append(OutputFrame(number, tracked))
        faces += len(tracked.faces)
        size += tracked.planes.nbytes
        if faces >= crops or len(batch) >= 2 * crops or size >= BATCH_BYTES:
            yield batch
            batch, faces, size = [], 0, 0
    if batch:
        yield batch
