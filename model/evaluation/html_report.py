"""The figures as one page that needs nothing else: tables, curves, and frames filmed above frames drawn."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from PIL import Image

from model.arrays import U8
from model.evaluation.evaluate import OWN, ROWS, SILENT, Take
from model.evaluation.svg_curves import curves_svg

SAYS: Final = {
    "clips": "how many were judged",
    "aperture_r": "lip aperture, correlation with the film; with another's voice it must fall near 0",
    "aperture_lag_frames": "shift at which that correlation is best; positive: drawn late",
    "width_r": "mouth width (spread, rounded), correlation with the film",
    "label_aperture_r": "aperture against exact labels; the real video shows what the face mesh can see of them",
    "label_width_r": "width against exact labels",
    "owner_aperture_r": "with another's voice: correlation with the lips of that voice's owner",
    "chance_aperture_r": "the owner's own lips against this film: what sentences have in common anyway",
    "voice_r": "aperture against the loudness of the voice that is heard",
    "voice_lag_frames": "shift at which that correlation is best",
    "silent_aperture_ratio": "how far lips stay open in silence, in speaking ranges",
    "opening_ratio": "speaking range of the aperture, drawn over filmed",
    "bilabials_closed": "share of p b m in which lips come within 15 % of their range of closed",
    "others_closed": "the same for sounds that leave lips open; the gap to the line above is what counts",
    "lmd": "distance of the lip landmarks, in face units",
    "psnr": "peak signal-to-noise ratio over the crop, dB",
    "ssim": "structural similarity over the crop",
    "lpips": "perceptual distance over the crop",
    "fid": "distance of the distributions of crops",
    "sharpness_ratio": "gradient energy of the mouth, drawn over filmed",
    "detail_ratio": "finest structure (variance of the Laplacian) of the mouth, drawn over filmed",
    "jitter_ratio": "change of speed of the lip landmarks from frame to frame, drawn over filmed",
    "flicker_ratio": "change of change of the mouth's pixels, drawn over filmed",
    "lse_d": "SyncNet: least distance of lips and sound",
    "lse_c": "SyncNet: how far the best offset stands out",
    "faces_found": "share of frames in which the face mesh sees a face",
}
_BY_GROUP: Final = (
    *("clips", "aperture_r", "width_r", "opening_ratio", "silent_aperture_ratio", "bilabials_closed", "lmd"),
    *("psnr", "ssim", "sharpness_ratio", "jitter_ratio"),
)
_SHEET_PX = 1040
_PAGE = Path(__file__).parent / "web" / "report.html"


def write_report(folder: Path, figures: Mapping[str, Any], takes: Sequence[Take], subject: str) -> Path:
    """Write the page into a folder, made where it is missing; return its path. subject: what was judged, a sentence."""
    folder.mkdir(parents=True, exist_ok=True)
    page = Template(_PAGE.read_text(encoding="utf-8")).substitute(
        title="How the lips were drawn",
        subject=escape(subject),
        table=_table(figures["rows"]),
        groups="".join(_group(kind, groups) for kind, groups in figures["by"].items()),
        clips="".join(_clips(takes)),
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [name for name in SAYS if any(row[name] is not None for row in rows)]
    head = "".join(f"<th>{escape(row['name'])}</th>" for row in rows)
    lines = [
        f"<tr><td>{name}</td>{''.join(_cell(row[name], row['name'] == OWN) for row in rows)}"
        f'<td class="says">{escape(SAYS[name])}</td></tr>'
        for name in shown
    ]
    return f"<table><thead><tr><th></th>{head}<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _group(kind: str, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the row of the own audio for each value of a group."""
    own = {value: next(row for row in rows if row["name"] == OWN) for value, rows in groups.items()}
    head = "".join(f"<th>{name}</th>" for name in _BY_GROUP)
    lines = [
        f"<tr><td>{escape(value)}</td>{''.join(_cell(row[name]) for name in _BY_GROUP)}</tr>"
        for value, row in own.items()
    ]
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<h2>By {escape(kind)}</h2><p>With their own voice.</p><div class="wide">{table}</div>'


def _cell(value: float | None, own: bool = False) -> str:
    text = "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
    return f'<td class="own">{text}</td>' if own else f"<td>{text}</td>"


def _clips(takes: Sequence[Take]) -> list[str]:
    by_clip: dict[str, dict[str, Take]] = {}
    for take in takes:
        by_clip.setdefault(take.clip, {})[take.row] = take

    def likeness(rows: Mapping[str, Take]) -> float:
        value = rows[OWN].values.get("aperture_r", math.nan) if OWN in rows else math.nan
        return value if math.isfinite(value) else math.inf

    return [_clip(name, rows) for name, rows in sorted(by_clip.items(), key=lambda entry: likeness(entry[1]))]


def _clip(name: str, rows: Mapping[str, Take]) -> str:
    first = rows[ROWS[0]]
    drawn = {row: rows[row] for row in (OWN, SILENT) if row in rows}
    mouths = {"filmed": first.filmed} | {row: take.drawn for row, take in drawn.items()}
    plots = "".join(
        curves_svg(name, {row: mouth[:, column] for row, mouth in mouths.items()}, first.fps)
        for column, name in enumerate(("aperture", "width"))
    )
    figures = rows[OWN].values if OWN in rows else {}
    words = [*first.groups.values()] + [
        f"{measure} {figures[measure]:.2f}"
        for measure in ("aperture_r", "width_r", "opening_ratio", "psnr", "ssim", "sharpness_ratio")
        if math.isfinite(figures.get(measure, math.nan))
    ]
    half = first.stills.shape[0] // 2
    strips = [("filmed", first.stills[:half])] + [(row, take.stills[half:]) for row, take in drawn.items()]
    sheet = "".join(f"<span>{escape(row)}</span>{_picture(strip, row)}" for row, strip in strips)
    return (
        f"<article><h3>{escape(name)}</h3><p>{escape(', '.join(words))}</p>"
        f'{plots}<div class="sheet">{sheet}</div></article>'
    )


def _picture(strip: U8, name: str) -> str:
    image = Image.fromarray(np.ascontiguousarray(strip))
    if image.width > _SHEET_PX:
        image = image.resize((_SHEET_PX, round(image.height * _SHEET_PX / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img alt="{escape(name)}, eight moments" src="data:image/jpeg;base64,{data}">'
