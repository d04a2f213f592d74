"""Turn frames and sound into one training clip, through the detect and crop that serving uses.

A clip is a folder: `crops.npy` uint8 (T, S, S, 3) RGB, `audio.npy` int16 at 16 kHz, `labels.npy` float32 (T, 2) the lip
aperture and the width of the mouth in template face units, `meta.json` with fps, identity, voice, split and source. It
is written beside its place and renamed, so a folder that exists is whole. Faces are looked for on a grid of frames and
interpolated between, as in serving; frames are held only until the next grid frame is known.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.framing import LOWER_FACE, Framing
from worker.crop import Transform, extract_rgb, face_transform
from worker.detect import Face, FaceDetector

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]
Grid = list[tuple[int, Transform]]

FPS = 25.0
UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER = 13, 14, 61, 291


class FacelessClipError(ValueError):
    """A grid frame of the clip shows no face, or there are no frames."""


def mouth_size(landmarks: Floats) -> tuple[float, float]:
    """Return lip aperture and mouth width of (468, 2) landmarks, in their unit."""
    gap = landmarks[LOWER_LIP] - landmarks[UPPER_LIP]
    across = landmarks[RIGHT_CORNER] - landmarks[LEFT_CORNER]
    return float(np.hypot(*gap)), float(np.hypot(*across))


def between(first: Transform, second: Transform, share: float) -> Transform:
    """Return the transform `share` (0..1) of the way from one to another of the same size."""
    return Transform(first.matrix + (second.matrix - first.matrix) * share, first.size)


class Preparer:
    """Write training clips; owns a face detector, opened on first use and never pickled."""

    def __init__(self, framing: Framing = LOWER_FACE, size: int = 128, grid: int = 5) -> None:
        self.framing, self.size, self.grid = framing, size, grid
        self._detector: FaceDetector | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_detector": None}

    def close(self) -> None:
        """Free the detector."""
        if self._detector is not None:
            self._detector.close()
            self._detector = None

    def faces(self, rgb: U8) -> list[Face]:
        """Return the faces of an RGB picture (H, W, 3) uint8."""
        if self._detector is None:
            self._detector = FaceDetector()
        return self._detector.detect(rgb)

    def landmarks(self, rgb: U8) -> list[F32]:
        """Return the mesh landmarks (468, 2) px of every face in an RGB picture, the tallest face first."""
        found = sorted(self.faces(rgb), key=lambda face: -face.height_px)
        return [face.landmarks for face in found]

    def write_clip(
        self,
        frames: Iterable[U8],
        samples: NDArray[np.int16],
        folder: Path,
        meta: Mapping[str, object],
        mouth_px: Floats | None = None,
    ) -> int:
        """Write one clip folder and return its number of frames.

        frames: RGB (H, W, 3) uint8 at 25 fps; samples: (n,) int16 at 16 kHz, cut or padded with silence to the frames;
        mouth_px: (T, 2) known aperture and width of the mouth in frame pixels, else both are measured in every frame.
        An existing folder is replaced. Raises FacelessClipError.
        """
        crops: list[U8] = []
        labels: list[tuple[float, float]] = []
        to_units = self.framing.side / self.size
        for index, (frame, transform) in enumerate(self._placed(frames)):
            crops.append(extract_rgb(frame, transform))
            sizes = mouth_px[index] if mouth_px is not None else self._measure(frame, transform)
            labels.append((float(sizes[0]) * transform.scale * to_units, float(sizes[1]) * transform.scale * to_units))
        if not crops:
            raise FacelessClipError("the clip has no frames")
        wanted = round(len(crops) / FPS * 16_000)
        audio = np.zeros(wanted, np.int16)
        audio[: min(wanted, len(samples))] = samples[:wanted]
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        np.save(partial / "crops.npy", np.stack(crops))
        np.save(partial / "audio.npy", audio)
        np.save(partial / "labels.npy", np.array(labels, np.float32))
        (partial / "meta.json").write_text(json.dumps({"fps": FPS, **meta}, ensure_ascii=False, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        return len(crops)

    def _measure(self, frame: U8, transform: Transform) -> tuple[float, float]:
        """Measure the mouth of the face that the transform shows; a frame whose face is lost counts as not a number."""
        centre = transform.invert(np.full((1, 2), self.size / 2))[0]
        found = self.faces(frame)
        if not found:
            return float("nan"), float("nan")
        return mouth_size(min(found, key=lambda face: float(np.hypot(*(face.center - centre)))).landmarks)

    def _placed(self, frames: Iterable[U8]) -> Iterator[tuple[U8, Transform]]:
        """Yield every frame with its transform, interpolated between grid frames (the last frame is one of them)."""
        waiting: list[U8] = []
        before: tuple[Face, Transform] | None = None
        for index, frame in enumerate(frames):
            waiting.append(frame)
            if index % self.grid == 0:
                after = self._find(frame, index, before)
                yield from self._spread(waiting, before or after, after)
                waiting, before = [], after
        if waiting and before is not None:
            yield from self._spread(waiting, before, self._find(waiting[-1], -1, before))

    @staticmethod
    def _spread(
        waiting: list[U8], before: tuple[Face, Transform], after: tuple[Face, Transform]
    ) -> Iterator[tuple[U8, Transform]]:
        for step, frame in enumerate(waiting, start=1):
            yield frame, between(before[1], after[1], step / len(waiting))

    def _find(self, frame: U8, index: int, before: tuple[Face, Transform] | None) -> tuple[Face, Transform]:
        """Find the face nearest to where it was, or the tallest one at first."""
        found = self.faces(frame)
        if not found:
            raise FacelessClipError(f"no face in {'the last frame' if index < 0 else f'frame {index}'}")
        if before is None:
            face = max(found, key=lambda one: one.height_px)
        else:
            place = before[0].center
            face = min(found, key=lambda one: float(np.hypot(*(one.center - place))))
        return face, face_transform(face.landmarks, self.framing, self.size)
