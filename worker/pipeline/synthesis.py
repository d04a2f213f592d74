"""Synthesize the lips of a batch of frames: crops, sound, network, blending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from app.core.jobs import JobOptions
from model.arrays import F32, U8
from model.audio import MelWindow
from model.composition import Interior
from model.sound import Sound
from model.speech_encoder.port import SpeechEncoder
from worker.faces.blend import BlendSettings, SynthesizedCrop, blend
from worker.faces.crop import extract, face_transform
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
    ) -> U8:
        """Return the crops with the lips of the sound, and the given insides of their mouths."""


@dataclass
class OutputFrame:
    """Frame of the output: its number, its planes (H * 3/2, W) uint8, and its chosen faces by number of the dub."""

    number: int
    planes: U8
    found: dict[int, TrackedFrame]

    @property
    def faces(self) -> int:
        """Return the number of faces to synthesize."""
        return sum(len(tracked.faces) for tracked in self.found.values())


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
    """Synthesis and blending of the faces of one clip: those of each dub with its voice."""

    def __init__(
        self, synthesizer: FaceSynthesizer, dubs: Sequence[DubDecisions], source: Source, timer: StageTimer
    ) -> None:
        self._dubs = [_DubSynthesis(synthesizer, dub, source, timer) for dub in dubs]

    def synthesize(self, batch: list[OutputFrame]) -> list[U8]:
        """Return the planes of each frame with synthesized lips, (H * 3/2, W) uint8; the input is not changed."""
        drawn = [frame.planes for frame in batch]
        for number, dub in enumerate(self._dubs):
            tracked = ((at, frame.found.get(number)) for at, frame in enumerate(batch))
            faces = [(at, face) for at, found in tracked if found is not None for face in found.faces]
            if faces:
                dub.draw(batch, faces, drawn)
        return drawn


class _DubSynthesis:
    """Synthesis and blending of the faces of one dub."""

    def __init__(
        self, synthesizer: FaceSynthesizer, decisions: DubDecisions, source: Source, timer: StageTimer
    ) -> None:
        self._synthesizer, self._sound, self._references = synthesizer, decisions.sound, decisions.references
        self._begin_s, self._timer, options = decisions.begin_s, timer, decisions.options
        self._strength = options.strength
        self._rate, self._colour = source.rate, source.colour
        config, references = synthesizer.config, decisions.references
        self._interiors = Interiors.choose(references.resting, references.open_candidates, config.framing)
        self._blend = BlendSettings(config.framing, self._colour, config.image_size, options.strength, options.padding)

    def draw(self, batch: list[OutputFrame], faces: Sequence[tuple[int, F32]], drawn: list[U8]) -> None:
        """Draw the lips of some faces into frames.

        faces: landmarks (468, 2), each with the place of its frame in the batch. drawn: the planes of each frame, which
        are replaced by a copy where they are still those of the batch.
        """
        config = self._synthesizer.config
        if self._strength == 0.0:
            return
        with self._timer.time("crop"):
            planes = [frame.planes for frame in batch]
            transforms = [face_transform(face, config.framing, self._references.size) for _, face in faces]
            pairs = zip(faces, transforms, strict=True)
            crops = np.stack([extract(planes[at], transform, self._colour) for (at, _), transform in pairs])
            seen = self._references.see(crops, [face for _, face in faces], transforms)
            references, interiors = self._references.for_faces(seen), self._interiors.for_faces(seen)
            movements = np.array([self._references.movement_of(face.person) for face in seen], np.float32)
            times_s = np.array([float(batch[at].number / self._rate) - self._begin_s for at, _ in faces])
            sound = self._sound.windows(times_s)
        with self._timer.time("synthesize"):
            synthesized = self._synthesizer.synthesize(crops, sound, references, interiors, movements)
        with self._timer.time("blend"):
            for at in {at for at, _ in faces}:
                if drawn[at] is planes[at]:
                    drawn[at] = planes[at].copy()
            for (at, face), transform, before, after in zip(faces, transforms, crops, synthesized, strict=True):
                blend(drawn[at], SynthesizedCrop(face, transform, before, after), self._blend)


def output_frames(frames: Iterable[DubbedFrame], first: int, spans: Sequence[tuple[int, int]]) -> Iterator[OutputFrame]:
    """Number output frames from `first`, and leave out the faces of dubs whose output frames end before or begin later.

    spans: the output frames [first, last) of each dub. A picture that is shown again may have faces of other dubs.
    """
    for number, frame in enumerate(frames, first):
        found = {dub: tracked for dub, tracked in frame.found.items() if spans[dub][0] <= number < spans[dub][1]}
        yield OutputFrame(number, frame.planes, found)


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
