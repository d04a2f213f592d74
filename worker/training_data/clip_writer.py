"""Write frames and sound as one training clip, with the tracking and the crop of serving.

A clip is a folder. `crops.npy`: uint8 (T, S, S, 3) RGB. `audio.npy`: int16 at 16 kHz. `labels.npy`: float32 (T, 2), lip
aperture and width of the mouth in template face units. `meta.json`: fps, identity, voice, split and source. A puppet
also has `articulation.npy`, float32 (T, 7), and `mesh.npy`, float16 (T, 468, 2): the points of its mesh in the crop,
from -1 at the left and upper border to 1. The folder is written under a temporary name and renamed, so a folder under
its final name is complete. Frames are given as the decoder gives them (YUV 4:2:0) and pass through `Tracker` and
`extract`, so the network sees the same crops in training as in serving.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from model.arrays import F32, I16, U8
from model.corpus.clip_maker import Truth
from model.errors import ClipError
from model.face_points import POINTS
from model.framing import LOWER_FACE, Framing
from worker.faces.crop import Transform, extract, face_transform
from worker.faces.detect import FaceDetector, mouth_size
from worker.faces.frame_view import PlanesView
from worker.faces.subject import choose_subject
from worker.faces.track import FrameReader, Tracker
from worker.media.colour import ColourMatrix, planes_of_rgb
from worker.media.stage_timer import StageTimer

FPS = 25
SAMPLES_PER_FRAME = 16_000 // FPS
SPARSE_FRAMES = 3


class FacelessClipError(ClipError):
    """Clip without frames, or with a frame that shows no face; `frame` is the number of that frame if it is known."""

    def __init__(self, message: str, frame: int | None = None) -> None:
        super().__init__(message)
        self.frame = frame


class Preparer:
    """Writer of training clips with crops of `size` pixels; its face detector is opened on first use, never pickled."""

    def __init__(self, framing: Framing = LOWER_FACE, size: int = 128) -> None:
        self.framing, self.size = framing, size
        self._detector: FaceDetector | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_detector": None}

    def close(self) -> None:
        """Close the detector."""
        if self._detector is not None:
            self._detector.close()
            self._detector = None

    @property
    def detector(self) -> FaceDetector:
        """Return the detector, which is opened on first use."""
        if self._detector is None:
            detector = FaceDetector()
            detector.open()
            self._detector = detector
        return self._detector

    def landmarks(self, rgb: U8) -> list[F32]:
        """Return the landmarks (468, 2), in pixels, of each face in a picture (H, W, 3) RGB, the tallest first."""
        found = sorted(self.detector.detect(rgb), key=lambda face: -face.height_px)
        return [face.landmarks for face in found]

    def write_clip(
        self,
        frames: Iterable[U8],
        samples: I16,
        folder: Path,
        meta: Mapping[str, object],
        truth: Truth | None = None,
    ) -> int:
        """Write one clip from RGB frames (H, W, 3) uint8 with even H and W; see `write_planes`."""
        colour = ColourMatrix.BT709
        return self.write_planes([planes_of_rgb(rgb, colour) for rgb in frames], colour, samples, folder, meta, truth)

    def write_planes(
        self,
        frames: Sequence[U8],
        colour: ColourMatrix,
        samples: I16,
        folder: Path,
        meta: Mapping[str, object],
        truth: Truth | None = None,
    ) -> int:
        """Write one clip folder and return its number of frames.

        frames: I420 (H * 3/2, W) uint8 at 25 fps. samples: (n,) int16 at 16 kHz, cut or padded with silence to the
        length of the frames. truth: true mesh and articulation of a puppet; None: the mouth is measured in each frame.
        An existing folder is replaced. Raises FacelessClipError.
        """
        crops: list[U8] = []
        labels = np.zeros((len(frames), 2), np.float32)
        mesh = np.zeros((len(frames), POINTS, 2), np.float16)
        for index, transform in enumerate(self._transforms(frames, colour)):
            crops.append(extract(frames[index], transform, colour))
            mouth = mouth_size(truth.mesh_px[index]) if truth else self._measure(frames[index], colour, transform)
            labels[index] = np.asarray(mouth) * transform.scale * self.framing.side / self.size
            if truth:
                mesh[index] = transform.apply(truth.mesh_px[index]) * 2 / self.size - 1
        audio = np.zeros(len(crops) * SAMPLES_PER_FRAME, np.int16)
        audio[: len(samples)] = samples[: len(audio)]
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        np.save(partial / "crops.npy", np.stack(crops))
        np.save(partial / "audio.npy", audio)
        np.save(partial / "labels.npy", labels)
        if truth:
            np.save(partial / "articulation.npy", truth.articulation)
            np.save(partial / "mesh.npy", mesh)
        (partial / "meta.json").write_text(json.dumps({"fps": FPS, **meta}, ensure_ascii=False, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        return len(crops)

    def _transforms(self, frames: Sequence[U8], colour: ColourMatrix) -> Iterator[Transform]:
        """Yield the transform of the largest face in each frame. Raises FacelessClipError."""
        if not frames:
            raise FacelessClipError("the clip has no frames")
        sparse = frames[:: max(1, len(frames) // SPARSE_FRAMES)]
        chooser = choose_subject("largest", [self.detector.detect_in(PlanesView(one, colour)) for one in sparse])

        def read(first: int, last: int) -> Iterator[U8]:
            return iter(frames[first:last])

        reader = FrameReader(read, len(frames), Fraction(FPS), colour)
        tracker = Tracker(self.detector, chooser, reader, StageTimer())
        for tracked in tracker.track(0, len(frames)):
            if not tracked.faces:
                raise FacelessClipError(f"no face in frame {tracked.index}", tracked.index)
            yield face_transform(tracked.faces[0], self.framing, self.size)

    def _measure(self, frame: U8, colour: ColourMatrix, transform: Transform) -> tuple[float, float]:
        """Return aperture and width of the mouth of the face in the crop, in frame pixels. Raises FacelessClipError."""
        centre = transform.invert(np.full((1, 2), self.size / 2))[0]
        found = self.detector.detect_in(PlanesView(frame, colour))
        if not found:
            raise FacelessClipError("the face is lost between two frames that show it")
        return mouth_size(min(found, key=lambda face: float(np.hypot(*(face.center - centre)))).landmarks)
