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
from worker.faces.crop import Transform, extract, extract_detail, face_transform
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

    @property
    def runtime(self) -> str:
        """Return the name of the runtime that computes it."""

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


@dataclass(frozen=True)
class OutputFrame:
    """Frame of the output: its number, the source frame it shows, and whether the next frame shows the same one."""

    number: int
    tracked: TrackedFrame
    is_repeated: bool = False


@dataclass(frozen=True)
class CroppedFaces:
    """Faces of N crops, and all that the network needs to draw them.

    transforms: from the frame to each crop. masks: how much of each drawing will be shown. crops: (N, P, P, 3) uint8
    RGB. inputs: the further arguments of `FaceSynthesizer.synthesize`.
    """

    transforms: list[Transform]
    masks: list[FaceMask]
    crops: U8
    inputs: tuple[F32, U8, Sequence[Interior | None], F32, Sequence[Part | None]]


@dataclass(frozen=True)
class CroppedBatch:
    """Frames, and their faces in the order of the frames; None if nothing is to be drawn."""

    frames: list[OutputFrame]
    faces: CroppedFaces | None


@dataclass(frozen=True)
class DrawnBatch:
    """Frames, and their drawn faces in the order of the frames; none if nothing was to be drawn."""

    frames: list[OutputFrame]
    crops: list[SynthesizedCrop]


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
    """Synthesis and blending of the faces of one clip, in three steps: `crop`, `draw` and `blend`.

    Each step may run in a thread of its own.
    """

    def __init__(
        self, synthesizer: FaceSynthesizer, decisions: ClipDecisions, options: JobOptions, timer: StageTimer
    ) -> None:
        self._synthesizer, self._sound, self._references = synthesizer, decisions.sound, decisions.references
        self._strength, self._timer = options.strength, timer
        self._rate, self._colour = decisions.source.rate, decisions.source.colour
        config, references = synthesizer.config, decisions.references
        self._interiors = Interiors.choose(references.resting, references.open_candidates, config.framing)
        self._blend = BlendSettings(config.framing, self._colour, config.image_size, options.strength, options.padding)

    def crop(self, frames: list[OutputFrame]) -> CroppedBatch:
        """Cut the faces out of frames and find all that the network needs to draw them."""
        if self._strength == 0.0 or not any(frame.tracked.faces for frame in frames):
            return CroppedBatch(frames, None)
        with self._timer.time("crop"):
            return CroppedBatch(frames, self._cropped_faces(frames))

    def _cropped_faces(self, frames: list[OutputFrame]) -> CroppedFaces:
        config = self._synthesizer.config
        owners = [frame for frame in frames for _ in frame.tracked.faces]
        faces = [face for frame in frames for face in frame.tracked.faces]
        transforms = [face_transform(face, config.framing, self._references.size) for face in faces]
        masks = [FaceMask.of(face, at, self._blend) for face, at in zip(faces, transforms, strict=True)]
        pairs = list(zip(owners, transforms, strict=True))
        factor, crops = (
            self._references.size // config.image_size,
            np.empty((len(faces), self._references.size, self._references.size, 3), np.uint8),
        )
        for crop, mask, (owner, at) in zip(crops, masks, pairs, strict=True):
            rows = self._references.rows_read(mask.part)
            crop[...] = extract_detail(owner.tracked.planes, at, self._colour, factor, rows)
        seen = self._references.see(crops, faces, transforms)
        for one, (owner, at) in zip(seen, pairs, strict=True):
            if not self._references.is_known(one):  # it is its own reference, which is seen in detail
                one.crop[...] = extract(owner.tracked.planes, at, self._colour)
        references, interiors = self._references.for_faces(seen), self._interiors.for_faces(seen)
        movements = np.array([self._references.movement_of(face.person) for face in seen], np.float32)
        sound = self._sound.windows(np.array([float(owner.number / self._rate) for owner in owners]))
        inputs = (sound, references, interiors, movements, [mask.part for mask in masks])
        return CroppedFaces(transforms, masks, crops, inputs)

    def draw(self, batch: CroppedBatch) -> DrawnBatch:
        """Draw the faces of a batch with the lips of the sound."""
        cropped = batch.faces
        if cropped is None:
            return DrawnBatch(batch.frames, [])
        with self._timer.time("synthesize"):
            drawn = self._synthesizer.synthesize(cropped.crops, *cropped.inputs)
        faces = (face for frame in batch.frames for face in frame.tracked.faces)
        crops = zip(faces, cropped.transforms, cropped.crops, drawn, cropped.masks, strict=True)
        return DrawnBatch(batch.frames, [SynthesizedCrop(*crop) for crop in crops])

    def blend(self, batch: DrawnBatch) -> Iterator[tuple[OutputFrame, U8]]:
        """Yield each frame of a batch with its finished planes, (H * 3/2, W) uint8 I420.

        The crops are blended into the frame's own planes, or into a copy if the next frame shows the same planes.
        """
        crops = iter(batch.crops)
        for frame in batch.frames:
            planes, faces = frame.tracked.planes, frame.tracked.faces if batch.crops else []
            with self._timer.time("blend"):
                if faces and frame.is_repeated:
                    planes = planes.copy()
                for _ in faces:
                    blend(planes, next(crops), self._blend)
            yield frame, planes


def batches(frames: Iterable[TrackedFrame], crops: int, first: int = 0) -> Iterator[list[OutputFrame]]:
    """Number output frames from `first` and yield them in batches.

    A batch ends with at least `crops` faces, with twice as many frames, or with BATCH_BYTES of pixels.
    """
    batch: list[OutputFrame] = []
    faces = size = 0
    for number, (tracked, is_repeated) in enumerate(_noting_repeats(frames), first):
        batch.append(OutputFrame(number, tracked, is_repeated))
        faces += len(tracked.faces)
        size += tracked.planes.nbytes
        if faces >= crops or len(batch) >= 2 * crops or size >= BATCH_BYTES:
            yield batch
            batch, faces, size = [], 0, 0
    if batch:
        yield batch


def _noting_repeats(frames: Iterable[TrackedFrame]) -> Iterator[tuple[TrackedFrame, bool]]:
    """Yield each frame, and whether the frame after it is the same one."""
    before: TrackedFrame | None = None
    for frame in frames:
        if before is not None:
            yield before, frame is before
        before = frame
    if before is not None:
        yield before, False
