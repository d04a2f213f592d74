from __future__ import annotations

from pathlib import Path

import pytest

from app.core.probing.chain import BLOCK_BYTES, PartOfFile, find_parts

FLAC = b"fLaC\x00\x00\x00\x22"


def page(flag: int, size: int) -> bytes:
    """Return an Ogg page with these flags and so many bytes of data."""
    return b"OggS\0" + bytes([flag]) + bytes(20) + b"\x01" + bytes([size]) + bytes(size)


def riff(size: int) -> bytes:
    return b"RIFF" + (size + 4).to_bytes(4, "little") + b"WAVE" + bytes(size)


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("mp3", [b"any" * 9]),
        ("ogg", [page(2, 30) + page(0, 99)]),
        ("ogg", [page(2, 30) + page(2, 30) + page(0, 99)]),  # two streams that run beside each other
        ("ogg", [page(2, 30) + page(0, 99), page(2, 30) + page(0, 9), page(2, 30)]),
        ("ogg", [page(2, 30) + page(0, 99) + b"damage", page(2, 30)]),
        ("flac", [FLAC + bytes(99)]),
        ("flac", [FLAC + bytes(99), FLAC + bytes(5), FLAC + bytes(BLOCK_BYTES), FLAC]),
        *[("flac", [FLAC + bytes(BLOCK_BYTES - off), FLAC + bytes(9)]) for off in (7, 8, 12, 16, 20, 24, 25)],
        ("wav", [riff(100)]),
        ("wav", [riff(100), riff(8), riff(50)]),
        ("wav", [b"RIFF\xff\xff\xff\xffWAVE" + bytes(50)]),
        ("wav", [b"RF64" + bytes(50)]),
    ],
)
def test_files_that_follow_each_other_are_found(tmp_path: Path, name: str, pieces: list[bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(pieces))
    parts = find_parts(path, name)
    assert [end - start for start, end in parts] == [len(piece) for piece in pieces] or name == "ogg"
    assert len(parts) == len(pieces) and (parts[0].start, parts[-1].end) == (0, path.stat().st_size)


def test_a_file_larger_than_memory_is_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWAVE")
        file.truncate(4 * 1024**3)
    assert len(find_parts(path, "wav")) == 1


def test_a_part_is_read_as_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with PartOfFile(path, find_parts(path, "mp3")[0]._replace(start=3, end=7)) as part:
        assert (part.read(2), part.tell(), part.read(9), part.read(1)) == (b"34", 2, b"56", b"")
        assert (part.seek(1), part.read(1), part.seek(-1, 2), part.read(5)) == (1, b"4", 3, b"6")
