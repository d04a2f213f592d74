"""Synthesize the lips of a batch of frames: crops, sound, network, blending."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from app.core.jobs import JobOptions
from model.arrays import F32, U8
from model.audio import MelWindow
from model.composition import FilmedCrops, Part
from model.interior import Interior
from model.known_pixels import PosedReference
from model.sound import Sound
from model.speech_encoder.port import SpeechEncoder
from worker.faces.blend import BlendSettings, FaceMask, SynthesizedCrop, blend
from worker.faces.crop import Transform, extract, extract_detail, face_transform
from worker.faces.dub_tracks import DubbedFrame
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
    """Loaded network: N crops, sound (N, rows, columns), references -> crops (N, P, P, 3) uint8."""

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
        crops: FilmedCrops,
        sound: F32,
        references: U8 | Sequence[PosedReference] | None = None,
        interiors: Sequence[Interior | None] | None = None,
        movements: F32 | None = None,
        parts: Sequence[Part | None] | None = None,
    ) -> U8:
        """Return the crops with the lips of the sound, and the given insides of their mouths, in the given parts."""


@dataclass(frozen=True)
class OutputFrame:
    """Frame of the output: its number, its planes (H * 3/2, W) uint8 I420, and its chosen faces by number of the dub.

    is_kept: the planes are shown or looked at again, so nothing may be drawn into them.
    """

    number: int
    planes: U8
    found: Mapping[int, TrackedFrame]
    is_kept: bool = False

    @property
    def faces(self) -> int:
        """Return the number of faces to synthesize."""
        return sum(len(tracked.faces) for tracked in self.found.values())

    def faces_of(self, dub: int) -> list[F32]:
        """Return the landmarks (468, 2) of the chosen faces of a dub."""
        return self.found[dub].faces if dub in self.found else []


@dataclass(frozen=True)
class CroppedFaces:
    """Faces of N crops, and all that the network needs to draw them.

    transforms: from the frame to each crop. masks: how much of each drawing will be shown. inputs: the further
    arguments of `FaceSynthesizer.synthesize`.
    """

    transforms: list[Transform]
    masks: list[FaceMask]
    crops: FilmedCrops
    inputs: tuple[F32, Sequence[PosedReference], Sequence[Interior | None], F32, Sequence[Part | None]]


@dataclass(frozen=True)
class CroppedBatch:
    """Frames, and by number of the dub their faces in the order of the frames, where something is to be drawn."""

    frames: list[OutputFrame]
    faces: Mapping[int, CroppedFaces]


@dataclass(frozen=True)
class DrawnBatch:
    """Frames, and by number of the dub their drawn faces in the order of the frames."""

    frames: list[OutputFrame]
    crops: Mapping[int, list[SynthesizedCrop]]


class DubDecisions(Protocol):
    """Decisions that all frames of a dub share; a plan has them."""

    @property
    def options(self) -> JobOptions:
        """Return the options as they hold for the dub."""

    @property
    def begin_s(self) -> float:
        """Return when the voice begins, in seconds of the output."""

    @property
    def sound(self) -> Sound:
        """Return what the network hears of the voice."""

    @property
    def references(self) -> ReferenceCrops:
        """Return the references of all people."""


class LipSynthesis:
    """Synthesis and blending of the faces of one clip, in three steps: `crop`, `draw` and `blend`.

    Each dub has its own sound, references and settings, so its faces are drawn apart from those of others. Each step
    may run in a thread of its own.
    """

    def __init__(
        self, synthesizer: FaceSynthesizer, dubs: Sequence[DubDecisions], source: Source, timer: StageTimer
    ) -> None:
        self._synthesizer, self._source, self._timer = synthesizer, source, timer
        self._dubs = {number: dub for number, dub in enumerate(dubs) if dub.options.strength > 0.0}
        self._croppers: dict[int, _DubCropper] = {}  # of the dubs that were seen: there may be a hundred others

    def prepare(self, number: int) -> None:
        """Choose what all frames of a dub share, before its first frames are there."""
        if number in self._dubs:
            with self._timer.time("crop"):
                self._cropper(number)

    def crop(self, frames: list[OutputFrame]) -> CroppedBatch:
        """Cut the faces out of frames and find all that the network needs to draw them."""
        shown = {number for frame in frames for number, tracked in frame.found.items() if tracked.faces}
        if not shown:
            return CroppedBatch(frames, {})
        with self._timer.time("crop"):
            numbers = sorted(shown & self._dubs.keys())
            return CroppedBatch(frames, {number: self._cropper(number).crop(frames, number) for number in numbers})

    def _cropper(self, number: int) -> _DubCropper:
        if number not in self._croppers:
            self._croppers[number] = _DubCropper(self._synthesizer.config, self._dubs[number], self._source)
        return self._croppers[number]

    def draw(self, batch: CroppedBatch) -> DrawnBatch:
        """Draw the faces of a batch with the lips of the sound."""
        drawn: dict[int, list[SynthesizedCrop]] = {}
        for number, cropped in batch.faces.items():
            with self._timer.time("synthesize"):
                lips = self._synthesizer.synthesize(cropped.crops, *cropped.inputs)
            faces = (face for frame in batch.frames for face in frame.faces_of(number))
            crops = zip(faces, cropped.transforms, cropped.crops.seen, lips, cropped.masks, strict=True)
            drawn[number] = [SynthesizedCrop(*crop) for crop in crops]
        return DrawnBatch(batch.frames, drawn)

    def blend(self, batch: DrawnBatch) -> Iterator[tuple[OutputFrame, U8]]:
        """Yield each frame of a batch with its finished planes, (H * 3/2, W) uint8 I420.

        The crops are blended into the frame's own planes, or into a copy if these are still needed. The batch is empty
        at the end.
        """
        crops = {number: iter(drawn) for number, drawn in batch.crops.items()}
        batch.frames.reverse()
        while batch.frames:
            frame = batch.frames.pop()  # held no longer than it is needed: a large frame takes megabytes
            counts = {number: len(frame.faces_of(number)) for number in crops}
            planes = frame.planes
            with self._timer.time("blend"):
                if frame.is_kept and any(counts.values()):
                    planes = planes.copy()
                for number, count in counts.items():
                    for _ in range(count):
                        blend(planes, next(crops[number]), self._croppers[number].blending)
            yield frame, planes


class _DubCropper:
    """Cropping of the faces of one dub; `blending` says how they are put back."""

    def __init__(self, config: SynthesizerConfig, dub: DubDecisions, source: Source) -> None:
        self._framing, self._sound, self._references = config.framing, dub.sound, dub.references
        self._rate, self._colour, self._begin_s = source.rate, source.colour, dub.begin_s
        references, options = dub.references, dub.options
        self._interiors = Interiors.choose(references.resting, references.open_candidates, config.framing)
        self.blending = BlendSettings(
            config.framing, self._colour, config.image_size, options.strength, options.padding
        )

    def crop(self, frames: list[OutputFrame], number: int) -> CroppedFaces:
        """Cut out the faces of the dub, which has this number."""
        owners = [frame for frame in frames for _ in frame.faces_of(number)]
        faces = [face for frame in frames for face in frame.faces_of(number)]
        transforms = [face_transform(face, self._framing, self._references.size) for face in faces]
        masks = [FaceMask.of(face, at, self.blending) for face, at in zip(faces, transforms, strict=True)]
        pairs = list(zip(owners, transforms, strict=True))
        sides = (self.blending.network_px, self._references.size)
        crops = FilmedCrops(*(np.empty((len(faces), side, side, 3), np.uint8) for side in sides))
        for small, crop, mask, (owner, at) in zip(crops.seen, crops.pixels, masks, pairs, strict=True):
            rows = self._references.rows_read(mask.part)
            extract_detail(owner.planes, at, self._colour, rows, small, crop)
        seen = self._references.see(crops, faces, transforms)
        for one, (owner, at) in zip(seen, pairs, strict=True):
            if not one.alike:  # it is its own reference, which is seen in detail
                one.crop[...] = extract(owner.planes, at, self._colour)
        references, interiors = self._references.for_faces(seen), self._interiors.for_faces(seen)
        movements = np.array([self._references.movement_of(face.person) for face in seen], np.float32)
        times_s = np.array([float(owner.number / self._rate) for owner in owners]) - self._begin_s
        inputs = (self._sound.windows(times_s), references, interiors, movements, [mask.part for mask in masks])
        return CroppedFaces(transforms, masks, crops, inputs)


def output_frames(
    frames: Iterable[DubbedFrame], first: int, spans: Sequence[Sequence[tuple[int, int]]]
) -> Iterator[OutputFrame]:
    """Number output frames from `first`, and leave out the faces of dubs that do not have these output frames.

    spans: the ranges of output frames [first, last) of each dub. A picture that is shown again may belong to others.
    """
    for number, (frame, is_repeated) in enumerate(_noting_repeats(frames), first):
        found = {dub: tracked for dub, tracked in frame.found.items() if _is_in(number, spans[dub])}
        yield OutputFrame(number, frame.planes, found, is_repeated or frame.is_kept)


def _is_in(number: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Return whether a number lies in one of some ranges [first, last), which are in order."""
    at = bisect_right(spans, number, key=lambda span: span[0]) - 1
    return at >= 0 and number < spans[at][1]


def batches(frames: Iterable[OutputFrame], crops: int) -> Iterator[list[OutputFrame]]:
    """Yield output frames in batches.

    A batch ends with at least `crops` faces, with twice as many frames, or with BATCH_BYTES of pixels.
    """
    batch: list[OutputFrame] = []
    faces = size = 0
    for frame in frames:
        batch.append(frame)
        faces += frame.faces
        size += frame.planes.nbytes
        if faces >= crops or len(batch) >= 2 * crops or size >= BATCH_BYTES:
            yield batch
            batch, faces, size = [], 0, 0
    if batch:
        yield batch


def _noting_repeats(frames: Iterable[DubbedFrame]) -> Iterator[tuple[DubbedFrame, bool]]:
    """Yield each frame, and whether the frame after it is the same one."""
    before: DubbedFrame | None = None
    for frame in frames:
        if before is not None:
            yield before, frame is before
        before = frame
    if before is not None:
        yield before, False
