"""Recognition of a file's format from its first bytes, never from its name, so that the demuxer can be forced.

All known formats contain their media. Playlists, manifests and pages, which only name other files or addresses, are
recognised so that they can be refused. A media library that guesses the format would open the files that they name.
"""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 256 * 1024
PICTURE_FORMATS: Final = frozenset({"jpeg", "png", "webp", "bmp", "tiff", "avif"})
REFERENCE: Final = "reference"  # file that only names other files
TEXT: Final = "text"

MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"RF64", "wav"),
    (b"riff\x2e\x91\xcf\x11", "w64"),
    (b"#!AMR", "amr"),
    (b"caff", "caf"),
    (b".snd", "au"),
    (b"wvpk", "wv"),
    (b"\x0b\x77", "ac3"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpegvideo"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", "mxf"),
)
CHUNKED: Final = {
    (b"RIFF", b"AVI "): "avi",
    (b"RIFF", b"WAVE"): "wav",
    (b"RIFF", b"WEBP"): "webp",
    (b"FORM", b"AIFF"): "aiff",
    (b"FORM", b"AIFC"): "aiff",
}
MP4_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx"})
REFERENCE_MARKS: Final = re.compile(
    rb"\A(#extm3u|ffconcat|v=0\s|\[playlist\]|\[reference\]|#extinf)"
    rb"|\A(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!doctype[^>]*>\s*)*<(mpd|svg|smil|asx|playlist|smoothstreamingmedia)[\s:>]"
    rb"|\A[^\n]{0,2000}(://|\.(m3u8?|mp4|ts|mkv|mp3|wav)\s*$)[^<>]*\Z",
    re.DOTALL,
)
MPEG_BITRATES: Final = {  # (version 1?, layer) -> kbit/s by index
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES_HZ: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def sniff(head: bytes) -> str | None:
    """Return the format of a file, given its first HEAD_BYTES bytes.

    The name is ffmpeg's for sound and video; see PICTURE_FORMATS for pictures. REFERENCE and TEXT stand for files that
    are no media, None for an unknown format.
    """
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if (head[:4], head[8:12]) in CHUNKED:
        return CHUNKED[head[:4], head[8:12]]
    if head[4:8] in MP4_BOXES:
        return "avif" if head[4:12] in (b"ftypavif", b"ftypavis") else "mov"
    if head.startswith(b"BM") and head[6:10] == b"\x00\x00\x00\x00":
        return "bmp"
    if _is_transport_stream(head):
        return "mpegts"
    return _sniff_frames(head) or _sniff_text(head)


def _is_transport_stream(head: bytes) -> bool:
    """Return whether five sync bytes follow each other at the distance of one of the known packet sizes."""
    for size in (188, 192, 204):
        for start in range(min(size * 4, len(head))):
            sync = head[start : start + size * 5 : size]
            if len(sync) == 5 and sync == b"\x47" * 5:
                return True
    return False


def _sniff_frames(head: bytes) -> str | None:
    """Return the name of a stream of bare MPEG audio or ADTS frames, else None.

    Four frames must follow each other directly, because other bytes can look like one frame by chance.
    """
    start = 0
    if head[:3] == b"ID3" and len(head) > 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        if head[start : start + 4] == b"fLaC":
            return "flac"
        if start >= len(head) - 16:
            return "mp3"  # the ID3 tag fills the whole head; the demuxer decides on the rest
    for name, frame_length in (("mp3", _mpeg_frame_bytes), ("aac", _adts_frame_bytes)):
        for first in range(start, min(start + 4096, len(head))):
            at, frames = first, 0
            while frames < 4 and (length := frame_length(head, at)) > 0:
                at, frames = at + length, frames + 1
            if frames == 4:
                return name
    return None


def _mpeg_frame_bytes(head: bytes, at: int) -> int:
    """Return the length in bytes of the MPEG audio frame at an offset, 0 if there is none."""
    if at + 4 > len(head) or head[at] != 0xFF or head[at + 1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[at + 1] >> 3 & 3, 4 - (head[at + 1] >> 1 & 3)
    bitrate_index, rate_index = head[at + 2] >> 4, head[at + 2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return 0
    bits_per_s = MPEG_BITRATES[version == 3, layer][bitrate_index] * 1000
    rate_hz, padding = MPEG_RATES_HZ[version][rate_index], head[at + 2] >> 1 & 1
    if layer == 1:
        return (12 * bits_per_s // rate_hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits_per_s // rate_hz + padding


def _adts_frame_bytes(head: bytes, at: int) -> int:
    """Return the length in bytes of the ADTS frame at an offset, 0 if there is none."""
    if at + 7 > len(head) or head[at] != 0xFF or head[at + 1] & 0xF6 != 0xF0 or head[at + 2] >> 2 & 15 > 12:
        return 0
    length = (head[at + 3] & 3) << 11 | head[at + 4] << 3 | head[at + 5] >> 5
    return length if length > 7 else 0


def _sniff_text(head: bytes) -> str | None:
    text = head[:8192].lstrip(b"\xef\xbb\xbf").lstrip()
    if not text or b"\x00" in text or any(byte < 9 or 13 < byte < 32 for byte in text):
        return None
    if REFERENCE_MARKS.search(text.lower()):
        return REFERENCE
    try:
        text[:-3].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return None
    return TEXT
