"""Mutations of files and requests: seeded, so that a number names a mutated file for ever."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

MAX_BYTES: Final = 2_000_000
HEADER_BYTES: Final = 512
TELLING: Final = (0, 1, 7, 8, 127, 128, 255, 2**15 - 1, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
EBML_IDS: Final = (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\x1f\x43\xb6\x75", b"\xa3")
Mutation = Callable[[bytearray, Sequence[bytes], random.Random], None]


def mutate(data: bytes, others: Sequence[bytes], seed: str) -> bytes:
    """Return the content with one to three mutations; `others` are contents whose parts may be spliced in."""
    chance = random.Random(seed)
    mutated = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if mutated:
            chance.choice(MUTATIONS)(mutated, others, chance)
    return bytes(mutated[:MAX_BYTES])


def flip_bits(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Flip up to 64 bits anywhere."""
    for _bit in range(chance.choice((1, 4, 16, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def change_header(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Set some bytes near the start."""
    for _byte in range(chance.choice((1, 2, 8))):
        data[chance.randrange(min(len(data), HEADER_BYTES))] = chance.choice(
            (0, 1, 127, 128, 255, chance.randrange(256))
        )


def set_number(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Write a telling number of 2, 4 or 8 bytes, near the start or near the end, where headers are."""
    size, letter = chance.choice(((2, "H"), (4, "I"), (8, "Q")))
    span = max(1, min(len(data) - size, 4096))
    at = chance.randrange(span) + chance.choice((0, max(0, len(data) - size - span)))
    value = chance.choice((*TELLING, chance.randrange(2**32))) & (256**size - 1)
    _write(data, at, struct.pack(chance.choice("<>") + letter, value))


def set_box_size(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Change the size of an MP4 box or a RIFF chunk: four bytes before or after four letters."""
    places = [at for at in range(4, len(data) - 8) if data[at : at + 4].isalpha() and data[at : at + 4].isascii()]
    if places:
        at, order = chance.choice(places), chance.choice((">", "<"))
        value = chance.choice((*TELLING, len(data), len(data) * 2))
        _write(data, at - 4 if order == ">" else at + 4, struct.pack(order + "I", value))


def set_ebml_size(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Change the size of an element of Matroska; in other files, of what looks like one."""
    name = chance.choice(EBML_IDS)
    at = data.find(name, chance.randrange(len(data)))
    if at >= 0:
        _write(data, at + len(name), chance.choice((b"\x80", b"\xff", b"\x01" + b"\xff" * 7, b"\x08\x00\x00\x00\x00")))


def truncate(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Cut the end off."""
    del data[chance.randrange(len(data)) :]


def splice(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    """Continue with a part of another file."""
    other = chance.choice(others)
    if other:
        data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


def remove(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Remove a stretch from the middle."""
    at = chance.randrange(len(data))
    del data[at : at + chance.choice((1, 4, 64, 4096))]


def repeat(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Repeat a stretch many times."""
    at, size = chance.randrange(len(data)), chance.choice((1, 8, 188, 4096))
    part = bytes(data[at : at + size])
    data[at:at] = part * chance.choice((1, 10, min(1000, MAX_BYTES // len(part))))


def blank(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Fill a stretch with one value or with noise."""
    at = chance.randrange(len(data))
    size = min(len(data) - at, chance.choice((4, 64, 1024)))
    data[at : at + size] = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))


def _write(data: bytearray, at: int, content: bytes) -> None:
    """Overwrite bytes in place; what would reach beyond the end is left out."""
    content = content[: max(0, len(data) - at)]
    data[at : at + len(content)] = content


MUTATIONS: Final[tuple[Mutation, ...]] = (
    *(flip_bits, change_header, set_number, set_number, set_box_size, set_ebml_size),
    *(truncate, splice, remove, repeat, blank),
)
