"""From measurements to tables: one row of figures for each way of drawing, over all clips and by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.audio import MEL_RATE_HZ
from model.evaluation import metrics
from model.evaluation.evaluate import OWN, REAL, ROWS, SILENT, Measurement
from model.evaluation.frechet import FED, FID
from model.evaluation.learned_metrics import LearnedMetrics

_MEDIANS = (
    *("aperture_r", "width_r", "label_aperture_r", "label_width_r"),
    *("owner_aperture_r", "chance_aperture_r", "voice_r"),
    *("lip_voice", "chance_lip_voice", "heard_aperture_r", "heard_width_r"),
    *("drawn_heard_aperture_r", "drawn_heard_width_r", "mel_aperture_r", "mel_width_r"),
)
_MEANS = (
    *("silent_aperture_ratio", "opening_ratio", "bilabials_closed", "others_closed", "faces_found"),
    *(
        "lmd",
        "psnr",
        "ssim",
        "lpips",
        "mouth_sharpness",
        "sharpness_ratio",
        "detail_ratio",
        "jitter_ratio",
        "flicker_ratio",
    ),
    *("lse_d", "lse_c"),
)
_FRECHET = (FED, FID)
_LAGS = {"aperture_lag_frames": "aperture_r", "voice_lag_frames": "voice_r"}


def summarise(measurements: Sequence[Measurement], learned: LearnedMetrics) -> dict[str, Any]:
    """Return all figures as JSON values: `rows`, the same rows `by` group, and the values of every clip."""
    groups = sorted({(kind, value) for one in measurements for kind, value in one.groups.items()})
    by: dict[str, dict[str, Any]] = {}
    for kind, value in groups:
        by.setdefault(kind, {})[value] = rows([one for one in measurements if one.groups.get(kind) == value], learned)
    clips = [
        {"clip": one.clip, "row": one.row, **one.groups, **{k: _number(v) for k, v in one.values.items()}}
        for one in measurements
    ]
    return {"lpips_backbone": learned.backbone, "rows": rows(measurements, learned), "by": by, "clips": clips}


def rows(measurements: Sequence[Measurement], learned: LearnedMetrics) -> list[dict[str, Any]]:
    """Return one row of figures for each of ROWS: medians of correlations, means of all others, None if unknown."""
    real = [one.features for one in measurements if one.row == REAL and one.features is not None]
    table: list[dict[str, Any]] = []
    for name in ROWS:
        mine = [one for one in measurements if one.row == name]
        row: dict[str, Any] = {"name": name, "clips": len(mine)}
        for measure in (*_MEDIANS, *_MEANS):
            known = [one.values[measure] for one in mine if math.isfinite(one.values.get(measure, math.nan))]
            average = np.median if measure in _MEDIANS else np.mean
            row[measure] = _number(float(average(known))) if known else None
        for lag, curve in _LAGS.items():
            row[lag] = _number(metrics.best_lag([one.lags[curve] for one in mine if curve in one.lags]))
        late = metrics.best_lag([one.lags["lip_voice"] for one in mine if "lip_voice" in one.lags])
        row["lip_voice_lag_ms"] = _number(late * 1000 / MEL_RATE_HZ)
        drawn = [one.features for one in mine if one.features is not None]
        row |= dict.fromkeys((*_FRECHET, "frechet_crops"))
        if drawn and real:
            row[learned.frechet_name] = _number(learned.frechet(np.concatenate(drawn), np.concatenate(real)))
            row["frechet_crops"] = sum(map(len, drawn))
        table.append(row)
    _copy_silence(table)
    return table


def _copy_silence(table: list[dict[str, Any]]) -> None:
    """Copy the figure for silence to the row of the own audio, because it is a property of the same weights."""
    by_name = {row["name"]: row for row in table}
    by_name[OWN]["silent_aperture_ratio"] = by_name[SILENT]["silent_aperture_ratio"]


def heading(measure: str, backbone: str | None) -> str:
    """Return how a table calls a measure: those of a network say which one, because only then can they be compared."""
    network = {"lpips": backbone, FED: "EfficientNet-Lite0", FID: "Inception v3"}.get(measure)
    return f"{measure} ({network})" if network else measure


def table(figures: Mapping[str, Any], names_of_rows: Mapping[str, str] | None = None) -> str:
    """Return the rows as text, one column for each row; rows without clips and measures without values are left out.

    names_of_rows: other names for some rows.
    """
    rows = [row for row in figures["rows"] if row["clips"]] or figures["rows"]
    names_of_rows = names_of_rows or {}
    names = [name for name in rows[0] if name != "name" and any(row[name] is not None for row in rows)]
    lines = [[""] + [names_of_rows.get(row["name"], row["name"]) for row in rows]]
    lines += [
        [heading(name, figures["lpips_backbone"])] + ["-" if row[name] is None else f"{row[name]:g}" for row in rows]
        for name in names
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(rows) + 1)]
    sides = [str.ljust, *[str.rjust] * len(rows)]
    return "\n".join("  ".join(side(*cell) for side, *cell in zip(sides, line, widths, strict=True)) for line in lines)


def _number(value: float) -> float | None:
    """Return a value rounded for JSON, None if it is not finite."""
    return round(float(value), 4) if math.isfinite(value) else None
