"""Films for tests, made by ffmpeg from numbered pictures, and the pictures that a right decoder gives.

Each picture shows its number in binary and a pattern without symmetry, so a decoded frame tells which one it is, and a
comparison with the same pattern drawn in the promised size tells whether it is upright, cropped and in proportion.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from app.core.probing.probe import find_ffmpeg
from model.arrays import F32, U8

BITS: Final = 8
DARK, BRIGHT = 0.15, 0.85
X264: Final = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-crf", "16")
MPEG2: Final = ("-c:v", "mpeg2video", "-q:v", "2")
TURNS: Final = {  # options that write a display matrix, and how a shown picture becomes the stored one
    "": ((), lambda picture: picture),
    "90": (("-display_rotation", "90"), lambda picture: np.rot90(picture, -1)),
    "180": (("-display_rotation", "180"), lambda picture: np.rot90(picture, 2)),
    "270": (("-display_rotation", "270"), lambda picture: np.rot90(picture, 1)),
    "mirrored": (("-display_hflip",), lambda picture: picture[:, ::-1]),
}


@dataclass(frozen=True)
class Part:
    """Stretch of a film with one shape of the picture.

    width, height: stored size in pixels, with `margin` columns on the left and twice as many on the right that are not
    to be shown. aspect: width of a pixel divided by its height. turn: key of TURNS. numbers: the pictures, one a frame.
    """

    numbers: Sequence[int]
    width: int = 96
    height: int = 64
    aspect: Fraction = Fraction(1)
    turn: str = ""
    margin: int = 0

    @property
    def shown_size(self) -> tuple[int, int]:
        """Return width and height as the picture is to be shown, upright and with square pixels."""
        width, height = self.width - 3 * self.margin, self.height
        width = round(width * self.aspect) if self.aspect > 1 else width
        height = round(height / self.aspect) if self.aspect < 1 else height
        return (height, width) if self.turn in ("90", "270") else (width, height)

    def stored(self, number: int, flash: int | None) -> U8:
        """Return the stored picture, (height, width) uint8 full range."""
        inner = (self.width - 3 * self.margin, self.height)
        upright = inner[::-1] if self.turn in ("90", "270") else inner
        picture = np.full((self.height, self.width), 255, np.uint8)
        turned = TURNS[self.turn][1](draw(number, *upright, is_flash=number == flash))
        picture[:, self.margin : self.margin + inner[0]] = np.rint(255 * turned)
        return picture


def draw(number: int, width: int, height: int, is_flash: bool = False) -> F32:
    """Return the picture of a number, (height, width) float32 in 0..1; the lower half of a flash is bright."""
    u = ((np.arange(width) + 0.5) / width).astype(np.float32)[None, :]
    v = ((np.arange(height) + 0.5) / height).astype(np.float32)[:, None]
    lower = np.full((height, width), 0.95, np.float32) if is_flash else 0.2 + 0.3 * u + 0.4 * v * u
    bit = np.minimum((u * BITS).astype(int), BITS - 1)
    upper = np.where(number >> bit & 1, BRIGHT, DARK)
    return np.where(v < 0.5, upper, np.where(((u - 0.3) ** 2 + (v - 0.75) ** 2) < 0.01, 0.05, lower)).astype(np.float32)


def shown_area(part: Part, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns that a part fills in an output of a width and height, in the middle."""
    (width, height), shown = size, Fraction(*part.shown_size)
    inner_width, inner_height = min(width, round(height * shown)), min(height, round(width / shown))
    # colour is stored for two pixels, so the place is even
    left, top = (width - inner_width) // 4 * 2, (height - inner_height) // 4 * 2
    return slice(top, top + inner_height), slice(left, left + inner_width)


def expected_luma(part: Part, number: int, size: tuple[int, int], flash: int | None = None) -> F32:
    """Return the luma, 16..235, of a picture that is fitted into the output's width and height on black."""
    rows, columns = shown_area(part, size)
    luma = np.full(size[::-1], 16.0, np.float32)
    picture = draw(number, columns.stop - columns.start, rows.stop - rows.start, is_flash=number == flash)
    luma[rows, columns] = 16 + 219 * picture
    return luma


def number_in(luma: np.ndarray, part: Part) -> int:
    """Return the number that a decoded picture shows, given its luma and the part that it is from."""
    picture = luma[shown_area(part, (luma.shape[1], luma.shape[0]))]
    height, width = picture.shape
    row = picture[height // 6 : height // 3].mean(axis=0)
    cells = [row[round((i + 0.3) * width / BITS) : round((i + 0.7) * width / BITS) + 1] for i in range(BITS)]
    return sum(int(cell.mean() > 16 + 219 * 0.5) << i for i, cell in enumerate(cells))


def flash_in(luma: np.ndarray, part: Part) -> float:
    """Return the brightness of the lower half of a decoded picture, given the part that it is from."""
    picture = luma[shown_area(part, (luma.shape[1], luma.shape[0]))]
    return float(picture[picture.shape[0] * 2 // 3 :].mean())


def write_part(path: Path, part: Part, rate: Fraction, *options: str, flash: int | None = None) -> Path:
    """Encode a part as a file of its own; `options` are output options of ffmpeg."""
    pictures = np.stack([part.stored(number, flash) for number in part.numbers])
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{part.width}x{part.height}", "-r", str(rate), "-i", "pipe:0")
    shape = ("-aspect", str(Fraction(part.width, part.height) * part.aspect)) if part.aspect != 1 else ()
    run_ffmpeg(*raw, *shape, *(options or X264), str(path), given=pictures.tobytes())
    if part.turn:
        straight = path.with_name(f"straight_{path.name}")
        path.rename(straight)
        run_ffmpeg(*TURNS[part.turn][0], "-i", str(straight), "-c", "copy", str(path))
    if part.margin:
        add_crop(path, part.margin, 2 * part.margin)
    return path


def join_files(path: Path, parts: Iterable[Path]) -> Path:
    """Join files byte by byte, as people do with recordings."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def join_tracks(path: Path, files: Sequence[Path], *options: str) -> Path:
    """Put the pictures of several films into one file, as tracks."""
    inputs = [argument for file in files for argument in ("-i", str(file))]
    maps = [argument for index in range(len(files)) for argument in ("-map", str(index))]
    run_ffmpeg(*inputs, *maps, "-c", "copy", *options, str(path))
    return path


def add_crop(path: Path, left: int, right: int) -> None:
    """Make a film ask for columns not to be shown: in a QuickTime file, which is then packed anew as the path says."""
    clean = path.with_name(f"clean_{path.stem}.mov")
    run_ffmpeg("-i", str(path), "-c", "copy", str(clean))
    clean.write_bytes(_clap(clean.read_bytes(), left, right))
    if path.suffix == ".mov":
        clean.replace(path)
    else:
        run_ffmpeg("-i", str(clean), "-c", "copy", str(path))


def _clap(data: bytes, left: int, right: int) -> bytes:
    """Insert a clean aperture box into the only video track; the index must lie behind the media data."""
    entry = data.index(b"avc1", data.index(b"stsd")) - 4
    width, height = (int.from_bytes(data[entry + at : entry + at + 2], "big") for at in (32, 34))
    offset = left - right  # twice the distance between the middle of what is shown and the middle of what is stored
    values = (width - left - right, 1, height, 1, offset % 2**32, 2, 0, 1)
    box = b"\x00\x00\x00\x28clap" + b"".join(value.to_bytes(4, "big") for value in values)
    end = entry + int.from_bytes(data[entry : entry + 4], "big")
    starts = [data.rindex(name, 0, entry) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")]
    for at in (*starts, entry):
        size = int.from_bytes(data[at : at + 4], "big") + len(box)
        data = data[:at] + size.to_bytes(4, "big") + data[at + 4 :]
    return data[:end] + box + data[end:]


def run_ffmpeg(*arguments: str, given: bytes | None = None) -> None:
    """Run ffmpeg with quiet options, and `given` as its input."""
    command = [find_ffmpeg(None), "-v", "error", "-y", *arguments]
    subprocess.run(command, input=given, check=True)
