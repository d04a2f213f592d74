"""Colours of stills with ICC profiles, which are built here, against the formulas of their colour spaces."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.core.checks import never_stop
from tests.worker.media.test_colour_conversion import BT709, D65, P3, patches, to_xyz, xyz
from worker.media.still import flatten, read_still

ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
D50 = (0.3457, 0.3585)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """Return an ICC profile of version 2.4 with these tags and those that every profile needs."""
    text = b"test\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": described, b"cprt": b"text\0\0\0\0none\0", b"wtpt": b"XYZ \0\0\0\0" + fixed(*xyz(D50))} | tags
    offset, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(data), b"\0\0\0\0", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*xyz(D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def rgb_profile(primaries: tuple[tuple[float, float], ...], gamma: float) -> bytes:
    gains = (BRADFORD @ xyz(D50)) / (BRADFORD @ xyz(D65))
    columns = np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD @ to_xyz(primaries)
    tags = {name: b"XYZ \0\0\0\0" + fixed(*columns[:, at]) for at, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return profile(b"RGB ", tags | {name: curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")})


def cmyk_profile() -> bytes:
    """Return a CMYK profile in which black ink alone counts: L = 100 (1 - K)."""
    table = bytes(value for ink in range(16) for value in (0 if ink % 2 else 255, 128, 128))
    straight = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + straight * 4 + table + straight * 3
    return profile(b"CMYK", {b"A2B0": lut}, b"Lab ", b"prtr")


def srgb_of_light(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.asarray(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def reopened(image: Image.Image, name: str, icc: bytes) -> Image.Image:
    file = io.BytesIO()
    image.save(file, name, icc_profile=icc, **({"lossless": True} if name == "WEBP" else {}))
    return Image.open(file)


@pytest.mark.parametrize("container", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("primaries", "gamma"), [(ADOBE, 563 / 256), (P3, 2.2)])
def test_rgb_profiles_are_applied(container: str, primaries: tuple[tuple[float, float], ...], gamma: float) -> None:
    stored = patches().astype(np.uint8)
    image = reopened(Image.fromarray(stored), container, rgb_profile(primaries, gamma))
    shown, is_used = flatten(image)
    light = (stored / 255) ** (round(gamma * 256) / 256) @ (np.linalg.inv(to_xyz(BT709)) @ to_xyz(primaries)).T
    inside = np.all((light > 0.002) & (light < 0.998), axis=-1)
    assert is_used and inside.sum() > 20
    assert np.abs(np.asarray(shown) - srgb_of_light(light))[inside].max() < 2.5
    assert np.abs(np.asarray(shown).astype(float) - stored)[inside].max() > 8


def test_alpha_is_kept_apart_from_the_profile() -> None:
    stored = np.dstack([patches(), np.tile([0, 64, 128, 255, 255, 255, 255, 255], (6, 1))]).astype(np.uint8)
    icc = rgb_profile(ADOBE, 563 / 256)
    opaque = np.asarray(flatten(reopened(Image.fromarray(stored[..., :3]), "PNG", icc))[0]).astype(float)
    shown, is_used = flatten(reopened(Image.fromarray(stored), "PNG", icc))
    share = stored[..., 3:] / 255
    assert is_used
    assert np.abs(np.asarray(shown) - (opaque * share + 255 * (1 - share))).max() < 1.01


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_profiles_are_applied(mode: str) -> None:
    grey = np.arange(0, 256, 5, dtype=np.uint8)[None]
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    shown, is_used = flatten(reopened(image, "PNG", profile(b"GRAY", {b"kTRC": curve(1.8)})))
    assert is_used
    assert np.abs(np.asarray(shown)[..., 1] - srgb_of_light((grey / 255) ** 1.8)).max() < 2.5


def test_cmyk_profiles_are_applied() -> None:
    inks = np.zeros((1, 3, 4), np.uint8)
    inks[0, :, 0] = 200  # cyan, which this profile ignores
    inks[0, :, 3] = (0, 128, 255)
    shown, is_used = flatten(reopened(Image.fromarray(inks, "CMYK"), "TIFF", cmyk_profile()))
    assert is_used
    assert np.abs(np.asarray(shown)[0].astype(int) - np.array([[255], [119], [0]])).max() < 4  # L = 100, 50, 0


WRONG = {
    "noise": bytes(range(200)),
    "empty": b"",
    "cut off": rgb_profile(P3, 2.2)[:300],
    "without curves": profile(b"RGB ", {}),
    "of another kind": cmyk_profile(),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_profile_of_no_use_changes_nothing_and_is_told(kind: str, mode: str) -> None:
    image = Image.fromarray(patches().astype(np.uint8)).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    image.info["icc_profile"] = WRONG[kind]
    shown, is_used = flatten(image)
    assert np.array_equal(np.asarray(shown), expected)
    assert is_used == (kind == "empty")


def test_the_child_tells_whether_the_profile_was_of_use(tmp_path: Path) -> None:
    picture = Image.fromarray(patches().astype(np.uint8)).resize((64, 48), Image.Resampling.NEAREST)
    picture.save(tmp_path / "good.png", icc_profile=rgb_profile(P3, 2.2))
    picture.save(tmp_path / "bad.jpg", icc_profile=b"no profile")
    assert read_still(tmp_path / "good.png", "png", 64, 48, never_stop).warnings == ()
    assert "profile" in read_still(tmp_path / "bad.jpg", "jpeg", 64, 48, never_stop).warnings[0]
