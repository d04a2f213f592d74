"""The report of a job tells a voice that fits the lips from a shifted one: real talkers, left as they were filmed."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from app.core.checks import never_stop
from app.core.jobs import JobOptions
from tests.fake_synthesizer import FakeSynthesizer
from tests.worker.clips import DETECTORS, sources_of
from worker.media.voice import read_voice
from worker.pipeline.render import run
from worker.pipeline.run_context import FinishedClip, RunContext, SilentMonitor

TALKERS = ("lbbc2a", "sbia1a", "brbk7n")


def lip_synced(folder: Path, film: Path, voice: Path, **options: object) -> FinishedClip:
    """Return the job whose network draws the lips as they were filmed."""
    folder.mkdir()
    chosen = JobOptions.model_validate({"preset": "ultrafast", "sync_mode": "silence"} | options)
    sources = sources_of(film, voice)
    return run(RunContext(sources, chosen, FakeSynthesizer(), folder, SilentMonitor(), DETECTORS), folder / "out.mp4")


def shifted(folder: Path, film: Path, by_s: float) -> Path:
    """Write the voice of a film, shifted in a circle."""
    facts = sources_of(film, film).input.audio
    assert facts is not None
    samples = np.array(read_voice(film, facts, folder, never_stop))
    path = folder / "shifted.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.roll(samples, round(by_s * 16_000)).astype("<i2").tobytes())
    return path


def test_own_voices_have_more_confidence_than_shifted_ones(tmp_path: Path, shared_dir: Path) -> None:
    own, late = [], []
    for name in TALKERS:
        film = shared_dir / "media" / "clips" / f"grid_{name}.mpg"
        folder = tmp_path / name
        folder.mkdir()
        fits = lip_synced(folder / "own", film, film)
        assert fits.report.sync_confidence is not None and fits.warnings == []
        own.append(fits.report.sync_confidence)
        found = lip_synced(folder / "shifted", film, shifted(folder, film, 0.8)).report.sync_confidence
        assert found is not None
        late.append(found)
    assert np.median(own) > 0.3 and np.median(own) > np.median(late) + 0.15
    assert np.mean(np.greater(own, late)) > 0.5


def test_unchanged_lips_are_not_judged(tmp_path: Path, shared_dir: Path) -> None:
    film = shared_dir / "media" / "clips" / "grid_lbbc2a.mpg"
    assert lip_synced(tmp_path / "job", film, film, strength=0.0).report.sync_confidence is None
