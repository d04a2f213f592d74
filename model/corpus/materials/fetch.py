"""Bring the materials of sources.csv together in one folder: from the network, or from a local folder.

From the network, the originals are downloaded and each material is made from its original: a face is cut out, sound is
converted to 16 kHz mono. An original is checked if its hash is known; every file of a local folder is checked.

A JPEG encoder need not give the same bytes on every machine. So a file that does not have the hash of the table is made
again from its original; it counts as kept if the new bytes are the same. Only files that passed are listed.

Opening an original is handed in (worker/training_data/source_media.py), because the model package opens no untrusted
media.
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
from model.corpus.materials.download import Addresses, Downloads
from model.corpus.materials.sources import Material, read_materials, write_indexes
from model.errors import FetchError, MaterialError
from model.files import file_sha256, replacing

Box = tuple[int, int, int, int]
CutFace = Callable[[Path, int | None, Box | None], U8]
ReadSound = Callable[[Path], I16]
LARGEST_FACE_PX = 768
_JPEG_QUALITY = 92


@dataclass
class MaterialCounts:
    """Counts of a folder of materials: files written now, files kept from before, and why others are missing."""

    written: int = 0
    kept: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def fetch(
    out_dir: Path,
    cut_face: CutFace,
    read_sound: ReadSound,
    log: Callable[[str], None] = lambda _: None,
    materials: Sequence[Material] | None = None,
    addresses: Addresses | None = None,
) -> MaterialCounts:
    """Bring every material into `out_dir` over the network; a stopped call can be repeated, right files are kept.

    cut_face: picture or video, frame, box (None: around the largest face) -> (H, W, 3) uint8 RGB. read_sound: file ->
    (n,) int16 at 16 kHz. Both may raise MaterialError. `log` receives a line for each missing file. materials: the rows
    of the table by default.
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

        return _gather(out_dir, materials, make, log)


def copy_materials(
    out_dir: Path,
    folder: Path,
    log: Callable[[str], None] = lambda _: None,
    materials: Sequence[Material] | None = None,
) -> MaterialCounts:
    """Copy every material from a local folder (faces/, avatars/, speech/) into `out_dir`, checked by its hash."""

    def make(material: Material, place: Path) -> None:
        source = folder / material.file
        if not source.is_file():
            raise FetchError("it is not in the folder")
        shutil.copyfile(source, place)
        if file_sha256(place) != material.sha256:
            raise FetchError("it is not the file that the table names (its sha256 differs)")

    return _gather(out_dir, materials, make, log)


def _gather(
    out_dir: Path,
    materials: Sequence[Material] | None,
    make: Callable[[Material, Path], None],
    log: Callable[[str], None],
) -> MaterialCounts:
    """Make each material that does not have the hash of the table, then list all that are there.

    make: writes a material to a path. Raises FetchError or MaterialError.
    """
    wanted = read_materials() if materials is None else materials
    counts = MaterialCounts()
    for material in wanted:
        place = out_dir / material.file
        present = file_sha256(place) if place.is_file() else ""
        if present and present == material.sha256:
            counts.kept += 1
            continue
        try:
            with replacing(place) as partial:
                make(material, partial)
                is_same = file_sha256(partial) == present
        except (FetchError, MaterialError) as error:
            counts.missing[material.file] = str(error)
            log(f"{material.file} left out: {error}")
            continue
        counts.kept += is_same
        counts.written += not is_same
    write_indexes(out_dir, [material for material in wanted if material.file not in counts.missing])
    return counts


def _write_picture(place: Path, rgb: U8) -> None:
    """Write a picture (H, W, 3) uint8 RGB as JPEG, shrunk if it is larger than needed. Raises MaterialError."""
    shrink = LARGEST_FACE_PX / max(rgb.shape[:2])
    if shrink < 1:
        size = (round(rgb.shape[1] * shrink), round(rgb.shape[0] * shrink))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    good, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not good:
        raise MaterialError("the picture cannot be written")
    place.write_bytes(data.tobytes())


def _write_sound(place: Path, samples: I16) -> None:
    """Write sound (n,) int16 at 16 kHz as WAV."""
    with wave.open(str(place), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.tobytes())
