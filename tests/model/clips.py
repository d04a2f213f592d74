"""Tiny training clips: a dark mouth that opens with the loudness of a hum."""

import json
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 32


def write_clip(
    folder: Path, seed: int = 0, frames: int = 25, split: str = "train", size: int = SIZE, labelled: bool = False
) -> Path:
    """Write one clip. labelled: with articulation and mesh, as a puppet has them."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    loudness = rng.random(frames)
    crops = np.full((frames, size, size, 3), 200, np.uint8) - rng.integers(0, 60, 3).astype(np.uint8)
    for frame, level in zip(crops, loudness, strict=True):
        height = int(level * size / 4)
        frame[size * 3 // 4 - height // 2 : size * 3 // 4 + height // 2 + 1, size // 3 : size * 2 // 3] = 30
    hum = np.sin(np.arange(frames * 640) * 0.2) * np.repeat(loudness, 640)
    if labelled:
        np.save(folder / "articulation.npy", np.repeat(loudness[:, None], 7, axis=1).astype(np.float32))
        mesh = np.zeros((frames, 468, 2), np.float16)
        mesh[..., 1] = 0.5 + rng.uniform(-0.02, 0.02, (frames, 468))
        np.save(folder / "mesh.npy", mesh)
    np.save(folder / "crops.npy", crops)
    np.save(folder / "audio.npy", (hum * 20_000).astype(np.int16))
    meta = {"fps": 25.0, "identity": f"p{seed}", "voice": "hum", "split": split, "source": "made"}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def write_corpus(folder: Path, train: int = 3, val: int = 2, **kinds: Any) -> Path:
    """Write a small corpus with both splits."""
    for k in range(train):
        write_clip(folder / f"train_{k}", seed=k, **kinds)
    for k in range(val):
        write_clip(folder / f"val_{k}", seed=100 + k, split="val", **kinds)
    return folder
