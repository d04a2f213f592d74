"""Training clips on disk.

A clip is a folder. `crops.npy` holds uint8 (T,S,S,3) RGB, `audio.npy` int16 (n,) mono at 16 kHz, and `meta.json` the
fps, identity, voice, split and source. Optional `labels.npy` holds float32 (T,2): aperture and width of the lips in
template face units. A puppet also has `articulation.npy`, float32 (T,7), and `mesh.npy`, float16 (T,468,2): the place
of each point of the mesh in the crop, in -1..1.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model.arrays import F16, F32, I16, I64, U8
from model.articulation import CHANNELS, FULL_APERTURE, FULL_WIDTH, Channel
from model.audio import SAMPLE_RATE_HZ, SILENCE, MelWindow, first_columns, mel_spectrogram
from model.errors import CorpusError
from model.face_points import POINTS
from model.silence_gate import gated
from model.sound import EncoderReader, MelReader, Sound, SoundReader
from model.speech_encoder.port import SpeechEncoder

RUN = 5  # consecutive frames in one input of the sync expert
_CACHE_BYTES = 6 * 2**30


@dataclass(frozen=True)
class ClipMeta:
    """Part of a clip's meta.json that training needs."""

    fps: float
    split: str


@dataclass(frozen=True)
class Clip:
    """One clip in memory, one entry per frame.

    crops (T,S,S,3) uint8 RGB at the network's size; mels (T,80,columns) float32 in -4..4; articulation (T,7) float32;
    mesh (T,468,2) float32, in -1..1 of the crop. Articulation and mesh are NaN if the clip has none. features
    (T,20,384) float16 of a speech encoder; None if the corpus was opened without one.
    """

    crops: U8
    mels: F32
    articulation: F32
    mesh: F32
    features: F16 | None = None

    @property
    def nbytes(self) -> int:
        """Return the memory of the largest arrays in bytes."""
        return self.crops.nbytes + self.mels.nbytes + (0 if self.features is None else self.features.nbytes)


class Corpus:
    """Clips of one split, each loaded at its first use and kept in memory up to `cache_bytes` together."""

    def __init__(
        self,
        folders: Sequence[Path],
        image_size: int,
        window: MelWindow,
        encoder: SpeechEncoder | None = None,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.folders = folders
        self.window, self.encoder = window, encoder
        self._image_size, self._cache_bytes = image_size, cache_bytes
        self._cache: OrderedDict[Path, Clip] = OrderedDict()
        self._cached_bytes = 0

    @classmethod
    def open(
        cls,
        folder: Path,
        split: str,
        image_size: int,
        window: MelWindow,
        encoder: SpeechEncoder | None = None,
        cache_bytes: int = _CACHE_BYTES,
    ) -> Corpus:
        """List the clips of one split of a folder.

        Raises CorpusError for a folder without clips of that split, and for a clip whose meta.json is broken.
        """
        if not folder.is_dir():
            raise CorpusError(f"there is no folder {folder}")
        clips = clip_folders(folder)
        chosen = [clip for clip in clips if read_meta(clip).split == split]
        if not chosen:
            raise CorpusError(f"{folder} holds {len(clips)} clips, none of them for {split!r}")
        return cls(chosen, image_size, window, encoder, cache_bytes)

    @property
    def reader(self) -> SoundReader:
        """Return the front end of a network that learns from this corpus."""
        return MelReader(self.window) if self.encoder is None else EncoderReader(self.encoder)

    def __len__(self) -> int:
        return len(self.folders)

    def clip(self, number: int) -> Clip:
        """Return a clip by number, from memory or from disk. Raises CorpusError naming a broken clip."""
        folder = self.folders[number]
        if folder not in self._cache:
            clip = load_clip(folder, self._image_size, self.window, self.encoder)
            self._cache[folder] = clip
            self._cached_bytes += clip.nbytes
            while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
                _, oldest = self._cache.popitem(last=False)
                self._cached_bytes -= oldest.nbytes
        self._cache.move_to_end(folder)
        return self._cache[folder]


def clip_folders(folder: Path) -> list[Path]:
    """List the clips of a corpus in order, without the voices that have no face (model/training/voices.py)."""
    every = folders_with(folder, "meta.json")
    return [clip for clip in every if (clip / "crops.npy").is_file() or not (clip / "articulation.npy").is_file()]


def folders_with(folder: Path, name: str) -> list[Path]:
    """List in order the folders of a corpus that hold a file. Hidden folders are left out: a killed build left them."""
    return [path.parent for path in sorted(folder.glob(f"*/{name}")) if not path.parent.name.startswith(".")]


def load_clip(folder: Path, image_size: int, window: MelWindow, encoder: SpeechEncoder | None = None) -> Clip:
    """Read a clip, resize its crops by area and cut the windows of its sound. Raises CorpusError naming the clip."""
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
    features = None if encoder is None else heard(folder, samples, EncoderReader(encoder)).windows(times_s)
    return Clip(
        resized(crops, image_size),
        mels,
        _articulation(folder, len(crops)),
        _mesh(folder, len(crops)),
        None if features is None else features.astype(np.float16),
    )


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


def read_samples(folder: Path, frames: int, fps: float) -> I16:
    """Read the sound of a clip or voice with so many frames, (n,) int16 at 16 kHz. Raises CorpusError."""
    try:
        samples: I16 = np.load(folder / "audio.npy")
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{folder.name}: its sound cannot be read ({error})") from error
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise CorpusError(f"{folder.name}: audio.npy must be (n,) int16, not {samples.shape} {samples.dtype}")
    if len(samples) < 0.5 * frames / fps * SAMPLE_RATE_HZ:
        raise CorpusError(f"{folder.name}: its sound is less than half as long as its {frames} frames")
    return samples


def heard(folder: Path, samples: I16, reader: SoundReader) -> Sound:
    """Return the sound of a clip or voice as a network hears it in training.

    Half of the recordings, chosen by name, pass the silence gate first, because in serving it is used unless a job
    turns it off. This holds for voices and for the features of clips; the mels of clips are never gated.
    """
    return reader.read(gated(samples) if zlib.crc32(folder.name.encode()) % 2 else samples)


def read_labels(folder: Path, frames: int | None = None) -> F32 | None:
    """Read the labels of a clip, (T,2) float32; None if it has none.

    frames: how many rows there must be; None: any number but 0. Raises CorpusError.
    """
    if not (folder / "labels.npy").is_file():
        return None
    labels = _read_floats(folder / "labels.npy")
    if labels.ndim != 2 or labels.shape[1] != 2 or not len(labels):
        raise CorpusError(f"{folder.name}: labels.npy must be ({frames or 'T'},2), not {labels.shape}")
    if frames is not None and len(labels) != frames:
        raise CorpusError(f"{folder.name}: its labels are for {len(labels)} frames, not {frames}")
    return labels


def read_articulation(folder: Path) -> F32:
    """Read the articulation of a clip or voice, (T,7) float32. Raises CorpusError."""
    rows = _read_floats(folder / "articulation.npy")
    if rows.ndim != 2 or rows.shape[1] != CHANNELS or not len(rows):
        raise CorpusError(f"{folder.name}: articulation.npy must be (T,{CHANNELS}), not {rows.shape}")
    return rows


def _articulation(folder: Path, frames: int) -> F32:
    """Return the articulation of a clip, (T,7).

    Unknown values are NaN. Of a real mouth only aperture and width are known, of a clip without labels nothing is.
    """
    labels = read_labels(folder, frames)
    if (folder / "articulation.npy").is_file():
        rows = read_articulation(folder)
        if len(rows) != frames:
            raise CorpusError(f"{folder.name}: its articulation is for {len(rows)} frames, not {frames}")
        return rows
    rows = np.full((frames, CHANNELS), np.nan, np.float32)
    if labels is not None:
        rows[:, Channel.APERTURE] = labels[:, 0] / FULL_APERTURE
        rows[:, Channel.WIDTH] = (labels[:, 1] / max(1e-6, float(np.median(labels[:, 1]))) - 1) / FULL_WIDTH
    return rows


def _mesh(folder: Path, frames: int) -> F32:
    """Return the mesh of a clip, (T,468,2), NaN if it has none."""
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


def cut_windows(mel: F32, first: I64, window: MelWindow) -> F32:
    """Cut windows from a whole spectrogram, with silence beyond its ends.

    mel (80,C), first (T,): the first column of each window. Returns (T,80,columns).
    """
    before = max(0, -int(first.min()))
    after = max(0, int(first.max()) + window.columns - mel.shape[1])
    padded = np.pad(mel, ((0, 0), (before, after)), constant_values=SILENCE)
    return np.stack([padded[:, start : start + window.columns] for start in first + before])


def resized(crops: U8, size: int) -> U8:
    """Resize crops (T,S,S,3) uint8 to (T,size,size,3), by area if they shrink."""
    if crops.shape[1] == size:
        return np.array(crops)
    shrinking = crops.shape[1] > size
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    scaled = [cv2.resize(crop, (size, size), interpolation=method) for crop in crops]
    stacked: U8 = np.stack(scaled).astype(np.uint8, copy=False)
    return stacked
