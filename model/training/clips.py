"""Training clips on disk, and batches drawn from them.

A clip is a folder: `crops.npy` uint8 (T,S,S,3) RGB, `audio.npy` int16 (n,) at 16 kHz, `meta.json` with fps, identity,
voice, split and source, and optionally `labels.npy` float32 (T,2), aperture and width of the lips in template face
units. A puppet also has `articulation.npy` float32 (T,7) and `mesh.npy` float16 (T,468,2), where its mesh lies in the
crop, -1..1. Everything random about a batch comes from one generator that the caller seeds with the number of the step,
so a resumed run draws the same batches as one that was never interrupted.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, I16, I64, U8
from model.audio import MEL_BANDS, SAMPLE_RATE_HZ, SILENCE, MelWindow, first_columns, mel_spectrogram
from model.corpus.speech.articulation import FULL_APERTURE
from model.errors import CorpusError
from model.face_points import POINTS
from model.network.hearing import APERTURE, CHANNELS, WIDTH

RUN = 5  # consecutive frames the sync expert sees
FULL_WIDTH = 0.2  # by which a mouth widens, as a share of its width, for an articulation of 1
_REFERENCE_DISTANCE = 5  # frames between target and reference, where the clip allows
Rng = np.random.Generator


@dataclass(frozen=True)
class ClipMeta:
    """What training needs of a clip's meta.json."""

    fps: float
    split: str


@dataclass(frozen=True)
class Clip:
    """One clip in memory, one entry a frame.

    crops (T,S,S,3) uint8 RGB at the network's size; mels (T,80,columns); articulation (T,7) float32 and mesh
    (T,468,2) float32 in the crop from -1 to 1, both not a number where the clip does not say.
    """

    crops: U8
    mels: F32
    articulation: F32
    mesh: F32


@dataclass(frozen=True)
class FaceBatch:
    """Draw the targets from the references and the sound.

    targets, references (N,S,S,3) uint8; mels (N,80,columns); articulation (N,7) of the targets; target_mesh and
    reference_mesh (N,468,2). The first `runs` * 5 items are runs of five consecutive frames with a reference in common;
    others (runs,K,80,columns) are windows from other moments of the same clip.
    """

    targets: U8
    references: U8
    mels: F32
    articulation: F32
    target_mesh: F32
    reference_mesh: F32
    runs: int
    others: F32


@dataclass(frozen=True)
class SyncBatch:
    """Match mouths and sounds within each clip: runs (C,M,5,S,S,3) uint8, mels (C,M,80,columns) of the middle frame."""

    runs: U8
    mels: F32


class Corpus:
    """The clips of one split of a folder, loaded when first used and kept while they fit into `cache_bytes`.

    Raises CorpusError for a folder without usable clips of that split, and for a broken clip, naming it.
    """

    def __init__(
        self, folder: Path, split: str, image_size: int, window: MelWindow, cache_bytes: int = 6 * 2**30
    ) -> None:
        self._image_size, self._window, self._cache_bytes = image_size, window, cache_bytes
        self._cache: OrderedDict[Path, Clip] = OrderedDict()
        self._cached_bytes = 0
        if not folder.is_dir():
            raise CorpusError(f"there is no folder {folder}")
        clips = clip_folders(folder)
        self.folders = [clip for clip in clips if read_meta(clip).split == split]
        if not self.folders:
            raise CorpusError(f"{folder} holds {len(clips)} clips, none of them for {split!r}")

    def __len__(self) -> int:
        return len(self.folders)

    def clip(self, number: int) -> Clip:
        """Return a clip by number, from memory or from disk."""
        folder = self.folders[number]
        if folder not in self._cache:
            clip = load_clip(folder, self._image_size, self._window)
            self._cache[folder] = clip
            self._cached_bytes += clip.crops.nbytes + clip.mels.nbytes
            while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
                _, oldest = self._cache.popitem(last=False)
                self._cached_bytes -= oldest.crops.nbytes + oldest.mels.nbytes
        self._cache.move_to_end(folder)
        return self._cache[folder]

    def faces(self, rng: Rng, runs: int, singles: int, others: int = 7) -> FaceBatch:
        """Draw runs of five frames and single frames, each from a clip of its own, with references from elsewhere."""
        chosen = [self._choose(rng, length) for length in [RUN] * runs + [1] * singles]
        apart = [
            clip.mels[_other_moments(rng, len(clip.mels), start + RUN // 2, others)]
            for clip, start, _, length in chosen
            if length == RUN
        ]

        def target(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(clip, name)[start : start + length] for clip, start, _, length in chosen])

        def reference(name: str) -> NDArray[Any]:
            return np.concatenate([np.repeat(getattr(clip, name)[[at]], length, 0) for clip, _, at, length in chosen])

        return FaceBatch(
            target("crops"),
            reference("crops"),
            target("mels"),
            target("articulation"),
            target("mesh"),
            reference("mesh"),
            runs,
            np.stack(apart) if apart else np.zeros((0, others, MEL_BANDS, self._window.columns), np.float32),
        )

    def _choose(self, rng: Rng, length: int) -> tuple[Clip, int, int, int]:
        """Draw a clip, the first of `length` frames of it, and a reference."""
        clip = self.clip(int(rng.integers(len(self.folders))))
        start = int(rng.integers(len(clip.crops) - length + 1))
        return clip, start, choose_reference(rng, clip.articulation[:, APERTURE], start, length), length

    def moments(self, rng: Rng, clips: int, moments: int) -> SyncBatch:
        """Draw several moments from each of several clips."""
        runs, mels = [], []
        for _ in range(clips):
            clip = self.clip(int(rng.integers(len(self.folders))))
            last = len(clip.crops) - RUN
            starts = rng.choice(last + 1, moments, replace=last + 1 < moments)
            runs.append(np.stack([clip.crops[start : start + RUN] for start in starts]))
            mels.append(clip.mels[starts + RUN // 2])
        return SyncBatch(np.stack(runs), np.stack(mels))


def clip_folders(folder: Path) -> list[Path]:
    """List the clips of a corpus in order, without its voices that have no face (model/training/voices.py)."""
    every = folders_with(folder, "meta.json")
    return [clip for clip in every if (clip / "crops.npy").is_file() or not (clip / "articulation.npy").is_file()]


def folders_with(folder: Path, name: str) -> list[Path]:
    """List in order the folders of a corpus that hold a file; hidden ones are what a killed build left behind."""
    return [path.parent for path in sorted(folder.glob(f"*/{name}")) if not path.parent.name.startswith(".")]


def load_clip(folder: Path, image_size: int, window: MelWindow) -> Clip:
    """Read a clip, its crops resized by area and its mel windows computed. Raises CorpusError naming the clip."""
    meta = read_meta(folder)
    try:
        crops = np.load(folder / "crops.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{folder.name}: its arrays cannot be read ({error})") from error
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3:
        raise CorpusError(f"{folder.name}: crops.npy must be (T,S,S,3) uint8, not {crops.shape} {crops.dtype}")
    if len(crops) < RUN + 1:
        raise CorpusError(f"{folder.name}: {len(crops)} frames are too few, {RUN + 1} are needed")
    samples = read_samples(folder, len(crops), meta.fps)
    times_s = np.arange(len(crops)) / meta.fps
    mels = cut_windows(mel_spectrogram(samples), first_columns(times_s, window), window)
    return Clip(resized(crops, image_size), mels, _articulation(folder, len(crops)), _mesh(folder, len(crops)))


def read_samples(folder: Path, frames: int, fps: float) -> I16:
    """Read the sound of a clip or voice of so many frames, (n,) int16. Raises CorpusError."""
    try:
        samples: I16 = np.load(folder / "audio.npy")
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{folder.name}: its sound cannot be read ({error})") from error
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise CorpusError(f"{folder.name}: audio.npy must be (n,) int16, not {samples.shape} {samples.dtype}")
    if len(samples) < 0.5 * frames / fps * SAMPLE_RATE_HZ:
        raise CorpusError(f"{folder.name}: its sound is less than half as long as its {frames} frames")
    return samples


def read_labels(folder: Path, frames: int) -> F32 | None:
    """Read the labels of a clip, (T,2) float32, None where it has none. Raises CorpusError."""
    if not (folder / "labels.npy").is_file():
        return None
    labels = _read_floats(folder / "labels.npy")
    if labels.ndim != 2 or labels.shape[1] != 2:
        raise CorpusError(f"{folder.name}: labels.npy must be ({frames},2), not {labels.shape}")
    if len(labels) != frames:
        raise CorpusError(f"{folder.name}: its labels are for {len(labels)} frames, not {frames}")
    return labels


def choose_reference(rng: Rng, openness: F32, start: int, length: int) -> int:
    """Choose a frame outside start .. start+length-1, at least five frames from it where the clip allows.

    openness (T,): how open the mouth is, where known. Serving shows the network a face at rest, so the calmest of three
    candidates is taken; one time in four any frame will do, since there not every face rests. Raises ValueError where
    there is no other frame.
    """
    index = np.arange(len(openness))
    distance = np.maximum(start - index, index - (start + length - 1))
    if distance.max() < 1:
        raise ValueError("a clip needs a frame besides the target")
    far = np.flatnonzero(distance >= min(_REFERENCE_DISTANCE, int(distance.max())))
    candidates = rng.choice(far, 1 if rng.random() < 0.25 else 3)
    return int(candidates[int(np.nan_to_num(openness[candidates]).argmin())])


def vary_mels(rng: Rng, mels: F32) -> F32:
    """Change loudness, tilt and noise floor as another room and microphone would. (N,80,columns) -> same.

    One change for all N; values stay in -4..4, where 0.08 is one decibel.
    """
    gain, tilt = rng.uniform(-0.8, 0.5), rng.uniform(-0.4, 0.4)
    changed = mels + (gain + tilt * np.linspace(-1, 1, MEL_BANDS))[:, None]
    floor = rng.uniform(-4.0, -2.6) if rng.random() < 0.5 else SILENCE
    noise = floor + rng.normal(0, 0.15, changed.shape) if floor > SILENCE else SILENCE
    varied: F32 = np.clip(np.maximum(changed, noise), SILENCE, -SILENCE).astype(np.float32)
    return varied


def _other_moments(rng: Rng, frames: int, moment: int, count: int) -> I64:
    """Choose frames at least three away from a moment, so that they sound different."""
    index = np.flatnonzero(np.abs(np.arange(frames) - moment) >= min(3, max(moment, frames - 1 - moment)))
    return rng.choice(index, count, replace=len(index) < count)


def cut_windows(mel: F32, first: I64, window: MelWindow) -> F32:
    """Cut windows from a whole spectrogram, silence beyond its ends. (80,C), (T,) -> (T,80,columns)."""
    before = max(0, -int(first.min()))
    after = max(0, int(first.max()) + window.columns - mel.shape[1])
    padded = np.pad(mel, ((0, 0), (before, after)), constant_values=SILENCE)
    return np.stack([padded[:, start : start + window.columns] for start in first + before])


def read_articulation(folder: Path) -> F32:
    """Read the articulation of a clip or voice, (T,7) float32. Raises CorpusError."""
    rows = _read_floats(folder / "articulation.npy")
    if rows.ndim != 2 or rows.shape[1] != CHANNELS or not len(rows):
        raise CorpusError(f"{folder.name}: articulation.npy must be (T,{CHANNELS}), not {rows.shape}")
    return rows


def _articulation(folder: Path, frames: int) -> F32:
    """Return what the clip says of its articulation, (T,7); of a real mouth only aperture and width are measured."""
    labels = read_labels(folder, frames)
    if (folder / "articulation.npy").is_file():
        rows = read_articulation(folder)
        if len(rows) != frames:
            raise CorpusError(f"{folder.name}: its articulation is for {len(rows)} frames, not {frames}")
        return rows
    rows = np.full((frames, CHANNELS), np.nan, np.float32)
    if labels is not None:
        rows[:, APERTURE] = labels[:, 0] / FULL_APERTURE
        rows[:, WIDTH] = (labels[:, 1] / max(1e-6, float(np.median(labels[:, 1]))) - 1) / FULL_WIDTH
    return rows


def _mesh(folder: Path, frames: int) -> F32:
    path = folder / "mesh.npy"
    if not path.is_file():
        return np.full((frames, POINTS, 2), np.nan, np.float32)
    mesh = _read_floats(path)
    if mesh.shape != (frames, POINTS, 2):
        raise CorpusError(f"{folder.name}: mesh.npy must be ({frames},{POINTS},2), not {mesh.shape}")
    return mesh


def _read_floats(path: Path) -> F32:
    try:
        return np.asarray(np.load(path), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{path.parent.name}: its {path.name} cannot be read ({error})") from error


def resized(crops: U8, size: int) -> U8:
    """Resize crops (T,S,S,3), by area where they shrink."""
    if crops.shape[1] == size:
        return np.array(crops)
    shrinking = crops.shape[1] > size
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    scaled = [cv2.resize(crop, (size, size), interpolation=method) for crop in crops]
    stacked: U8 = np.stack(scaled).astype(np.uint8, copy=False)
    return stacked


def read_meta(folder: Path) -> ClipMeta:
    """Read a clip's meta.json and check what training needs of it. Raises CorpusError naming the clip."""
    try:
        values = json.loads((folder / "meta.json").read_text())
        meta = ClipMeta(float(values["fps"]), str(values["split"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{folder.name}: its meta.json cannot be read ({error!r})") from error
    if not 1 <= meta.fps <= 240 or meta.split not in ("train", "val"):
        raise CorpusError(f"{folder.name}: its fps or split makes no sense ({meta.fps}, {meta.split!r})")
    return meta
