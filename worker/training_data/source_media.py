"""Open the original files of a corpus as the files of a job are opened: in child processes, under limits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from app.core.checks import never_stop
from app.core.errors import LipSyncError
from app.core.files import file_sha256
from app.core.jobs import AudioFacts
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from model.arrays import I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.errors import MaterialError
from worker.faces.detect import DetectorPool
from worker.media.colour import rgb_of_planes, split_planes
from worker.media.decode import decode, open_source
from worker.media.still import read_still
from worker.media.voice import read_voice

Box = tuple[int, int, int, int]
FACE_MARGIN: Final = 2.2  # side of the square around a face, in sides of the box of its landmarks
G722_BYTES_PER_S: Final = 8000


class FaceCutter:
    """Cutter of faces out of original pictures and videos; it keeps its face detector open for the next file.

    limits: on the files. ffmpeg: path of the program, if it is set.
    """

    def __init__(self, limits: Limits | None = None, ffmpeg: str | None = None) -> None:
        self._detectors, self._limits, self._ffmpeg = DetectorPool(), limits or Limits(), ffmpeg

    def cut_face(self, path: Path, frame: int | None, box: Box | None) -> U8:
        """Return a part of a picture, or of a frame of a video, as (H, W, 3) uint8 RGB.

        frame: number of the frame; None for a picture. box: x, y, width and height in pixels; None: a square around the
        tallest face. Raises MaterialError.
        """
        try:
            rgb = self._picture(path) if frame is None else self._frame(path, frame)
        except LipSyncError as error:
            raise MaterialError(error.message) from None
        x, y, width, height = self._around_face(rgb) if box is None else box
        if x < 0 or y < 0 or x + width > rgb.shape[1] or y + height > rgb.shape[0]:
            raise MaterialError(
                f"the picture is {rgb.shape[1]}x{rgb.shape[0]} pixels, too small for what is cut out of it"
            )
        return np.ascontiguousarray(rgb[y : y + height, x : x + width])

    def _around_face(self, rgb: U8) -> Box:
        """Return the square around the tallest face. Raises MaterialError if there is none."""
        with self._detectors.borrow() as detector:
            faces = detector.detect(rgb)
        if not faces:
            raise MaterialError("no face was found in it")
        left, top, right, bottom = max(faces, key=lambda face: face.height_px).box
        half = FACE_MARGIN * max(right - left, bottom - top) / 2
        center_x, center_y = (left + right) / 2, (top + bottom) / 2
        x, y = max(0, round(center_x - half)), max(0, round(center_y - half))
        return x, y, min(rgb.shape[1], round(center_x + half)) - x, min(rgb.shape[0], round(center_y + half)) - y

    def _picture(self, path: Path) -> U8:
        facts = probe_video(path, self._limits)
        if facts.kind != "image":
            raise MaterialError("it is a video, but a picture was expected")
        return read_still(path, facts.format, facts.width, facts.height, never_stop).rgb

    def _frame(self, path: Path, number: int) -> U8:
        source = open_source(path, probe_video(path, self._limits), find_ffmpeg(self._ffmpeg), never_stop)
        if number >= source.frames:
            raise MaterialError(f"the video has {source.frames} frames, not {number + 1}")
        y, u, v = split_planes(next(decode(source, number, number + 1, never_stop)))
        whole = [
            np.asarray(cv2.resize(plane, y.shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8) for plane in (u, v)
        ]
        return rgb_of_planes(y, whole[0], whole[1], source.colour)[: source.facts.height, : source.facts.width]


def read_sound(path: Path, limits: Limits | None = None) -> I16:
    """Return the sound of a file as (n,) int16 at 16 kHz. Raises MaterialError."""
    try:
        facts = _g722_facts(path) if path.suffix == ".g722" else probe_audio(path, limits or Limits())
        with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
            return np.array(read_voice(path, facts, Path(folder), never_stop))
    except LipSyncError as error:
        raise MaterialError(error.message) from None


def _g722_facts(path: Path) -> AudioFacts:
    """Return the facts of a raw G.722 file, which has no header: 64 kbit/s, one channel at 16 kHz."""
    size = path.stat().st_size
    return AudioFacts(
        format="g722",
        codec="adpcm_g722",
        sample_rate_hz=SAMPLE_RATE_HZ,
        channels=1,
        duration_s=size / G722_BYTES_PER_S,
        bytes=size,
        sha256=file_sha256(path),
    )
