"""Bring the materials of sources.csv together in one folder: from the network, or from a local folder.

From the network the originals are fetched and each file is made from its own: a face is cut out, sound is brought to
16 kHz mono. An original whose hash is known, and every file of a local folder, is checked by its hash. A JPEG encoder
is not bound to give the same bytes everywhere, so a file that is there and has not the hash of the table is made again,
from the original that was kept: the same bytes as before are kept, others are replaced. Only what passed is listed.

How to open an original is handed in (worker/training_data/source_media.py): the model package opens no media from
strangers.
"""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import httpx
import numpy as np
from tqdm import tqdm

from model.arrays import I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.corpus.materials.download import Addresses, Downloads, file_sha256
from model.corpus.materials.sources import Material, read_materials, write_indexes
from model.errors import FetchError

Box = tuple[int, int, int, int]
CutFace = Callable[[Path, int | None, Box | None], U8]
ReadSound = Callable[[Path], I16]
LARGEST_FACE_PX = 768
_JPEG_QUALITY = 92


@dataclass
class Gathered:
    """Count what a folder holds now: written just now, kept from before, and why others could not be had."""

    written: int = 0
    kept: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def fetch(
    out_dir: Path,
    cut_face: CutFace,
    read_sound: ReadSound,
    tell: Callable[[str], None] = lambda _: None,
    materials: Sequence[Material] | None = None,
    addresses: Addresses | None = None,
) -> Gathered:
    """Get every material over the network into `out_dir`; what is there and right is kept, so it can be stopped.

    cut_face: picture or video, frame, box (None: around the largest face) -> (H, W, 3) uint8 RGB. read_sound: file ->
    (n,) int16 at 16 kHz. Both may raise ValueError. `tell` hears what could not be had.
    """
    with (
        httpx.Client() as client,
        tqdm(unit="B", unit_scale=True, desc="fetched", dynamic_ncols=True) as bar,
    ):
        downloads = Downloads(out_dir / "originals", client, addresses or Addresses(), bar.update)

        def make(material: Material, place: Path) -> None:
            original = downloads.original(material)
            if material.kind == "face":
                _write_picture(place, cut_face(original, material.frame, material.box))
            elif material.kind == "speech":
                _write_sound(place, read_sound(original))
            else:
                shutil.copyfile(original, place)

        return _gather(out_dir, materials, make, tell)


def take(
    out_dir: Path,
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
    materials: Sequence[Material] | None = None,
) -> Gathered:
    """Copy every material from a local folder (faces/, avatars/, speech/) into `out_dir`, checked by its hash."""

    def make(material: Material, place: Path) -> None:
        source = folder / material.file
        if not source.is_file():
            raise FetchError("it is not in the folder")
        shutil.copyfile(source, place)
        if file_sha256(place) != material.sha256:
            raise FetchError("it is not the file that the table names (its sha256 differs)")

    return _gather(out_dir, materials, make, tell)


def _gather(
    out_dir: Path,
    materials: Sequence[Material] | None,
    make: Callable[[Material, Path], None],
    tell: Callable[[str], None],
) -> Gathered:
    """Make what is not there as the table or `make` has it, each beside its place and renamed; then list it."""
    wanted = read_materials() if materials is None else materials
    gathered = Gathered()
    for material in wanted:
        place = out_dir / material.file
        present = file_sha256(place) if place.is_file() else ""
        if present and present == material.sha256:
            gathered.kept += 1
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".partial.{place.name}")
        try:
            make(material, partial)
            if present and file_sha256(partial) == present:
                partial.unlink()
                gathered.kept += 1
                continue
            partial.replace(place)
            gathered.written += 1
        except (FetchError, ValueError) as error:
            partial.unlink(missing_ok=True)
            gathered.missing[material.file] = str(error)
            tell(f"{material.file} left out: {error}")
    write_indexes(out_dir, [material for material in wanted if material.file not in gathered.missing])
    return gathered


def _write_picture(place: Path, rgb: U8) -> None:
    shrink = LARGEST_FACE_PX / max(rgb.shape[:2])
    if shrink < 1:
        size = (round(rgb.shape[1] * shrink), round(rgb.shape[0] * shrink))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    if not cv2.imwrite(str(place), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options):
        raise ValueError("the picture cannot be written")


def _write_sound(place: Path, samples: I16) -> None:
    with wave.open(str(place), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.tobytes())
