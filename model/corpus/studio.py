"""Make one clip of the puppet corpus, or one voice without a face, from its number alone.

Each is drawn from its own generator, seeded by the corpus seed and its number, so any can be made again alone.

What the model package must not know is handed in: finding landmarks and writing a clip
(worker/training_data/clip_writer.py).
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from model.arrays import F32, I16, U8, Floats
from model.audio import SAMPLE_RATE_HZ
from model.corpus.materials.people import Person, choose_person, read_picture
from model.corpus.puppet.beard import grow_beard
from model.corpus.puppet.camera import Camera, blend_faces, complexion, head_motion
from model.corpus.puppet.mouth import MouthLook
from model.corpus.puppet.puppet import Puppet
from model.corpus.puppet.shape import Shape
from model.corpus.speech.acoustics import roughen
from model.corpus.speech.articulation import FPS, Style, articulate, smiling
from model.corpus.speech.recordings import Recording, replay
from model.corpus.speech.speech import Utterance, choose_voice, talk
from model.face_points import POINTS

Landmarks = Callable[[U8], list[F32]]

FRAME_PX = 256
VAL_EVERY = 12  # every twelfth clip is held out
SILENT_EVERY = 20  # every twentieth clip says nothing
BLEND_SHARE = 0.45
RECORDED_SHARE = 0.3
BEARD_SHARE = 0.45  # of men
VOICE_SEED = 1_000_003  # voices without a face are drawn apart from the puppets
VOICE_S = 10.0


@dataclass(frozen=True)
class Truth:
    """What is known of a puppet in every frame.

    mesh_px (T,468,2): where each point of the mesh is, in pixels of the frame; articulation (T,7): what is said, as
    `articulate` gives it.
    """

    mesh_px: F32
    articulation: F32


class ClipWriter(Protocol):
    """Write frames, sound and what is known as one clip; return the number of frames, raise ValueError to skip it."""

    def __call__(
        self,
        frames: Iterable[U8],
        samples: I16,
        folder: Path,
        meta: Mapping[str, object],
        truth: Truth | None = None,
    ) -> int:
        """Write the clip."""


class Studio:
    """Make clips in one process: loads faces once, then draws clip after clip."""

    def __init__(
        self,
        people: list[Person],
        recordings: list[Recording],
        seed: int,
        out_dir: Path,
        landmarks: Landmarks,
        write_clip: ClipWriter,
    ) -> None:
        self.recordings = recordings
        self.people, self.seed, self.out_dir = people, seed, out_dir
        self.landmarks, self.write_clip = landmarks, write_clip
        self._faces: dict[Path, tuple[U8, F32]] = {}

    def produce(self, wanted: tuple[str, int]) -> tuple[str, int, str]:
        """Make a "puppet" or a "voice" by number; return as `make`."""
        kind, number = wanted
        return self.make(number) if kind == "puppet" else self.speak(number)

    def make(self, number: int) -> tuple[str, int, str]:
        """Make clip `number`; return its name, its number of frames and why it was skipped ("" when it was not)."""
        name = f"puppet_{number:06d}"
        chance = np.random.default_rng([self.seed, number])
        split = "val" if number % VAL_EVERY == VAL_EVERY - 1 else "train"
        try:
            puppet, identity, source = self._cast(chance, split)
            duration_s = int(chance.integers(75, 126)) / FPS
            speech, voice = self._speak(chance, split, number % SILENT_EVERY == 7, duration_s)
            frames, truth = self._film(puppet, speech, chance)
            meta = {"identity": identity, "voice": voice, "split": split, "source": source, "seed": self.seed}
            meta["phones"] = [[phone.symbol, round(phone.start_s, 3), round(phone.end_s, 3)] for phone in speech.phones]
            samples = roughen(speech.samples, chance)
            if voice == "silence" and chance.random() < 0.5:
                samples = np.zeros_like(samples)
            return name, self.write_clip(frames, samples, self.out_dir / name, meta, truth), ""
        except ValueError as error:
            return name, 0, str(error)

    def _face(self, path: Path) -> tuple[U8, F32]:
        if path not in self._faces:
            picture = read_picture(path)
            found = self.landmarks(picture)
            if not found:
                raise ValueError(f"no face found in {path.name}")
            self._faces[path] = (picture, found[0])
        return self._faces[path]

    def _cast(self, chance: np.random.Generator, split: str) -> tuple[Puppet, str, str]:
        """Draw a person: one face or a blend of two, its complexion, shape, teeth and size in the frame."""
        people = [person for person in self.people if person.split == split] or self.people  # one alone is in both
        first = choose_person(people, chance)
        path = first.pictures[chance.integers(len(first.pictures))]
        picture, points = self._face(path)
        identity, source = first.identity, path.name
        landmarks: Floats = points
        if len(people) > 1 and chance.random() < BLEND_SHARE:
            second = choose_person(people, chance)
            if second is not first:
                other_path = second.pictures[chance.integers(len(second.pictures))]
                other, other_points = self._face(other_path)
                picture, landmarks = blend_faces(
                    picture, landmarks, other, other_points, float(chance.uniform(0.3, 0.7))
                )
                identity, source = f"{identity}+{second.identity}", f"{source}+{other_path.name}"
        if chance.random() < 0.75:
            picture = complexion(picture, landmarks, chance)
        if "man" in first.identity.split("_") and chance.random() < BEARD_SHARE:
            picture = grow_beard(picture, landmarks, chance)
        puppet = Puppet(
            picture, landmarks, FRAME_PX, float(chance.uniform(76, 96)), MouthLook.random(chance), Shape.random(chance)
        )
        return puppet, identity, source

    def _speak(self, chance: np.random.Generator, split: str, silent: bool, duration_s: float) -> tuple[Utterance, str]:
        """Draw what is said; nothing when silent."""
        if silent:
            return Utterance(np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32), (), "silence"), "silence"
        rng = random.Random(int(chance.integers(2**62)))
        recorded = [one for one in self.recordings if one.split == split]
        if recorded and rng.random() < RECORDED_SHARE:
            speech = replay(rng, recorded, duration_s)
        else:
            speech = talk(rng, choose_voice(rng, split), duration_s)
        return speech, speech.voice

    def speak(self, number: int) -> tuple[str, int, str]:
        """Make voice `number`; return as `make`."""
        name = f"voice_{number:06d}"
        chance = np.random.default_rng([self.seed, VOICE_SEED, number])
        split = "val" if number % VAL_EVERY == VAL_EVERY - 1 else "train"
        speech, voice = self._speak(chance, split, number % SILENT_EVERY == 7, VOICE_S)
        meta = {"fps": FPS, "voice": voice, "split": split, "seed": self.seed}
        write_voice(
            self.out_dir / name, roughen(speech.samples, chance), articulate(speech.phones, round(VOICE_S * FPS)), meta
        )
        return name, round(VOICE_S * FPS), ""

    def _film(self, puppet: Puppet, speech: Utterance, chance: np.random.Generator) -> tuple[list[U8], Truth]:
        """Render all frames; return them with what is known of them."""
        count = round(speech.duration_s * FPS)
        style = Style.random(chance)
        rows = articulate(speech.phones, count, style)
        shown = smiling(rows, style.smile)
        camera = Camera.random(chance)
        step = -1 if chance.random() < 0.5 else 1  # half of all clips are mirrored
        frames: list[U8] = []
        mesh_px = np.zeros((count, POINTS, 2), np.float32)
        for index, head in enumerate(head_motion(count, chance)):
            frame, mesh = puppet.render(shown[index], head)
            frames.append(camera.shoot(np.ascontiguousarray(frame[:, ::step]), chance))
            mesh_px[index] = mesh
        if step < 0:
            mesh_px[..., 0] = FRAME_PX - mesh_px[..., 0]
        return frames, Truth(mesh_px, rows)


def write_voice(folder: Path, samples: I16, articulation: F32, meta: Mapping[str, object]) -> None:
    """Write a voice without a face as a folder: sound, articulation (T,7) and meta.json; it is there whole or not."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / "audio.npy", samples)
    np.save(partial / "articulation.npy", articulation)
    (partial / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
