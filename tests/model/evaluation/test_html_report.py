"""The page needs no other file and shows every clip, the worst first."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from model.evaluation.evaluate import evaluate
from model.evaluation.html_report import EXPLANATIONS, write_report
from model.evaluation.learned_metrics import LearnedMetrics
from model.evaluation.svg_curves import curves_svg
from model.evaluation.tables import summarise
from tests.model.evaluation.test_evaluate import Actor


def test_the_page_needs_nothing_else_and_shows_every_clip(tmp_path: Path) -> None:
    measurements = evaluate([Actor(0), Actor(1, "late"), Actor(2, sex="man")], LearnedMetrics())
    figures = summarise(measurements, LearnedMetrics())
    text = write_report(tmp_path / "page", figures, measurements, "weights <b> on three clips").read_text()
    assert not re.search(r'(src|href)="(?!data:)', text) and "http" not in text
    assert "&lt;b&gt;" in text
    assert re.findall(r"<h3>(\w+)</h3>", text)[0] == "clip_1"
    assert text.count("<svg") == 6 and text.count("data:image/jpeg") == 9
    assert set(figures["rows"][0]) - {"name"} == set(EXPLANATIONS)


class NamedActor(Actor):
    """A clip whose name holds markup."""

    name = '<img src="x" onerror=alert(1)>'


def test_markup_in_names_is_escaped(tmp_path: Path) -> None:
    markup = "<script>alert('1')</script>"
    measurements = evaluate([NamedActor(0, sex=markup), Actor(1)], LearnedMetrics())
    figures = summarise(measurements, LearnedMetrics())
    text = write_report(tmp_path, figures, measurements, f"weights of {markup}").read_text()
    escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"
    assert "<script" not in text and "onerror=alert(1)>" not in text
    assert f"<p>weights of {escaped}</p>" in text and f"<td>{escaped}</td>" in text
    assert "<h3>&lt;img src=&#34;x&#34; onerror=alert(1)&gt;</h3>" in text
    assert "<i>" not in curves_svg("<i>", {"<i>": np.zeros(3)}, 25.0)


def test_a_curve_is_one_stroke_for_each_stretch_without_gaps() -> None:
    curve = np.array([0.0, 0.1, np.nan, 0.2, 0.3, 0.1, np.nan])
    svg = curves_svg("aperture", {"filmed": curve, "drawn": curve[:2]}, 25.0)
    paths = re.findall(r'class="curve c\d" d="([^"]*)"', svg)
    assert [path.count("M") for path in paths] == [2, 1] and [path.count("L") for path in paths] == [3, 1]
    assert "nan" not in curves_svg("aperture", {"filmed": np.full(3, np.nan)}, 25.0)
