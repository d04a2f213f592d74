"""From takes to tables: one row of figures for each way of drawing, over all clips and by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.evaluation import metrics
from model.evaluation.evaluate import OWN, REAL, ROWS, SILENT, Take
from model.evaluation.learned_metrics import Judges

_MEDIANS = (
    *("aperture_r", "width_r", "label_aperture_r", "label_width_r"),
    *("owner_aperture_r", "chance_aperture_r", "voice_r"),
)
_MEANS = (
    *("silent_aperture_ratio", "opening_ratio", "bilabials_closed", "others_closed", "faces_found"),
    *("lmd", "psnr", "ssim", "lpips", "sharpness_ratio", "detail_ratio", "jitter_ratio", "flicker_ratio"),
    *("lse_d", "lse_c"),
)
_LAGS = {"aperture_lag_frames": "aperture_r", "voice_lag_frames": "voice_r"}


def summarise(takes: Sequence[Take], judges: Judges) -> dict[str, Any]:
    """Return the figures as JSON: `rows`, the same `by` group, and every clip by itself."""
    groups = sorted({(kind, value) for take in takes for kind, value in take.groups.items()})
    by: dict[str, dict[str, Any]] = {}
    for kind, value in groups:
        by.setdefault(kind, {})[value] = rows([take for take in takes if take.groups.get(kind) == value], judges)
    clips = [
        {"clip": take.clip, "row": take.row, **take.groups, **{k: _number(v) for k, v in take.values.items()}}
        for take in takes
    ]
    return {"rows": rows(takes, judges), "by": by, "clips": clips}


def rows(takes: Sequence[Take], judges: Judges) -> list[dict[str, Any]]:
    """Return one row of figures for each of ROWS: medians of correlations, means of the rest, None for what is not."""
    real = [take.features for take in takes if take.row == REAL and take.features is not None]
    table: list[dict[str, Any]] = []
    for name in ROWS:
        mine = [take for take in takes if take.row == name]
        row: dict[str, Any] = {"name": name, "clips": len(mine)}
        for measure in (*_MEDIANS, *_MEANS):
            known = [take.values[measure] for take in mine if math.isfinite(take.values.get(measure, math.nan))]
            average = np.median if measure in _MEDIANS else np.mean
            row[measure] = _number(float(average(known))) if known else None
        for lag, curve in _LAGS.items():
            row[lag] = _number(metrics.best_lag([take.lags[curve] for take in mine if curve in take.lags]))
        drawn = [take.features for take in mine if take.features is not None]
        row["fid"] = _number(judges.fid(np.concatenate(drawn), np.concatenate(real))) if drawn and real else None
        table.append(row)
    _share_silence(table)
    return table


def _share_silence(table: list[dict[str, Any]]) -> None:
    """Show how lips rest in the row of the own audio too: it is a property of the same weights."""
    by_name = {row["name"]: row for row in table}
    by_name[OWN]["silent_aperture_ratio"] = by_name[SILENT]["silent_aperture_ratio"]


def table(figures: Mapping[str, Any]) -> str:
    """Return the rows as text, a column each, without the measures that nobody has."""
    rows = figures["rows"]
    names = [name for name in rows[0] if name != "name" and any(row[name] is not None for row in rows)]
    lines = [[""] + [row["name"] for row in rows]]
    lines += [[name] + ["-" if row[name] is None else f"{row[name]:g}" for row in rows] for name in names]
    widths = [max(len(line[column]) for line in lines) for column in range(len(rows) + 1)]
    sides = [str.ljust, *[str.rjust] * len(rows)]
    return "\n".join("  ".join(side(*cell) for side, *cell in zip(sides, line, widths, strict=True)) for line in lines)


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
