from __future__ import annotations

import random

import pytest

from app.core.probing.sniff import REFERENCE, TEXT, sniff

ADTS = b"\xff\xf1\x60\x40\x02\x1f\xfc" + bytes(9)  # a frame of 16 bytes
MP3 = b"\xff\xfb\x90\x00" + bytes(413)  # 128 kbit/s at 44.1 kHz: 417 bytes


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x00\x00\x00\x18ftypisom", "mov"),
        (b"\x00\x00\x00\x18ftypavif", "avif"),
        (b"\x00\x00\x00\x08moov", "mov"),
        (b"\x1a\x45\xdf\xa3....", "matroska"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"),
        (b"FORM\x00\x00\x00\x00AIFFCOMM", "aiff"),
        ((b"\x47" + bytes(187)) * 6, "mpegts"),
        (b"junk" + (b"\x47" + bytes(187)) * 6, "mpegts"),
        (ADTS * 5, "aac"),
        (MP3 * 5, "mp3"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x05hello" + MP3 * 5, "mp3"),
        (MP3 * 3, None),  # chance makes three
        (b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n", REFERENCE),
        (b"\xef\xbb\xbf  #EXTM3U\n", REFERENCE),
        (b"ffconcat version 1.0\nfile x.mp4\n", REFERENCE),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\n", REFERENCE),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', REFERENCE),
        (b'<!-- hello -->\n<svg xmlns="http://www.w3.org/2000/svg">', REFERENCE),
        (b"http://127.0.0.1:9/a.mp4\n", REFERENCE),
        (b"/etc/hostname.ts\n", REFERENCE),
        (b"<!doctype html><html><body>404</body></html>", TEXT),
        (b"Just words, nothing else.", TEXT),
        (b"PK\x03\x04\x14\x00", None),
        (b"\x00" * 500, None),
    ],
)
def test_formats_are_known_by_their_content(head: bytes, name: str | None) -> None:
    assert sniff(head) == name


def test_random_bytes_have_no_format() -> None:
    source = random.Random(7)
    assert all(sniff(source.randbytes(30_000)) is None for _ in range(20))


@pytest.mark.parametrize("length", [0, *range(4, 16)])
def test_short_files_have_no_format(length: int) -> None:
    assert sniff(b"\xff\xfb\x90\x00\xff\xf1\x60\x40\x02\x1f\xfc\x00\x00\x00\x00\x00"[:length]) is None
