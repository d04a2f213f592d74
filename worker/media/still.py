"""Decode a still picture in a child process: `python -m worker.media.still PATH FORMAT`, RGB rows on standard output.

The orientation tag is applied. Transparency is flattened on white before anything is scaled, so no fringe appears.
16 bit and CMYK become 8-bit RGB. Only the first frame of an animation is used.
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
from worker.media.media_process import MediaProcess

MEMORY_BYTES: Final = 4 * 1024**3
CPU_S: Final = 60


def read_still(path: Path, picture_format: str, width: int, height: int, check: Check) -> U8:
    """Return the upright picture (H, W, 3) uint8 RGB; raises InputError when its size is not the expected one."""
    rgb = np.empty((height, width, 3), np.uint8)
    arguments = [sys.executable, "-m", "worker.media.still", str(path.resolve()), picture_format]
    with MediaProcess(arguments, check, reads=True, opens=[path]) as process:
        count = process.read_into(rgb.data.cast("B"))
        if count != rgb.nbytes or process.wait() != 0:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, "The picture is damaged or incomplete.")
    return rgb


def flatten(image: Image.Image) -> Image.Image:
    """Convert a picture of any mode to 8-bit RGB."""
    if image.mode.startswith("I"):  # 16 bit grey, which `convert` would clip
        grey = np.asarray(image).astype(np.float64) / 257.0
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return image.convert("RGB")


def main() -> None:
    """Decode the picture that the command line names, and write its rows to standard output."""
    for kind, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))  # the first limit sends SIGXCPU, the second SIGKILL
    Image.MAX_IMAGE_PIXELS = None  # the size was already checked when the file was probed
    with Image.open(sys.argv[1], formats=[sys.argv[2].upper()]) as image:
        data = memoryview(flatten(ImageOps.exif_transpose(image)).tobytes())
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
