"""Make one clip of the puppet corpus: a puppet, or a voice without a face.

Each clip has a random generator of its own, seeded by the corpus seed and the number of the clip. So every clip can be
made again without the others. Finding landmarks and writing a puppet clip are handed in
(worker/training_data/clip_writer.py), because the model package has no face detector.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from model.arrays import F32, I16, U8, Floats
from model.audio import SAMPLE_RATE_HZ
from model.corpus.materials.people import Person, choose_person, read_picture
from model.corpus.puppet.beard import grow_beard
from model.corpus.puppet.camera import Camera, blend_faces, complexion, head_motion
from model.corpus.puppet.mouth import MouthLook
from model.corpus.puppet.puppet import Puppet
from model.corpus.puppet.shape import Shape
from model.corpus.speech.acoustics import degrade
from model.corpus.speech.articulation import FPS, Style, add_smile, articulate
from model.corpus.speech.recordings import Recording, replay
from model.corpus.speech.speech import Utterance, choose_voice, talk
from model.errors import ClipError
from model.face_points import POINTS

Landmarks = Callable[[U8], list[F32]]

FRAME_PX = 256
VAL_EVERY = 12  # every twelfth clip is held out
SILENT_EVERY = 20  # in every twentieth clip nothing is said
SILENT_OFFSET = 7
BLEND_SHARE = 0.45
RECOLOURED_SHARE = 0.75
RECORDED_SHARE = 0.3
BEARD_SHARE = 0.45  # of men
PUPPET_FRAMES = (75, 125)  # fewest and most
VOICE_SEED = 1_000_003  # gives a voice without a face another generator than the puppet of the same number
VOICE_S = 10.0


@dataclass(frozen=True)
class ClipId:
    """Kind and number of a clip; together they name its folder."""

    kind: Literal["puppet", "voice"]
    number: int

    @property
    def name(self) -> str:
        """Return the name of the clip's folder."""
        return f"{self.kind}_{self.number:06d}"

    @property
    def split(self) -> str:
        """Return "val" for a clip that is held out, else "train"."""
        return "val" if self.number % VAL_EVERY == VAL_EVERY - 1 else "train"

    @property
    def is_silent(self) -> bool:
        """Return whether nothing is said in the clip."""
        return self.number % SILENT_EVERY == SILENT_OFFSET


@dataclass(frozen=True)
class ClipResult:
    """Result of making one clip: its number of frames, and why it was skipped ("" if it was made)."""

    clip: ClipId
    frames: int
    skip_reason: str = ""


@dataclass(frozen=True)
class Truth:
    """Ground truth of a puppet in every frame.

    mesh_px: (T, 468, 2), each point of the mesh in pixels of the frame. articulation: (T, 7), as `articulate` returns
    it.
    """

    mesh_px: F32
    articulation: F32


class ClipWriter(Protocol):
    """Writer of one clip folder from frames (H, W, 3) uint8 RGB, sound (n,) int16 at 16 kHz, and facts."""

    def __call__(
        self,
        frames: Iterable[U8],
        samples: I16,
        folder: Path,
        meta: Mapping[str, object],
        truth: Truth | None = None,
    ) -> int:
        """Write the clip; return its number of frames. Raises ClipError for a clip that cannot be made."""


class ClipMaker:
    """Maker of the clips of one corpus, in one process; it reads each face once.

    landmarks: picture (H, W, 3) uint8 RGB -> list of (468, 2) in pixels, the main face first.
    """

    def __init__(
        self,
        people: list[Person],
        recordings: list[Recording],
        seed: int,
        out_dir: Path,
        landmarks: Landmarks,
        write_clip: ClipWriter,
    ) -> None:
        self._people, self._recordings = people, recordings
        self._seed, self._out_dir = seed, out_dir
        self._landmarks, self._write_clip = landmarks, write_clip
        self._faces: dict[Path, tuple[U8, F32]] = {}

    def make(self, clip: ClipId) -> ClipResult:
        """Make one clip and write its folder; a puppet that cannot be made is skipped with a reason."""
        if clip.kind == "voice":
            return ClipResult(clip, self._make_voice(clip))
        try:
            return ClipResult(clip, self._make_puppet(clip))
        except ClipError as error:
            return ClipResult(clip, 0, str(error))

    def _make_puppet(self, clip: ClipId) -> int:
        """Make a puppet that talks; return its number of frames. Raises ClipError."""
        rng = np.random.default_rng([self._seed, clip.number])
        puppet, identity, source = self._draw_puppet(rng, clip.split)
        duration_s = int(rng.integers(PUPPET_FRAMES[0], PUPPET_FRAMES[1] + 1)) / FPS
        speech, voice = self._draw_speech(rng, clip, duration_s)
        frames, truth = _render(puppet, speech, rng)
        phones = [[phone.symbol, round(phone.start_s, 3), round(phone.end_s, 3)] for phone in speech.phones]
        meta = {
            "identity": identity,
            "voice": voice,
            "split": clip.split,
            "source": source,
            "seed": self._seed,
            "phones": phones,
        }
        samples = degrade(speech.samples, rng)
        if voice == "silence" and rng.random() < 0.5:  # half of the silent clips are without any noise
            samples = np.zeros_like(samples)
        return self._write_clip(frames, samples, self._out_dir / clip.name, meta, truth)

    def _make_voice(self, clip: ClipId) -> int:
        """Make a voice without a face; return its number of frames."""
        rng = np.random.default_rng([self._seed, VOICE_SEED, clip.number])
        speech, voice = self._draw_speech(rng, clip, VOICE_S)
        frames = round(VOICE_S * FPS)
        meta = {"fps": FPS, "voice": voice, "split": clip.split, "seed": self._seed}
        samples, articulation = degrade(speech.samples, rng), articulate(speech.phones, frames)
        write_voice(self._out_dir / clip.name, samples, articulation, meta)
        return frames

    def _face(self, path: Path) -> tuple[U8, F32]:
        """Return a picture (H, W, 3) uint8 RGB and the landmarks (468, 2) of its main face. Raises ClipError."""
        if path not in self._faces:
            picture = read_picture(path)
            found = self._landmarks(picture)
            if not found or not np.isfinite(found[0]).all():
                raise ClipError(f"no face found in {path.name}")
            self._faces[path] = (picture, found[0])
        return self._faces[path]

    def _draw_puppet(self, rng: np.random.Generator, split: str) -> tuple[Puppet, str, str]:
        """Draw a puppet: one face or a blend of two, its skin tone, beard, shape, teeth and size in the frame.

        Returns the puppet, its identity and the names of its pictures. Raises ClipError.
        """
        people = [
            person for person in self._people if person.split == split
        ] or self._people  # a single person is in both splits
        first = choose_person(people, rng)
        path = first.pictures[rng.integers(len(first.pictures))]
        picture, points = self._face(path)
        identity, source = first.identity, path.name
        landmarks: Floats = points
        if len(people) > 1 and rng.random() < BLEND_SHARE:
            second = choose_person(people, rng)
            if second != first:
                other_path = second.pictures[rng.integers(len(second.pictures))]
                other, other_points = self._face(other_path)
                share = float(rng.uniform(0.3, 0.7))
                picture, landmarks = blend_faces(picture, landmarks, other, other_points, share)
                identity, source = f"{identity}+{second.identity}", f"{source}+{other_path.name}"
        if rng.random() < RECOLOURED_SHARE:
            picture = complexion(picture, landmarks, rng)
        if "man" in first.identity.split("_") and rng.random() < BEARD_SHARE:
            picture = grow_beard(picture, landmarks, rng)
        unit_px = float(rng.uniform(76, 96))
        puppet = Puppet(picture, landmarks, FRAME_PX, unit_px, MouthLook.random(rng), Shape.random(rng))
        return puppet, identity, source

    def _draw_speech(self, rng: np.random.Generator, clip: ClipId, duration_s: float) -> tuple[Utterance, str]:
        """Draw what is said in a clip, and return it with the name of its voice."""
        if clip.is_silent:
            return Utterance(np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32), (), "silence"), "silence"
        speech_rng = random.Random(int(rng.integers(2**62)))
        recorded = [one for one in self._recordings if one.split == clip.split]
        if recorded and speech_rng.random() < RECORDED_SHARE:
            speech = replay(speech_rng, recorded, duration_s)
        else:
            speech = talk(speech_rng, choose_voice(speech_rng, clip.split), duration_s)
        return speech, speech.voice


def _render(puppet: Puppet, speech: Utterance, rng: np.random.Generator) -> tuple[list[U8], Truth]:
    """Render all frames of a puppet that says an utterance; return them with their ground truth."""
    count = round(speech.duration_s * FPS)
    style = Style.random(rng)
    rows = articulate(speech.phones, count, style)
    shown = add_smile(rows, style.smile)
    camera = Camera.random(rng)
    step = -1 if rng.random() < 0.5 else 1  # half of all clips are mirrored
    frames: list[U8] = []
    mesh_px = np.zeros((count, POINTS, 2), np.float32)
    for index, head in enumerate(head_motion(count, rng)):
        frame, mesh = puppet.render(shown[index], head)
        frames.append(camera.shoot(np.ascontiguousarray(frame[:, ::step]), rng))
        mesh_px[index] = mesh
    if step < 0:
        mesh_px[..., 0] = FRAME_PX - mesh_px[..., 0]
    return frames, Truth(mesh_px, rows)


def write_voice(folder: Path, samples: I16, articulation: F32, meta: Mapping[str, object]) -> None:
    """Write a voice without a face as a folder of sound, articulation (T, 7) and meta.json.

    The folder appears with all of its files or not at all.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / "audio.npy", samples)
    np.save(partial / "articulation.npy", articulation)
    (partial / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
