"""Facts that a decoder of a video needs beyond those that a client sees; the probe finds them, and workers use them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureFacts:
    """Facts that a decoder of the video needs beyond VideoFacts.

    start_pts: time of the first frame that is shown, in units of time_base seconds. may_be_interlaced: any frame may be
    flagged as interlaced. rgb: the codec stores RGB. alpha: the picture may have transparent places. matrix, primaries,
    transfer: colour tags as ITU-T H.273 numbers (2 = unspecified). stream: number of the video stream in the file.
    stored_width, stored_height: size of most frames as decoded, before cropping. pixel_aspect: width of their pixels
    divided by the height. aspects: times in seconds from the first frame from which on the pixels have other such
    values. pixel_format: format of the frames, in ffmpeg's names. crop: columns and rows not to be shown (left, right,
    top, bottom). turn: ffmpeg filters that then make the picture upright, "" if it is.
    """

    start_pts: int | None
    time_base: str
    may_be_interlaced: bool
    rgb: bool
    alpha: bool
    matrix: int
    primaries: int
    transfer: int
    stream: int = 0
    stored_width: int = 0
    stored_height: int = 0
    pixel_aspect: str = "1"
    aspects: tuple[tuple[float, str], ...] = ()
    pixel_format: str = "yuv420p"
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    turn: str = ""
