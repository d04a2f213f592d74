"""Report of an evaluation: one HTML page without other files, with tables, curves, and filmed above drawn frames."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from PIL import Image

from model.arrays import U8
from model.evaluation.evaluate import OWN, REAL, SILENT, Measurement
from model.evaluation.pages import render
from model.evaluation.svg_curves import curves_svg
from model.evaluation.tables import heading

EXPLANATIONS: Final = {
    "clips": "number of clips",
    "aperture_r": "lip aperture, correlation with the film; with another voice it must fall near 0",
    "aperture_lag_frames": "shift at which that correlation is highest; positive: drawn late",
    "width_r": "mouth width (spread, rounded), correlation with the film",
    "label_aperture_r": "aperture against exact labels; the real video shows what the face mesh can see of them",
    "label_width_r": "width against exact labels",
    "owner_aperture_r": "with another voice: correlation with the lips of that voice's owner",
    "chance_aperture_r": "the owner's own lips against this film: what two sentences have in common by chance",
    "lip_voice": "canonical correlation of lip shape and voice, at the best lag in sync",
    "lip_voice_lag_ms": "shift at which that is highest; positive: the lips are late",
    "chance_lip_voice": "the same with another speaker's voice, which these lips do not say",
    "heard_aperture_r": "aperture that the network hears against the filmed one, at the best lag",
    "heard_width_r": "the same for the width",
    "drawn_heard_aperture_r": "drawn aperture against the heard one",
    "drawn_heard_width_r": "the same for the width",
    "mel_aperture_r": "aperture that a linear regression hears, fitted on the other speakers, against the filmed one",
    "mel_width_r": "the same for the width",
    "voice_r": "aperture against the loudness of the voice",
    "voice_lag_frames": "shift at which that correlation is highest",
    "silent_aperture_ratio": "how far lips stay open in silence, in speaking ranges",
    "opening_ratio": "speaking range of the aperture, drawn over filmed",
    "bilabials_closed": "share of p b m in which lips come within 15 % of their range of closed",
    "others_closed": "the same for sounds that leave lips open; the difference to the line above is what counts",
    "lmd": "distance of the lip landmarks, in face units",
    "psnr": "peak signal-to-noise ratio over the crop, dB",
    "ssim": "structural similarity over the crop",
    "lpips": "perceptual distance over the crop",
    "fed": "Frechet distance of the distributions of crops; too large for few crops",
    "fid": "Frechet distance of the distributions of crops; too large for few crops",
    "frechet_crops": "number of crops in that distance, and about as many filmed ones",
    "mouth_sharpness": "variance of the Laplacian at filmed size, mouth over upper face, drawn over filmed",
    "sharpness_ratio": "gradient energy of the mouth, drawn over filmed",
    "detail_ratio": "finest structure (variance of the Laplacian) of the mouth, drawn over filmed",
    "jitter_ratio": "frame-to-frame change of the speed of the lip landmarks, drawn over filmed",
    "flicker_ratio": "second difference over time of the mouth's pixels, drawn over filmed",
    "lse_d": "SyncNet: least distance of lips and sound",
    "lse_c": "SyncNet: median distance minus least distance",
    "faces_found": "share of frames in which the face mesh finds a face",
}
_BY_GROUP: Final = (
    *("clips", "aperture_r", "width_r", "opening_ratio", "silent_aperture_ratio", "bilabials_closed", "lmd"),
    *("lip_voice", "heard_aperture_r", "psnr", "ssim", "mouth_sharpness", "jitter_ratio"),
)
_OF_CLIP: Final = ("aperture_r", "width_r", "opening_ratio", "lip_voice", "psnr", "ssim", "mouth_sharpness")
_SHEET_PX = 1040


@dataclass(frozen=True)
class _Line:
    """Line of a table: its name, one text for each column, and what the line means."""

    name: str
    cells: list[str]
    explanation: str = ""


@dataclass(frozen=True)
class _Strip:
    """Frames of one row side by side, as a JPEG in base64."""

    name: str
    jpeg: str


@dataclass(frozen=True)
class _Clip:
    """Part of the page for one clip: its name, facts and figures, curves, and strips of frames."""

    name: str
    facts: str
    plots: list[Markup]
    strips: list[_Strip]


def write_report(folder: Path, figures: Mapping[str, Any], measurements: Sequence[Measurement], subject: str) -> Path:
    """Write the page into a folder, which is made if needed; return the path of the page.

    figures: as `summarise` returns them. subject: a sentence that says what was evaluated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = figures["rows"]
    page = render(
        "report.html",
        subject=subject,
        own=OWN,
        rows=[row["name"] for row in rows],
        lines=[
            _Line(heading(name, figures["lpips_backbone"]), [_text(row[name]) for row in rows], explanation)
            for name, explanation in EXPLANATIONS.items()
            if any(row[name] is not None for row in rows)
        ],
        measures=_BY_GROUP,
        groups={kind: _group_lines(groups) for kind, groups in figures["by"].items()},
        clips=list(_clips(measurements)),
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _group_lines(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[_Line]:
    """Return a line for each value of a group, from its row with the own voice."""
    own = {value: next(row for row in rows if row["name"] == OWN) for value, rows in groups.items()}
    return [_Line(value, [_text(row[name]) for name in _BY_GROUP]) for value, row in own.items()]


def _text(value: float | None) -> str:
    """Return a figure as text."""
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _clips(measurements: Sequence[Measurement]) -> Iterator[_Clip]:
    """Yield the part of each clip; the clip with the lowest correlation comes first."""
    by_clip: dict[str, dict[str, Measurement]] = {}
    for measurement in measurements:
        by_clip.setdefault(measurement.clip, {})[measurement.row] = measurement

    def correlation(rows: Mapping[str, Measurement]) -> float:
        value = rows[OWN].values.get("aperture_r", math.nan) if OWN in rows else math.nan
        return value if math.isfinite(value) else math.inf

    for name, rows in sorted(by_clip.items(), key=lambda entry: correlation(entry[1])):
        yield _clip(name, rows)


def _clip(name: str, rows: Mapping[str, Measurement]) -> _Clip:
    """Return the part of one clip."""
    real = rows[REAL]
    drawn = {row: rows[row] for row in (OWN, SILENT) if row in rows}
    mouths = {"filmed": real.filmed} | {row: measurement.drawn for row, measurement in drawn.items()}
    plots = [
        curves_svg(measure, {row: mouth[:, column] for row, mouth in mouths.items()}, real.fps)
        for column, measure in enumerate(("aperture", "width"))
    ]
    figures = rows[OWN].values if OWN in rows else {}
    shown = [measure for measure in _OF_CLIP if math.isfinite(figures.get(measure, math.nan))]
    facts = [*real.groups.values(), *(f"{measure} {figures[measure]:.2f}" for measure in shown)]
    half = real.stills.shape[0] // 2
    strips = [_Strip("filmed", _jpeg(real.stills[:half]))]
    strips += [_Strip(row, _jpeg(measurement.stills[half:])) for row, measurement in drawn.items()]
    return _Clip(name, ", ".join(facts), plots, strips)


def _jpeg(strip: U8) -> str:
    """Return a strip (H, W, 3) uint8 RGB as a JPEG in base64, shrunk if it is wide."""
    image = Image.fromarray(np.ascontiguousarray(strip))
    if image.width > _SHEET_PX:
        image = image.resize((_SHEET_PX, round(image.height * _SHEET_PX / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return base64.b64encode(file.getvalue()).decode("ascii")
