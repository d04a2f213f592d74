"""Conversion of a video's colours to those of the pipeline, as ffmpeg filters that follow the file's colour tags.

The frames of the pipeline are 8-bit Y'CbCr of limited range, opaque, with the primaries of an SDR display.

- Video of BT.601 or BT.709 keeps its values and its tags; only its range and an unusual matrix are converted.
- Wider primaries (BT.2020, P3) are converted in linear light to BT.709. The curve of SDR video is kept.
- HDR (PQ, HLG) becomes SDR: 203 cd/m2, the reference white of ITU-R BT.2408, becomes white. If the video is brighter
  (`worker.media.hdr_peak`), its upper range is compressed, the more the brighter it is.
- Transparent places become white, as they do in stills.

Numbers of primaries, transfers and matrices are those of ITU-T H.273.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from app.core.errors import ErrorCode, InputError
from app.core.probing.probe import PictureFacts
from app.core.program_output import program_output
from worker.media.colour import ColourMatrix

BT709, UNSPECIFIED, BT2020 = 1, 2, 9
PQ, HLG = 16, 18
DISPLAY_PRIMARIES: Final = (1, 5, 6, 7, 22)  # BT.709 and those of BT.601, which differ little
FOREIGN_PRIMARIES: Final = (4, 8, 9, 10, 11, 12)  # NTSC 1953, film, BT.2020, XYZ, P3 of cinemas, P3 of displays
VIDEO_TRANSFERS: Final = (1, 4, 5, 6, 7, 11, 13)  # curves of SDR video and computer pictures
BT2020_TRANSFERS: Final = (14, 15)  # the curve of BT.709 under other numbers
FOREIGN_TRANSFERS: Final = (8, 9, 10, 16, 18)  # linear, logarithmic, HDR
SCALE_MATRICES: Final = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
ICTCP: Final = 14
ZSCALE_MATRICES: Final = (8, 10, ICTCP)  # YCgCo, BT.2020 with constant luminance, ICtCp: the filter scale lacks them
WIDE_MATRICES: Final = (9, 10, ICTCP)
KEPT_MATRICES: Final = {1: ColourMatrix.BT709, 5: ColourMatrix.BT601, 6: ColourMatrix.BT601}
HDR_NAMES: Final = {PQ: "PQ", HLG: "HLG"}
WHITE_NITS: Final = 203
LEAST_PEAK: Final = 1.1  # in reference whites; noise around white needs no compression
# Below the knee, in reference whites, light is kept: skin in usual HDR, which peaks at 1000 cd/m2, keeps its tones.
KNEES: Final = ((1000 / WHITE_NITS, 0.85), (10_000 / WHITE_NITS, 0.3))  # (peak, knee)
CONVERTERS: Final = ("zscale", "tonemap")  # filters that not every ffmpeg has
ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders ignore the alpha of WebM
EXACT: Final = "flags=bicubic+accurate_rnd+full_chroma_int"


@dataclass(frozen=True)
class ColourConversion:
    """Way from the colours of a file to those of the frames.

    colour: matrix of the frames. tags: colour tags of the frames, for the encoder. matrix: that of the file. primaries,
    transfer: those of the file, if the filter zscale has to convert them; primaries None if the filter scale is enough.
    peak: brightest light of an HDR video in reference whites.
    """

    colour: ColourMatrix
    tags: dict[str, int]
    matrix: int = BT709
    primaries: int | None = None
    transfer: int = BT709
    peak: float = 1.0

    @property
    def is_hdr(self) -> bool:
        """Return whether the file is HDR."""
        return self.primaries is not None and self.transfer in HDR_NAMES


def untagged(colour: ColourMatrix) -> ColourConversion:
    """Return the conversion of a picture that says nothing of its colours, or of which they are already converted."""
    return ColourConversion(colour, _tags(colour.tag, UNSPECIFIED, UNSPECIFIED), colour.tag)


def conversion_of(picture: PictureFacts, height: int) -> ColourConversion:
    """Return the conversion for a video with these facts and this height in pixels.

    Of tags that are missing, BT.2020 implies BT.2020, as in players; the others are taken for an SDR display.
    """
    primaries, transfer, matrix = _completed(picture, height)
    if primaries in FOREIGN_PRIMARIES or transfer in FOREIGN_TRANSFERS or matrix in ZSCALE_MATRICES:
        kept = transfer if transfer in VIDEO_TRANSFERS else BT709
        primaries = BT709 if primaries == UNSPECIFIED else primaries
        transfer = transfer if transfer in (*VIDEO_TRANSFERS, *FOREIGN_TRANSFERS) else BT709
        return ColourConversion(ColourMatrix.BT709, _tags(BT709, BT709, kept), matrix, primaries, transfer)
    colour = KEPT_MATRICES.get(matrix, ColourMatrix.for_height(height))
    # an untagged input gives an untagged output, so that every player shows both alike
    is_kept = picture.matrix in (*KEPT_MATRICES, UNSPECIFIED) and not picture.rgb
    return ColourConversion(colour, _tags(picture.matrix if is_kept else colour.tag, primaries, transfer), matrix)


def _completed(picture: PictureFacts, height: int) -> tuple[int, int, int]:
    """Return primaries, transfer and matrix; unknown numbers count as unspecified, the matrix is always specified."""
    primaries, transfer, matrix = picture.primaries, picture.transfer, picture.matrix
    if primaries not in (*DISPLAY_PRIMARIES, *FOREIGN_PRIMARIES):
        primaries = UNSPECIFIED
    if transfer not in (*VIDEO_TRANSFERS, *BT2020_TRANSFERS, *FOREIGN_TRANSFERS):
        transfer = UNSPECIFIED
    is_wide = transfer in HDR_NAMES or (matrix in WIDE_MATRICES and not picture.rgb)
    if primaries == UNSPECIFIED and is_wide:
        primaries = BT2020
    if (
        picture.rgb
        or (matrix == ICTCP and transfer not in HDR_NAMES)
        or matrix not in (*SCALE_MATRICES, *ZSCALE_MATRICES)
    ):
        matrix = BT2020 if primaries == BT2020 and not picture.rgb else ColourMatrix.for_height(height).tag
    return primaries, transfer, matrix


def colour_filters(conversion: ColourConversion, picture: PictureFacts, width: int, height: int) -> list[str]:
    """Return the filters that give opaque frames of this size in the colours of the pipeline, in yuv420p.

    Frames that already fit stay as they are.
    """
    steps = []
    is_rgb, target = picture.rgb, conversion.colour.filter_name
    matrix = SCALE_MATRICES.get(conversion.matrix, target)
    if picture.alpha:
        # c over white = 1 - a (1 - c); before the size changes, so that no fringe appears. In 8 bit, because the filter
        # premultiply of ffmpeg 9 overflows with more.
        steps.append(f"scale={EXACT}" if is_rgb else f"scale={EXACT}:in_color_matrix={matrix}")
        steps.append("format=gbrap,negate,premultiply=inplace=1,negate,format=gbrp")
        is_rgb = True
    if conversion.primaries is not None:
        steps += _zscale_filters(conversion, is_rgb)
        is_rgb, matrix = False, target
    size, tags = f"scale={width}:{height}:{EXACT}", f"out_color_matrix={target}:out_range=tv"
    return [*steps, f"{size}:{tags}" if is_rgb else f"{size}:in_color_matrix={matrix}:{tags}"]


def check_tools(conversion: ColourConversion, decoder: str | None, ffmpeg_path: str) -> tuple[str, ...]:
    """Return warnings on what the colours of the frames lose.

    decoder: the decoder that transparency needs, None if any. Raises InputError if this ffmpeg cannot convert them.
    """
    warnings = []
    if conversion.primaries is not None and not known_filters(ffmpeg_path).issuperset(CONVERTERS):
        message = (
            "The video has wide or HDR colours, which the ffmpeg of this service cannot convert (no zscale filter)."
        )
        raise InputError(ErrorCode.VIDEO_UNREADABLE, message)
    if conversion.is_hdr:
        warnings.append(
            f"The video is HDR ({HDR_NAMES[conversion.transfer]}); the output is SDR, with the reference white of "
            f"{WHITE_NITS} cd/m2 as white."
        )
    if decoder is not None and decoder not in known_decoders(ffmpeg_path):
        warnings.append("The transparency of the video was ignored: the ffmpeg of this service cannot decode it.")
    return tuple(warnings)


@lru_cache(maxsize=8)
def known_filters(ffmpeg_path: str) -> frozenset[str]:
    """Return the names of the filters of an ffmpeg program."""
    return _listed(ffmpeg_path, "-filters")


@lru_cache(maxsize=8)
def known_decoders(ffmpeg_path: str) -> frozenset[str]:
    """Return the names of the decoders of an ffmpeg program."""
    return _listed(ffmpeg_path, "-decoders")


def _listed(ffmpeg_path: str, what: str) -> frozenset[str]:
    output = program_output(ffmpeg_path, "-hide_banner", "-v", "error", what)
    return frozenset(words[1] for words in map(str.split, output.splitlines()) if len(words) > 1)


def _zscale_filters(conversion: ColourConversion, is_rgb: bool) -> list[str]:
    source = source_colours(conversion, is_rgb)
    target = f"t={conversion.tags['color_trc']}:m={BT709}:r=limited"
    if not conversion.is_hdr:
        return [f"zscale={source}:p={BT709}:{target}", "format=yuv420p"]
    steps = [f"zscale={source}:t=linear:npl={WHITE_NITS},format=gbrpf32le"]
    if conversion.peak > LEAST_PEAK:
        steps.append(f"tonemap=mobius:param={_knee(conversion.peak):.4f}:peak={conversion.peak:.4f}:desat=0")
    return [*steps, f"zscale=p={BT709}:{target},format=yuv420p"]


def source_colours(conversion: ColourConversion, is_rgb: bool) -> str:
    """Return the options of zscale that name the colours of the file."""
    return f"pin={conversion.primaries}:tin={conversion.transfer}" + ("" if is_rgb else f":min={conversion.matrix}")


def _knee(peak: float) -> float:
    (usual, high_knee), (highest, low_knee) = KNEES
    share = math.log(max(peak, usual) / usual) / math.log(highest / usual)
    return high_knee + min(share, 1.0) * (low_knee - high_knee)


def _tags(matrix: int, primaries: int, transfer: int) -> dict[str, int]:
    return {"colorspace": matrix, "color_primaries": primaries, "color_trc": transfer}
