"""Decode a still picture in a child process: `python -m worker.media.still PATH FORMAT`, RGB rows on standard output.

Orientation is honoured, transparency is flattened on white before anything is scaled (so no fringe), 16 bit and CMYK
become 8-bit RGB, and of an animation the first frame is used.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from model.arrays import U8
from worker.media.ffmpeg_process import Child

MEMORY_BYTES: Final = 4 * 1024**3
CPU_S: Final = 60


def read_still(path: Path, picture_format: str, width: int, height: int, check: Check) -> U8:
    """Return the upright picture (H, W, 3) uint8 RGB; raises InputError where it is not of the expected size."""
    rgb = np.empty((height, width, 3), np.uint8)
    arguments = [sys.executable, "-m", "worker.media.still", str(path.resolve()), picture_format]
    with Child(arguments, check, reads=True) as child:
        count = child.read_into(rgb.data.cast("B"))
        if count != rgb.nbytes or child.wait() != 0:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, "The picture is damaged or incomplete.")
    return rgb


def flatten(image: Image.Image) -> Image.Image:
    """Turn any picture into 8-bit RGB."""
    if image.mode.startswith("I"):  # 16 bit grey, which a plain conversion would clip
        grey = np.asarray(image).astype(np.float64) / 257.0
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return image.convert("RGB")


def main() -> None:
    """Write the picture named on the command line."""
    for kind, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))  # the first ends it otherwise than by a kill
    Image.MAX_IMAGE_PIXELS = None  # probing has checked the size against our own limit
    with Image.open(sys.argv[1], formats=[sys.argv[2].upper()]) as image:
        data = memoryview(flatten(ImageOps.exif_transpose(image)).tobytes())
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
