"""What the picture of a film is: which track holds it, and how its stored frames become upright with square pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.sidedata.sidedata import Type as SideDataType

from app.core.errors import ErrorCode, InputError
from app.core.probing.clock import CLOCK_FORMATS
from app.core.probing.container_facts import Crop, describe_container
from app.core.probing.demux import first_frame, open_media, picture_streams
from app.core.probing.limits import Limits

MIN_SIDE_PX: Final = 32  # a smaller picture cannot hold a face of 24 px
MAX_PIXEL_ASPECT: Final = 8  # a file that claims more is not believed
PROGRESSIVE_CODECS: Final = frozenset({"vp8", "vp9", "av1"})
HALF_TURN: Final = "hflip,vflip"
TURNS: Final = {  # signs of the display matrix's first four values, (a, b, c, d) of x' = a x + c y, y' = b x + d y
    (1, 0, 0, 1): "",
    (-1, 0, 0, -1): HALF_TURN,
    (-1, 0, 0, 1): "hflip",
    (1, 0, 0, -1): "vflip",
    (0, 1, -1, 0): "transpose=clock",
    (0, -1, 1, 0): "transpose=cclock",
    (0, 1, 1, 0): "transpose=cclock_flip",
    (0, -1, -1, 0): "transpose=clock_flip",
}
ROTATIONS: Final = {  # degrees clockwise; a mirrored picture counts as its nearest turn without a mirror
    "": 0,
    "hflip": 0,
    "vflip": 180,
    HALF_TURN: 180,
    "transpose=clock": 90,
    "transpose=clock_flip": 90,
    "transpose=cclock": 270,
    "transpose=cclock_flip": 270,
}


@dataclass(frozen=True)
class StoredPicture:
    """Shape of a decoded frame: size in pixels, width of a pixel divided by its height, format in ffmpeg's names."""

    width: int
    height: int
    pixel_aspect: Fraction
    pixel_format: str

    @classmethod
    def of(cls, frame: av.VideoFrame, stream: av.VideoStream) -> StoredPicture:
        """Return the shape of a frame that was just decoded from a stream."""
        named, coded = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
        if stream.container.format.name in CLOCK_FORMATS:  # their containers name none; it would be that of the start
            named = None
        aspect = Fraction(named or coded or 1)
        believed = 1 / Fraction(MAX_PIXEL_ASPECT) <= aspect <= MAX_PIXEL_ASPECT
        # the old names yuvj420p and so on only say that the range is full
        name = frame.format.name.replace("yuvj", "yuv")
        return cls(frame.width, frame.height, aspect if believed else Fraction(1), name)


@dataclass(frozen=True)
class FilmPicture:
    """The chosen video track, its first frame, the shape of its frames, and what the container says of them."""

    stream: int
    tracks: int
    codec: str
    stored: StoredPicture
    crop: Crop
    turn: str
    start_pts: int | None
    time_base: Fraction
    rgb: bool
    alpha: bool
    matrix: int
    primaries: int
    transfer: int

    def shown_size(self) -> tuple[int, int]:
        """Return width and height of the picture when cropped, upright and with square pixels."""
        width, height = self.stored.width - self.crop.columns, self.stored.height - self.crop.rows
        aspect = self.stored.pixel_aspect
        # the direction with finer pixels keeps its size, the other one is stretched to make pixels square
        width, height = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        return (height, width) if self.rotation in (90, 270) else (width, height)

    @property
    def rotation(self) -> int:
        """Return the degrees clockwise that make the picture upright."""
        return ROTATIONS[self.turn]

    def facts(self) -> dict[str, Any]:
        """Return the fields of PictureFacts."""
        crop, stored = self.crop, self.stored
        return {
            "start_pts": self.start_pts,
            "time_base": str(self.time_base),
            "may_be_interlaced": self.codec not in PROGRESSIVE_CODECS and stored.pixel_format.startswith("yuv"),
            "rgb": self.rgb,
            "alpha": self.alpha,
            "matrix": self.matrix,
            "primaries": self.primaries,
            "transfer": self.transfer,
            "stream": self.stream,
            "stored_width": stored.width,
            "stored_height": stored.height,
            "pixel_aspect": str(stored.pixel_aspect),
            "aspects": [],
            "pixel_format": stored.pixel_format,
            "crop": (crop.left, crop.right, crop.top, crop.bottom),
            "turn": self.turn,
        }


def find_picture(path: Path, name: str, limits: Limits) -> FilmPicture:
    """Return the picture of the first video track that can be decoded, the default track first; raises InputError."""
    with open_media(path, name, ErrorCode.VIDEO_UNREADABLE) as container:
        numbers = [stream.index for stream in picture_streams(container)]
        described = describe_container(container)
    if described.has_tiles:
        message = "The photo is stored as a grid of tiles (HEIC), which is not supported; send it as JPEG or PNG."
        raise InputError(ErrorCode.VIDEO_UNREADABLE, message)
    failure: InputError | None = None
    for number in numbers:
        try:
            return _picture_of(path, name, limits, number, described.crops.get(number, Crop()), len(numbers))
        except InputError as error:
            failure = failure or error
    raise failure or InputError(ErrorCode.VIDEO_UNREADABLE, "The video cannot be decoded.")


def _picture_of(path: Path, name: str, limits: Limits, number: int, crop: Crop, tracks: int) -> FilmPicture:
    with open_media(path, name, ErrorCode.VIDEO_UNREADABLE) as container:
        stream = container.streams[number]
        if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, "The video is stored in a way that cannot be decoded.")
        context = stream.codec_context
        if context.width * context.height > limits.max_pixels:
            check_size(context.width, context.height, limits)
        frame = first_frame(container, stream)
        stored = StoredPicture.of(frame, stream)
        is_sane = crop.columns < stored.width and crop.rows < stored.height
        return FilmPicture(
            number,
            tracks,
            context.codec.canonical_name,
            stored,
            crop if is_sane else Crop(),
            turn_of(frame),
            frame.pts,
            Fraction(stream.time_base or 1),
            bool(frame.format.is_rgb or frame.format.has_palette),
            _has_alpha(stream, frame),
            int(frame.colorspace),
            int(frame.color_primaries),
            int(frame.color_trc),
        )


def _has_alpha(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Return whether the frames have an alpha channel; that of VP8 and VP9 lies beside the stream (`alpha_mode`)."""
    beside = {name.lower(): value for name, value in stream.metadata.items()}.get("alpha_mode") == "1"
    kept = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    return bool(kept or beside)


def turn_of(frame: av.VideoFrame) -> str:
    """Return the ffmpeg filters that make a frame upright, as its display matrix says; odd angles are rounded."""
    found = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]  # its stubs lack the key
    data = b"" if found is None else bytes(found)
    if len(data) != struct.calcsize("<9i"):
        return ""
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    is_straight = abs(a) + abs(d) >= abs(b) + abs(c)
    signs = (_sign(a), 0, 0, _sign(d)) if is_straight else (0, _sign(b), _sign(c), 0)
    return TURNS.get(signs, "")


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raise InputError if a picture is too large to be decoded, or too small for a face."""
    size = f"The picture is {width}x{height} pixels"
    if width * height > limits.max_pixels:
        message = f"{size}; at most {limits.max_pixels} pixels are allowed."
        raise InputError(ErrorCode.RESOLUTION_EXCEEDED, message)
    if min(width, height) < MIN_SIDE_PX:
        raise InputError(ErrorCode.NO_FACE_DETECTED, f"{size}: too small to hold a face.")


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
