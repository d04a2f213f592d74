"""The sample of the demo, the benchmark and the tests.

The face is scikit-image's astronaut (NASA, public domain). The voice was synthesised by the authors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image
from skimage import data

VOICE: Final = Path(__file__).with_name("voice.wav")


def portrait() -> Image.Image:
    """Return the portrait, 512x512 RGB; the face is about 107 px tall."""
    return Image.fromarray(data.astronaut())  # type: ignore[no-untyped-call]
