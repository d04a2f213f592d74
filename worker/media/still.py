"""Decode a still picture in a child process: `python -m worker.media.still PATH FORMAT`.

The child writes the RGB rows to standard output, and then one byte that tells whether the colour profile was of use.
The orientation tag is applied. A colour profile is applied, so that the rows are sRGB. Transparency is flattened on
white before anything is scaled, so no fringe appears. 16 bit and CMYK become 8-bit RGB. Only the first frame of an
animation is used.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageCms, ImageOps

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from model.arrays import U8
from worker.media.media_process import MediaProcess

MEMORY_BYTES: Final = 4 * 1024**3
CPU_S: Final = 60
NO_MEMORY: Final = 3  # exit status
PROFILE_USED, PROFILE_FAILED = b"\0", b"\1"
PROFILE_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # mode by the profile's colour space
ALPHA_MODES: Final = ("RGBA", "LA", "PA", "La", "RGBa")


@dataclass(frozen=True)
class Still:
    """Upright still picture, (H, W, 3) uint8 sRGB, and warnings on its colours."""

    rgb: U8
    warnings: tuple[str, ...] = ()


def read_still(path: Path, picture_format: str, width: int, height: int, check: Check) -> Still:
    """Return the upright picture; raises InputError when its size is not the expected one."""
    rgb, profile = np.empty((height, width, 3), np.uint8), bytearray(1)
    arguments = [sys.executable, "-m", "worker.media.still", str(path.resolve()), picture_format]
    with MediaProcess(arguments, check, reads=True, opens=[path]) as process:
        count = process.read_into(rgb.data.cast("B")) + process.read_into(memoryview(profile))
        status = process.wait()
    if status == NO_MEMORY:
        message = f"The picture needs more than {MEMORY_BYTES // 1024**3} GiB of memory to be decoded."
        raise InputError(ErrorCode.RESOLUTION_EXCEEDED, message)
    if status == -signal.SIGXCPU:
        raise InputError(ErrorCode.VIDEO_UNREADABLE, "The picture takes too long to be decoded.")
    if count != rgb.nbytes + 1 or status != 0:
        raise InputError(ErrorCode.VIDEO_UNREADABLE, "The picture is damaged or incomplete.")
    if profile == PROFILE_FAILED:
        return Still(rgb, ("The colour profile of the picture cannot be used; its colours were taken as sRGB.",))
    return Still(rgb)


def flatten(image: Image.Image) -> tuple[Image.Image, bool]:
    """Convert a picture of any mode to 8-bit sRGB on white; return it and whether its profile, if any, was of use."""
    if image.mode.startswith("I"):  # 16 bit grey, which `convert` would clip
        grey = np.asarray(image).astype(np.float64) / 257.0
        eight = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
        eight.info = image.info
        image = eight
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        layers = image.convert("LA" if image.mode == "La" else "RGBA") if image.mode not in ("RGBA", "LA") else image
        alpha = layers.getchannel("A")
        image = layers.convert("L" if layers.mode == "LA" else "RGB")
    rgb, is_used = _srgb(image, profile)
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return rgb, is_used


def _srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """Convert an opaque picture to sRGB through its profile; return it and whether the profile, if any, was of use."""
    if image.mode == "LAB" and not profile:
        return _through(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB"), True
    if not profile:
        return image.convert("RGB"), True
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = PROFILE_MODES[source.profile.xcolor_space.strip()]
        if image.mode != mode and not (mode == "RGB" and image.mode in ("L", "P", "1", "YCbCr", "HSV")):
            return image.convert("RGB"), False  # a profile of another kind of picture
        if (ImageCms.getProfileDescription(source) or "").startswith("sRGB"):
            return image.convert("RGB"), True
        return _through(image.convert(mode), source, mode), True
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError):
        return image.convert("RGB"), False


def _through(image: Image.Image, profile: ImageCms.ImageCmsProfile, mode: str) -> Image.Image:
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # only if it was asked to work in place
        raise ValueError("no picture")
    return converted


def main() -> None:
    """Decode the picture that the command line names, and write its rows to standard output."""
    for kind, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))  # the first limit sends SIGXCPU, the second SIGKILL
    Image.MAX_IMAGE_PIXELS = None  # the size was already checked when the file was probed
    try:
        with Image.open(sys.argv[1], formats=[sys.argv[2].upper()]) as image:
            rgb, is_used = flatten(ImageOps.exif_transpose(image))
            rows = rgb.tobytes()
    except MemoryError:
        sys.exit(NO_MEMORY)
    data = memoryview(rows + (PROFILE_USED if is_used else PROFILE_FAILED))
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
