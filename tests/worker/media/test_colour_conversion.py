"""Decoded colours against formulas: ITU-R BT.709, BT.1886, BT.2020, BT.2100, SMPTE RP 431-2 and EG 432-1."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError
from app.core.jobs import VideoFacts
from app.core.probing.limits import Limits
from app.core.probing.probe import PictureFacts, find_ffmpeg
from app.core.probing.video import probe_video
from worker.media.colour import ColourMatrix, rgb_of_planes, split_planes
from worker.media.colour_conversion import check_tools, colour_filters, conversion_of
from worker.media.decode import Source, decode, open_source
from worker.media.hdr_peak import nits_of_pq

PATCH = 16
D65, DCI_WHITE = (0.3127, 0.3290), (0.314, 0.351)
BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
LUMA = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
TOOLS = [find_ffmpeg(None), find_ffmpeg("ffmpeg")]


def xyz(white: tuple[float, float]) -> np.ndarray:
    return np.array([white[0] / white[1], 1.0, (1 - sum(white)) / white[1]])


def to_xyz(primaries: tuple[tuple[float, float], ...], white: tuple[float, float] = D65) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ, adapted from its white to D65."""
    columns = np.stack([xyz(point) for point in primaries], axis=1)
    matrix = columns * np.linalg.solve(columns, xyz(white))
    gains = (BRADFORD @ xyz(D65)) / (BRADFORD @ xyz(white))
    return np.asarray(np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD @ matrix)


def patches(least: int = 20, most: int = 235) -> np.ndarray:
    """Return RGB colours (6, 8, 3) inside BT.709: a row of greys, three of skin, and random ones from least to most."""
    rng = np.random.default_rng(3)
    colours = rng.integers(least, most + 1, (6, 8, 3))
    colours[0] = np.linspace(0, 255, 8).round()[:, None]
    colours[1, :3] = [(198, 134, 110), (141, 85, 36), (255, 219, 172)]
    return np.asarray(colours, np.float64)


def written(path: Path, signal: np.ndarray, matrix: int, tags: str, full: bool = False) -> Path:
    """Write patches (rows, columns, 3) of R'G'B' 0..1 as one second of 10-bit FFV1 with colour tags."""
    red, blue = LUMA[matrix]
    luma = signal @ np.array([red, 1 - red - blue, blue])
    chroma = [(signal[..., 2] - luma) / (2 * (1 - blue)), (signal[..., 0] - luma) / (2 * (1 - red))]
    scaled = [luma * 1023, *(plane * 1023 + 512 for plane in chroma)]
    if not full:
        scaled = [luma * 876 + 64, *(plane * 896 + 512 for plane in chroma)]
    planes = [np.clip(np.rint(plane), 0, 1023).astype("<u2").repeat(PATCH, 0).repeat(PATCH, 1) for plane in scaled]
    raw = b"".join(plane.tobytes() for plane in (planes[0], planes[1][::2, ::2], planes[2][::2, ::2]))
    size = f"{planes[0].shape[1]}x{planes[0].shape[0]}"
    start = [find_ffmpeg(None), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", size, "-r", "2"]
    names = ["color_primaries", "color_trc", "colorspace"]
    colours = [word for name, value in zip(names, tags.split(), strict=True) for word in (f"-{name}", value)]
    ranges = ["-color_range", "pc" if full else "tv"]
    command = [*start, *ranges, *colours, "-i", "-", "-c:v", "ffv1", *ranges, *colours, str(path)]
    subprocess.run(command, input=raw * 2, check=True)
    return path


def opened(path: Path, tool: str = TOOLS[0]) -> Source:
    return open_source(path, VideoFacts.model_validate(probe_video(path, Limits())), tool, never_stop)


def picture_of(source: Source) -> np.ndarray:
    """Return the first frame as RGB (H, W, 3)."""
    y, u, v = split_planes(next(decode(source, 0, 1, never_stop)))
    full = [np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in (u, v)]
    return rgb_of_planes(y, full[0], full[1], source.colour).astype(np.float64)


def colours_of(source: Source) -> np.ndarray:
    """Return the RGB colours in the middle of the patches."""
    return picture_of(source)[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]


def pq_of_nits(nits: np.ndarray) -> np.ndarray:
    root = (nits / 10_000) ** (2610 / 16384)
    return np.asarray(((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32))


def hlg_of_nits(nits: np.ndarray) -> np.ndarray:
    """Return the HLG signal of light in BT.2020 on a display of 1000 cd/m2."""
    light = nits / 1000
    luma = np.maximum(light @ np.array([0.2627, 0.6780, 0.0593]), 1e-9)[..., None]
    scene = light * luma ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


WIDE = {
    "BT.2020": (BT2020, D65, 9, "bt2020 bt2020-10 bt2020nc"),
    "BT.2020, full range": (BT2020, D65, 9, "bt2020 bt2020-10 bt2020nc"),
    "BT.2020, 12-bit curve": (BT2020, D65, 9, "bt2020 bt2020-12 bt2020nc"),
    "BT.2020 by its matrix": (BT2020, D65, 9, "unknown unknown bt2020nc"),
    "BT.2020 with the matrix of BT.709": (BT2020, D65, 1, "bt2020 bt709 bt709"),
    "P3 of displays": (P3, D65, 1, "smpte432 bt709 bt709"),
    "P3 of cinemas": (P3, DCI_WHITE, 1, "smpte431 bt709 bt709"),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_primaries_become_bt709(tmp_path: Path, name: str) -> None:
    primaries, white, matrix, tags = WIDE[name]
    full = "full" in name
    expected = patches()
    linear = (expected / 255) ** 2.4 @ (np.linalg.inv(to_xyz(primaries, white)) @ to_xyz(BT709)).T
    source = opened(written(tmp_path / "wide.mkv", np.clip(linear, 0, 1) ** (1 / 2.4), matrix, tags, full))
    assert source.tags == {"colorspace": 1, "color_primaries": 1, "color_trc": 1} and not source.warnings
    assert np.abs(colours_of(source) - expected).max() < 5
    assert np.abs(colours_of(source) - expected).mean() < 1.5


def test_the_curve_of_sdr_is_kept(tmp_path: Path) -> None:
    def linear(signal: np.ndarray) -> np.ndarray:
        return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)

    expected = patches()
    light = np.clip(linear(expected / 255) @ (np.linalg.inv(to_xyz(P3)) @ to_xyz(BT709)).T, 0, 1)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    source = opened(written(tmp_path / "screen.mkv", signal, 1, "smpte432 iec61966-2-1 bt709"))
    assert source.tags["color_trc"] == 13
    assert np.abs(colours_of(source) - expected).max() < 5


@pytest.mark.parametrize(("name", "tool"), [("HLG", TOOLS[0]), ("HLG", TOOLS[1]), ("PQ", TOOLS[0])])
def test_hdr_shows_reference_white_as_white(tmp_path: Path, name: str, tool: str) -> None:
    expected = patches()
    nits = 203 * np.clip((expected / 255) ** 2.4 @ (np.linalg.inv(to_xyz(BT2020)) @ to_xyz(BT709)).T, 0, 1)
    signal, curve = (hlg_of_nits(nits), "arib-std-b67") if name == "HLG" else (pq_of_nits(nits), "smpte2084")
    source = opened(written(tmp_path / "hdr.mkv", signal, 9, f"bt2020 {curve} bt2020nc"), tool)
    assert name in source.warnings[0] and "SDR" in source.warnings[0]
    difference = np.abs(colours_of(source) - expected)
    assert difference[0].max() < 2
    assert difference[1, :3].max() < (16 if name == "HLG" else 3)  # zscale applies the gamma of HLG to each channel
    assert name == "HLG" or difference.max() < 8


@pytest.mark.parametrize(("brightest", "white"), [(1000, 240), (4000, 220)])
def test_bright_light_is_compressed_and_skin_is_kept(tmp_path: Path, brightest: int, white: int) -> None:
    nits = np.full((6, 8, 3), 10.0)
    nits[2] = np.linspace(0.25, 1.0, 8)[:, None] * brightest
    nits[3, :4], nits[4, :4] = 203.0, 50.0
    source = opened(written(tmp_path / "bright.mkv", pq_of_nits(nits), 9, "bt2020 smpte2084 bt2020nc"))
    shown = colours_of(source)[..., 1]
    assert source.conversion.peak == pytest.approx(brightest / 203, rel=0.05)
    assert open_source(source.path, source.facts, source.ffmpeg, never_stop, 3.0).conversion.peak == 3.0
    assert np.all(np.diff(shown[2]) >= 0) and shown[2, 0] < shown[2, 7] - 1 and shown[2, 7] >= 253
    assert white <= shown[3, 1] < shown[2, 7]
    assert shown[4, 1] == pytest.approx(255 * (50 / 203) ** (1 / 2.4), abs=2)


def test_pq_is_the_curve_of_the_standard() -> None:
    assert nits_of_pq(np.array([0.0, 0.5806, 0.7518, 1.0])) == pytest.approx([0, 203, 1000, 10_000], rel=2e-3)
    assert nits_of_pq(pq_of_nits(np.array([0.1, 12.0]))) == pytest.approx([0.1, 12.0])


PLAIN = PictureFacts(0, "1/25", False, False, False, 2, 2, 2)


@pytest.mark.parametrize(
    ("facts", "height", "colour", "tags"),
    [
        ({}, 480, ColourMatrix.BT601, (2, 2, 2)),
        ({}, 720, ColourMatrix.BT709, (2, 2, 2)),
        ({"matrix": 6, "primaries": 6, "transfer": 6}, 480, ColourMatrix.BT601, (6, 6, 6)),
        ({"matrix": 5, "primaries": 5, "transfer": 5}, 1080, ColourMatrix.BT601, (5, 5, 5)),
        ({"matrix": 1, "primaries": 1, "transfer": 13}, 480, ColourMatrix.BT709, (1, 1, 13)),
        ({"matrix": 1, "primaries": 1, "transfer": 4}, 480, ColourMatrix.BT709, (1, 1, 4)),
        ({"matrix": 7, "primaries": 7, "transfer": 7}, 1080, ColourMatrix.BT709, (1, 7, 7)),
        ({"matrix": 3, "primaries": 3, "transfer": 0}, 480, ColourMatrix.BT601, (6, 2, 2)),
        ({"matrix": 0, "rgb": True}, 480, ColourMatrix.BT601, (6, 2, 2)),
    ],
)
def test_video_of_sdr_displays_keeps_values_and_tags(
    facts: dict[str, Any], height: int, colour: ColourMatrix, tags: tuple[int, int, int]
) -> None:
    conversion = conversion_of(replace(PLAIN, **facts), height)
    assert conversion.primaries is None and conversion.colour is colour
    assert tuple(conversion.tags.values()) == tags


@pytest.mark.parametrize(("facts", "matrix"), [({}, "bt601"), ({"matrix": 1}, "bt709"), ({"matrix": 7}, "smpte240m")])
def test_ordinary_video_takes_the_shortest_way(facts: dict[str, Any], matrix: str) -> None:
    picture = replace(PLAIN, **facts)
    steps = colour_filters(conversion_of(picture, 480), picture, 640, 480)
    target = "bt709" if matrix == "bt709" else "bt601"
    exact = "flags=bicubic+accurate_rnd+full_chroma_int"
    assert steps == [f"scale=640:480:{exact}:in_color_matrix={matrix}:out_color_matrix={target}:out_range=tv"]


@pytest.mark.parametrize(
    ("facts", "source"),
    [
        ({"matrix": 9}, (9, 1, 9)),
        ({"primaries": 9}, (9, 1, 9)),
        ({"transfer": 18}, (9, 18, 9)),
        ({"transfer": 16, "primaries": 1, "matrix": 1}, (1, 16, 1)),
        ({"transfer": 16, "primaries": 9, "matrix": 14}, (9, 16, 14)),
        ({"transfer": 1, "primaries": 9, "matrix": 14}, (9, 1, 9)),
        ({"transfer": 8}, (1, 8, 1)),
        ({"matrix": 8}, (1, 1, 8)),
        ({"primaries": 12, "transfer": 5}, (12, 5, 1)),
        ({"primaries": 9, "rgb": True, "matrix": 0}, (9, 1, 1)),
    ],
)
def test_other_colours_are_converted(facts: dict[str, Any], source: tuple[int, int, int]) -> None:
    conversion = conversion_of(replace(PLAIN, **facts), 1080)
    assert (conversion.primaries, conversion.transfer, conversion.matrix) == source
    assert conversion.colour is ColourMatrix.BT709


def test_an_ffmpeg_without_the_tools_is_told(tmp_path: Path) -> None:
    bare = tmp_path / "ffmpeg"
    bare.write_text("#!/bin/sh\necho ' ..C scale  V->V  Scale'\n")
    bare.chmod(0o755)
    with pytest.raises(InputError) as caught:
        check_tools(conversion_of(replace(PLAIN, primaries=9), 1080), None, str(bare))
    assert caught.value.code is ErrorCode.VIDEO_UNREADABLE and "zscale" in caught.value.message
    ordinary = conversion_of(PLAIN, 1080)
    assert "transparency" in check_tools(ordinary, "libvpx", str(bare))[0]
    assert check_tools(ordinary, None, str(bare)) == ()


ALPHA = {
    "vp9.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "10", "-b:v", "0", "-cpu-used", "8"),
    "vp8.webm": ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-b:v", "4M", "-auto-alt-ref", "0", "-cpu-used", "8"),
    "prores.mov": ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"),
    "animation.mov": ("-c:v", "qtrle", "-pix_fmt", "argb"),
    "png.mov": ("-c:v", "png", "-pix_fmt", "rgba"),
    "ffv1.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgra"),
}


def alpha_patches() -> np.ndarray:
    """Return (6, 8, 4) RGBA: the colour under the transparent ones is red."""
    alpha = np.tile(np.array([0, 255, 0, 255, 128, 255, 64, 255]), (6, 1))
    colours = patches()
    colours[alpha == 0] = (255, 0, 0)
    return np.concatenate([colours, alpha[..., None]], axis=-1)


@pytest.mark.parametrize(("name", "tool"), [*((name, TOOLS[0]) for name in ALPHA), ("vp9.webm", TOOLS[1])])
def test_transparent_places_become_white(tmp_path: Path, name: str, tool: str) -> None:
    rgba = alpha_patches()
    raw = rgba.astype(np.uint8).repeat(PATCH, 0).repeat(PATCH, 1)
    size = f"{raw.shape[1]}x{raw.shape[0]}"
    start = [TOOLS[1], "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgba", "-s", size, "-r", "2"]
    path = tmp_path / name
    subprocess.run([*start, "-i", "-", *ALPHA[name], str(path)], input=raw.tobytes() * 2, check=True)
    source = opened(path, tool)
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + 255 * (1 - share)
    difference = np.abs(colours_of(source) - expected)
    assert not source.warnings
    assert difference.max() < (20 if "vp" in name else 6) and difference.mean() < (3 if "vp" in name else 1.5)


@pytest.mark.parametrize(
    ("name", "like", "tolerance"),
    [
        ("colour_bt2020_sdr.mp4", "colour_bt709.mp4", 4),
        ("colour_hlg.mp4", "colour_bt709.mp4", 4),
        ("alpha_vp9.webm", "alpha_still.png", 4),
        ("still_display_p3.jpg", "still_srgb.jpg", 2),
    ],
)
def test_field_cases_look_like_their_twins(shared_dir: Path, name: str, like: str, tolerance: float) -> None:
    folder = shared_dir / "field_cases"
    shown, expected = picture_of(opened(folder / name)), picture_of(opened(folder / like))
    blocks = (shown - expected)[:592, :400].reshape(37, 16, 25, 16, 3).mean((1, 3))
    assert np.abs(shown - expected).mean() < tolerance
    # the largest signed error of a block: these films lost colour in the edges of dark places when they were made
    assert np.percentile(np.abs(blocks), 90) < 2 * tolerance
